"""What came back about transactions, column by column: for whoever trains on all of it at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, case, func, not_, or_, select
from sqlalchemy.orm import Session

from fds_mlflow.outcomes.statements import check_zone
from fds_mlflow.outcomes.tables import FraudCase, Outcome


@dataclass(frozen=True, slots=True)
class Reports:
    """The latest state of every case, one entry a transaction, in step with each other.

    Attributes:
        transaction_ids: The transactions, each once.
        statuses: What is known: a `CaseStatus`' value.
        known_at: From when on, UTC.
        propensities: Chance of the label, where whoever drew a sample has said it.
    """

    transaction_ids: list[str]
    statuses: list[str]
    known_at: list[datetime]
    propensities: list[float | None]


@dataclass(frozen=True, slots=True)
class Flagged:
    """What became of a transaction that a model flagged.

    Attributes:
        explored: It was let pass all the same.
        propensity: Chance that it would be, above 0; None where nothing is explored, or nothing of its kind.
    """

    explored: bool
    propensity: float | None


def reports(session: Session, as_of: datetime | None) -> Reports:
    """What is known about every transaction.

    Args:
        session: Inside a transaction.
        as_of: What was known then, timezone-aware; None for today.
    """
    check_zone(as_of)
    columns = (FraudCase.transaction_id, FraudCase.status, FraudCase.known_at, FraudCase.propensity)
    query = select(*columns).order_by(FraudCase.known_at)
    if as_of is not None:
        query = query.where(FraudCase.known_at <= as_of)
    latest = {row[0]: row for row in session.execute(query.execution_options(yield_per=10_000))}
    rows = latest.values()
    return Reports([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows], [r[3] for r in rows])


def flagged(session: Session, model: str) -> dict[str, Flagged]:
    """The transactions that a model flagged whenever it scored them, and those that it let pass to explore.

    Args:
        session: Inside a transaction.
        model: The registered model.
    """
    blocked = and_(Outcome.flagged.is_(True), not_(Outcome.explored.is_(True)))
    passed = func.max(case((or_(not_(blocked), Outcome.explored.is_(True)), 1), else_=0))
    explored = func.max(case((Outcome.explored.is_(True), 1), else_=0))
    chance = func.max(Outcome.propensity)
    query = select(Outcome.transaction_id, explored, chance).where(Outcome.model == model)
    query = query.group_by(Outcome.transaction_id).having(or_(passed == 0, explored == 1))
    return {name: Flagged(bool(free), p or None) for name, free, p in session.execute(query)}
