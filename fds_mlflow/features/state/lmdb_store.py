"""Values in a folder that several processes of one machine share: LMDB, a file that is mapped into memory.

What a process has been told is in the file: killed at any moment, it loses nothing that was acknowledged. Whether the
machine's disk has it too is up to `sync`, which whoever owns the store calls from time to time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fds_mlflow.errors import ConfigError, UnavailableError
from fds_mlflow.features.state.entry import InTransactions
from fds_mlflow.features.state.store import KEY, MANY, Part, Value, Values

FILE = "data.mdb"
"""What LMDB calls the file."""

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


class LmdbStore(InTransactions):
    """Values in a folder.

    Args:
        folder: Of the file; created where it is missing.
        limit: Bytes to which it may grow.

    Raises:
        ConfigError: The package is not installed.
        UnavailableError: The file cannot be opened.
    """

    def __init__(self, folder: Path, *, limit: int = LIMIT) -> None:
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
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
            # Processes of this machine share the file's pages; only a crash of the machine needs them on its disk.
            self._file = lmdb.open(str(folder), map_size=limit, sync=False, metasync=False, max_spare_txns=8)

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
        with self._told(), self._file.begin(write=True, buffers=True) as found:
            yield _Values(found)

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
