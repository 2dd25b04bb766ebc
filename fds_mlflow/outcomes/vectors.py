"""What was kept of scored transactions: read again, in the order of writing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fds_mlflow.outcomes.records import Value, Vector
from fds_mlflow.outcomes.statements import check_zone
from fds_mlflow.outcomes.tables import Outcome, RecordedVector

_decode = msgspec.json.Decoder(dict[str, Value]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVector:
    """What a version scored of one transaction.

    Attributes:
        request_id: The request, as its outcome has it.
        transaction_id: The transaction.
        version: The version that answered.
        time: When it was scored, UTC.
        degraded: Whether its features were computed without the state that they rest on.
        flagged: Whether the answer said fraud.
        explored: Whether it was let pass all the same.
        propensity: Chance that it would be; None where nothing is explored.
        vector: What the version took.
    """

    request_id: str
    transaction_id: str
    version: int
    time: datetime
    degraded: bool
    flagged: bool
    explored: bool
    propensity: float | None
    vector: Vector


def vectors(
    session: Session, model: str, version: int | None, since: datetime | None, limit: int | None
) -> list[KeptVector]:
    """What was kept of a model's transactions, the oldest first; of many the newest ones.

    Args:
        session: Inside a transaction.
        model: The registered model.
        version: Of one version; None for all.
        since: Scored from then on; None for ever.
        limit: So many at most; None for all.
    """
    check_zone(since)
    its = (Outcome.model == RecordedVector.model) & (Outcome.request_id == RecordedVector.request_id)
    also = (Outcome.degraded, Outcome.flagged, Outcome.explored, Outcome.propensity)
    query = select(RecordedVector, *also).join(Outcome, its).where(RecordedVector.model == model)
    if version is not None:
        query = query.where(RecordedVector.version == version)
    if since is not None:
        query = query.where(RecordedVector.time >= since)
    query = query.order_by(RecordedVector.time.desc(), RecordedVector.id.desc()).limit(limit)
    return list(_kept(session.execute(query)))[::-1]


def scored(session: Session, model: str) -> dict[str, datetime]:
    """When each transaction of a model was first scored."""
    query = select(Outcome.transaction_id, func.min(Outcome.time).label("first")).where(Outcome.model == model)
    rows = session.execute(query.group_by(Outcome.transaction_id))
    return {row.transaction_id: row.first for row in rows}


def _kept(rows: Any) -> Iterator[KeptVector]:
    for row, degraded, flagged, explored, propensity in rows:
        raw = None if row.raw is None else _decode(row.raw)
        yield KeptVector(
            request_id=row.request_id,
            transaction_id=row.transaction_id,
            version=row.version,
            time=row.time,
            degraded=degraded,
            flagged=flagged,
            explored=explored,
            propensity=propensity,
            vector=Vector(_decode(row.features), raw, row.spec),
        )
