"""Reading Parquet files, a stretch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from fds_mlflow.data.request import Request
from fds_mlflow.errors import DataError

_ROWS, _CELLS = 500_000, 8_000_000
"""Most rows, and most values, of a stretch."""


def names(path: Path) -> list[str]:
    """The columns of a file.

    Raises:
        DataError: It cannot be read.
    """
    from pyarrow import parquet

    with _readable(path), parquet.ParquetFile(path) as file:
        return list(file.schema_arrow.names)


def tables(path: Path, request: Request, columns: list[str]) -> Iterator[pa.Table]:
    """Yield the rows of some columns in order.

    Raises:
        DataError: It cannot be read.
    """
    from pyarrow import parquet

    with _readable(path), parquet.ParquetFile(path) as file:
        done = 0
        for batch in file.iter_batches(batch_size=max(1, min(_ROWS, _CELLS // max(1, len(columns)))), columns=columns):
            yield pa.Table.from_batches([batch])
            done += batch.num_rows
            request.report(done, file.metadata.num_rows)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"cannot read {path} as Parquet: {reason}", fix="check how the file was written") from None
