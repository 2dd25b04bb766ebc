"""The evidence a judge reads: each rule by example."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fds_mlflow.core.evidence.evidence import EventKind, Evidence, Tally, Terms
from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.aio import AsyncOutcomeStore
from fds_mlflow.outcomes.records import ShadowRecord
from fds_mlflow.outcomes.store import OutcomeStore
from tests.support.samples import DAY, NOON, case, outcome

FAST = Terms(latency_bound=100.0)
SLOW = Terms(maturity=DAY)


def shadow(request_id: str, **changes: Any) -> ShadowRecord:
    """What version 2 said to a request, unasked."""
    values: dict[str, Any] = {"version": 2, "score": 0.5, "flagged": False, "latency_ms": 1.0, "time": NOON}
    return ShadowRecord(**{"model": "fraud", "request_id": request_id, **values, **changes})


def only(evidence: Evidence) -> Tally:
    """The evidence's one tally."""
    (tally,) = evidence.tallies
    return tally


class TestFastKinds:
    def test_nothing_is_no_tally(self, store: OutcomeStore) -> None:
        """A rollout without outcomes has no tallies, and the evidence says on which terms and when."""
        evidence = store.evidence("fraud", "R", FAST, as_of=NOON)
        assert evidence == Evidence(terms=FAST, as_of=NOON)

    def test_a_key_counts_once_where_it_was_seen_first(self, store: OutcomeStore) -> None:
        """A customer who comes back in the next step is counted as a key in the first one; requests all count."""
        store.record([outcome(key="C1"), outcome(key="C1")])
        store.evidence("fraud", "R", FAST, as_of=NOON)
        store.record([outcome(key="C1", step=1, weight=2500), outcome(key="C2", step=1, weight=2500)])
        first, second = store.evidence("fraud", "R", FAST, as_of=NOON).tallies
        assert (first.step, first.weight, first.requests, first.keys) == (0, 1000, 2, 1)
        assert (second.step, second.weight, second.requests, second.keys) == (1, 2500, 2, 1)

    def test_an_event_counts_once_where_it_happened_first(self, store: OutcomeStore) -> None:
        """A key's first error counts under the weight in force at that error, later ones of the key do not."""
        store.record([outcome(key="C1"), outcome(key="C1", weight=2500, error="timeout")])
        store.record([outcome(key="C1", weight=5000, error="timeout"), outcome(key="C1", flagged=True)])
        events = {tally.weight: dict(tally.events) for tally in store.evidence("fraud", "R", FAST, as_of=NOON).tallies}
        assert events == {1000: {EventKind.ALERT: 1}, 2500: {EventKind.ERROR: 1}, 5000: {}}

    @pytest.mark.parametrize(("latency", "slow"), [(100.0, 0), (100.1, 1)])
    def test_slow_is_above_the_bound(self, store: OutcomeStore, latency: float, slow: int) -> None:
        """A request exactly at the latency bound is not slow."""
        store.record([outcome(latency_ms=latency)])
        assert only(store.evidence("fraud", "R", FAST, as_of=NOON)).events.get(EventKind.SLOW, 0) == slow

    def test_scores_are_those_of_the_first_scored_request(self, store: OutcomeStore) -> None:
        """A key that failed at first gives its score when it gets one, and only that one."""
        store.record([outcome(key="C1", score=None, error="timeout")])
        store.record([outcome(key="C1", score=0.5)])
        store.record([outcome(key="C1", score=1.0), outcome(key="C2", score=1.0)])
        tally = only(store.evidence("fraud", "R", FAST, as_of=NOON))
        assert [position for position, keys in enumerate(tally.scores) if keys] == [32, 63]
        assert sum(tally.scores) == 2
        assert sum(tally.latencies) == 4

    def test_terms_are_counted_apart(self, store: OutcomeStore) -> None:
        """Asking on other terms counts anew from the beginning, and does not disturb the first ones."""
        store.record([outcome(latency_ms=50.0)])
        for _ in range(2):
            for bound, slow in ((100.0, {}), (10.0, {EventKind.SLOW: 1})):
                evidence = store.evidence("fraud", "R", Terms(latency_bound=bound), as_of=NOON)
                assert dict(only(evidence).events) == slow

    def test_other_rollouts_and_models_are_left_out(self, store: OutcomeStore) -> None:
        """Only outcomes of the very rollout count, and only their keys make a key known."""
        store.record([outcome(rollout_id="Q"), outcome(model="other"), outcome(rollout_id=None, weight=0)])
        store.record([outcome(assigned="canary")])
        tally = only(store.evidence("fraud", "R", FAST, as_of=NOON))
        assert (tally.variant, tally.requests, tally.keys) == (Variant.CANARY, 1, 1)


class TestLabels:
    def test_a_truth_counts_when_its_outcome_is_mature(self, store: OutcomeStore) -> None:
        """Before the maturity age a label counts for nothing; at it, it counts once, with the money lost."""
        store.record([outcome(key="missed"), outcome(key="false", flagged=True), outcome(key="unknown")])
        known = {"known_at": NOON + DAY}
        store.label([case(transaction_id="missed", loss_amount=100.0, **known)])
        store.label([case(transaction_id="false", status="genuine", **known)])
        early = only(store.evidence("fraud", "R", SLOW, as_of=NOON + DAY - timedelta(microseconds=1)))
        assert (early.matured, early.labelled) == (0, 0)
        for _ in range(2):
            tally = only(store.evidence("fraud", "R", SLOW, as_of=NOON + DAY))
            assert (tally.matured, tally.labelled) == (3, 2)
            assert (tally.matured_alerts, tally.reviewed_alerts, tally.false_alerts) == (1, 1, 1)
            assert tally.events[EventKind.MISSED_FRAUD] == tally.events[EventKind.FALSE_POSITIVE] == 1
            assert [position for position, keys in enumerate(tally.losses) if keys] == [14]

    def test_what_is_learnt_after_the_maturity_age_does_not_count(self, store: OutcomeStore) -> None:
        """A label is frozen at the maturity age: neither a later truth nor a later correction counts."""
        store.record([outcome(key="late"), outcome(key="turned", flagged=True)])
        store.label([case(transaction_id="turned", status="genuine", known_at=NOON)])
        after = {"known_at": NOON + DAY + timedelta(microseconds=1)}
        store.label([case(transaction_id="late", **after), case(transaction_id="turned", **after)])
        tally = only(store.evidence("fraud", "R", SLOW, as_of=NOON + 9 * DAY))
        assert (tally.matured, tally.labelled, tally.false_alerts) == (2, 1, 1)
        assert dict(tally.events) == {EventKind.ALERT: 1, EventKind.FALSE_POSITIVE: 1}

    @pytest.mark.tested(1)
    @pytest.mark.slow
    @pytest.mark.parametrize("transaction", [None, "TX"])
    def test_a_label_imported_late_is_taken_in(self, store: OutcomeStore, transaction: str | None) -> None:
        """A label known in time but written after the look counts at the next one; what contradicts it does not."""
        store.record([outcome(key="C1", transaction_id=transaction, flagged=True)])
        assert only(store.evidence("fraud", "R", SLOW, as_of=NOON + DAY)).labelled == 0
        for hours, status in ((1, "genuine"), (1, "confirmed"), (2, "confirmed"), (0, "confirmed")):
            known = NOON + timedelta(hours=hours)
            store.label([case(transaction_id=transaction or "C1", status=status, known_at=known)])
            tally = only(store.evidence("fraud", "R", SLOW, as_of=NOON + DAY))
            assert (tally.labelled, tally.reviewed_alerts, tally.false_alerts) == (1, 1, 1)
            assert dict(tally.events) == {EventKind.ALERT: 1, EventKind.FALSE_POSITIVE: 1}

    @pytest.mark.slow
    def test_a_suspicion_that_is_corrected_late_is_taken_in(self, store: OutcomeStore) -> None:
        """A suspicion that turns into a truth of the same moment counts, also after its outcome was looked at."""
        store.record([outcome(), outcome(key="TX2")])
        store.label([case(transaction_id=name, status="suspected", known_at=NOON) for name in ("TX1", "TX2")])
        assert only(store.evidence("fraud", "R", SLOW, as_of=NOON + DAY)).labelled == 0
        for status in ("confirmed", "suspected", "genuine"):
            store.label([case(status=status, known_at=NOON)])
            tally = only(store.evidence("fraud", "R", SLOW, as_of=NOON + DAY))
            assert (tally.labelled, dict(tally.events)) == (1, {EventKind.MISSED_FRAUD: 1})

    @pytest.mark.slow
    def test_an_outcome_written_late_is_taken_in(self, store: OutcomeStore) -> None:
        """An outcome that was spooled for longer than the maturity age is counted with its label."""
        store.record([outcome()])
        store.evidence("fraud", "R", SLOW, as_of=NOON + 5 * DAY)
        store.record([outcome(key="TX2", time=NOON + DAY)])
        store.label([case(transaction_id="TX2", known_at=NOON + DAY)])
        tally = only(store.evidence("fraud", "R", SLOW, as_of=NOON + 5 * DAY))
        assert (tally.matured, tally.labelled, dict(tally.events)) == (2, 1, {EventKind.MISSED_FRAUD: 1})

    def test_the_time_never_runs_backwards(self, store: OutcomeStore) -> None:
        """Who asks about an earlier moment gets the later one that was counted already, and is told so."""
        store.record([outcome()])
        later = store.evidence("fraud", "R", SLOW, as_of=NOON + DAY)
        assert store.evidence("fraud", "R", SLOW, as_of=NOON) == later
        assert later.as_of == NOON + DAY


class TestPairs:
    def test_by_which_of_them_it_happened_to(self, store: OutcomeStore) -> None:
        """A pair is told by which version raised the alert, whichever of them had been assigned."""
        store.record([outcome(key=f"C{number}", request_id=f"C{number}", flagged=number < 2) for number in range(4)])
        store.record([outcome(key="C4", request_id="C4", assigned="canary", version=2, flagged=True)])
        store.record_shadows([shadow(f"C{number}", flagged=number % 2 == 0) for number in range(4)])
        store.record_shadows([shadow("C4", version=1)])
        pairs = store.evidence("fraud", "R", FAST, as_of=NOON).pairs
        assert pairs[EventKind.ALERT] == Pairs(both=1, champion_only=1, canary_only=2, neither=1)
        assert pairs[EventKind.ERROR] == Pairs(neither=5)

    @pytest.mark.slow
    def test_the_first_pair_of_a_key_counts(self, store: OutcomeStore) -> None:
        """A customer who was scored by both versions ten times is one pair; a shadow may come before its outcome."""
        store.record_shadows([shadow(f"R{number}", flagged=number > 0) for number in range(10)])
        assert not store.evidence("fraud", "R", FAST, as_of=NOON).pairs
        for number in range(10):
            store.record([outcome(key="C1", request_id=f"R{number}")])
            found = store.evidence("fraud", "R", FAST, as_of=NOON).pairs[EventKind.ALERT]
            assert found == Pairs(neither=1)

    @pytest.mark.slow
    def test_labels_of_pairs(self, store: OutcomeStore) -> None:
        """Missed frauds and false positives are paired once the truth is known, however late the shadow comes."""
        store.record([outcome(key=name, request_id=name, flagged=name == "b") for name in "abc"])
        store.label([case(transaction_id="a", known_at=NOON), case(transaction_id="b", known_at=NOON)])
        store.evidence("fraud", "R", SLOW, as_of=NOON + DAY)
        store.record_shadows([shadow("a", flagged=True), shadow("b"), shadow("c", flagged=True)])
        pairs = store.evidence("fraud", "R", SLOW, as_of=NOON + DAY).pairs
        assert pairs[EventKind.MISSED_FRAUD] == Pairs(champion_only=1, canary_only=1)
        store.label([case(transaction_id="c", status="genuine", known_at=NOON)])
        pairs = store.evidence("fraud", "R", SLOW, as_of=NOON + DAY).pairs
        assert pairs[EventKind.MISSED_FRAUD] == Pairs(champion_only=1, canary_only=1, neither=1)
        assert pairs[EventKind.FALSE_POSITIVE] == Pairs(canary_only=1, neither=2)

    def test_a_version_is_no_pair_with_itself(self, store: OutcomeStore) -> None:
        """After a fallback the answer came from the shadow's own version: nothing can be compared."""
        store.record([outcome(request_id="R1", assigned="canary", served="champion", error="canary: lost", version=1)])
        store.record_shadows([shadow("R1", version=1)])
        assert not store.evidence("fraud", "R", FAST, as_of=NOON).pairs


@pytest.mark.parametrize(
    ("terms", "as_of", "what"),
    [
        (Terms(latency_bound=-1.0), NOON, "latency bound"),
        (Terms(latency_bound=float("nan")), NOON, "latency bound"),
        (Terms(maturity=timedelta(milliseconds=1)), NOON, "maturity"),
        (Terms(), NOON.replace(tzinfo=None), "time zone"),
    ],
)
def test_terms_that_are_none(memory: OutcomeStore, terms: Terms, as_of: Any, what: str) -> None:
    """Terms that cannot be counted and times without a zone are refused before anything is written."""
    with pytest.raises(DataError, match=what):
        memory.evidence("fraud", "R", terms, as_of=as_of)


async def test_awaited(url: str) -> None:
    """The async store counts the same."""
    async with AsyncOutcomeStore(url) as store:
        await store.record([outcome(request_id="R1", flagged=True)])
        await store.record_shadows([shadow("R1")])
        evidence = await store.evidence("fraud", "R", SLOW, as_of=NOON + DAY)
        assert dict(only(evidence).events) == {EventKind.ALERT: 1}
        assert evidence.pairs[EventKind.ALERT] == Pairs(champion_only=1)
