"""Reading a source into Arrow tables, a stretch of rows at a time, only the columns that are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa

from fds_mlflow.data import database_table, delimited, frames, parquet_file, workbook
from fds_mlflow.data.request import Progress, Request
from fds_mlflow.data.schema import Schema
from fds_mlflow.display.characters import printable
from fds_mlflow.display.redaction import redacted, remember_address
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.runtime.text_file import (
    PARQUET_SUFFIXES,
    TEXT_SUFFIXES,
    WORKBOOK_SUFFIXES,
    absent,
    is_folder,
    is_parquet,
)

_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def describe(source: str | Path | pd.DataFrame, table: str | None, query: str | None) -> str:
    """Name a source for people, without its password."""
    if isinstance(source, pd.DataFrame):
        return "the DataFrame"
    if not is_url(source):
        return printable(str(source))
    remember_address(str(source))
    said = f"{source} (table {table})" if table else f"{source} (query {' '.join((query or '').split())[:60]!r})"
    return printable(redacted(said))


def is_url(source: str | Path | pd.DataFrame) -> bool:
    """Whether a source is a SQLAlchemy URL and not a path or frame.

    Raises:
        DataError: It is an empty text, which a path would take for the current folder.
    """
    if isinstance(source, str) and not source.strip():
        raise DataError("no source is named", fix="name a file, a folder of files, or a database's address")
    return isinstance(source, str) and "://" in source


def chunks(
    source: str | Path | pd.DataFrame,
    schema: Schema,
    *,
    table: str | None = None,
    query: str | None = None,
    progress: Progress | None = None,
) -> Iterator[pa.Table]:
    """Yield the source's rows in order, as tables of the columns that the schema names.

    Args:
        source: A text file, a Parquet file, a workbook, a folder of text or Parquet files, a DataFrame, or a SQLAlchemy
            URL.
        schema: Names the columns, and says how a text file writes them.
        table: For a URL: the table, ``name`` or ``schema.name``; its rows come ordered by time and id.
        query: For a URL: a query instead; its rows come in the order it gives.
        progress: Is told the share that was read, from 0 to 1; not for a URL.

    Raises:
        DataError: Unreadable source, or a column that is not there.
        ConfigError: Options that do not go together.
    """
    return _tables(source, Request.of(describe(source, table, query), schema, progress), table, query)


def every_column(
    source: str | Path | pd.DataFrame,
    *,
    separator: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    table: str | None = None,
    query: str | None = None,
    progress: Progress | None = None,
) -> Iterator[pa.Table]:
    """Yield the source's rows in order with all their columns, those of a text file as text.

    Args:
        source: As `chunks` takes it.
        separator: Sign between the fields of a text file; by its name where None.
        encoding: Of a text file; by how it begins where None.
        sheet: Of a workbook; the first where None.
        table: For a URL: the table.
        query: For a URL: a query instead.
        progress: Is told the share that was read, from 0 to 1; not for a URL.

    Raises:
        DataError: Unreadable source, or a name that two columns have.
        ConfigError: Options that do not go together.
    """
    name = describe(source, table, query)
    request = Request(name, None, separator, encoding, sheet, progress)
    return _tables(source, request, table, query)


def _tables(
    source: str | Path | pd.DataFrame, request: Request, table: str | None, query: str | None
) -> Iterator[pa.Table]:
    if not is_url(source) and (table or query):
        raise ConfigError("'table' and 'query' go with a database URL only", fix="leave them out for a file or frame")
    if isinstance(source, pd.DataFrame):
        return frames.tables(source, request)
    if is_url(source):
        return database_table.tables(str(source), request, table=table, query=query)
    return _from_files(Path(source), request)


def column_names(path: Path, request: Request | None = None) -> list[str]:
    """The columns of a file, or of the first file of a folder.

    Raises:
        DataError: There is no such file, or it cannot be read.
    """
    return list(schema_of(path, files(path)[0], request or Request(str(path))).names)


def schema_of(path: Path, file: Path, request: Request) -> pa.Schema:
    """The columns of one of the files of a path, as `from_file` gives them; arguments as there.

    Raises:
        DataError: It cannot be read.
    """
    return _columns(file, request, _book(file, request), _partitions(path, file))


def _from_files(path: Path, request: Request) -> Iterator[pa.Table]:
    found = files(path)
    sizes = [file.stat().st_size for file in found]
    for number, file in enumerate(found):
        part = request.part(sum(sizes[:number]), sizes[number], sum(sizes))
        yield from from_file(path, file, part)


def from_file(path: Path, file: Path, request: Request, groups: Sequence[int] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of one of the files of a path in order.

    Args:
        path: The file itself, or its folder.
        file: The file.
        request: What is asked of it.
        groups: The row groups to read of a Parquet file; all where None.

    Raises:
        DataError: It cannot be read, or a column is not there.
    """
    keys = _partitions(path, file)
    book = _book(file, request)
    wanted = request.wanted(_columns(file, request, book, keys).names)
    columns = [name for name in wanted if name not in keys]
    if book is not None:
        found = frames.tables(book, request)
    elif is_parquet(file):
        found = parquet_file.tables(file, request, columns, groups)
    else:
        found = delimited.tables(file, request, columns)
    for table in found:
        for key, value in keys.items():
            if key in wanted:
                table = table.append_column(key, pa.array([value] * table.num_rows, pa.string()))  # noqa: PLW2901
        yield table.select(wanted)


def files(path: Path) -> list[Path]:
    """The file, or those of a folder in the order of their paths; what begins with _ or . is not data.

    Raises:
        DataError: There is none, or one is of no kind that is read.
    """
    if is_folder(path):
        found = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file() and not any(part[0] in "_." for part in file.relative_to(path).parts)
        ]
        if not found:
            raise DataError(
                f"the folder {path} holds no files", fix="give a file, or a folder of Parquet or text files"
            )
    elif (lack := absent(path)) is not None:
        raise DataError(lack, fix="check the path")
    else:
        found = [path]
    for file in found:
        if not file.name.lower().endswith((*TEXT_SUFFIXES, *WORKBOOK_SUFFIXES)) and not is_parquet(file):
            raise DataError(
                f"{file} is neither text, Parquet nor a workbook by its name",
                fix=f"rename it to one of {', '.join((*TEXT_SUFFIXES, *PARQUET_SUFFIXES, *WORKBOOK_SUFFIXES))}, or "
                "convert it",
            )
    return found


def _book(file: Path, request: Request) -> pd.DataFrame | None:
    """The sheet of a workbook, which is read once for its header and its rows; None of another file."""
    return workbook.frame(file, request.sheet) if file.name.lower().endswith(WORKBOOK_SUFFIXES) else None


def _columns(file: Path, request: Request, book: pd.DataFrame | None, keys: Iterable[str]) -> pa.Schema:
    """The columns that a file has, and those that the names of its folders hold."""
    if book is not None:
        found = next(frames.tables(book, replace(request, schema=None))).schema
    elif is_parquet(file):
        found = parquet_file.schema(file)
    else:
        found = pa.schema([(name, pa.string()) for name in delimited.names(file, request)])
    return pa.schema([*found, *((key, pa.string()) for key in keys if key not in found.names)])


def _partitions(path: Path, file: Path) -> dict[str, str | None]:
    """Columns that the names of a folder's folders hold, as Spark writes them: `day=2026-01-31/part-0.parquet`."""
    if path == file:
        return {}
    pairs = [part.partition("=") for part in file.relative_to(path).parts[:-1] if "=" in part]
    return {unquote(key): None if value == _NO_PARTITION else unquote(value) for key, _, value in pairs}
