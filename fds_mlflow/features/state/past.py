"""The past in any store that keeps values under sorted keys: what a transaction adds, and what it is told."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fds_mlflow.errors import DataError
from fds_mlflow.features.state.layout import Layout, entity
from fds_mlflow.features.state.rows import (
    FANOUT,
    FIRST,
    LABELS,
    OPEN,
    PAIRS,
    RECORDS,
    Rows,
    Run,
    form,
    merged,
    opened,
    words,
)

_SEEN, _META = b"p", b"m"
_TRANSACTION = b"t"
_NO_ENTITY = bytes(16)
_OPEN = b"\xff"
_LAYOUT, _NUMBER = (_META.ljust(18, b"\0"), b"layout"), (_META.ljust(18, b"\0"), b"number")


class Values(Protocol):
    """Values in a store, within one transaction of it. A key has 18 bytes; its parts have any."""

    def get(self, key: bytes, part: bytes) -> bytes | None:
        """A value; None where there is none."""
        ...

    def put(self, key: bytes, part: bytes, value: bytes) -> None:
        """Write one."""
        ...

    def delete(self, key: bytes, part: bytes) -> None:
        """Remove one."""
        ...

    def parts(self, key: bytes) -> Sequence[tuple[bytes, bytes]]:
        """The parts of a key, sorted, with their values."""
        ...


class Store(Protocol):
    """Where the values are. What is written within one transaction is there whole, or not at all."""

    def reading(self) -> AbstractContextManager[Values]:
        """To look at one moment's values."""
        ...

    def writing(self) -> AbstractContextManager[Values]:
        """To change them, and nobody else meanwhile."""
        ...

    def keys(self, kind: bytes) -> Iterator[bytes]:
        """The keys that begin with a byte, in order; looked for anew each time."""
        ...

    def bytes(self) -> int:
        """What all of it takes."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


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
class Log:
    """Rows of one kind of one entity.

    Attributes:
        runs: Sealed ones.
        rows: The open one.
    """

    runs: Sequence[Run] = ()
    rows: Rows = ()  # type: ignore[assignment] # nothing is nothing

    def until(self, number: int, kind: bytes) -> Log:
        """What of it had arrived before a number."""
        kept = [(run, run.columns[1] < number) for run in self.runs]
        runs = [run if early.all() else Run.of(kind, run.columns[:, early]) for run, early in kept if early.any()]
        return Log(runs, [row for row in self.rows if row[1] < number])


NOTHING = Log()


@dataclass(frozen=True)
class Told:
    """What is known of one entity.

    Attributes:
        records: Its transactions, the one that arrives among them.
        labels: Labels of its transactions.
        pairs: By counted role, the occurrences of its values.
    """

    records: Log = NOTHING
    labels: Log = NOTHING
    pairs: dict[str, Log] | None = None


@dataclass(frozen=True)
class Arrival:
    """What the past answers.

    Attributes:
        again: Whether it had arrived before, and was not recorded once more.
        told: By role, where the transaction has an entity.
    """

    again: bool
    told: dict[str, Told]


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


_HEADER = struct.Struct("<qqqbb")


@dataclass
class _Remembered:
    """A transaction by its id: what a label, or the same request again, needs of it."""

    number: int
    time: int
    moment: int
    labelled: bool
    fraud: bool
    digest: bytes
    entities: list[bytes]

    @classmethod
    def read(cls, data: bytes) -> _Remembered:
        number, time, moment, labelled, fraud = _HEADER.unpack_from(data)
        rest = data[_HEADER.size :]
        keys = [rest[at : at + 16] for at in range(16, len(rest), 16)]
        return cls(number, time, moment, bool(labelled), bool(fraud), rest[:16], keys)

    def written(self) -> bytes:
        head = _HEADER.pack(self.number, self.time, self.moment, self.labelled, self.fraud)
        return head + self.digest + b"".join(self.entities)


class Past:
    """What a store remembers.

    Args:
        store: Where it is kept.
        layout: What is to be remembered, beside what already is.
    """

    def __init__(self, store: Store, layout: Layout) -> None:
        self._store = store
        with store.writing() as values:
            kept = values.get(*_LAYOUT)
            self.layout = layout if kept is None else Layout.from_json(kept).joined(layout)
            values.put(*_LAYOUT, self.layout.to_json())
        self._forms = {
            RECORDS: form(RECORDS, len(self.layout.numbers)),
            PAIRS: form(PAIRS, 0),
            LABELS: form(LABELS, 0),
        }

    # --- arriving ------------------------------------------------------------------------------------------

    def arrive(self, arriving: Arriving) -> Arrival:
        """Record a transaction, once, whole or not at all, and tell the past of its entities.

        Raises:
            DataError: Its id has arrived with other values, or an amount is infinite.
        """
        digest, key = _digest(arriving), _by_id(arriving.id)
        with self._store.writing() as values:
            kept = values.get(key, b"")
            if kept is not None:
                known = _Remembered.read(kept)
                if known.digest != digest:
                    raise DataError(
                        f"transaction {arriving.id!r} has arrived before, with another time, entity or amount",
                        fix="give every transaction an id of its own; send the same again only to repeat a request",
                    )
                told = self._told(values, arriving)
                return Arrival(True, {role: _until(one, known.number + 1) for role, one in told.items()})
            number = _next(values)
            entities = self._entities(arriving)
            remembered = _Remembered(number, arriving.time, 0, False, False, digest, list(entities.values()))
            values.put(key, b"", remembered.written())
            record = self._record(arriving, number)
            for role, own in entities.items():
                self._append(values, RECORDS, own, 0, record)
                for field, other in self._counted(role):
                    value = arriving.entities.get(other)
                    if value is not None:
                        self._occur(values, own, field, entity("", value)[:8], arriving.time, number)
            return Arrival(False, self._told(values, arriving))

    def look(self, arriving: Arriving) -> Arrival:
        """As `arrive`, and record nothing.

        Raises:
            DataError: An amount is infinite.
        """
        _digest(arriving)
        with self._store.reading() as values:
            told = self._told(values, arriving)
            number = int.from_bytes(values.get(*_NUMBER) or b"", "big") + 1
            seen = {
                (role, other): self._times(values, own, field, value)
                for role, own in self._entities(arriving).items()
                for field, other in self._counted(role)
                if (value := arriving.entities.get(other)) is not None
            }
        row = self._forms[RECORDS].unpack(self._record(arriving, number))
        found = {}
        for role, one in told.items():
            pairs = dict(one.pairs or {})
            for other in [other for known, other in seen if known == role]:
                added = list(_occurrences(seen[role, other], arriving.time, number))
                pairs[other] = _with(pairs[other], [self._forms[PAIRS].unpack(pair) for pair in added])
            found[role] = Told(_with(one.records, [row]), one.labels, pairs)
        return Arrival(False, found)

    def _entities(self, arriving: Arriving) -> dict[str, bytes]:
        given = arriving.entities
        return {role: entity(role, value) for role in self.layout.roles if (value := given.get(role)) is not None}

    def _record(self, arriving: Arriving, number: int) -> bytes:
        numbers = [arriving.numbers.get(name, np.nan) for name in self.layout.numbers]
        return self._forms[RECORDS].pack(arriving.time, number, *numbers)

    def _counted(self, role: str) -> Iterator[tuple[int, str]]:
        return ((field, other) for field, (own, other) in enumerate(self.layout.pairs) if own == role)

    def _told(self, values: Values, arriving: Arriving) -> dict[str, Told]:
        return {
            role: Told(
                self._log(values, RECORDS, own),
                self._log(values, LABELS, own) if self.layout.label_span else NOTHING,
                {other: self._log(values, PAIRS, own, field) for field, other in self._counted(role)},
            )
            for role, own in self._entities(arriving).items()
        }

    def _times(self, values: Values, own: bytes, field: int, value: str) -> list[int]:
        kept = values.get(_key(_SEEN, own, field), entity("", value)[:8])
        return np.frombuffer(kept or b"", dtype="<i8").tolist()

    def _occur(self, values: Values, own: bytes, field: int, value: bytes, time: int, number: int) -> None:
        """Add an occurrence of a value that is counted."""
        key = _key(_SEEN, own, field)
        kept = values.get(key, value)
        times: list[int] = [] if kept is None else np.frombuffer(kept, dtype="<i8").tolist()
        for pair in _occurrences(times, time, number):
            self._append(values, PAIRS, own, field, pair)
        times = sorted([*(one for one in times if one > time - 2 * self.layout.span), time])
        values.put(key, value, np.array(times, dtype="<i8").tobytes())

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
        key = _by_id(id)
        with self._store.writing() as values:
            kept = values.get(key, b"")
            if kept is None:
                return False
            of = _Remembered.read(kept)
            moment = max(known, of.time + self.layout.label_delay)
            if of.labelled and (of.fraud, of.moment) == (fraud, moment):
                return True
            number, rows = _next(values), []
            if of.labelled:
                rows.append(struct.pack("<qqqq", of.moment, number, -1, -of.fraud))
            rows.append(struct.pack("<qqqq", moment, number, 1, fraud))
            of.labelled, of.fraud, of.moment = True, fraud, moment
            values.put(key, b"", of.written())
            for own in of.entities if self.layout.label_span else ():
                for row in rows:
                    self._append(values, LABELS, own, 0, row)
            return True

    # --- runs ----------------------------------------------------------------------------------------------

    def _append(self, values: Values, kind: bytes, own: bytes, field: int, row: bytes) -> None:
        key = _key(kind, own, field)
        data = values.get(key, _OPEN) or b""
        width = len(row) // 8
        if data and (len(data) >= 8 + OPEN * len(row) or data[0] != width):
            self._seal(values, kind, key, words(data[8:], data[0]))
            data = b""
        values.put(key, _OPEN, (data or bytes([width]).ljust(8, b"\0")) + row)

    def _seal(self, values: Values, kind: bytes, key: bytes, columns: Any) -> None:
        """Add a run, and merge those of a level that has enough."""
        level, parts = 0, [columns]
        there = [(part, value) for part, value in values.parts(key) if part != _OPEN]
        while True:
            same = [(part, value) for part, value in there if part[0] == level]
            if len(same) + 1 < FANOUT:
                break
            parts += [Run.read(value).columns for _, value in same]
            for part, _ in same:
                values.delete(key, part)
            level += 1
        latest = max((int.from_bytes(part[1:], "big") for part, _ in there), default=0)
        values.put(key, bytes([level]) + (latest + 1).to_bytes(8, "big"), merged(kind, parts).sealed())

    def _log(self, values: Values, kind: bytes, own: bytes, field: int = 0) -> Log:
        runs: list[Run] = []
        rows: Rows = []
        for part, value in values.parts(_key(kind, own, field)):
            if part != _OPEN:
                runs.append(Run.read(value))
                continue
            packed = self._forms[kind]
            if value[0] * 8 != packed.size:  # written before there were so many fields
                lacking = struct.pack("<d", np.nan) * (packed.size // 8 - value[0])
                size = value[0] * 8
                rest = value[8:]
                value = value[:8] + b"".join(rest[at : at + size] + lacking for at in range(0, len(rest), size))
            rows = opened(value[8:], packed)
        return Log(runs, rows)

    # --- what goes -----------------------------------------------------------------------------------------

    def forget(self, role: str, value: str) -> int:
        """Remove all that is kept of an entity; returns the number of its records and labels."""
        own, gone = entity(role, value), 0
        with self._store.writing() as values:
            for kind, fields in (
                (RECORDS, 1),
                (LABELS, 1),
                (PAIRS, len(self.layout.pairs)),
                (_SEEN, len(self.layout.pairs)),
            ):
                for field in range(fields):
                    key = _key(kind, own, field)
                    log = self._log(values, kind, own) if kind in (RECORDS, LABELS) else NOTHING
                    gone += sum(map(len, log.runs)) + len(log.rows)
                    for part, _ in values.parts(key):
                        values.delete(key, part)
        for key in self._store.keys(_TRANSACTION):
            with self._store.writing() as values:
                kept = values.get(key, b"")
                if kept is not None and own in _Remembered.read(kept).entities:
                    values.delete(key, b"")
        for field, (_, other) in enumerate(self.layout.pairs):
            if other == role:
                self._forget_pair(entity("", value)[:8], field)
        return gone

    def _forget_pair(self, value: bytes, field: int) -> None:
        for key in self._store.keys(_SEEN):
            if key[17] == field:
                with self._store.writing() as values:
                    if values.get(key, value) is not None:
                        values.delete(key, value)

    def expire(self, time: int, labelled: int) -> int:
        """Remove what no window can reach any more; returns the number of records and labels.

        Args:
            time: Microseconds; no transaction older than this will arrive any more.
            labelled: No transaction older than this will get a label, or be sent again.
        """
        since = {
            RECORDS: time - self.layout.span,
            PAIRS: time - self.layout.span,
            LABELS: time - self.layout.label_span,
        }
        gone = 0
        for kind, moment in since.items():
            for key in self._store.keys(kind):
                with self._store.writing() as values:
                    thinned = self._thinned(values, kind, key, moment)
                gone += thinned if kind != PAIRS else 0
        for key in self._store.keys(_SEEN):
            with self._store.writing() as values:
                for part, value in values.parts(key):
                    if np.frombuffer(value, dtype="<i8").max() <= since[PAIRS]:
                        values.delete(key, part)
        for key in self._store.keys(_TRANSACTION):
            with self._store.writing() as values:
                kept = values.get(key, b"")
                if kept is not None and _Remembered.read(kept).time < labelled:
                    values.delete(key, b"")
        return gone

    def _thinned(self, values: Values, kind: bytes, key: bytes, since: int) -> int:
        """Remove the rows of a log that are not later than a moment; with gaps, its last record stays."""
        parts = [
            (part, words(value[8:], value[0]) if part == _OPEN else Run.read(value).columns)
            for part, value in values.parts(key)
        ]
        if kind == RECORDS and self.layout.gaps:
            since = min(since, max(int(columns[0].max()) for _, columns in parts) - 1)
        gone = 0
        for part, columns in parts:
            kept = columns[0] > since
            if kept.all():
                continue
            gone += len(kept) - int(kept.sum())
            if not kept.any():
                values.delete(key, part)
            elif part == _OPEN:
                values.put(key, part, bytes([len(columns)]).ljust(8, b"\0") + columns[:, kept].T.tobytes())
            else:
                values.put(key, part, Run.of(kind, columns[:, kept]).sealed())
        return gone

    def size(self) -> Size:
        """What it holds."""
        entities = len({key[1:17] for key in self._store.keys(RECORDS)})
        return Size(entities, sum(1 for _ in self._store.keys(_TRANSACTION)), self._store.bytes())

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()


def _key(kind: bytes, own: bytes, field: int = 0) -> bytes:
    return kind + own + bytes([field])


def _by_id(id: str) -> bytes:  # noqa: A002 - as everywhere
    return _key(_TRANSACTION, entity("", id))


def _next(values: Values) -> int:
    number = int.from_bytes(values.get(*_NUMBER) or b"", "big") + 1
    values.put(*_NUMBER, number.to_bytes(8, "big"))
    return number


def _digest(arriving: Arriving) -> bytes:
    """What tells a transaction from another one of the same id.

    Raises:
        DataError: An amount is infinite.
    """
    both: tuple[dict[str, Any], dict[str, Any]] = arriving.entities, arriving.numbers
    for name, value in arriving.numbers.items():
        if value in (np.inf, -np.inf):
            raise DataError(f"column {name!r} of transaction {arriving.id!r} is infinite", fix="send a number, or none")
    said = [{name: value for name, value in given.items() if value == value and value is not None} for given in both]
    return entity("\0", repr([arriving.time, *(sorted(one.items()) for one in said)]))


def _occurrences(times: Sequence[int], time: int, number: int) -> Iterator[bytes]:
    """The pairs that an occurrence adds, and takes back, among earlier ones of the same value, sorted."""
    place = int(np.searchsorted(times, time, side="right")) if times else 0
    last = times[place - 1] if place else FIRST
    if place < len(times):  # it came late
        yield struct.pack("<qqqq", times[place], number, last, -1)
        yield struct.pack("<qqqq", times[place], number, time, 1)
    yield struct.pack("<qqqq", time, number, last, 1)


def _until(told: Told, number: int) -> Told:
    pairs = {other: log.until(number, PAIRS) for other, log in (told.pairs or {}).items()}
    return Told(told.records.until(number, RECORDS), told.labels.until(number, LABELS), pairs)


def _with(log: Log, rows: Iterable[tuple[Any, ...]]) -> Log:
    return Log(log.runs, sorted([*log.rows, *rows], key=lambda row: (row[0], row[1])))
