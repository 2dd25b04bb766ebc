"""The threshold of a version that somebody else trained: given, chosen on data, or the model's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fds_mlflow.core.text.numbers import percent
from fds_mlflow.errors import ConfigError, RefusedError
from fds_mlflow.scoring.finding import Finding
from fds_mlflow.training import evaluation
from fds_mlflow.training.summary import ENOUGH_FRAUDS
from fds_mlflow.workflows.adoption.rows import Rows

DEFAULT_FPR = 0.02
_BY_CHANCE = 4.0
"""Standard errors below a ROC AUC of 0.5 from which a ranking is upside down, and not merely worthless."""


@dataclass(frozen=True)
class Threshold:
    """A version's threshold.

    Attributes:
        value: The score from which a transaction is flagged, in [0, 1].
        target_fpr: The false positive rate that it was chosen for; None where it was given.
        metrics: On the data, at this threshold; empty without labels.
        warnings: What was not checked, or should be known.
    """

    value: float
    target_fpr: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def choose(
    finding: Finding, rows: Rows, threshold: float | None, target_fpr: float | None, before: float | None
) -> Threshold:
    """The threshold, and what the data say about it.

    Args:
        finding: Where the scores are, and those of the rows.
        rows: The rows.
        threshold: As it was given.
        target_fpr: As it was given.
        before: The one that the version has already.

    Raises:
        ConfigError: It is out of range, or nothing says what it should be.
        DataError: The data have no genuine row.
        RefusedError: The scores rank frauds below genuine transactions, or no threshold reaches the target.
    """
    if threshold is not None and not 0 <= threshold <= 1:  # refuses NaN as well
        raise ConfigError(f"the threshold is {threshold}", fix="give a score from 0 to 1: 0.5")
    if target_fpr is not None and not 0 < target_fpr < 1:
        raise ConfigError(
            f"the target false positive rate is {target_fpr}", fix="give a share between 0 and 1: 0.02 is 2 %"
        )
    if rows.frame is None or finding.scores is None:
        if target_fpr is not None:
            raise ConfigError("there are no data to choose a threshold on", fix="give some: `--data FILE`")
        return _unchecked(finding, threshold, before)
    labels, scores = rows.labels(finding), finding.scores
    known = np.ones(len(scores), dtype=bool) if labels is None else ~np.isnan(labels)
    y = None if labels is None else labels[known].astype(np.int8)
    scores = scores[known]
    target = None
    if threshold is None:
        target = DEFAULT_FPR if target_fpr is None else target_fpr
        threshold = evaluation.choose_threshold(y, scores, target)
        if threshold > 1:
            raise RefusedError(
                f"no threshold flags at most {percent(target)} of the genuine rows: more of them have the highest score"
                f" ({scores.max():g})",
                fix="give the threshold (`--threshold 0.9`), or a higher `--target-fpr`",
            )
    if y is None:
        return Threshold(threshold, target, {}, (_UNLABELLED,))
    metrics = evaluation.metrics(y, scores, threshold)
    return Threshold(threshold, target, metrics, _warnings(y, metrics))


_UNLABELLED = (
    "the data have no labels: the threshold flags a share of all rows, and whether it finds frauds is not known"
)


def _unchecked(finding: Finding, threshold: float | None, before: float | None) -> Threshold:
    """A threshold that nothing was measured at."""
    if threshold is not None:
        return Threshold(threshold, None, {}, (f"the threshold {threshold:g} was given and checked on no data",))
    if before is not None:
        return Threshold(before, None, {}, (f"its threshold {before:g} was checked on no data",))
    if finding.classes:
        said = "the threshold 0.5 is where a classifier decides by itself, and was checked on no data"
        return Threshold(0.5, None, {}, (said,))
    raise ConfigError(
        "nothing says from which score on a transaction is flagged",
        fix="give it (`--threshold 0.5`), or labelled rows to choose it on (`--data FILE --target-fpr 0.02`)",
    )


def _warnings(y: np.ndarray[tuple[int], np.dtype[np.int8]], metrics: Mapping[str, float]) -> tuple[str, ...]:
    """What the data say against the scores.

    Raises:
        RefusedError: They rank frauds below genuine transactions: another class is meant.
    """
    found = []
    frauds, genuine = int((y == 1).sum()), int((y == 0).sum())
    area = metrics.get("roc_auc")
    if area is not None:
        error = math.sqrt((len(y) + 1) / (12 * frauds * genuine))
        if (0.5 - area) / error > _BY_CHANCE:
            raise RefusedError(
                f"the scores rank frauds below genuine rows (ROC AUC {area:.3f}): another class is meant by them",
                fix="name the class that means fraud: `--positive-class NAME`; and see what the label's values mean",
            )
        if area <= 0.5:
            found.append(f"on the data the scores rank no better than chance (ROC AUC {area:.3f})")
    if frauds < ENOUGH_FRAUDS:
        found.append(f"the data hold {frauds} frauds, fewer than {ENOUGH_FRAUDS}: they say little about the threshold")
    if metrics["flagged_rate"] == 0:
        found.append("no row of the data reaches the threshold: the version flags nothing")
    return tuple(found)
