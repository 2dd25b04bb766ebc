"""A history into an empty state, all at once: what its transactions, one by one, would have left there.

Each role's rows are sorted by entity once; what an entity keeps is a stretch of them. Each value is hashed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fds_mlflow.errors import RefusedError
from fds_mlflow.features import meaning
from fds_mlflow.features.engines.staging import known_labels, micros
from fds_mlflow.features.meaning import Ints
from fds_mlflow.features.state.layout import entity
from fds_mlflow.features.state.logs import name, written
from fds_mlflow.features.state.remembered import UNKNOWN, Remembered, entity_key, hashed, occurred_key, transaction_key
from fds_mlflow.features.state.rows import FIRST, LABELS, PAIRS, RECORDS
from fds_mlflow.features.state.state import State

_AT_ONCE, _BYTES = 2_000, 2**20
"""Values that are written in one transaction of the store, and the bytes from which on there are fewer: a store that
others use is not to keep them waiting.
"""

Item = tuple[bytes, bytes, bytes]


def load(state: State, frame: pd.DataFrame) -> int:
    """Fill an empty state from history.

    Args:
        state: It.
        frame: Transactions in canonical columns, in the order of arrival; labels that are known are taken in.

    Returns:
        The number of transactions.

    Raises:
        RefusedError: There is something in it already.
    """
    if state.number:
        raise RefusedError(
            f"the state holds {state.number:,} arrivals already, and a history is loaded into an empty one",
            fix="load it into a folder of its own, and let the server use that",
        )
    history = _History(state, frame)
    for some in _portions(history.items()):
        with state.store.writing() as values:
            for key, part, value in sorted(some):
                values.put(key, part, value)
    state.begin(len(frame) + history.labelled, history.latest)
    return len(frame)


class _History:
    """The rows of a history, ordered by time, and what is to be written of them."""

    def __init__(self, state: State, frame: pd.DataFrame) -> None:
        layout = state.layout
        time = micros(frame["time"])
        order = time.argsort(kind="stable")
        self._layout = layout
        self._time = time[order]
        self.latest = int(self._time[-1])
        self._ids = frame["transaction_id"].to_numpy()[order]
        self._number = np.arange(1, len(frame) + 1)
        numbers = [frame[column].to_numpy(dtype=np.float64, na_value=np.nan)[order] for column in layout.numbers]
        self._record = np.column_stack([self._time, self._number, *(one.view(np.int64) for one in numbers)])
        needed = dict.fromkeys((*layout.roles, *(other for _, other in layout.pairs)))
        self._codes: dict[str, npt.NDArray[np.intp]] = {}
        self._values: dict[str, Any] = {}
        for role in needed:
            codes, self._values[role] = pd.factorize(frame[role])
            self._codes[role] = codes[order]
        self._keys = {role: [entity(role, value) for value in self._values[role]] for role in layout.roles}
        self._moment, self._fraud = np.full(len(frame), meaning.NEVER), np.zeros(len(frame), dtype=np.int64)
        if layout.label_span:
            label, known = known_labels(frame)
            there = known[order] != meaning.NEVER
            self._moment[there] = np.maximum(known[order], self._time + layout.label_delay)[there]
            self._fraud = label[order]
        self._labels = self._moment != meaning.NEVER
        self.labelled = int(self._labels.sum())
        # Labels come after all transactions: whatever is asked later is later than both.
        self._label = np.column_stack(
            [self._moment, len(frame) + np.cumsum(self._labels), np.ones_like(self._number), self._fraud]
        )

    def items(self) -> Iterator[Item]:
        """Everything to write."""
        end = int(self._time[-1])
        recent = self._time > end - self._layout.span
        if self._layout.gaps:
            recent[:] = True
        for role in self._layout.roles:
            yield from self._log(role, RECORDS, 0, self._record, recent)
            if self.labelled:
                usable = self._labels & (self._moment > end - self._layout.label_span)
                yield from self._log(role, LABELS, 0, self._label, usable)
        for at, (role, other) in enumerate(self._layout.pairs):
            yield from self._pairs(at, role, other, self._time > end - self._layout.span)
        yield from self._transactions()

    def _log(self, role: str, kind: bytes, at: int, rows: Ints, chosen: npt.NDArray[np.bool_]) -> Iterator[Item]:
        codes = self._codes[role]
        places = np.flatnonzero(chosen & (codes >= 0))
        places = places[np.lexsort((rows[places, 0], codes[places]))]
        table, keys = rows[places], self._keys[role]
        for code, start, end in _stretches(codes[places]):
            for part, value in written(kind, table[start:end]):
                yield entity_key(keys[code]), name(kind, at) + part, value

    def _pairs(self, at: int, role: str, other: str, chosen: npt.NDArray[np.bool_]) -> Iterator[Item]:
        own, counted = self._codes[role], self._codes[other]
        places = np.flatnonzero((own >= 0) & (counted >= 0))
        both = own[places] * np.intp(len(self._values[other])) + counted[places]
        order = both.argsort(kind="stable")
        places, both = places[order], both[order]
        last = np.full(len(self._time), FIRST)
        same = np.flatnonzero(both[1:] == both[:-1]) + 1
        last[places[same]] = self._time[places[same - 1]]
        there = np.zeros(len(self._time), dtype=bool)
        there[places] = True
        rows = np.column_stack([self._time, self._number, last, np.ones_like(last)])
        yield from self._log(role, PAIRS, at, rows, chosen & there)
        kept = places[self._time[places] > self._time[-1] - 2 * self._layout.span]
        pair = own[kept] * np.intp(len(self._values[other])) + counted[kept]
        times, keys = self._time[kept], self._keys[role]
        hashes = list(map(hashed, self._values[other]))
        for code, start, end in _stretches(pair):
            key, value = divmod(code, len(hashes))
            yield (*occurred_key(keys[key], at, hashes[value]), times[start:end].tobytes())

    def _transactions(self) -> Iterator[Item]:
        """Each by its id. What it was is not kept: one that is sent again is known by its id and time."""
        keys = [np.array([*self._keys[role], b""], dtype=object)[self._codes[role]] for role in self._layout.roles]
        moments, there = np.where(self._labels, self._moment, 0).tolist(), self._labels.tolist()
        times = self._time.tolist()
        frauds = (self._fraud * self._labels).tolist()
        for row, ident in enumerate(self._ids):
            of = Remembered(
                row + 1,
                times[row],
                UNKNOWN,
                [one[row] for one in keys if one[row]],
                moments[row],
                there[row],
                frauds[row] == 1,
            )
            yield transaction_key(ident), b"", of.written()


def _portions(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Everything, in parts that are written at once."""
    some, size = list[Item](), 0
    for item in items:
        some.append(item)
        size += len(item[2])
        if len(some) >= _AT_ONCE or size >= _BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _stretches(codes: npt.NDArray[np.integer[Any]]) -> Iterable[tuple[int, int, int]]:
    """Each code of a sorted array, with the first place it has and the one behind the last."""
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    ends = np.append(starts, len(codes))[1:]
    return zip(codes[starts].tolist(), starts.tolist(), ends.tolist(), strict=True)
