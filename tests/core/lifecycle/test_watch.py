"""The watch after a promotion is read off the history, and judged by the rollout's own guardrails."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from fds_mlflow.core.lifecycle.events import Ending, Event, Kind, Rollout, RolloutStatus
from fds_mlflow.core.lifecycle.watch import watch_due, watch_plan
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.plan import Plan, Watch
from tests.support.golden_cases import NOON

WATCH = Watch(timedelta(days=7), 5, rollback=True)
PLAN = Plan(
    [10, 100],
    guardrails=[Guardrail("missed_fraud", margin=0.5)],
    alpha=0.01,
    label_maturity="30d",
    bake_time="1h",
    gates=[100],
    max_canary_keys=5_000,
    watch=WATCH,
)
DONE = Rollout("R", 1, 2, PLAN, 1_000, 0, NOON, RolloutStatus.COMPLETED)
COMPLETED = Event(3, "OP3", Kind.COMPLETE, "ann", "proven", NOON, 1, 2, DONE)


def _after(kind: Kind, outcome: Ending = Ending.DONE) -> Event:
    return Event(4, "OP4", kind, "ann", "", NOON, 2, 3, outcome=outcome)


@pytest.mark.parametrize(
    ("events", "due"),
    [
        ([], False),
        ([COMPLETED], True),
        ([COMPLETED, _after(Kind.STAGE), _after(Kind.RETIRE)], True),
        ([COMPLETED, _after(Kind.PROMOTE, Ending.ABANDONED)], True),
        ([COMPLETED, _after(Kind.PROMOTE)], False),
        ([COMPLETED, _after(Kind.START)], False),
        ([COMPLETED, _after(Kind.ADOPT)], False),
        ([replace(COMPLETED, outcome=Ending.OVERTAKEN)], False),
        ([replace(COMPLETED, kind=Kind.ABORT)], False),
        ([replace(COMPLETED, rollout=replace(DONE, plan=Plan()))], False),
        ([replace(COMPLETED, rollout=replace(DONE, plan=watch_plan(PLAN, WATCH), is_watch=True))], False),
    ],
)
def test_a_watch_is_due_after_a_completion_and_before_anything_else(events: list[Event], due: bool) -> None:
    """Candidates that come and go do not matter; a watch is not watched itself."""
    assert watch_due(events, NOON) == (DONE if due else None)


@pytest.mark.parametrize(("seconds", "due"), [(-1, True), (0, False)])
def test_a_watch_that_would_be_over_is_not_due(seconds: int, due: bool) -> None:
    """Its time counts from the completion, half-open."""
    found = watch_due([COMPLETED], NOON + WATCH.duration + timedelta(seconds=seconds))
    assert found == (DONE if due else None)


def test_the_watch_asks_what_the_rollout_asked() -> None:
    """The same guardrails, alpha and maturity for the watch's time; no gate, bake time or blast radius of its own."""
    plan = watch_plan(PLAN, WATCH)
    assert (plan.steps, plan.watch, plan.max_step_time) == ((5,), WATCH, WATCH.duration)
    assert (plan.guardrails, plan.alpha, plan.terms) == (PLAN.guardrails, PLAN.alpha, PLAN.terms)
    assert (plan.gates, plan.bake_time, plan.max_canary_keys) == ((), timedelta(0), None)
    assert Plan.from_dict(plan.to_dict()) == plan
