"""What needs the approval of a second person, and what a person may do past the operations: pure answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

from fds_mlflow.core.lifecycle.approval import OpenRequest, digest, digest_of_state
from fds_mlflow.core.lifecycle.events import Asked, Event, Kind, Policy, Role
from fds_mlflow.core.lifecycle.guards import Refusal
from fds_mlflow.core.lifecycle.request import Request, Target
from fds_mlflow.core.lifecycle.state import State
from fds_mlflow.core.lifecycle.watch import watch_due, watch_plan
from fds_mlflow.core.plan.approval import Approval
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.weight import FULL

STRICTEST = Policy(tuple(Approval))
"""What counts where nobody can tell what a policy was."""


def together(one: Policy, other: Policy) -> Policy:
    """A policy that asks for what either asks for."""
    return Policy(tuple(each for each in Approval if each in one.require or each in other.require), one.later)


def needs(state: State, request: Request, target: Target) -> frozenset[Approval]:
    """As what a request counts, for those who ask for approvals: what it amounts to, whatever the verb is called.

    Args:
        state: The state.
        request: The request, which the state allows.
        target: What it leads to.
    """
    rollout, kind = target.rollout, request.kind
    weight = 0 if rollout is None else rollout.weight
    found: set[Approval] = set()
    if kind is Kind.PROMOTE:
        found.add(Approval.PROMOTE)
    if kind is Kind.START:
        found.add(Approval.START)
    if kind is Kind.COMPLETE:
        found |= {Approval.COMPLETE, Approval.PROMOTE} if target.forced else {Approval.COMPLETE}
        weight = FULL
    if kind in (Kind.START, Kind.ADVANCE) and weight == FULL:
        found.add(Approval.COMPLETE)
    if kind in (Kind.ADVANCE, Kind.COMPLETE) and state.rollout is not None:
        past = any(state.rollout.weight <= gate < weight for gate in state.rollout.plan.gated)
        if past or (kind is Kind.ADVANCE and target.forced):
            found.add(Approval.GATE)
    return frozenset(found)


def required(state: State, policy: Policy, request: Request, target: Target) -> frozenset[Approval]:
    """For what of a request the model's policy, or the plan of its rollout, asks the approval of a second person.

    Args:
        state: The state.
        policy: The model's.
        request: The request, which the state allows.
        target: What it leads to.
    """
    if request.kind is Kind.POLICY:
        return frozenset(policy.require)  # whoever could lift it alone would need no approval for anything
    plan: Plan | None = request.plan
    if plan is None and state.rollout is not None:
        plan = state.rollout.plan
    asked = {*policy.require, *(() if plan is None else plan.approval)}
    return needs(state, request, target) & asked


def is_due_watch(events: Iterable[Event], request: Request) -> bool:
    """Whether a start is that of the watch which a completed rollout asks for: approved with its plan, if at all."""
    due = watch_due(tuple(events), request.now) if request.is_watch and request.now is not None else None
    if due is None or due.plan.watch is None:
        return False
    return (request.version, request.plan) == (due.champion, watch_plan(due.plan, due.plan.watch))


def asked(state: State, request: Request, target: Target, versions: Mapping[str, object]) -> Asked:
    """What an approval of a request is asked for.

    Args:
        state: The state, as the history has it.
        request: The request.
        target: What it leads to.
        versions: What tells the version and the champion from others.
    """
    plan = (
        ""
        if request.plan is None
        else json.dumps(request.plan.to_dict(), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    )
    judged = request.plan or (state.rollout.plan if state.rollout is not None else None)
    advanced = target.rollout if request.kind is Kind.ADVANCE else None
    return Asked(
        kind=request.kind,
        version=target.version,
        weight=None if advanced is None else advanced.weight,
        forced=target.forced,
        plan=plan,
        is_watch=request.is_watch,
        names=request.names,
        policy=request.policy,
        versions=digest(versions),
        terms="" if judged is None else digest(judged.to_dict()),
        state=digest_of_state(state.champion, state.rollout, state.policy),
    )


def found(state: State, wanted: Asked, now: datetime) -> OpenRequest | None:
    """The request for exactly this that has not lapsed: an approved one first."""
    same = [one for one in state.requests.values() if one.asked == wanted and one.holds(now)]
    return next((one for one in same if one.approval is not None), same[0] if same else None)


def may_move(state: State, policy: Policy, role: Role, version: int | None) -> Refusal | None:
    """What forbids anybody to move an alias past the operations, and the fix; None where nothing does.

    Args:
        state: The state.
        policy: The model's.
        role: Of the alias.
        version: Where it would point; None where it would be deleted.
    """
    stops = version is None and role is Role.CANARY
    goes_back = version in state.former and role is Role.CHAMPION  # as a rollback, which needs no approval either
    served = state.champion if role is Role.CHAMPION else state.canary
    if not policy.require or version == served or stops or goes_back:
        return None
    verb = "fds promote" if role is Role.CHAMPION else "fds canary start"
    return (
        f"the {role} alias may not be moved by hand: the model's policy asks for approvals",
        f"do it by name, which records who approved it (`{verb} MODEL VERSION`)",
    )


def may_delete(state: State, version: int) -> Refusal | None:
    """What forbids anybody to delete a version, whatever the policy, and the fix; None where nothing does.

    Args:
        state: The state.
        version: The version.
    """
    if version == state.champion:
        return f"version {version} is the champion", "promote another version first (`fds promote MODEL VERSION`)"
    if version == state.canary:
        return f"version {version} is on trial", "abort its rollout first (`fds canary abort MODEL --reason WHY`)"
    if version == state.emergency_target:
        return f"an emergency would go back to version {version}", "keep it until a later champion has stepped down"
    return None


def unapproved(state: State, policy: Policy, event: Event) -> str:
    """What to say in the history of an out-of-band change that a policy does not allow; empty where it does."""
    moved = event.to_version not in (None, event.from_version, *state.former)
    started = event.rollout is not None and event.rollout.active
    if not policy.require or not (moved or started):
        return ""
    return f"; nobody approved it, and the policy asks for that ({', '.join(policy.require)})"
