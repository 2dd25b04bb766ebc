"""The watch after a promotion: the former champion stays as a small control of the new one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fds_mlflow.core.lifecycle.events import Ending, Event, Kind, Rollout
from fds_mlflow.core.plan.plan import Plan, Watch


def watch_due(events: Sequence[Event], now: datetime) -> Rollout | None:
    """The completed rollout whose watch has not begun.

    Read off the history alone, so that whoever looks next begins the watch that a process died before beginning.
    Candidates that were staged or retired since, approvals and the policy do not matter; anything else forgoes it.

    Args:
        events: The model's history, in order of sequence.
        now: The time, UTC. A watch that would be over by now is not begun any more.
    """
    aside = (Kind.STAGE, Kind.RETIRE, Kind.POLICY, Kind.REQUEST, Kind.APPROVE, Kind.REJECT)
    last = next((e for e in reversed(events) if e.outcome is Ending.DONE and e.kind not in aside), None)
    if last is None or last.kind is not Kind.COMPLETE or last.rollout is None:
        return None
    watch = last.rollout.plan.watch
    if watch is None or last.rollout.is_watch or now >= last.time + watch.duration:
        return None
    return last.rollout


def watch_plan(plan: Plan, watch: Watch) -> Plan:
    """The plan of the watch: one step of the control's size, judged by the same guardrails for the watch's duration.

    Args:
        plan: The plan of the completed rollout.
        watch: Its watch.
    """
    return Plan(
        [watch.control],
        guardrails=plan.guardrails,
        alpha=plan.alpha,
        min_outcomes=plan.min_outcomes,
        max_step_time=watch.duration,
        label_maturity=plan.label_maturity,
        watch=watch,
        segments=plan.segments,
        test=plan.test,
        approval=plan.approval,
    )
