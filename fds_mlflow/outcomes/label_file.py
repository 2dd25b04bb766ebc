"""Labels from a file: CSV, or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from fds_mlflow import text_file
from fds_mlflow.errors import DataError, NotFoundError
from fds_mlflow.outcomes.records import CaseRecord
from fds_mlflow.outcomes.store import OutcomeStore

BATCH = 10_000
"""Rows that are stored together."""

COLUMNS = tuple(field.name for field in fields(CaseRecord))
REQUIRED = ("transaction_id", "status", "known_at")
_TIMES = ("known_at", "occurred_at", "reported_at", "resolved_at")


def import_labels(store: OutcomeStore, path: Path) -> tuple[int, int]:
    """Store the labels of a file, batch by batch; a file can be loaded again at any time.

    Args:
        store: Where to.
        path: A CSV file with a header, in UTF-8 or UTF-16, compressed with gzip or not, or a Parquet file. Columns
            `transaction_id`, `status` and `known_at` (with a time zone), and whichever other fields of `CaseRecord`
            are known; empty means not known.

    Returns:
        How many rows the file has, and how many of them were new or changed.

    Raises:
        NotFoundError: There is no such file.
        DataError: The file cannot be read, a column is missing or unknown, or a value is not valid; the rows before
            its batch are stored.
        UnavailableError: The database is locked, full or gone; as before.
    """
    rows, changed = 0, 0
    read = _parquet(path) if text_file.is_parquet(path) else _csv(path)
    while batch := list(islice(read, BATCH)):
        try:
            changed += store.label([_case(row) for row in batch])
        except DataError as error:
            raise DataError(
                f"{path}, rows {rows + 1:,} to {rows + len(batch):,}: {error.what}",
                fix=f"{error.fix}; the rows before these are stored, and the file can be loaded again",
            ) from None
        rows += len(batch)
    return rows, changed


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    with text_file.opened(path) as file:
        reader = csv.DictReader(file, restkey="")
        _check(path, reader.fieldnames or ())
        for row in reader:
            if "" in row or None in row.values():
                raise DataError(
                    f"line {reader.line_num} of {path} has not the {len(reader.fieldnames or ())} fields of its header",
                    fix="correct the line",
                )
            yield row


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            _check(path, file.schema_arrow.names)
            for batch in file.iter_batches(BATCH):
                yield from batch.to_pylist()
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}", fix="check the path") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is no Parquet file: {error}", fix="write it again, or give a CSV file") from None


def _check(path: Path, columns: Any) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    unknown = [name for name in columns if name not in COLUMNS]
    if missing or unknown:
        wrong = [f"lacks {', '.join(missing)}"] if missing else []
        wrong += [f"has the unknown columns {', '.join(map(repr, unknown))}"] if unknown else []
        raise DataError(f"{path} {' and '.join(wrong)}", fix=f"name the columns as here: {', '.join(COLUMNS)}")


def _case(row: Mapping[str, Any]) -> CaseRecord:
    values: dict[str, Any] = {name: None if value == "" else value for name, value in row.items()}
    for name, value in values.items():
        if isinstance(value, str) and name in _TIMES:
            values[name] = _time(name, value)
        elif isinstance(value, str) and name == "loss_amount":
            values[name] = _amount(value)
    return CaseRecord(**values)


def _time(name: str, written: str) -> datetime:
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        raise DataError(f"{name} is {written!r}", fix="write times like 2026-03-01T12:00:00+00:00") from None


def _amount(written: str) -> float:
    try:
        return float(written)
    except ValueError:
        raise DataError(f"loss_amount is {written!r}", fix="write amounts like 123.45") from None
