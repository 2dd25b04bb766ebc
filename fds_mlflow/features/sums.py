"""Exact sums over windows: differences of running totals that lose nothing.

A running total in one float forgets what is small beside it, and what it forgot is missing from every later window. So
a total is kept in several floats (*limbs*): the first is the ordinary running sum, the next the running sum of the
errors of its additions, which are floats themselves (TwoSum; Knuth, TAOCP 2, 4.2.2), and so on. Three limbs keep some
158 bits on any platform, without extended precision. The terms of a difference are added by repeated VecSum passes
(Ogita, Rump and Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26, 2005, algorithm 4.8).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fds_mlflow.features.meaning import Floats, Ints

_LIMBS = 3
_SPLIT = 2.0**27 + 1
_LARGE = 2.0**300


class Values:
    """The values of one column along an order, of which sums over stretches are asked.

    Args:
        values: Shape (n,), without NaN.
    """

    def __init__(self, values: Floats) -> None:
        infinite = np.isinf(values)
        self._infinite = [_counts(values == sign) for sign in (np.inf, -np.inf)] if infinite.any() else []
        finite = np.where(infinite, 0.0, values) if self._infinite else values
        largest = float(np.abs(finite).max(initial=0.0))
        # The squares of what is near the ends of a float's range would leave it.
        self._exponent = int(np.frexp(largest)[1]) if largest > _LARGE or 0 < largest < 1 / _LARGE else 0
        self._values = np.ldexp(finite, -self._exponent) if self._exponent else finite
        self._totals = _running(self._values)
        self._squares: list[Floats] = []

    def sum(self, start: Ints, end: Ints) -> Floats:
        """The exact sum of values[start:end], rounded, for each pair of places."""
        total = _rounded(_passed(_differences(self._totals, start, end), 2))
        return self._scaled(total) + self._infinities(start, end)

    def deviation(self, start: Ints, end: Ints) -> Floats:
        """The population's standard deviation of values[start:end]: 0 of equal values, NaN of none.

        It comes of the spread n * sum(x * x) - sum(x) ** 2, exact but for its last bits.
        """
        if not self._squares:
            high, low = _product(self._values, self._values)
            self._squares = [*_running(high), *_running(low)]
            self._equal_since = np.zeros(len(self._values) + 1, dtype=np.int64)
            changes = np.flatnonzero(np.diff(self._values)) + 1
            self._equal_since[changes + 1] = changes
            np.maximum.accumulate(self._equal_since, out=self._equal_since)
        number = (end - start).astype(np.float64)
        a, b, c = _expansion(_differences(self._totals, start, end))
        squares = _expansion(_differences(self._squares, start, end))
        pairs = [*((number, square) for square in squares), (-a, a), (-2 * a, b), (-2 * a, c), (-b, b), (-2 * b, c)]
        spread = _rounded(_passed([term for x, y in pairs for term in _product(x, y)], 4))
        spread[self._equal_since[end] <= start] = 0.0
        found = np.sqrt(np.maximum(spread, 0.0)) / np.where(number == 0, np.nan, number)
        with np.errstate(invalid="ignore"):
            return self._scaled(found) + 0 * self._infinities(start, end)  # of infinities there is none

    def _scaled(self, values: Floats) -> Floats:
        with np.errstate(over="ignore"):
            return np.ldexp(values, self._exponent) if self._exponent else values

    def _infinities(self, start: Ints, end: Ints) -> Floats | float:
        """What infinite values make of a sum: themselves, or NaN where both are in it."""
        with np.errstate(invalid="ignore"):
            return sum(
                np.where(counts[end] > counts[start], sign, 0.0)
                for counts, sign in zip(self._infinite, (np.inf, -np.inf), strict=False)
            )


def _counts(found: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Ints:
    return np.concatenate([[0], np.cumsum(found)])


def _running(values: Floats) -> list[Floats]:
    """Running totals in limbs, each of shape (n + 1,), from 0; only as many as hold anything."""
    limbs: list[Floats] = []
    while len(limbs) < _LIMBS and (not limbs or values.any()):
        total = np.zeros(len(values) + 1)
        np.cumsum(values, out=total[1:])
        limbs.append(total)
        values = _error(total[:-1], values, total[1:])
    return limbs


def _differences(totals: Sequence[Floats], start: Ints, end: Ints) -> list[Floats]:
    return [term for total in totals for term in (total[end], -total[start])]


def _error(x: Floats, y: Floats, total: Floats) -> Floats:
    """What the rounded `total` of x and y lacks, exactly."""
    part = total - x
    return (x - (total - part)) + (y - part)


def _product(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """A product and what its rounding lost, exactly (Dekker, 1971)."""
    product = x * y
    x_high, y_high = (_SPLIT * one - (_SPLIT * one - one) for one in (x, y))
    x_low, y_low = x - x_high, y - y_high
    return product, x_low * y_low - (((product - x_high * y_high) - x_low * y_high) - x_high * y_low)


def _passed(terms: list[Floats], passes: int) -> list[Floats]:
    """Terms of the same sum, of which after some passes the last is the sum and the others what it lacks."""
    for _ in range(passes):
        for i in range(1, len(terms)):
            total = terms[i - 1] + terms[i]
            terms[i - 1], terms[i] = _error(terms[i - 1], terms[i], total), total
    return terms


def _rounded(terms: list[Floats]) -> Floats:
    rest = terms[0]
    for term in terms[1:-1]:
        rest = rest + term
    return terms[-1] + rest if len(terms) > 1 else rest


def _expansion(terms: list[Floats]) -> tuple[Floats, Floats, Floats]:
    """A sum as three floats, the largest first."""
    *rest, second, first = _passed(terms, 4)
    return first, second, _rounded([*rest, np.zeros_like(first)])


def running(values: Floats) -> list[Floats]:
    """Running totals in limbs, shape (n,) each, the value itself included; always as many."""
    limbs = _running(values)
    return [limb[1:] for limb in limbs] + [np.zeros(len(values))] * (_LIMBS - len(limbs))
