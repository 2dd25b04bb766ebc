"""What a training knows for the card of its version: an artifact of the run, to make the card of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from fds_mlflow.data.transactions import period
from fds_mlflow.training import calibration
from fds_mlflow.training.calibration import CalibrationBin
from fds_mlflow.training.card.figures import Figure, Segment, figures, segments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fds_mlflow.training.fitted import FittedScorer
    from fds_mlflow.training.pipeline import Trained
    from fds_mlflow.training.split import Split

FILE = "card.json"
"""The artifact of the training run."""


class Part(msgspec.Struct, frozen=True):
    """One part of the data.

    Attributes:
        name: train, validation or test.
        rows: Its rows.
        frauds: Frauds among them; None without labels.
        first: Its first day; empty without times.
        last: Its last.
    """

    name: str
    rows: int
    frauds: int | None = None
    first: str = ""
    last: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a version by its training.

    Attributes:
        algorithm: What trained it.
        trained: When, ISO 8601, UTC.
        source: Where the data came from.
        digest: Of the data.
        parts: What each part holds; empty where unknown.
        split: How the data were cut.
        features: The features, the most important first.
        importance: What the first of them count for.
        unit: What that counts.
        trees: Trees in the model.
        params: Parameters of the algorithm.
        threshold: The score from which a transaction is flagged.
        target_fpr: The false positive rate that was aimed at; None where unknown.
        figures: On the test part.
        segments: The test part in parts.
        calibration: The test part in bins of score.
        warnings: Why the figures should not be believed.
        notes: What was left out on the way.
        complete: Whether intervals, segments and calibration were looked at; not in versions of before.
    """

    algorithm: str
    trained: str = ""
    source: str = ""
    digest: str = ""
    parts: list[Part] = []
    split: dict[str, str] = {}
    features: list[str] = []
    importance: list[float] = []
    unit: str = ""
    trees: int = 0
    params: dict[str, str] = {}
    threshold: float | None = None
    target_fpr: float | None = None
    figures: list[Figure] = []
    segments: list[Segment] = []
    calibration: list[CalibrationBin] = []
    warnings: list[str] = []
    notes: list[str] = []
    complete: bool = True


def of_training(
    split: Split, scorer: FittedScorer, made: Trained, score: NDArray[np.float64], *, target_fpr: float, seed: int
) -> Facts:
    """The facts of a training.

    Args:
        split: Its parts.
        scorer: What was fitted.
        made: What it left behind.
        score: The scores of the test part, shape (n,).
        target_fpr: The false positive rate that was aimed at.
        seed: Of the training.
    """
    test, threshold, metrics = split.test, made.threshold, made.metrics
    ranked = sorted(split.train.features, key=lambda name: -scorer.importance.get(name, 0.0))
    told: dict[str, Any] = {}
    if split.labelled:
        import numpy as np

        customer = test.frame.get("customer")
        stands = np.ones(len(test)) if test.weight is None else test.weight
        told = {
            "figures": figures(metrics, test.y, score, threshold, weight=test.weight, customer=customer, seed=seed),
            "segments": segments(test, score, threshold, scorer.importance),
            "calibration": calibration.bins(test.y, score, stands),
        }
    else:
        told["figures"] = [Figure("flagged_rate", metrics["flagged_rate"])]
    return Facts(
        algorithm=scorer.algorithm,
        trained=datetime.now(UTC).isoformat(timespec="seconds"),
        source=split.train.source,
        digest=split.train.digest,
        parts=[_part(name, split) for name in split.parts],
        split=split.facts,
        features=ranked,
        importance=[float(scorer.importance.get(name, 0.0)) for name in ranked],
        unit=scorer.importance_unit,
        trees=scorer.trees,
        params={name: str(value) for name, value in scorer.params.items()},
        threshold=threshold,
        target_fpr=target_fpr,
        warnings=list(made.warnings),
        notes=list(made.notes),
        **told,
    )


def _part(name: str, split: Split) -> Part:
    part = split.parts[name]
    span = period(part.frame["time"])
    days = ("", "") if span is None else (f"{span[0]:%Y-%m-%d}", f"{span[1]:%Y-%m-%d}")
    return Part(name, len(part), int(part.y.sum()) if split.labelled else None, *days)
