"""The evidence, counted bit by bit, equals a naive recount of all records, on both databases."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from fds_mlflow.core.evidence.bins import FINE_LATENCY_EDGES, FINE_SCORE_EDGES
from fds_mlflow.core.evidence.evidence import EventKind, Evidence, Terms
from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.outcomes.counting.counting import advance
from fds_mlflow.outcomes.counting.question import Question
from fds_mlflow.outcomes.counting.watermarks import watermarks
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord, ShadowRecord
from fds_mlflow.outcomes.store import OutcomeStore
from tests.support.effort import at_most
from tests.support.recount import recount
from tests.support.samples import NOON, case, outcome

HOUR = timedelta(hours=1)
MATURITY = 10 * HOUR
TERMS = [
    Terms(latency_bound=bound, maturity=maturity, hourly=hourly)
    for bound in (None, 4.0)
    for maturity in (None, MATURITY)
    for hourly in (False, True)
]
TERMS += [replace(terms, quantiles=True) for terms in TERMS if terms.hourly]
TERMS += [replace(terms, segments=True) for terms in TERMS if terms.hourly and not terms.quantiles]
_examples = itertools.count()


@dataclass(frozen=True)
class Written:
    """A record, and when it was written: hours after noon."""

    at: int
    record: OutcomeRecord | CaseRecord | ShadowRecord


_bins = st.sampled_from([0.0, 0.125, 0.125 * 2**0.5, 4.0, 4.1, 1000.0, 10.0**9, *FINE_LATENCY_EDGES])
_moneys = st.sampled_from([None, 0.0, 1.0, 2**0.5, 1.5, 99.0, 10.0**9])
_scores = st.sampled_from([0.0, 1 / 64, 0.5, 63 / 64, 1.0, *FINE_SCORE_EDGES])


@st.composite
def _outcomes(draw: st.DrawFn) -> tuple[Written, Written | None]:
    """An outcome, written before it was mature, and perhaps its shadow."""
    time = draw(st.integers(0, 40))
    failed = draw(st.integers(0, 4)) == 0
    propensity, flagged = draw(st.sampled_from([None, None, 0.0, 0.005, 0.1])), draw(st.booleans())
    record = outcome(
        key=draw(st.sampled_from("abcd")),
        transaction_id=draw(st.sampled_from([None, "v", "w", "x"])),
        rollout_id=draw(st.sampled_from(["R", "R", "R", "R", "S"])),
        step=draw(st.integers(0, 1)),
        weight=draw(st.sampled_from([1000, 2500])),
        assigned=draw(st.sampled_from(list(Variant))),
        score=None if failed else draw(_scores),
        error="failed" if failed else draw(st.sampled_from([None, None, "late"])),
        flagged=flagged,
        propensity=propensity,
        explored=bool(flagged and propensity and draw(st.booleans())),
        segment=draw(st.sampled_from([None, "KR", "other"])),
        degraded=draw(st.sampled_from([False, False, False, True])),
        latency_ms=draw(_bins),
        version=draw(st.sampled_from([1, 1, 1, 2])),
        time=NOON + time * HOUR,
    )
    at = time + draw(st.integers(0, 9))
    shadow = None
    if draw(st.booleans()):
        shadow = Written(
            at,
            ShadowRecord(
                model="fraud",
                request_id=record.request_id,
                version=2,
                score=0.5,
                flagged=draw(st.booleans()),
                error=draw(st.sampled_from([None, "failed"])),
                latency_ms=1.0,
                time=record.time,
            ),
        )
    return Written(at, record), shadow


_labels = st.builds(
    lambda known, **values: Written(known, case(known_at=NOON + known * HOUR, **values)),
    known=st.integers(0, 50),
    transaction_id=st.sampled_from("abcdvwx"),
    status=st.sampled_from(["suspected", "confirmed", "confirmed", "false_positive", "genuine"]),
    loss_amount=_moneys,
    propensity=st.sampled_from([None, None, 0.1, 1.0]),
)


@pytest.fixture(scope="module")
def lite() -> Iterator[OutcomeStore]:
    """One SQLite store for all examples; each uses models and transactions of its own."""
    with OutcomeStore("sqlite://") as opened:
        yield opened


def look(store: OutcomeStore, question: Question, chunk: int) -> Evidence:
    """What `OutcomeStore.evidence` does, in chunks of a few rows."""
    with store.session() as session:
        upto = watermarks(session)
    while True:
        with store.session() as session:
            found = advance(session, question, upto, chunk)
        if found is not None:
            return found


def rounded(evidence: Evidence) -> Evidence:
    """The same evidence with sums as far as their order does not matter."""

    def short(value: float | None) -> float | None:
        return None if value is None else float(f"{value:.12g}")

    tallies, hours = (
        [
            replace(
                tally,
                score_sum=short(tally.score_sum),
                loss_sums=tuple(map(short, tally.loss_sums)),
                caught_money=short(tally.caught_money),
            )
            for tally in counted
        ]
        for counted in (evidence.tallies, evidence.hours)
    )
    return replace(evidence, tallies=tuple(tallies), hours=tuple(hours))


def own(name: str, written: Written) -> Written:
    """The same record among models and transactions of this example."""
    record: Any = written.record
    changes: dict[str, Any] = {}
    if not isinstance(record, CaseRecord):
        changes["model"] = name
    if isinstance(record, OutcomeRecord):
        changes["key"] = f"{name}-{record.key}"
    if not isinstance(record, ShadowRecord) and record.transaction_id is not None:
        changes["transaction_id"] = f"{name}-{record.transaction_id}"
    return Written(written.at, replace(record, **changes))


def write(store: OutcomeStore, records: list[Any]) -> None:
    """Write records of all kinds, those of a kind in order."""
    for kind, method in (
        (OutcomeRecord, store.record),
        (ShadowRecord, store.record_shadows),
        (CaseRecord, store.label),
    ):
        for record in (record for record in records if isinstance(record, kind)):
            method([record])


@dataclass(frozen=True)
class Example:
    """Records, when somebody looks (hours after noon), on which terms, and how many rows are counted at once."""

    drawn: list[tuple[Written, Written | None]]
    labels: list[Written]
    looks: list[int]
    terms: Terms
    chunk: int

    def check(self, store: OutcomeStore) -> None:
        """Write the records in their order, look in between, and compare each look with a recount."""
        name = f"example-{next(_examples)}"
        flat = [*(written for both in self.drawn for written in both if written is not None), *self.labels]
        waiting = sorted((own(name, written) for written in flat), key=lambda written: written.at)
        done: list[Any] = []
        for hour in sorted({*self.looks, 60}):
            due = [written.record for written in waiting[len(done) :] if written.at <= hour]
            write(store, due)
            done += due
            as_of = NOON + hour * HOUR
            question = Question(model=name, rollout_id="R", terms=self.terms, as_of=as_of)
            mine = [record for record in done if isinstance(record, OutcomeRecord) and record.rollout_id == "R"]
            cases = [record for record in done if isinstance(record, CaseRecord)]
            shadows = [record for record in done if isinstance(record, ShadowRecord)]
            expected = recount(mine, cases, shadows, self.terms, as_of)
            found = look(store, question, self.chunk)
            assert rounded(found) == rounded(expected)
            for tally in (*found.tallies, *found.hours) if self.terms.hourly else ():
                assert all(0 <= tally.events.get(kind, 0) <= tally.at_risk(kind) for kind in EventKind)
                assert tally.passed_genuine <= tally.labelled <= tally.matured <= tally.matured_requests


records_and_looks = st.builds(
    Example,
    drawn=st.lists(_outcomes(), max_size=12),
    labels=st.lists(_labels, max_size=8),
    looks=st.lists(st.integers(0, 60), max_size=4),
    terms=st.sampled_from(TERMS),
    chunk=st.sampled_from([1, 2, 5, 10**6]),
)


@pytest.mark.campaign
@pytest.mark.slow
@at_most(60)
@given(example=records_and_looks)
def test_equals_a_recount_on_sqlite(lite: OutcomeStore, example: Example) -> None:
    """However often one looks and in whatever chunks is counted, records written in time add up to a recount."""
    example.check(lite)


@pytest.fixture
def server(postgres_url: str) -> Iterator[OutcomeStore]:
    """A store on PostgreSQL."""
    with OutcomeStore(postgres_url) as opened:
        yield opened


@pytest.mark.campaign
@at_most(20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(example=records_and_looks)
def test_equals_a_recount_on_postgresql(server: OutcomeStore, example: Example) -> None:
    """The same on PostgreSQL."""
    example.check(server)
