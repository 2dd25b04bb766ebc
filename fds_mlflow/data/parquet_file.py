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
            _require_valid(batch, path, done)
            yield pa.Table.from_batches([batch])
            done += batch.num_rows
            request.report(done, file.metadata.num_rows)


def _require_valid(batch: pa.RecordBatch, path: Path, before: int) -> None:
    """Refuse what Arrow takes over unseen, above all text that is none: it would fail wherever it is looked at first.

    Raises:
        DataError: A column holds such; names it.
    """
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"column {name!r} of {path} is damaged in rows {before + 1:,} to {before + batch.num_rows:,}: {error}",
                fix="write the file again, its texts in UTF-8",
            ) from None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError) as error:  # a name in it may be no text
        reason = " ".join(str(error).split())
        raise DataError(f"cannot read {path} as Parquet: {reason}", fix="check how the file was written") from None
