"""The state of a model's lifecycle, folded from its events, and the table of what each state allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from fds_mlflow.core.lifecycle.events import Ending, Event, Kind, Rollout


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
    """

    sequence: int = 0
    champion: int | None = None
    stages: Mapping[int, Stage] = field(default_factory=lambda: MappingProxyType({}))
    rollout: Rollout | None = None
    former: tuple[int, ...] = ()
    withdrawn: frozenset[int | None] = frozenset()

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

    Operations that did not take effect count in the sequence and change nothing else.
    """
    draft = _Draft(start or State())
    for event in events:
        if event.outcome is Ending.DONE:
            _FOLD[event.kind](draft, event)
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

    def state(self) -> State:
        """The state it has come to."""
        return State(
            sequence=self.sequence,
            champion=self.champion,
            stages=MappingProxyType(self.stages),
            rollout=self.rollout,
            former=tuple(self.former),
            withdrawn=frozenset(self.withdrawn),
        )

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
}
