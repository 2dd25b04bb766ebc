"""How far can be counted: row numbers up to which everything that will ever be there can be seen.

On SQLite one transaction writes at a time, so the newest row is the mark. On PostgreSQL row numbers are drawn early and
become visible late, in any order: row 7 may appear after row 8 was seen. A trigger there lets every transaction that
writes announce, before it draws its first number, the newest row that it saw (migration 0002). Whatever such a
transaction will commit lies above the number it announced, so the mark is the lowest one of those still at work.

The newest row is read first and the announcements second: a transaction whose numbers lie below the newest row
announced itself before that row was drawn, so it is found among the announcements, or has ended, and then what
it wrote is seen by every transaction that begins later. Nobody waits for anybody.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from fds_mlflow.outcomes.tables import FraudCase, Outcome, Shadow

_ANNOUNCED = text(
    "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 "
    "AND classid = to_regclass(:name)::oid "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_HALF = 2**31


class Watermarks(NamedTuple):
    """Row numbers up to which everything that will ever be there can be seen by a later transaction."""

    outcome: int
    shadow: int
    case: int


def watermarks(session: Session) -> Watermarks:
    """How far can be counted now; to be counted in transactions that begin later."""
    return Watermarks(*(_mark(session, entity) for entity in (Outcome, Shadow, FraudCase)))


def _mark(session: Session, entity: type[Outcome | Shadow | FraudCase]) -> int:
    newest = int(session.scalar(select(func.max(entity.id))) or 0)
    if session.get_bind().dialect.name != "postgresql":
        return newest
    announced = session.scalars(_ANNOUNCED, {"name": entity.__tablename__})
    # The lock has room for the last 32 bits of a number: the one nearest to the newest row is meant.
    seen: list[int] = [newest + (low - newest + _HALF) % (2 * _HALF) - _HALF for low in announced]
    return min([newest, *seen])
