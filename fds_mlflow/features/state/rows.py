"""Rows of an entity's past as sorted runs: what lies in a window is found by two searches, however many rows there are.

What is added goes to an open run: few rows in the order of arrival. When that is full it is sealed, sorted by moment,
column by column, with running totals along: a window's count and sums are differences, as in the kernel. Four sealed
runs of a level are merged into one of the next, so that a past of n rows has some log n runs. Each row has its moment
first and the number of its arrival second, by which what came later can be left out.

records
    time, number, then each numeric field; NaN is missing.
pairs
    time, number, last, sign; of one field that ``distinct`` counts. `last` is when the same value occurred before, or
    `FIRST`. The distinct values in (a, t] are the rows in it with ``last <= a``: the first occurrences there.
    A row that comes late falls between two occurrences, whose pair is taken back by a row with the sign -1.
labels
    moment, number, and what they add to the known labels, and to the frauds among them; a correction takes back.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt

from fds_mlflow.features.meaning import Floats
from fds_mlflow.features.sums import running

Words = npt.NDArray[np.int64]

OPEN = 64
"""Rows of an open run."""
FANOUT = 2
"""Sealed runs of one level that are merged into one of the next."""
FIRST = -(2**63)
"""The last occurrence of what occurs first."""

RECORDS, PAIRS, LABELS = b"r", b"d", b"y"

_HEAD = struct.Struct("<qq")  # rows; words of each, what is derived left out
NAN = int(np.array(np.nan).view(np.int64))
"""The word of a missing number."""


def form(kind: bytes, fields: int) -> struct.Struct:
    """How one row is packed."""
    return struct.Struct("<qq" + "d" * fields if kind == RECORDS else "<qqqq")


class Opened:
    """An open run, sorted by moment, those of one moment by arrival: few rows, of which each column is a list.

    Args:
        data: Its bytes: a word that begins with the number of a row's words, and the rows.

    Attributes:
        moments: Of the rows.
    """

    __slots__ = ("_order", "_width", "_words", "moments")

    def __init__(self, data: bytes | memoryview) -> None:
        self._width = width = data[0]
        self._words = memoryview(data).cast("q")
        moments: list[int] = self._words[1::width].tolist()
        self.moments = sorted(moments)
        self._order = None if moments == self.moments else sorted(range(len(moments)), key=moments.__getitem__)

    def whole(self, column: int) -> list[int]:
        """A column of whole numbers."""
        found: list[int] = self._words[1 + column :: self._width].tolist()
        return found if self._order is None else [found[place] for place in self._order]

    def floats(self, column: int) -> list[float]:
        """A numeric field; missing where these rows are older than the field."""
        if column >= self._width:
            return [nan] * len(self.moments)
        found: Any = self._words.cast("B").cast("d")[1 + column :: self._width].tolist()
        return found if self._order is None else [found[place] for place in self._order]


class Sealed:
    """A sealed run as it lies in the store, of which some places are looked at: numbers that a search finds at once.

    Args:
        data: Its bytes; see `Run`.
    """

    __slots__ = ("_floats", "_rows", "_width", "_words")

    def __init__(self, data: bytes | memoryview) -> None:
        whole = memoryview(data)
        self._words, self._floats = whole.cast("q"), whole.cast("d")
        self._rows, self._width = self._words[0], self._words[1]

    def __len__(self) -> int:
        return self._rows

    def windows(self, since: Sequence[int], time: int) -> tuple[int, list[tuple[int, int]]]:
        """Which windows have rows in it.

        Args:
            since: After which moment each begins.
            time: At which all of them end.

        Returns:
            How many rows there are before they end; the number of each, and how many there are before it begins.
        """
        words, last = self._words, 1 + self._rows
        earliest, latest = words[2], words[last]
        end = self._rows if latest <= time else bisect_right(words, time, 2, last) - 2
        found = []
        for window, moment in enumerate(since):
            if moment < latest:
                start = bisect_right(words, moment, 2, last) - 2 if moment >= earliest else 0
                if start < end:
                    found.append((window, start))
        return end, found

    def count(self, derived: int, end: int, starts: Sequence[tuple[int, int]], counts: list[int]) -> None:
        """Add what a derived running number grows by over each window; nothing where the rows are older than it."""
        words, before = self._words, self._before(derived)
        if before + end < len(words):
            total = words[before + end]
            for window, start in starts:
                counts[window] += total - words[before + start] if start else total

    def sum(self, derived: int, end: int, starts: Sequence[tuple[int, int]], terms: list[list[float]]) -> None:
        """Add numbers that sum up to what a running sum grows by; nothing where the rows are older than it."""
        floats, rows, a = self._floats, self._rows, self._before(derived)
        b, c = a + rows, a + rows + rows
        if a + end < len(floats):
            total = (floats[a + end], floats[b + end], floats[c + end])
            for window, start in starts:
                terms[window] += total
                if start:
                    terms[window] += (-floats[a + start], -floats[b + start], -floats[c + start])

    def total(self, derived: int, place: int) -> int:
        """A derived running number of so many rows."""
        return self._words[self._before(derived) + place] if place else 0

    def place(self, derived: int, moment: int) -> int:
        """How many numbers of a derived column, which is sorted, there are up to a moment."""
        first = self._before(derived) + 1
        return bisect_right(self._words, moment, first, first + self._rows) - first

    def whole(self, column: int, start: int, end: int) -> list[int]:
        """A column of whole numbers between two places; derived ones follow the others."""
        at = self._at(column)
        found: list[int] = self._words[at + start : at + end].tolist()
        return found

    def floats(self, column: int, start: int, end: int) -> Floats:
        """A numeric field between two places; missing where these rows are older than the field."""
        if column >= self._width:
            return np.full(end - start, nan)
        at = self._at(column)
        return np.array(self._floats[at + start : at + end].tolist())

    def _at(self, column: int) -> int:
        return 2 + column * self._rows

    def _before(self, derived: int) -> int:
        return 1 + (self._width + derived) * self._rows


@dataclass(frozen=True)
class Run:
    """A sealed run.

    Attributes:
        columns: Words of the rows, shape (words, rows).
        derived: What is computed along them, of the same length each.
    """

    columns: Words
    derived: Words

    @classmethod
    def read(cls, sealed: bytes | memoryview) -> Run:
        """As it was sealed."""
        rows, width = _HEAD.unpack_from(sealed)
        words = np.frombuffer(sealed, dtype="<i8", offset=_HEAD.size).reshape(-1, rows)
        return cls(words[:width], words[width:])

    @classmethod
    def of(cls, kind: bytes, columns: Words) -> Run:
        """A run of rows in any order, shape (words, rows)."""
        moments = columns[0]
        if (moments[1:] < moments[:-1]).any():
            columns = columns[:, np.lexsort((columns[1], moments))]
        columns = np.ascontiguousarray(columns)
        derived = [np.ascontiguousarray(one).view(np.int64) for one in _DERIVE[kind](columns)]
        return cls(columns, np.array(derived, dtype=np.int64).reshape(-1, columns.shape[1]))

    def sealed(self) -> bytes:
        """Its bytes."""
        return _HEAD.pack(self.columns.shape[1], len(self.columns)) + self.columns.tobytes() + self.derived.tobytes()


def merged(kind: bytes, parts: Sequence[Words]) -> Run:
    """One run of several, each of shape (words, rows); fields that older rows lack are missing there."""
    width = max(map(len, parts))
    wide = [np.vstack([part, np.full((width - len(part), part.shape[1]), NAN)]) for part in parts]
    return Run.of(kind, np.concatenate(wide, axis=1))


def words(data: bytes | memoryview, width: int) -> Words:
    """The rows of an open run, shape (words, rows)."""
    return np.frombuffer(data, dtype="<i8").reshape(-1, width).T


PER_FIELD = 4
"""Derived columns of each numeric field of records: how many values there are, and their sum in three floats."""


def _of_records(columns: Words) -> list[npt.NDArray[Any]]:
    found: list[npt.NDArray[Any]] = []
    for bits in columns[2:]:
        values = np.ascontiguousarray(bits).view(np.float64)
        there = ~np.isnan(values)
        with np.errstate(over="ignore", invalid="ignore"):  # who sums up what is so large looks at the values
            found += [np.cumsum(there, dtype=np.int64), *running(np.where(there, values, 0.0))]
    return found


def _of_pairs(columns: Words) -> list[npt.NDArray[Any]]:
    _, _, last, sign = columns
    order = last.argsort(kind="stable")
    return [np.cumsum(sign), last[order], np.cumsum(sign[order])]


def _of_labels(columns: Words) -> list[npt.NDArray[Any]]:
    return [np.cumsum(columns[2]), np.cumsum(columns[3])]


_DERIVE = {RECORDS: _of_records, PAIRS: _of_pairs, LABELS: _of_labels}
