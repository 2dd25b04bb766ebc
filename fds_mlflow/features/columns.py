"""Aggregates of one column over stretches of an order."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

import numpy as np

from fds_mlflow.features import meaning
from fds_mlflow.features.meaning import Floats, Ints
from fds_mlflow.features.parts import Window
from fds_mlflow.features.ranks import Ranks
from fds_mlflow.features.sums import Values

Feature = Callable[[slice], Floats]
"""The values of a feature at some of a role's transactions, of which a slice is asked at a time: their terms stay in a
core's cache, and no array of all rows is made for each."""


def count(start: Ints, end: Ints) -> Feature:
    """How many there are in the stretches [start, end)."""
    return lambda block: (end[block] - start[block]).astype(np.float64)


_FEW = 100_000
"""Values times stretches up to which all stretches are sorted: some four times faster for the past of one entity."""


class Column:
    """The values of one column along a role's order, those that are missing left out.

    Args:
        values: Shape (n,); NaN where missing.
        entity: Of each, not descending, shape (n,); None where there is one. No stretch spans several.
    """

    def __init__(self, values: Floats, entity: Ints | None = None) -> None:
        there = ~np.isnan(values)
        self._there = None if there.all() else np.concatenate([[0], np.cumsum(there)])
        self._values = values if self._there is None else values[there]
        self._entity = entity if self._there is None or entity is None else entity[there]

    @cached_property
    def _sums(self) -> Values:
        return Values(self._values)

    @cached_property
    def _ranks(self) -> Ranks:
        return Ranks(self._values, self._entity)

    def aggregate(self, item: Window, start: Ints, end: Ints) -> Feature:
        """One aggregate over the stretches [start, end)."""
        if self._there is not None:
            start, end = self._there[start], self._there[end]
        if item.above is not None:
            above = np.concatenate([[0], np.cumsum(self._values > item.above)])
            return lambda block: (above[end[block]] - above[start[block]]).astype(np.float64)
        if item.aggregate in ("max", "min"):
            choose = np.maximum if item.aggregate == "max" else np.minimum
            return _extremes(choose, self._values, start, end).__getitem__
        if item.aggregate == "median":
            if len(self._values) * len(start) <= _FEW:
                return partial(_medians, self._values, start, end)
            ranks = self._ranks
            return lambda block: ranks.median(start[block], end[block])
        return self._of_sums(item.aggregate, start, end)

    def _of_sums(self, aggregate: str, start: Ints, end: Ints) -> Feature:
        sums = self._sums
        if aggregate == "sum":
            return lambda block: sums.sum(start[block], end[block])
        if aggregate == "std":
            return lambda block: sums.deviation(start[block], end[block])
        return lambda block: meaning.mean(sums.sum(start[block], end[block]), end[block] - start[block])


def _medians(values: Floats, start: Ints, end: Ints, block: slice) -> Floats:
    """The median of each of few stretches; NaN of none."""
    start, number = start[block], (end - start)[block]
    width = int(number.max(initial=0))
    if not width:
        return np.full(len(start), np.nan)
    places = np.arange(width)
    beyond = places >= number[:, None]
    table = values[np.minimum(start[:, None] + places, len(values) - 1)]
    table[beyond] = np.inf
    table.sort(axis=1)
    row, half = np.arange(len(start)), number // 2
    found = meaning.middle(table[row, np.maximum(number - 1, 0) // 2], table[row, np.minimum(half, width - 1)])
    return np.where(number > 0, found, np.nan)


def _extremes(choose: np.ufunc, values: Floats, start: Ints, end: Ints) -> Floats:
    """The largest or smallest value of each stretch; NaN of none.

    The table holds those of all stretches of 1, then 2, 4, ... values; two of them that may overlap make a stretch.
    """
    found = np.full(len(start), np.nan)
    table, width, longest = values, 1, int((end - start).max(initial=0))
    while width <= longest:
        fit = np.flatnonzero((end - start >= width) & (end - start < 2 * width))
        found[fit] = choose(table[start[fit]], table[end[fit] - width])
        table, width = choose(table[:-width], table[width:]), 2 * width
    return found
