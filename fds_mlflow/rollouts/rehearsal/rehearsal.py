"""A rollout rehearsed before the release: labelled history replayed many times under one plan.

Both versions have scored the history once. Each replay is a rollout with a fresh id, so that the routing hash assigns
the same requests anew, and goes through the real judge and controller. Three questions are asked:

- What would become of this canary: how long does each step take, how likely is completion, how much money is at risk?
- How likely is a false abort: the same plan with the champion as its own canary?
- Which regression is caught: the champion with more of one kind of harm, and with nothing else changed?
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.text.checks import check_seed
from fds_mlflow.core.weight import to_percent
from fds_mlflow.errors import DataError
from fds_mlflow.rollouts.rehearsal.cell import Arm
from fds_mlflow.rollouts.rehearsal.history import Columns, read_history
from fds_mlflow.rollouts.rehearsal.regressions import injectable, ratios, worse
from fds_mlflow.rollouts.rehearsal.replay import Course, Traffic
from fds_mlflow.rollouts.rehearsal.stage import Progress, ReplayCounter, Stage, fewer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CAUGHT", "Catch", "Columns", "Rehearsal", "StepTime", "rehearse"]

CAUGHT = 0.9
"""Share of replays in which a regression must be aborted to count as caught."""


@dataclass(frozen=True)
class StepTime:
    """How long one step takes.

    Attributes:
        percent: Its weight.
        reached: Share of the replays that reached it.
        through: Share of the replays that came through it: to the next step, or to the completion.
        days: Median of its length in those, in days; None where no replay came through it.
        days_90: 90th percentile of its length, in days.
        requests: Median of the canary's requests in it.
    """

    percent: float
    reached: float
    through: float
    days: float | None
    days_90: float | None
    requests: float | None


@dataclass(frozen=True)
class Catch:
    """Which regression one guardrail catches.

    Attributes:
        metric: The guardrail's metric.
        caught: Share of the replays that were aborted, by how much more harm was injected.
        smallest: The smallest of those ratios that is caught in 90 % of the replays; None if none is.
        requests: Median of the canary requests until the abort at that ratio.
        days: Median of the days until the abort.
        lost: Mean of the money that missed frauds took through the canary until the abort, beyond what the champion
            would have missed.
    """

    metric: Metric
    caught: Mapping[float, float]
    smallest: float | None
    requests: float | None
    days: float | None
    lost: float | None


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal found.

    Attributes:
        plan: As it was replayed.
        replays: Rollouts replayed per question.
        rows: Requests of the history.
        days: Its length.
        fraud_rate: Share of frauds among the labelled requests; None where none is labelled.
        alert_rates: Share of requests that champion and canary flag.
        outcomes: Share of the replays of this canary by how they ended.
        causes: Share of the replays that were aborted or held, by the check that decided.
        days_to_end: Median of the days until the end.
        lost: Mean of the money that missed frauds took through the canary, and of what they would have taken from the
            champion in its place.
        false_abort: Share of the replays in which the champion as its own canary was aborted.
        false_abort_error: Standard error of that share.
        completes: Share of these replays that completed.
        steps: How long each step took this canary.
        catches: One per guardrail whose harm can be injected, from half as many replays.
        left_out: Guardrails that a history cannot tell anything about.
    """

    plan: Plan
    replays: int
    rows: int
    days: float
    fraud_rate: float | None
    alert_rates: tuple[float, float]
    outcomes: Mapping[Action, float]
    causes: Mapping[str, float]
    days_to_end: float
    lost: tuple[float, float] | None
    false_abort: float
    false_abort_error: float
    completes: float
    steps: tuple[StepTime, ...]
    catches: tuple[Catch, ...]
    left_out: tuple[str, ...]


def rehearse(
    history: pd.DataFrame,
    plan: Plan,
    thresholds: tuple[float, float],
    *,
    columns: Columns | None = None,
    replays: int = 200,
    looks: int = 20,
    horizon: float = 3.0,
    error_rate: float = 0.001,
    seed: int = 42,
    progress: Progress | None = None,
) -> Rehearsal:
    """Rehearse a rollout on labelled history.

    Args:
        history: One row per request, scored by both versions.
        plan: The plan. Gates are taken as open; a latency guardrail is left out, since no history tells latencies.
        thresholds: The champion's and the canary's.
        columns: Names of the columns.
        replays: Rollouts per question, at least 20.
        looks: How often a rollout is looked at while the history is played once.
        horizon: After how many histories an undecided rollout is left.
        error_rate: Share of requests that fail with either version.
        seed: Seed of everything random.
        progress: Called with how many replays are done, and of how many.

    Raises:
        ConfigError: The seed is out of range.
        DataError: A column is missing or holds what it should not, or there are too few rows.
    """
    check_seed(seed)
    random = np.random.default_rng(seed)
    needs_labels = any(guardrail.metric.needs_labels for guardrail in plan.guardrails)
    traffic, arms = read_history(history, columns or Columns(), thresholds, looks, needs_labels=needs_labels)
    errors = random.random(traffic.rows) < error_rate
    champion, canary = (replace(arm, errors=errors) for arm in arms)
    replayed, left_out = _replayable(plan)
    stage = Stage(traffic, champion, horizon * traffic.span, seed, ReplayCounter(replays, replayed, progress))
    mine, same = (stage.play(arm, replayed, replays) for arm in (canary, champion))
    catches = tuple(_catch(stage, g, replayed, fewer(replays), random) for g in injectable(replayed))
    false_abort = _share(same, lambda course: course.action is Action.ABORT)
    return Rehearsal(
        plan=replayed,
        replays=replays,
        rows=traffic.rows,
        days=traffic.span / 86_400,
        fraud_rate=_fraud_rate(champion),
        alert_rates=(float(champion.flagged.mean()), float(canary.flagged.mean())),
        outcomes=_shares(course.action for course in mine),
        causes=_shares_of(mine),
        days_to_end=_median([course.seconds for course in mine]) / 86_400,
        lost=_lost(mine, champion, traffic) if champion.prices_frauds else None,
        false_abort=false_abort,
        false_abort_error=float(np.sqrt(false_abort * (1 - false_abort) / replays)),
        completes=_share(same, lambda course: course.action is Action.COMPLETE),
        steps=_steps(mine, replayed),
        catches=catches,
        left_out=left_out,
    )


def _fraud_rate(arm: Arm) -> float | None:
    known = arm.labels[arm.labels >= 0]
    return float(known.mean()) if len(known) else None


def _lost(courses: Sequence[Course], champion: Arm, traffic: Traffic) -> tuple[float, float]:
    """Money that frauds took through the canary, and would have taken from the champion: means over the replays."""
    ours = float(np.mean([course.lost for course in courses]))
    return ours, _per_request(champion, traffic) * float(np.mean([course.requests for course in courses]))


def _per_request(champion: Arm, traffic: Traffic) -> float:
    """Money that missed frauds take from the champion per request."""
    return float(champion.amounts[champion.missed].sum()) / traffic.rows


def _replayable(plan: Plan) -> tuple[Plan, tuple[str, ...]]:
    """The plan without what a history tells nothing about; what each guardrail may spend stays the same."""
    kept = [guardrail for guardrail in plan.guardrails if guardrail.metric is not Metric.LATENCY]
    left_out = tuple(g.metric.value for g in plan.guardrails if g.metric is Metric.LATENCY)
    if not kept:
        raise DataError("the plan has no guardrail that a history tells anything about", fix="add one besides latency")
    return _with(plan, kept), left_out


def _with(plan: Plan, guardrails: Sequence[Guardrail]) -> Plan:
    """The plan with some of its guardrails, each at the alpha it had, and without gates and watch."""
    return Plan(
        plan.steps,
        guardrails=guardrails,
        alpha=plan.alpha_each * len(guardrails),
        min_outcomes=plan.min_outcomes,
        bake_time=plan.bake_time,
        max_step_time=plan.max_step_time,
        undecided=plan.undecided,
        label_maturity=plan.label_maturity if any(g.metric.needs_labels for g in guardrails) else None,
        max_canary_keys=plan.max_canary_keys,
    )


def _catch(stage: Stage, guardrail: Guardrail, plan: Plan, replays: int, random: np.random.Generator) -> Catch:
    """Regressions of one guardrail, the smallest first, until one is caught: it judges alone, at its share of alpha."""
    alone = _with(plan, [replace(guardrail, required=True)])
    caught: dict[float, float] = {}
    aborted: list[Course] = []
    smallest = None
    for ratio in ratios(guardrail):
        arm = worse(stage.champion, guardrail.metric, ratio, random) if smallest is None else None
        if arm is None:
            stage.counter.step(replays)
            continue
        courses = stage.play(arm, alone, replays)
        caught[ratio] = _share(courses, lambda course: course.action is Action.ABORT)
        if caught[ratio] >= CAUGHT:
            smallest, aborted = ratio, [course for course in courses if course.action is Action.ABORT]
    champion = stage.champion
    per_request = _per_request(champion, stage.traffic)
    counts_money = guardrail.metric in (Metric.MISSED_FRAUD, Metric.MONEY_LOST) and champion.prices_frauds
    return Catch(
        metric=guardrail.metric,
        caught=caught,
        smallest=smallest,
        requests=_median([course.requests for course in aborted]) if aborted else None,
        days=_median([course.seconds for course in aborted]) / 86_400 if aborted else None,
        lost=float(np.mean([course.lost - per_request * course.requests for course in aborted]))
        if aborted and counts_money
        else None,
    )


def _steps(courses: Sequence[Course], plan: Plan) -> tuple[StepTime, ...]:
    made = []
    for weight in plan.weights:
        reached = [step for course in courses for step in course.steps if step.weight == weight]
        through = [
            step
            for course in courses
            for step in (course.steps if course.action is Action.COMPLETE else course.steps[:-1])
            if step.weight == weight
        ]
        days = [step.seconds / 86_400 for step in through]
        made.append(
            StepTime(
                percent=to_percent(weight),
                reached=len(reached) / len(courses),
                through=len(through) / len(courses),
                days=_median(days) if days else None,
                days_90=float(np.quantile(days, 0.9)) if days else None,
                requests=_median([step.requests for step in through]) if through else None,
            )
        )
    return tuple(step for step in made if step.percent < 100)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))


def _share(courses: Sequence[Course], holds: Callable[[Course], bool]) -> float:
    return sum(map(holds, courses)) / len(courses)


def _shares(values: Iterable[Action]) -> dict[Action, float]:
    counted = Counter(values)
    return {action: count / counted.total() for action, count in counted.most_common()}


def _shares_of(courses: Sequence[Course]) -> dict[str, float]:
    counted = Counter(course.check for course in courses if course.action in (Action.ABORT, Action.HOLD))
    return {check: count / len(courses) for check, count in counted.most_common()}
