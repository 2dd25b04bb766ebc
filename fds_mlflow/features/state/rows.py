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
from collections.abc import Sequence
from dataclasses import dataclass
from operator import le
from typing import Any

import numpy as np
import numpy.typing as npt

from fds_mlflow.features.meaning import Floats, Ints
from fds_mlflow.features.sums import running

Words = npt.NDArray[np.int64]
Rows = list[tuple[Any, ...]]
"""Rows of the open run, sorted: whole numbers, and floats for numeric fields."""

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


def opened(data: bytes | memoryview, packed: struct.Struct) -> Rows:
    """The rows of an open run, sorted by moment, those of one moment by arrival."""
    rows = list(packed.iter_unpack(data))
    times = [row[0] for row in rows]
    return rows if all(map(le, times, times[1:])) else sorted(rows, key=lambda row: (row[0], row[1]))


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

    def __len__(self) -> int:
        return len(self.columns[0])

    def places(self, moments: Sequence[int]) -> Ints:
        """How many rows there are up to each moment."""
        found: Ints = self.columns[0].searchsorted(moments, side="right")
        return found

    def upto(self, places: Ints) -> Words:
        """The derived running values of so many rows, shape (derived columns, places); 0 of none."""
        found: Words = np.where(places > 0, self.derived[:, places - 1], 0)
        return found

    def values(self, column: int, start: int, end: int) -> Floats:
        """A numeric field between two places; missing where these rows are older than the field."""
        if column >= len(self.columns):
            return np.full(end - start, np.nan)
        return self.columns[column, start:end].view(np.float64)


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
        found += [np.cumsum(there, dtype=np.int64), *running(np.where(there, values, 0.0))]
    return found


def _of_pairs(columns: Words) -> list[npt.NDArray[Any]]:
    _, _, last, sign = columns
    order = last.argsort(kind="stable")
    return [np.cumsum(sign), last[order], np.cumsum(sign[order])]


def _of_labels(columns: Words) -> list[npt.NDArray[Any]]:
    return [np.cumsum(columns[2]), np.cumsum(columns[3])]


_DERIVE = {RECORDS: _of_records, PAIRS: _of_pairs, LABELS: _of_labels}
