"""The past of entities: a transaction adds to it, and is told what it was before."""

from __future__ import annotations

import struct
from bisect import bisect_right, insort
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import isinf, isnan, nan
from typing import Any, TypeVar

from fds_mlflow.errors import DataError
from fds_mlflow.features.state import head
from fds_mlflow.features.state.coverage import BEGINNING, IDS, LABELLED, Coverage
from fds_mlflow.features.state.layout import Layout, entity
from fds_mlflow.features.state.logs import NOTHING, Log, append, logs, name, removed, thinned
from fds_mlflow.features.state.remembered import (
    ENTITY,
    TRANSACTION,
    Remembered,
    entity_key,
    hashed,
    occurred_key,
    transaction_key,
)
from fds_mlflow.features.state.rows import FIRST, LABELS, PAIRS, RECORDS, form
from fds_mlflow.features.state.store import MANY, Store, Value, Values

_ROW = struct.Struct("<qqqq")

Found = TypeVar("Found")


@dataclass(frozen=True)
class Arriving:
    """A transaction as it comes to the past.

    Attributes:
        id: Its id.
        time: Microseconds.
        entities: Role -> value; None, or left out, where it has none.
        numbers: Numeric column -> value; NaN, or left out, where it is missing.
    """

    id: str
    time: int
    entities: dict[str, str | None]
    numbers: dict[str, float]


@dataclass(frozen=True)
class Told:
    """What is known of one entity.

    Attributes:
        records: Its transactions, the one that arrives among them.
        labels: Labels of its transactions.
        pairs: By counted role, the occurrences of its values.
    """

    records: Log
    labels: Log
    pairs: Mapping[str, Log]

    def until(self, number: int) -> Told:
        """What had arrived before a number."""
        pairs = {other: log.until(number, PAIRS) for other, log in self.pairs.items()}
        return Told(self.records.until(number, RECORDS), self.labels.until(number, LABELS), pairs)


@dataclass(frozen=True)
class Arrival:
    """What the past tells a transaction.

    Attributes:
        again: Whether it had arrived before, and was not recorded once more.
        told: By role, where the transaction has an entity.
    """

    again: bool
    told: Mapping[str, Told]


@dataclass(frozen=True)
class Size:
    """What the past holds.

    Attributes:
        entities: Entities with a past.
        transactions: Transactions that a label, or their being sent again, can still refer to.
        bytes: What all of it takes.
    """

    entities: int
    transactions: int
    bytes: int


@dataclass
class State:
    """What a store remembers.

    Args:
        store: Where it is kept.
        layout: What is to be remembered, beside what already is.

    Raises:
        ConfigError: What is to be remembered and what already is do not go together.
    """

    store: Store
    layout: Layout
    _roles: dict[str, list[tuple[int, str]]] = field(init=False)
    _said: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        with self.store.writing() as values:
            self._join(values)

    def _follow(self, values: Values) -> None:
        """Keep what others have added meanwhile, too."""
        if head.layout(values) != self._said:
            self._join(values)

    def _join(self, values: Values) -> None:
        self.layout, self._said = head.join(values, self.layout)
        self._form = form(RECORDS, len(self.layout.numbers))
        counted = list(enumerate(self.layout.pairs))
        self._roles = {role: [(at, other) for at, (own, other) in counted if own == role] for role in self.layout.roles}

    @property
    def number(self) -> int:
        """How many transactions and labels have arrived."""
        with self.store.reading() as values:
            return head.count(values).number

    @property
    def latest(self) -> int:
        """The latest time of any transaction, microseconds; 0 of none."""
        with self.store.reading() as values:
            return head.count(values).latest

    @property
    def coverage(self) -> Coverage:
        """Since when everything is known."""
        with self.store.reading() as values:
            return head.coverage(values)

    def accept(self) -> None:
        """Say that nothing came before what is here: whatever window reaches back further is whole."""
        with self.store.writing() as values:
            known = head.coverage(values)
            head.put_coverage(values, known.reaching(known.since, BEGINNING))

    def of(self, role: str, value: str, compute: Callable[[Told], Found]) -> Found:
        """Compute something of one entity's past; what it is told is valid until it returns."""
        with self.store.reading() as values:
            return compute(self._of(values, role, entity(role, value)))

    # --- arriving ------------------------------------------------------------------------------------------

    def arrive(self, arriving: Arriving, compute: Callable[[Arrival], Found]) -> Found:
        """Record a transaction, once, whole or not at all, and compute something of its entities' past.

        Args:
            arriving: The transaction.
            compute: Is told the past; what it is told is valid until it returns.

        Raises:
            DataError: Its id has arrived with other values, or an amount is infinite.
        """
        digest, key = _digest(arriving), transaction_key(arriving.id)
        with self.store.writing() as values:
            kept = values.get(key, b"")
            known = None if kept is None else Remembered.read(kept)
            if known is not None and not known.is_that(arriving.time, digest):
                raise DataError(
                    f"transaction {arriving.id!r} has arrived before, with another time, entity or amount",
                    fix="give every transaction an id of its own; send the same again only to repeat a request",
                )
            self._follow(values)
            number = self._recorded(values, arriving, digest) if known is None else known.number
        with self.store.reading() as values:  # others may write meanwhile: what comes later is left out
            told = self._told(values, arriving)
            if head.count(values).number > number:
                told = {role: one.until(number + 1) for role, one in told.items()}
            return compute(Arrival(known is not None, told))

    def _recorded(self, values: Values, arriving: Arriving, digest: bytes) -> int:
        number = head.counted(values, arriving.time)
        entities = self._entities(arriving)
        remembered = Remembered(number, arriving.time, digest, list(entities.values()))
        values.put(transaction_key(arriving.id), b"", remembered.written())
        self.add(values, arriving, number, entities, range(len(self.layout.pairs)))
        return number

    def add(
        self, values: Values, arriving: Arriving, number: int, roles: Collection[str], pairs: Collection[int]
    ) -> None:
        """Add a transaction to some logs of its entities.

        Args:
            values: Of the store.
            arriving: The transaction.
            number: Its arrival.
            roles: Those to whose records it is added.
            pairs: The numbers of the layout's pairs in which its values are counted.
        """
        record = self._record(arriving, number)
        for role, own in self._entities(arriving).items():
            if role in roles:
                append(values, entity_key(own), name(RECORDS), [record])
            for at, value in self._values(role, arriving):
                if at not in pairs:
                    continue
                key, part = occurred_key(own, at, hashed(value))
                times = _times(values.get(key, part))
                append(values, entity_key(own), name(PAIRS, at), list(_occurrences(times, arriving.time, number)))
                insort(times, arriving.time)
                recent = times[bisect_right(times, arriving.time - 2 * self.layout.span) :]
                values.put(key, part, struct.pack(f"<{len(recent)}q", *recent))

    def look(self, arriving: Arriving, compute: Callable[[Arrival], Found]) -> Found:
        """As `arrive`, and record nothing.

        Raises:
            DataError: An amount is infinite.
        """
        _digest(arriving)
        with self.store.reading() as values:
            number, found = head.count(values).number + 1, {}
            row = self._form.unpack(self._record(arriving, number))
            for role, one in self._told(values, arriving).items():
                own, pairs = self._entities(arriving)[role], dict(one.pairs)
                for at, value in self._values(role, arriving):
                    times = _times(values.get(*occurred_key(own, at, hashed(value))))
                    added = _occurrences(times, arriving.time, number)
                    other = self.layout.pairs[at][1]
                    pairs[other] = pairs[other].having(map(_ROW.unpack, added))
                found[role] = Told(one.records.having([row]), one.labels, pairs)
            return compute(Arrival(False, found))

    def _entities(self, arriving: Arriving) -> dict[str, bytes]:
        given = arriving.entities
        return {role: entity(role, value) for role in self._roles if (value := given.get(role)) is not None}

    def _values(self, role: str, arriving: Arriving) -> Iterator[tuple[int, str]]:
        """The values that are counted over an entity, each with the number of its field."""
        for at, other in self._roles[role]:
            value = arriving.entities.get(other)
            if value is not None:
                yield at, value

    def _record(self, arriving: Arriving, number: int) -> bytes:
        numbers = [arriving.numbers.get(name, nan) for name in self.layout.numbers]
        return self._form.pack(arriving.time, number, *numbers)

    def _told(self, values: Values, arriving: Arriving) -> dict[str, Told]:
        return {role: self._of(values, role, own) for role, own in self._entities(arriving).items()}

    def _of(self, values: Values, role: str, own: bytes) -> Told:
        known = logs(values, entity_key(own), len(self.layout.numbers))
        return Told(
            known.get(name(RECORDS), NOTHING),
            known.get(name(LABELS), NOTHING),
            {other: known.get(name(PAIRS, at), NOTHING) for at, other in self._roles.get(role, ())},
        )

    # --- labels --------------------------------------------------------------------------------------------

    def label(self, id: str, *, fraud: bool, known: int) -> bool:  # noqa: A002 - as everywhere
        """Take in a label, or the correction of one.

        Args:
            id: Of the transaction.
            fraud: What it says.
            known: When it became known, microseconds.

        Returns:
            Whether the transaction is remembered.
        """
        key = transaction_key(id)
        with self.store.writing() as values:
            self._follow(values)
            kept = values.get(key, b"")
            if kept is None:
                return False
            of = Remembered.read(kept)
            moment = max(known, of.time + self.layout.label_delay)
            if of.labelled and (of.fraud, of.moment) == (fraud, moment):
                return True
            number = head.counted(values)
            rows = [_ROW.pack(of.moment, number, -1, -of.fraud)] if of.labelled else []
            rows.append(_ROW.pack(moment, number, 1, fraud))
            of.labelled, of.fraud, of.moment = True, fraud, moment
            values.put(key, b"", of.written())
            for own in of.entities:
                append(values, entity_key(own), name(LABELS), rows)
            return True

    # --- what goes -----------------------------------------------------------------------------------------

    def forget(self, role: str, value: str) -> int:
        """Remove all that is kept of an entity, and its transactions' ids.

        Returns:
            The number of its records and labels.
        """
        own = entity(role, value)
        with self.store.writing() as values:
            gone = removed(values, entity_key(own))
            for part, _ in values.parts(entity_key(own), many=True):
                values.delete(entity_key(own), part)
        for key in self.store.keys(TRANSACTION):
            with self.store.writing() as values:
                kept = values.get(key, b"")
                if kept is not None and own in Remembered.read(kept).entities:
                    values.delete(key, b"")
        parts = [MANY + bytes([at]) + hashed(value) for at, (_, other) in enumerate(self.layout.pairs) if other == role]
        for key in self.store.keys(ENTITY) if parts else ():
            with self.store.writing() as values:
                for part in parts:
                    if values.get(key, part) is not None:
                        values.delete(key, part)
        return gone

    def expire(self, time: int, labelled: int) -> int:
        """Remove what no window can reach any more.

        Args:
            time: Microseconds; no transaction older than this will arrive any more.
            labelled: No transaction older than this will get a label, or be sent again.

        Returns:
            The number of records and labels.
        """
        since = dict.fromkeys((RECORDS, PAIRS), time - self.layout.span) | {LABELS: time - self.layout.label_span}
        with self.store.writing() as values:  # before it is gone: who is killed meanwhile has said less than he knew
            known, number = head.coverage(values), head.count(values).number
            for one in known.since:
                until = since[LABELS if one.endswith(LABELLED) else RECORDS]
                known = known.losing(one, labelled if one == IDS else until, number)
            head.put_coverage(values, known)
        gone = 0
        for key in self.store.keys(ENTITY):
            with self.store.writing() as values:
                gone += thinned(values, key, since, gaps=self.layout.gaps)
                for part, value in values.parts(key, many=True):
                    if _times(value)[-1] <= since[PAIRS]:
                        values.delete(key, part)
        for key in self.store.keys(TRANSACTION):
            with self.store.writing() as values:
                kept = values.get(key, b"")
                if kept is not None and Remembered.read(kept).time < labelled:
                    values.delete(key, b"")
        return gone

    def size(self) -> Size:
        """What it holds."""
        entities, transactions = (sum(1 for _ in self.store.keys(kind)) for kind in (ENTITY, TRANSACTION))
        return Size(entities, transactions, self.store.bytes())

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()


def _times(kept: Value | None) -> list[int]:
    """When a value occurred with an entity, in order."""
    return [] if kept is None else list(struct.unpack(f"<{len(kept) // 8}q", kept))


def _digest(arriving: Arriving) -> bytes:
    """What tells a transaction from another one of the same id.

    Raises:
        DataError: An amount is infinite.
    """
    infinite = [column for column, value in arriving.numbers.items() if isinf(value)]
    if infinite:
        raise DataError(
            f"column {infinite[0]!r} of transaction {arriving.id!r} is infinite", fix="send a number, or leave it empty"
        )
    numbers = {column: value for column, value in arriving.numbers.items() if not isnan(value)}
    given: Any = chain(arriving.entities.items(), numbers.items())
    said = sorted((column, repr(value)) for column, value in given if value is not None)
    return entity("\0", repr((arriving.time, said)))


def _occurrences(times: Sequence[int], time: int, number: int) -> Iterator[bytes]:
    """The pairs that an occurrence adds, and takes back, among earlier ones of the same value, sorted."""
    place = bisect_right(times, time)
    last = times[place - 1] if place else FIRST
    if place < len(times):  # it came late
        yield _ROW.pack(times[place], number, last, -1)
        yield _ROW.pack(times[place], number, time, 1)
    yield _ROW.pack(time, number, last, 1)
