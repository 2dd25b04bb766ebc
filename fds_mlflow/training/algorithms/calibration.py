"""From a model's raw scores to probabilities, without changing the order of a single pair of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What is believed of slope and intercept before any row is seen: the slope lies within a factor of e^0.5 of 1, the
#: log-odds within 1 of what they are, two times in three. Forty frauds outweigh it, four do not.
_SLOPE_SPREAD, _INTERCEPT_SPREAD = 0.5, 1.0

_STEPS = 100


def sigmoid_map(
    y: NDArray[np.int8], raw: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """Slope a > 0 and intercept b such that `1 / (1 + exp(-(a * raw + b)))` are probabilities.

    The most likely ones given the rows and a prior, ln a ~ N(0, 0.5), b ~ N(0, 1): as much is changed as the frauds
    prove, and rows that are told apart without error do not drive a to infinity. The map is strictly increasing, so
    ranks and every figure of ranks stay. Source: Platt, *Probabilistic Outputs for Support Vector Machines and
    Comparisons to Regularized Likelihood Methods*, 1999; the prior takes the place of his smoothed labels.

    Args:
        y: Labels, shape (n,), 0 or 1, of rows that the model was not fitted on.
        raw: Their raw scores, log-odds, shape (n,).
        weight: For how many transactions each row stands, shape (n,); None for one each.

    Returns:
        Slope and intercept.
    """
    rows = np.ones(len(raw)) if weight is None else weight * (len(raw) / weight.sum())
    point = np.zeros(2)  # ln a, b
    lost = _loss(point, y, raw, rows)
    for _ in range(_STEPS):  # Newton's, halved until it helps
        slope = np.exp(point[0])
        odds = slope * raw
        p = 0.5 * (1 + np.tanh((odds + point[1]) / 2))
        off, curved = rows * (p - y), rows * p * (1 - p)
        gradient = np.array([off @ odds + point[0] / _SLOPE_SPREAD**2, off.sum() + point[1] / _INTERCEPT_SPREAD**2])
        # Gauss-Newton: without the one term that can be negative every step goes downhill.
        mixed = curved @ odds
        bent = np.array(
            [
                [curved @ odds**2 + _SLOPE_SPREAD**-2, mixed],
                [mixed, curved.sum() + _INTERCEPT_SPREAD**-2],
            ]
        )
        step = np.linalg.solve(bent, gradient)
        size = 1.0
        while size > 1e-6 and _loss(point - size * step, y, raw, rows) > lost:
            size /= 2
        if size <= 1e-6 or np.abs(size * step).max() < 1e-10:
            break
        point = point - size * step
        lost = _loss(point, y, raw, rows)
    return float(np.exp(point[0])), float(point[1])


def _loss(
    point: NDArray[np.float64], y: NDArray[np.int8], raw: NDArray[np.float64], rows: NDArray[np.float64]
) -> float:
    odds = np.exp(point[0]) * raw + point[1]
    prior = point[0] ** 2 / (2 * _SLOPE_SPREAD**2) + point[1] ** 2 / (2 * _INTERCEPT_SPREAD**2)
    return float(rows @ (np.logaddexp(0, odds) - y * odds) + prior)
