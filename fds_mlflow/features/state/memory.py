"""Values in this process's memory: for one process, for tests, and for replaying a history."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class MemoryStore:
    """Values in dictionaries. What raises in the middle of a transaction is a defect, and nothing is taken back."""

    def __init__(self) -> None:
        self._values: dict[bytes, dict[bytes, bytes]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def writing(self) -> Iterator[MemoryStore]:
        """See `Store`."""
        with self._lock:
            yield self

    reading = writing

    def get(self, key: bytes, part: bytes) -> bytes | None:
        """See `Values`."""
        found = self._values.get(key)
        return None if found is None else found.get(part)

    def put(self, key: bytes, part: bytes, value: bytes) -> None:
        """See `Values`."""
        self._values.setdefault(key, {})[part] = value

    def delete(self, key: bytes, part: bytes) -> None:
        """See `Values`."""
        found = self._values.get(key, {})
        found.pop(part, None)
        if not found:
            self._values.pop(key, None)

    def parts(self, key: bytes) -> Sequence[tuple[bytes, bytes]]:
        """See `Values`."""
        found = self._values.get(key)
        return sorted(found.items()) if found else ()

    def keys(self, kind: bytes) -> Iterator[bytes]:
        """See `Store`."""
        with self._lock:
            found = [key for key in self._values if key[:1] == kind]
        return iter(sorted(found))

    def bytes(self) -> int:
        """See `Store`; without what Python's objects take beside."""
        with self._lock:
            return sum(
                len(key) + len(part) + len(value) for key, of in self._values.items() for part, value in of.items()
            )

    def close(self) -> None:
        """See `Store`."""
