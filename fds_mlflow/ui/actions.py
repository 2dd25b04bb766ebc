"""What may be done from the page: a table of actions, what each would do, and doing it. No model is ever loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fds_mlflow.core.lifecycle.approval import OpenRequest
from fds_mlflow.core.lifecycle.events import MOVES_CHAMPION, Event, Kind
from fds_mlflow.core.lifecycle.operations import Already, Request, Target, decide
from fds_mlflow.core.lifecycle.policy import required
from fds_mlflow.core.lifecycle.state import State, fold
from fds_mlflow.core.weight import to_percent
from fds_mlflow.errors import FdsError, RefusedError, StaleError
from fds_mlflow.lifecycle.reports import Validation
from fds_mlflow.lifecycle.session import Session
from fds_mlflow.lifecycle.validation import ValidationCheck
from fds_mlflow.registry import tags
from fds_mlflow.registry.dry_run import DryRunStore, PassingClock
from fds_mlflow.registry.recorded import looked_at, recorded
from fds_mlflow.registry.store import VersionView
from fds_mlflow.registry.transaction import Result, Transactions
from fds_mlflow.registry.view import View
from fds_mlflow.rollouts.naming import weight_after
from fds_mlflow.runtime.identity import new_id
from fds_mlflow.ui.permissions import Level, access
from fds_mlflow.ui.render import NotAllowedError

PATIENCE = 10.0
"""Seconds that a request waits for another operation; then the page says who is at it, and a person tries again."""


@dataclass(frozen=True)
class Action:
    """One thing that may be done.

    Attributes:
        name: As addresses and the catalogue name it.
        kind: The operation.
        needs: The permission that it takes on the model: EDIT for what writes, MANAGE for what deletes an alias.
        offered: Whether it makes sense for a model as it is.
        asks_version: It is about a version that a person chooses.
        asks_request: It answers a request that waits for an approval.
        asks_reason: The history has to tell why, always.
        take_over: It goes past operations in flight.
        checks: What is asked of its version without loading it.
    """

    name: str
    kind: Kind
    needs: Callable[[View], Level]
    offered: Callable[[View], bool]
    asks_version: bool = False
    asks_request: bool = False
    asks_reason: bool = True
    take_over: bool = False
    checks: Callable[[View, VersionView], list[ValidationCheck]] | None = None


@dataclass(frozen=True)
class Change:
    """One thing that would change.

    Attributes:
        what: Key of it, for the catalogue.
        version: The version whose stage it is; None for what is of the model.
        before: What it is now; None where there is none.
        after: What it would be.
    """

    what: str
    version: int | None
    before: object
    after: object


@dataclass(frozen=True)
class DryRun:
    """What an action would do, were it done now.

    Attributes:
        action: The action.
        version: The version it is about.
        request: The request that it answers; None where it answers none.
        changes: What would change, from and to.
        waits: A second person has to approve it first.
        refusal: Why it would be refused; None where it would not.
        already: What holds already, so that nothing would be done; "" where something would.
        checks: What was asked of the version.
        state: Digest of the state that was looked at.
    """

    action: Action
    version: int | None
    request: OpenRequest | None
    changes: tuple[Change, ...]
    waits: bool
    refusal: FdsError | None
    already: str
    checks: tuple[ValidationCheck, ...]
    state: str


def _edit(_view: View) -> Level:
    return Level.EDIT


def _deletes(view: View) -> Level:
    """What takes the canary's alias off takes the permission to delete, where there is one."""
    return Level.EDIT if view.canary_alias is None else Level.MANAGE


def _rolls_out(view: View) -> bool:
    return view.rollout is not None


def _can_advance(view: View) -> bool:
    return view.rollout is not None and not view.rollout.at_last_step


def _runs(view: View) -> bool:
    return view.rollout is not None and view.rollout.paused is None


def _is_paused(view: View) -> bool:
    return view.rollout is not None and view.rollout.paused is not None


def _never(_view: View) -> bool:
    """It is offered beside what it answers."""
    return False


def static_checks(view: View, version: VersionView) -> list[ValidationCheck]:
    """What must hold of a version before traffic goes back to it, as far as it can be told without loading it.

    Whoever loads it later holds its files against the digest that is recorded here, or does not serve it.
    """
    there, known = version.tags.get(tags.THRESHOLD), recorded(view.history, version)
    has_threshold = tags.is_threshold(there)
    vouched = known.event is not None or known.admitted
    former = version.version in view.state.former
    return [
        ValidationCheck("was champion", former, "by the history", "choose a former champion"),
        ValidationCheck("READY", version.ready, version.status, "wait until its registration has finished"),
        ValidationCheck(
            "threshold",
            has_threshold,
            there[:100] if has_threshold and there else tags.threshold_lack(there),
            tags.threshold_fix(version.version),
        ),
        ValidationCheck(
            "files recorded",
            vouched,
            "when it was given traffic" if vouched else "nobody has looked at its files",
            f"have them looked at: `fds rollback to MODEL {version.version} --reason WHY`",
        ),
        ValidationCheck("loads and scores", None, "not tried here: no model is loaded in this server"),
    ]


ACTIONS: Mapping[str, Action] = {
    action.name: action
    for action in (
        Action("advance", Kind.ADVANCE, _edit, _can_advance, asks_reason=False),
        Action("pause", Kind.PAUSE, _edit, _runs, asks_reason=False),
        Action("resume", Kind.RESUME, _edit, _is_paused, asks_reason=False),
        Action("abort", Kind.ABORT, _deletes, _rolls_out),
        Action("emergency", Kind.EMERGENCY, _deletes, lambda v: v.state.emergency_target is not None, take_over=True),
        Action(
            "rollback",
            Kind.ROLLBACK,
            _deletes,
            lambda view: bool(view.state.former),
            asks_version=True,
            checks=static_checks,
        ),
        Action("approve", Kind.APPROVE, _edit, _never, asks_request=True, asks_reason=False),
        Action("reject", Kind.REJECT, _edit, _never, asks_request=True),
    )
}
"""What the page offers, in the order in which it offers it."""


def offered(view: View, level: Level) -> list[Action]:
    """The actions that make sense for a model as it is, for whoever asks."""
    return [action for action in ACTIONS.values() if action.offered(view) and action.needs(view) <= level]


def named(name: str) -> Action:
    """An action by its name.

    Raises:
        RefusedError: There is none.
    """
    if name not in ACTIONS:
        raise RefusedError(f"there is no action {name!r:.100}", fix=f"choose one: {', '.join(ACTIONS)}")
    return ACTIONS[name]


STOPS = frozenset({Kind.EMERGENCY, Kind.ROLLBACK, Kind.ABORT, Kind.PAUSE})
"""What waits for nobody: neither for an approval, nor because something else has changed since it was shown."""


def state_of(view: View, action: Action, target: Target | None = None) -> str:
    """A digest of what an action depends on: the aliases, the last event, the canary's rollout.

    What stops depends on nothing but what it goes back to, or stops.
    """
    about: object = view.found
    if action.kind in STOPS and target is not None:
        rollout = target.rollout.id if target.rollout is not None else ""
        crowned = [
            e.operation for e in view.history.events if e.to_version == target.version and e.kind in MOVES_CHAMPION
        ]
        about = action.kind, target.version, rollout, crowned[-1:]
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]


def settled(session: Session) -> View:
    """A model as an operation would find it, once what was left behind and what a hand did are in the history."""
    view = session.look()
    if view.agrees and not view.history.intents:
        return view
    tried = Transactions(DryRunStore(session.store), PassingClock(session.clock), new_id)
    return tried.settle(session.name, actor=session.actor)


def dry_run(session: Session, view: View, action: Action, *, version: int | None = None, answers: str = "") -> DryRun:
    """What an action would do with a model as it is; nothing is written.

    Args:
        session: With the model.
        view: The model as it is.
        action: The action.
        version: The version it is about, where a person chooses it.
        answers: Id of the request that it answers.
    """
    made = DryRun(action, version, view.state.requests.get(answers), (), False, None, "", (), state_of(view, action))
    request = _request(session, action, version, answers)
    try:
        target = decide(view.state, request)
        if isinstance(target, Already):
            return replace(made, already=target.why)
        checks = tuple(_checks(session, view, action, target))
        made = replace(
            made,
            changes=tuple(_changes(view.state, _after(session, view, action, target))),
            waits=bool(required(view.state, view.policy, request, target)),
            checks=checks,
            state=state_of(view, action, target),
        )
        Validation(target.version or 0, checks, ()).require()
    except FdsError as error:
        return replace(made, refusal=error)
    return made


def perform(
    session: Session,
    action: Action,
    *,
    actor: str,
    reason: str,
    state: str,
    version: int | None = None,
    answers: str = "",
) -> Result:
    """Do it, if the model is still as it was when the dry run was shown.

    Args:
        session: With the model.
        action: What to do.
        actor: Who does it.
        reason: Why.
        state: Digest of the state that was shown.
        version: The version it is about, where a person chooses it.
        answers: Id of the request that it answers.

    Raises:
        StaleError: The model has changed since.
        NotAllowedError: Whoever asks may not.
        AwaitsApprovalError: It waits for a second person.
        FdsError: As of the operation; nothing was changed.
    """

    def hold(view: View, target: Target | None) -> None:
        require(session.name, action, view)
        if state_of(view, action, target) != state:
            raise StaleError(
                f"{session.name} has changed since the dry run was shown",
                fix="look at what would happen now, and decide anew",
            )

    def check(view: View, target: Target) -> Target:
        hold(view, target)
        Validation(target.version or 0, tuple(_checks(session, view, action, target)), ()).require()
        return _with_files(session, view, action, target)

    if action.kind in STOPS:
        require(session.name, action, session.look())
    else:
        hold(session.look(), None)  # before an operation settles and records what it finds, which is to write
    return session.transactions.run(
        session.name,
        _request(session, action, version, answers),
        actor=actor,
        reason=reason,
        check=check,
        patience=None if action.take_over else PATIENCE,
        take_over=action.take_over,
    )


def require(model: str, action: Action, view: View) -> None:
    """Refuse who may not.

    Raises:
        NotAllowedError: It takes a permission that they lack.
    """
    needs = action.needs(view)
    if access().level(model) < needs:
        raise NotAllowedError(
            f"{action.name} needs the permission {needs.name} on {model!r}, which {access().user() or 'nobody'} lacks",
            fix="ask who runs the server for it, or ask somebody who has it",
        )


def _request(session: Session, action: Action, version: int | None, answers: str) -> Request:
    user = access().user()
    return Request(
        action.kind, version, now=session.now(), answers=answers, actor=user or "", signed_in=user is not None
    )


def _checks(session: Session, view: View, action: Action, target: Target) -> list[ValidationCheck]:
    if action.checks is None or target.version is None:
        return []
    return action.checks(view, session.version(target.version))


def _with_files(session: Session, view: View, action: Action, target: Target) -> Target:
    """The target with the digest that was recorded when its files were last looked at, so that it goes on to hold."""
    if action.checks is None or target.version is None:
        return target
    there = session.version(target.version)
    known = recorded(view.history, there)
    if known.event is None:
        return target
    return replace(target, files=looked_at(known.event, there), trusted=known.trusted is not None)


def _after(session: Session, view: View, action: Action, target: Target) -> State:
    """The state that the action's event would lead to."""
    event = Event(
        sequence=view.state.sequence + 1,
        operation="",
        kind=action.kind,
        actor="",
        reason="",
        time=session.now(),
        from_version=view.champion_alias,
        to_version=target.version,
        rollout=target.rollout,
    )
    return fold([event], view.state)


def _changes(before: State, after: State) -> list[Change]:
    found = []
    if before.champion != after.champion:
        found.append(Change("champion", None, before.champion, after.champion))
    old, new = before.rollout, after.rollout
    if old is not None:
        share = 0.0 if new is None else to_percent(weight_after(new))
        if to_percent(old.weight) != share:
            found.append(Change("weight", old.canary, f"{to_percent(old.weight):g} %", f"{share:g} %"))
        if new is None:
            found.append(Change("rollout", old.canary, "active" if old.paused is None else "paused", "ended"))
        elif old.paused != new.paused:
            names = "paused" if old.paused is not None else "active", "paused" if new.paused is not None else "active"
            found.append(Change("rollout", old.canary, *names))
        elif old.step != new.step:
            found.append(Change("step", old.canary, old.step + 1, new.step + 1))
    for version, stage in sorted(after.stages.items()):
        if before.stages.get(version) != stage:
            found.append(Change("stage", version, before.stages.get(version), stage))
    return found
