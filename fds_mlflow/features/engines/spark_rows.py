"""Rows as Spark moves them: tables as bytes, each a value of a row with the numbers that say where it belongs."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fds_mlflow.data import parquet_file
from fds_mlflow.errors import DataError, FdsError
from fds_mlflow.features.engines.reading import Noticed, Stretch, read

Batches = Iterator[pa.RecordBatch]
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")

STAGED = "block long, rows binary, ids binary, noticed binary"
"""The columns of `staged`."""


def staged(tables: Iterable[pa.Table], noticed: Noticed, base: int, size: int, order: str | None = None) -> Batches:
    """A reader's stretches, then what it noticed; or the error of ours that it met."""
    try:
        for stretch in read(tables, noticed, size, order=order):
            yield _staged_row(base + stretch.number, stretch, None)
        yield _staged_row(base, None, pickle.dumps(noticed))
    except FdsError as error:
        yield _staged_row(-1, None, pickle.dumps((error.what, error.fix)))


def _staged_row(block: int, stretch: Stretch | None, noticed: bytes | None) -> pa.RecordBatch:
    rows = None if stretch is None else as_bytes(stretch.rows)
    ids = None if stretch is None else stretch.ids.tobytes()
    return one_row(block=block, rows=rows, ids=ids, noticed=noticed)


def checked(batches: Iterable[pa.RecordBatch], source: str, order: str | None) -> Iterator[pa.Table]:
    """What Spark gives, as tables.

    Raises:
        DataError: A column holds text that is none, or the one that gives the order has gaps.
    """
    done = 0
    for batch in batches:
        parquet_file.require_valid(batch, source, done)
        if order is not None and batch.column(batch.schema.get_field_index(order)).null_count:
            raise DataError(f"the column {order!r} that gives the order has gaps", fix="fill them in")
        done += batch.num_rows
        yield pa.Table.from_batches([batch])


def pairs(table: pa.Table, key: str) -> Iterator[tuple[int, bytes]]:
    """Of each row the number that a column has, and its table."""
    return zip(table.column(key).to_pylist(), table.column("rows").to_pylist(), strict=True)


def hashes(batches: Iterable[pa.RecordBatch]) -> Iterator[npt.NDArray[np.uint64]]:
    """The hashes of each row's ids."""
    for batch in batches:
        for ids in batch.column(batch.schema.get_field_index("ids")).to_pylist():
            yield np.frombuffer(ids, dtype=np.uint64)


def one_row(**values: Any) -> pa.RecordBatch:
    """One row."""
    columns = [pa.array([one], pa.int64() if isinstance(one, int) else pa.binary()) for one in values.values()]
    return pa.record_batch(columns, list(values))


def as_bytes(table: pa.Table) -> bytes:
    """A table as a value of Spark's, compressed: the fewer bytes, the less its collector of garbage has to do."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_COMPRESSED) as writer:
        writer.write_table(table.combine_chunks())
    found: bytes = sink.getvalue().to_pybytes()
    return found


def as_table(data: bytes) -> pa.Table:
    """The table again."""
    return pa.ipc.open_stream(data).read_all()
