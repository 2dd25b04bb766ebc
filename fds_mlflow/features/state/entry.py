"""What one step adds to the past, in full before any store is asked: a store takes it whole, in one go.

Numbers of arrival are given while it is taken; until then a row has 0 in their place.
"""

from __future__ import annotations

import struct
from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from fds_mlflow.features.state.logs import append, name
from fds_mlflow.features.state.remembered import Remembered, entity_key, occurred_key
from fds_mlflow.features.state.rows import FIRST, LABELS, PAIRS, RECORDS
from fds_mlflow.features.state.store import Value, Values

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


@dataclass(frozen=True)
class Entry:
    """A transaction.

    Attributes:
        key: Of its id.
        remembered: What is kept by its id.
        record: Its row.
        counted: For each of its entities, in their order, the values that are counted over it.
        since: Occurrences that are not later are not kept, microseconds.
    """

    key: bytes
    remembered: Remembered
    record: bytes
    counted: Sequence[Sequence[Counted]]
    since: int

    @property
    def looked_at(self) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
        """The keys whose parts, and the parts that, its features are computed from."""
        both = list(zip(self.remembered.entities, self.counted, strict=True))
        return (
            [entity_key(own) for own, _ in both],
            [NUMBER, *(occurred_key(own, at, value) for own, counted in both for at, value in counted)],
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


class Added(NamedTuple):
    """How an entry was taken.

    Attributes:
        kept: What was there under its id already, and stayed; None where it was added.
        number: Of its arrival.
        last: Of the last arrival when the past was looked at.
        values: The past, with the entry in it.
    """

    kept: Remembered | None
    number: int
    last: int
    values: Values


def add(values: Values, entry: Entry) -> tuple[Remembered | None, int]:
    """Take in a transaction whose id is new.

    Returns:
        What is there under its id already, and the number of its arrival.
    """
    found = values.get(entry.key, b"")
    if found is not None:
        kept = Remembered.read(found)
        return kept, kept.number
    of = entry.remembered
    number = following(values, of.time)
    written = _AT.pack(number)
    values.put(entry.key, b"", written + of.written()[8:])
    record = entry.record[:8] + written + entry.record[16:]
    for own, counted in zip(of.entities, entry.counted, strict=True):
        append(values, entity_key(own), name(RECORDS), [record])
        for at, value in counted:
            key, part = occurred_key(own, at, value)
            times = times_of(values.get(key, part))
            append(values, entity_key(own), name(PAIRS, at), list(occurrences(times, of.time, number)))
            insort(times, of.time)
            recent = times[bisect_right(times, entry.since) :]
            values.put(key, part, struct.pack(f"<{len(recent)}q", *recent))
    return None, number


def add_label(values: Values, label: Label) -> bool:
    """Take in a label, or the correction of one; whether its transaction is remembered."""
    kept = values.get(label.key, b"")
    if kept is None:
        return False
    of = Remembered.read(kept)
    moment = max(label.known, of.time + label.delay)
    if of.labelled and (of.fraud, of.moment) == (label.fraud, moment):
        return True
    number = following(values)
    rows = [ROW.pack(of.moment, number, -1, -of.fraud)] if of.labelled else []
    rows.append(ROW.pack(moment, number, 1, label.fraud))
    of.labelled, of.fraud, of.moment = True, label.fraud, moment
    values.put(label.key, b"", of.written())
    for own in of.entities if label.logged else ():
        append(values, entity_key(own), name(LABELS), rows)
    return True


class InTransactions:
    """Entries and labels of a store whose transactions keep all others from writing."""

    def reading(
        self, keys: Sequence[bytes] = (), parts: Sequence[tuple[bytes, bytes]] = ()
    ) -> AbstractContextManager[Values]:
        """See `Store`."""
        raise NotImplementedError

    writing = reading

    @contextmanager
    def adding(self, entry: Entry) -> Iterator[Added]:
        """See `Store`; others may write between the two transactions."""
        with self.writing() as values:
            kept, number = add(values, entry)
        with self.reading() as values:
            yield Added(kept, number, number_of(values), values)

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


def following(values: Values, time: int = 0) -> int:
    """The number of the next arrival, which this is."""
    number = number_of(values) + 1
    values.put(*NUMBER, COUNT.pack(number, max(time, latest_of(values))))
    return number


def occurrences(times: Sequence[int], time: int, number: int) -> Iterator[bytes]:
    """The pairs that an occurrence adds, and takes back, among earlier ones of the same value, sorted."""
    place = bisect_right(times, time)
    last = times[place - 1] if place else FIRST
    if place < len(times):  # it came late
        yield ROW.pack(times[place], number, last, -1)
        yield ROW.pack(times[place], number, time, 1)
    yield ROW.pack(time, number, last, 1)
