"""What bounds the exposure: labels that have not come, and a canary that never says anything."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from fds_mlflow.core.evidence.evidence import EventKind, Tally
from fds_mlflow.core.judge.judge import judge
from fds_mlflow.core.lifecycle.controller import Action, next_step
from fds_mlflow.core.plan.plan import Guardrail, Metric, Plan
from fds_mlflow.core.statistics.paired import Pairs
from tests.support.trials import CANARY, CHAMPION, NOON, evidence, labelled, rollout, tally

ERRORS = Guardrail(Metric.ERROR_RATE, margin=1.0, negligible=0.002)
MISSED = Guardrail(Metric.MISSED_FRAUD, margin=0.5)


def decided(plan: Plan, *tallies: Tally) -> tuple[Action, str]:
    """What the controller does a day after the step began."""
    found = next_step(rollout(plan), judge(evidence(plan, tallies), rollout(plan)), NOON + timedelta(days=1))
    return found.action, found.reason


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize(("advances", "action"), [(False, Action.WAIT), (True, Action.ADVANCE)])
def test_no_step_goes_on_before_labels_have_matured(required: bool, advances: bool, action: Action) -> None:
    """A guardrail on labels bounds the exposure, unless the plan says that it is to go on without."""
    missed = Guardrail(Metric.MISSED_FRAUD, margin=0.5, required=required)
    plan = Plan(guardrails=[ERRORS, missed], label_maturity="30d", advance_unlabelled=advances)
    found, why = decided(plan, tally(CHAMPION, 90_000), tally(CANARY, 10_000))
    assert found is action
    assert advances or "0 labels of the canary's keys have matured < 100 needed" in why


def test_a_step_goes_on_once_labels_have_matured() -> None:
    """With labels of as many keys as the plan asks outcomes for, the steps are the plan's again."""
    plan = Plan(guardrails=[ERRORS, MISSED], label_maturity="30d")
    known = [
        labelled(CHAMPION, 90_000, alerts=900, reviewed=900, false=450, missed=90),
        labelled(CANARY, 10_000, alerts=100, reviewed=100, false=50, missed=10),
    ]
    assert decided(plan, *known)[0] is Action.ADVANCE


@pytest.mark.parametrize(("rule", "action"), [("abort", Action.ABORT), ("hold", Action.HOLD)])
def test_a_canary_without_any_outcome_is_not_held_for_ever(rule: str, action: Action) -> None:
    """Where the champion's keys show that the canary has traffic, and it has no outcome, the plan's rule follows."""
    found, why = decided(Plan(silent_canary=rule), tally(CHAMPION, 9_000))
    assert found is action
    assert "no outcome of the canary beside 9,000 keys of the champion" in why


def test_a_canary_that_has_had_no_traffic_yet_is_not_silent() -> None:
    """A few keys of the champion, as many as the canary may have missed by chance, end nothing."""
    for keys in (0, 1, 100, 890):
        assert decided(Plan(), tally(CHAMPION, keys))[0] in (Action.WAIT, Action.HOLD)


@pytest.mark.parametrize(("minutes", "action"), [(1, Action.HOLD), (15, Action.ABORT)])
def test_a_canary_whose_batch_of_outcomes_is_late_is_not_silent(minutes: int, action: Action) -> None:
    """Nine thousand requests are seconds at times: what servers have not written by then ends nothing."""
    began = NOON - timedelta(minutes=minutes)
    found, _ = decided(Plan(), replace(tally(CHAMPION, 9_000), first=began, last=NOON))
    assert found is action


def test_labels_that_are_to_come_hold_nobody_in_the_shadow() -> None:
    """At 0 % a paired guardrail on labels waits for their maturity without keeping the canary from its first step."""
    plan = Plan([0, 10, 100], shadow=10, guardrails=[ERRORS, MISSED], label_maturity="30d")
    pairs = {EventKind.ERROR: Pairs(neither=10_000), EventKind.ALERT: Pairs(neither=10_000)}
    at = rollout(plan, percent=0)
    made = judge(evidence(plan, [tally(CHAMPION, 100_000, percent=0)], pairs), at, detail=False)
    assert next_step(at, made, NOON + timedelta(days=1)).action is Action.ADVANCE


def test_rollouts_of_an_earlier_release_go_on_as_they_began() -> None:
    """Neither rule holds where the record of the rollout names no test: it is judged to its end as it was."""
    plan = Plan(guardrails=[ERRORS, MISSED], label_maturity="30d", test=1)
    assert decided(plan, tally(CHAMPION, 90_000), tally(CANARY, 10_000))[0] is Action.ADVANCE
    assert decided(Plan(test=1), tally(CHAMPION, 9_000))[0] is Action.HOLD
