"""Values in a folder that several processes of one machine share: LMDB, a file that is mapped into memory.

What a process has been told is in the file: killed at any moment, it loses nothing that was acknowledged. Whether the
machine's disk has it too is up to `sync`, which whoever owns the store calls from time to time.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fds_mlflow.errors import ConfigError, UnavailableError
from fds_mlflow.features.state.entry import InTransactions
from fds_mlflow.features.state.store import KEY, MANY, Part, Value, Values

FILE = "data.mdb"
"""What LMDB calls the file."""

_LOCK = "writing.lock"

LIMIT = 2**36
"""Bytes to which the file may grow; reserved in the address space, not on the disk."""


class _Values:
    """See `Values`."""

    def __init__(self, found: Any) -> None:
        self._found = found
        self._cursor: Any = None

    def get(self, key: bytes, part: bytes) -> Value | None:
        value: Value | None = self._found.get(key + part)
        return value

    def put(self, key: bytes, part: bytes, value: bytes) -> None:
        self._found.put(key + part, value)

    def delete(self, key: bytes, part: bytes) -> None:
        self._found.delete(key + part)

    def parts(self, key: bytes, *, many: bool = False) -> Sequence[tuple[bytes, Value]]:
        found = list[tuple[bytes, Value]]()
        if self._cursor is None:
            self._cursor = self._found.cursor()
        if self._cursor.set_range(key + MANY if many else key):
            for view, value in self._cursor.iternext():
                name = bytes(view)
                if not name.startswith(key) or (not many and name.startswith(MANY, KEY)):
                    break
                found.append((name[KEY:], value))
        return found


TIMEOUT = 20.0
"""Seconds to wait for another writer."""

_NAP, _LONGEST_NAP = 2e-5, 5e-4
"""Seconds between two looks whether another process has done writing."""


class LmdbStore(InTransactions):
    """Values in a folder.

    Args:
        folder: Of the file; created where it is missing.
        limit: Bytes to which it may grow.
        timeout: Seconds to wait for another writer, who may have been stopped in the middle of his work: LMDB's own
            lock waits for ever, so nobody takes it before he has a lock that can be waited for.

    Raises:
        ConfigError: The package is not installed.
        UnavailableError: The file cannot be opened.
    """

    def __init__(self, folder: Path, *, limit: int = LIMIT, timeout: float = TIMEOUT) -> None:
        try:
            import lmdb
        except ImportError:
            raise ConfigError(
                "the past of raw transactions is kept in LMDB, and the package is not installed",
                fix="pip install 'fds-mlflow[online]'",
            ) from None
        self._lmdb = lmdb
        self._folder = folder
        self._limit = limit
        self._timeout = timeout
        self._within = threading.Lock()  # the other one belongs to the whole process
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Processes of this machine share the file's pages; only a crash of the machine needs them on its disk.
            # No reading ahead: what lies beside an entity is not asked for next, and would push others out of memory.
            self._file = lmdb.open(
                str(folder), map_size=limit, sync=False, metasync=False, readahead=False, max_spare_txns=8
            )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._lmdb.MapFullError:
            raise UnavailableError(
                f"the state in {self._folder} has reached its limit of {self._limit:,} bytes",
                fix="raise the limit, or keep shorter windows",
            ) from None
        except (self._lmdb.Error, OSError) as error:
            raise UnavailableError(
                f"the state in {self._folder} cannot be read or written: {error}",
                fix="see that the folder is this user's and its disk is not full; it can be built anew from history",
            ) from error

    @contextmanager
    def reading(self, keys: Sequence[bytes] = (), parts: Sequence[Part] = ()) -> Iterator[_Values]:  # noqa: ARG002
        """See `Store`."""
        with self._told(), self._file.begin(buffers=True) as found:
            yield _Values(found)

    @contextmanager
    def writing(self, keys: Sequence[bytes] = (), parts: Sequence[Part] = ()) -> Iterator[_Values]:  # noqa: ARG002
        """See `Store`."""
        # Copies: what is read in the file's own pages is valid only until the next write.
        with self._told(), self._alone(), self._file.begin(write=True) as found:
            yield _Values(found)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one who writes.

        Raises:
            UnavailableError: Another one has written for too long.
        """
        until = time.monotonic() + self._timeout
        if not self._within.acquire(timeout=self._timeout):
            raise self._busy()
        try:
            nap = _NAP
            while not self._locked():
                if time.monotonic() >= until:
                    raise self._busy()
                time.sleep(nap)
                nap = min(2 * nap, _LONGEST_NAP)
            try:
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
        finally:
            self._within.release()

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _busy(self) -> UnavailableError:
        return UnavailableError(
            f"the state in {self._folder} is being written by another one since {self._timeout:g} s",
            fix="look for a process that was stopped while it used the folder, and end it or let it go on",
        )

    def before(self, values: Values) -> tuple[Values, Callable[[], None]]:  # noqa: ARG002
        """See `InTransactions`: the last state that was written, which stays as it is until it is let go of."""
        found = self._file.begin(buffers=True)
        return _Values(found), found.abort

    def keys(self, kind: bytes, *, until: int | None = None) -> Iterator[bytes]:  # noqa: ARG002
        """See `Store`; no reading lasts long, which would keep the file from using its pages again."""
        after = kind
        while True:
            with self._told(), self._file.begin() as found, found.cursor() as cursor:
                if not cursor.set_range(after) or cursor.key()[:1] != kind:
                    return
                key = cursor.key()[:KEY]
            yield key
            after = key + MANY * 32

    def bytes(self) -> int:
        """See `Store`."""
        with self._told():
            statistics = self._file.stat()
        pages = sum(statistics[kind] for kind in ("branch_pages", "leaf_pages", "overflow_pages"))
        return int(pages * statistics["psize"])

    def sync(self) -> None:
        """Have all that was told on the disk."""
        with self._told():
            self._file.sync(True)

    def close(self) -> None:
        """See `Store`."""
        self.sync()
        self._file.close()
        os.close(self._lock)
