"""The controller: nothing but PASS completes, nothing but a FAIL aborts by itself, and a person is never overruled."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.judge.judge import Judgement, Status, Verdict
from fds_mlflow.core.lifecycle.controller import Action, next_step
from fds_mlflow.core.plan.plan import Plan, Watch
from fds_mlflow.core.weight import FULL
from tests.support.trials import NOON, rollout

HOUR = timedelta(hours=1)


def judged(status: Status, *, outcomes: int = 1_000, keys: int = 1_000) -> Judgement:
    """A judgement with one verdict."""
    return Judgement((Verdict(status, "error_rate", "canary 3 % > limit 2 %"),), outcomes, keys)


def action(
    plan: Plan, status: Status, *, percent: float = 10, after: timedelta = HOUR, is_watch: bool = False, **seen: int
) -> Action:
    """What follows at a weight of the plan after a time in the step."""
    made = next_step(rollout(plan, percent=percent, is_watch=is_watch), judged(status, **seen), NOON + after)
    assert f"({status}: canary 3 % > limit 2 %)" in made.reason
    return made.action


@pytest.mark.parametrize(
    ("status", "percent", "expected"),
    [
        (Status.PASS, 10, Action.ADVANCE),
        (Status.PASS, 25, Action.ADVANCE),
        (Status.PASS, 50, Action.COMPLETE),
        (Status.PASS, 100, Action.COMPLETE),
        (Status.INCONCLUSIVE, 10, Action.ADVANCE),
        (Status.INCONCLUSIVE, 25, Action.ADVANCE),
        (Status.INCONCLUSIVE, 50, Action.WAIT),
        (Status.INCONCLUSIVE, 100, Action.WAIT),
        *((Status.NODATA, percent, Action.WAIT) for percent in (10, 25, 50, 100)),
        *((Status.ERROR, percent, Action.HOLD) for percent in (10, 25, 50, 100)),
        *((Status.FAIL, percent, Action.ABORT) for percent in (10, 25, 50, 100)),
    ],
)
def test_what_follows_each_verdict(status: Status, percent: float, expected: Action) -> None:
    """An intermediate step goes on without a FAIL; the last step below 100 % needs PASS, and then completes."""
    assert action(Plan(), status, percent=percent) is expected


plans = st.builds(
    Plan,
    st.sampled_from([(10, 25, 50, 100), (10, 50), (100,), (5,)]),
    min_outcomes=st.integers(1, 200),
    bake_time=st.sampled_from([timedelta(0), HOUR]),
    max_step_time=st.none() | st.just(3 * HOUR),
    undecided=st.sampled_from(["hold", "abort"]),
    max_canary_keys=st.none() | st.integers(1, 300),
    watch=st.none() | st.builds(Watch, st.just(HOUR), st.just(5.0), st.booleans()),
)


@given(
    plans,
    st.sampled_from(Status),
    st.integers(0, FULL).map(lambda weight: weight / 100),
    st.integers(0, 10).map(lambda hours: hours * HOUR / 2),
    st.fixed_dictionaries({"outcomes": st.integers(0, 300), "keys": st.integers(0, 300), "is_watch": st.booleans()}),
)
def test_silence_and_faults_never_move_a_rollout_forward(
    plan: Plan, status: Status, percent: float, after: timedelta, seen: dict[str, Any]
) -> None:
    """Whatever the plan, the weight, the time and the traffic: each way forward needs its verdict."""
    found, is_watch = action(plan, status, percent=percent, after=after, **seen), seen["is_watch"]
    if found in (Action.ADVANCE, Action.COMPLETE):
        assert status in (Status.PASS, Status.INCONCLUSIVE)
        assert seen["outcomes"] >= plan.min_outcomes
        assert after >= plan.bake_time
        assert not is_watch
    if found is Action.COMPLETE:
        assert status is Status.PASS
    if found is Action.ROLLBACK:
        assert (status, is_watch, plan.watch is not None and plan.watch.rollback) == (Status.FAIL, True, True)
    if found is Action.ABORT:
        assert status is Status.FAIL or plan.undecided == "abort" or is_watch
    if status is Status.FAIL and not is_watch:
        assert found is Action.ABORT


def test_a_step_takes_its_minimum_evidence_and_its_bake_time() -> None:
    """Neither many outcomes at once nor a long time without any moves a rollout on; the reason says what is missing."""
    plan = Plan(min_outcomes=200, bake_time="2h")
    assert action(plan, Status.PASS, outcomes=199, after=3 * HOUR) is Action.WAIT
    assert action(plan, Status.PASS, outcomes=200, after=HOUR) is Action.WAIT
    assert action(plan, Status.PASS, outcomes=200, after=2 * HOUR) is Action.ADVANCE
    few = next_step(rollout(plan), judged(Status.PASS, outcomes=199), NOON + 3 * HOUR)
    assert "199 outcomes in this step < 200 needed" in few.reason
    early = next_step(rollout(plan), judged(Status.PASS), NOON + HOUR)
    assert "1h in this step < 2h to bake" in early.reason


@pytest.mark.parametrize(("undecided", "expected"), [("hold", Action.HOLD), ("abort", Action.ABORT)])
def test_undecided_at_the_end_of_the_time_holds_or_aborts(undecided: str, expected: Action) -> None:
    """A step that has had its time without a decision does what the plan says, and never promotes."""
    plan = Plan(max_step_time="3h", undecided=undecided)
    assert action(plan, Status.INCONCLUSIVE, percent=50, after=2 * HOUR) is Action.WAIT
    for status in (Status.INCONCLUSIVE, Status.NODATA, Status.ERROR):
        assert action(plan, status, percent=50, after=3 * HOUR) is expected
    assert action(plan, Status.INCONCLUSIVE, percent=10, after=3 * HOUR, outcomes=5) is expected
    assert action(plan, Status.PASS, percent=50, after=3 * HOUR) is Action.COMPLETE
    made = next_step(rollout(plan, percent=50), judged(Status.NODATA), NOON + 3 * HOUR)
    assert "3h in this step >= 3h allowed" in made.reason


@pytest.mark.parametrize(("undecided", "expected"), [("hold", Action.HOLD), ("abort", Action.ABORT)])
def test_the_blast_radius_stops_a_canary_that_has_not_passed(undecided: str, expected: Action) -> None:
    """Once as many keys as the plan allows have met the canary, it goes on only with everything passed."""
    plan = Plan(max_canary_keys=500, undecided=undecided)
    assert action(plan, Status.INCONCLUSIVE, keys=499) is Action.ADVANCE
    assert action(plan, Status.INCONCLUSIVE, keys=500) is expected
    assert action(plan, Status.PASS, keys=500) is Action.ADVANCE
    assert action(plan, Status.FAIL, keys=500) is Action.ABORT
    made = next_step(rollout(plan), judged(Status.INCONCLUSIVE, keys=500), NOON)
    assert "500 keys have met the canary >= 500 allowed" in made.reason


def test_a_gate_waits_for_a_person_and_stops_no_abort() -> None:
    """At a gate nothing goes forward by itself, neither to the next step nor to the completion."""
    plan = Plan(gates=[10, 50])
    assert action(plan, Status.PASS, percent=10) is Action.HOLD
    assert action(plan, Status.PASS, percent=25) is Action.ADVANCE
    assert action(plan, Status.PASS, percent=50) is Action.HOLD
    assert action(plan, Status.INCONCLUSIVE, percent=50) is Action.WAIT
    assert action(plan, Status.FAIL, percent=50) is Action.ABORT


@pytest.mark.parametrize("rollback", [True, False])
def test_a_watch_rolls_back_only_where_the_plan_lets_it(rollback: bool) -> None:
    """A champion that is worse than its control goes by itself only if the plan says so; else a person is called."""
    plan = Plan([5], watch=Watch(HOUR, 5, rollback), max_step_time="2h")
    assert action(plan, Status.FAIL, percent=5, is_watch=True) is (Action.ROLLBACK if rollback else Action.HOLD)


def test_a_watch_ends_with_its_time_and_promotes_nobody() -> None:
    """Without a FAIL the watch waits, and is over when its time is."""
    plan = Plan([5], watch=Watch(2 * HOUR, 5), max_step_time="2h")
    for status in (Status.PASS, Status.INCONCLUSIVE, Status.NODATA, Status.ERROR):
        assert action(plan, status, percent=5, is_watch=True) is Action.WAIT
        assert action(plan, status, percent=5, after=2 * HOUR, is_watch=True) is Action.ABORT


@pytest.mark.parametrize(("status", "percent"), list(product(Status, [10, 50])))
def test_reasons_fit_the_history(status: Status, percent: float) -> None:
    """A reason says what is to be done, at which weight, and repeats the verdict."""
    made = next_step(rollout(Plan(), percent=percent), judged(status), NOON)
    assert f"{percent:g} %" in made.reason or made.action is Action.COMPLETE
    assert len(made.reason.encode()) < 1_000


@given(
    plans,
    st.sampled_from(Status),
    st.integers(0, FULL).map(lambda weight: weight / 100),
    st.integers(0, 10).map(lambda hours: hours * HOUR / 2),
    st.booleans(),
    st.sampled_from(["", "no outcome for a day"]),
)
def test_a_paused_rollout_ends_by_harm_alone(  # noqa: PLR0917 - what a decision rests on
    plan: Plan, status: Status, percent: float, after: timedelta, is_watch: bool, silent: str
) -> None:
    """Neither time nor a PASS moves or ends it; a FAIL and a canary that never answers do what they do otherwise."""
    going = rollout(plan, percent=percent, is_watch=is_watch)
    judgement = replace(judged(status), silent=silent)
    found = next_step(replace(going, paused=NOON), judgement, NOON + after)
    if status is Status.FAIL or (silent and not is_watch):
        assert found == next_step(going, judgement, NOON + after)
    else:
        assert found.action is Action.HOLD
        assert "it is paused since" in found.reason
