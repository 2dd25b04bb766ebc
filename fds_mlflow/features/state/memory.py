"""The past in this process's memory: for one process, for tests, and for replaying a history."""

from __future__ import annotations

import threading

from fds_mlflow.features.state.layout import LABEL, WORD, Layout, words
from fds_mlflow.features.state.state import Arrival, Arriving, Remembered, Size, changed


class MemoryState:
    """What is remembered, in dictionaries.

    Args:
        layout: What is to be remembered.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._number = 0
        self._transactions: dict[bytes, Remembered] = {}
        self._records: dict[bytes, bytearray] = {}
        self._labels: dict[bytes, bytearray] = {}

    @property
    def layout(self) -> Layout:
        """What is remembered."""
        return self._layout

    def arrive(self, arriving: Arriving) -> Arrival:
        """See `State`."""
        with self._lock:
            found = self._transactions.get(arriving.key)
            if found is not None and not found.is_that(arriving):
                raise changed(arriving.key.hex())
            if found is None:
                self._number += 1
                found = self._transactions[arriving.key] = Remembered.of(arriving, self._number)
                record = arriving.record(self._number)
                for entity in filter(None, arriving.entities):
                    self._records.setdefault(entity, bytearray()).extend(record)
                return self._told(arriving, self._number, again=False)
            return self._told(arriving, found.number, again=True)

    def look(self, arriving: Arriving) -> Arrival:
        """See `State`."""
        with self._lock:
            told = self._told(arriving, self._number + 1, again=False)
        record = arriving.record(told.number)
        records = (past + record if key else past for key, past in zip(arriving.entities, told.records, strict=True))
        return Arrival(told.number, False, tuple(records), told.labels)

    def _told(self, arriving: Arriving, number: int, *, again: bool) -> Arrival:
        records = tuple(bytes(self._records.get(entity, b"")) for entity in arriving.entities)
        labels = tuple(bytes(self._labels.get(entity, b"")) for entity in arriving.entities)
        return Arrival(number, again, records, labels)

    def label(self, key: bytes, *, fraud: bool, known: int) -> bool:
        """See `State`."""
        with self._lock:
            found = self._transactions.get(key)
            if found is None:
                return False
            self._number += 1
            added = found.labelling(self._number, fraud=fraud, known=known)
            for entity in found.entities if added else ():
                self._labels.setdefault(entity, bytearray()).extend(added)
            return True

    def forget(self, entity: bytes) -> int:
        """See `State`."""
        with self._lock:
            records, labels = self._records.pop(entity, b""), self._labels.pop(entity, b"")
            for found in self._transactions.values():
                found.rest = found.rest.replace(entity, bytes(16))
            return len(records) // (WORD * self._layout.width) + len(labels) // (WORD * LABEL)

    def expire(self, time: int, labelled: int) -> int:
        """See `State`."""
        layout = self._layout
        with self._lock:
            self._transactions = {key: one for key, one in self._transactions.items() if one.time >= labelled}
            gone = _thinned(self._records, layout.width, 0, time - layout.span, last=layout.gaps)
            return gone + _thinned(self._labels, LABEL, 1, time - layout.label_span)

    def size(self) -> Size:
        """See `State`."""
        with self._lock:
            held = sum(map(len, (*self._records.values(), *self._labels.values())))
            rest = sum(len(found.rest) for found in self._transactions.values())
            return Size(len(self._records), len(self._transactions), held + rest)

    def close(self) -> None:
        """See `State`."""


def _thinned(held: dict[bytes, bytearray], width: int, word: int, since: int, *, last: bool = False) -> int:
    """Remove rows whose word is not later than a moment, and entities that have none left."""
    gone = 0
    for entity, data in list(held.items()):
        table = words(bytes(data), width)
        kept = table[:, word] > since
        if last and not kept.any():
            kept[table[:, word].argmax()] = True
        if kept.all():
            continue
        gone += len(kept) - int(kept.sum())
        held[entity] = bytearray(table[kept].tobytes())
        if not held[entity]:
            del held[entity]
    return gone
