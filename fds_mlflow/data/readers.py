"""Reading a source into Arrow tables, a stretch of rows at a time, only the columns the schema names."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError, DataError, redacted
from fds_mlflow.runtime.csv_text import records
from fds_mlflow.runtime.text_file import (
    CSV_SUFFIXES,
    PARQUET_SUFFIXES,
    absent,
    form,
    is_parquet,
    misencoded,
    opened,
    undecodable,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.sql import Select
    from sqlalchemy.sql.elements import TextClause

_CSV_BLOCK = 32 * 2**20  # bytes of text per stretch
_PARQUET_ROWS = 500_000
_SQL_ROWS = 100_000


def describe(source: str | Path | pd.DataFrame, table: str | None, query: str | None) -> str:
    """Name a source for people, without its password."""
    if isinstance(source, pd.DataFrame):
        return "the DataFrame"
    if not is_url(source):
        return str(source)
    safe = redacted(str(source))
    return f"{safe} (table {table})" if table else f"{safe} (query {' '.join((query or '').split())[:60]!r})"


def is_url(source: str | Path | pd.DataFrame) -> bool:
    """Whether a source is a SQLAlchemy URL and not a path or frame."""
    return isinstance(source, str) and "://" in source


def chunks(
    source: str | Path | pd.DataFrame, schema: Schema, *, table: str | None = None, query: str | None = None
) -> Iterator[pa.Table]:
    """Yield the source's rows in order, as tables of the columns that the schema names.

    Args:
        source: A CSV (optionally .gz) or Parquet path, a DataFrame, or a SQLAlchemy URL.
        schema: Names the columns.
        table: For a URL: the table, ``name`` or ``schema.name``; its rows come ordered by time and id.
        query: For a URL: a query instead; its rows come in the order it gives.

    Raises:
        DataError: Unreadable source, or a column that is not there.
        ConfigError: Options that do not go together.
    """
    if not is_url(source) and (table or query):
        raise ConfigError("'table' and 'query' go with a database URL only", fix="leave them out for a file or frame")
    if isinstance(source, pd.DataFrame):
        return _from_frame(source, schema)
    if is_url(source):
        if (table is None) == (query is None):
            raise ConfigError(
                "a database URL needs a table or a query",
                fix="give exactly one of table= and query= (--table, --query)",
            )
        return _from_sql(str(source), schema, table, query)
    path = Path(source)
    return _from_parquet(path, schema) if _is_parquet(path) else _from_csv(path, schema)


def column_names(path: Path) -> list[str]:
    """The columns of a CSV or Parquet file.

    Raises:
        DataError: There is no such file, or it cannot be read.
    """
    from pyarrow import parquet

    if not _is_parquet(path):
        with _csv_read(path):
            return _header(path)
    with _parquet_read(path), parquet.ParquetFile(path) as file:
        return list(file.schema_arrow.names)


def _is_parquet(path: Path) -> bool:
    """Whether a file is Parquet; it is there, and CSV by its name otherwise."""
    if (lack := absent(path)) is not None:
        raise DataError(lack, fix="check the path")
    if is_parquet(path):
        return True
    if path.name.lower().endswith(CSV_SUFFIXES):
        return False
    raise DataError(
        f"{path} is neither CSV nor Parquet by its name",
        fix=f"rename it to one of {', '.join((*CSV_SUFFIXES, *PARQUET_SUFFIXES))}, or convert it",
    )


def require_columns(present: Sequence[str], schema: Schema, source: str) -> None:
    """Check that every column the schema names is there exactly once.

    Raises:
        DataError: One is not; the message names the role, the column, the nearest name and what there is.
    """
    for role, column in schema.columns().items():
        count = list(present).count(column)
        if count == 1:
            continue
        if count > 1:
            raise DataError(f"{source} has {count} columns named {column!r}", fix="rename all but one of them")
        near = difflib.get_close_matches(column, [str(name) for name in present], n=1, cutoff=0.6)
        shown = ", ".join(str(name) for name in present[:20]) + (", ..." if len(present) > 20 else "")
        raise DataError(
            f"column {column!r} ({role}) is not in {source}, which has {len(present)} columns: {shown}",
            fix=f"name the right column under {role!r} in the schema"
            + (f" (did you mean {near[0]!r}?)" if near else ""),
        )


def _wanted(schema: Schema) -> list[str]:
    return list(dict.fromkeys(schema.columns().values()))


def _from_frame(frame: pd.DataFrame, schema: Schema) -> Iterator[pa.Table]:
    require_columns(list(frame.columns), schema, "the DataFrame")
    yield pa.table({name: _array(frame[name]) for name in _wanted(schema)})


def _array(series: pd.Series[Any]) -> pa.Array | pa.ChunkedArray:
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        # Without the zone pyarrow takes the values as they are; the cast only names the zone they are in.
        return pa.array(series.dt.tz_convert(None), from_pandas=True).cast(pa.timestamp(series.dt.unit, tz="UTC"))
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        # An object column of mixed types (3 and "A7"): codes, so their text.
        return pa.array(series.map(lambda value: None if pd.isna(value) else str(value)), from_pandas=True)


def _stream(path: Path) -> tuple[pa.NativeFile, str]:
    """A CSV file's bytes, and their encoding."""
    found = form(path)
    return pa.input_stream(str(path), compression="gzip" if found.compressed else None), found.encoding


def _header(path: Path) -> list[str]:
    """The header of a CSV file, alone and first: a missing column is the commonest mistake, with its own message."""
    from pyarrow import csv

    stream, encoding = _stream(path)
    with stream:
        names = csv.open_csv(stream, read_options=csv.ReadOptions(block_size=2**20, encoding=encoding)).schema.names
    other = next((sign for sign in (";", "\t", "|") if len(names) == 1 and sign in names[0]), None)
    if other is not None:
        raise DataError(f"{path} is separated by {other!r}, not by commas", fix="write it with commas, or as Parquet")
    return list(names)


def _from_csv(path: Path, schema: Schema) -> Iterator[pa.Table]:
    from pyarrow import csv

    with _csv_read(path):
        require_columns(_header(path), schema, str(path))
        if _quotes(path):  # about which Arrow is lenient
            _require_strict(path)
        wanted = _wanted(schema)
        stream, encoding = _stream(path)
        # Everything as text: types are the schema's business, and codes such as 007 must survive.
        reader = csv.open_csv(
            stream,
            read_options=csv.ReadOptions(block_size=_CSV_BLOCK, encoding=encoding),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, pa.string()),
                strings_can_be_null=False,
            ),
        )
        with stream:
            for batch in reader:
                yield pa.Table.from_batches([batch])


def _quotes(path: Path) -> bool:
    stream, _ = _stream(path)
    with stream:  # in every encoding that is read a quote has this byte
        return any(b'"' in block for block in iter(lambda: stream.read(_CSV_BLOCK), b""))


def _require_strict(path: Path) -> None:
    """Read a CSV file for its faults alone; free text may hold line breaks and quotes.

    Raises:
        DataError: A quote is open, or a row has more or fewer fields than the header; names the line.
    """
    with opened(path) as file:
        for _ in records(file, str(path), exact=False)[1]:
            pass


@contextmanager
def _csv_read(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        if reason == "Empty CSV file":
            raise DataError(f"{path} is empty: not even a header", fix="check how the file was written") from None
        if "utf" in reason.lower() and (where := undecodable(path)) is not None:
            raise misencoded(path, where) from None
        _require_strict(path)
        raise DataError(
            f"cannot read {path} as CSV: {reason}",
            fix="it must be UTF-8 or UTF-16, comma-separated, with one header line and as many fields in each row",
        ) from None


def _from_parquet(path: Path, schema: Schema) -> Iterator[pa.Table]:
    from pyarrow import parquet

    with _parquet_read(path), parquet.ParquetFile(path) as file:
        require_columns(file.schema_arrow.names, schema, str(path))
        for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=_wanted(schema)):
            yield pa.Table.from_batches([batch])


@contextmanager
def _parquet_read(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"cannot read {path} as Parquet: {reason}", fix="check how the file was written") from None


def _from_sql(url: str, schema: Schema, table: str | None, query: str | None) -> Iterator[pa.Table]:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    from fds_mlflow.runtime import databases

    name = describe(url, table, query)
    address = databases.parse(url, named="the address of the data")
    try:
        engine = create_engine(address)
    except (ArgumentError, ModuleNotFoundError, TypeError, ValueError) as error:
        raise DataError(
            f"{name} cannot be used: {error}",
            fix="write dialect+driver://user:password@host/database, and install the driver it names",
        ) from None
    databases.strict(engine, address)
    try:
        with engine.connect().execution_options(stream_results=True) as connection:
            yield from _rows(connection, _statement(engine, schema, table, query, name), schema, name)
    except (SQLAlchemyError, OSError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise DataError(
            f"cannot read {name}: {reason}", fix="check the database, the table or query, and your rights"
        ) from None
    finally:
        engine.dispose()


def _statement(
    engine: Engine, schema: Schema, name: str | None, query: str | None, source: str
) -> Select[Any] | TextClause:
    from sqlalchemy import MetaData, Table, select, text
    from sqlalchemy.exc import NoSuchTableError

    if query is not None:
        return text(query)
    assert name is not None
    namespace, _, bare = name.rpartition(".")
    try:
        found = Table(bare, MetaData(), autoload_with=engine, schema=namespace or None)
    except NoSuchTableError:
        raise DataError(
            f"there is no table {name!r} in {source}", fix="check the name; other schemas as schema.table"
        ) from None
    require_columns([column.name for column in found.columns], schema, source)
    order = [schema.time] + ([schema.transaction_id] if schema.transaction_id else [])
    return select(*(found.c[column] for column in _wanted(schema))).order_by(*(found.c[column] for column in order))


def _rows(
    connection: Connection, statement: Select[Any] | TextClause, schema: Schema, source: str
) -> Iterator[pa.Table]:
    result = connection.execute(statement)
    if not result.returns_rows:
        raise DataError(f"{source} returns no rows", fix="give a SELECT")
    names = list(result.keys())
    require_columns(names, schema, source)
    wanted = {name: names.index(name) for name in _wanted(schema)}
    empty = True
    while rows := result.fetchmany(_SQL_ROWS):
        empty = False
        columns: Mapping[str, Any] = {
            name: _array(pd.Series([row[position] for row in rows], dtype=object)) for name, position in wanted.items()
        }
        yield pa.table(columns)
    if empty:
        yield pa.table({name: pa.array([], pa.string()) for name in wanted})
