"""Reading a table or a query of a database, a stretch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from fds_mlflow.data.frames import array
from fds_mlflow.data.request import Request
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.runtime import databases

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, CursorResult, Engine, Row
    from sqlalchemy.sql import Select
    from sqlalchemy.sql.elements import TextClause

_ROWS = 100_000


def tables(url: str, request: Request, *, table: str | None, query: str | None) -> Iterator[pa.Table]:
    """Yield rows in order: a table's by the columns that the request orders by, a query's as it gives them.

    Raises:
        ConfigError: Neither or both of table and query are given.
        DataError: The database cannot be read, or lacks a column.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    if (table is None) == (query is None):
        raise ConfigError(
            "a database URL needs a table or a query",
            fix="give exactly one of table= and query= (--table, --query)",
        )
    name = request.source
    address = databases.parse(url, named="the address of the data")
    if address.drivername == "postgresql":  # SQLAlchemy 2.0 would take psycopg2 for it
        address = address.set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(address)
    except (ArgumentError, ModuleNotFoundError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{name} cannot be used: {error}",
            fix="write dialect+driver://user:password@host/database, and install the driver it names",
        ) from None
    databases.strict(engine, address)
    try:
        with engine.connect().execution_options(stream_results=True) as connection:
            yield from _rows(connection, _statement(engine, request, table, query), request)
    except (SQLAlchemyError, OSError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise DataError(
            f"cannot read {name}: {reason}", fix="check the database, the table or query, and your rights"
        ) from None
    finally:
        engine.dispose()


def _statement(engine: Engine, request: Request, name: str | None, query: str | None) -> Select[Any] | TextClause:
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
            f"there is no table {name!r} in {request.source}", fix="check the name; other schemas as schema.table"
        ) from None
    wanted = request.wanted([column.name for column in found.columns])
    return select(*(found.c[column] for column in wanted)).order_by(*(found.c[column] for column in request.order))


def _rows(connection: Connection, statement: Select[Any] | TextClause, request: Request) -> Iterator[pa.Table]:
    result = connection.execute(statement)
    if not result.returns_rows:
        raise DataError(f"{request.source} returns no rows", fix="give a SELECT")
    names = list(result.keys())
    wanted = {name: names.index(name) for name in request.wanted(names)}
    booleans = _booleans(connection, statement)
    empty = True
    while rows := _fetched(result, request):
        empty = False
        columns = {name: pd.Series([row[place] for row in rows], dtype=object) for name, place in wanted.items()}
        for name in booleans & columns.keys():
            columns[name] = columns[name].map({0: False, 1: True})
        yield pa.table({name: array(values) for name, values in columns.items()})
    if empty:
        yield pa.table({name: pa.array([], pa.string()) for name in wanted})


def _fetched(result: CursorResult[Any], request: Request) -> Sequence[Row[Any]]:
    try:
        return result.fetchmany(_ROWS)
    except (TypeError, ValueError, ArithmeticError) as error:  # SQLite keeps a number or a text in a column of dates
        raise DataError(
            f"cannot read {request.source}: a value is not of its column's type: {error}",
            fix="correct it, or give a query that casts the column: CAST(column AS TEXT)",
        ) from None


def _booleans(connection: Connection, statement: Select[Any] | TextClause) -> set[str]:
    """Columns of a query that SQLite keeps as 0 and 1 and whose tables call them boolean."""
    from sqlalchemy import TextClause, text
    from sqlalchemy.exc import SQLAlchemyError

    if connection.dialect.name != "sqlite" or not isinstance(statement, TextClause):
        return set()
    try:
        connection.execute(text(f"CREATE TEMP VIEW fds_asked AS {statement.text.rstrip().rstrip(';')}"))
        columns = connection.execute(text("PRAGMA temp.table_info(fds_asked)")).all()
        connection.execute(text("DROP VIEW temp.fds_asked"))
    except SQLAlchemyError:  # no SELECT that a view can hold
        return set()
    return {column.name for column in columns if column.type.upper() in ("BOOLEAN", "BOOL")}
