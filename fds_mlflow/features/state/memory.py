"""Values in this process's memory: for one process, for tests, and for replaying a history."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fds_mlflow.features.state.entry import InTransactions
from fds_mlflow.features.state.store import KEY, MANY, Part


class MemoryStore(InTransactions):
    """Values in dictionaries. What raises in the middle of a transaction is a defect, and nothing is taken back."""

    def __init__(self) -> None:
        self._values: dict[bytes, dict[bytes, bytes]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def writing(self, keys: Sequence[bytes] = (), parts: Sequence[Part] = ()) -> Iterator[MemoryStore]:  # noqa: ARG002
        """See `Store`."""
        with self._lock:
            yield self

    reading = writing

    def before(self, values: MemoryStore) -> tuple[MemoryStore, Callable[[], None]]:  # type: ignore[override]
        """See `InTransactions`: nothing is asked twice."""
        return values, _nothing

    def get(self, key: bytes, part: bytes) -> bytes | None:
        """See `Values`."""
        found = self._values.get(_place(key, part))
        return None if found is None else found.get(part)

    def put(self, key: bytes, part: bytes, value: bytes) -> None:
        """See `Values`."""
        self._values.setdefault(_place(key, part), {})[part] = value

    def delete(self, key: bytes, part: bytes) -> None:
        """See `Values`."""
        place = _place(key, part)
        found = self._values.get(place, {})
        found.pop(part, None)
        if not found:
            self._values.pop(place, None)

    def parts(self, key: bytes, *, many: bool = False) -> Sequence[tuple[bytes, bytes]]:
        """See `Values`."""
        found = self._values.get(key + MANY if many else key)
        return list(found.items()) if found else ()

    def keys(self, kind: bytes, *, until: int | None = None) -> Iterator[bytes]:  # noqa: ARG002
        """See `Store`."""
        with self._lock:
            found = {key[:KEY] for key in self._values if key[:1] == kind}
        return iter(sorted(found))

    def bytes(self) -> int:
        """See `Store`; without what Python's objects take beside."""
        with self._lock:
            return sum(
                len(key) + len(part) + len(value) for key, of in self._values.items() for part, value in of.items()
            )

    def sync(self) -> None:
        """See `Store`: there is no disk."""

    def close(self) -> None:
        """See `Store`."""


def _nothing() -> None:
    """Let go of nothing."""


def _place(key: bytes, part: bytes) -> bytes:
    """Where a part is: the many of a key do not lie between the others."""
    return key + MANY if part[:1] == MANY else key
