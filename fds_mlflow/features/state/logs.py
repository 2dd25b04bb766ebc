"""An entity's logs in a store: rows are added to the open run, and told as runs.

The parts of an entity's key begin with the kind of rows and the number of their field. Neighbours in the store, all of
them are read in one go.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import xxhash

from fds_mlflow.features.state.rows import (
    FANOUT,
    FIRST,
    LABELS,
    NAN,
    OPEN,
    PAIRS,
    RECORDS,
    Opened,
    Run,
    Sealed,
    Words,
    merged,
    words,
)
from fds_mlflow.features.state.store import MANY, Value, Values

_OPEN = b"\xff"
_OPEN_NAME = 3
"""Length of an open run's part; those of sealed ones are longer."""
_NAN = struct.pack("<d", np.nan)


def _head(width: int) -> bytes:
    """What an open run begins with: the words of its rows."""
    return bytes([width]).ljust(8, b"\0")


_NO_ROWS = _head(4)


class Told:
    """What is known of one entity: its logs, by their names.

    Args:
        parts: Its parts in the store, but for the many.
    """

    __slots__ = ("_parts", "_sealed")

    def __init__(self, parts: Mapping[bytes, Value]) -> None:
        self._parts = parts
        self._sealed = [part for part in parts if len(part) > _OPEN_NAME]

    def rows(self, log: bytes) -> Opened:
        """The open run."""
        return Opened(self._parts.get(log + _OPEN, _NO_ROWS))

    def runs(self, log: bytes) -> list[Sealed]:
        """The sealed ones."""
        return [Sealed(self._parts[part]) for part in self._sealed if part[:2] == log] if self._sealed else []

    def columns(self, log: bytes) -> list[Words]:
        """The words of all rows, by runs, shape (words, rows) each."""
        return [_columns(part, value) for part, value in self._parts.items() if part[:2] == log]

    def opened(self, time: int) -> tuple[Opened, list[Sealed], int]:
        """The runs of records, and which of the open ones is the last to arrive of those at a time.

        That is the transaction itself, which was added just now; of one that is sent again it may be sealed by now, and
        is opened here.
        """
        rows, runs = self.rows(RECORD), self.runs(RECORD)
        place, number = _latest(rows.moments, rows.whole(1), time)
        for part, run in zip([part for part in self._sealed if part[:2] == RECORD], runs, strict=True):
            end, _ = run.windows([], time)
            if end and run.whole(0, end - 1, end)[0] == time and run.whole(1, end - 1, end)[0] > number:
                return self._with_open(part, end - 1).opened(time)
        return rows, runs, place

    def _with_open(self, part: bytes, place: int) -> Told:
        """The same with a row of a sealed run of records among the open ones."""
        columns, there = _columns(part, self._parts[part]), self._parts.get(RECORD + _OPEN)
        rows = [columns[:, place : place + 1], *([] if there is None else [open_columns(there)])]
        others = np.delete(columns, place, axis=1)
        parts = dict(self._parts)
        del parts[part]
        if others.size:
            parts[part] = _whole(part, others)
        return Told({**parts, RECORD + _OPEN: _whole(RECORD + _OPEN, merged(RECORDS, rows).columns)})

    def until(self, number: int) -> Told:
        """What of it had arrived up to a number."""
        parts = dict[bytes, Value]()
        for part, value in self._parts.items():
            columns = _columns(part, value)
            early = columns[1] <= number
            if early.all():
                parts[part] = value
            elif early.any():
                parts[part] = _whole(part, columns[:, early])
        return Told(parts)


def name(kind: bytes, field: int = 0) -> bytes:
    """How the parts of a log begin."""
    return kind + bytes([field])


RECORD, LABEL = name(RECORDS), name(LABELS)


def append(values: Values, key: bytes, past: dict[bytes, Value] | None, log: bytes, rows: Sequence[bytes]) -> None:
    """Add rows of one arrival to a log.

    Args:
        values: Are written.
        key: Of the entity.
        past: Its parts, which change with them; None where they were not looked at, and are not asked for again.
        log: Its name.
        rows: At least one.
    """
    part, size = log + _OPEN, len(rows[0])
    data = values.get(key, part) if past is None else past.get(part)
    if data is not None and data[0] * 8 > size:  # somebody knows more fields already
        rows = [row + _NAN * (data[0] - size // 8) for row in rows]
        size = data[0] * 8
    if data is not None and (data[0] * 8 != size or len(data) >= 8 + OPEN * size):
        _seal(values, key, past, log, open_columns(data))
        data = None
    whole = b"".join([_head(size // 8) if data is None else data, *rows])
    values.put(key, part, whole)
    if past is not None:
        past[part] = whole


def _latest(moments: list[int], arrivals: list[int], time: int) -> tuple[int, int]:
    """The place and the number of the last arrival at a time."""
    places = range(bisect_left(moments, time), bisect_right(moments, time))
    return max(((place, arrivals[place]) for place in places), key=itemgetter(1), default=(0, FIRST))


def _columns(part: bytes, value: Value) -> Words:
    """The words of a part's rows, shape (words, rows)."""
    return Run.read(value).columns if is_sealed(part) else open_columns(value)


def _seal(values: Values, key: bytes, past: dict[bytes, Value] | None, log: bytes, columns: Words) -> None:
    """Add a run, merged with those of its level where there are enough of them."""
    past = dict(values.parts(key)) if past is None else past
    gone, part, sealed = sealing(log, columns, past.items())
    for old in gone:
        values.delete(key, old)
        del past[old]
    values.put(key, part, sealed)
    past[part] = sealed


def sealing(log: bytes, columns: Words, there: Iterable[tuple[bytes, Value]]) -> tuple[list[bytes], bytes, bytes]:
    """What an open run becomes when it is sealed.

    Args:
        log: Its name.
        columns: Its words, shape (words, rows).
        there: The entity's parts.

    Returns:
        The parts that go, since they are merged with it, the part that comes, and its value. No part ever has the name
        of another one before it: the last arrival of an open run is in it.
    """
    level, parts, gone = 0, [columns], list[bytes]()
    runs = [(part, value) for part, value in there if part[:2] == log and is_sealed(part)]
    while len(same := [(part, value) for part, value in runs if part[2] == level]) + 1 >= FANOUT:
        parts += [Run.read(value).columns for _, value in same]
        gone += [part for part, _ in same]
        level += 1
    last = int(columns[1].max())
    return gone, log + bytes([level]) + last.to_bytes(8, "big", signed=True), merged(log[:1], parts).sealed()


def is_sealed(part: bytes) -> bool:
    """Whether a part of an entity is a sealed run: what it holds does not change, but for what `thinned` removes."""
    return part[:1] != MANY and part[2:] != _OPEN


def open_part(log: bytes) -> bytes:
    """The part of a log's open run."""
    return log + _OPEN


def open_columns(value: Value) -> Words:
    """The words of an open run's rows, shape (words, rows)."""
    return words(value[8:], value[0])


def written(kind: bytes, rows: Words) -> list[tuple[bytes, bytes]]:
    """The parts of a log that holds some rows, sorted by moment, shape (rows, words)."""
    if len(rows) <= OPEN:
        return [(_OPEN, _head(rows.shape[1]) + rows.tobytes())]
    level = 0
    while OPEN * FANOUT ** (level + 1) <= len(rows):
        level += 1
    return [(bytes([level]) + (1).to_bytes(8, "big"), Run.of(kind, rows.T).sealed())]


def thinned(values: Values, key: bytes, since: dict[bytes, int], *, gaps: bool) -> int:
    """Remove an entity's rows that are not later than a moment.

    Args:
        values: Of the store.
        key: Of the entity.
        since: By kind of rows.
        gaps: The last record stays.

    Returns:
        How many records and labels went.
    """
    parts = [(part, _columns(part, value)) for part, value in values.parts(key)]
    if gaps:
        latest = max((int(columns[0].max()) for part, columns in parts if part[:1] == RECORDS), default=0)
        since = {**since, RECORDS: min(since[RECORDS], latest - 1)}
    gone = 0
    for part, columns in parts:
        kept = columns[0] > since[part[:1]]
        if kept.all():
            continue
        gone += 0 if part[:1] == PAIRS else len(kept) - int(kept.sum())
        left = np.array(columns[:, kept])
        values.delete(key, part)
        if left.size:
            values.put(key, part, _whole(part, left))
    return gone


def patched(values: Values, key: bytes, numbers: Words, fields: Mapping[int, npt.NDArray[np.float64]]) -> None:
    """Give an entity's records fields that they lack.

    Args:
        values: Of the store.
        key: Of the entity.
        numbers: Arrivals of records, ascending.
        fields: By number of the field, what each of these records has in it.
    """
    width = 3 + max(fields)
    for part, columns in parted(values, key, RECORD):
        places = np.minimum(numbers.searchsorted(columns[1]), len(numbers) - 1)
        there = numbers[places] == columns[1]
        lacking = np.full((max(0, width - len(columns)), columns.shape[1]), NAN)
        wide = np.ascontiguousarray(np.vstack([columns, lacking]))
        found = False
        for field, given in fields.items():
            own = wide[2 + field].view(np.float64)
            chosen = there & np.isnan(own) & ~np.isnan(given[places])
            own[chosen] = given[places[chosen]]
            found = found or bool(chosen.any())
        if found:
            whole = _whole(part, wide)
            values.delete(key, part)
            values.put(key, part[:2] + renamed(part[2:], whole), whole)


def renamed(part: bytes, value: bytes) -> bytes:
    """The name, without its log's, of a part that was written anew: clients keep sealed runs by name."""
    return part if part == _OPEN else part[:1] + xxhash.xxh3_64_digest(value)


def parted(values: Values, key: bytes, log: bytes) -> list[tuple[bytes, Words]]:
    """The parts of a log, with the words of each, shape (words, rows)."""
    return [(part, np.array(_columns(part, value))) for part, value in values.parts(key) if part[:2] == log]


def _whole(part: bytes, columns: Words) -> bytes:
    """A part that holds some rows, shape (words, rows)."""
    return Run.of(part[:1], columns).sealed() if is_sealed(part) else _head(len(columns)) + columns.T.tobytes()


def kept(values: Values, key: bytes) -> int:
    """How many records and labels of an entity there are."""
    return sum(len(_columns(part, value)[0]) for part, value in values.parts(key) if part[:1] != PAIRS)


def removed(values: Values, key: bytes) -> int:
    """Remove all of an entity; returns how many records and labels it had."""
    gone = kept(values, key)
    for part, _ in values.parts(key):
        values.delete(key, part)
    return gone
