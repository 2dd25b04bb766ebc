"""Counting outcomes for a judge: at every look only what is new, in chunks, each in one transaction.

What is counted is immutable: outcomes up to a watermark of row numbers, and labels of those up to a watermark of
times. So a chunk that is committed is counted once, and one that is not was never counted. Whoever counts holds the
row of `tables.Count`, so two who count at once take turns. Each function takes a session inside a transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    SQLColumnExpression,
    and_,
    case,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.orm import Session, aliased

from fds_mlflow.core.evidence.arms import evidence_of
from fds_mlflow.core.evidence.evidence import EventKind, Evidence, KnownAlerts, Terms
from fds_mlflow.errors import RefusedError
from fds_mlflow.outcomes.counting.bins import Number, fine_latency_bin, fine_score_bin, latency_bin, loss_bin, score_bin
from fds_mlflow.outcomes.counting.question import Question
from fds_mlflow.outcomes.counting.rows import Rows, flag, pair
from fds_mlflow.outcomes.counting.strata import PAIR, LabelledEvent, Strata
from fds_mlflow.outcomes.counting.watermarks import Watermarks
from fds_mlflow.outcomes.counting.where import Where, of_rollout
from fds_mlflow.outcomes.inserts import insert_for
from fds_mlflow.outcomes.records import CaseStatus
from fds_mlflow.outcomes.tables import Count, FirstEvent, FraudCase, Outcome, Shadow

CHUNK = 50_000
"""Rows that one transaction counts: half a second on SQLite, whose other writers wait meanwhile."""

_LAST_ID = 2**63 - 1
_BY_LABEL = (EventKind.MISSED_FRAUD, EventKind.FALSE_POSITIVE)
"""What a truth makes of an outcome that was not flagged, and of one that was."""
_LIST = 500  # ids in one IN list: far below any database's limit of bound parameters


def advance(session: Session, question: Question, upto: Watermarks, chunk: int = CHUNK) -> Evidence | None:
    """Count what is new, at most one chunk of anything.

    Args:
        session: In a transaction that is the only writer's on SQLite; the caller commits it.
        question: What is asked.
        upto: How far to count.
        chunk: Rows.

    Returns:
        The evidence once nothing new is left; None while something is: commit, and call again.

    Raises:
        RefusedError: The outcomes are deleted and were not counted on these terms.
    """
    follow_indexes(session)
    count = _count(session, question, upto)
    count.as_of = max(count.as_of, question.as_of)
    cells = Strata(session, count)
    done = count.final or _Counting(session, count, question.terms, cells, chunk).advance(upto)
    cells.save()
    if not done:
        return None
    return evidence_of(question.terms, count.as_of, cells.tallies(), cells.pairs(), cells.known_pairs())


_UNUSED = ("enable_hashjoin", "enable_mergejoin", "enable_seqscan", "enable_sort", "jit")
"""What PostgreSQL plans for tables that it knows: its statistics lag behind tables that only grow at their end."""


def follow_indexes(session: Session) -> None:
    """Let PostgreSQL look rows up one by one, and add them up without sorting them."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(*(func.set_config(setting, "off", True) for setting in _UNUSED)))


def _count(session: Session, question: Question, upto: Watermarks) -> Count:
    """The row that says how far is counted, held until the transaction ends; made at the first look."""
    model, rollout_id, terms = question.model, question.rollout_id, question.terms_text
    query = select(Count).where(*of_rollout(Count, model, rollout_id), Count.terms == terms).with_for_update()
    found = session.scalar(query)
    if found is not None:
        return found
    others = session.scalars(select(Count.terms).where(*of_rollout(Count, model, rollout_id), Count.final)).all()
    if others:
        raise RefusedError(
            f"the outcomes of rollout {rollout_id} of {model!r} are deleted: they cannot be counted with {terms}",
            fix=f"ask as they were counted before: with {' or with '.join(others)}",
        )
    first = session.scalar(select(func.min(Outcome.id)).where(*of_rollout(Outcome, model, rollout_id)))
    session.execute(
        insert_for(session)(Count)
        .values(
            model=model,
            rollout_id=rollout_id,
            terms=terms,
            # What came before the rollout need not be read. Labels and shadows that are there already are
            # met when the outcomes are: only later ones have to look for theirs.
            outcome_id=upto.outcome if first is None else min(first - 1, upto.outcome),
            shadow_id=upto.shadow,
            case_id=upto.case,
            matured_time=None,
            matured_id=0,
            as_of=question.as_of,
            final=False,
        )
        .on_conflict_do_nothing()
    )
    return session.scalars(query).one()


class _Counting:
    """One transaction's work."""

    def __init__(self, session: Session, count: Count, terms: Terms, cells: Strata, chunk: int) -> None:
        self._session = session
        self._count = count
        self._terms = terms
        self._cells = cells
        self._chunk = chunk
        self._where = Where(session, count, terms)

    def advance(self, upto: Watermarks) -> bool:
        """Count outcomes, then shadows, then late labels, then labels that have matured; whether all is done.

        Each stage takes one chunk, and the next one begins only when nothing is left of it.
        """
        stages: list[Callable[[], bool]] = [lambda: self._outcomes(upto.outcome), lambda: self._shadows(upto.shadow)]
        if self._terms.maturity is None:
            self._count.case_id = upto.case
        else:
            stages += [lambda: self._late_labels(upto.case), self._matured]
        return all(stage() for stage in stages)

    # --- stages: each takes one chunk, moves its watermark, and says whether nothing is left ---------------------

    def _outcomes(self, last: int) -> bool:
        low, high = self._range(self._count.outcome_id, last)
        if low < high:
            new = Rows((Outcome.id > low, Outcome.id <= high, *self._where.masked()))
            repeated = self._requests(new)
            kinds = self._where.fast_kinds()
            for kind, happened in kinds.items():
                self._first_events(kind, new.where(happened))
            if repeated:
                self._spent(new, kinds)
            self._count.outcome_id = high
            self._pairs(new.join(Shadow, self._where.is_shadow()).where(Shadow.id <= self._count.shadow_id))
            if self._terms.maturity is not None and self._count.matured_time is not None:
                self._labels(new.where(*self._where.looked_at()), fresh=True)
        return high >= last

    def _shadows(self, last: int) -> bool:
        low, high = self._range(self._count.shadow_id, last)
        if low < high:
            outcome = aliased(Outcome)
            its_outcome = select(outcome.id).where(
                outcome.model == self._count.model, outcome.request_id == Shadow.request_id
            )
            new = Rows((Shadow.id > low, Shadow.id <= high, func.coalesce(Shadow.model, "") == self._count.model))
            paired = new.join(Shadow, Outcome.id == its_outcome.scalar_subquery()).where(
                Outcome.id <= self._count.outcome_id, *self._where.masked()
            )
            self._count.shadow_id = high
            self._pairs(paired)
            if self._terms.maturity is not None and self._count.matured_time is not None:
                self._label_pairs(paired.where(*self._where.looked_at()))
        return high >= last

    def _late_labels(self, last: int) -> bool:
        """Labels written after their outcomes were looked at: taken where no truth was there to be counted."""
        low, high = self._range(self._count.case_id, last)
        if low < high:
            self._count.case_id = high
            if self._count.matured_time is not None:
                late = self._where.lately_labelled(low, high)
                if self._session.execute(late.limit(1)).first() is not None:
                    self._labels(Rows((Outcome.id.in_(late),)), fresh=False)
        return high >= last

    def _matured(self) -> bool:
        """Labels of the outcomes that have reached the maturity age since the last look."""
        count = self._count
        limit = count.as_of - self._where.maturity
        since = count.matured_time or self._cells.first
        if since is None or since > limit:
            return True
        new = Rows(
            (
                Outcome.model == count.model,
                *self._where.masked(),
                Outcome.id <= count.outcome_id,
                Outcome.time >= since,
                or_(Outcome.time > since, Outcome.id > count.matured_id),
            )
        )
        position = new.where(Outcome.time <= limit).select(Outcome.time, Outcome.id)
        position = position.order_by(Outcome.time, Outcome.id).offset(self._chunk - 1).limit(1)
        end = self._session.execute(position).first()
        time, last = (limit, _LAST_ID) if end is None else (end.time, end.id)
        self._labels(new.where(Outcome.time <= time, or_(Outcome.time < time, Outcome.id <= last)), fresh=True)
        count.matured_time, count.matured_id = time, last
        return end is None

    def _range(self, after: int, last: int) -> tuple[int, int]:
        return after, min(after + self._chunk, last)

    # --- counts --------------------------------------------------------------------------------------------------

    def _requests(self, new: Rows) -> bool:
        """Requests, keys, scores and latencies, in one pass; whether any key had been seen before."""
        # Whether it is the first of its key is looked up once: OFFSET keeps databases from copying the question.
        asked = new.select(
            *self._where.cell,
            *(Outcome.time, Outcome.id, Outcome.key, Outcome.score, Outcome.latency_ms),
            flag(self._where.is_first()).label("first"),
        )
        one = asked.offset(0).subquery().c
        no_earlier = self._where.is_first(lambda other: other.score.is_not(None), one=one)
        first_scored = and_(one.score.is_not(None), or_(one.first == 1, no_earlier))
        fine: list[ColumnElement[Any]] = []
        if self._terms.quantiles:
            fine = [case((one.first == 1, fine_latency_bin(one.latency_ms))).label("fast")]
            fine += [case((first_scored, fine_score_bin(one.score))).label("fine")]
        bins = [latency_bin(one.latency_ms).label("latency"), case((first_scored, score_bin(one.score))).label("bin")]
        inner = select(*list(one)[:5], *bins, one.time, one.score, one.first, *fine).subquery()
        groups = [*inner.c[:5], inner.c.latency, inner.c.bin, *(inner.c[column.name] for column in fine)]
        repeated = False
        times = [func.min(inner.c.time), func.max(inner.c.time)]
        numbers = [func.count(), func.sum(inner.c.first), func.sum(inner.c.score), *times]
        for row in self._session.execute(select(*groups, *numbers).group_by(*groups)):
            cell, (latency, bin_) = row[:5], row[5:7]
            *firsts, requests, keys, score, earliest, latest = row[7:]
            self._cells.seen(cell, earliest, latest)
            self._cells.add(cell, "requests", requests)
            self._cells.add(cell, "keys", keys)
            self._cells.add(cell, "latencies", requests, at=latency)
            repeated = repeated or keys < requests
            for name, at in zip(("latency_firsts", "score_firsts"), firsts, strict=False):
                if at is not None:
                    self._cells.add(cell, f"{name}@{at}", requests)
            if bin_ is not None:
                self._cells.add(cell, "scores", requests, at=bin_)
                self._cells.add(cell, "score_sum", requests, at=0)
                self._cells.add(cell, "score_sum", score, at=1)
        return repeated

    def _spent(self, new: Rows, kinds: Iterable[EventKind], *, by_time: bool = False) -> None:
        """Count the requests of keys to which a kind had happened before, where the terms ask for it."""
        if not self._terms.hourly:
            return
        for kind in kinds:
            for *cell, requests in self._by_cell(new.where(self._where.happened_before(kind.value, by_time=by_time))):
                self._cells.add_spent(cell, kind, requests)

    def _first_events(self, kind: EventKind, happened: Rows) -> None:
        """Count the keys to which this happened for the first time."""
        new = self._remember(kind.value, happened)
        if new:
            few = Outcome.id.in_(new) if len(new) <= _LIST else self._where.happened_first(kind.value)
            for *cell, keys in self._by_cell(happened.where(few)):
                self._cells.add(cell, kind.value, keys)

    def _remember(self, kind: str, happened: Rows) -> Sequence[int]:
        """Write down where each key's first event happened, where none is written down yet; where the new ones did."""
        place = func.row_number().over(partition_by=Outcome.key, order_by=Outcome.id).label("place")
        found = happened.select(Outcome.key, Outcome.id, place).subquery()
        rows = select(literal(self._count.id), literal(kind), found.c.key, found.c.id).where(found.c.place == 1)
        columns = ["count_id", "kind", "key", "outcome_id"]
        new = insert_for(self._session)(FirstEvent).from_select(columns, rows).on_conflict_do_nothing()
        return self._session.scalars(new.returning(FirstEvent.outcome_id)).all()

    def _labelled_events(self, kind: EventKind, events: Iterable[LabelledEvent]) -> None:
        """Count the keys to which this happened for the first time, by the outcome's time; money, too, if it was lost.

        From what the labels' question has told of each: asking again takes two more statements for every 500.
        """
        first: dict[str, LabelledEvent] = {}
        for event in sorted(events, key=attrgetter("time", "outcome_id")):
            first.setdefault(event.key, event)
        mine = {"count_id": self._count.id, "kind": kind.value}
        rows = [{**mine, "key": event.key, "outcome_id": event.outcome_id} for event in first.values()]
        if not rows:
            return
        written = insert_for(self._session)(FirstEvent).on_conflict_do_nothing().returning(FirstEvent.outcome_id)
        new = set(self._session.scalars(written, rows))
        for event in first.values():
            if event.outcome_id in new:
                self._cells.add_event(kind, event, chances=self._terms.hourly)

    def _labels(self, outcomes: Rows, *, fresh: bool) -> None:
        """Count the labels of these outcomes; `fresh` where they have just matured."""
        fraud, flagged = FraudCase.status == CaseStatus.CONFIRMED.value, Outcome.flagged.is_(True)
        # Where no key has come again, each outcome is the first of its key.
        first = flag(self._where.is_first()) if self._cells.has_repeated else literal(1)
        first_alert = flag(and_(flagged, self._where.happened_first(EventKind.ALERT.value)))
        amount = FraudCase.loss_amount
        wrong = fraud != flagged
        told: list[SQLColumnExpression[Any]] = [
            first,
            first_alert,
            Outcome.propensity,
            flag(Outcome.explored.is_(True)),
        ]
        told += [flag(FraudCase.id.is_not(None)), flag(flagged), flag(fraud), flag(amount.is_not(None))]
        lost = case((amount.is_not(None), loss_bin(amount)))
        event = [Outcome.time, Outcome.id, Outcome.key, FraudCase.propensity, lost]
        told += [*self._where.chance(), *(case((wrong, column)) for column in event)]
        events: dict[EventKind, list[LabelledEvent]] = {kind: [] for kind in _BY_LABEL}
        asked = self._where.with_truth(outcomes, all_=fresh)
        for row in self._by_cell(asked, *told, money=amount):
            *cell, is_first, is_alert, drawn, explored, is_known = row[:10]
            is_flagged, is_fraud, priced, chance, declared, *place, keys, money = row[10:]
            if fresh:
                self._cells.add(cell, "matured_requests", keys * self._terms.hourly)
                self._cells.add(cell, "matured", keys * is_first)
                self._cells.add(cell, "matured_alerts", keys * is_alert)
                if drawn is not None and self._terms.hourly:
                    self._cells.add_known_alerts(cell, drawn, KnownAlerts(keys * is_alert, keys * is_alert * explored))
            if not is_known:
                continue
            passed = keys * is_first * (1 - is_flagged) * (1 - is_fraud)
            self._cells.add(cell, "labelled", keys * is_first)
            self._cells.add(cell, "passed_genuine", passed * self._terms.hourly)
            self._cells.add(cell, "reviewed_alerts", keys * is_alert)
            self._cells.add(cell, "false_alerts", keys * is_alert * (1 - is_fraud))
            if chance is not None and self._terms.hourly:
                alerts, new = keys * is_alert, keys * is_alert * declared
                self._cells.add_known_alerts(cell, chance, KnownAlerts(new, new, alerts, alerts * (1 - is_fraud)))
            for at, value in enumerate((keys, keys * priced, money or 0.0)):
                self._cells.add(cell, "caught_money", value * is_alert * is_fraud, at=at)
            if place[0] is not None:
                events[_BY_LABEL[is_flagged]].append(LabelledEvent(cell, money or 0.0, *place))
        for kind, happened in events.items():
            self._labelled_events(kind, happened)
        if fresh and self._cells.has_repeated:
            self._spent(outcomes, _BY_LABEL, by_time=True)
        if self._cells.has_pairs:
            self._label_pairs(outcomes.join(Shadow, self._where.is_shadow()))

    def _pairs(self, paired: Rows) -> None:
        """Count errors and alerts of requests that both versions scored, for keys that have no such request yet."""
        if not self._count.shadow_id:
            return
        paired = paired.where(Shadow.version != Outcome.version)
        if not self._remember(PAIR, paired):
            return
        error = pair(Outcome.error.is_not(None), Shadow.error.is_not(None))
        alert = pair(Outcome.flagged.is_(True), Shadow.flagged.is_(True))
        for *cell, errors, alerts, keys in self._by_cell(paired.where(self._where.happened_first(PAIR)), error, alert):
            self._cells.add_pair(cell, EventKind.ERROR, errors, keys)
            self._cells.add_pair(cell, EventKind.ALERT, alerts, keys)

    def _label_pairs(self, paired: Rows) -> None:
        """Count missed frauds and false positives of each key's first paired request, where its truth is known."""
        fraud = FraudCase.status == CaseStatus.CONFIRMED.value
        missed = pair(and_(fraud, Outcome.flagged.is_(False)), and_(fraud, Shadow.flagged.is_(False)))
        false = pair(and_(~fraud, Outcome.flagged.is_(True)), and_(~fraud, Shadow.flagged.is_(True)))
        known = self._where.with_truth(paired.where(self._where.happened_first(PAIR)))
        chance, _ = self._where.chance()
        # What was not flagged shows its truth by itself, unless nobody would have let it pass had it been.
        passed = and_(Outcome.flagged.is_(False), func.coalesce(Outcome.propensity, 1.0) > 0.0)
        shown = case((passed, 1.0), (Outcome.flagged.is_(True), chance))
        for *cell, misses, falses, at, keys in self._by_cell(known, missed, false, shown):
            for kind, to in ((EventKind.MISSED_FRAUD, misses), (EventKind.FALSE_POSITIVE, falses)):
                self._cells.add_pair(cell, kind, to, keys)
                if at is not None and self._terms.hourly:
                    self._cells.add_pair(cell, kind, to, keys, chance=at)

    def _by_cell(self, rows: Rows, *also: SQLColumnExpression[Any], money: Number | None = None) -> Sequence[Any]:
        """A cell, then what `also` says, how many outcomes, and the sum of `money` where it is given."""
        named: list[Any] = [column.label(f"also_{position}") for position, column in enumerate(also)]
        # Grouped outside: PostgreSQL does not take an expression and its repetition for the same one.
        groups = [*self._where.cell, *named]
        summed = [] if money is None else [money.label("money")]
        inner = rows.select(*groups, *summed).subquery()
        by, sums = inner.c[: len(groups)], inner.c[len(groups) :]
        return self._session.execute(select(*by, func.count(), *map(func.sum, sums)).group_by(*by)).all()
