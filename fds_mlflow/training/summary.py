"""What a training rests on, in rows and frauds, and the warnings that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fds_mlflow.core.text.numbers import percent
from fds_mlflow.features import profile
from fds_mlflow.features.profile import Profile, Scored
from fds_mlflow.features.wander import wander
from fds_mlflow.training.leakage import separating

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fds_mlflow.training.split import Split

#: With fewer frauds a part's figures are rough: a recall measured on 20 is known to about plus or minus 20 points.
ENOUGH_FRAUDS = 20

_SHOWN = 8

#: Fewer rows than the threshold may flag make no share.
_SHOWN_ROWS = 10


@dataclass(frozen=True)
class PartCounts:
    """What one part of a split holds.

    Attributes:
        rows: Its rows.
        frauds: Frauds among them; None where labels are missing.
        flagged: Rows whose score reaches the threshold; None for the training part, which is not scored.
    """

    rows: int
    frauds: int | None
    flagged: int | None


def counted(split: Split, scores: Mapping[str, NDArray[np.float64]], threshold: float) -> dict[str, PartCounts]:
    """What each part holds, and how much of it the version flags."""
    return {
        name: PartCounts(
            len(part),
            int(part.y.sum()) if split.labelled else None,
            int((scores[name] >= threshold).sum()) if name in scores else None,
        )
        for name, part in split.parts.items()
    }


def profile_of(split: Split, scores: Mapping[str, NDArray[np.float64]], threshold: float) -> Profile:
    """What drift is told by: the features and labels of all parts, the scores of those that it did not learn from."""
    parts = list(split.parts.values())
    scored = {
        place: Scored(scores[name], part.weight, threshold)
        for place, (name, part) in enumerate(split.parts.items())
        if name in scores
    }
    weight = None if parts[0].weight is None else np.concatenate([one.weight for one in scored.values()])
    seen = Scored(np.concatenate([one.scores for one in scored.values()]), weight, threshold)
    made = profile.of(*parts, scored=seen, whole=split.facts.get("split") == "time")
    return msgspec.structs.replace(made, wander=wander(parts, scored))


def warnings_of(split: Split, parts: Mapping[str, PartCounts], metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Why the figures of a training should not be believed: features that leak, a validation that says nothing."""
    found = [str(each) for each in separating(split)]
    if len(found) > _SHOWN:
        found = [*found[:_SHOWN], f"{len(found) - _SHOWN} more features separate the classes like these"]
    validation = parts["validation"]
    if validation.frauds is not None and validation.frauds < ENOUGH_FRAUDS:
        found.append(
            f"validation holds {validation.frauds} frauds, fewer than {ENOUGH_FRAUDS}: its figures and the threshold "
            "say little; bring more data"
        )
    if metrics.get("val_roc_auc", 1.0) <= 0.5:
        found.append(
            f"on validation the scores rank no better than chance (ROC AUC {metrics['val_roc_auc']:.3f}), so they say "
            "nothing"
        )
    if validation.flagged == 0:
        found.append("no validation row reaches the threshold: the version flags nothing")
    return tuple(found)


def stood_for(split: Split) -> tuple[str, ...]:
    """For how many transactions the rows of each part stand, where the chances of their labels are known."""
    return tuple(
        f"the {len(part):,} {name} rows stand for {part.weight.sum():,.0f} transactions, "
        f"{part.weight[part.y == 1].sum():,.0f} of them frauds, by the chances of their labels"
        for name, part in split.parts.items()
        if part.weight is not None
    )


def notes_of(parts: Mapping[str, PartCounts], metrics: Mapping[str, float], target_fpr: float) -> tuple[str, ...]:
    """What else to know about the figures: few frauds to test on, a threshold that flags less than it may."""
    found = []
    tested = parts["test"].frauds
    if tested is not None and tested < ENOUGH_FRAUDS:
        found.append(f"the test part holds {tested} frauds, fewer than {ENOUGH_FRAUDS}: figures on it are rough")
    validation = parts["validation"]
    reached = metrics.get("val_false_positive_rate", metrics["val_flagged_rate"])
    allowed = target_fpr * (validation.rows - (validation.frauds or 0))
    if validation.flagged and reached < target_fpr / 2 and allowed >= _SHOWN_ROWS:
        found.append(
            f"the threshold flags {percent(reached)} of the genuine validation rows, not {percent(target_fpr)}: many "
            "rows share one score"
        )
    return tuple(found)
