"""Medians over stretches of an array: the values' ranks, bit by bit.

A wavelet matrix (Claude, Navarro and Ordóñez, "The wavelet matrix", Information Systems 47, 2015): for each bit of the
ranks, the highest first, the values are parted into those without and those with it, each in their order. Of a stretch
those without the bit are a stretch of the next level, and so are the others; where each is follows from how many there
are before. So the k-th smallest of a stretch is found in as many steps as ranks have bits, however long it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fds_mlflow.features import meaning
from fds_mlflow.features.meaning import Floats, Ints

Places = npt.NDArray[Any]
"""Whole numbers that are short where they may be."""


class Ranks:
    """The values of one column along an order, of which medians over stretches are asked.

    Args:
        values: Shape (n,), without NaN.
        group: Numbers of groups, not descending, shape (n,), where no stretch spans several: ranks within them are
            small, and few bits.
    """

    def __init__(self, values: Floats, group: Ints | None = None) -> None:
        rank = _ranks(values, group)
        self._levels: list[tuple[Places, int]] = []
        """Each level's number of values without the bit before each place, shape (n + 1,), and in all."""
        for bit in reversed(range(int(rank.max(initial=0)).bit_length())):
            without = (rank >> bit) & 1 == 0
            before = np.zeros(len(rank) + 1, dtype=rank.dtype)
            np.cumsum(without, out=before[1:])
            self._levels.append((before, int(before[-1])))
            order = np.concatenate([np.flatnonzero(without), np.flatnonzero(~without)])
            rank, values = rank[order], values[order]
        self._values = values

    def median(self, start: Ints, end: Ints) -> Floats:
        """The median of values[start:end]: of an even number the middle of the two in the middle; NaN of none."""
        found = np.full(len(start), np.nan)
        some = np.flatnonzero(end > start)
        start, number = start[some], (end - start)[some]
        low = self._smallest(start, number, (number - 1) // 2)
        high = low.copy()
        even = np.flatnonzero(number % 2 == 0)
        high[even] = self._smallest(start[even], number[even], number[even] // 2)
        found[some] = meaning.middle(low, high)
        return found

    def _smallest(self, start: Ints, number: Ints, which: Ints) -> Floats:
        """Of stretches with so many values the one that so many are not larger than, from 0 on."""
        for before, without in self._levels:
            first = before[start]
            here = before[start + number] - first
            later = which >= here
            start = np.where(later, start - first + without, first)
            which = which - here * later
            number = np.where(later, number - here, here)
        found: Floats = self._values[start]
        return found


def _ranks(values: Floats, group: Ints | None) -> Places:
    """The place of each value in its group, were that sorted."""
    order = np.argsort(values, kind="stable") if group is None else np.lexsort((values, group))
    place = np.arange(len(values), dtype=np.int32 if len(values) < 2**31 else np.int64)
    rank: Places = np.empty_like(place)
    rank[order] = place
    if group is None or not len(group):
        return rank
    firsts = np.flatnonzero(np.diff(group, prepend=group[0] - 1)).astype(rank.dtype)
    rank -= np.repeat(firsts, np.diff(firsts, append=len(group)))
    return rank
