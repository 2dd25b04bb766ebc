"""The judge: one severity order, both numbers in every reason, and nothing but PASS moves a rollout forward."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.controller import Action, next_step
from fds_mlflow.core.evidence import VariantCounts
from fds_mlflow.core.judge import SEVERITY, Status, Verdict, judge, worst
from fds_mlflow.core.plan import FULL, Plan, to_basis_points
from fds_mlflow.core.routing import Variant
from tests.unit.core.cases import case, cases, rollout


@pytest.mark.parametrize("name", cases("judge"))
def test_golden_verdicts(name: str) -> None:
    """The evidence of a golden case leads to exactly its verdicts, overall verdict and recommendation."""
    values = case("judge", name)
    plan = Plan.from_dict(values["plan"])
    weight = to_basis_points(values["percent"])
    verdicts = judge(
        VariantCounts(variant=Variant.CHAMPION, **values["champion"]),
        VariantCounts(variant=Variant.CANARY, **values["canary"]),
        plan,
        weight,
    )
    assert [{"status": v.status.value, "check": v.check, "reason": v.reason} for v in verdicts] == values["verdicts"]
    assert worst(verdicts).status.value == values["overall"]
    at = rollout({"champion": 1, "canary": 2, "percent": values["percent"], "plan": values["plan"]})
    assert next_step(at, worst(verdicts)).action.value == values["action"]


def test_severity_orders_every_status_once() -> None:
    """One tuple orders all statuses, from harmless to harmful."""
    assert SEVERITY == (Status.PASS, Status.INCONCLUSIVE, Status.NODATA, Status.ERROR, Status.FAIL)
    assert set(SEVERITY) == set(Status)


@given(st.lists(st.sampled_from(SEVERITY), min_size=1, max_size=6))
def test_the_worst_is_the_most_severe_and_the_latest_of_equals(statuses: list[Status]) -> None:
    """One bad check decides; of equally bad ones the later says more."""
    verdicts = [Verdict(status, str(i), "") for i, status in enumerate(statuses)]
    found = worst(verdicts)
    assert SEVERITY.index(found.status) == max(map(SEVERITY.index, statuses))
    assert found.check == str(max(i for i, status in enumerate(statuses) if status is found.status))


counts = st.integers(0, 300).flatmap(lambda keys: st.tuples(st.just(keys), st.integers(0, keys)))


@given(counts, counts, st.integers(1, FULL))
def test_only_enough_good_outcomes_pass(champion: tuple[int, int], canary: tuple[int, int], weight: int) -> None:
    """Whatever the evidence: PASS overall means enough outcomes above both limits, and nothing else advances."""
    plan = Plan()
    verdicts = judge(
        VariantCounts(variant=Variant.CHAMPION, keys=champion[0], successes=champion[1]),
        VariantCounts(variant=Variant.CANARY, keys=canary[0], successes=canary[1]),
        plan,
        weight,
    )
    overall = worst(verdicts)
    if overall.status is Status.PASS:
        assert canary[0] >= plan.min_outcomes
        assert canary[1] / canary[0] >= plan.min_success_rate
        if weight < FULL:
            assert champion[0] >= plan.min_outcomes
            assert canary[1] / canary[0] >= champion[1] / champion[0] - plan.max_success_drop
    at = rollout({"champion": 1, "canary": 2, "percent": weight / 100})
    action = next_step(at, overall).action
    assert (action in (Action.ADVANCE, Action.COMPLETE)) == (overall.status is Status.PASS)
    assert (action is Action.ABORT) == (overall.status is Status.FAIL)
    for verdict in verdicts:
        assert len(re.findall(r"\d+(?:\.\d+)?", verdict.reason)) >= 2, verdict.reason


@pytest.mark.parametrize(("status", "percent"), list(product(Status, [10, 100])))
def test_what_is_not_a_pass_never_promotes(status: Status, percent: float) -> None:
    """NODATA, INCONCLUSIVE and ERROR wait, FAIL aborts, and only PASS goes on; at the last step PASS completes."""
    at = rollout({"champion": 1, "canary": 2, "percent": percent})
    recommendation = next_step(at, Verdict(status, "x", "3 > limit 2"))
    passed = Action.COMPLETE if percent == 100 else Action.ADVANCE
    expected = {Status.PASS: passed, Status.FAIL: Action.ABORT}.get(status, Action.WAIT)
    assert recommendation.action is expected
    assert f"({status}: 3 > limit 2)" in recommendation.reason


def test_rates_of_nothing_are_unknown() -> None:
    """Without requests no rate is 0 or 1: it is not there."""
    nothing = VariantCounts(variant=Variant.CANARY)
    rates = (nothing.success_rate, nothing.error_rate, nothing.flag_rate, nothing.coverage)
    assert (*rates, nothing.mean_score, nothing.mean_latency_ms) == (None,) * 6


def test_rates_are_per_distinct_key() -> None:
    """Shares count keys, means count requests."""
    some = VariantCounts(
        variant=Variant.CANARY, requests=20, keys=10, errors=1, flagged=2, matured=8, labelled=4, successes=7,
        scored=16, score_sum=4.0, latency_sum_ms=50.0,
    )  # fmt: skip
    assert (some.success_rate, some.error_rate, some.flag_rate, some.coverage) == (0.7, 0.1, 0.2, 0.5)
    assert (some.mean_score, some.mean_latency_ms) == (0.25, 2.5)
