"""Labels from a file: CSV, or Parquet."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fds_mlflow.core.keys import spelled
from fds_mlflow.errors import DataError, NotFoundError
from fds_mlflow.outcomes.records import CaseRecord, case_rows, require_past
from fds_mlflow.outcomes.sink import Sink
from fds_mlflow.runtime import text_file
from fds_mlflow.runtime.clock import Clock, SystemClock
from fds_mlflow.runtime.csv_text import records

if TYPE_CHECKING:
    import pyarrow

BATCH = 10_000
"""Rows that are stored together."""

COLUMNS = tuple(field.name for field in fields(CaseRecord))
REQUIRED = ("transaction_id", "status", "known_at")
_NUMBERS = ("loss_amount", "propensity")
_TIMES = ("known_at", "occurred_at", "reported_at", "resolved_at")

_UNNAMED_INDEX = re.compile(r"__index_level_\d+__").fullmatch
"""What pandas calls the index of a frame that was filtered."""

_Read = tuple[str, Mapping[str, Any]]
"""Where a row stands in its file, and its values by column."""


def import_labels(store: Sink, path: Path, *, clock: Clock | None = None) -> tuple[int, int]:
    """Store the labels of a file, batch by batch; a file can be loaded again at any time.

    Args:
        store: Where to.
        path: A CSV file with a header, in UTF-8 or UTF-16, compressed with gzip or not, or a Parquet file. Columns
            `transaction_id`, `status` and `known_at` (with a time zone), and whichever other fields of `CaseRecord`
            are known; empty means not known.
        clock: Tells what is the future: no time of a label may lie more than a day ahead.

    Returns:
        How many rows the file has, and how many of them were new or changed.

    Raises:
        NotFoundError: There is no such file.
        DataError: The file cannot be read, a column is missing or unknown, or a value is not valid; the rows before
            its batch are stored.
        UnavailableError: The database is locked, full or gone; as before.
    """
    rows, changed, now = 0, 0, (clock or SystemClock()).now()
    read = _parquet(path) if text_file.is_parquet(path) else _csv(path)
    while batch := list(islice(read, BATCH)):
        try:
            cases = [_case(where, row, now) for where, row in batch]
            changed += store.label(cases)
        except DataError as error:
            raise DataError(
                f"{path}: {_found(batch, now) or error.what}",
                fix=f"{error.fix}; {rows:,} rows before it are stored, and the file can be loaded again",
            ) from None
        rows += len(batch)
    return rows, changed


def _found(batch: Sequence[_Read], now: datetime) -> str | None:
    """The first row that no store takes, and why."""
    for where, row in batch:
        try:
            case_rows([_case(where, row, now)])
        except DataError as error:
            return error.what if error.what.startswith(where) else f"{where}: {error.what.partition(': ')[2]}"
    return None


def _csv(path: Path) -> Iterator[_Read]:
    with text_file.opened(path) as file:
        names, rows = records(text_file.lines(file, str(path)), str(path))
        _check(path, names)
        for line, row in rows:
            yield f"line {line}", row


def _parquet(path: Path) -> Iterator[_Read]:
    import pyarrow
    from pyarrow import parquet

    try:
        text_file.require_regular(path)
        with parquet.ParquetFile(path) as file:
            names = _wanted(file.schema_arrow)
            _check(path, names)
            before = 0
            for batch in file.iter_batches(BATCH, columns=names):
                yield from ((f"row {before + place}", row) for place, row in enumerate(_values(path, batch, before), 1))
                before += batch.num_rows
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}", fix="check the path") from None
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # a name or note in it may be no text
        raise DataError(f"{path} is no Parquet file: {error}", fix="write it again, or give a CSV file") from None


def _wanted(schema: pyarrow.Schema) -> list[str]:
    """The columns, without an index that pandas wrote along."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return [name for name in schema.names if name in COLUMNS or not (name in index or _UNNAMED_INDEX(name))]


def _values(path: Path, batch: pyarrow.RecordBatch, before: int) -> list[dict[str, Any]]:
    """The rows of a batch, in Python's types, which hold less than Parquet's."""
    with contextlib.suppress(ValueError, OverflowError):
        return cast("list[dict[str, Any]]", batch.to_pylist())
    for place in range(batch.num_rows):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                column[place].as_py()
            except (ValueError, OverflowError) as error:
                raise DataError(
                    f"{path}: row {before + place + 1}: {name} cannot be read: {error}",
                    fix="write texts in UTF-8, and times of the years 1 to 9999",
                ) from None
    raise ValueError("a row cannot be read")


def _check(path: Path, columns: Sequence[str]) -> None:
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise DataError(f"{path} has two columns named {twice[0]!r}", fix="write each column once")
    between = next((mark for mark in ";\t|" if len(columns) == 1 and mark in columns[0]), None)
    if between is not None:
        raise DataError(f"{path} has {between!r} between its columns", fix="write commas between the columns")
    missing = [name for name in REQUIRED if name not in columns]
    unknown = [name for name in columns if name not in COLUMNS]
    if missing or unknown:
        wrong = [f"lacks {', '.join(missing)}"] if missing else []
        wrong += [f"has the unknown columns {', '.join(map(repr, unknown))}"] if unknown else []
        raise DataError(f"{path} {' and '.join(wrong)}", fix=f"name the columns as here: {', '.join(COLUMNS)}")


def _case(where: str, row: Mapping[str, Any], now: datetime) -> CaseRecord:
    values: dict[str, Any] = {name: None if value == "" else value for name, value in row.items()}
    try:
        values["transaction_id"] = spelled(values["transaction_id"])
    except DataError as error:
        raise DataError(f"{where}: {error.what}", fix=error.fix) from None
    for name, value in values.items():
        if isinstance(value, str) and name in _TIMES:
            values[name] = _time(where, name, value)
        elif isinstance(value, str) and name in _NUMBERS:
            values[name] = _number(where, name, value)
    case = CaseRecord(**values)
    try:
        require_past(case, now)
    except DataError as error:
        raise DataError(f"{where}: {error.what}", fix=error.fix) from None
    return case


def _time(where: str, name: str, written: str) -> datetime:
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(written)
        if moment.tzinfo is not None:
            return moment
    raise DataError(
        f"{where}: {name} is {written!r}, not a time with a time zone", fix="write times like 2026-03-01T12:00:00+00:00"
    )


def _number(where: str, name: str, written: str) -> float:
    try:
        return float(written)
    except ValueError:
        raise DataError(f"{where}: {name} is {written!r}", fix="write numbers like 123.45") from None
