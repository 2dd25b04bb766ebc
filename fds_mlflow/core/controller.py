"""State + verdict -> the next step of a rollout. It decides; the caller applies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fds_mlflow.core.events import Rollout
from fds_mlflow.core.judge import Status, Verdict
from fds_mlflow.core.plan import to_percent


class Action(StrEnum):
    """What may be done with a rollout next."""

    WAIT = "wait"
    ADVANCE = "advance"
    COMPLETE = "complete"
    ABORT = "abort"


@dataclass(frozen=True)
class Recommendation:
    """What the controller would do, and why.

    Attributes:
        action: The next step.
        reason: One sentence that repeats the verdict's numbers.
    """

    action: Action
    reason: str


_ACTION: Mapping[Status, Action] = {
    Status.PASS: Action.ADVANCE,
    Status.INCONCLUSIVE: Action.WAIT,
    Status.NODATA: Action.WAIT,
    Status.ERROR: Action.WAIT,
    Status.FAIL: Action.ABORT,
}


def next_step(rollout: Rollout, verdict: Verdict) -> Recommendation:
    """What to do with an active rollout after its overall verdict. Only PASS ever moves a rollout forward."""
    action = _ACTION[verdict.status]
    if action is Action.ADVANCE and rollout.at_last_step:
        action = Action.COMPLETE
    said = {
        Action.WAIT: f"wait at {to_percent(rollout.weight):g} %",
        Action.ADVANCE: f"advance from {to_percent(rollout.weight):g} %",
        Action.COMPLETE: "complete: the canary becomes champion",
        Action.ABORT: f"abort at {to_percent(rollout.weight):g} %: the champion stays",
    }[action]
    return Recommendation(action, f"{said} ({verdict.status}: {verdict.reason})")
