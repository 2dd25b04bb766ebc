"""Two versions on the same rows: what improved, what got worse, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from fds_mlflow.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]

METRICS = ("recall", "false_positive_rate", "precision", "f1", "average_precision")
MATERIAL = 0.01
"""A metric that clearly got worse, but by no more than this, does not stand against clear improvements."""
FEWEST = 5
"""Rows of each class from which an interval may speak against a version. Of equal versions it lies below zero for one
in twenty with five frauds, one in ten with three, four in ten with one (simulated)."""
LOWER_IS_BETTER = frozenset({"false_positive_rate"})


class Change(StrEnum):
    """What an interval of a difference says."""

    IMPROVED = "improved"
    WORSE = "worse"
    UNCLEAR = "unclear"


class Advice(StrEnum):
    """What the comparison recommends."""

    PROMOTE = "promote"
    KEEP = "keep"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Delta:
    """One metric of both versions.

    Attributes:
        metric: Its name.
        baseline: The baseline's value, in [0, 1]; NaN where there is none, such as the precision of no alerts.
        candidate: The candidate's value, likewise.
        low: Lower end of the 95 % bootstrap interval of candidate - baseline; NaN where that is unknown.
        high: Upper end of it.
        change: What the interval says; unclear while it contains 0.
    """

    metric: str
    baseline: float
    candidate: float
    low: float
    high: float
    change: Change

    @property
    def difference(self) -> float:
        """Candidate minus baseline."""
        return self.candidate - self.baseline


@dataclass(frozen=True)
class Comparison:
    """Both versions, scored on the same rows.

    Attributes:
        rows: Number of rows.
        frauds: Number of frauds among them.
        deltas: One per metric.
        advice: Promote, keep or undecided.
        reason: One sentence that says why.
    """

    rows: int
    frauds: int
    deltas: tuple[Delta, ...]
    advice: Advice
    reason: str

    @property
    def ranking(self) -> Delta:
        """The difference in average precision: how well the scores rank frauds first, whatever the threshold."""
        return next(delta for delta in self.deltas if delta.metric == "average_precision")

    @property
    def clearly_worse(self) -> bool:
        """Whether the interval of the difference in average precision lies below zero, on enough rows of each class."""
        return self._enough and self.ranking.change is Change.WORSE

    @property
    def in_short(self) -> str:
        """How the candidate stands to the baseline, in words that go before its name."""
        if not self._enough:
            return "too few rows of one class to be compared with"
        if self.ranking.change is Change.UNCLEAR:
            return "neither clearly better nor clearly worse than"
        return f"clearly {'worse' if self.ranking.change is Change.WORSE else 'better'} than"

    @property
    def _enough(self) -> bool:
        return min(self.frauds, self.rows - self.frauds) >= FEWEST


def _checked(labels: npt.NDArray[np.int8], baseline: Floats, candidate: Floats, n_boot: int) -> int:
    """How many of the rows are fraud; errors as for `compare`."""
    if n_boot < 1:
        raise ConfigError(f"the bootstrap has {n_boot} samples", fix="give at least 1 (--n-boot, n_boot=)")
    if not labels.shape == baseline.shape == candidate.shape:
        raise DataError(
            f"{labels.shape} labels, {baseline.shape} baseline scores and {candidate.shape} candidate scores",
            fix="score both versions on the very rows that carry the labels",
        )
    frauds = int(labels.sum())
    if frauds in (0, len(labels)):
        raise DataError(
            f"{frauds} of the {len(labels)} rows are fraud: rates of one class cannot be compared",
            fix="compare on rows that hold both frauds and genuine transactions",
        )
    return frauds


def compare(
    labels: npt.NDArray[np.int8],
    baseline: Floats,
    candidate: Floats,
    *,
    thresholds: tuple[float, float],
    random: np.random.Generator,
    n_boot: int = 500,
    weights: Floats | None = None,
) -> Comparison:
    """Compare two versions' scores of the same rows, each flagging at its own threshold.

    Intervals are percentile intervals of the paired bootstrap: each sample draws rows with replacement and scores
    both versions on the same draw (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3).

    Args:
        labels: Shape (n,), int8, 1 = fraud.
        baseline: The baseline's scores, shape (n,), float64 in [0, 1].
        candidate: The candidate's scores of the same rows.
        thresholds: The baseline's and the candidate's threshold.
        random: Source of randomness.
        n_boot: Bootstrap samples.
        weights: What each row counts, shape (n,), float64 above 0: the inverse of the chance with which it has a label
            (Horvitz and Thompson, JASA 47, 1952); None for all alike.

    Raises:
        ConfigError: There is no sample.
        DataError: The shapes differ, a weight is none, or one of the two classes is missing.
    """
    frauds = _checked(labels, baseline, candidate, n_boot)
    scorers = (_Weighted(labels, baseline, thresholds[0]), _Weighted(labels, candidate, thresholds[1]))
    each = np.ones(len(labels)) if weights is None else weights
    if each.shape != labels.shape or not (np.isfinite(each) & (each > 0)).all():
        raise DataError(
            f"{each.shape} weights for {labels.shape} labels, or some that are not above 0",
            fix="give one finite weight above 0 for each row",
        )
    values = [scorer.metrics(each) for scorer in scorers]
    low, high = _intervals(labels, scorers, random, n_boot, each)
    deltas = tuple(
        Delta(
            metric=name,
            baseline=float(values[0][i]),
            candidate=float(values[1][i]),
            low=float(low[i]),
            high=float(high[i]),
            change=_change(name, low[i], high[i]),
        )
        for i, name in enumerate(METRICS)
    )
    advice, reason = _advise(deltas)
    return Comparison(len(labels), frauds, deltas, advice, reason)


def _intervals(
    labels: npt.NDArray[np.int8],
    scorers: tuple[_Weighted, _Weighted],
    random: np.random.Generator,
    n_boot: int,
    weights: Floats,
) -> tuple[Floats, Floats]:
    """Lower and upper ends of each metric's difference; NaN where no draw knows it."""
    samples = np.empty((n_boot, len(METRICS)))
    done = 0
    while done < n_boot:
        drawn = np.bincount(random.integers(0, len(labels), len(labels)), minlength=len(labels)).astype(np.float64)
        if 0 < drawn @ labels < len(labels):  # a draw without one of the classes has no rates
            samples[done] = scorers[1].metrics(drawn * weights) - scorers[0].metrics(drawn * weights)
            done += 1
    known = np.isfinite(samples).any(axis=0)  # without an alert there is no precision
    low, high = np.full((2, len(METRICS)), np.nan)
    low[known], high[known] = np.nanquantile(samples[:, known], [0.025, 0.975], axis=0)
    return low, high


def _change(metric: str, low: float, high: float) -> Change:
    if not (low > 0 or high < 0):  # unknown ends included
        return Change.UNCLEAR
    return Change.IMPROVED if (low > 0) != (metric in LOWER_IS_BETTER) else Change.WORSE


def _advise(deltas: tuple[Delta, ...]) -> tuple[Advice, str]:
    better = [d.metric for d in deltas if d.change is Change.IMPROVED]
    worse = [d for d in deltas if d.change is Change.WORSE]
    material = [d.metric for d in worse if abs(d.difference) > MATERIAL]
    slight = [d.metric for d in worse if abs(d.difference) <= MATERIAL]
    but = f", {_names(slight)} got worse by at most {100 * MATERIAL:g} points" if slight else ""
    if better and not material:
        return Advice.PROMOTE, f"{_names(better)} improved{but or ', nothing got worse'}"
    if better:
        return Advice.UNDECIDED, f"{_names(better)} improved, but {_names(material)} got worse: a person decides"
    if worse:
        return Advice.KEEP, f"{_names([d.metric for d in worse])} got worse, nothing improved"
    return Advice.KEEP, "no difference is clear on these rows: more labelled rows would narrow the intervals"


def _names(metrics: list[str]) -> str:
    return ", ".join(metric.replace("_", " ") for metric in metrics)


class _Weighted:
    """One version's metrics when each row counts as often as its weight says; the scores are sorted once."""

    def __init__(self, labels: npt.NDArray[np.int8], scores: Floats, threshold: float) -> None:
        self._fraud = labels.astype(np.float64)
        self._flagged = scores >= threshold
        self._order = np.argsort(-scores, kind="stable")
        ordered = scores[self._order]
        self._ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)

    def metrics(self, weights: Floats) -> Floats:
        """Values of `METRICS`: shape (5,), float64."""
        fraud = weights * self._fraud
        frauds, rows = fraud.sum(), weights.sum()
        caught = fraud[self._flagged].sum()
        flagged = weights[self._flagged].sum()
        recall = caught / frauds
        precision = caught / flagged if flagged else np.nan
        return np.array(
            [
                recall,
                (flagged - caught) / (rows - frauds),
                precision,
                2 * caught / (flagged + frauds),
                self._average_precision(fraud, weights),
            ]
        )

    def _average_precision(self, fraud: Floats, weights: Floats) -> float:
        """Sum over thresholds of (R_n - R_{n-1}) P_n, as scikit-learn's `average_precision_score` defines it."""
        caught = np.cumsum(fraud[self._order])[self._ends]
        taken = np.cumsum(weights[self._order])[self._ends]
        precision = np.divide(caught, taken, out=np.zeros_like(caught), where=taken > 0)
        return float(np.sum(np.diff(caught, prepend=0.0) * precision) / caught[-1])
