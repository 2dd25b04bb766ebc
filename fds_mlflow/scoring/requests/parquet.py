"""Rows of a Parquet body: only the columns that are needed, and never more than fits."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fds_mlflow.errors import DataError

_LARGEST = 64 * 2**20
"""Bytes that the columns of a body may take when they are unpacked."""

_AT_ONCE = 256
"""Rows that are unpacked before their size is looked at."""


def check_parquet(body: bytes, limit: int) -> Any:
    """The file in a body, of which nothing but the end was read.

    Raises:
        DataError: It is none, has too many rows, names a column twice, or says itself that it is too large.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(body))
        names = file.schema_arrow.names
        size = sum(file.metadata.row_group(place).total_byte_size for place in range(file.metadata.num_row_groups))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _none(error) from None
    if not 0 < file.metadata.num_rows <= limit:
        raise DataError(f"the request has {file.metadata.num_rows:,} rows", fix=f"send 1 to {limit:,} at a time")
    if len(set(names)) != len(names):
        raise DataError("the request names a column twice", fix="send each column once")
    if size > _LARGEST:
        raise DataError(f"the rows take {size:,} bytes when unpacked", fix="send fewer rows at a time")
    return file


def parquet_rows(body: bytes, columns: Collection[str] | None, limit: int) -> list[dict[str, Any]]:
    """The rows by column, of all columns where none are named; columns that are not there are left out.

    Raises:
        DataError: As `check_parquet`, or a value cannot be read.
    """
    import pyarrow

    file = check_parquet(body, limit)
    there = [name for name in file.schema_arrow.names if columns is None or name in columns]
    rows: list[dict[str, Any]] = []
    size = 0
    try:
        for batch in file.iter_batches(_AT_ONCE, columns=there):
            size += batch.nbytes
            if size > _LARGEST:
                raise DataError(f"the rows take more than {size:,} bytes when unpacked", fix="send fewer at a time")
            rows += batch.to_pylist() if there else [{} for _ in range(batch.num_rows)]
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise _none(error) from None
    return rows


def _none(error: Exception) -> DataError:
    return DataError(f"the body is no Parquet file that can be read: {error}", fix="send what to_parquet writes")
