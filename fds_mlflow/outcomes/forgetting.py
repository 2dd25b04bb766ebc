"""Forgetting a person: what outcomes hold of one goes, in one transaction; counts have no person in them, and stay.

A person is found by the routing key, by transactions, or by a column of raw transactions that were recorded. With the
transactions go their outcomes of every model, their shadows, vectors and labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, case, delete, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session
from ulid import ULID

from fds_mlflow.core.keys import joined, spelled
from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.tables import FirstEvent, FraudCase, Outcome, RecordedVector, Shadow

KEY, TRANSACTION = "key", "transaction"
"""What people are found by, beside columns of recorded transactions."""

_Beside = TypeVar("_Beside", Shadow, RecordedVector)
_Counted = type[Outcome] | type[Shadow] | type[RecordedVector] | type[FraudCase]
T = TypeVar("T", int, str)

_LIST = 500  # values in one IN list: far below any database's limit of bound parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was removed, or would be.

    Attributes:
        outcomes: Outcomes.
        shadows: Shadows.
        vectors: Recorded vectors.
        labels: States of cases.
        first_events: Notes of where a key had its first event.
        rollouts: Rollouts that lost outcomes, as pairs of model and rollout: their counts stay as they are.
    """

    outcomes: int = 0
    shadows: int = 0
    vectors: int = 0
    labels: int = 0
    first_events: int = 0
    rollouts: tuple[tuple[str, str], ...] = ()


@dataclass
class _Found:
    """The rows of a person."""

    outcomes: dict[int, Any] = field(default_factory=dict)
    transactions: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


def forget(session: Session, by: str, values: Sequence[str], *, dry: bool = False) -> Forgotten:
    """Remove what is stored of a person.

    The newest row of a table that is counted by its numbers is emptied instead: its number must not come again.

    Args:
        session: Inside a transaction of its own.
        by: `key`, `transaction`, or a column of recorded raw transactions.
        values: What the person has there.
        dry: Count only.

    Raises:
        DataError: No value is given, or an empty one; or no raw transaction that was kept has such a column.
    """
    if not values or not all(values):
        raise DataError("nobody is named", fix="give at least one value that is not empty")
    found = _found(session, by, values)
    left = found.keys - _elsewhere(session, found)
    requests = [(row.model, row.request_id) for row in found.outcomes.values()]
    rows: dict[_Counted, list[int]] = {
        Outcome: sorted(found.outcomes),
        Shadow: _beside(session, Shadow, requests),
        RecordedVector: _beside(session, RecordedVector, requests),
        FraudCase: _those(session, FraudCase.id, FraudCase.transaction_id, found.transactions),
    }
    events = 0
    for some in _parts(left):
        query = select(func.count()).select_from(FirstEvent).where(FirstEvent.key.in_(some))
        events += session.scalar(query) or 0
        if not dry:
            session.execute(delete(FirstEvent).where(FirstEvent.key.in_(some)))
    if not dry:
        for table, ids in rows.items():
            _remove(session, table, ids)
    return Forgotten(
        outcomes=len(rows[Outcome]),
        shadows=len(rows[Shadow]),
        vectors=len(rows[RecordedVector]),
        labels=len(rows[FraudCase]),
        first_events=events,
        rollouts=tuple(sorted({(row.model, row.rollout_id) for row in found.outcomes.values() if row.rollout_id})),
    )


def _found(session: Session, by: str, values: Sequence[str]) -> _Found:
    found = _Found()
    if by == KEY:
        found.keys.update(values)
        _add(session, found, Outcome.key, values)
    elif by == TRANSACTION:
        found.transactions.update(map(joined, values))
    else:
        columns: set[str] = set()
        for row in session.scalars(select(RecordedVector).where(RecordedVector.raw.is_not(None))):
            raw = msgspec.json.decode(row.raw or "{}")
            columns.update(raw)
            if spelled(raw.get(by)) in values:
                found.transactions.add(row.transaction_id)
        if columns and by not in columns:  # nothing found would read as nothing stored
            there = ", ".join([KEY, TRANSACTION, *sorted(columns)])
            raise DataError(f"no raw transaction that was kept has a column {by!r}", fix=f"name one of {there}")
    _add(session, found, Outcome.transaction_id, sorted(found.transactions))
    return found


def _add(session: Session, found: _Found, column: InstrumentedAttribute[str], values: Iterable[str]) -> None:
    """The outcomes that have a value in a column, their transactions and keys."""
    columns = (Outcome.id, Outcome.model, Outcome.request_id, Outcome.transaction_id, Outcome.key, Outcome.rollout_id)
    for some in _parts(values):
        for row in session.execute(select(*columns).where(column.in_(some))):
            found.outcomes[row.id] = row
            found.transactions.add(row.transaction_id)
            found.keys.add(row.key)


def _elsewhere(session: Session, found: _Found) -> set[str]:
    """Those of the keys that other outcomes have as well: where their first events happened goes on to be known."""
    others: set[str] = set()
    for some in _parts(found.keys):
        rows = session.execute(select(Outcome.id, Outcome.key).where(Outcome.key.in_(some)))
        others |= {row.key for row in rows if row.id not in found.outcomes}
    return others


def _beside(session: Session, table: type[_Beside], requests: Sequence[tuple[str, str]]) -> list[int]:
    """The rows that belong to these requests."""
    ids = []
    for model in sorted({model for model, _ in requests}):
        names = [request for of, request in requests if of == model]
        ids += _those(session, table.id, table.request_id, names, table.model == model)
    return ids


def _those(
    session: Session,
    number: InstrumentedAttribute[int],
    column: InstrumentedAttribute[str],
    values: Iterable[str],
    *also: ColumnElement[bool],
) -> list[int]:
    return [
        found for some in _parts(values) for found in session.scalars(select(number).where(column.in_(some), *also))
    ]


def _remove(session: Session, table: _Counted, ids: Sequence[int]) -> None:
    """Delete rows; the newest of a table stays as a row of nobody, where its number would be given again."""
    newest = None if table is RecordedVector else session.scalar(select(func.max(table.id)))
    for some in _parts([number for number in ids if number != newest]):
        session.execute(delete(table).where(table.id.in_(some)), execution_options={"synchronize_session": False})
    if newest in ids:
        nobody = f"forgotten-{ULID()}"
        names = ("key", "transaction_id", "request_id")
        empty: dict[str, Any] = {name: nobody for name in names if name in table.__table__.columns}
        empty |= {name: None for name in ("inputs_digest", "reasons") if name in table.__table__.columns}
        if "error" in table.__table__.columns:
            empty["error"] = case((table.__table__.columns["error"].is_not(None), "forgotten"))
        session.execute(update(table).where(table.id == newest).values(empty))


def _parts(values: Iterable[T]) -> Iterator[list[T]]:
    """Values in lists that fit a statement, in one order."""
    ordered = sorted(values)
    for start in range(0, len(ordered), _LIST):
        yield ordered[start : start + _LIST]
