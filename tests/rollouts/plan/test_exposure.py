"""What a harmful canary is given until its plan stops it: along the steps, as controller and judge move and see it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import ceil, log
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fds_mlflow.core.lifecycle.controller import Action, next_step
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.lifecycle.verdict import Judgement, Status, Verdict
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Plan, Watch
from fds_mlflow.core.statistics.sequential import Segment, Side, ratio_evidence
from fds_mlflow.errors import ConfigError
from fds_mlflow.rollouts.plan.cost import PlanCheck, check_plan
from fds_mlflow.rollouts.plan.expected import MEAN_SCORE, START, Assumptions
from fds_mlflow.rollouts.plan.exposure import Exposure, course

ERRORS = Guardrail(Metric.ERROR_RATE, margin=1.0)
MISSED = Guardrail(Metric.MISSED_FRAUD, margin=0.5)
SLOWLY: dict[str, Any] = {"bake_time": "24h"}


def checked(*guardrails: Guardrail, steps: tuple[float, ...] = (10, 25, 50, 100), **options: Any) -> PlanCheck:
    """A check of a plan at 50 requests a second; keywords of `check_plan` go there."""
    ours = {name: options.pop(name) for name in CHECKS & set(options)}
    return check_plan(Plan(steps, guardrails=guardrails, **options), **{"traffic": 50, **ours})


CHECKS = {"traffic", "rates", "fraud_rate", "loss", "alert_cost", "harm", "explore", "explore_cap"}


def exposed(found: PlanCheck, place: int = 0) -> Exposure:
    """The exposure to the harmful canary of one guardrail."""
    made = found.prices[place].exposure
    assert made is not None
    return made


BLIND: dict[str, Any] = {
    "rates": {Metric.MISSED_FRAUD: 0.0008},
    "fraud_rate": 0.002,
    "harm": 1_000,
    "label_maturity": "30d",
}
"""A canary that catches nothing, of frauds of which the champion catches three of five."""


def test_a_plan_that_climbs_unlabelled_gives_half_of_a_month_to_a_canary_that_catches_nothing() -> None:
    """At 50 requests a second it gets about 64.9 million requests and misses about 77,900 more until day 30."""
    found = exposed(checked(ERRORS, MISSED, advance_unlabelled=True, loss=100.0, **BLIND), 1)
    assert (found.failed, found.ending, found.weight) == (True, Action.ABORT, 50)
    assert found.days == pytest.approx(30, abs=0.1)
    assert found.requests == pytest.approx(64.9e6, rel=0.005)
    assert found.events == "missed frauds"
    assert found.extra == pytest.approx(77_866, rel=0.005)
    assert found.money == pytest.approx(100 * 77_866, rel=0.005)


def test_labels_bound_the_steps_unless_the_plan_climbs_without_them() -> None:
    """A tenth of the traffic until labels have come, instead of half; a check of the climbing plan tells both."""
    bounded = exposed(checked(MISSED, **BLIND))
    climbing = checked(MISSED, advance_unlabelled=True, **BLIND)
    assert exposed(climbing).requests == pytest.approx(5 * bounded.requests, rel=0.03)
    assert bounded.extra is not None
    (told,) = [warning for warning in climbing.warnings if warning.startswith("advance_unlabelled")]
    assert f"without advance_unlabelled {bounded.requests:,} requests with {bounded.extra:,.0f} missed frauds" in told
    old = checked(MISSED, test=1, **BLIND)
    assert exposed(old).requests == pytest.approx(exposed(climbing).requests, rel=0.01), (
        "rollouts of the first test know no such bound"
    )


def test_labels_are_judged_when_they_have_matured() -> None:
    """The canary goes on getting requests while those that are to be judged wait for their labels."""
    (price,) = checked(MISSED, steps=(10, 100), label_maturity="30d").prices
    assert price.exposure is not None
    assert price.fails is not None
    assert price.exposure.requests - 30 * 86_400 * 5 == pytest.approx(price.fails, rel=0.05)


def test_a_rollout_that_lacks_its_shadows_stays_at_its_first_step() -> None:
    """Where a required guardrail has no pairs nothing goes on: all that is exposed is exposed there."""
    paired = replace(ERRORS, paired=True)
    without = exposed(checked(paired, MISSED, label_maturity="30d", advance_unlabelled=True), 1)
    shadowed = exposed(checked(paired, MISSED, label_maturity="30d", advance_unlabelled=True, shadow=10.0), 1)
    assert (without.weight, shadowed.weight) == (10, 50)


def test_the_price_is_about_the_mean_of_rollouts() -> None:
    """Rollouts drawn by chance are failed after as many requests as the price says, within a fifth."""
    (price,) = checked(ERRORS, steps=(50, 100), rates={Metric.ERROR_RATE: 0.01}).prices
    assert price.exposure is not None
    assert price.harm == 4
    rng, chunk, ends = np.random.default_rng(7), 40, []
    for _ in range(80):
        canary = champion = looks = 0
        while ratio_evidence([Segment(0.5, canary, champion)], 2.0, above=True, later=True) < log(1 / 0.05):
            canary, champion = canary + rng.binomial(chunk, 0.04), champion + rng.binomial(chunk, 0.01)
            looks += 1
        ends.append(chunk * looks)
    assert np.mean(ends) == pytest.approx(price.exposure.requests, rel=0.2)


@given(
    steps=st.lists(st.sampled_from([5, 10, 25, 50]), min_size=1, unique=True).map(sorted),
    bake=st.integers(0, 40),
    longer=st.none() | st.integers(1, 80),
    tens=st.integers(1, 20),
    keys=st.none() | st.integers(1, 1_000),
    undecided=st.sampled_from(["hold", "abort"]),
    passed=st.none() | st.integers(0, 200),
)
def test_a_course_goes_as_the_controller_moves_it(
    *, steps: list[int], bake: int, longer: int | None, tens: int, keys: int | None, undecided: str, passed: int | None
) -> None:
    """Asked every second, the controller advances, aborts and completes when the price says it does."""
    plan = Plan(
        [*steps, 100],
        bake_time=f"{bake}s",
        max_step_time=None if longer is None else f"{bake + longer}s",
        min_outcomes=10 * tens,
        max_canary_keys=keys,
        undecided=undecided,
    )
    found = course(plan, 20.0, passed=None if passed is None else 1_000 * passed)
    assume(found.end is None or found.end % 1_000 == 0 or ceil(found.end / 1_000) != passed)  # a second tells no order
    step = since = before = second = 0
    ended: Action | None = None
    for second in range(1_100):
        here = steps[step] // 5 * (second - since)
        status = Status.PASS if passed is not None and second >= passed else Status.INCONCLUSIVE
        judged = Judgement((Verdict(status, "", ""),), here, before + here)
        rollout = Rollout("r", 1, 2, plan, plan.weights[step], step, START + timedelta(seconds=since))
        action = next_step(rollout, judged, START + timedelta(seconds=second)).action
        if action is Action.ADVANCE:
            assert found.stays[step].until == 1_000 * second
            step, since, before = step + 1, second, before + here
        elif action in (Action.ABORT, Action.COMPLETE):
            ended = action
            break
    assert (ended, len(found.stays)) == (found.ending, step + 1)
    if found.end is not None:
        assert 1_000 * (second - 1) < found.end <= 1_000 * second, "keys are used up within a second"


def test_undecided_ends_what_no_verdict_has() -> None:
    """Where keys or time are used up before the FAIL, the exposure ends there if the plan aborts, and is told."""
    options: dict[str, Any] = {"max_canary_keys": 1_000, "undecided": "abort", **SLOWLY}
    found = checked(ERRORS, **options)
    assert (exposed(found).failed, exposed(found).ending, exposed(found).requests) == (False, Action.ABORT, 1_000)
    assert any("does not fail a canary whose harm is 4 times in time" in warning for warning in found.warnings)
    later = exposed(checked(ERRORS, **{**options, "bake_time": "0s"}))
    assert (later.ending, later.requests, later.weight) == (Action.ABORT, 1_000, 50), "in the third step"
    held = checked(ERRORS, **{**options, "undecided": "hold"})
    assert exposed(held).failed
    assert exposed(held).held_days == pytest.approx(1_000 / 5 / 86_400)
    assert any("a person is called after 3 min 20 s" in warning for warning in held.warnings)


def test_a_guardrail_that_is_not_required_stops_nothing_that_others_complete() -> None:
    """Labels that completion does not wait for come after it: the exposure ends with the completion, and is told."""
    found = checked(ERRORS, replace(MISSED, required=False), advance_unlabelled=True, label_maturity="30d")
    assert (exposed(found, 1).failed, exposed(found, 1).ending) == (False, Action.COMPLETE)
    assert found.completion_days is not None
    assert found.completion_days == exposed(found, 1).days < 1
    assert any("missed_fraud does not fail" in warning and "completes after" in warning for warning in found.warnings)
    assert any("without having seen any label" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("guardrails", "options", "warns"),
    [
        ([Guardrail(Metric.SCORE_SHIFT, margin=0.05)], {"rates": {Metric.SCORE_SHIFT: 0.01}}, "canary that is lower"),
        ([Guardrail(Metric.SCORE_SHIFT, margin=0.05)], {"rates": {Metric.SCORE_SHIFT: 0.97}}, "canary that is higher"),
        (
            [Guardrail(Metric.SCORE_SHIFT, margin=0.002, side=Side.LOWER)],
            {"rates": {Metric.SCORE_SHIFT: 0.01}},
            "score_shift never fails a canary whose harm is -0.004",
        ),
        ([Guardrail(Metric.ALERT_PRECISION, margin=0.4)], {}, "alert_precision cannot fail a canary that is lower"),
        ([Guardrail(Metric.MISSED_FRAUD, margin=3.5)], {}, "a total failure gives 4 times, and 4.5 times is tolerated"),
        ([Guardrail(Metric.ERROR_RATE, margin=2.0)], {"rates": {Metric.ERROR_RATE: 0.4}}, "and 3 times is tolerated"),
        ([Guardrail(Metric.MISSED_FRAUD, margin=0.5, limit=0.05)], {}, "a total failure gives 0.80 %"),
        ([Guardrail(Metric.MISSED_FRAUD, limit=0.01)], {}, "the limit 1.00 % of missed_fraud is never reached"),
        ([Guardrail(Metric.MISSED_FRAUD, margin=0.5, negligible=0.01)], {}, "and 5 times is tolerated"),
        ([Guardrail(Metric.ERROR_RATE, margin=1.0, paired=True)], {}, "paired, and the plan has no shadow"),
        ([MISSED], {"max_step_time": "7d", "undecided": "abort"}, "like the champion is aborted after 7 d"),
        ([MISSED], {"max_step_time": "7d"}, "like the champion waits for a person after 7 d"),
        ([ERRORS], {}, "at 50 requests/s without having seen any label"),
        ([ERRORS], {"traffic": None}, "this plan completes without having seen any label"),
        (
            [MISSED],
            {"watch": Watch(timedelta(days=7), control=5)},
            "the watch of 7d is over before labels count: missed_fraud cannot",
        ),
        ([ERRORS], {"bake_time": "30m"}, "less than a day (bake_time 30m)"),
        ([ERRORS], {"alpha_budget": 0.15}, "allows only 3 rollouts a quarter at alpha 0.05"),
    ],
)
def test_what_a_plan_cannot_see_is_called_out(guardrails: list[Guardrail], options: dict[str, Any], warns: str) -> None:
    """Guardrails that cannot fail or decide, and completions that have seen too little, are warned of."""
    found = checked(*guardrails, label_maturity="30d", **options)
    assert any(warns in warning for warning in found.warnings), found.warnings


def test_a_plan_that_sees_enough_is_left_in_peace() -> None:
    """Required labels, steps of a day, shadows for what is paired: nothing to warn of."""
    guardrails = (replace(ERRORS, paired=True), Guardrail(Metric.SCORE_SHIFT, margin=0.05), MISSED)
    found = checked(*guardrails, label_maturity="30d", shadow=10.0, **SLOWLY)
    assert found.warnings == ()
    assert found.completion_days == pytest.approx(33, abs=1)
    assert all(exposed(found, place).failed for place in range(3))


@given(
    metric=st.sampled_from(Metric),
    margin=st.floats(0.01, 0.9),
    harm=st.floats(1.1, 50),
    lower=st.booleans(),
)
def test_the_harmful_canary_lies_beyond_its_boundary(metric: Metric, margin: float, harm: float, lower: bool) -> None:
    """So many times beyond what is tolerated, the more the farther, and never beyond a total failure."""
    bound = {Metric.LATENCY: 50.0, Metric.MONEY_LOST: 500.0}.get(metric)
    side = Side.LOWER if lower and metric.row.side_is_free else None
    guardrail = Guardrail(metric, margin=margin, bound=bound, side=side)
    assumed = Assumptions(harm=harm)
    ((boundary, above),) = [each for each in assumed.tolerated(guardrail) if each[1] or guardrail.harms is Side.LOWER]
    worst, found = assumed.total_failure(guardrail, above=above), assumed.harmful(guardrail)
    full = boundary / harm if metric.relative and not above else boundary * harm
    assert found == (min(worst, full) if above else max(worst, full))


@pytest.mark.parametrize("mean", [0.05, 0.14, 0.5])
def test_a_fall_of_the_scores_fails_as_well_as_a_rise(mean: float) -> None:
    """The harmful canary of a guardrail on lower scores scores lower."""
    guardrail = Guardrail(Metric.SCORE_SHIFT, margin=0.25 * mean, side=Side.LOWER)
    (price,) = checked(guardrail, rates={Metric.SCORE_SHIFT: mean}).prices
    assert price.harm == pytest.approx(-0.5 * mean)
    assert price.fails is not None
    assert MEAN_SCORE == 0.14, "as docs/plans.md says"


def test_exploration_costs_frauds_and_buys_decisions() -> None:
    """Of 86,400 alerts a day 0.5 % are let pass, three of ten are frauds; so many fewer labels decide so much later."""
    false = Guardrail(Metric.FALSE_POSITIVES, margin=0.5)
    found = checked(ERRORS, false, label_maturity="30d", loss=200.0, explore=0.5).exploration
    assert found is not None
    assert (found.alerts, found.passed) == (86_400, 432)
    assert found.frauds == pytest.approx(129.6)
    assert found.money == pytest.approx(129.6 * 200)
    (decision,) = found.decisions
    assert decision.metric is Metric.FALSE_POSITIVES
    assert decision.explored.passes == pytest.approx(200 * (decision.reviewed.passes or 0), rel=0.1)
    assert exposed_days(decision.explored) > exposed_days(decision.reviewed) > 30
    rarely = checked(false, label_maturity="30d", fraud_rate=0.004, explore=0.5).exploration
    assert rarely is not None
    assert rarely.frauds == pytest.approx(50 * 86_400 * (0.004 - 0.002) * 0.005), "those that the champion catches"
    capped = checked(false, label_maturity="30d", loss=200.0, explore=0.5, explore_cap=50.0).exploration
    assert capped is not None
    assert capped.money == pytest.approx(129.6 * 50)
    nothing = checked(ERRORS, explore=0.5).exploration
    assert nothing is not None
    assert nothing.decisions == ()


def exposed_days(price: Any) -> float:
    """Days until the FAIL."""
    assert price.exposure.failed
    return float(price.exposure.days)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fraud_rate": 0.001}, "the champion misses 0.002"),
        ({"fraud_rate": 1.0}, "the rate of frauds is 1.0"),
        ({"loss": 0.0}, "the loss is 0.0"),
        ({"alert_cost": -1.0}, "the cost of an alert is -1.0"),
        ({"harm": 1.0}, "that is not harmful"),
        ({"harm": float("nan")}, "that is not harmful"),
        ({"explore": 0.5, "traffic": None}, "no traffic is given"),
        ({"explore": 0.0}, "not a percentage above 0"),
        ({"explore": 0.5, "explore_cap": 0.0}, "the cap is 0.0"),
        ({"rates": {Metric.SCORE_SHIFT: 1.5}}, "the rate of score_shift is 1.5"),
    ],
)
def test_what_cannot_be_assumed_is_refused(options: dict[str, Any], says: str) -> None:
    """A price of nonsense is no price: the value is named, with what to give instead."""
    with pytest.raises(ConfigError, match=says):
        checked(ERRORS, **options)
