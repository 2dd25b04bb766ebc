"""First requests by fine bins of their latency or score: how many lie above each edge, and quantiles."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, exp, floor, log, log2

import numpy as np
from numpy.typing import NDArray

from fds_mlflow.core.evidence.bins import FINE_LATENCY_EDGES, FINE_SCORE_EDGES, OCTAVE
from fds_mlflow.core.evidence.evidence import Tally
from fds_mlflow.core.plan.metric import Metric

Floats = NDArray[np.float64]


def firsts(metric: Metric, tally: Tally) -> Mapping[int, int]:
    """The histogram of a metric whose quantile is asked for: of latency or of scores."""
    return tally.latency_firsts if metric is Metric.LATENCY else tally.score_firsts


def edges_of(metric: Metric) -> tuple[float, ...]:
    """The edges of its bins."""
    return FINE_LATENCY_EDGES if metric is Metric.LATENCY else FINE_SCORE_EDGES


def above(metric: Metric, tally: Tally) -> Floats:
    """How many first requests lie above each edge: shape (edges + 2,), float64.

    Column 0 holds all, column e + 1 those above edge e, and the last column, which stands for an edge above all others,
    none.
    """
    counts = np.zeros(len(edges_of(metric)) + 2)
    for at, keys in firsts(metric, tally).items():
        counts[at] = keys
    found: Floats = counts[::-1].cumsum()[::-1]
    return found


def quantile_of(metric: Metric, counts: Floats, quantile: float) -> float | None:
    """A quantile of what lies above the edges, straight within a bin of the logs (of latency) or log odds (of scores).

    Args:
        metric: Whose bins they are.
        counts: As of `above`.
        quantile: In (0, 1).

    Returns:
        Milliseconds, or a score; None of nothing.
    """
    if not counts[0]:
        return None
    level = (1 - quantile) * counts[0]
    column = int(np.argmax(counts <= level))  # the first edge that lies above the quantile
    upper, lower = counts[column - 1], counts[column]
    place = column - 1 - (level - lower) / (upper - lower)
    if metric is Metric.LATENCY:
        return float(2 ** (log2(FINE_LATENCY_EDGES[0]) + place / OCTAVE))
    return 1 / (1 + exp(-(log(FINE_SCORE_EDGES[0] / (1 - FINE_SCORE_EDGES[0])) + place / 4)))


def column_of(milliseconds: float, *, up: bool) -> int:
    """The column of `above` of the edge next to a latency: at or above it (`up`), or at or below it."""
    return steps(milliseconds / FINE_LATENCY_EDGES[0], up=up) + 1


def steps(ratio: float, *, up: bool) -> int:
    """How many edges of latency lie between a value and so many times it, rounded up or down."""
    exact = OCTAVE * log2(ratio)
    return ceil(exact - _TINY) if up else floor(exact + _TINY)


_TINY = 1e-9
"""A ratio that is an edge's is one, however it was rounded."""
