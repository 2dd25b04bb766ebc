"""Inserting many rows as each database does it best: each row once, whoever writes it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Result, String, Table, Text, func, literal, select
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from fds_mlflow.outcomes.tables import UtcDateTime

KEEP_COUNT = {"preserve_rowcount": True}
"""Execution options without which SQLAlchemy forgets the driver's count of rows for inserts."""

_MANY = 100
"""Rows from which it pays to compile an insert anew and to hand its values to the driver as they are."""


def kept(session: Session, table: Table, rows: Sequence[dict[str, Any]]) -> int:
    """Insert what happened to requests, once each; returns how many were new."""
    identity = ("model", "request_id")
    return each(session, insert_for(session)(table).on_conflict_do_nothing(index_elements=identity), rows, identity)


def each(session: Session, statement: Any, rows: Sequence[dict[str, Any]], identity: tuple[str, str]) -> int:
    """Execute an insert for all rows, as the database does it best; returns how many rows it changed.

    Sorted, because two transactions that write the same rows in different orders wait for each other for ever. Many
    rows go past SQLAlchemy, which converts value by value: that takes longer than the database takes to store them.
    PostgreSQL is not sent columns that are null throughout.

    Args:
        session: Inside a transaction.
        statement: The insert; what it does on conflict may refer to `excluded`.
        rows: Of the same columns, checked; times in UTC. They are given away: SQLite's texts are written into them.
        identity: What a row is known by.
    """
    if not rows:
        return 0
    ordered = sorted(rows, key=itemgetter(*identity))
    dialect = session.get_bind().dialect
    if dialect.name == "postgresql":
        taken = map(itemgetter(*ordered[0]), ordered)
        columns = dict(zip(ordered[0], zip(*taken, strict=True), strict=True))
        columns = {name: values for name, values in columns.items() if values.count(None) < len(values)}
        statement = _from_arrays(statement, columns, identity)
        return changed(session.execute(statement, execution_options=KEEP_COUNT))
    if len(rows) < _MANY:
        return changed(session.execute(statement, ordered, execution_options=KEEP_COUNT))
    compiled = statement.compile(dialect=dialect, column_keys=list(ordered[0]))
    places = compiled.positiontup or ()
    said = {name: compiled.params[name] for name in places if name not in ordered[0]}
    times = [name for name in ordered[0] if isinstance(statement.table.c[name].type, UtcDateTime)]
    for row in ordered:
        row.update(said)
        for name in times:
            row[name] = _utc(row[name])
    values = list(map(itemgetter(*places), ordered))
    return changed(session.connection().exec_driver_sql(str(compiled), values, execution_options=KEEP_COUNT))


def _utc(time: Any) -> str | None:
    """A time in UTC as SQLite keeps it."""
    return None if time is None else time.isoformat(" ", "microseconds")[:26]


def _from_arrays(statement: Any, columns: Mapping[str, Sequence[Any]], identity: tuple[str, str]) -> Any:
    """The insert of one array per column, each written as one text; a column of one value is sent once.

    Row by row, also in psycopg's pipeline, took two to three times as long; arrays of Python's values, three times as
    long for the client.
    """
    arrays: list[ColumnElement[Any]] = []
    several: list[str] = []
    given: dict[str, ColumnElement[Any]] = {}
    for name, values in columns.items():
        kind = statement.table.c[name].type
        kind = Text() if isinstance(kind, String) else kind  # a limited text would be cut without a word
        if name not in identity and values.count(values[0]) == len(values):
            given[name] = literal(values[0], kind)
            continue
        arrays.append(cast_to(literal(_array(values), Text()), postgresql.ARRAY(kind)))
        several.append(name)
    made = func.unnest(*arrays).table_valued(*several).render_derived()
    given.update({name: made.c[name] for name in several})
    return statement.from_select(list(given), select(*given.values()))


def _array(values: Sequence[Any]) -> str:
    """Values of one column as PostgreSQL writes an array."""
    first = next(value for value in values if value is not None)
    if isinstance(first, str):
        if None not in values:
            joined = '","'.join(values)
            if "\\" not in joined and joined.count('"') == 2 * (len(values) - 1):
                return f'{{"{joined}"}}'
        texts = ("NULL" if value is None else _quoted(value) for value in values)
    elif isinstance(first, (bool, int, float)):
        texts = ("NULL" if value is None else repr(value) for value in values)
    else:
        texts = ("NULL" if value is None else f'"{value.isoformat()}"' for value in values)
    return f"{{{','.join(texts)}}}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def changed(result: Result[Any]) -> int:
    """How many rows a statement executed with `KEEP_COUNT` changed."""
    return cast("CursorResult[Any]", result).rowcount


def insert_for(session: Session) -> Callable[[Any], Any]:
    """The database's own INSERT, which knows ON CONFLICT."""
    return postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
