"""Deleting what is old and counted, a chunk at a time; the counters stay, so verdicts do too.

A rollout's outcomes go together, once all of them are old and their labels are counted: while one of a customer's
requests is there, all of the rollout must be, or the customer would count as new again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, delete, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from fds_mlflow.core.evidence.evidence import Terms
from fds_mlflow.outcomes.counting.counting import follow_indexes
from fds_mlflow.outcomes.counting.question import terms_from
from fds_mlflow.outcomes.inserts import KEEP_COUNT, changed
from fds_mlflow.outcomes.tables import Count, FraudCase, Outcome, RecordedVector, Shadow

CHUNK = 10_000
"""Rows deleted in one transaction."""

Table = type[Outcome | Shadow | RecordedVector | FraudCase]

Place = tuple[Any, int]
"""How far a deletion has come: the next chunk begins behind it, and does not walk through what is deleted again."""

_BESIDE: tuple[type[Shadow], type[RecordedVector]] = (Shadow, RecordedVector)
"""What goes with an outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStats:
    """What is stored about a model.

    Attributes:
        model: The registered model.
        outcomes: Its outcomes.
        shadows: Its shadows.
        vectors: Its recorded vectors.
        rollouts: Rollouts that have outcomes.
        counted: Rollouts that somebody asked for evidence about, deleted outcomes included.
        oldest: Time of the oldest outcome, UTC.
        newest: Time of the newest outcome, UTC.
    """

    model: str
    outcomes: int
    shadows: int
    vectors: int
    rollouts: int
    counted: int
    oldest: datetime
    newest: datetime


def stats(session: Session) -> list[ModelStats]:
    """One entry per model that has outcomes, by name."""
    found = []
    for model in _distinct(session, Outcome.model):
        mine = Outcome.model == model
        query = select(func.count(), func.min(Outcome.time), func.max(Outcome.time)).where(mine)
        outcomes, oldest, newest = session.execute(query).one()
        shadows, vectors = (
            session.scalar(select(func.count()).select_from(beside).where(beside.model == model)) or 0
            for beside in _BESIDE
        )
        counted = session.scalar(select(func.count(Count.rollout_id.distinct())).where(Count.model == model))
        found.append(
            ModelStats(
                model=model,
                outcomes=outcomes,
                shadows=shadows,
                vectors=vectors,
                rollouts=len(rollouts(session, model)),
                counted=counted or 0,
                oldest=oldest,
                newest=newest,
            )
        )
    return found


def rollouts(session: Session, model: str) -> list[str]:
    """The model's rollouts that have outcomes."""
    return list(_distinct(session, Outcome.rollout_id, Outcome.model == model))


def due(session: Session, model: str, rollout_id: str, older_than: datetime) -> list[Terms] | None:
    """On which terms a rollout is counted whose outcomes are all old, and their labels too; None if any is not."""
    terms = known_terms(session, model, rollout_id)
    age = max((each.maturity for each in terms if each.maturity is not None), default=timedelta(0))
    young = select(Outcome.id).where(*_of(model, rollout_id), Outcome.time > older_than - age).limit(1)
    return None if session.scalar(young) is not None else terms


def known_terms(session: Session, model: str, rollout_id: str) -> list[Terms]:
    """The terms on which somebody asked for a rollout's evidence."""
    mine = (Count.model == model, Count.rollout_id == rollout_id)
    return [terms_from(written) for written in session.scalars(select(Count.terms).where(*mine))]


def prunable(session: Session, model: str, older_than: datetime, uncounted: bool) -> int:
    """How many rows would go now: outcomes with what goes with them, and shadows whose outcome is not there.

    Labels are not among them: whether one is referred to shows only once the outcomes are gone.
    """
    gone = [and_(Outcome.model == model, Outcome.rollout_id.is_(None), Outcome.time < older_than)]
    for rollout_id in rollouts(session, model):
        terms = due(session, model, rollout_id, older_than)
        if terms is not None and (terms or uncounted):
            gone.append(and_(*_of(model, rollout_id)))
    where = (or_(*gone), Outcome.id < _newest(Outcome))
    requests = select(Outcome.model, Outcome.request_id).where(*where)
    counted = [select(func.count()).select_from(Outcome).where(*where)]
    for beside in _BESIDE:
        its = tuple_(beside.model, beside.request_id).in_(requests)
        counted.append(select(func.count()).select_from(beside).where(its))
    outcome = select(Outcome.id).where(Outcome.model == Shadow.model, Outcome.request_id == Shadow.request_id)
    alone = (Shadow.model == model, Shadow.time < older_than, ~outcome.exists(), Shadow.id < _newest(Shadow))
    counted.append(select(func.count()).select_from(Shadow).where(*alone))
    return sum(session.scalar(query) or 0 for query in counted)


def delete_rollout(
    session: Session, model: str, rollout_id: str, after: Place | None = None
) -> tuple[int, Place | None]:
    """Delete the next of a rollout's outcomes with what goes with them, and close its counts.

    Returns:
        How many rows went, and where to go on; None where nothing is left.
    """
    mine = (Count.model == model, Count.rollout_id == rollout_id)
    session.execute(update(Count).where(*mine, ~Count.final).values(final=True))
    return _delete_outcomes(session, _of(model, rollout_id), Outcome.key, after)


def delete_outside(
    session: Session, model: str, older_than: datetime, after: Place | None = None
) -> tuple[int, Place | None]:
    """Delete the next old outcomes that belong to no rollout, as `delete_rollout`."""
    outside = [Outcome.model == model, Outcome.rollout_id.is_(None), Outcome.time < older_than]
    return _delete_outcomes(session, outside, Outcome.time, after)


def delete_shadows(
    session: Session, model: str, older_than: datetime, after: int | None = None
) -> tuple[int, int | None]:
    """Delete old shadows whose outcome is not there, among the next rows; as `delete_rollout`."""
    after = after or 0
    last = session.scalar(_next(Shadow, after))
    if last is None:
        return 0, None
    outcome = select(Outcome.id).where(Outcome.model == Shadow.model, Outcome.request_id == Shadow.request_id)
    old = (Shadow.model == model, Shadow.time < older_than, ~outcome.exists())
    return _delete(session, Shadow, Shadow.id > after, Shadow.id <= last, *old), last


def delete_cases(session: Session, older_than: datetime, after: int | None = None) -> tuple[int, int | None]:
    """Delete old states of cases that no rollout's outcome refers to, among the next rows; as `delete_rollout`."""
    after = after or 0
    last = session.scalar(_next(FraudCase, after))
    if last is None:
        return 0, None
    here = (FraudCase.id > after, FraudCase.id <= last, FraudCase.known_at < older_than)
    old = set(session.scalars(select(FraudCase.id).where(*here)))
    for model in _distinct(session, Outcome.model) if old else ():
        own = [Outcome.transaction_id != Outcome.key, Outcome.rollout_id.is_not(None), Outcome.model == model]
        query = select(FraudCase.id).join(Outcome, Outcome.transaction_id == FraudCase.transaction_id)
        old -= set(session.scalars(query.where(*here, *own)))
        for rollout_id in rollouts(session, model):
            query = select(FraudCase.id).join(Outcome, Outcome.key == FraudCase.transaction_id)
            old -= set(session.scalars(query.where(*here, *_of(model, rollout_id))))
    ids = sorted(old)
    some = (ids[start : start + _LIST] for start in range(0, len(ids), _LIST))
    return sum(_delete(session, FraudCase, FraudCase.id.in_(each)) for each in some), last


def _of(model: str, rollout_id: str) -> list[ColumnElement[bool]]:
    return [Outcome.model == model, Outcome.rollout_id == rollout_id]


def _distinct(session: Session, column: Any, *where: ColumnElement[bool]) -> Iterator[str]:
    """The values of an indexed column, by one look into the index each: there are few, of many rows."""
    value = session.scalar(select(func.min(column)).where(*where))
    while value is not None:
        yield value
        value = session.scalar(select(func.min(column)).where(*where, column > value))


def _next(entity: type[Shadow | FraudCase], after: int) -> Select[Any]:
    """The last of the next rows, in the order of writing."""
    ids = select(entity.id).where(entity.id > after).order_by(entity.id).limit(CHUNK).subquery()
    return select(func.max(ids.c.id))


_LIST = 500  # ids in one IN list: far below any database's limit of bound parameters


def _delete_outcomes(
    session: Session, conditions: Sequence[ColumnElement[bool]], by: Any, after: Place | None
) -> tuple[int, Place | None]:
    """Delete the next outcomes in the order of an index, with what goes with them; the database alone sees the rows."""
    follow_indexes(session)  # else PostgreSQL sorts all of the rollout for each chunk
    further = [] if after is None else [tuple_(by, Outcome.id) > tuple_(*after)]
    where = (*conditions, *further, Outcome.id < _newest(Outcome))
    going = select(Outcome.id, Outcome.model, Outcome.request_id, by.label("place")).where(*where)
    chunk = going.order_by(by, Outcome.id).limit(CHUNK).subquery()
    ends = select(chunk.c.place, chunk.c.id).order_by(chunk.c.place.desc(), chunk.c.id.desc()).limit(1)
    last = session.execute(ends).first()
    if last is None:
        return 0, None
    deleted = 0
    for beside in _BESIDE:
        its = tuple_(beside.model, beside.request_id).in_(select(chunk.c.model, chunk.c.request_id))
        deleted += _delete(session, beside, its)
    return deleted + _delete(session, Outcome, Outcome.id.in_(select(chunk.c.id))), (last.place, last.id)


def _newest(entity: Table) -> ScalarSelect[Any]:
    return select(func.max(entity.id)).scalar_subquery()


def _delete(session: Session, entity: Table, *where: ColumnElement[bool]) -> int:
    """Delete rows, save the newest of what is counted: SQLite gives its number to the next row."""
    kept = [entity.id < _newest(entity)] if entity in (Shadow, FraudCase) else []  # of outcomes it was not asked for
    options = {**KEEP_COUNT, "synchronize_session": False}
    return changed(session.execute(delete(entity).where(*where, *kept), execution_options=options))
