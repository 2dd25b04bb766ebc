"""Constructions that fooled the judge of older rollouts: what each gets now, beside what it got (`test=1`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest

from benchmarks.calibration import confounding, keys, selective
from benchmarks.calibration.counted import counted
from fds_mlflow.core.evidence.evidence import EventKind, Tally
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.judge import Judgement, Status, judge
from fds_mlflow.core.lifecycle.controller import Action, next_step
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.plan import Guardrail, Metric, Plan
from tests.support.trials import NOON

WEEK, PER_HOUR = 168, 90_000
"""Hours of a good week; requests of one version in one of them: 50 a second, half of them its own."""
ERRORS = Guardrail(Metric.ERROR_RATE, margin=1.0)
HOUR = int(NOON.timestamp()) // 3600


def _hour(hour: int, canary: int, champion: int, *, step: int = 0, part: float = 1.0) -> list[Tally]:
    """Errors of both versions in one hour, or in the first part of it."""
    requests = round(part * PER_HOUR)
    return [
        Tally(
            variant=variant,
            step=step,
            weight=5_000,
            hour=HOUR + hour,
            requests=requests,
            keys=requests,
            events={EventKind.ERROR: errors},
        )
        for variant, errors in ((Variant.CHAMPION, champion), (Variant.CANARY, canary))
    ]


def _good_week() -> list[Tally]:
    return [tally for hour in range(WEEK) for tally in _hour(hour, 18, 18)]


def _judged(plan: Plan, tallies: Sequence[Tally], hours: float, since: float = 0.0) -> tuple[Judgement, Action]:
    """The judgement so many hours after the start, in a step that began at `since`, and what follows."""
    now = NOON + timedelta(hours=hours)
    at = Rollout("R", 1, 2, plan, 5_000, tallies[-1].step, NOON + timedelta(hours=since))
    made = judge(counted(plan, now, tallies), at, detail=False)
    return made, next_step(at, made, now).action


def _status(made: Judgement) -> Status:
    return made.verdicts[1].status


@pytest.mark.parametrize(
    ("test", "status", "action"), [(1, Status.PASS, Action.COMPLETE), (2, Status.FAIL, Action.ABORT)]
)
def test_a_harm_that_begins_after_a_good_week_is_failed_within_a_quarter_of_an_hour(
    test: int, status: Status, action: Action
) -> None:
    """Errors that rise twentyfold after seven good days abort the rollout; they do not complete it."""
    plan = Plan([50, 100], guardrails=[ERRORS], alpha=0.05 / 3, test=test)
    made, then = _judged(plan, [*_good_week(), *_hour(WEEK, 90, 5, part=0.25)], WEEK + 0.25)
    assert (_status(made), then) == (status, action)


@pytest.mark.parametrize(("test", "action"), [(1, Action.COMPLETE), (2, Action.WAIT)])
def test_a_pass_that_the_step_itself_contradicts_completes_nothing(test: int, action: Action) -> None:
    """What a good week has shown is worth nothing where the last step shows harm, though too little of it to fail."""
    plan = Plan([25, 50, 100], guardrails=[ERRORS], alpha=0.05 / 3, test=test)
    made, then = _judged(plan, [*_good_week(), *_hour(WEEK, 30, 3, step=1, part=0.2)], WEEK + 0.2, since=WEEK)
    assert then is action
    assert _status(made) is (Status.PASS if test == 1 else Status.INCONCLUSIVE)
    if test > 1:
        assert "contradicts" in made.verdicts[1].reason


@pytest.mark.parametrize("ratio", [1.5, 2.0])
def test_customers_who_have_had_their_error_do_not_make_a_worse_canary_pass(ratio: float) -> None:
    """With customers as keys, nearly all of whom err once, nobody passes at the margin or at twice the rate."""
    steps, until = (50,), (240,)
    statuses: dict[int, set[Status]] = {1: set(), 2: set()}
    for seed in range(3):
        random = np.random.default_rng(seed)
        requests = keys.requests_of(random, ratio, steps, until, keys.Customers(number=400, per_hour=400))
        for test, found in statuses.items():
            plan = keys.plan_of(steps, test)
            now = keys.START + timedelta(hours=until[-1])
            at = Rollout("R", 1, 2, plan, 5_000, 0, keys.START)
            made = judge(counted(plan, now, requests.tallies(plan.weights)), at, detail=False)
            found.add(_status(made))
    assert Status.PASS in statuses[1]
    assert Status.PASS not in statuses[2]


@pytest.mark.parametrize("to_canary", [False, True])
def test_one_customer_with_much_traffic_and_no_error_decides_nothing(to_canary: bool) -> None:
    """A customer who makes a third of the requests and never errs fails no good canary, and lets no worse one pass."""
    statuses = {1.0: set[Status](), 2.0: set[Status]()}
    for ratio, found in statuses.items():
        random, until, few = np.random.default_rng(3), (240,), keys.Customers(number=1_000, per_hour=400, skew=1.0)
        made = keys.requests_of(random, ratio, (50,), until, few)
        hour = np.concatenate([made.hour, np.repeat(np.arange(until[0]), 200)])
        order, more = np.argsort(hour, kind="stable"), len(hour) - len(made.hour)
        columns = {"key": few.number, "to_canary": to_canary, "failed": False, "step": 0}
        padded = {
            name: np.concatenate([getattr(made, name), np.full(more, value)])[order] for name, value in columns.items()
        }
        plan = keys.plan_of((50,), 2)
        found.update(keys.ever(plan, keys.Requests(hour=hour[order], **padded).tallies(plan.weights), until))
    assert Status.FAIL not in statuses[1.0]
    assert Status.PASS not in statuses[2.0]


@pytest.mark.slow
def test_a_store_counts_repeated_keys_as_the_simulation_does() -> None:
    """What the benchmark says of customers as keys holds for outcomes in a real store."""
    assert keys.counted_alike(3, 1, hours=6)["rate"] == 1.0


@pytest.mark.parametrize(
    "name",
    [
        "good_fails_precision_falls",
        "eight_points_worse_passes_precision_rises",
        "reviewed_alike_called_apart_review_rises",
    ],
)
def test_what_moves_with_the_weight_is_not_taken_for_a_difference(name: str) -> None:
    """A good canary does not fail, a worse one does not pass, and equal review is not called apart."""
    world, guardrails, wrong = confounding.CELLS[name]
    random = np.random.default_rng(1)
    steps = [(step, hour) for step in range(3) for hour in range(confounding.HOURS)]
    tallies = [tally for step, hour in steps for tally in world.hour(random, step, hour)]
    for test in (1, 2):
        plan = Plan([10, 25, 50, 100], guardrails=guardrails, label_maturity="1h", test=test)
        found = confounding.rollout(tallies, plan, detail=False).statuses
        assert (wrong in found) is (test == 1)


@pytest.mark.parametrize(
    ("name", "now"),
    [
        ("paired_missed_fraud_nothing_labelled_catches_nothing", Status.ERROR),
        ("paired_missed_fraud_explored_catches_nothing", Status.FAIL),
        ("paired_false_positives_reviewed_alike", Status.ERROR),
        ("paired_false_positives_declared_alike", Status.INCONCLUSIVE),
    ],
)
def test_labels_that_depend_on_the_decision_are_weighed_or_refused(name: str, now: Status) -> None:
    """A blocked fraud without a label helps no canary that catches nothing, and a reviewed alert harms no good one."""
    guardrail, decisions, labels, wrong = selective.CELLS[name]
    world = selective.World(np.random.default_rng(1), decisions, labels)
    for hour in range(selective.LOOK):
        world.hour(hour)
    for test, expected in ((1, wrong), (2, now)):
        plan = Plan([10, 100], guardrails=[guardrail], label_maturity="1h", test=test)
        assert next(selective.looks(world, plan)) is expected
