"""Figures of a version with what is known of their error, for the whole test part and by segment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np
import pandas as pd

from fds_mlflow.training.calibration import exact
from fds_mlflow.training.summary import ENOUGH_FRAUDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DRAWS = 200
_MANY = 200_000
"""Rows from which on half as many draws are made."""

_CLUSTERS = 50
"""Customers from which on they are drawn, and not rows."""

RANKS = ("roc_auc", "average_precision", "f1", "recall_at_fpr_1pct", "recall_at_fpr_2pct")
"""Figures whose interval is drawn; those of `SHARES` are exact."""

SHARES = ("recall", "precision", "false_positive_rate", "flagged_rate", "accuracy")

_COLUMNS, _LEVELS, _STRETCHES = 4, 6, 4


class Labelled(Protocol):
    """Rows that can be parted: a `FeatureTable`, or what somebody else's model was evaluated on."""

    @property
    def frame(self) -> pd.DataFrame:
        """Columns, `time` among them."""
        ...

    @property
    def categorical(self) -> Sequence[str]:
        """Those whose values part the rows."""
        ...

    @property
    def y(self) -> NDArray[np.int8]:
        """Labels, shape (n,), 0 or 1."""
        ...

    @property
    def weight(self) -> NDArray[np.float64] | None:
        """For how many transactions each row stands, shape (n,); None for one each."""
        ...


class Figure(msgspec.Struct, frozen=True):
    """One figure on the test part.

    Attributes:
        name: As the run's metrics have it.
        value: The metric.
        low: Lower end of its 95 % interval; None where there is none.
        high: Upper end of it.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None


class Segment(msgspec.Struct, frozen=True):
    """A part of the test rows.

    Attributes:
        by: What they are parted by: a feature, `amount`, or `time`.
        name: The part.
        rows: Its rows.
        frauds: Frauds among them.
        figures: Recall, precision and false positive rate at the version's threshold, where they exist.
    """

    by: str
    name: str
    rows: int
    frauds: int
    figures: list[Figure]

    def figure(self, name: str) -> Figure | None:
        """The figure of a name."""
        return next((one for one in self.figures if one.name == name), None)


def figures(
    metrics: Mapping[str, float],
    y: NDArray[np.int8],
    score: NDArray[np.float64],
    threshold: float,
    *,
    weight: NDArray[np.float64] | None = None,
    customer: Any = None,
    seed: int = 42,
) -> list[Figure]:
    """The test part's metrics with 95 % intervals: exact of shares, percentiles of bootstrap samples of the others.

    Samples draw customers, where they are known, because a customer's transactions are alike (Field and Welsh,
    *Bootstrapping Clustered Data*, JRSS B 69, 2007), else rows; each counts a Poisson number of times (Hanley and
    MacGibbon, *Creating non-parametric bootstrap samples using Poisson frequencies*, 2006).

    Args:
        metrics: As the run has them.
        y: Labels, shape (n,), 0 or 1.
        score: Scores, shape (n,).
        threshold: The version's.
        weight: For how many transactions each row stands, shape (n,); None for one each.
        customer: Of each row, shape (n,); None where nobody knows.
        seed: Of the samples.
    """
    shares = {one.name: one for one in _shares(y, score >= threshold, weight)}
    drawn = _drawn(y, score, threshold, weight=weight, customer=customer, seed=seed) if 0 < y.sum() < len(y) else {}
    found = []
    for name, value in metrics.items():
        if name.startswith("val_") or name == "threshold":
            continue
        low, high = drawn.get(name, (None, None))
        if name in shares:
            low, high = shares[name].low, shares[name].high
        found.append(Figure(name, value, low, high))
    return found


def _shares(y: NDArray[np.int8], flagged: NDArray[np.bool_], weight: NDArray[np.float64] | None) -> Iterator[Figure]:
    stands, fraud = np.ones(len(y)) if weight is None else weight, y == 1
    of = {
        "recall": (flagged, fraud),
        "precision": (fraud, flagged),
        "false_positive_rate": (flagged, ~fraud),
        "flagged_rate": (flagged, np.ones(len(y), dtype=np.bool_)),
        "accuracy": (flagged == fraud, np.ones(len(y), dtype=np.bool_)),
    }
    for name, (hit, among) in of.items():
        if among.any():
            total = stands[among].sum()
            value = float(stands[hit & among].sum() / total)
            rows = float(total**2 / (stands[among] ** 2).sum())  # Kish, as in `calibration`
            yield Figure(name, value, *exact(value * rows, rows))


def _drawn(
    y: NDArray[np.int8],
    score: NDArray[np.float64],
    threshold: float,
    *,
    weight: NDArray[np.float64] | None,
    customer: Any,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of `RANKS`."""
    random, order = np.random.default_rng(seed), np.argsort(-score, kind="stable")
    ordered = score[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    fraud, stands = (y == 1)[order], np.ones(len(y)) if weight is None else weight[order]
    codes = None if customer is None else pd.factorize(customer, use_na_sentinel=False)[0]
    clusters = None if codes is None or codes.max() < _CLUSTERS - 1 else codes[order]
    count = len(y) if clusters is None else int(clusters.max()) + 1
    samples = []
    for _ in range(_DRAWS if len(y) <= _MANY else _DRAWS // 2):
        times = random.poisson(1.0, count).astype(np.float64)
        taken = stands * (times if clusters is None else times[clusters])
        found = _ranks(fraud, taken, ends, int((ordered >= threshold).sum()))
        if found is not None:
            samples.append(found)
    if not samples:
        return {}
    low, high = np.quantile(np.array(samples), [0.025, 0.975], axis=0).tolist()
    return {name: (low[place], high[place]) for place, name in enumerate(RANKS)}


def _ranks(
    fraud: NDArray[np.bool_], taken: NDArray[np.float64], ends: NDArray[np.intp], flagged: int
) -> list[float] | None:
    """Values of `RANKS` of rows in falling order of score that count so often; None where a class is missing."""
    caught, wrong = np.cumsum(taken * fraud), np.cumsum(taken * ~fraud)
    frauds, genuine = caught[-1], wrong[-1]
    if not frauds or not genuine:
        return None
    hits, false = caught[ends], wrong[ends]
    steps, passed = np.diff(hits, prepend=0.0), np.diff(false, prepend=0.0)
    both = hits + false
    precision = np.divide(hits, both, out=np.zeros_like(hits), where=both > 0)
    area = float((passed * (hits - steps / 2)).sum() / (frauds * genuine))
    at = flagged - 1
    some = caught[at] if flagged else 0.0
    f1 = 2 * some / ((some + wrong[at] if flagged else 0.0) + frauds)
    limited = []
    for limit in (0.01, 0.02):
        last = int(np.searchsorted(false, genuine * (limit + 1e-11), side="right")) - 1
        limited.append(float(hits[last] / frauds) if last >= 0 else 0.0)
    return [area, float((steps * precision).sum() / frauds), float(f1), *limited]


def segments(
    table: Labelled, score: NDArray[np.float64], threshold: float, importance: Mapping[str, float]
) -> list[Segment]:
    """The test part by its most important categories, by fourths of the amount, and by four stretches of time."""
    found = []
    for by, parts in _parted(table, importance):
        for name, rows in parts:
            y = table.y[rows]
            weight = None if table.weight is None else table.weight[rows]
            told = [one for one in _shares(y, score[rows] >= threshold, weight) if one.name in SHARES[:3]]
            found.append(Segment(by, name, int(rows.sum()), int(y.sum()), told))
    return found


def _parted(
    table: Labelled, importance: Mapping[str, float]
) -> Iterator[tuple[str, Sequence[tuple[str, NDArray[np.bool_]]]]]:
    ranked = sorted(table.categorical, key=lambda name: (-importance.get(name, 0.0), name))
    for name in ranked[:_COLUMNS]:
        column = table.frame[name]
        levels = column.value_counts().index[:_LEVELS].tolist()
        parts = [(str(level), (column == level).to_numpy(dtype=bool)) for level in levels]
        others = ~column.isin(levels).to_numpy(dtype=bool) & column.notna().to_numpy()
        parts += [("all others", others), ("missing", column.isna().to_numpy())]
        if len(levels) > 1:
            yield name, [part for part in parts if part[1].any()]
    if "amount" in table.frame:
        yield "amount", _fourths(table.frame["amount"].to_numpy(dtype=np.float64), lambda value: f"{value:,.6g}")
    time = table.frame["time"]
    if time.notna().all() and time.nunique() > _STRETCHES:
        day = time.to_numpy().astype("datetime64[us]").astype(np.int64)
        yield "time", _fourths(day, lambda value: str(np.datetime64(int(value), "us").astype("datetime64[D]")))


def _fourths(values: NDArray[Any], said: Any) -> list[tuple[str, NDArray[np.bool_]]]:
    """The rows in parts of about equal size, from one edge to below the next."""
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not len(known):
        return []
    edges = np.unique(np.quantile(known, np.arange(1, _STRETCHES) / _STRETCHES, method="inverted_cdf"))
    place = np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), -1)
    names = [f"below {said(edges[0])}"]
    names += [f"{said(one)} to {said(other)}" for one, other in pairwise(edges)]
    names += [f"from {said(edges[-1])}"]
    found = [(name, place == number) for number, name in enumerate(names)]
    return [part for part in [*found, ("missing", place == -1)] if part[1].any()]


def worse(segment: Segment, whole: Mapping[str, Figure]) -> list[tuple[Figure, Figure]]:
    """Figures of a segment that are clearly worse than the whole's: their intervals lie apart, on enough frauds."""
    found = []
    for name, harm in (("recall", -1), ("false_positive_rate", 1)):
        one, other = segment.figure(name), whole.get(name)
        if one is None or other is None or None in (one.low, one.high, other.low, other.high):
            continue
        if name == "recall" and segment.frauds < ENOUGH_FRAUDS:
            continue
        apart = (one.high or 0.0) < (other.low or 0.0) if harm < 0 else (one.low or 0.0) > (other.high or 0.0)
        if apart:
            found.append((one, other))
    return found
