"""Labels from a file: CSV, or Parquet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from typing import Any

from fds_mlflow import text_file
from fds_mlflow.core.keys import spelled
from fds_mlflow.csv_text import records
from fds_mlflow.errors import DataError, NotFoundError
from fds_mlflow.outcomes.records import CaseRecord, case_rows
from fds_mlflow.outcomes.store import OutcomeStore

BATCH = 10_000
"""Rows that are stored together."""

COLUMNS = tuple(field.name for field in fields(CaseRecord))
REQUIRED = ("transaction_id", "status", "known_at")
_TIMES = ("known_at", "occurred_at", "reported_at", "resolved_at")

_Read = tuple[str, Mapping[str, Any]]
"""Where a row stands in its file, and its values by column."""


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
            cases = [_case(where, row) for where, row in batch]
            changed += store.label(cases)
        except DataError as error:
            raise DataError(
                f"{path}: {_found(batch) or error.what}",
                fix=f"{error.fix}; {rows:,} rows before it are stored, and the file can be loaded again",
            ) from None
        rows += len(batch)
    return rows, changed


def _found(batch: Sequence[_Read]) -> str | None:
    """The first row that no store takes, and why."""
    for where, row in batch:
        try:
            case_rows([_case(where, row)])
        except DataError as error:
            return error.what if error.what.startswith(where) else f"{where}: {error.what.partition(': ')[2]}"
    return None


def _csv(path: Path) -> Iterator[_Read]:
    with text_file.opened(path) as file:
        names, rows = records(file, str(path))
        _check(path, names)
        for line, row in rows:
            if any("\n" in value or "\r" in value for value in row.values()):
                raise DataError(
                    f"line {line} of {path} ends a field that goes over several lines: a quote is open",
                    fix="close each quote, and double a quote inside a quoted value",
                )
            yield f"line {line}", row


def _parquet(path: Path) -> Iterator[_Read]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            _check(path, file.schema_arrow.names)
            numbers = count(1)
            for batch in file.iter_batches(BATCH):
                yield from ((f"row {next(numbers)}", row) for row in batch.to_pylist())
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


def _case(where: str, row: Mapping[str, Any]) -> CaseRecord:
    values: dict[str, Any] = {name: None if value == "" else value for name, value in row.items()}
    try:
        values["transaction_id"] = spelled(values["transaction_id"])
    except DataError as error:
        raise DataError(f"{where}: {error.what}", fix=error.fix) from None
    for name, value in values.items():
        if isinstance(value, str) and name in _TIMES:
            values[name] = _time(where, name, value)
        elif isinstance(value, str) and name == "loss_amount":
            values[name] = _amount(where, value)
    return CaseRecord(**values)


def _time(where: str, name: str, written: str) -> datetime:
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(written)
        if moment.tzinfo is not None:
            return moment
    raise DataError(
        f"{where}: {name} is {written!r}, not a time with a time zone", fix="write times like 2026-03-01T12:00:00+00:00"
    )


def _amount(where: str, written: str) -> float:
    try:
        return float(written)
    except ValueError:
        raise DataError(f"{where}: loss_amount is {written!r}", fix="write amounts like 123.45") from None
