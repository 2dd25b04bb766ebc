"""What one step adds to the past, in full before any store is asked: a store takes it whole, in one go.

Numbers of arrival are given while it is taken; until then a row has 0 in their place.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fds_mlflow.features.state.logs import LABEL, RECORD, append, name, parted, renamed, written
from fds_mlflow.features.state.remembered import Remembered, entity_key, occurred_key, occurred_part
from fds_mlflow.features.state.rows import FIRST, PAIRS
from fds_mlflow.features.state.store import ChangedError, Value, Values

META = b"m".ljust(17, b"\0")
"""The key of what is kept once."""
LAYOUT, NUMBER = (META, b"layout"), (META, b"number")

ROW = struct.Struct("<qqqq")
"""A pair, or a label."""
COUNT = struct.Struct("<qq")
"""How many arrivals there were, and the latest time of a transaction."""
_AT = struct.Struct("<q")


class Counted(NamedTuple):
    """A value that is counted over an entity: the number of its field, and its hash."""

    at: int
    value: bytes


class Entry(NamedTuple):
    """A transaction.

    Attributes:
        key: Of its id.
        remembered: What is kept by its id.
        roles: Of its entities.
        record: Its row.
        counted: For each of its entities, in their order, the values that are counted over it.
        since: Occurrences that are not later are not kept, microseconds.
        layout: By which it was made: a store that has another one by now takes nothing.
    """

    key: bytes
    remembered: Remembered
    roles: Sequence[str]
    record: bytes
    counted: Sequence[Sequence[Counted]]
    since: int
    layout: bytes

    @property
    def looked_at(self) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
        """The keys whose parts, and the parts that, its features are computed from."""
        both = list(zip(self.remembered.entities, self.counted, strict=True))
        return (
            [entity_key(own) for own, _ in both],
            [NUMBER, LAYOUT, *(occurred_key(own, at, value) for own, counted in both for at, value in counted)],
        )


@dataclass(frozen=True)
class Label:
    """A label.

    Attributes:
        key: Of its transaction's id.
        fraud: What it says.
        known: When it became known, microseconds.
        delay: Age of the transaction from which it may be used, microseconds.
        logged: Whether any feature looks at labels.
    """

    key: bytes
    fraud: bool
    known: int
    delay: int
    logged: bool


Parts = Mapping[bytes, Value]
"""The parts of an entity, but for the many."""


class Added(NamedTuple):
    """How an entry was taken.

    Attributes:
        kept: What was there under its id already, and stayed; None where it was added.
        number: Of its arrival.
        last: Of the last arrival when the past was looked at.
        pasts: Of its entities, in their order, with the entry in them.
    """

    kept: Remembered | None
    number: int
    last: int
    pasts: Sequence[Parts]


def add(before: Values, values: Values, entry: Entry) -> Added:
    """Take in a transaction whose id is new.

    Args:
        before: What is there; all of it is looked at here.
        values: What is written here.
        entry: The transaction.

    Raises:
        ChangedError: The store has another layout by now, and the entry would lack what is to be remembered.
    """
    if before.get(*LAYOUT) != entry.layout:
        raise changed()
    of = entry.remembered
    known = _known(before, entry)
    if known is not None:
        return known
    number = following(before, values, of.time)
    values.put(entry.key, b"", _AT.pack(number) + of.written()[8:])
    return Added(None, number, number, _grown(before, values, entry, number))


def look(before: Values, entry: Entry) -> Added:
    """As `add`, and nothing is written."""
    number = number_of(before) + 1
    return _known(before, entry) or Added(None, number, number, _grown(before, _Unwritten(), entry, number))


def _known(before: Values, entry: Entry) -> Added | None:
    """How a transaction was taken that is there already; None where it is new."""
    found = before.get(entry.key, b"")
    if found is None:
        return None
    kept = Remembered.read(found)
    return Added(kept, kept.number, number_of(before), _pasts(before, entry))


def _pasts(before: Values, entry: Entry) -> list[dict[bytes, Value]]:
    return [dict(before.parts(entity_key(own))) for own in entry.remembered.entities]


def _grown(before: Values, values: Values, entry: Entry, number: int) -> list[dict[bytes, Value]]:
    """The pasts of a transaction's entities, to which it is added."""
    time, pasts = entry.remembered.time, _pasts(before, entry)
    record = entry.record[:8] + _AT.pack(number) + entry.record[16:]
    for own, counted, past in zip(entry.remembered.entities, entry.counted, pasts, strict=True):
        key = entity_key(own)
        append(values, key, past, RECORD, [record])
        for at, value in counted:
            part = occurred_part(at, value)
            rows, times = _occurred(before.get(key, part), time, number, entry.since)
            append(values, key, past, name(PAIRS, at), rows)
            values.put(key, part, times)
    return pasts


class _Unwritten:
    """Values that are not kept."""

    def get(self, key: bytes, part: bytes) -> Value | None:
        raise NotImplementedError

    def put(self, key: bytes, part: bytes, value: bytes) -> None: ...

    def delete(self, key: bytes, part: bytes) -> None: ...

    def parts(self, key: bytes, *, many: bool = False) -> Sequence[tuple[bytes, Value]]:
        raise NotImplementedError


def _occurred(kept: Value | None, time: int, number: int, since: int) -> tuple[list[bytes], bytes]:
    """The rows of pairs that an occurrence adds, and when its value occurred, as it is kept from now on."""
    if kept is not None:
        last = _AT.unpack_from(kept, len(kept) - 8)[0]
        if last <= time and since < _AT.unpack_from(kept)[0]:
            return [ROW.pack(time, number, last, 1)], b"".join([kept, _AT.pack(time)])
    times = times_of(kept)
    place = bisect_right(times, time)
    last = times[place - 1] if place else FIRST
    rows = [ROW.pack(time, number, last, 1)]
    if place < len(times):  # it came late: the pair that it parts is taken back
        rows += [ROW.pack(times[place], number, last, -1), ROW.pack(times[place], number, time, 1)]
    times.insert(place, time)
    recent = times[bisect_right(times, since) :]
    return rows, struct.pack(f"<{len(recent)}q", *recent)


def changed() -> ChangedError:
    """Others have added to what is to be remembered."""
    return ChangedError("the state remembers more than this process knew of", fix="do the same again")


def add_record(values: Values, own: bytes, record: bytes, number: int) -> None:
    """Add a row to an entity's records.

    Args:
        values: Of the store.
        own: The entity.
        record: The row; its number is left open.
        number: Of its arrival.
    """
    append(values, entity_key(own), None, RECORD, [record[:8] + _AT.pack(number) + record[16:]])


def recounted(values: Values, own: bytes, at: int, seen: Iterable[tuple[bytes, int, int]], since: int) -> None:
    """Count anew what is counted over an entity: what is known of it, and what a history tells beside.

    Two occurrences of one value in one moment are one: no window parts them.

    Args:
        values: Of the store.
        own: The entity.
        at: The number of the field.
        seen: Hashed values, when they occurred, and the numbers of the arrivals.
        since: Occurrences that are not later are not kept by themselves, microseconds.
    """
    key, log = entity_key(own), name(PAIRS, at)
    numbers: dict[int, int] = {}
    for part, columns in parted(values, key, log):
        numbers |= dict(zip(columns[0].tolist(), columns[1].tolist(), strict=True))
        values.delete(key, part)
    times: dict[bytes, set[int]] = {}
    for part, kept in values.parts(key, many=True):
        if part[1] == at:
            times[part[2:]] = set(times_of(kept))
    for value, time, number in seen:
        times.setdefault(value, set()).add(time)
        numbers.setdefault(time, number)
    rows = []
    for value, every in times.items():
        ordered = sorted(every)
        rows += [(now, numbers.get(now, 0), last, 1) for last, now in pairwise([FIRST, *ordered])]
        recent = ordered[bisect_right(ordered, since) :]
        if recent:
            values.put(*occurred_key(own, at, value), struct.pack(f"<{len(recent)}q", *recent))
    for part, kept in written(PAIRS, np.array(sorted(rows), dtype=np.int64).reshape(-1, 4)) if rows else ():
        values.put(key, log + renamed(part, kept), kept)


def add_label(values: Values, label: Label) -> bool:
    """Take in a label, or the correction of one; whether its transaction is remembered.

    What became known last holds, in whichever order it is told, as everywhere; of one moment, what is told last.
    """
    kept = values.get(label.key, b"")
    if kept is None:
        return False
    of = Remembered.read(kept)
    moment = max(label.known, of.time + label.delay)
    if of.labelled and (moment < of.moment or (of.fraud, of.moment) == (label.fraud, moment)):
        return True
    number = following(values, values)
    rows = [ROW.pack(of.moment, number, -1, -of.fraud)] if of.labelled else []
    rows.append(ROW.pack(moment, number, 1, label.fraud))
    of.labelled, of.fraud, of.moment = True, label.fraud, moment
    values.put(label.key, b"", of.written())
    for own in of.entities if label.logged else ():
        append(values, entity_key(own), None, LABEL, rows)
    return True


class InTransactions:
    """Entries and labels of a store whose transactions keep all others from writing."""

    def reading(
        self, keys: Sequence[bytes] = (), parts: Sequence[tuple[bytes, bytes]] = ()
    ) -> AbstractContextManager[Values]:
        """See `Store`."""
        raise NotImplementedError

    writing = reading

    def before(self, values: Values) -> tuple[Values, Callable[[], None]]:
        """What is there before a transaction that writes has written anything, and how to let go of it."""
        raise NotImplementedError

    @contextmanager
    def adding(self, entry: Entry) -> Iterator[Added]:
        """See `Store`; others may write as soon as it is taken, before it is looked at."""
        with self.writing() as values:
            before, let_go = self.before(values)
            added = add(before, values, entry)
        try:
            yield added
        finally:
            let_go()

    def label(self, label: Label) -> bool:
        """See `Store`."""
        with self.writing() as values:
            return add_label(values, label)


def times_of(kept: Value | None) -> list[int]:
    """When a value occurred with an entity, in order."""
    return [] if kept is None else list(struct.unpack(f"<{len(kept) // 8}q", kept))


def number_of(values: Values) -> int:
    """How many transactions and labels have arrived."""
    kept = values.get(*NUMBER)
    return 0 if kept is None else int(COUNT.unpack(kept)[0])


def latest_of(values: Values) -> int:
    """The latest time of a transaction; 0 of none."""
    kept = values.get(*NUMBER)
    return 0 if kept is None else int(COUNT.unpack(kept)[1])


def following(before: Values, values: Values, time: int = 0) -> int:
    """The number of the next arrival, which this is."""
    kept = before.get(*NUMBER)
    number, latest = (0, 0) if kept is None else COUNT.unpack(kept)
    values.put(*NUMBER, COUNT.pack(number + 1, max(time, latest)))
    return int(number) + 1
