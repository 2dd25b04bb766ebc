"""What every home of outcomes promises: it keeps what it took, whole batches of it, and each request counts once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fds_mlflow.core.evidence.evidence import EventKind, Terms
from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.records import ShadowRecord, Vector
from fds_mlflow.outcomes.sink import stored
from fds_mlflow.outcomes.store import OutcomeStore
from tests.outcomes.homes.conftest import Kept
from tests.support.samples import DAY, NOON, case, outcome

TERMS = Terms(latency_bound=1.0, maturity=timedelta(days=10), hourly=True, segments=True)
LATER = NOON + 30 * DAY


def shadow(request_id: str, **changes: object) -> ShadowRecord:
    """What the canary says to a request."""
    values = {"model": "fraud", "version": 2, "score": 0.9, "flagged": True, "latency_ms": 1.0, "time": NOON}
    return ShadowRecord(request_id=request_id, **{**values, **changes})  # type: ignore[arg-type]


def test_counts_what_a_store_counts(kept: Kept) -> None:
    """Outcomes, shadows and labels of all kinds are the same evidence, whichever home they went to."""
    outcomes = [
        outcome(request_id=f"r{n}", key=f"K{n % 7}", transaction_id=f"T{n}", flagged=n % 3 == 0, step=n % 2)
        for n in range(20)
    ]
    outcomes += [
        outcome(request_id="e", score=None, error="timeout", assigned="canary", served="champion", weight=2_500),
        outcome(request_id="x", flagged=True, propensity=0.5, explored=True, segment="KR", key="K9"),
        outcome(request_id="v", key="K10", vector=Vector({"amount": 1.5, "shop": None}), reasons="[]", degraded=True),
    ]
    shadows = [shadow("r1"), shadow("r2", score=None, error="failed", flagged=False)]
    cases = [case(transaction_id=f"T{n}", status="confirmed", loss_amount=10.0 * n, propensity=0.1) for n in range(9)]
    cases += [case(transaction_id="K9", status="false_positive"), case(transaction_id="T3", status="suspected")]
    with OutcomeStore("sqlite://") as store:
        for home in (store, kept.home):
            home.record(outcomes)
            home.record_shadows(shadows)
            home.label(cases)
        found = kept.count(TERMS, LATER)
        assert found == store.evidence("fraud", "R", TERMS, as_of=LATER)
    assert sum(tally.requests for tally in found.tallies) == 22
    assert found.pairs[EventKind.ALERT]


def test_a_batch_that_comes_again_counts_once(kept: Kept) -> None:
    """After a doubtful answer the same batch may be recorded again, as often as one likes."""
    batch = [outcome(key=f"TX{n}", flagged=n == 0) for n in range(5)]
    for again in (batch[:3], batch, batch):
        kept.home.record(again)
        kept.home.label([case(transaction_id="TX0")])
    (tally,) = kept.count(TERMS, LATER).tallies
    assert (tally.requests, tally.keys, tally.events[EventKind.ALERT], tally.labelled) == (5, 5, 1, 1)


def test_the_first_of_two_answers_to_a_request_stays(kept: Kept) -> None:
    """What was recorded about a request is not changed by another record of it."""
    kept.home.record([outcome(request_id="r", score=0.25)])
    kept.home.record([outcome(request_id="r", score=0.75)])
    (tally,) = kept.count(TERMS, LATER).tallies
    assert tally.score_sum == 0.25


def test_the_last_label_of_a_moment_holds(kept: Kept) -> None:
    """A label that is told again for the same moment corrects the one before."""
    kept.home.record([outcome(flagged=True)])
    kept.home.label([case(status="confirmed")])
    kept.home.label([case(status="false_positive")])
    (tally,) = kept.count(TERMS, LATER).tallies
    assert (tally.reviewed_alerts, tally.false_alerts) == (1, 1)


def test_nothing_of_a_wrong_batch_is_kept(kept: Kept) -> None:
    """A value that is none is refused with its place, and nothing of its batch is recorded."""
    with pytest.raises(DataError, match="OutcomeRecord 1 of 2"):
        kept.home.record([outcome(), outcome(score=float("nan"))])
    with pytest.raises(DataError, match="CaseRecord 0 of 1"):
        kept.home.label([case(status="perhaps")])
    assert kept.count(TERMS, LATER).tallies == ()


def test_a_wrong_record_costs_no_other_its_place(kept: Kept) -> None:
    """A server's batch is taken but for the record that no home takes."""
    batch = [outcome(key="k" * 400 if n == 3 else f"TX{n}") for n in range(7)]
    assert stored(kept.home.record, batch) == 1
    assert sum(tally.requests for tally in kept.count(TERMS, LATER).tallies) == 6


def test_an_empty_batch_is_nothing(kept: Kept) -> None:
    """To record nothing is no error."""
    assert kept.home.record([]) == kept.home.label([]) == kept.home.record_shadows([]) == 0
    assert kept.count(TERMS, LATER).tallies == ()
