"""What the outcomes add up to: each rule by example, then all of them against a naive reference."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.outcomes.summary import VariantCounts
from tests.support.effort import at_most
from tests.support.samples import DAY, NOON, case, outcome


class TestRules:
    def test_nothing_is_two_zeros(self, store: OutcomeStore) -> None:
        """A rollout without outcomes has counts of zero for both variants, and no rates."""
        champion, canary = store.counts("fraud", "R")
        assert (champion.variant, canary.variant) == (Variant.CHAMPION, Variant.CANARY)
        assert canary == VariantCounts(variant=Variant.CANARY)
        assert canary.error_rate is canary.flag_rate is canary.success_rate is canary.mean_score is None
        assert canary.coverage is canary.mean_latency_ms is canary.first is None

    def test_a_key_counts_once_per_kind(self, store: OutcomeStore) -> None:
        """A customer with several failures is one failed key; retries only show in the number of requests."""
        store.record([outcome(key="C1", error="timeout", score=None) for _ in range(3)])
        store.record([outcome(key="C1", flagged=True), outcome(key="C2")])
        champion = store.counts("fraud", "R")[0]
        assert (champion.requests, champion.keys) == (5, 2)
        assert (champion.errors, champion.flagged, champion.successes) == (1, 1, 1)
        assert (champion.error_rate, champion.flag_rate, champion.success_rate) == (0.5, 0.5, 0.5)

    def test_the_four_cases(self, store: OutcomeStore) -> None:
        """Flagged or not, fraud or not: each request lands in its cell; a suspicion is no truth."""
        store.record([outcome(key=f"F{number}", flagged=True) for number in range(4)])
        store.record([outcome(key=f"U{number}") for number in range(4)])
        for sort in "FU":
            states = ["confirmed", "false_positive", "genuine", "suspected"]
            store.label([case(transaction_id=f"{sort}{number}", status=states[number]) for number in range(4)])
        champion = store.counts("fraud", "R")[0]
        assert (champion.true_positives, champion.false_positives) == (1, 2)
        assert (champion.false_negatives, champion.true_negatives) == (1, 2)
        assert (champion.labelled, champion.matured, champion.coverage) == (6, 8, 0.75)
        assert champion.successes == 8 - 2 - 1

    def test_only_the_last_state_counts(self, store: OutcomeStore) -> None:
        """A case that went from suspected over confirmed to false positive counts as genuine, once."""
        store.record([outcome(flagged=True)])
        states = ["suspected", "confirmed", "false_positive"]
        store.label([case(status=state, known_at=NOON + day * DAY) for day, state in enumerate(states, start=1)])
        champion = store.counts("fraud", "R")[0]
        assert (champion.requests, champion.labelled, champion.false_positives) == (1, 1, 1)
        assert champion.true_positives == 0

    def test_assigned_and_served(self, store: OutcomeStore) -> None:
        """After a fallback the request stays evidence about the canary, and can be counted by who answered."""
        store.record([outcome(assigned="canary", served="champion", error="canary: out of memory")])
        champion, canary = store.counts("fraud", "R")
        assert (champion.requests, canary.requests, canary.errors) == (0, 1, 1)
        champion, canary = store.counts("fraud", "R", by="served")
        assert (champion.requests, canary.requests) == (1, 0)

    def test_one_step_starts_anew(self, store: OutcomeStore) -> None:
        """A step's numbers hold nothing of the steps before; without a step, all are added up."""
        store.record([outcome(key=f"TX{step}", step=step, assigned="canary") for step in (0, 1, 1)])
        assert [store.counts("fraud", "R", step)[1].requests for step in (0, 1, 2)] == [1, 2, 0]
        assert store.counts("fraud", "R")[1].requests == 3
        assert store.counts("fraud", "R", 1)[1].step == 1

    def test_the_weight_in_force_is_kept_apart(self, store: OutcomeStore) -> None:
        """Evidence under different weights is never mixed, not even within a step."""
        store.record([outcome(weight=1000), outcome(weight=2500), outcome(weight=2500, assigned="canary")])
        found = [(entry.step, entry.weight, entry.variant, entry.keys) for entry in store.counts_by_step("fraud", "R")]
        assert found == [(0, 1000, "champion", 1), (0, 2500, "champion", 1), (0, 2500, "canary", 1)]

    @pytest.mark.slow
    def test_outside_any_rollout(self, store: OutcomeStore) -> None:
        """What is scored while no rollout is active can be counted, too, and stays out of all rollouts."""
        store.record([outcome(rollout_id=None, weight=0), outcome()])
        assert store.counts("fraud", None)[0].requests == 1
        assert store.counts("fraud", "R")[0].requests == 1

    def test_labels_freeze_at_the_maturity_age(self, store: OutcomeStore) -> None:
        """With a maturity age a label counts as it was known at that age, whatever was learnt later."""
        store.record([outcome(flagged=True), outcome(key="young", time=NOON + 20 * DAY)])
        store.label([case(status="confirmed", known_at=NOON + 7 * DAY)])
        store.label([case(status="false_positive", known_at=NOON + 20 * DAY)])
        store.label([case(transaction_id="young", known_at=NOON + 21 * DAY)])
        question: dict[str, Any] = {"as_of": NOON + 25 * DAY, "maturity": 14 * DAY}
        champion = store.counts("fraud", "R", **question)[0]
        assert (champion.keys, champion.matured, champion.labelled) == (2, 1, 1)
        assert (champion.true_positives, champion.false_positives) == (1, 0)

    @pytest.mark.parametrize(("late", "known"), [(timedelta(0), 1), (timedelta(microseconds=1), 0)])
    def test_the_maturity_age_includes_its_end(self, store: OutcomeStore, late: timedelta, known: int) -> None:
        """A label that arrives exactly at the maturity age counts, one a microsecond later does not."""
        # On the following day the clocks change in New York, where the test's server stands.
        time = NOON.replace(day=7, second=59, microsecond=999_999)
        store.record([outcome(time=time)])
        store.label([case(known_at=time + DAY + late)])
        champion = store.counts("fraud", "R", as_of=time + 9 * DAY, maturity=DAY)[0]
        assert (champion.matured, champion.labelled) == (1, known)

    def test_what_was_known_then(self, store: OutcomeStore) -> None:
        """A past verdict can be repeated: later outcomes and labels are left out."""
        store.record([outcome(flagged=True), outcome(key="later", time=NOON + DAY)])
        store.label([case(known_at=NOON + timedelta(hours=1))])
        assert store.counts("fraud", "R", as_of=NOON)[0].keys == 1
        assert store.counts("fraud", "R", as_of=NOON)[0].labelled == 0
        assert store.counts("fraud", "R", as_of=NOON + timedelta(hours=1))[0].true_positives == 1

    def test_sums_and_times(self, store: OutcomeStore) -> None:
        """Scores and latencies are summed over requests; requests without a score do not lower the mean."""
        store.record([outcome(score=0.2, latency_ms=1.0), outcome(score=0.4, latency_ms=4.0, time=NOON + DAY)])
        store.record([outcome(score=None, error="timeout", latency_ms=10.0)])
        champion = store.counts("fraud", "R")[0]
        assert champion.mean_score == pytest.approx(0.3)
        assert (champion.scored, champion.mean_latency_ms, champion.latency_max_ms) == (2, 5.0, 10.0)
        assert (champion.first, champion.last) == (NOON, NOON + DAY)


# ---------------------------------------------------------------------------------------------------------------
# The same rules once more, naively: loops over records, no SQL.


def _known(cases: Iterable[CaseRecord], transaction: str | None, until: datetime | None) -> bool | None:
    states = [
        entry for entry in cases if entry.transaction_id == transaction and (until is None or entry.known_at <= until)
    ]
    if not states:
        return None
    latest = max(entry.known_at for entry in states)
    status = [entry for entry in states if entry.known_at == latest][-1].status
    return {"confirmed": True, "false_positive": False, "genuine": False, "suspected": None}[str(status)]


def _naive(
    variant: Variant,
    outcomes: list[OutcomeRecord],
    cases: list[CaseRecord],
    as_of: datetime | None,
    maturity: timedelta | None,
    **group: int | None,
) -> VariantCounts:
    kinds: dict[str, set[str]] = {name: set() for name in _KINDS}
    failed: set[str] = set()
    for entry in outcomes:
        mature = maturity is None or as_of is None or entry.time + maturity <= as_of
        until = as_of if maturity is None else entry.time + maturity
        truth = _known(cases, entry.transaction_id, until) if mature else None
        hits = {
            "errors": entry.error is not None,
            "flagged": entry.flagged,
            "matured": mature,
            "labelled": truth is not None,
            "true_positives": entry.flagged and truth is True,
            "false_positives": entry.flagged and truth is False,
            "false_negatives": not entry.flagged and truth is True,
            "true_negatives": not entry.flagged and truth is False,
        }
        for name, hit in hits.items():
            if hit:
                kinds[name].add(entry.key)
        if hits["errors"] or hits["false_positives"] or hits["false_negatives"]:
            failed.add(entry.key)
    keys = {entry.key for entry in outcomes}
    scores = [entry.score for entry in outcomes if entry.score is not None]
    return VariantCounts(
        variant=variant,
        **group,
        requests=len(outcomes),
        keys=len(keys),
        **{name: len(found) for name, found in kinds.items()},
        successes=len(keys - failed),
        scored=len(scores),
        score_sum=float(math.fsum(scores)),
        latency_sum_ms=math.fsum(entry.latency_ms for entry in outcomes),
        latency_max_ms=max((entry.latency_ms for entry in outcomes), default=None),
        first=min((entry.time for entry in outcomes), default=None),
        last=max((entry.time for entry in outcomes), default=None),
    )


_KINDS = (
    "errors",
    "flagged",
    "matured",
    "labelled",
    "true_positives",
    "false_positives",
    "false_negatives",
    "true_negatives",
)


def _same(found: VariantCounts, expected: VariantCounts) -> None:
    for name in (field.name for field in fields(VariantCounts)):
        value, reference = getattr(found, name), getattr(expected, name)
        assert value == (pytest.approx(reference) if isinstance(reference, float) else reference), name
        assert type(value) is type(reference), name


_moments = st.integers(0, 20).map(lambda hours: NOON + timedelta(hours=hours))


@st.composite
def _outcomes(draw: st.DrawFn) -> dict[str, Any]:
    rollout = draw(st.sampled_from(["R", "R", "R", "S", None]))
    score = draw(st.none() | st.floats(0, 1))
    return {
        "key": draw(st.sampled_from("abc")),
        "transaction_id": draw(st.sampled_from("vwxyz")),
        "rollout_id": rollout,
        "step": draw(st.integers(0, 1)),
        "weight": draw(st.sampled_from([1000, 2500])),
        "assigned": draw(st.sampled_from(list(Variant))) if rollout else Variant.CHAMPION,
        "served": draw(st.sampled_from(list(Variant))),
        "score": score,
        "flagged": draw(st.booleans()),
        "latency_ms": draw(st.floats(0, 1000)),
        "error": "failed" if score is None else draw(st.sampled_from([None, None, "slow"])),
        "time": draw(_moments),
    }


_cases = st.fixed_dictionaries(
    {
        "transaction_id": st.sampled_from("vwxyz"),
        "status": st.sampled_from(["suspected", "confirmed", "false_positive", "genuine"]),
        "known_at": _moments,
    }
)
_examples = itertools.count()


@pytest.fixture(scope="module")
def reused() -> Iterator[OutcomeStore]:
    """One store for all examples; each uses a model and transactions of its own."""
    with OutcomeStore("sqlite://") as opened:
        yield opened


def _against_reference(
    store: OutcomeStore,
    drawn: list[dict[str, Any]],
    labels: list[dict[str, Any]],
    as_of: datetime | None,
    maturity: timedelta | None,
) -> None:
    name = f"example-{next(_examples)}"
    outcomes = [
        outcome(**{**values, "model": name, "transaction_id": f"{name}-{values['transaction_id']}"}) for values in drawn
    ]
    cases = [case(**{**values, "transaction_id": f"{name}-{values['transaction_id']}"}) for values in labels]
    store.record(outcomes)
    store.label(cases)
    maturity = None if as_of is None else maturity
    for rollout, by, step in itertools.product(["R", None], ["assigned", "served"], [None, 1]):
        inside = [
            entry
            for entry in outcomes
            if entry.rollout_id == rollout
            and (step is None or entry.step == step)
            and (as_of is None or entry.time <= as_of)
        ]
        found = store.counts(name, rollout, step, by=by, as_of=as_of, maturity=maturity)  # type: ignore[arg-type]
        for variant, entry in zip(Variant, found, strict=True):
            own = [other for other in inside if getattr(other, by) == variant]
            _same(entry, _naive(variant, own, cases, as_of, maturity, step=step))
        if step is None:
            cells = {(entry.step, entry.weight, Variant(getattr(entry, by))) for entry in inside}
            by_step = store.counts_by_step(name, rollout, by=by, as_of=as_of, maturity=maturity)  # type: ignore[arg-type]
            assert {(entry.step, entry.weight, entry.variant) for entry in by_step} == cells
            for entry in by_step:
                own = [
                    other
                    for other in inside
                    if (other.step, other.weight, getattr(other, by)) == (entry.step, entry.weight, entry.variant)
                ]
                reference = _naive(entry.variant, own, cases, as_of, maturity, step=entry.step, weight=entry.weight)
                _same(entry, reference)


_example = given(
    drawn=st.lists(_outcomes(), max_size=12),
    labels=st.lists(_cases, max_size=8),
    as_of=st.none() | _moments,
    maturity=st.none() | st.integers(0, 10).map(lambda hours: timedelta(hours=hours)),
)


@pytest.mark.slow
@_example
@at_most(60)
def test_sql_equals_the_naive_reference(reused: OutcomeStore, **drawn: Any) -> None:
    """Whatever the outcomes and labels, the aggregates are what loops over the records find."""
    _against_reference(reused, **drawn)


@pytest.mark.campaign
@_example
@at_most(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_postgresql_equals_the_naive_reference(postgres_url: str, **drawn: Any) -> None:
    """PostgreSQL counts like SQLite, time arithmetic and null handling included."""
    with OutcomeStore(postgres_url) as store:
        _against_reference(store, **drawn)
