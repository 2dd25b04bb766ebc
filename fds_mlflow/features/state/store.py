"""The port to where the past is kept: values under sorted keys, read and written in transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TypeVar

from fds_mlflow.errors import UnavailableError

if TYPE_CHECKING:
    from fds_mlflow.features.state.entry import Added, Entry, Label

Value = bytes | memoryview
Part = tuple[bytes, bytes]
"""A key and the name of one of its parts."""

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
        """The parts of a key with their values: those that begin with `MANY`, or all others."""
        ...


class Store(Protocol):
    """Where the values are. What is written within one transaction is there whole, or not at all.

    Transactions are told what they will look at, as far as that is known: a store that is far away fetches it at once.
    """

    def reading(self, keys: Sequence[bytes] = (), parts: Sequence[Part] = ()) -> AbstractContextManager[Values]:
        """To look at the values of one moment.

        Args:
            keys: Of which all parts will be asked for, but for the many.
            parts: Which will be asked for one by one.
        """
        ...

    def writing(self, keys: Sequence[bytes] = (), parts: Sequence[Part] = ()) -> AbstractContextManager[Values]:
        """To change them, and nobody else meanwhile; see `write`.

        Raises:
            ChangedError: In the end: somebody did, and nothing was written.
        """
        ...

    def adding(self, entry: Entry) -> AbstractContextManager[Added]:
        """Take in a transaction as `entry.add` does, and look at the past that its features are computed from."""
        ...

    def label(self, label: Label) -> bool:
        """Take in a label as `entry.add_label` does."""
        ...

    def keys(self, kind: bytes, *, until: int | None = None) -> Iterator[bytes]:
        """The keys that begin with a byte, looked for while the ones before are dealt with.

        A key may come twice where others write meanwhile.

        Args:
            kind: The byte.
            until: Those will do that have something with a moment not later than this, microseconds.
        """
        ...

    def bytes(self) -> int:
        """What all of it takes."""
        ...

    def sync(self) -> None:
        """Have all that was told on the disk, as far as that is up to this process."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class ChangedError(UnavailableError):
    """Somebody else changed what a transaction had looked at, and nothing of it was written."""


Found = TypeVar("Found")

_TRIES = 20


def write(
    store: Store, body: Callable[[Values], Found], keys: Sequence[bytes] = (), parts: Sequence[Part] = ()
) -> Found:
    """Change a store's values, again from the start where somebody else did so meanwhile.

    Args:
        store: The store.
        body: Does it; may be called several times.
        keys: As of `Store.writing`.
        parts: As of `Store.writing`.

    Raises:
        UnavailableError: The store cannot be written, or others were faster every time.
    """
    for _ in range(_TRIES - 1):
        try:
            with store.writing(keys, parts) as values:
                return body(values)
        except ChangedError:
            continue
    with store.writing(keys, parts) as values:
        return body(values)
