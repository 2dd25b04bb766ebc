"""Bins of scores, money and milliseconds: their edges, and the values they stand for."""

from __future__ import annotations

from math import exp

import numpy as np
from numpy.typing import NDArray

SCORE_BINS = 64
"""Equal bins of the scores in [0, 1]; bin b stands for its middle, (b + 0.5) / 64."""

LOSS_BINS = 48
"""Bins of money: bin 0 holds up to 1, bin b from above 2^((b-1)/2) up to 2^(b/2), the last everything above."""

LOSS_EDGES = tuple(2 ** (edge / 2) for edge in range(LOSS_BINS - 1))
"""The upper edge of every bin of money but the last, which has none."""

LATENCY_BINS = 48
"""Bins of milliseconds: bin 0 holds up to 0.125, bin b up to 0.125 * 2^(b/2), the last everything above."""

SCORE_EDGES = tuple(edge / SCORE_BINS for edge in range(1, SCORE_BINS))
"""The edge between every two bins of scores; it belongs to the upper one."""

LATENCY_EDGES = tuple(0.125 * 2 ** (edge / 2) for edge in range(LATENCY_BINS - 1))
"""The upper edge of every bin of milliseconds but the last, which has none."""

SCORE_VALUES = tuple((b + 0.5) / SCORE_BINS for b in range(SCORE_BINS))
"""What a bin of scores stands for: its middle."""

LOSS_VALUES = (0.5, *(2 ** ((b - 0.5) / 2) for b in range(1, LOSS_BINS)))
"""What a bin of money stands for: the middle of its logarithms."""

OCTAVE = 8
"""Fine edges of milliseconds between a value and twice that."""

FINE_LATENCY_EDGES = tuple(2 ** (edge / OCTAVE) for edge in range(-6 * OCTAVE, 16 * OCTAVE + 1))
"""Edges of milliseconds from 1/64 to 65,536, 9 % apart: bin b holds what lies above b of them, each edge below it."""

FINE_SCORE_EDGES = tuple(1 / (1 + exp(-edge / 4)) for edge in range(-14 * 4, 14 * 4 + 1))
"""Edges of scores, at equal steps of 0.25 of their log odds from -14 to 14: near 0 and near 1 as fine as between."""


def score_bins(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of every score in [0, 1]: shape (rows,), int64."""
    return np.minimum((scores * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)


def fine_score_bins(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """The fine bin of every score in [0, 1]: shape (rows,), int64."""
    return np.searchsorted(FINE_SCORE_EDGES, scores, side="left").astype(np.int64)


def loss_bins(amounts: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of every amount of money: shape (rows,), int64."""
    return np.searchsorted(LOSS_EDGES, amounts, side="left").astype(np.int64)
