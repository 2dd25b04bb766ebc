"""What is known of transactions, in the order in which it was written: for whoever follows labels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fds_mlflow.outcomes.records import CaseStatus
from fds_mlflow.outcomes.tables import FraudCase


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of a transaction.

    Attributes:
        transaction_id: The transaction.
        fraud: Whether it is fraud.
        known_at: From when on this was known, UTC.
    """

    transaction_id: str
    fraud: bool
    known_at: datetime


def truths(session: Session, after: int, limit: int) -> tuple[int, list[Truth]]:
    """The truths of the transactions about which something was written after a row.

    Args:
        session: Of the store.
        after: Number of the row; 0 for the beginning.
        limit: Rows to look at, at most.

    Returns:
        The number of the last row that was looked at, and of each transaction what is known today: the state with the
        latest `known_at`, nothing where that is a suspicion.
    """
    rows = session.execute(
        select(FraudCase.id, FraudCase.transaction_id).where(FraudCase.id > after).order_by(FraudCase.id).limit(limit)
    ).all()
    if not rows:
        return after, []
    latest = (
        select(FraudCase.transaction_id, func.max(FraudCase.known_at).label("known_at"))
        .where(FraudCase.transaction_id.in_({row.transaction_id for row in rows}))
        .group_by(FraudCase.transaction_id)
        .subquery()
    )
    mine = (FraudCase.transaction_id == latest.c.transaction_id) & (FraudCase.known_at == latest.c.known_at)
    query = select(FraudCase).join(latest, mine).where(FraudCase.status != CaseStatus.SUSPECTED.value)
    found = [
        Truth(case.transaction_id, case.status == CaseStatus.CONFIRMED.value, case.known_at)
        for case in session.scalars(query.order_by(FraudCase.id))
    ]
    return rows[-1].id, found
