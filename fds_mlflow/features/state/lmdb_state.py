"""The past in a folder that several processes of one machine share: LMDB, a file that is mapped into memory.

What a process has been told is in the file: killed at any moment, it loses nothing that was acknowledged. Whether the
machine's disk has it too is up to `sync`, which whoever owns the store calls from time to time.

An entity's records lie in blocks of some 2 KB, which a page of the file takes, in the order of arrival: the last one is
open, and closed when it is full. Blocks of one entity are neighbours, so its past is read in one go. Each block begins
with the number of words of its records.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fds_mlflow.errors import ConfigError, UnavailableError
from fds_mlflow.features.state.layout import LABEL, WORD, Layout, words
from fds_mlflow.features.state.state import Arrival, Arriving, Remembered, Size, changed

_LAYOUT, _NUMBER, _TRANSACTION, _RECORDS, _LABELS = b"l", b"n", b"t", b"r", b"y"
_OPEN = b"\xff" * 8
_BLOCK = 2_000
"""Bytes of a block; the pages of the file have 4,096, of which a value in it takes half at most."""

_WIDTH = struct.Struct("<q")
_PLACE = struct.Struct(">Q")


class LmdbState:
    """What is remembered, in a folder.

    Args:
        folder: Of the file; created where it is missing.
        layout: What is to be remembered; joined to what already is.
        limit: Bytes to which the file may grow. They are reserved in the address space, not on the disk.

    Raises:
        ConfigError: The package is not installed.
        UnavailableError: The file cannot be opened or written.
    """

    def __init__(self, folder: Path, layout: Layout, *, limit: int = 2**36) -> None:
        try:
            import lmdb
        except ImportError:
            raise ConfigError(
                "features of raw transactions are kept in LMDB, and the package is not installed",
                fix="pip install 'fds-mlflow[online]'",
            ) from None
        self._lmdb = lmdb
        self._folder = folder
        self._limit = limit
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
            # Processes of this machine share the file's pages; a crash of the machine alone needs them on its disk.
            self._file = lmdb.open(str(folder), map_size=limit, sync=False, metasync=False, max_spare_txns=8)
        with self._writing() as found:
            kept = found.get(_LAYOUT)
            self._layout = layout if kept is None else Layout.from_json(bytes(kept)).joined(layout)
            found.put(_LAYOUT, self._layout.to_json())

    @property
    def layout(self) -> Layout:
        """What is remembered."""
        return self._layout

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
                fix="see that the folder is this user's, and its disk not full; it can be built anew from history",
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        with self._told(), self._file.begin(write=True) as found:
            yield found

    def arrive(self, arriving: Arriving) -> Arrival:
        """See `State`."""
        with self._writing() as found:
            kept = found.get(_TRANSACTION + arriving.key)
            if kept is not None:
                known = Remembered.read(bytes(kept))
                if not known.is_that(arriving):
                    raise changed(arriving.key.hex())
                return self._answer(found, arriving, known.number, again=True)
            number = _next(found)
            found.put(_TRANSACTION + arriving.key, Remembered.of(arriving, number).written())
            record = arriving.record(number)
            for entity in filter(None, arriving.entities):
                _append(found, _RECORDS + entity, record, self._layout.width)
            return self._answer(found, arriving, number, again=False)

    def look(self, arriving: Arriving) -> Arrival:
        """See `State`."""
        with self._told(), self._file.begin() as found:
            number = int.from_bytes(found.get(_NUMBER, b""), "big") + 1
            told = self._answer(found, arriving, number, again=False)
        record = arriving.record(number)
        records = (past + record if key else past for key, past in zip(arriving.entities, told.records, strict=True))
        return Arrival(number, False, tuple(records), told.labels)

    def _answer(self, found: Any, arriving: Arriving, number: int, *, again: bool) -> Arrival:
        records = tuple(self._past(found, _RECORDS + key) if key else b"" for key in arriving.entities)
        labelled = self._layout.label_span > 0
        labels = tuple(self._past(found, _LABELS + key) if key and labelled else b"" for key in arriving.entities)
        return Arrival(number, again, records, labels)

    def _past(self, found: Any, prefix: bytes) -> bytes:
        parts = []
        width = LABEL if prefix[:1] == _LABELS else self._layout.width
        for _, block in _blocks(found, prefix):
            (own,) = _WIDTH.unpack_from(block)
            rows = block[_WIDTH.size :]
            parts.append(rows if own == width else self._layout.widened(rows, own))
        return b"".join(parts)

    def label(self, key: bytes, *, fraud: bool, known: int) -> bool:
        """See `State`."""
        with self._writing() as found:
            kept = found.get(_TRANSACTION + key)
            if kept is None:
                return False
            of = Remembered.read(bytes(kept))
            added = of.labelling(_next(found), fraud=fraud, known=known)
            found.put(_TRANSACTION + key, of.written())
            for entity in of.entities:
                for at in range(0, len(added), LABEL * WORD):
                    _append(found, _LABELS + entity, added[at : at + LABEL * WORD], LABEL)
            return True

    def forget(self, entity: bytes) -> int:
        """See `State`."""
        gone = 0
        with self._writing() as found:
            for kind in (_RECORDS, _LABELS):
                for key, block in list(_blocks(found, kind + entity)):
                    (width,) = _WIDTH.unpack_from(block)
                    gone += (len(block) - _WIDTH.size) // (WORD * width)
                    found.delete(key)
            for key, value in list(_under(found, _TRANSACTION)):
                if entity in value:
                    of = Remembered.read(value)
                    of.rest = of.rest.replace(entity, bytes(16))
                    found.put(key, of.written())
        return gone

    def expire(self, time: int, labelled: int) -> int:
        """See `State`."""
        gone = 0
        kinds = (
            (_RECORDS, 0, time - self._layout.span, self._layout.gaps),
            (_LABELS, 1, time - self._layout.label_span, False),
        )
        for kind, word, since, last in kinds:
            for entity in self._entities(kind):
                with self._writing() as found:
                    gone += _thinned(found, kind + entity, word, since, last=last)
        with self._writing() as found:
            for key, value in list(_under(found, _TRANSACTION)):
                if Remembered.read(value).time < labelled:
                    found.delete(key)
        return gone

    def _entities(self, kind: bytes) -> Iterator[bytes]:
        """Entities that have blocks of a kind; looked for anew each time, so that no reading lasts long."""
        after = kind
        while True:
            with self._told(), self._file.begin() as found, found.cursor() as cursor:
                if not cursor.set_range(after) or cursor.key()[:1] != kind:
                    return
                entity = bytes(cursor.key()[1:17])
            yield entity
            after = kind + entity + _OPEN + b"\xff"

    def size(self) -> Size:
        """See `State`."""
        with self._told(), self._file.begin() as found:
            statistics = found.stat()
            pages = sum(statistics[kind] for kind in ("branch_pages", "leaf_pages", "overflow_pages"))
            transactions = sum(1 for _ in _under(found, _TRANSACTION))
        return Size(sum(1 for _ in self._entities(_RECORDS)), transactions, pages * statistics["psize"])

    def sync(self) -> None:
        """Have all that was told on the disk."""
        with self._told():
            self._file.sync(True)

    def close(self) -> None:
        """See `State`."""
        self.sync()
        self._file.close()


def _next(found: Any) -> int:
    number = int.from_bytes(found.get(_NUMBER, b""), "big") + 1
    found.put(_NUMBER, number.to_bytes(8, "big"))
    return number


def _append(found: Any, prefix: bytes, row: bytes, width: int) -> None:
    """Add a row to the open block of an entity; a full one is closed under its first row's arrival."""
    block = found.get(prefix + _OPEN)
    if block is not None and (len(block) + len(row) > _BLOCK or _WIDTH.unpack_from(block)[0] != width):
        place = 1 if width != LABEL or prefix[:1] == _RECORDS else 2
        first = int.from_bytes(block[_WIDTH.size * (1 + place) : _WIDTH.size * (2 + place)], "little")
        found.put(prefix + _PLACE.pack(first), block)
        block = None
    found.put(prefix + _OPEN, (block or _WIDTH.pack(width)) + row)


def _under(found: Any, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    with found.cursor() as cursor:
        if cursor.set_range(prefix):
            for key, value in cursor:
                if not key.startswith(prefix):
                    return
                yield bytes(key), bytes(value)


def _blocks(found: Any, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    return _under(found, prefix)


def _thinned(found: Any, prefix: bytes, word: int, since: int, *, last: bool) -> int:
    """Remove an entity's rows whose word is not later than a moment."""
    blocks = list(_blocks(found, prefix))
    tables = [words(block[_WIDTH.size :], _WIDTH.unpack_from(block)[0]) for _, block in blocks]
    latest = max((int(table[:, word].max()) for table in tables), default=0)
    gone = 0
    for (key, block), table in zip(blocks, tables, strict=True):
        kept = table[:, word] > since
        if last and latest <= since:
            kept = table[:, word] == latest
        if kept.all():
            continue
        gone += len(kept) - int(kept.sum())
        if kept.any():
            found.put(key, block[: _WIDTH.size] + table[kept].tobytes())
        else:
            found.delete(key)
    return gone
