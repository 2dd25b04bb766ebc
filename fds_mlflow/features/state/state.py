"""The port to what is remembered: a transaction arrives, and the past of its entities comes back."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fds_mlflow.errors import DataError
from fds_mlflow.features.state.layout import Layout


@dataclass(frozen=True)
class Arriving:
    """A transaction as a store takes it.

    Attributes:
        key: 16 bytes that stand for its id.
        time: Microseconds.
        entities: The key of its entity in each role; empty where it has none.
        fields: The words of its fields.
    """

    key: bytes
    time: int
    entities: tuple[bytes, ...]
    fields: bytes

    def record(self, number: int) -> bytes:
        """Its record in the past of each of its entities."""
        return struct.pack("<qq", self.time, number) + self.fields


@dataclass(frozen=True)
class Arrival:
    """What a store answers.

    Attributes:
        number: Which arrival it was, counted over all transactions and labels.
        again: Whether it had arrived before, and was not recorded once more.
        records: The past of each role's entity, itself included: records of the layout's width in the order of arrival.
        labels: The labels of each role's entity, in the order of arrival.
    """

    number: int
    again: bool
    records: tuple[bytes, ...]
    labels: tuple[bytes, ...]


@dataclass(frozen=True)
class Size:
    """What a store holds.

    Attributes:
        entities: Entities with a past.
        transactions: Transactions that a label, or their being sent again, can still refer to.
        bytes: What the whole takes.
    """

    entities: int
    transactions: int
    bytes: int


class State(Protocol):
    """What every store does. All of it is safe from several threads, and from several processes where the store is."""

    @property
    def layout(self) -> Layout:
        """What is remembered."""
        ...

    def arrive(self, arriving: Arriving) -> Arrival:
        """Record a transaction, once, whole or not at all, and tell the past of its entities.

        Raises:
            DataError: Its id has arrived with another time, other entities or other fields.
        """
        ...

    def look(self, arriving: Arriving) -> Arrival:
        """As `arrive`, and record nothing: the past is told as if it had arrived just now."""
        ...

    def label(self, key: bytes, *, fraud: bool, known: int) -> bool:
        """Take in a label, or the correction of one, in the past of its transaction's entities.

        Args:
            key: Of the transaction.
            fraud: What it says.
            known: When it became known, microseconds.

        Returns:
            Whether the transaction is remembered.
        """
        ...

    def forget(self, entity: bytes) -> int:
        """Remove all that is kept of an entity; returns the number of its records and labels."""
        ...

    def expire(self, time: int, labelled: int) -> int:
        """Remove what no window can reach any more; returns the number of records and labels.

        Args:
            time: Microseconds; no transaction older than this will arrive any more.
            labelled: No transaction older than this will get a label, or be sent again.
        """
        ...

    def size(self) -> Size:
        """What it holds."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def changed(key: str) -> DataError:
    """What is said of an id that stands for two transactions."""
    return DataError(
        f"transaction {key} has arrived before, with another time, other entities or another amount",
        fix="give every transaction an id of its own; send the same again only to repeat a request",
    )


_TRANSACTION = struct.Struct("<qqqbb")


@dataclass
class Remembered:
    """A transaction by its id: what a label, or the same request again, needs of it.

    Attributes:
        number: Its arrival.
        time: Microseconds.
        known: When its label became known; 0 while it has none.
        labelled: Whether it has one.
        fraud: What it says.
        rest: Its fields, then the keys of its entities, 16 bytes each, zeros for none.
    """

    number: int
    time: int
    known: int
    labelled: bool
    fraud: bool
    rest: bytes

    @classmethod
    def of(cls, arriving: Arriving, number: int) -> Remembered:
        """A transaction that has just arrived."""
        return cls(number, arriving.time, 0, False, False, _rest(arriving))

    @classmethod
    def read(cls, data: bytes) -> Remembered:
        """As it was written."""
        number, time, known, labelled, fraud = _TRANSACTION.unpack_from(data)
        return cls(number, time, known, bool(labelled), bool(fraud), data[_TRANSACTION.size :])

    def written(self) -> bytes:
        """As it is kept."""
        return _TRANSACTION.pack(self.number, self.time, self.known, self.labelled, self.fraud) + self.rest

    def is_that(self, arriving: Arriving) -> bool:
        """Whether it is the transaction that arrives again."""
        if (self.time, self.rest) == (arriving.time, _rest(arriving)):
            return True
        fields = self.rest[1 : len(self.rest) - 16 * self.rest[0]]  # entities may have been forgotten since
        known = (key in (bytes(16), mine) for key, mine in zip(self._keys, arriving.entities, strict=False))
        same = (self.time, fields, self.rest[0]) == (arriving.time, arriving.fields, len(arriving.entities))
        return same and all(known)

    @property
    def _keys(self) -> Sequence[bytes]:
        keys = self.rest[len(self.rest) - 16 * self.rest[0] :]
        return [keys[at : at + 16] for at in range(0, len(keys), 16)]

    @property
    def entities(self) -> Sequence[bytes]:
        """The keys of its entities."""
        return [key for key in self._keys if key != bytes(16)]

    def labelling(self, number: int, *, fraud: bool, known: int) -> bytes:
        """Take in a label: what is to be added to its entities' labels; nothing where it says nothing new."""
        if self.labelled and (self.fraud, self.known) == (fraud, known):
            return b""
        taken_back = _label(self, number, -1) if self.labelled else b""
        self.labelled, self.fraud, self.known = True, fraud, known
        return taken_back + _label(self, number, 1)


def _rest(arriving: Arriving) -> bytes:
    keys = (key or bytes(16) for key in arriving.entities)
    return bytes([len(arriving.entities)]) + arriving.fields + b"".join(keys)


def _label(of: Remembered, number: int, adds: int) -> bytes:
    return struct.pack("<qqqqq", of.time, of.known, number, adds, adds * of.fraud)
