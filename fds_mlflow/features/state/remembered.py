"""What is kept by keys beside the logs: transactions by their ids, and how all keys are made."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

from fds_mlflow.features.state.layout import entity
from fds_mlflow.features.state.store import MANY, Value

ENTITY, TRANSACTION = b"e", b"t"
"""Kinds of keys: an entity, with its logs and when the values occurred that are counted over it; a transaction's id."""

UNKNOWN = bytes(16)
"""The digest of what was loaded from history: it is known by its id and time."""

_AMOUNT, _READ = 8, 12
"""Where in a digest that of the amount ends, and that of what was read."""

_HEADER = struct.Struct("<qqqbb")


@dataclass
class Remembered:
    """A transaction by its id: what a label, or the same request again, needs of it.

    Attributes:
        number: Its arrival.
        time: Microseconds.
        digest: Of its values, see `digest_of`; `UNKNOWN` of what was loaded from history.
        entities: Keys of its entities.
        moment: From when on its label may be used, microseconds; 0 while it has none.
        labelled: Whether it has one.
        fraud: What it says.
    """

    number: int
    time: int
    digest: bytes
    entities: Sequence[bytes]
    moment: int = 0
    labelled: bool = False
    fraud: bool = False

    @classmethod
    def read(cls, data: Value) -> Remembered:
        """As it was written."""
        number, time, moment, labelled, fraud = _HEADER.unpack_from(data)
        rest = bytes(data[_HEADER.size :])
        keys = [rest[at : at + 16] for at in range(16, len(rest), 16)]
        return cls(number, time, rest[:16], keys, moment, bool(labelled), bool(fraud))

    def is_that(self, other: Remembered) -> bool:
        """Whether it is the transaction that arrives, of which other versions may have read other columns then."""
        if self.time != other.time or self.digest == UNKNOWN:
            return self.time == other.time
        if self.digest[:_READ] == other.digest[:_READ]:
            return self.digest == other.digest
        own, theirs = set(self.entities), set(other.entities)
        return self.digest[:_AMOUNT] == other.digest[:_AMOUNT] and (own <= theirs or theirs <= own)

    def written(self) -> bytes:
        """As it is kept."""
        head = _HEADER.pack(self.number, self.time, self.moment, self.labelled, self.fraud)
        return b"".join([head, self.digest, *self.entities])


def digest_of(entities: Mapping[str, str | None], numbers: Mapping[str, float]) -> bytes:
    """What tells a transaction from another one of the same id and time: 16 bytes.

    They are of its amount, of the names of what was read of it, which a canary may add to, and of all its values.

    Args:
        entities: By role.
        numbers: By column, NaN where missing.
    """
    amount = numbers.get("amount", nan)
    names = sorted(entities), sorted(numbers)
    values = sorted((name, repr(value)) for name, value in (*entities.items(), *numbers.items()))
    parts = (amount, _AMOUNT), (names, _READ - _AMOUNT), (values, len(UNKNOWN) - _READ)
    return b"".join(entity("\0", repr(part))[:length] for part, length in parts)


def entity_key(own: bytes) -> bytes:
    """The key of an entity's logs."""
    return ENTITY + own


def occurred_key(own: bytes, at: int, value: bytes) -> tuple[bytes, bytes]:
    """The key of when a hashed value occurred with an entity, in one of the layout's pairs."""
    return ENTITY + own, occurred_part(at, value)


def occurred_part(at: int, value: bytes) -> bytes:
    """The part of it."""
    return MANY + bytes([at]) + value


def transaction_key(id: str) -> bytes:  # noqa: A002 - as everywhere
    """The key of a transaction."""
    return TRANSACTION + entity("", id)


def hashed(value: str) -> bytes:
    """A value that is counted."""
    return entity("", value)[:8]
