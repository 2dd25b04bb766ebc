"""What a plan means, in words."""

from __future__ import annotations

from fds_mlflow.core.judge.harm import boundaries
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.plan import COVERAGE_ALPHA, SRM_ALPHA, Plan, Undecided
from fds_mlflow.core.text.duration import from_duration
from fds_mlflow.core.text.numbers import percent


def words_of(plan: Plan) -> list[str]:
    """What a plan means, one sentence each."""
    steps = ", ".join(f"{step:g}" for step in plan.steps if step < 100)
    made = [f"The canary gets {steps} % of the traffic, and then becomes champion." if steps else "No step."]
    if plan.shadow:
        made.append(
            f"It scores {plan.shadow:g} % of the champion's requests as well, and is judged by those pairs too."
        )
    each = ", ".join(_tolerated(guardrail) for guardrail in plan.guardrails)
    made.append(f"It fails when it is shown to be harmful: {each}.")
    made.append(
        f"A good canary is ever failed with a chance of at most {percent(plan.alpha)}: {percent(plan.alpha_each)} for"
        f" each of {len(plan.guardrails)} guardrails, however often somebody looks. On top of it the split is called"
        f" broken by chance in at most {percent(SRM_ALPHA)} of the rollouts"
        + (f", and the labels' coverage in {percent(COVERAGE_ALPHA)}" if plan.label_maturity else "")
        + ": then a person looks."
    )
    if plan.segments is not None:
        named = ", ".join(plan.segments.weights)
        made.append(
            f"{percent(plan.segments.share)} of alpha is for harm in one {plan.segments.column} alone, by the same"
            f" guardrails: {named}, each with its part."
        )
    bake = f" and {from_duration(plan.bake_time)}" if plan.bake_time else ""
    made.append(
        f"A step goes on without a FAIL after {plan.min_outcomes:,} outcomes{bake}; completion needs the PASS of"
        f" {', '.join(g.metric.value for g in plan.guardrails if g.required) or 'nothing: no guardrail is required'}."
    )
    what = "waits for a person" if plan.undecided is Undecided.HOLD else "is aborted"
    for limit, name in (
        (plan.max_step_time and from_duration(plan.max_step_time), "in one step"),
        (plan.max_canary_keys and f"{plan.max_canary_keys:,} keys", "with the canary"),
    ):
        if limit:
            made.append(f"Undecided after {limit} {name}, it {what}.")
    if plan.test > 1:
        then = "waits for a person" if plan.silent_canary is Undecided.HOLD else "is aborted"
        made.append(f"A canary that has traffic and no outcome {then}.")
    if plan.gated:
        made.append(f"At {', '.join(f'{gate:g} %' for gate in plan.gates)} it waits for a person in any case.")
    if plan.label_maturity:
        made.append(f"Labels count {from_duration(plan.label_maturity)} after their transaction.")
    if plan.test > 1 and any(guardrail.metric.needs_labels for guardrail in plan.guardrails):
        made.append(
            "It goes on from step to step before any label has come (advance_unlabelled)."
            if plan.advance_unlabelled
            else f"It stays at {plan.steps[0]:g} % until labels of {plan.min_outcomes:,} of the canary's keys count."
        )
    if plan.watch:
        after = "and is rolled back to by itself" if plan.watch.rollback else "and nothing is rolled back by itself"
        made.append(
            f"After the completion the former champion keeps {plan.watch.control:g} % for"
            f" {from_duration(plan.watch.duration)} as a control, {after} if the new one is worse."
        )
    return made


def _tolerated(guardrail: Guardrail) -> str:
    metric, row = guardrail.metric, guardrail.row
    bound = f" ({row.describe_bound(guardrail.bound)})" if row.bounded else ""
    parts = [row.describe_harm(boundary) for boundary, _ in boundaries(guardrail)]
    said = f"{metric.words}{f' {row.column}' if guardrail.quantile is not None else ''}{bound}"
    if parts:
        said += f" beyond {' or '.join(parts)}" + (" the champion's" if guardrail.relative else "")
    if guardrail.negligible is not None:
        said += f" unless below {row.describe(guardrail.negligible)}"
    if guardrail.limit is not None:
        said += f"{' or' if parts else ''} above {row.describe(guardrail.limit)}"
    return said + (" (paired)" if guardrail.paired else "")
