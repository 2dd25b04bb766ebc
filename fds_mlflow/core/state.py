"""The state of a model's lifecycle, folded from its events, and the table of what each state allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from fds_mlflow.core.events import Event, Kind, Outcome, Rollout


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
    state = start or State()
    for event in events:
        if event.outcome is Outcome.DONE:
            state = _FOLD[event.kind](state, event)
        state = replace(state, sequence=event.sequence)
    return state


def _with_stage(state: State, version: int | None, stage: Stage) -> State:
    if version is None:
        return state
    return replace(state, stages=MappingProxyType({**state.stages, version: stage}))


def _with_champion(state: State, champion: int | None) -> State:
    """Move the champion; the one that steps down becomes the latest former champion."""
    if champion == state.champion:
        return state
    former = tuple(v for v in state.former if v not in (state.champion, champion))
    if state.champion is not None:
        former = (*former, state.champion)
        state = _with_stage(state, state.champion, Stage.ARCHIVED)
    state = replace(state, champion=champion, former=former)
    return _with_stage(state, champion, Stage.PRODUCTION)


def _stage(state: State, event: Event) -> State:
    return _with_stage(state, event.to_version, Stage.STAGING)


def _retire(state: State, event: Event) -> State:
    return _with_stage(state, event.to_version, Stage.ARCHIVED)


def _promote(state: State, event: Event) -> State:
    state = replace(_with_champion(state, event.to_version), rollout=None)
    return replace(state, withdrawn=state.withdrawn - {event.to_version})


def _roll_back(state: State, event: Event) -> State:
    left = {state.champion} - {None}
    state = replace(_with_champion(state, event.to_version), rollout=None)
    # Going back to a version on purpose is trust in it: it may be an emergency's choice again later.
    return replace(state, withdrawn=(state.withdrawn | left) - {event.to_version})


def _rollout(state: State, event: Event) -> State:
    rollout = event.rollout if event.rollout is not None and event.rollout.active else None
    return _with_stage(replace(state, rollout=rollout), rollout.canary if rollout else None, Stage.STAGING)


def _adopt(state: State, event: Event) -> State:
    """Take over what a hand did; a move back to a former champion counts as a rollback."""
    back = event.to_version in state.former
    state = _roll_back(state, event) if back else _with_champion(state, event.to_version)
    return _rollout(state, event)


_FOLD: Mapping[Kind, Callable[[State, Event], State]] = {
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
}
