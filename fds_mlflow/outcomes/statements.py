"""Every read and write of records, written once: the sync and the async store run the same functions.

Each takes a session inside a transaction and commits nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from sqlalchemy import (
    ColumnElement,
    Integer,
    Label,
    Select,
    String,
    Table,
    and_,
    case,
    exists,
    func,
    or_,
    select,
    type_coerce,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from fds_mlflow.core.keys import joined
from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.inserts import each, insert_for, kept
from fds_mlflow.outcomes.records import CaseRecord, CaseStatus, OutcomeRecord
from fds_mlflow.outcomes.summary import VariantCounts
from fds_mlflow.outcomes.tables import FraudCase, Outcome, RecordedVector, Shadow, UtcDateTime

By = Literal["assigned", "served"]

_OUTCOMES = cast(Table, Outcome.__table__)
_VECTORS = cast(Table, RecordedVector.__table__)
_SHADOWS = cast(Table, Shadow.__table__)
_CASES = cast(Table, FraudCase.__table__)
_CASE_FIELDS = ("status", "fraud_type", "loss_amount", "occurred_at", "reported_at", "resolved_at", "propensity")
_LOOKUP = 500  # ids in one IN list: far below any database's limit of bound parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which outcomes are counted, and with which labels; the arguments of `OutcomeStore.counts`.

    Raises:
        DataError: `by` is unknown, `as_of` has no time zone or is missing beside `maturity`.
    """

    model: str
    rollout: str | None
    step: int | None = None
    by: By = "assigned"
    as_of: datetime | None = None
    maturity: timedelta | None = None

    def __post_init__(self) -> None:
        if self.by not in ("assigned", "served"):
            raise DataError(f"by is {self.by!r}", fix="count by 'assigned' (what a judge needs) or by 'served'")
        check_zone(self.as_of)
        if self.maturity is None:
            return
        if self.as_of is None:
            raise DataError(
                "a maturity age without as_of: no label has an age",
                fix="pass as_of, the time now",
            )
        check_maturity(self.maturity)

    @property
    def matured_at(self) -> datetime | None:
        """Outcomes up to here have reached the maturity age; None without one."""
        return None if self.as_of is None or self.maturity is None else self.as_of - self.maturity

    @property
    def variant(self) -> Label[str]:
        """The column that says whose outcome it is."""
        return (Outcome.assigned if self.by == "assigned" else Outcome.served).label("variant")

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """The outcomes' filter."""
        return [
            Outcome.model == self.model,
            Outcome.rollout_id.is_(None) if self.rollout is None else Outcome.rollout_id == self.rollout,
            *([] if self.step is None else [Outcome.step == self.step]),
            *([] if self.as_of is None else [Outcome.time <= self.as_of]),
        ]


def record(session: Session, rows: Sequence[dict[str, Any]], vectors: Sequence[dict[str, Any]] = ()) -> int:
    """Insert outcomes, and what some of them rest on; a request that is stored already is skipped.

    Returns:
        How many outcomes were new.
    """
    kept(session, _VECTORS, vectors)
    return kept(session, _OUTCOMES, rows)


def label(session: Session, rows: Sequence[dict[str, Any]]) -> int:
    """Insert states of cases, or correct those of the same moment. Returns how many were new or changed."""
    identity = ("transaction_id", "known_at")
    statement = insert_for(session)(_CASES)
    given = {name: statement.excluded[name] for name in _CASE_FIELDS}
    changed = or_(*(_CASES.c[name].is_distinct_from(value) for name, value in given.items()))
    suspected = CaseStatus.SUSPECTED.value
    was_truth, is_truth = _CASES.c.status != suspected, statement.excluded.status != suspected
    # Whoever counts labels looks for new row numbers: a row that says a truth for the first time gets one.
    first_truth = and_(~was_truth, ~_CASES.c.withdrawn, is_truth)
    counted = {
        "id": case((first_truth, _next_case(session)), else_=_CASES.c.id),
        "withdrawn": or_(_CASES.c.withdrawn, and_(was_truth, ~is_truth)),
    }
    upsert = statement.on_conflict_do_update(index_elements=identity, set_=given | counted, where=changed)
    return each(session, upsert, [row | {"withdrawn": False} for row in rows], identity)


def _next_case(session: Session) -> ColumnElement[int]:
    """The number of the next row of cases."""
    if session.get_bind().dialect.name == "postgresql":
        return func.nextval(func.pg_get_serial_sequence(_CASES.name, "id"))
    return select(func.max(_CASES.alias().c.id) + 1).scalar_subquery()


def record_shadows(session: Session, rows: Sequence[dict[str, Any]]) -> int:
    """Insert shadows; those whose request has one already are skipped. Returns how many were new."""
    return kept(session, _SHADOWS, rows)


def recent(session: Session, model: str, rollout: str | None, limit: int) -> list[OutcomeRecord]:
    """The newest outcomes first."""
    if limit < 1:
        raise DataError(f"limit is {limit}", fix="ask for at least one outcome")
    query = select(Outcome).where(Outcome.model == model)
    if rollout is not None:
        query = query.where(Outcome.rollout_id == rollout)
    query = query.order_by(Outcome.time.desc(), Outcome.id.desc()).limit(limit)
    return [_outcome(row) for row in session.scalars(query)]


def of_transaction(session: Session, transaction_id: str, model: str | None) -> list[OutcomeRecord]:
    """The outcomes of a transaction, the newest first; of one model where it is given."""
    query = select(Outcome).where(Outcome.transaction_id == joined(transaction_id))
    if model is not None:
        query = query.where(Outcome.model == model)
    return [_outcome(row) for row in session.scalars(query.order_by(Outcome.time.desc(), Outcome.id.desc()))]


def explored(session: Session, model: str, since: datetime) -> int:
    """How many outcomes of a model have been explored since a time."""
    check_zone(since)
    of_it = (Outcome.model == model, Outcome.explored.is_(True), Outcome.time >= since)
    return session.scalar(select(func.count()).select_from(Outcome).where(*of_it)) or 0


def cases(session: Session, transaction_ids: Sequence[str], as_of: datetime | None) -> dict[str, CaseRecord]:
    """The latest state of each transaction's case, by transaction id; without those that have none."""
    check_zone(as_of)
    found: dict[str, CaseRecord] = {}
    names = list({joined(name): None for name in transaction_ids})
    for start in range(0, len(names), _LOOKUP):
        query = (
            select(FraudCase)
            .where(FraudCase.transaction_id.in_(names[start : start + _LOOKUP]))
            .order_by(FraudCase.known_at)
        )
        if as_of is not None:
            query = query.where(FraudCase.known_at <= as_of)
        found.update((row.transaction_id, _case(row)) for row in session.scalars(query))
    return {name: found[joined(name)] for name in transaction_ids if joined(name) in found}


def all_cases(session: Session, as_of: datetime | None) -> dict[str, CaseRecord]:
    """The latest state of every case, by transaction id."""
    check_zone(as_of)
    query = select(FraudCase).order_by(FraudCase.known_at)
    if as_of is not None:
        query = query.where(FraudCase.known_at <= as_of)
    return {row.transaction_id: _case(row) for row in session.scalars(query)}


def counts(session: Session, scope: Scope) -> list[VariantCounts]:
    """One entry per variant, champion first, zeros where nothing happened."""
    query = _counted(session, [scope.variant], scope)
    found = {row.variant: _counts(dict(row._mapping), step=scope.step) for row in session.execute(query)}
    return [found.get(name, VariantCounts(variant=name, step=scope.step)) for name in Variant]


def counts_by_step(session: Session, scope: Scope) -> list[VariantCounts]:
    """One entry per step, weight in force and variant that has outcomes, in that order."""
    groups: list[ColumnElement[Any]] = [Outcome.step.label("step"), Outcome.weight.label("weight"), scope.variant]
    found = [_counts(dict(row._mapping)) for row in session.execute(_counted(session, groups, scope))]
    order = list(Variant)
    return sorted(found, key=lambda entry: (entry.step, entry.weight, order.index(entry.variant)))


def _counted(session: Session, groups: Sequence[ColumnElement[Any]], scope: Scope) -> Select[Any]:
    """The aggregate. Kinds are counted by distinct key; rare ones cost next to nothing that way."""
    truth, join = _truth(session, scope)
    failed, flagged = Outcome.error.is_not(None), Outcome.flagged.is_(True)
    genuine, fraud = truth == 0, truth == 1
    kinds: dict[str, ColumnElement[bool]] = {
        "errors": failed,
        "flagged": flagged,
        "labelled": truth.is_not(None),
        "true_positives": and_(flagged, fraud),
        "false_positives": and_(flagged, genuine),
        "false_negatives": and_(~flagged, fraud),
        "true_negatives": and_(~flagged, genuine),
        "failures": or_(failed, and_(flagged, genuine), and_(~flagged, fraud)),
    }
    if scope.matured_at is not None:
        kinds["matured"] = Outcome.time <= scope.matured_at
    return (
        select(
            *groups,
            func.count().label("requests"),
            func.count(Outcome.key.distinct()).label("keys"),
            *(func.count(case((hit, Outcome.key)).distinct()).label(name) for name, hit in kinds.items()),
            func.count(Outcome.score).label("scored"),
            func.sum(Outcome.score).label("score_sum"),
            func.sum(Outcome.latency_ms).label("latency_sum_ms"),
            func.max(Outcome.latency_ms).label("latency_max_ms"),
            func.min(Outcome.time).label("first"),
            func.max(Outcome.time).label("last"),
        )
        .select_from(Outcome)
        .outerjoin(*join)
        .where(*scope.conditions)
        .group_by(*groups)
    )


def _truth(session: Session, scope: Scope) -> tuple[ColumnElement[int | None], tuple[Any, ColumnElement[bool]]]:
    """1 fraud, 0 genuine, null not known; and the join that brings each outcome its transaction's last state.

    With a maturity age the label is the one known when the outcome reached that age, frozen there.
    """
    state, later = aliased(FraudCase), aliased(FraudCase)
    on = [state.transaction_id == Outcome.transaction_id]
    replaced = [later.transaction_id == state.transaction_id, later.known_at > state.known_at]
    limit: ColumnElement[datetime] | datetime | None = scope.as_of
    if scope.maturity is not None:
        limit = shifted(session, Outcome.time, scope.maturity)
        on.append(Outcome.time <= scope.matured_at)
    if limit is not None:
        on.append(state.known_at <= limit)
        replaced.append(later.known_at <= limit)
    known_genuine = state.status.in_([CaseStatus.FALSE_POSITIVE.value, CaseStatus.GENUINE.value])
    truth = case((state.status == CaseStatus.CONFIRMED.value, 1), (known_genuine, 0), else_=None)
    return truth, (state, and_(*on, ~exists().where(*replaced)))


def shifted(session: Session, time: InstrumentedAttribute[datetime], by: timedelta) -> ColumnElement[datetime]:
    """A time plus `by`, whole seconds."""
    if session.get_bind().dialect.name == "postgresql":
        # In seconds: a day added to a time with time zone is 23 or 25 hours where the server's clocks change.
        years, months, weeks, days, hours, minutes = (0,) * 6
        interval = func.make_interval(years, months, weeks, days, hours, minutes, by.total_seconds())
        return time.op("+", return_type=UtcDateTime())(interval)
    # SQLite keeps times as texts, 2026-03-01 12:00:00.123456, and computes in milliseconds: shift the seconds,
    # and carry the fraction over as it is.
    written = type_coerce(time, String())
    seconds = func.substr(written, 1, 19)
    shifted = func.strftime("%Y-%m-%d %H:%M:%S", seconds, f"{by // timedelta(seconds=1):+d} seconds")
    return type_coerce(shifted.concat(func.substr(written, 20)), UtcDateTime())


def hour_of(session: Session, time: InstrumentedAttribute[datetime]) -> ColumnElement[int]:
    """The hour of a time, counted from 1970 UTC."""
    if session.get_bind().dialect.name == "postgresql":
        # As double precision: numeric, which `extract` gives, takes ten times as long. Exact until the year 2500.
        return cast_to(func.floor(func.date_part("epoch", time) / 3600.0), Integer())
    return cast_to(func.strftime("%s", func.substr(type_coerce(time, String()), 1, 19)), Integer()) // 3600


def check_maturity(maturity: timedelta | None) -> None:
    """Refuse an age that the databases cannot add to a time.

    Raises:
        DataError: It is negative or not of whole seconds.
    """
    if maturity is not None and (maturity < timedelta(0) or maturity.microseconds):
        raise DataError(f"maturity is {maturity}", fix="pass a duration of whole seconds, at least zero")


def check_zone(as_of: datetime | None) -> None:
    """Refuse a time that has no time zone.

    Raises:
        DataError: It has none.
    """
    if as_of is not None and as_of.utcoffset() is None:
        raise DataError(f"as_of is {as_of!r}, which has no time zone", fix="attach one, for example timezone.utc")


def _counts(row: dict[str, Any], *, step: int | None = None) -> VariantCounts:
    row["variant"] = Variant(row["variant"])
    row["score_sum"] = row["score_sum"] or 0.0  # no score at all sums up to null
    row["successes"] = row["keys"] - row.pop("failures")
    row.setdefault("matured", row["keys"])
    return VariantCounts(**{"step": step, **row})


def _outcome(row: Outcome) -> OutcomeRecord:
    return OutcomeRecord(
        model=row.model,
        key=row.key,
        assigned=Variant(row.assigned),
        version=row.version,
        score=row.score,
        flagged=row.flagged,
        latency_ms=row.latency_ms,
        time=row.time,
        rollout_id=row.rollout_id,
        step=row.step,
        weight=row.weight,
        served=Variant(row.served),
        error=row.error,
        transaction_id=row.transaction_id,
        request_id=row.request_id,
        propensity=row.propensity,
        explored=row.explored,
        segment=row.segment,
        degraded=row.degraded,
        inputs_digest=row.inputs_digest,
        reasons=row.reasons,
    )


def _case(row: FraudCase) -> CaseRecord:
    return CaseRecord(
        transaction_id=row.transaction_id,
        known_at=row.known_at,
        status=CaseStatus(row.status),
        **{name: getattr(row, name) for name in _CASE_FIELDS[1:]},
    )
