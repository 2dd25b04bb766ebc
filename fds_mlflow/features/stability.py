"""Measures of how far one distribution is from another: in bins, in standard deviations, as a ratio of rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fds_mlflow.core.text.numbers import percent
from fds_mlflow.features.profile import GAP, OTHERS, QUANTILES

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALPHA = 0.01
"""Chance that anything at all is called a drift among rows like those of the training, if rows were independent."""

_FLOOR = 0.25 / QUANTILES
"""Smallest share of a bin: no share is told more exactly than the quantiles tell it."""

_FARTHEST = 1_000.0
"""Standard deviations beyond which none are counted: what was constant has none, and JSON has no infinity."""

_LEAST = 0.05
"""Categories are bins of at least this share together, the most frequent ones first."""


@dataclass(frozen=True)
class Bins:
    """Shares of the training and of the rows, bin by bin, and what people read of them."""

    before: NDArray[np.float64]
    now: NDArray[np.float64]
    words: tuple[str, str]
    missing: tuple[float, float]
    unseen: float | None = None
    distance: float | None = None


def stability_index(before: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """The population stability index: the sum over bins of (now - before) log(now / before), no share below a floor.

    Args:
        before: Shares by bin, shape (bins,).
        now: The others, likewise.
    """
    one, other = (np.maximum(shares, _FLOOR) for shares in (before, now))
    return float(((other - one) * np.log(other / one)).sum())


def by_chance(bins: int, rows_before: int, rows: int, together: int) -> float:
    """What the index of independent rows of one distribution exceeds with a chance of `ALPHA` over so many indices.

    Asymptotically it is (1/n + 1/m) times a chi-square of `bins` - 1 degrees of freedom. Source: Yurdakul and Naranjo,
    *Statistical Properties of the Population Stability Index*, Journal of Risk Model Validation 14 (4), 2020.
    """
    from scipy.stats import chi2

    return float((1 / rows + 1 / max(1, rows_before)) * chi2.isf(ALPHA / together, max(1, bins - 1)))


def far_by_chance(rows_before: int, rows: int, together: int) -> float:
    """Standard deviations by which the means of such rows differ with a chance of `ALPHA` over so many means.

    Half as much again is allowed for heavy tails, which the quantiles' standard deviation does not have.
    """
    from scipy.stats import norm

    return 1.5 * float(norm.isf(ALPHA / together / 2)) * sqrt(1 / rows + 1 / max(1, rows_before))


def of_numbers(quantiles: Sequence[float | None] | NDArray[np.float64], values: NDArray[np.float64]) -> Bins:
    """Tenths of the training's values, what lies below and above all of its quantiles, and gaps."""
    known = np.array([one for one in quantiles if one is not None], dtype=np.float64)
    there = values[np.isfinite(values)]
    missing = 1 - len(known) / len(quantiles), 1 - len(there) / max(1, len(values))
    edges: NDArray[np.float64] = np.empty(0)
    if len(known):
        tenths = known[(np.arange(1, 10) * len(known) // 10)]
        edges = np.unique([np.nextafter(known[0], -np.inf), *tenths, known[-1]])

    def binned(of: NDArray[np.float64], gaps: float) -> NDArray[np.float64]:
        counts = np.bincount(np.searchsorted(edges, of), minlength=len(edges) + 1)
        return np.append(counts * ((1 - gaps) / max(1, len(of))), gaps)

    words = [f"{np.median(of):.4g}" if len(of) else "nothing" for of in (known, there)]
    far = wasserstein(known, there)
    return Bins(binned(known, missing[0]), binned(there, missing[1]), (words[0], words[1]), missing, distance=far)


def wasserstein(before: NDArray[np.float64], now: NDArray[np.float64]) -> float | None:
    """Wasserstein's distance in standard deviations of the first, between the same quantiles of both; None of nothing.

    Source: scipy.stats.wasserstein_distance.
    """
    from scipy.stats import wasserstein_distance

    if not len(before) or not len(now):
        return None
    quantiles = np.quantile(now, (np.arange(QUANTILES) + 0.5) / QUANTILES, method="inverted_cdf")
    far, spread = float(wasserstein_distance(before, quantiles)), float(before.std())
    return min(_FARTHEST, far / spread) if spread else _FARTHEST * bool(far)


def log_odds(scores: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of scores, shape (n,), kept within those of a millionth."""
    inside = np.clip(np.asarray(scores, dtype=np.float64), 1e-6, 1 - 1e-6)
    return np.log(inside / (1 - inside))


def of_categories(trained: Mapping[str, float], values: Sequence[Any] | NDArray[Any]) -> Bins:
    """The training's values in bins of a least share, the most frequent first; then gaps, and what it did not have."""
    counts = pd.Series(values, dtype=object).value_counts(dropna=True)
    rows = max(1, len(values))
    now = {str(name): count / rows for name, count in counts.items()}
    gaps = trained.get(GAP, 0.0), 1 - int(counts.sum()) / rows
    kept = {name: share for name, share in trained.items() if name not in (GAP, OTHERS)}
    groups: list[list[str]] = [[]]
    for name in sorted(kept, key=lambda one: (-kept[one], one)):
        groups[-1].append(name)
        if sum(kept[one] for one in groups[-1]) >= _LEAST:
            groups.append([])
    groups = [group for group in groups if group]
    unknown = sum(share for name, share in now.items() if name not in kept)
    before = [*(sum(kept[one] for one in group) for group in groups), gaps[0], trained.get(OTHERS, 0.0)]
    after = [*(sum(now.get(one, 0.0) for one in group) for group in groups), gaps[1], unknown]
    moved = max({**kept, **now}, key=lambda one: abs(now.get(one, 0.0) - kept.get(one, 0.0)), default="")
    words = [f"{moved} {percent(of.get(moved, 0.0))}" if moved else "nothing" for of in (kept, now)]
    unseen = None if OTHERS in trained else unknown
    return Bins(np.array(before), np.array(after), (words[0], words[1]), gaps, unseen)


def ratio_of(before: tuple[float, float], now: tuple[float, float]) -> tuple[float, float]:
    """The second rate over the first, and the standard error of its logarithm."""
    (one, rows_before), (other, rows) = before, now
    cases = one * rows_before + 0.5, other * rows + 0.5
    ratio = (cases[1] / (rows + 1)) / (cases[0] / (rows_before + 1))
    return ratio, sqrt(max(0.0, 1 / cases[0] - 1 / (rows_before + 1) + 1 / cases[1] - 1 / (rows + 1)))
