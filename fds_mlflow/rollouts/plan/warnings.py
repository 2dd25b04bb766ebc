"""What a plan can never do, or not in the given time, and what goes on in it unseen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from math import floor

from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.plan import Plan, Undecided
from fds_mlflow.core.text.duration import describe_duration, from_duration
from fds_mlflow.core.text.numbers import percent
from fds_mlflow.core.weight import FULL
from fds_mlflow.rollouts.plan.expected import Assumptions
from fds_mlflow.rollouts.plan.exposure import Course, Exposure, exposure, good_course
from fds_mlflow.rollouts.plan.price import Price

_CYCLE = timedelta(days=1)
"""What traffic repeats: a step that is shorter has not seen night and day."""


def warnings_of(plan: Plan, prices: Sequence[Price], assumed: Assumptions, good: Course | None) -> Iterator[str]:
    """What to know before such a rollout starts, one sentence each.

    Args:
        plan: The plan.
        prices: One per guardrail, in their order.
        assumed: What is assumed of the traffic.
        good: How the rollout of a canary like the champion goes; None without traffic.
    """
    if plan.weights[0] == FULL:
        yield "there is no step below 100 %, so nothing is ever compared and nothing can pass"
    yield from _of_time(plan)
    yield from _of_the_end(plan, assumed, good)
    for guardrail, price in zip(plan.guardrails, prices, strict=True):
        unreachable = list(_unreachable(guardrail, assumed))
        yield from unreachable
        yield from _of_passing(plan, price)
        if price.fails is not None:
            yield from _of_failing(plan, guardrail, price)
        elif not unreachable:
            yield f"{price.metric} never fails a canary whose harm is {price.row.describe_harm(price.harm)}"
    yield from _of_climbing(plan, prices, assumed)


def _of_time(plan: Plan) -> Iterator[str]:
    longest = plan.max_step_time
    if longest is not None and plan.label_maturity is not None and longest <= plan.label_maturity:
        yield (
            f"a step lasts at most {from_duration(longest)}, and labels count only after"
            f" {from_duration(plan.label_maturity)}: what waits for labels cannot pass in the first step"
        )
    if plan.bake_time < _CYCLE:
        yield (
            f"a step may be over in less than a day (bake_time {from_duration(plan.bake_time)}), before it has seen"
            " night and day: write bake_time: 24h"
        )
    late = [guardrail.metric.value for guardrail in plan.guardrails if guardrail.metric.needs_labels]
    if (
        plan.watch is not None
        and plan.label_maturity is not None
        and plan.watch.duration <= plan.label_maturity
        and late
    ):
        yield (
            f"the watch of {from_duration(plan.watch.duration)} is over before labels count: {', '.join(late)} cannot"
            " fail in it"
        )
    if plan.alpha_budget is not None:
        rollouts = floor(plan.alpha_budget / plan.alpha + 1e-9)
        yield (
            f"the alpha_budget {plan.alpha_budget:g} allows only {rollouts} rollouts a quarter at alpha {plan.alpha:g}"
        )


def _of_the_end(plan: Plan, assumed: Assumptions, good: Course | None) -> Iterator[str]:
    """How a rollout ends whose canary is like the champion."""
    by_labels = [guardrail for guardrail in plan.guardrails if guardrail.metric.needs_labels]
    waits = any(guardrail.required for guardrail in by_labels) or (by_labels and not plan.advance_unlabelled)
    ending, end = (None, None) if good is None else (good.ending, good.end)
    if not waits and (good is None or ending is Action.COMPLETE):
        when = "" if end is None else f" after about {_lasts(end)} at {assumed.traffic:g} requests/s"
        yield (
            f"this plan completes{when} without having seen any label: require a guardrail that needs labels, such as"
            " missed_fraud"
        )
    if ending is Action.ABORT and end is not None:
        yield f"a canary like the champion is aborted after {_lasts(end)}, before all that is required has passed"
    elif good is not None and good.held is not None:
        yield f"a canary like the champion waits for a person after {_lasts(good.held)}"


def _unreachable(guardrail: Guardrail, assumed: Assumptions) -> Iterator[str]:
    """Boundaries beyond which even a canary that fails wholly does not come."""
    metric, row = guardrail.metric, guardrail.row
    of = (percent if not row.difference else row.describe)(assumed.rates[metric])
    if guardrail.quantile is not None:
        of = f"{1 - guardrail.quantile:.2g} beyond its quantile"
    tolerated = assumed.tolerated(guardrail)
    for place, (boundary, above) in enumerate(tolerated):
        worst = assumed.total_failure(guardrail, above=above)
        if worst > boundary if above else worst < boundary:
            continue
        if guardrail.limit is not None and place == len(tolerated) - 1:
            yield (
                f"the limit {row.describe(guardrail.limit)} of {metric} is never reached: a total failure gives"
                f" {row.describe(worst * assumed.rates[metric])}"
            )
        else:
            yield (
                f"{metric} cannot fail a canary that is {'higher' if above else 'lower'}: where the champion has {of},"
                f" a total failure gives {row.describe_harm(worst)}, and {row.describe_harm(boundary)} is"
                " tolerated"
            )


def _of_passing(plan: Plan, price: Price) -> Iterator[str]:
    if price.passes is None:
        if price.required:
            yield f"{price.metric} never passes at the assumed rate: completion will need a person"
    elif price.required and plan.max_canary_keys is not None and price.passes > plan.max_canary_keys:
        yield (
            f"{price.metric} passes after about {price.passes:,} canary requests, and only"
            f" {plan.max_canary_keys:,} keys may meet the canary"
        )
    longest = plan.max_step_time
    if price.required and longest is not None and price.pass_days is not None:
        allowed = longest / timedelta(days=1) * len([weight for weight in plan.weights if weight < FULL])
        if price.pass_days > allowed:
            yield (
                f"{price.metric} passes after about {price.pass_days:.1f} days, and all steps together last at most"
                f" {allowed:.1f}"
            )


def _of_failing(plan: Plan, guardrail: Guardrail, price: Price) -> Iterator[str]:
    """What keeps a harmful canary from its FAIL, or puts it off."""
    if guardrail.paired and not plan.shadow:
        yield (
            f"{price.metric} is paired, and the plan has no shadow: unless servers bring their own (--shadow), it never"
            " decides; write shadow: 10"
        )
        return
    found = price.exposure
    if found is None:
        return
    such = f"a canary whose harm is {price.row.describe_harm(price.harm)}"
    when = describe_duration(timedelta(days=found.days))
    if not found.failed:
        ends = "completes" if found.ending is Action.COMPLETE else "is aborted undecided"
        yield f"{price.metric} does not fail {such} in time: the rollout {ends} after about {when}"
    elif found.held_days is not None and plan.undecided is Undecided.HOLD:
        held = describe_duration(timedelta(days=found.held_days))
        yield f"{price.metric} fails {such} only after about {when}, and a person is called after {held}"


def _of_climbing(plan: Plan, prices: Iterable[Price], assumed: Assumptions) -> Iterator[str]:
    """What it costs to go on without labels."""
    if not plan.advance_unlabelled or plan.test == 1:
        return
    waiting = [
        (guardrail, price, price.exposure)
        for guardrail, price in zip(plan.guardrails, prices, strict=True)
        if guardrail.metric.needs_labels and price.exposure is not None and price.exposure.failed
    ]
    good = good_course(Plan.from_dict({**plan.to_dict(), "advance_unlabelled": False}), assumed)
    if not waiting or good is None:
        return
    guardrail, price, found = max(waiting, key=lambda each: each[2].requests)
    there = exposure(good, guardrail, assumed)
    such = f"a canary whose harm is {price.row.describe_harm(price.harm)}"
    yield (
        f"advance_unlabelled: until {price.metric} fails, {such} gets {_taken(found)}"
        + ("" if there is None else f"; without advance_unlabelled {_taken(there)}")
    )


def _taken(found: Exposure) -> str:
    extra = "" if found.extra is None else f" with {found.extra:,.0f} {found.events} too many"
    return f"{found.requests:,} requests{extra}"


def _lasts(milliseconds: int) -> str:
    return describe_duration(timedelta(milliseconds=milliseconds))
