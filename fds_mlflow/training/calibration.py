"""Whether scores are chances: the observed share of fraud beside the mean score, bin by bin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class CalibrationBin(msgspec.Struct, frozen=True):
    """One bin of scores.

    Attributes:
        score: The mean score.
        observed: The share of fraud.
        low: Lower end of its exact 95 % interval.
        high: Upper end of it.
        rows: How many rows it is of, or what they are worth as rows of equal weight.
    """

    score: float
    observed: float
    low: float
    high: float
    rows: float

    @property
    def off(self) -> bool:
        """Whether the mean score lies outside of the interval."""
        return not self.low <= self.score <= self.high


def bins(y: NDArray[np.int8], score: NDArray[np.float64], weight: NDArray[np.float64]) -> list[CalibrationBin]:
    """At most ten bins of equal numbers of frauds, in order of score; those without any fraud or score are left out.

    Bins of equal width would hold nearly every row in the first one; bins of equal numbers of rows, nearly every fraud
    in the last.

    Args:
        y: Labels, shape (n,), 0 or 1.
        score: Scores in [0, 1], shape (n,).
        weight: For how many transactions each row stands, shape (n,).
    """
    order = np.argsort(score, kind="stable")
    frauds = int(y.sum())
    groups = min(10, max(1, frauds // 5))
    # Rows in order of score; a bin ends where the running number of frauds passes the next share.
    index = np.minimum(((np.cumsum(y[order]) - y[order]) * groups) // max(1, frauds), groups - 1)
    stands = weight[order]
    total = np.maximum(np.bincount(index, weights=stands, minlength=groups), 1e-300)
    observed, means = (np.bincount(index, weights=stands * of[order], minlength=groups) / total for of in (y, score))
    # Kish, *Survey Sampling*, 1965, 11.7: as many rows of equal weight say as much.
    rows = total**2 / np.maximum(np.bincount(index, weights=stands**2, minlength=groups), 1e-300)
    used = (means > 0) & (observed > 0)
    return [
        CalibrationBin(mean, share, *exact(share * count, count), count)
        for mean, share, count in zip(means[used].tolist(), observed[used].tolist(), rows[used].tolist(), strict=True)
    ]


def exact(hits: float, rows: float) -> tuple[float, float]:
    """The exact 95 % interval of a binomial share; (0, 1) without rows.

    Source: Clopper, Pearson, Biometrika 26, 1934.

    Args:
        hits: How many of the rows; need not be whole.
        rows: Of how many, likewise.
    """
    from scipy.stats import beta

    low = float(beta.ppf(0.025, hits, rows - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(0.975, hits + 1, rows - hits)) if rows - hits > 1e-9 else 1.0
    return low, high
