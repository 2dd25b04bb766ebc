"""Inserting many rows as each database does it best: each row once, whoever writes it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import Column, CursorResult, Result, String, Table, Text, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

KEEP_COUNT = {"preserve_rowcount": True}
"""Execution options without which SQLAlchemy forgets the driver's count of rows for inserts."""

_MANY = 100
"""Rows from which it pays to compile an insert anew and to convert its values by column."""


def kept(session: Session, table: Table, rows: Sequence[dict[str, Any]]) -> int:
    """Insert what happened to requests, once each; returns how many were new.

    Many rows go to SQLite's driver in one call, their values converted column by column: row by row SQLAlchemy takes
    longer than SQLite takes to store them.
    """
    identity = ("model", "request_id")
    statement = insert_for(session)(table).on_conflict_do_nothing(index_elements=identity)
    dialect = session.get_bind().dialect
    if dialect.name == "postgresql" or len(rows) < _MANY:
        return each(session, statement, rows, identity)
    compiled = statement.compile(dialect=dialect, column_keys=list(rows[0]))
    ordered = sorted(rows, key=itemgetter(*identity))
    columns: list[Iterable[Any]] = []
    for name in compiled.positiontup or ():
        convert = table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
        values = [row[name] for row in ordered]
        columns.append(values if convert is None else map(convert, values))
    given = list(zip(*columns, strict=True))
    return changed(session.connection().exec_driver_sql(str(compiled), given, execution_options=KEEP_COUNT))


def each(session: Session, statement: Any, rows: Sequence[dict[str, Any]], identity: tuple[str, str]) -> int:
    """Execute an insert for all rows, as the database does it best; returns how many rows it changed.

    Sorted, because two transactions that write the same rows in different orders wait for each other for ever.
    PostgreSQL gets one statement with an array per column: row by row, also in psycopg's pipeline, took two to
    three times as long.
    """
    if not rows:
        return 0
    ordered = sorted(rows, key=itemgetter(*identity))
    if session.get_bind().dialect.name != "postgresql":
        return changed(session.execute(statement, ordered, execution_options=KEEP_COUNT))
    columns = [statement.table.c[name] for name in ordered[0]]
    arrays = [literal([row[column.name] for row in ordered], _array(column)) for column in columns]
    given = func.unnest(*arrays).table_valued(*(column.name for column in columns)).render_derived()
    statement = statement.from_select([column.name for column in columns], select(*given.c))
    return changed(session.execute(statement, execution_options=KEEP_COUNT))


def _array(column: Column[Any]) -> postgresql.ARRAY[Any]:
    """The type of many values of a column; a cast to a text of limited length would cut them without a word."""
    return postgresql.ARRAY(Text() if isinstance(column.type, String) else column.type)


def changed(result: Result[Any]) -> int:
    """How many rows a statement executed with `KEEP_COUNT` changed."""
    return cast("CursorResult[Any]", result).rowcount


def insert_for(session: Session) -> Callable[[Any], Any]:
    """The database's own INSERT, which knows ON CONFLICT."""
    return postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
