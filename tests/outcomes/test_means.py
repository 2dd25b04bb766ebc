"""Displayed means are means: of scores and of money, from their sums, and called approximate where there are none."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from fds_mlflow import Plan
from fds_mlflow.core.evidence.bins import LOSS_EDGES
from fds_mlflow.core.evidence.evidence import EventKind, Evidence, Tally
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.judge import judge
from fds_mlflow.core.judge.values import approximate, mean_loss, mean_score
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.lifecycle.verdict import Verdict
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.outcomes.tables import CellCount
from tests.support.samples import DAY, NOON, case, outcome

SCORES = Plan([10, 100], guardrails=[Guardrail(Metric.SCORE_SHIFT, margin=0.05)])
MONEY = Plan([10, 100], guardrails=[Guardrail(Metric.MONEY_LOST, margin=0.2, bound=100.0)], label_maturity="1d")
LATER = NOON + 30 * DAY


def verdict(evidence: Evidence, plan: Plan) -> Verdict:
    """The guardrail's verdict at the first step."""
    return judge(evidence, Rollout("R", 1, 2, plan, 1_000, 0, NOON)).verdicts[1]


def scored(store: OutcomeStore, *, first: int = 0, champion: float = 0.0019, canary: float = 0.0031) -> Evidence:
    """A hundred keys, split as the weight says, with scores far below the width of a bin."""
    for variant, score, keys in (("champion", champion, 90), ("canary", canary, 10)):
        numbers = range(first, first + keys)
        store.record([outcome(key=f"{variant}{n}", assigned=variant, score=score) for n in numbers])
    return store.evidence("fraud", "R", SCORES.terms, as_of=LATER)


def test_a_small_mean_score_is_shown_as_it_is(store: OutcomeStore) -> None:
    """0.0019 is 0.0019, not the middle of its bin; the difference is that of the means, within its interval."""
    found = verdict(scored(store), SCORES)
    assert (found.champion, found.canary) == (pytest.approx(0.0019), pytest.approx(0.0031))
    assert found.estimate == pytest.approx(0.0012)
    assert found.interval is not None
    assert found.interval.low <= 0.0012 <= found.interval.high
    assert "canary 0.0031 of 10, champion 0.0019 of 90 keys; difference 0.0012" in found.reason
    assert not found.approximate


def forget_sums(store: OutcomeStore) -> None:
    """Leave the counters as an older release wrote them."""
    with store.session() as session:
        for row in session.scalars(select(CellCount)):
            row.numbers = {name: value for name, value in row.numbers.items() if "sum" not in name}


def test_what_an_older_release_counted_is_said_to_be_approximate(store: OutcomeStore) -> None:
    """Its counters have no sums: the middle of the bin is shown as one, also once more is counted with sums."""
    scored(store)
    forget_sums(store)
    for first in (0, 90):
        found = verdict(scored(store, first=first), SCORES)
        assert found.approximate
        assert found.champion == pytest.approx(0.5 / 64)
        assert "canary about 0.007812" in found.reason


def test_money_lost_per_request_is_a_mean_of_capped_losses(store: OutcomeStore) -> None:
    """Losses below the cap count as they are, those above as the cap, over all requests whose labels are due."""
    losses = [3.0, 7.0, 500.0]
    store.record([outcome(key=f"K{n}") for n in range(10)])
    store.label(
        [
            case(transaction_id=f"K{n}", known_at=NOON, loss_amount=losses[n] if n < len(losses) else None)
            for n in range(4)
        ]
    )
    evidence = store.evidence("fraud", "R", MONEY.terms, as_of=LATER)
    (tally,) = evidence.tallies
    assert tally.events[EventKind.MISSED_FRAUD] == 4
    assert sum(tally.loss_sums) == pytest.approx(510.0)
    assert mean_loss(tally, 100.0, 10) == pytest.approx((3 + 7 + 100) / 10)
    assert not approximate(Metric.MONEY_LOST, tally, 100.0)
    forget_sums(store)
    (older,) = store.evidence("fraud", "R", MONEY.terms, as_of=LATER + DAY).tallies
    assert older.loss_sums == ()
    assert approximate(Metric.MONEY_LOST, older, 100.0)


@pytest.mark.slow
def test_money_of_caught_frauds_is_what_their_labels_name(store: OutcomeStore) -> None:
    """None where no label names any: it is not known, and not zero."""
    store.record([outcome(key=f"K{n}", flagged=True) for n in range(4)])
    told = [case(transaction_id="K0", known_at=NOON), case(transaction_id="K1", known_at=NOON, status="genuine")]
    store.label(told)
    (tally,) = store.evidence("fraud", "R", MONEY.terms, as_of=LATER).tallies
    assert (tally.reviewed_alerts, tally.caught_money) == (2, None)
    store.record([outcome(key=f"L{n}", flagged=True, time=NOON + timedelta(hours=1)) for n in range(2)])
    store.label([case(transaction_id=f"L{n}", known_at=NOON, loss_amount=40.0 + n) for n in range(2)])
    (tally,) = store.evidence("fraud", "R", MONEY.terms, as_of=LATER).tallies
    assert (tally.reviewed_alerts, tally.caught_money) == (4, 81.0)


def tally_of(scores: list[float]) -> Tally:
    """A tally of these scores."""
    bins = [0] * 64
    for score in scores:
        bins[min(int(score * 64), 63)] += 1
    made = Tally(variant=Variant.CANARY, step=0, weight=1_000, requests=len(scores), keys=len(scores))
    return replace(made, scores=tuple(bins), score_sum=sum(scores))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_any_scores_show_their_means_and_the_difference_of_these(ours: list[float], theirs: list[float]) -> None:
    """Whatever bins they fall into."""
    canary, champion = tally_of(ours), replace(tally_of(theirs), variant=Variant.CHAMPION)
    assert mean_score(canary) == pytest.approx(fmean(ours))
    found = verdict(Evidence(terms=SCORES.terms, as_of=NOON, tallies=(champion, canary)), SCORES)
    assert found.champion == pytest.approx(fmean(theirs))
    assert found.estimate == pytest.approx(fmean(ours) - fmean(theirs))
    assert found.interval is not None
    assert all(-1 <= end <= 1 for end in (found.interval.low, found.interval.high))


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=40), st.sampled_from([1.0, 64.0, 2**0.5, 4_096.0, 90.0]))
def test_any_losses_show_their_capped_mean_or_say_that_it_is_approximate(losses: list[float], cap: float) -> None:
    """Exact where the cap lies between bins, or nothing else shares its bin; else at most off by that bin."""
    bins, sums = [0] * 48, [0.0] * 48
    for loss in losses:
        at = sum(edge < loss for edge in LOSS_EDGES)
        bins[at] += 1
        sums[at] += loss
    events = {EventKind.MISSED_FRAUD: len(losses)}
    made = Tally(variant=Variant.CANARY, step=0, weight=1_000, requests=99, keys=99, matured=99, labelled=99)
    made = replace(made, events=events, losses=tuple(bins), loss_sums=tuple(sums))
    found, truth = mean_loss(made, cap, 99), sum(min(loss, cap) for loss in losses) / 99
    if not approximate(Metric.MONEY_LOST, made, cap):
        assert found == pytest.approx(truth)
    assert found is not None
    assert truth <= found * (1 + 1e-9)


def test_frauds_of_no_amount_are_frauds_that_lost_nothing(store: OutcomeStore) -> None:
    """Missed frauds whose labels name an amount of 0 are judged like any others: nothing was lost, exactly."""
    numbers = range(20)
    store.record([outcome(key=f"TX{n}", assigned="champion", score=0.1) for n in numbers])
    store.label([case(transaction_id=f"TX{n}", loss_amount=0.0, known_at=NOON) for n in numbers])
    found = store.evidence("fraud", "R", MONEY.terms, as_of=LATER)
    (tally,) = found.tallies
    assert sum(tally.losses) > 0
    assert tally.loss_sums == (0.0,) * len(tally.losses)
    assert verdict(found, MONEY).champion == 0.0
