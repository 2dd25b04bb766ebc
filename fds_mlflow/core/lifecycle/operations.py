"""What a person asks for, what the state allows, and what then is to be: pure decisions.

`decide` answers a request with the target of an operation, with `Already` where there is nothing to do, or
with a refusal that names the fix. `REFUSALS` is the transition table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from fds_mlflow.core.keys import Spelling
from fds_mlflow.core.lifecycle.events import AliasNames, Basis, Kind, Rollout, RolloutStatus
from fds_mlflow.core.lifecycle.state import Stage, State
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.weight import FULL, to_percent
from fds_mlflow.errors import RefusedError, StaleError

Refusal = tuple[str, str]
Guard = Callable[["State", "Request"], Refusal | None]


@dataclass(frozen=True)
class Request:
    """One request of one actor.

    Attributes:
        kind: The operation.
        version: The version it is about; None for the kinds that find it in the state.
        weight: For an advance: the requested weight in basis points; None for the next step of the plan.
        plan: For a start.
        force: Go past a guard that a person may override. It needs a reason.
        rollout_id: For a start: ULID of the new rollout.
        now: For rollouts: when the step begins, UTC.
        expected_sequence: Sequence number of the last event that the request is based on: refused once the history has
            gone on. None for a request that holds whatever has happened since.
        basis: For what moves or ends a rollout: who decided, and on what evidence.
        is_watch: For a start: the new rollout watches the champion.
        names: For a rename.
        anew: For a promotion: also of the version that is champion already, for what its event records.
    """

    kind: Kind
    version: int | None = None
    weight: int | None = None
    plan: Plan | None = None
    force: bool = False
    rollout_id: str | None = None
    now: datetime | None = None
    expected_sequence: int | None = None
    basis: Basis = field(default_factory=Basis)
    is_watch: bool = False
    names: AliasNames | None = None
    anew: bool = False


@dataclass(frozen=True)
class Target:
    """What an operation leads to.

    Attributes:
        version: The version the operation is about.
        rollout: The rollout after the operation, where it starts, changes or ends one.
        forced: A guard spoke against it, and was overridden.
        files: As in `Event`.
        trusted: As in `Event`.
    """

    version: int | None
    rollout: Rollout | None = None
    forced: bool = False
    files: str | None = None
    trusted: bool = False


@dataclass(frozen=True)
class Already:
    """What was requested holds already; there is nothing to do."""

    why: str


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
    return None


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


REFUSALS: Mapping[Kind, tuple[Guard, ...]] = {
    Kind.STAGE: (_is_champion, _is_canary),
    Kind.PROMOTE: (_active_rollout,),
    Kind.START: (_no_champion, _active_rollout, _is_champion),
    Kind.ADVANCE: (_no_rollout, _weight_out_of_plan, _ahead_of_plan),
    Kind.COMPLETE: (_no_rollout, _below_last_step),
    Kind.ABORT: (_no_rollout,),
    Kind.EMERGENCY: (_no_emergency_target,),
    Kind.ROLLBACK: (_is_canary, _not_former_champion),
    Kind.RETIRE: (_is_champion, _is_canary),
    Kind.RENAME: (_active_rollout,),
}
"""The transition table: what forbids each kind, in the order in which it is said."""


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
}
