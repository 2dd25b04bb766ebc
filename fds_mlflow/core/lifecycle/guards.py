"""What the state of a model forbids, and the fix: the transition table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fds_mlflow.core.lifecycle.approval import LASTS, same_person
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.lifecycle.request import Request
from fds_mlflow.core.lifecycle.state import State
from fds_mlflow.core.weight import FULL, to_percent

Refusal = tuple[str, str]
Guard = Callable[[State, Request], Refusal | None]


_END_IT = "complete it (`fds canary complete MODEL`) or abort it (`fds canary abort MODEL --reason WHY`) first"


def _active_rollout(state: State, request: Request) -> Refusal | None:
    if state.rollout is None:
        return None
    return (
        f"a rollout of version {state.rollout.canary} is active at {to_percent(state.rollout.weight):g} %",
        _END_IT,
    )


def _no_rollout(state: State, request: Request) -> Refusal | None:
    if state.rollout is not None:
        return None
    return f"there is no active rollout to {request.kind}", "start one first (`fds canary start MODEL VERSION`)"


def _no_champion(state: State, request: Request) -> Refusal | None:
    if state.champion is not None:
        return None
    return "there is no champion to try a canary against", "promote a first version (`fds promote MODEL VERSION`)"


def _is_champion(state: State, request: Request) -> Refusal | None:
    if state.champion is None or request.version != state.champion:
        return None
    fix = {
        Kind.START: "choose another version than the champion",
        Kind.STAGE: "promote another version first; this one then steps down",
        Kind.RETIRE: "promote another version first; this one then steps down",
    }[request.kind]
    return f"version {request.version} is the champion", fix


def _is_canary(state: State, request: Request) -> Refusal | None:
    if state.rollout is None or request.version != state.rollout.canary:
        return None
    return (
        f"version {request.version} is the canary of the active rollout",
        _END_IT,
    )


def _not_former_champion(state: State, request: Request) -> Refusal | None:
    if request.version in state.former:
        return None
    names = ", ".join(str(v) for v in reversed(state.former))
    choose = f"choose a former champion ({names}), or " if names else ""
    return (
        f"version {request.version} was never champion, so there is nothing to roll back to",
        f"{choose}promote it (`fds promote MODEL VERSION`)",
    )


def _no_emergency_target(state: State, request: Request) -> Refusal | None:
    if state.emergency_target is not None:
        return None
    if state.former:
        names = ", ".join(str(v) for v in reversed(state.former))
        return (
            f"every former champion ({names}) was itself rolled back from",
            "name one (`fds rollback to MODEL VERSION --reason WHY`), or promote another version",
        )
    return "there is no former champion to go back to", "promote another version (`fds promote MODEL VERSION`)"


def _weight_out_of_plan(state: State, request: Request) -> Refusal | None:
    if state.rollout is None or request.weight is not None:
        return None
    if not state.rollout.at_last_step:
        return None
    return (
        "the rollout is at the last step of its plan",
        "complete it (`fds canary complete MODEL`) or abort it (`fds canary abort MODEL --reason WHY`)",
    )


def _ahead_of_plan(state: State, request: Request) -> Refusal | None:
    """A weight that a person names gets ahead of the plan by force only; without one, the plan's next step follows."""
    rollout, weight = state.rollout, request.weight
    if rollout is None or weight is None or weight <= rollout.weight or request.force:
        return None
    following = rollout.next_weight
    fix = "go step by step (`fds canary advance MODEL`), or force it (add `--force --reason WHY`)"
    to = f"{to_percent(weight):g} %"
    if following is None:
        return f"{to} is beyond the plan's last step of {to_percent(rollout.plan.weights[-1]):g} %", fix
    if weight > following:
        return f"{to} is beyond the plan's next step of {to_percent(following):g} %", fix
    if weight == FULL:
        return f"{to} leaves no champion to compare the canary with", fix
    if rollout.weight in rollout.plan.gated:
        gate = f"{to} is past the gate at {to_percent(rollout.weight):g} %"
        return gate, "open the gate (`fds canary advance MODEL --reason WHY`), or force it (add `--force --reason WHY`)"
    return None


def _below_last_step(state: State, request: Request) -> Refusal | None:
    rollout = state.rollout
    if rollout is None or rollout.can_complete or request.force:
        return None
    last = next((w for w in reversed(rollout.plan.weights) if w < FULL), FULL)
    return (
        f"the canary gets {to_percent(rollout.weight):g} %, below the plan's last step of {to_percent(last):g} %",
        "advance it first (`fds canary advance MODEL`), or force it (`fds canary complete MODEL --force --reason WHY`)",
    )


def _paused(state: State, request: Request) -> Refusal | None:
    if state.rollout is None or state.rollout.paused is None:
        return None
    if request.weight is not None and request.weight < state.rollout.weight:
        return None  # less traffic never waits
    since = f"{state.rollout.paused:%Y-%m-%d %H:%M} UTC"
    return f"the rollout is paused since {since}", "resume it first (`fds canary resume MODEL`)"


def _no_such_request(state: State, request: Request) -> Refusal | None:
    there = state.requests.get(request.answers)
    if there is not None and request.now is not None and there.holds(request.now):
        return None
    return (
        f"no request {request.answers!r} is open: it was never made, was answered or used, what it was made for has"
        f" changed, or it is older than {LASTS.days} days",
        "see which there are (`fds requests MODEL`), or ask for the operation again",
    )


def _own_request(state: State, request: Request) -> Refusal | None:
    there = state.requests.get(request.answers)
    if there is None or not same_person(there.request, request):
        return None
    return (
        f"{request.actor} may not approve the request of {there.request.actor}: a second person has to",
        "ask somebody else to approve it, or withdraw it (`fds reject ID --reason WHY`)",
    )


REFUSALS: Mapping[Kind, tuple[Guard, ...]] = {
    Kind.STAGE: (_is_champion, _is_canary),
    Kind.PROMOTE: (_active_rollout,),
    Kind.START: (_no_champion, _active_rollout, _is_champion),
    Kind.ADVANCE: (_no_rollout, _paused, _weight_out_of_plan, _ahead_of_plan),
    Kind.COMPLETE: (_no_rollout, _paused, _below_last_step),
    Kind.ABORT: (_no_rollout,),
    Kind.EMERGENCY: (_no_emergency_target,),
    Kind.ROLLBACK: (_is_canary, _not_former_champion),
    Kind.RETIRE: (_is_champion, _is_canary),
    Kind.RENAME: (_active_rollout,),
    Kind.PAUSE: (_no_rollout,),
    Kind.RESUME: (_no_rollout,),
    Kind.POLICY: (),
    Kind.APPROVE: (_no_such_request, _own_request),
    Kind.REJECT: (_no_such_request,),
}
"""The transition table: what forbids each kind, in the order in which it is said."""
