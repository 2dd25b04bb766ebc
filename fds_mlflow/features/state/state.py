"""The past of entities: a transaction adds to it, and is told what it was before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from math import isinf, nan
from typing import NamedTuple, TypeVar

from fds_mlflow.errors import DataError
from fds_mlflow.features.state import head
from fds_mlflow.features.state.coverage import Coverage
from fds_mlflow.features.state.entry import (
    COUNT,
    META,
    NUMBER,
    Added,
    Counted,
    Entry,
    Label,
    latest_of,
    look,
    number_of,
    times_of,
)
from fds_mlflow.features.state.layout import Layout, entity
from fds_mlflow.features.state.logs import Told, kept, removed, thinned
from fds_mlflow.features.state.remembered import (
    ENTITY,
    TRANSACTION,
    Remembered,
    digest_of,
    entity_key,
    hashed,
    transaction_key,
)
from fds_mlflow.features.state.rows import LABELS, PAIRS, RECORDS, form
from fds_mlflow.features.state.store import MANY, ChangedError, Store, Value, Values, write

Found = TypeVar("Found")

_AT_ONCE = 500
"""Keys that are looked at together, where all are gone through."""


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


class Arrival(NamedTuple):
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
    _others: list[str] = field(init=False)
    _said: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        self._join()

    def _join(self) -> None:
        """Keep what is to be remembered by now, by whomever."""
        self.layout, self._said = write(self.store, partial(head.join, self.layout))
        self._form = form(RECORDS, len(self.layout.numbers))
        counted = list(enumerate(self.layout.pairs))
        self._roles = {role: [(at, other) for at, (own, other) in counted if own == role] for role in self.layout.roles}
        self._others = list(dict.fromkeys(other for _, other in self.layout.pairs))

    @property
    def number(self) -> int:
        """How many transactions and labels have arrived."""
        with self.store.reading() as values:
            return number_of(values)

    @property
    def latest(self) -> int:
        """The latest time of any transaction, microseconds; 0 of none."""
        with self.store.reading() as values:
            return latest_of(values)

    @property
    def coverage(self) -> Coverage:
        """Since when everything is known; who asks first after the first arrival has that noted."""
        with self.store.reading(parts=head.PARTS) as values:
            known, number = head.coverage(values), number_of(values)
        return known if known.begin is not None or not number else write(self.store, head.begun, parts=head.PARTS)

    def accept(self) -> None:
        """Say that nothing came before what is here: whatever window reaches back further is whole."""
        write(self.store, head.accept, parts=head.PARTS)

    def begin(self, number: int, latest: int, known: Coverage) -> None:
        """Go on from a number of arrivals, a latest time, and what is known, after a history was loaded."""
        with self.store.writing() as values:
            values.put(*NUMBER, COUNT.pack(number, latest))
            head.put_coverage(values, known)
            head.drop_note(values, head.LOADING)

    def of(self, role: str, value: str, compute: Callable[[Told], Found]) -> Found:
        """Compute something of one entity's past; what it is told is valid until it returns."""
        own = entity(role, value)
        with self.store.reading([entity_key(own)]) as values:
            return compute(Told(dict(values.parts(entity_key(own)))))

    # --- arriving ------------------------------------------------------------------------------------------

    def arrive(self, arriving: Arriving, compute: Callable[[Arrival], Found]) -> Found:
        """Record a transaction, once, whole or not at all, and compute something of its entities' past.

        Args:
            arriving: The transaction.
            compute: Is told the past; what it is told is valid until it returns.

        Raises:
            DataError: Its id has arrived with other values, or an amount is infinite.
        """
        try:
            return self._arrived(self.entry(arriving), arriving, compute)
        except ChangedError:  # others have added to what is to be remembered
            self._join()
            return self._arrived(self.entry(arriving), arriving, compute)

    def _arrived(self, entry: Entry, arriving: Arriving, compute: Callable[[Arrival], Found]) -> Found:
        with self.store.adding(entry) as added:
            return compute(_arrival(arriving.id, entry, added))

    def look(self, arriving: Arriving, compute: Callable[[Arrival], Found]) -> Found:
        """As `arrive`, and record nothing.

        Raises:
            DataError: Its id has arrived with other values, or an amount is infinite.
        """
        entry = self.entry(arriving)
        keys, parts = entry.looked_at
        with self.store.reading(keys, [*parts, (entry.key, b"")]) as values:
            return compute(_arrival(arriving.id, entry, look(values, entry)))

    def entry(self, arriving: Arriving) -> Entry:
        """What a transaction adds.

        Raises:
            DataError: An amount is infinite.
        """
        digest = _digest(arriving)
        given, numbers, layout = arriving.entities, arriving.numbers, self.layout
        hashes = {other: hashed(value) for other in self._others if (value := given.get(other)) is not None}
        roles, entities, counted = list[str](), list[bytes](), list[list[Counted]]()
        for role, pairs in self._roles.items():
            value = given.get(role)
            if value is not None:
                roles.append(role)
                entities.append(entity(role, value))
                counted.append([Counted(at, hashes[other]) for at, other in pairs if other in hashes])
        return Entry(
            transaction_key(arriving.id),
            Remembered(0, arriving.time, digest, entities),
            roles,
            self._form.pack(arriving.time, 0, *[numbers.get(name, nan) for name in layout.numbers]),
            counted,
            arriving.time - 2 * layout.span,
            self._said,
        )

    # --- labels --------------------------------------------------------------------------------------------

    def label(self, id: str, *, fraud: bool, known: int) -> bool:  # noqa: A002 - as everywhere
        """Take in a label, or the correction of one: one that became known earlier than what is kept changes nothing.

        Args:
            id: Of the transaction.
            fraud: What it says.
            known: When it became known, microseconds.

        Returns:
            Whether the transaction is remembered.
        """
        # They are kept although nothing looks at them: what joins later may.
        return self.store.label(Label(transaction_key(id), fraud, known, self.layout.label_delay, logged=True))

    # --- what goes -----------------------------------------------------------------------------------------

    def forget(self, role: str, value: str, *, dry_run: bool = False) -> int:
        """Remove all that is kept of an entity, and its transactions' ids.

        Args:
            role: Of the entity.
            value: What it is called there.
            dry_run: Only count.

        Returns:
            The number of its records and labels.
        """
        own = entity(role, value)
        if dry_run:
            with self.store.reading([entity_key(own)]) as values:
                return kept(values, entity_key(own))
        gone = write(self.store, partial(_without, entity_key(own)))
        self._purge(TRANSACTION, [b""], lambda kept: own in Remembered.read(kept).entities)
        hashes = [MANY + bytes([at]) + hashed(value) for at, (_, of) in enumerate(self.layout.pairs) if of == role]
        if hashes:
            self._purge(ENTITY, hashes, lambda _: True)
        return gone

    def expire(self, before: int, labelled: int) -> int:
        """Remove what no window can reach any more.

        Args:
            before: Microseconds; no transaction older than this will arrive any more.
            labelled: No transaction older than this will get a label, or be sent again.

        Returns:
            The number of records and labels.
        """
        since = dict.fromkeys((RECORDS, PAIRS), before - self.layout.span) | {LABELS: before - self.layout.label_span}
        # Before it is gone: who is killed meanwhile has said less than he knew.
        write(self.store, partial(head.lose, since[RECORDS], since[LABELS], labelled), parts=head.PARTS)
        gone = 0
        for key in self.store.keys(ENTITY, until=max(since.values())):
            gone += write(self.store, partial(self._thin, key, since))
        self._purge(TRANSACTION, [b""], lambda kept: Remembered.read(kept).time < labelled, until=labelled)
        return gone

    def turn(self, name: str, seconds: float) -> bool:
        """Whether it is this process's turn to do something that all who share the state do once in a while.

        Args:
            name: Of what.
            seconds: How often.
        """
        now, part = time.time_ns(), (META, name.encode())

        def take(values: Values) -> bool:
            kept = values.get(*part)
            if kept is not None and abs(now - int.from_bytes(kept, "big")) < seconds * 1e9:
                return False
            values.put(*part, now.to_bytes(8, "big"))
            return True

        return write(self.store, take)

    def _thin(self, key: bytes, since: dict[bytes, int], values: Values) -> int:
        gone = thinned(values, key, since, gaps=self.layout.gaps)
        for part, value in values.parts(key, many=True):
            if times_of(value)[-1] <= since[PAIRS]:
                values.delete(key, part)
        return gone

    def _purge(
        self, kind: bytes, parts: Sequence[bytes], gone: Callable[[Value], bool], *, until: int | None = None
    ) -> None:
        """Remove some parts of all keys of a kind, or of those of a time, as far as what they hold is to go."""
        keys = self.store.keys(kind, until=until)
        while some := list(islice(keys, _AT_ONCE)):
            asked = [(key, part) for key in some for part in parts]
            with self.store.reading(parts=asked) as values:
                found = [of for of in asked if (kept := values.get(*of)) is not None and gone(kept)]
            if found:
                write(self.store, partial(_without_those, found, gone), parts=found)

    def size(self) -> Size:
        """What it holds."""
        entities, transactions = (sum(1 for _ in self.store.keys(kind)) for kind in (ENTITY, TRANSACTION))
        return Size(entities, transactions, self.store.bytes())

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()


def _without(key: bytes, values: Values) -> int:
    """Remove all of an entity; returns how many records and labels it had."""
    gone = removed(values, key)
    for part, _ in values.parts(key, many=True):
        values.delete(key, part)
    return gone


def _without_those(those: Sequence[tuple[bytes, bytes]], gone: Callable[[Value], bool], values: Values) -> None:
    """Remove values, as far as they are still to go."""
    for key, part in those:
        kept = values.get(key, part)
        if kept is not None and gone(kept):
            values.delete(key, part)


def _arrival(id: str, entry: Entry, added: Added) -> Arrival:  # noqa: A002 - as everywhere
    """What a transaction is told that was taken; of one that was there already, what it was told then.

    Raises:
        DataError: Its id was another transaction's.
    """
    kept = added.kept
    if kept is not None and not kept.is_that(entry.remembered):
        raise DataError(
            f"transaction {id!r} has arrived before, with another time, entity or amount",
            fix="give every transaction an id of its own; send the same again only to repeat a request",
        )
    told = dict(zip(entry.roles, map(Told, added.pasts), strict=True))
    if added.last > added.number:  # what came later is left out
        told = {role: one.until(added.number) for role, one in told.items()}
    return Arrival(kept is not None, told)


def _digest(arriving: Arriving) -> bytes:
    """What tells a transaction from another one of the same id.

    Raises:
        DataError: An amount is infinite.
    """
    for column, value in arriving.numbers.items():
        if isinf(value):
            raise DataError(
                f"column {column!r} of transaction {arriving.id!r} is infinite",
                fix="send a number, or leave it empty",
            )
    return digest_of(arriving.entities, arriving.numbers)
