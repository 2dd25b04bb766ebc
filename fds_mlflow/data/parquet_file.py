"""Reading Parquet files, a stretch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from fds_mlflow.data.request import Request
from fds_mlflow.errors import DataError

_ROWS, _CELLS = 500_000, 8_000_000
"""Most rows, and most values, of a stretch."""


def names(path: Path) -> list[str]:
    """The names of a file's columns; errors as for `schema`."""
    return list(schema(path).names)


def schema(path: Path) -> pa.Schema:
    """The columns of a file.

    Raises:
        DataError: It cannot be read.
    """
    from pyarrow import parquet

    with _readable(path), parquet.ParquetFile(path) as file:
        return file.schema_arrow


def group_sizes(path: Path) -> list[int]:
    """The rows of each of a file's row groups.

    Raises:
        DataError: It cannot be read.
    """
    from pyarrow import parquet

    with _readable(path), parquet.ParquetFile(path) as file:
        return [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]


def tables(path: Path, request: Request, columns: list[str], groups: Sequence[int] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of some columns in order.

    Args:
        path: The file.
        request: What is asked of it.
        columns: The columns.
        groups: The row groups to read; all where None.

    Raises:
        DataError: It cannot be read.
    """
    from pyarrow import parquet

    with _readable(path), parquet.ParquetFile(path) as file:
        done = sum(file.metadata.row_group(number).num_rows for number in range(groups[0])) if groups else 0
        size = max(1, min(_ROWS, _CELLS // max(1, len(columns))))
        for batch in file.iter_batches(batch_size=size, columns=columns, row_groups=groups):
            require_valid(batch, str(path), done)
            yield pa.Table.from_batches([batch])
            done += batch.num_rows
            request.report(done, file.metadata.num_rows)


def require_valid(batch: pa.RecordBatch, path: str, before: int) -> None:
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
