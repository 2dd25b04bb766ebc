"""What a rollout exposes to a harmful canary until it is stopped: requests, days, harm and money.

The rollout goes through its steps as the controller moves it, and the judge is asked about the counts that are to be
expected by then. So it is about the mean over many rollouts, and about somebody who looks all the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil, floor

from fds_mlflow.core.lifecycle.controller import Action, next_step
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.lifecycle.verdict import Judgement, Status, Verdict
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.statistics.search import smallest
from fds_mlflow.core.text.duration import LONGEST
from fds_mlflow.core.weight import FULL, to_percent
from fds_mlflow.rollouts.plan.expected import START, Assumptions, Question, Seen

DAY = 86_400_000
"""Milliseconds."""

_ENDLESS = LONGEST // timedelta(milliseconds=1)
_AFTER = frozenset({Action.ADVANCE, Action.COMPLETE, Action.ABORT})


@dataclass(frozen=True)
class Exposure:
    """What is exposed to the harmful canary of one guardrail, until that fails, or the rollout ends without it.

    Attributes:
        failed: Whether its FAIL ends the rollout.
        ending: How it ends: an abort, be it by the FAIL or undecided, or the completion.
        days: How long the rollout takes until then.
        weight: The canary's share of the traffic then, in percent.
        requests: Requests that the canary has got until then.
        held_days: When it begins to wait for a person, who might end it; None if it never does.
        events: What the harm is counted in; None where it is none that can be counted.
        extra: How many more of them there are to be expected than the champion would have had.
        money: What these take; None where nobody says what one takes.
    """

    failed: bool
    ending: Action
    days: float
    weight: float
    requests: int
    held_days: float | None
    events: str | None
    extra: float | None
    money: float | None


@dataclass(frozen=True)
class Stay:
    """How long the canary has one weight, in milliseconds since the rollout began; `until` None for as long as may be.

    Attributes:
        step: The step.
        weight: In basis points.
        since: The first one.
        until: The last one.
    """

    step: int
    weight: int
    since: int
    until: int | None

    def lasted(self, time: int) -> int:
        """How much of it has passed at a time."""
        return max(0, (time if self.until is None else min(time, self.until)) - self.since)


@dataclass(frozen=True)
class Course:
    """How a rollout goes that nothing fails.

    Attributes:
        plan: Its plan.
        traffic: Requests per millisecond.
        stays: Its steps below 100 %; the last one has no end.
        ending: How it ends by itself; None if it does not.
        end: When.
        held: When it begins to wait for a person; None if it never does.
    """

    plan: Plan
    traffic: float
    stays: tuple[Stay, ...]
    ending: Action | None = None
    end: int | None = None
    held: int | None = None

    def rate(self, stay: Stay) -> float:
        """Requests per millisecond that the canary gets."""
        return self.traffic * stay.weight / FULL

    def shadows(self, stay: Stay) -> float:
        """Requests per millisecond of the champion that the canary scores as well."""
        return (self.traffic - self.rate(stay)) * self.plan.shadow / 100

    def requests(self, time: int) -> float:
        """Requests that the canary has got by then."""
        return sum(self.rate(stay) * stay.lasted(time) for stay in self.stays)

    def seen(self, time: int, metric: Metric) -> list[Seen]:
        """What a metric can be judged by at a time."""
        time -= self._delay(metric)
        lasted = [(stay, stay.lasted(time)) for stay in self.stays]
        return [Seen(s.step, s.weight, self.rate(s) * passed, self.shadows(s) * passed) for s, passed in lasted]

    def until(self, question: Question, status: Status) -> int | None:
        """When the judge says so first; None for never, and for long after the end."""
        first = self._delay(question.metric)
        most = _ENDLESS if self.end is None else 2 * self.end

        def reached(time: int) -> bool:
            return question.answer(self.seen(first + time, question.metric)) is status

        found = smallest(reached, most=most, start=1_024, precision=0.005) if self.stays else None
        return None if found is None else first + found

    def _delay(self, metric: Metric) -> int:
        """How long after a request it is known."""
        return (self.plan.label_maturity or timedelta(0)) // timedelta(milliseconds=1) if metric.needs_labels else 0


def course(plan: Plan, traffic: float, *, passed: int | None = None) -> Course:
    """How a rollout goes that nothing fails. Its gates are open.

    Args:
        plan: Its plan.
        traffic: Requests per second, both variants together.
        passed: When everything that is required has passed, in milliseconds; None for never.
    """
    open_plan = Plan.from_dict({**plan.to_dict(), "gates": (), "test": plan.test})
    made = Course(plan, traffic / 1_000, ())
    now = 0
    for step, weight in enumerate(weight for weight in plan.weights if weight < FULL):
        rollout = Rollout("check", 1, 2, open_plan, weight, step, START + timedelta(milliseconds=now))
        made = replace(made, stays=(*made.stays, Stay(step, weight, now, None)))
        for time in _moments(made, passed):
            action = next_step(rollout, _judgement(made, time, passed), START + timedelta(milliseconds=time)).action
            if action is Action.HOLD and made.held is None:
                made = replace(made, held=time)
            if action in _AFTER:
                break
        else:
            return made
        if action is not Action.ADVANCE:
            return replace(made, ending=action, end=time)
        made = replace(made, stays=(*made.stays[:-1], replace(made.stays[-1], until=time)))
        now = time
    return made


def _moments(known: Course, passed: int | None) -> Iterator[int]:
    """When what the controller asks for in the last stay may change, in order."""
    plan, stay = known.plan, known.stays[-1]
    rate, scored = known.rate(stay), _scored(known, stay)
    found = [stay.since, stay.since + plan.bake_time // timedelta(milliseconds=1)]
    found += [stay.since + ceil(plan.min_outcomes / scored)] if scored else []
    if rate and plan.max_canary_keys:
        found.append(stay.since + ceil((plan.max_canary_keys - known.requests(stay.since)) / rate))
    found += [stay.since + plan.max_step_time // timedelta(milliseconds=1)] if plan.max_step_time else []
    found += [time for time in (passed, _first_labels(known)) if time is not None]
    return iter(sorted(time for time in set(found) if stay.since <= time <= _ENDLESS))


def _judgement(known: Course, time: int, passed: int | None) -> Judgement:
    """What the judge says in the last stay of a canary that does not fail."""
    plan, stay = known.plan, known.stays[-1]
    blind = any(g.paired and g.required for g in plan.guardrails) and not plan.shadow
    status = Status.PASS if passed is not None and time >= passed else Status.INCONCLUSIVE
    keys = floor(known.requests(time) * (1 + 1e-9))
    here = floor(_scored(known, stay) * stay.lasted(time) * (1 + 1e-9))
    matured = 0
    if plan.label_maturity is not None:
        matured = floor(known.requests(time - plan.label_maturity // timedelta(milliseconds=1)) * (1 + 1e-9))
    outcomes = min(here, keys) if stay.weight else here
    return Judgement((Verdict(Status.NODATA if blind else status, "", ""),), outcomes, keys, matured)


def _scored(known: Course, stay: Stay) -> float:
    """What counts as outcomes per millisecond: of a step of shadows alone, those."""
    return known.rate(stay) if stay.weight else known.shadows(stay)


def _first_labels(known: Course) -> int | None:
    """When the first step may end that must see labels; None where no step must."""
    plan = known.plan
    if plan.test == 1 or plan.advance_unlabelled or plan.label_maturity is None:
        return None
    if not any(guardrail.metric.needs_labels for guardrail in plan.guardrails):
        return None
    first = next((stay for stay in known.stays if stay.weight), None)
    if first is None:
        return None  # a step of shadows alone
    since = first.since + plan.label_maturity // timedelta(milliseconds=1)
    return since + ceil(plan.min_outcomes / known.rate(first))


def good_course(plan: Plan, assumed: Assumptions) -> Course | None:
    """How a rollout goes whose canary is like the champion.

    Args:
        plan: Its plan.
        assumed: What is assumed of the traffic.

    Returns:
        None without traffic, or without a step at which both versions get some.
    """
    if assumed.traffic is None or not any(0 < weight < FULL for weight in plan.weights):
        return None
    plain = course(plan, assumed.traffic)
    required = [guardrail for guardrail in plan.guardrails if guardrail.required]
    times = [plain.until(Question.of(plan, guardrail, assumed), Status.PASS) for guardrail in required]
    known = [time for time in times if time is not None]
    return course(plan, assumed.traffic, passed=max(known, default=0)) if len(known) == len(times) else plain


def exposure(good: Course, guardrail: Guardrail, assumed: Assumptions, reviewed: float = 1.0) -> Exposure | None:
    """What a harmful canary is given until its guardrail fails, or the rollout ends without.

    Args:
        good: How the rollout of a canary like the champion goes.
        guardrail: One of its plan's guardrails.
        assumed: What is assumed of the traffic.
        reviewed: Share of the alerts that get a label.

    Returns:
        None if neither ever comes.
    """
    harm = assumed.harmful(guardrail)
    taken = course(good.plan, good.traffic * 1_000) if guardrail.required else good  # what is required has not passed
    fails = taken.until(Question.of(good.plan, guardrail, assumed, harm, reviewed), Status.FAIL)
    failed = fails is not None and (taken.end is None or fails <= taken.end)
    end = fails if failed else taken.end
    if end is None:
        return None
    requests = taken.requests(end)
    events, extra, money = _harm_done(guardrail, assumed, harm, requests)
    return Exposure(
        failed=failed,
        ending=Action.ABORT if failed or taken.ending is None else taken.ending,
        days=end / DAY,
        weight=to_percent(next(stay.weight for stay in reversed(taken.stays) if stay.since <= end)),
        requests=round(requests),
        held_days=taken.held / DAY if taken.held is not None and taken.held < end else None,
        events=events,
        extra=extra,
        money=money,
    )


_EVENTS = {
    Metric.ERROR_RATE: "errors",
    Metric.ALERT_RATE: "alerts",
    Metric.LATENCY: "slow requests",
    Metric.MISSED_FRAUD: "missed frauds",
    Metric.FALSE_POSITIVES: "false alerts",
    Metric.ALERT_PRECISION: "false alerts",
    Metric.MONEY_LOST: "missed frauds",
}


def _harm_done(
    guardrail: Guardrail, assumed: Assumptions, harm: float, requests: float
) -> tuple[str | None, float | None, float | None]:
    """What the harm is counted in, how many more of them than the champion's, and the money these take."""
    metric, rate = guardrail.metric, assumed.rates[guardrail.metric]
    events = _EVENTS.get(metric)
    if events is None or guardrail.quantile is not None:
        return None, None, None
    share = rate * (harm - 1) if metric.relative else -harm * assumed.rates[Metric.ALERT_RATE]
    price = {"missed frauds": assumed.loss, "false alerts": assumed.alert_cost, "alerts": assumed.alert_cost}.get(
        events
    )
    return events, share * requests, None if price is None else share * requests * price
