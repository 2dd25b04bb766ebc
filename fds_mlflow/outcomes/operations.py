"""Every read and write of the two tables, written once: the sync and the async store run the same functions.

Each takes a session inside a transaction and commits nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from sqlalchemy import (
    ColumnElement,
    Interval,
    Label,
    Select,
    Table,
    and_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from fds_mlflow.core.evidence import VariantCounts
from fds_mlflow.core.routing import Variant
from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.records import CaseRecord, CaseStatus, OutcomeRecord
from fds_mlflow.outcomes.tables import FraudCase, Outcome, UtcDateTime

By = Literal["assigned", "served"]

_OUTCOMES = cast(Table, Outcome.__table__)
_CASES = cast(Table, FraudCase.__table__)
_CASE_FIELDS = ("status", "fraud_type", "loss_amount", "occurred_at", "reported_at", "resolved_at")
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
        _check_zone(self.as_of)
        if self.maturity is None:
            return
        if self.as_of is None:
            raise DataError(
                "a maturity age without as_of: no label has an age",
                fix="pass as_of, the time now",
            )
        if self.maturity < timedelta(0):
            raise DataError(f"maturity is {self.maturity}", fix="pass a duration of at least zero")

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


def record(session: Session, rows: Sequence[dict[str, Any]]) -> int:
    """Insert outcomes; those whose request is stored already are skipped. Returns how many were new."""
    if not rows:
        return 0
    statement = (
        _insert(session)(_OUTCOMES)
        .on_conflict_do_nothing(index_elements=["model", "request_id"])
        .returning(_OUTCOMES.c.id)
    )
    return len(session.execute(statement, list(rows)).all())


def label(session: Session, rows: Sequence[dict[str, Any]]) -> int:
    """Insert states of cases, or correct those of the same moment. Returns how many were new or changed."""
    if not rows:
        return 0
    statement = _insert(session)(_CASES)
    given = {name: statement.excluded[name] for name in _CASE_FIELDS}
    changed = or_(*(_CASES.c[name].is_distinct_from(value) for name, value in given.items()))
    upsert = statement.on_conflict_do_update(
        index_elements=["transaction_id", "known_at"], set_=given, where=changed
    ).returning(_CASES.c.id)
    return len(session.execute(upsert, list(rows)).all())


def recent(session: Session, model: str, rollout: str | None, limit: int) -> list[OutcomeRecord]:
    """The newest outcomes first."""
    query = select(Outcome).where(Outcome.model == model)
    if rollout is not None:
        query = query.where(Outcome.rollout_id == rollout)
    query = query.order_by(Outcome.time.desc(), Outcome.id.desc()).limit(limit)
    return [_outcome(row) for row in session.scalars(query)]


def cases(session: Session, transaction_ids: Sequence[str], as_of: datetime | None) -> dict[str, CaseRecord]:
    """The latest state of each transaction's case, by transaction id; without those that have none."""
    _check_zone(as_of)
    found: dict[str, CaseRecord] = {}
    for start in range(0, len(transaction_ids), _LOOKUP):
        query = (
            select(FraudCase)
            .where(FraudCase.transaction_id.in_(transaction_ids[start : start + _LOOKUP]))
            .order_by(FraudCase.known_at)
        )
        if as_of is not None:
            query = query.where(FraudCase.known_at <= as_of)
        found.update((row.transaction_id, _case(row)) for row in session.scalars(query))
    return found


def counts(session: Session, scope: Scope) -> list[VariantCounts]:
    """One entry per variant, champion first, zeros where nothing happened."""
    query = _counted(session, [scope.variant], scope)
    found = {row.variant: _counts(dict(row._mapping), step=scope.step) for row in session.execute(query)}
    return [found.get(name, VariantCounts(variant=name, step=scope.step)) for name in Variant]


def counts_by_step(session: Session, scope: Scope) -> list[VariantCounts]:
    """One entry per step, weight in force and variant that has outcomes, in that order."""
    groups = [Outcome.step.label("step"), Outcome.weight.label("weight"), scope.variant]
    found = [_counts(dict(row._mapping)) for row in session.execute(_counted(session, groups, scope))]
    order = list(Variant)
    return sorted(found, key=lambda entry: (entry.step, entry.weight, order.index(entry.variant)))


def _counted(session: Session, groups: Sequence[ColumnElement[Any]], scope: Scope) -> Select[Any]:
    """The aggregate: first per key, so that a key counts once per kind, then per group."""
    matured = literal(1) if scope.matured_at is None else _flag(Outcome.time <= scope.matured_at)
    truth, join = _truth(session, scope)
    flagged, genuine, fraud = Outcome.flagged.is_(True), truth == 0, truth == 1
    wrong = or_(and_(flagged, genuine), and_(~flagged, fraud))
    kinds = {
        "errors": _flag(Outcome.error.is_not(None)),
        "flagged": _flag(flagged),
        "matured": matured,
        "labelled": _flag(truth.is_not(None)),
        "true_positives": _flag(and_(flagged, fraud)),
        "false_positives": _flag(and_(flagged, genuine)),
        "false_negatives": _flag(and_(~flagged, fraud)),
        "true_negatives": _flag(and_(~flagged, genuine)),
        "failures": _flag(or_(Outcome.error.is_not(None), wrong)),
    }
    per_key = (
        select(
            *groups,
            func.count().label("requests"),
            *(func.max(kind).label(name) for name, kind in kinds.items()),
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
        .group_by(*groups, Outcome.key)
        .subquery()
    )
    column = per_key.c
    names = [column[group.name] for group in groups]
    added = ("requests", *kinds, "scored", "score_sum", "latency_sum_ms")
    return select(
        *names,
        func.count().label("keys"),
        *(func.sum(column[name]).label(name) for name in added),
        func.max(column.latency_max_ms).label("latency_max_ms"),
        func.min(column.first).label("first"),
        func.max(column["last"]).label("last"),
    ).group_by(*names)


def _truth(session: Session, scope: Scope) -> tuple[ColumnElement[int | None], tuple[Any, ColumnElement[bool]]]:
    """1 fraud, 0 genuine, null not known; and the join that brings each outcome its transaction's last state.

    With a maturity age the label is the one known when the outcome reached that age, frozen there.
    """
    state, later = aliased(FraudCase), aliased(FraudCase)
    on = [state.transaction_id == Outcome.transaction_id]
    replaced = [later.transaction_id == state.transaction_id, later.known_at > state.known_at]
    limit: ColumnElement[datetime] | datetime | None = scope.as_of
    if scope.maturity is not None:
        limit = _shifted(session, scope.maturity)
        on.append(Outcome.time <= scope.matured_at)
    if limit is not None:
        on.append(state.known_at <= limit)
        replaced.append(later.known_at <= limit)
    known_genuine = state.status.in_([CaseStatus.FALSE_POSITIVE.value, CaseStatus.GENUINE.value])
    truth = case((state.status == CaseStatus.CONFIRMED.value, 1), (known_genuine, 0), else_=None)
    return truth, (state, and_(*on, ~exists().where(*replaced)))


def _shifted(session: Session, by: timedelta) -> ColumnElement[datetime]:
    """An outcome's time plus `by`; on SQLite, which keeps times as texts, exact to the millisecond."""
    if session.get_bind().dialect.name == "sqlite":
        text = func.strftime("%Y-%m-%d %H:%M:%f", Outcome.time, f"{by.total_seconds():+.3f} seconds")
        return type_coerce(text.concat("000"), UtcDateTime())
    return Outcome.time.op("+", return_type=UtcDateTime())(literal(by, Interval()))


def _flag(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


def _check_zone(as_of: datetime | None) -> None:
    if as_of is not None and as_of.utcoffset() is None:
        raise DataError(f"as_of is {as_of!r}, which has no time zone", fix="attach one, for example timezone.utc")


def _counts(row: dict[str, Any], *, step: int | None = None) -> VariantCounts:
    failures = row.pop("failures")
    row["variant"] = Variant(row["variant"])
    row.setdefault("step", step)
    row["successes"] = row["keys"] - failures
    row["score_sum"] = row["score_sum"] or 0.0
    return VariantCounts(**row)


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
    )


def _case(row: FraudCase) -> CaseRecord:
    return CaseRecord(
        transaction_id=row.transaction_id,
        known_at=row.known_at,
        status=CaseStatus(row.status),
        **{name: getattr(row, name) for name in _CASE_FIELDS[1:]},
    )


def _insert(session: Session) -> Callable[[Table], Any]:
    return postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
