"""Canonical rows, a stretch at a time, where several readers share a source; and what only all of them can tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from fds_mlflow.data.canonical import Canonical
from fds_mlflow.data.transactions import Digest, column_hash
from fds_mlflow.features.spec import genuine_labels

BUCKETS = 4096
ORDER = "order"
"""The column of a stretch that gives the order, where one does."""


class Noticed:
    """What readers noticed of their rows; what several noticed adds up.

    Args:
        canonical: What the reader canonicalises with.
        roles: The entity roles whose past is looked at.

    Attributes:
        digest: Of the rows.
        genuine: How many are genuine, and of how many of those it becomes known.
        times: First and last time, NaT where there is none.
        counts: Role -> how many rows each bucket of its entities has, shape (BUCKETS,).
    """

    def __init__(self, canonical: Canonical, roles: Iterable[str]) -> None:
        self.canonical = canonical
        self.digest = Digest()
        self.genuine = (0, 0)
        self.times: pd.Series[Any] = pd.Series([], dtype="datetime64[us]")
        self.counts = {role: np.zeros(BUCKETS, dtype=np.int64) for role in roles}

    def note(self, frame: pd.DataFrame, hashes: npt.NDArray[np.uint64]) -> None:
        """Note a stretch, of whose ids the hashes are known."""
        self.digest.update(frame, {"transaction_id": hashes})
        self._add(genuine_labels(frame), frame["time"].agg(["min", "max"]))

    def add(self, other: Noticed) -> None:
        """Add what another reader noticed of later rows."""
        self.canonical.add(other.canonical)
        self.digest.add(other.digest)
        self._add(other.genuine, other.times)
        for role, counts in other.counts.items():
            self.counts[role] += counts

    def _add(self, genuine: tuple[int, int], times: pd.Series[Any]) -> None:
        self.genuine = (self.genuine[0] + genuine[0], self.genuine[1] + genuine[1])
        self.times = pd.concat([self.times, times]).agg(["min", "max"])

    @property
    def rows(self) -> int:
        """How many rows were read, empty ones apart."""
        return self.canonical.rows


@dataclass(frozen=True)
class Stretch:
    """Some canonical rows.

    Attributes:
        number: How many rows the reader had read before.
        rows: A column of each canonical one, then the bucket of each role's entity, and the order where it is given.
        ids: Hashes of the ids.
    """

    number: int
    rows: pa.Table
    ids: npt.NDArray[np.uint64]


def read(tables: Iterable[pa.Table], noticed: Noticed, size: int, *, order: str | None = None) -> Iterator[Stretch]:
    """Canonicalise a reader's rows.

    Args:
        tables: Rows in the columns of the schema, and the one that gives the order.
        noticed: What is noticed goes there. Once something does not fit, nothing is yielded any more.
        size: Rows of a stretch; the last one has fewer.
        order: The column that gives the order, where one does.
    """
    for table in _sized(tables, size):
        begin = noticed.canonical.begin
        frame = noticed.canonical.frame(table)
        if frame is None or noticed.canonical.problems:
            continue
        hashes = column_hash(frame["transaction_id"])
        noticed.note(frame, hashes)
        columns = {f"c{i}": as_array(frame[name]) for i, name in enumerate(frame.columns)}
        for i, role in enumerate(noticed.counts):
            bucket = (column_hash(frame[role]) % np.uint64(BUCKETS)).astype(np.uint16)
            there = frame[role].notna().to_numpy()
            noticed.counts[role] += np.bincount(bucket[there], minlength=BUCKETS)
            columns[f"b{i}"] = pa.array(bucket, mask=~there)
        if order is not None:
            columns[ORDER] = table[order].combine_chunks().take(pa.array(noticed.canonical.kept)).cast(pa.int64())
        yield Stretch(begin, pa.table(columns), hashes)


def as_array(column: Any) -> pa.Array | pa.ChunkedArray:
    """A column as Arrow has it; text as Spark takes it, which pandas may call large."""
    found = pa.array(column, from_pandas=True)
    return found.cast(pa.string()) if pa.types.is_large_string(found.type) else found


def _sized(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """The same rows in tables of one size, but for the last."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        if rows >= size:
            whole = pa.concat_tables(waiting)
            for first in range(0, rows - size + 1, size):
                # Taken, and no slice, of whose texts PyArrow 17 to 19 mistake the beginning when they cast them.
                yield whole.take(pa.array(np.arange(first, first + size)))
            rest = whole.slice(rows - rows % size)
            waiting, rows = [rest], rest.num_rows
    if rows:
        rest = pa.concat_tables(waiting)
        yield rest.take(pa.array(np.arange(rows)))
