"""What a person asks for, what the state allows, and what then is to be: pure decisions.

`decide` answers a request with the target of an operation, with `Already` where there is nothing to do, or
with a refusal that names the fix. `REFUSALS` is the transition table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from fds_mlflow.core.keys import Spelling
from fds_mlflow.core.lifecycle.events import Kind, Rollout, RolloutStatus
from fds_mlflow.core.lifecycle.guards import REFUSALS, Refusal
from fds_mlflow.core.lifecycle.request import Already, Request, Target
from fds_mlflow.core.lifecycle.state import Stage, State
from fds_mlflow.core.weight import FULL, to_percent
from fds_mlflow.errors import RefusedError, StaleError

__all__ = ["REFUSALS", "Already", "Request", "Target", "decide", "require_reason"]


def decide(state: State, request: Request) -> Target | Already:
    """What the request leads to from this state.

    Raises:
        RefusedError: The state does not allow it.
        StaleError: The history has gone on since it was decided.
    """
    expected = request.expected_sequence
    if expected is not None and expected != state.sequence:
        raise StaleError(
            f"the {request.kind} was decided at event {expected}, and the history is at event {state.sequence} now",
            fix="look again and decide anew",
        )
    done = _already(state, request)
    if done is not None:
        return done
    refusal = _refusal(state, request)
    if refusal is not None:
        raise RefusedError(refusal[0], fix=refusal[1])
    forced = request.force and _refusal(state, replace(request, force=False)) is not None
    return replace(_TARGET[request.kind](state, request), forced=forced)


def require_reason(state: State, request: Request, reason: str) -> None:
    """Refuse a request without a reason where the history has to tell why.

    Emergencies, rollbacks, aborts and force always need one; so do a weight other than the plan's next step, and a gate
    that a person opens.

    Raises:
        RefusedError: The reason is empty or blank.
    """
    if any(char.isprintable() and not char.isspace() for char in reason):
        return
    what = _asks_why(state, request)
    if what is not None:
        raise RefusedError(
            f"{what} needs a reason, and {'the given one is blank' if reason else 'none was given'}",
            fix="say why (`--reason` on the command line, reason= in Python)",
        )
    if reason:
        raise RefusedError("the reason is blank", fix="say why, or leave it out: none is needed here")


def _asks_why(state: State, request: Request) -> str | None:
    """What about a request needs a reason; None for what is ordinary."""
    if request.force:
        return "force"
    if request.kind in _NEED_REASON:
        return _NEED_REASON[request.kind]
    rollout, weight = state.rollout, request.weight
    if request.kind not in (Kind.ADVANCE, Kind.COMPLETE) or rollout is None or weight == rollout.weight:
        return None
    if weight not in (None, rollout.next_weight):
        return f"a weight of {to_percent(weight):g} %, which is not the plan's next step,"
    if rollout.weight in rollout.plan.gated:
        return f"opening the gate at {to_percent(rollout.weight):g} %"
    return None


_NEED_REASON: Mapping[Kind, str] = {
    Kind.ABORT: "an abort",
    Kind.EMERGENCY: "an emergency",
    Kind.ROLLBACK: "a rollback",
    Kind.REJECT: "a rejection",
}


def _refusal(state: State, request: Request) -> Refusal | None:
    """What forbids the request, and the fix; None where nothing does."""
    said = (guard(state, request) for guard in REFUSALS[request.kind])
    return next((refusal for refusal in said if refusal is not None), None)


def _already(state: State, request: Request) -> Already | None:
    version = request.version
    serves = state.champion is not None and version == state.champion and not request.anew
    if request.kind in (Kind.PROMOTE, Kind.ROLLBACK) and serves:
        return Already(f"version {version} is the champion already")
    stage = {Kind.STAGE: Stage.STAGING, Kind.RETIRE: Stage.ARCHIVED}.get(request.kind)
    if stage and version is not None and version != state.canary and state.stages.get(version) is stage:
        return Already(f"version {version} is in stage {stage} already")
    if request.kind is Kind.ADVANCE and state.rollout and request.weight == state.rollout.weight:
        return Already(f"the canary gets {to_percent(state.rollout.weight):g} % already")
    return _paused_already(state, request) or _approved_already(state, request)


def _paused_already(state: State, request: Request) -> Already | None:
    if state.rollout is None or request.kind not in (Kind.PAUSE, Kind.RESUME):
        return None
    paused = state.rollout.paused is not None
    if paused is not (request.kind is Kind.PAUSE):
        return None
    return Already("the rollout is paused already" if paused else "the rollout is not paused")


def _approved_already(state: State, request: Request) -> Already | None:
    if request.kind is Kind.POLICY and request.policy == state.policy and not request.anew:
        return Already("the policy asks for just that already")
    there = state.requests.get(request.answers) if request.kind is Kind.APPROVE else None
    if there is None or there.approval is None or request.now is None or not there.holds(request.now):
        return None
    return Already(f"the request {there.id} is approved already, by {there.approval.actor}")


def _to_version(state: State, request: Request) -> Target:
    return Target(request.version)


def _to_names(state: State, request: Request) -> Target:
    if request.names is None:
        raise TypeError("a rename says which names")
    return Target(None)


def _to_start(state: State, request: Request) -> Target:
    if request.version is None or request.plan is None or request.rollout_id is None or request.now is None:
        raise TypeError("a start names its version, plan, rollout id and time")
    if state.champion is None:
        raise TypeError("a start was allowed without a champion")
    rollout = Rollout(
        id=request.rollout_id,
        champion=state.champion,
        canary=request.version,
        plan=request.plan,
        weight=request.plan.weights[0],
        step=0,
        since=request.now,
        spelling=Spelling.CANONICAL,
        is_watch=request.is_watch,
    )
    return Target(request.version, rollout)


def _to_advance(state: State, request: Request) -> Target:
    rollout = _rollout_of(state)
    if request.now is None:
        raise TypeError("an advance names its time")
    weights = rollout.plan.weights
    weight = request.weight
    if weight is None:
        weight = next(w for w in weights if w > rollout.weight)
    if not 0 <= weight <= FULL:
        raise TypeError("the weight was not converted by the plan")
    return Target(rollout.canary, replace(rollout, weight=weight, step=rollout.step + 1, since=request.now))


def _to_complete(state: State, request: Request) -> Target:
    rollout = _rollout_of(state)
    return Target(rollout.canary, rollout.ended(RolloutStatus.COMPLETED))


def _to_abort(state: State, request: Request) -> Target:
    rollout = _rollout_of(state)
    return Target(rollout.canary, rollout.ended(RolloutStatus.ABORTED))


def _to_pause(state: State, request: Request) -> Target:
    rollout = _rollout_of(state)
    if request.now is None:
        raise TypeError("a pause names its time")
    return Target(rollout.canary, replace(rollout, paused=request.now))


def _to_resume(state: State, request: Request) -> Target:
    """The step goes on where it was: the time of the pause counts for nothing."""
    rollout = _rollout_of(state)
    if request.now is None or rollout.paused is None:
        raise TypeError("a resumption names its time, and there is a pause")
    since = rollout.since + max(request.now - rollout.paused, timedelta(0))
    return Target(rollout.canary, replace(rollout, paused=None, since=since))


def _to_answer(state: State, request: Request) -> Target:
    return Target(state.requests[request.answers].asked.version)


def _to_rollback(state: State, request: Request) -> Target:
    version = state.emergency_target if request.kind is Kind.EMERGENCY else request.version
    ended = state.rollout.ended(RolloutStatus.ROLLED_BACK) if state.rollout else None
    return Target(version, ended)


def _rollout_of(state: State) -> Rollout:
    if state.rollout is None:
        raise TypeError("the transition table let a request pass that needs a rollout")
    return state.rollout


_TARGET: Mapping[Kind, Callable[[State, Request], Target]] = {
    Kind.STAGE: _to_version,
    Kind.PROMOTE: _to_version,
    Kind.START: _to_start,
    Kind.ADVANCE: _to_advance,
    Kind.COMPLETE: _to_complete,
    Kind.ABORT: _to_abort,
    Kind.EMERGENCY: _to_rollback,
    Kind.ROLLBACK: _to_rollback,
    Kind.RETIRE: _to_version,
    Kind.RENAME: _to_names,
    Kind.PAUSE: _to_pause,
    Kind.RESUME: _to_resume,
    Kind.POLICY: lambda _state, _request: Target(None),
    Kind.APPROVE: _to_answer,
    Kind.REJECT: _to_answer,
}
