"""State + judgement + time -> the next step of a rollout. It decides; the caller applies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.lifecycle.verdict import Judgement, Status
from fds_mlflow.core.plan.plan import Undecided
from fds_mlflow.core.text.duration import from_duration
from fds_mlflow.core.weight import to_percent


class Action(StrEnum):
    """What may be done with a rollout next."""

    WAIT = "wait"
    ADVANCE = "advance"
    COMPLETE = "complete"
    ABORT = "abort"
    HOLD = "hold"
    """A person must decide; nothing goes on by itself."""
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Recommendation:
    """What the controller would do, and why.

    Attributes:
        action: The next step.
        reason: One sentence that repeats the verdict's numbers.
    """

    action: Action
    reason: str


_UNDECIDED: Mapping[Undecided, Action] = {Undecided.HOLD: Action.HOLD, Undecided.ABORT: Action.ABORT}

_MAY_ADVANCE = frozenset({Status.PASS, Status.INCONCLUSIVE})
"""What an intermediate step may advance with: it bounds the exposure. Completion needs PASS."""


def next_step(rollout: Rollout, judgement: Judgement, now: datetime) -> Recommendation:
    """What to do with an active rollout.

    FAIL aborts, and so does a canary without outcomes unless the plan holds it. PASS of everything that is required
    completes at the last step below 100 %; before it a step goes on without a FAIL after its minimum evidence, matured
    labels among it where a guardrail needs them, and its bake time. NODATA and ERROR never move a rollout forward. When
    the step's time or the canary's keys are used up, what the plan says for "undecided" follows: hold or abort, never
    promote. A paused rollout goes on by nothing and ends by harm alone: a FAIL, or a canary that never answers.

    Args:
        rollout: The active rollout.
        judgement: Of the evidence as it is now.
        now: The time, UTC.
    """
    action, why = _watched(rollout, judgement, now) if rollout.is_watch else _decided(rollout, judgement, now)
    harmed = judgement.overall.status is Status.FAIL or (judgement.silent and not rollout.is_watch)
    if rollout.paused is not None and not harmed:
        action, why = Action.HOLD, f": it is paused since {rollout.paused:%Y-%m-%d %H:%M} UTC"
    overall = judgement.overall
    return Recommendation(action, f"{_describe(action, rollout)}{why} ({overall.status}: {overall.reason})")


def _decided(rollout: Rollout, judgement: Judgement, now: datetime) -> tuple[Action, str]:
    plan, status = rollout.plan, judgement.overall.status
    if status is Status.FAIL:
        return Action.ABORT, ""
    rule, why = plan.silent_canary, judgement.silent
    if not why and status is not Status.PASS:
        rule, why = plan.undecided, _used_up(rollout, judgement)
    if why:
        return _UNDECIDED[rule], f": {why}"
    missing = _not_yet(rollout, judgement, now)
    needed = (Status.PASS,) if rollout.can_complete else _MAY_ADVANCE
    if not missing and status in needed:
        return _forward(rollout)
    over = _over(rollout, now)
    if over:
        return _UNDECIDED[plan.undecided], f": {over}"
    if status is Status.ERROR:
        return Action.HOLD, ": the evidence is broken"
    return Action.WAIT, f": {missing}" if missing else ""


def _forward(rollout: Rollout) -> tuple[Action, str]:
    if rollout.weight in rollout.plan.gated:
        return Action.HOLD, f": the gate at {to_percent(rollout.weight):g} % waits for a person"
    return (Action.COMPLETE if rollout.can_complete else Action.ADVANCE), ""


def _watched(rollout: Rollout, judgement: Judgement, now: datetime) -> tuple[Action, str]:
    """A watch ends by itself; the champion goes only if the plan lets it."""
    watch = rollout.plan.watch
    if judgement.overall.status is Status.FAIL:
        if watch is not None and watch.rollback:
            return Action.ROLLBACK, ": the champion is worse than its control"
        return Action.HOLD, ": the champion is worse than its control"
    over = _over(rollout, now)
    return (Action.ABORT, f": the watch is over, {over}") if over else (Action.WAIT, "")


def _not_yet(rollout: Rollout, judgement: Judgement, now: datetime) -> str:
    """What the step still asks for before anything may go on; empty if nothing."""
    plan = rollout.plan
    if judgement.outcomes < plan.min_outcomes:
        return f"{judgement.outcomes:,} outcomes in this step < {plan.min_outcomes:,} needed"
    if _blind(rollout) and judgement.matured < plan.min_outcomes:
        return f"{judgement.matured:,} labels of the canary's keys have matured < {plan.min_outcomes:,} needed"
    passed = now - rollout.since
    if passed < plan.bake_time:
        return f"{from_duration(passed)} in this step < {from_duration(plan.bake_time)} to bake"
    return ""


def _blind(rollout: Rollout) -> bool:
    """Whether the rollout waits at its step for labels: further ones would meet harm before anybody could see it."""
    plan = rollout.plan
    bounded = plan.terms.hourly and not plan.advance_unlabelled and rollout.weight > 0
    return bounded and any(guardrail.metric.needs_labels for guardrail in plan.guardrails)


def _used_up(rollout: Rollout, judgement: Judgement) -> str:
    most = rollout.plan.max_canary_keys
    if most is None or judgement.keys < most:
        return ""
    return f"{judgement.keys:,} keys have met the canary >= {most:,} allowed without a PASS"


def _over(rollout: Rollout, now: datetime) -> str:
    most = rollout.plan.max_step_time
    passed = now - rollout.since
    if most is None or passed < most:
        return ""
    return f"{from_duration(passed)} in this step >= {from_duration(most)} allowed"


def _describe(action: Action, rollout: Rollout) -> str:
    at = f"{to_percent(rollout.weight):g} %"
    champion = "the champion" if not rollout.is_watch else f"version {rollout.champion}"
    return {
        Action.WAIT: f"wait at {at}",
        Action.ADVANCE: f"advance from {at}",
        Action.COMPLETE: "complete: the canary becomes champion",
        Action.ABORT: f"abort at {at}: {champion} stays",
        Action.HOLD: f"hold at {at} for a person",
        Action.ROLLBACK: f"roll back to version {rollout.canary}",
    }[action]
