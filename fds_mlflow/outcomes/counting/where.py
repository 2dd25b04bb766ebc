"""Conditions on outcomes that are to be counted, in SQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    SQLColumnExpression,
    and_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.orm import Session, aliased

from fds_mlflow.core.evidence.evidence import EventKind, Terms
from fds_mlflow.outcomes.counting.rows import Conditions, Rows, flag
from fds_mlflow.outcomes.records import CaseStatus
from fds_mlflow.outcomes.statements import hour_of, shifted
from fds_mlflow.outcomes.tables import Count, FirstEvent, FraudCase, Outcome, Shadow


def of_rollout(entity: Any, model: str, rollout_id: str) -> Conditions:
    """Of one rollout, in the words of an index."""
    return [entity.model == model, entity.rollout_id == rollout_id]


def whole(outcome: Any) -> ColumnElement[bool]:
    """Whether an outcome is evidence: what was scored without the state says nothing of either version."""
    found: ColumnElement[bool] = outcome.degraded.is_(False)
    return found


class Where:
    """Which outcomes are meant, and what is true of each.

    Args:
        session: In the transaction that counts.
        count: Whose outcomes.
        terms: On which they are counted.
    """

    def __init__(self, session: Session, count: Count, terms: Terms) -> None:
        self._session, self._count, self._terms = session, count, terms

    @property
    def cell(self) -> list[Any]:
        """Where an outcome is counted: by hour and segment where the terms part them."""
        hour = hour_of(self._session, Outcome.time) if self._terms.hourly else literal(0)
        segment = func.coalesce(Outcome.segment, "") if self._terms.segments else literal("")
        return [Outcome.step, Outcome.weight, Outcome.assigned, hour.label("hour"), segment.label("segment")]

    def masked(self) -> Conditions:
        """Of this rollout, in words that no index is made for: what is new is found by its place at the end."""
        return [
            whole(Outcome),
            func.coalesce(Outcome.model, "") == self._count.model,
            func.coalesce(Outcome.rollout_id, "") == self._count.rollout_id,
        ]

    def looked_at(self, outcome: Any = Outcome) -> Conditions:
        """Whose labels have been looked at."""
        time, last = self._count.matured_time, self._count.matured_id
        mature = [outcome.time <= time, or_(outcome.time < time, outcome.id <= last)]
        return [outcome.id <= self._count.outcome_id, *mature]

    def is_first(self, *also: Callable[[Any], ColumnElement[bool]], one: Any = Outcome) -> ColumnElement[bool]:
        """Whether no earlier outcome that counts has the key of this `one` (and is like `also`)."""
        other = aliased(Outcome)
        same = [*of_rollout(other, self._count.model, self._count.rollout_id), other.key == one.key, whole(other)]
        return ~exists().where(*same, other.id < one.id, *(like(other) for like in also))

    def happened_first(self, kind: str) -> ColumnElement[bool]:
        """Whether the first event of this outcome's key and kind is this outcome."""
        first = select(FirstEvent.outcome_id).where(
            FirstEvent.count_id == self._count.id, FirstEvent.kind == kind, FirstEvent.key == Outcome.key
        )
        return Outcome.id == first.scalar_subquery()

    def happened_before(self, kind: str, *, by_time: bool = False) -> ColumnElement[bool]:
        """Whether the first event of this outcome's key and kind is an earlier outcome.

        Said as a number that is looked up for each outcome: databases that plan a join of it without statistics go
        through all outcomes for each event.
        """
        event, before = aliased(FirstEvent), aliased(Outcome)
        mine = (event.count_id == self._count.id, event.kind == kind, event.key == Outcome.key)
        its = select(event.outcome_id).where(*mine).correlate(Outcome)
        if not by_time:
            return its.scalar_subquery() < Outcome.id
        earlier = or_(before.time < Outcome.time, and_(before.time == Outcome.time, before.id < Outcome.id))
        return select(earlier).where(before.id == its.scalar_subquery()).correlate(Outcome).scalar_subquery()

    def fast_kinds(self) -> dict[EventKind, ColumnElement[bool]]:
        """What happens to a request without a label, by kind."""
        kinds: dict[EventKind, ColumnElement[bool]]
        kinds = {EventKind.ERROR: Outcome.error.is_not(None), EventKind.ALERT: Outcome.flagged.is_(True)}
        if self._terms.latency_bound is not None:
            kinds[EventKind.SLOW] = Outcome.latency_ms > self._terms.latency_bound
        return kinds

    @property
    def maturity(self) -> timedelta:
        """The age at which a label is taken."""
        assert self._terms.maturity is not None
        return self._terms.maturity

    def with_truth(self, outcomes: Rows, *, all_: bool = False) -> Rows:
        """Those whose case, as known at the maturity age, says a truth; of the states that are taken in.

        With `all_` the others too, without a case.
        """
        state = aliased(FraudCase)
        mine = state.transaction_id == Outcome.transaction_id
        matures = shifted(self._session, Outcome.time, self.maturity)
        known = select(state.id).where(mine, state.known_at <= matures, state.id <= self._count.case_id)
        latest = known.order_by(state.known_at.desc()).limit(1).scalar_subquery()
        says = and_(FraudCase.id == latest, FraudCase.status != CaseStatus.SUSPECTED.value)
        return outcomes.join(FraudCase, says, outer=all_)

    def chance(self) -> list[SQLColumnExpression[Any]]:
        """With which known chance a flagged outcome has a label, null for none, and whether the label declares it."""
        declared = and_(Outcome.propensity.is_(None), FraudCase.propensity.is_not(None))
        chance = case((Outcome.explored.is_(True), Outcome.propensity), (declared, FraudCase.propensity))
        return [chance, flag(declared)]

    def is_shadow(self) -> ColumnElement[bool]:
        """Whether a shadow is this outcome's."""
        shadow = aliased(Shadow)
        mine = select(shadow.id).where(shadow.model == self._count.model, shadow.request_id == Outcome.request_id)
        return Shadow.id == mine.scalar_subquery()

    def lately_labelled(self, low: int, high: int) -> CompoundSelect[Any]:
        """The ids of outcomes that were looked at in vain, and have a state that says a truth among the new ones."""
        outcome, new, before = aliased(Outcome), aliased(FraudCase), aliased(FraudCase)
        truth = [new.id > low, new.id <= high, new.status != CaseStatus.SUSPECTED.value]
        matures = shifted(self._session, outcome.time, self.maturity)
        counted = exists().where(
            before.transaction_id == outcome.transaction_id,
            before.known_at <= matures,
            before.id <= low,
            or_(before.status != CaseStatus.SUSPECTED.value, before.withdrawn),
        )
        # Said so that each new state looks for its outcomes, not each outcome of the rollout for a new state.
        mine = [
            outcome.model == func.coalesce(literal(self._count.model), new.transaction_id),
            outcome.rollout_id == func.coalesce(literal(self._count.rollout_id), new.transaction_id),
        ]
        seen = [*self.looked_at(outcome), whole(outcome)]
        late = select(outcome.id).where(*truth, *mine, *seen, new.known_at <= matures, ~counted)
        by_key = late.where(outcome.key == new.transaction_id, outcome.transaction_id == outcome.key)
        own = [outcome.transaction_id != outcome.key, outcome.rollout_id.is_not(None)]  # the words of its index
        return by_key.union(late.where(outcome.transaction_id == new.transaction_id, *own))
