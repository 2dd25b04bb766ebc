"""The watch after a rollout: the former champion stays as a small control of the new one."""

from __future__ import annotations

from fds_mlflow.core.lifecycle.events import Kind, Rollout
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.lifecycle.watch import watch_plan
from fds_mlflow.core.text.duration import from_duration
from fds_mlflow.errors import RefusedError
from fds_mlflow.lifecycle.session import Session
from fds_mlflow.registry.transaction import Result
from fds_mlflow.runtime.identity import new_id


def start_watch(
    session: Session, completed: Rollout, *, expected_sequence: int | None = None, actor: str | None = None
) -> Result:
    """Start the watch of a completed rollout: the former champion becomes a small control of the new champion.

    Neither version is loaded first: both were serving when the rollout was completed.

    Args:
        session: With the model.
        completed: The rollout; its plan has a watch.
        expected_sequence: Sequence number of the last event that is known: refused once the history has gone on.
        actor: Who acts; None for the model's own actor.

    Raises:
        RefusedError: The plan has no watch, a rollout is active, or the control is the champion.
        StaleError: The history has gone on.
    """
    watch = completed.plan.watch
    if watch is None:
        raise RefusedError("the plan of the rollout has no watch", fix="start a rollout by hand")
    plan, now = watch_plan(completed.plan, watch), session.now()
    request = Request(
        Kind.START,
        completed.champion,
        plan=plan,
        rollout_id=new_id(),
        now=now,
        expected_sequence=expected_sequence,
        is_watch=True,
    )
    time, share = from_duration(watch.duration), f"{watch.control:g} %"
    reason = f"watch of version {completed.canary} for {time}: {share} stay with version {completed.champion}"
    return session.run(request, reason, actor=actor)
