"""The port to where the past is kept: values under sorted keys, read and written in transactions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

Value = bytes | memoryview

KEY = 17
"""Bytes of a key."""

MANY = b"\xff"
"""How parts begin of which a key may have any number, and which are mostly looked for one by one."""


class Values(Protocol):
    """Values within one transaction of a store, valid until it ends. A key has `KEY` bytes, its parts have any."""

    def get(self, key: bytes, part: bytes) -> Value | None:
        """A value; None where there is none."""
        ...

    def put(self, key: bytes, part: bytes, value: bytes) -> None:
        """Write one."""
        ...

    def delete(self, key: bytes, part: bytes) -> None:
        """Remove one."""
        ...

    def parts(self, key: bytes, *, many: bool = False) -> Sequence[tuple[bytes, Value]]:
        """The parts of a key, sorted, with their values: those that begin with `MANY`, or all others."""
        ...


class Store(Protocol):
    """Where the values are. What is written within one transaction is there whole, or not at all."""

    def reading(self) -> AbstractContextManager[Values]:
        """To look at the values of one moment."""
        ...

    def writing(self) -> AbstractContextManager[Values]:
        """To change them, and nobody else meanwhile."""
        ...

    def keys(self, kind: bytes) -> Iterator[bytes]:
        """The keys that begin with a byte, in order, each looked for when the one before has been dealt with."""
        ...

    def bytes(self) -> int:
        """What all of it takes."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
