"""The state of a model's lifecycle, folded from its events, and the table of what each state allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from fds_mlflow.core.lifecycle.approval import OpenRequest, digest_of_state, same_person, still_open
from fds_mlflow.core.lifecycle.events import Ending, Event, Kind, Policy, Rollout


class Stage(StrEnum):
    """MLflow's registry stages."""

    NONE = "None"
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"


@dataclass(frozen=True)
class State:
    """What the history says is so.

    Attributes:
        sequence: Number of the last event; 0 before the first.
        champion: Version that serves.
        stages: Stage by version, for every version the history names.
        rollout: The active rollout.
        former: Former champions, the latest to step down last; the champion is never among them.
        withdrawn: Versions that were rolled back from and not promoted since: never an emergency's own choice.
        policy: For what the model's team asks the approval of a second person.
        requests: Requests that wait for one, or have it, by id; those that lapsed by time are among them.
    """

    sequence: int = 0
    champion: int | None = None
    stages: Mapping[int, Stage] = field(default_factory=lambda: MappingProxyType({}))
    rollout: Rollout | None = None
    former: tuple[int, ...] = ()
    withdrawn: frozenset[int | None] = frozenset()
    policy: Policy = field(default_factory=Policy)
    requests: Mapping[str, OpenRequest] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def champions(self) -> frozenset[int]:
        """Whoever serves or has served."""
        return frozenset(v for v in (*self.former, self.champion) if v is not None)

    @property
    def canary(self) -> int | None:
        """Version on trial."""
        return self.rollout.canary if self.rollout else None

    @property
    def emergency_target(self) -> int | None:
        """The latest former champion that was not itself rolled back from."""
        return next((v for v in reversed(self.former) if v not in self.withdrawn), None)


def fold(events: Iterable[Event], start: State | None = None) -> State:
    """Fold a history, in order of sequence, into the state it leads to.

    Operations that did not take effect count in the sequence, use up the approval that they answered, and change
    nothing else: such a one may have served for a while before a hand undid it.
    """
    draft = _Draft(start or State())
    for event in events:
        if event.outcome is Ending.DONE:
            _FOLD[event.kind](draft, event)
            draft.lapse(event)
        if event.kind is not Kind.APPROVE:
            draft.requests.pop(event.answers, None)
        draft.sequence = event.sequence
    return draft.state()


class _Draft:
    """A state while events are folded into it: changed in place, since histories grow to thousands of events."""

    def __init__(self, state: State) -> None:
        self.sequence = state.sequence
        self.champion = state.champion
        self.stages = dict(state.stages)
        self.rollout = state.rollout
        self.former = dict.fromkeys(state.former)  # a set in order
        self.withdrawn = set(state.withdrawn)
        self.policy = state.policy
        self.requests = dict(state.requests)

    def state(self) -> State:
        """The state it has come to."""
        return State(
            sequence=self.sequence,
            champion=self.champion,
            stages=MappingProxyType(self.stages),
            rollout=self.rollout,
            former=tuple(self.former),
            withdrawn=frozenset(self.withdrawn),
            policy=self.policy,
            requests=MappingProxyType(self.requests),
        )

    def lapse(self, event: Event) -> None:
        """Drop the requests that an event has overtaken: what is as it was again does not bring them back."""
        if self.requests:
            state = digest_of_state(self.champion, self.rollout, self.policy)
            self.requests = {id_: one for id_, one in self.requests.items() if still_open(one, event, state)}

    def set_stage(self, version: int | None, stage: Stage) -> None:
        """Move a version, if there is one, to a stage."""
        if version is not None:
            self.stages[version] = stage

    def move_champion(self, champion: int | None) -> None:
        """Move the champion; the one that steps down becomes the latest former champion."""
        if champion == self.champion:
            return
        if champion is not None:
            self.former.pop(champion, None)
        if self.champion is not None:
            self.former.pop(self.champion, None)
            self.former[self.champion] = None
            self.set_stage(self.champion, Stage.ARCHIVED)
        self.champion = champion
        self.set_stage(champion, Stage.PRODUCTION)


def _stage(draft: _Draft, event: Event) -> None:
    draft.set_stage(event.to_version, Stage.STAGING)


def _retire(draft: _Draft, event: Event) -> None:
    draft.set_stage(event.to_version, Stage.ARCHIVED)


def _promote(draft: _Draft, event: Event) -> None:
    draft.move_champion(event.to_version)
    draft.rollout = None
    draft.withdrawn.discard(event.to_version)


def _roll_back(draft: _Draft, event: Event) -> None:
    if draft.champion is not None:
        draft.withdrawn.add(draft.champion)
    draft.move_champion(event.to_version)
    draft.rollout = None
    # Going back to a version on purpose is trust in it: it may be an emergency's choice again later.
    draft.withdrawn.discard(event.to_version)


def _rollout(draft: _Draft, event: Event) -> None:
    draft.rollout = event.rollout if event.rollout is not None and event.rollout.active else None
    draft.set_stage(draft.rollout.canary if draft.rollout else None, Stage.STAGING)
    if event.rollout is not None and event.rollout.is_watch and not event.rollout.active:
        draft.set_stage(event.rollout.canary, Stage.ARCHIVED)  # the watch is over: a former champion again


def _adopt(draft: _Draft, event: Event) -> None:
    """Take over an out-of-band change; a move back to a former champion counts as a rollback."""
    if event.to_version in draft.former:
        _roll_back(draft, event)
    else:
        draft.move_champion(event.to_version)
    _rollout(draft, event)


def _ask(draft: _Draft, event: Event) -> None:
    if event.asked is not None:
        draft.requests[event.operation] = OpenRequest(event, event.asked)


def _approve(draft: _Draft, event: Event) -> None:
    """An approval by whoever asked counts for nothing, whatever door it came through."""
    there = draft.requests.get(event.answers)
    if there is not None and there.approval is None and not same_person(there.request, event):
        draft.requests[event.answers] = replace(there, approval=event)


def _set_policy(draft: _Draft, event: Event) -> None:
    draft.policy = event.policy or draft.policy


_FOLD: Mapping[Kind, Callable[[_Draft, Event], None]] = {
    Kind.STAGE: _stage,
    Kind.PROMOTE: _promote,
    Kind.START: _rollout,
    Kind.ADVANCE: _rollout,
    Kind.COMPLETE: _promote,
    Kind.ABORT: _rollout,
    Kind.EMERGENCY: _roll_back,
    Kind.ROLLBACK: _roll_back,
    Kind.RETIRE: _retire,
    Kind.ADOPT: _adopt,
    Kind.RENAME: lambda _draft, _event: None,
    Kind.PAUSE: _rollout,
    Kind.RESUME: _rollout,
    Kind.POLICY: _set_policy,
    Kind.REQUEST: _ask,
    Kind.APPROVE: _approve,
    Kind.REJECT: lambda _draft, _event: None,  # whatever answers a request, but an approval, closes it: see `fold`
}
