"""What clients were told, against what the registry's history says: is there one order that explains both?

The history is the order (Herlihy and Wing, Linearizability: A Correctness Condition for Concurrent Objects, 1990), so
nothing has to be searched for: each answer must be right at a place of the history within the time it took.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.registry_load.clients import ALREADY, DONE, REFUSED, UNKNOWN, Attempt, say
from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.core.lifecycle.operations import Already, Target, decide
from fds_mlflow.core.lifecycle.state import State, fold
from fds_mlflow.errors import RefusedError


@dataclass(frozen=True)
class Record:
    """A history and the attempts that made it.

    Attributes:
        events: The whole history, in order of sequence.
        attempts: What every client was told.
        before: How many events there were before the clients began.
    """

    events: Sequence[Event]
    attempts: Sequence[Attempt]
    before: int = 0


def violations(record: Record) -> list[str]:
    """Everything that no order explains; empty where all is well."""
    return [
        *_sequence(record.events),
        *_promises(record),
        *_owners(record),
        *_real_time(record),
        *_transitions(record),
        *_answers(record),
    ]


def _sequence(events: Sequence[Event]) -> Iterator[str]:
    """From 1 without gaps, each operation once."""
    numbers = [event.sequence for event in events]
    if numbers != list(range(1, len(numbers) + 1)):
        wrong = sorted(set(range(1, max(numbers) + 1)) ^ set(numbers)) or "a number twice"
        yield f"the sequence has gaps or doubles: {wrong}"
    operations = [event.operation for event in events]
    for twice in {operation for operation in operations if operations.count(operation) > 1}:
        yield f"operation {twice} has {operations.count(twice)} events"


def _promises(record: Record) -> Iterator[str]:
    """What was reported as done is there, once; what was reported as not done is not."""
    by_operation = {event.operation: event for event in record.events}
    for attempt in record.attempts:
        mine = [by_operation[i] for i in attempt.ids if i in by_operation and by_operation[i].kind is not Kind.ADOPT]
        effective = [event.operation for event in mine if event.outcome is Ending.DONE]
        if attempt.outcome == UNKNOWN:
            wrong = len(effective) > 1
        else:
            wrong = effective != ([attempt.operation] if attempt.outcome == DONE else [])
        if wrong:
            yield f"{say(attempt)}: the history has {[_said(event) for event in mine]}"


def _owners(record: Record) -> Iterator[str]:
    """No event without a client, none of another kind than was asked for, no hand blamed where none was."""
    owners = {i: attempt for attempt in record.attempts for i in attempt.ids}
    for event in record.events[record.before :]:
        owner = owners.get(event.operation)
        if owner is None:
            yield f"nobody asked for {_said(event)}"
        elif event.kind is Kind.ADOPT:
            yield f"a hand is blamed for what operations did: {_said(event)}: {event.reason}"
        elif event.kind is not owner.request.kind:
            yield f"{_said(event)} is not what was asked for: {say(owner)}"
        elif event.outcome is not Ending.DONE and not (owner.outcome == UNKNOWN or owner.take_over):
            yield f"{_said(event)} was recorded for {say(owner)}"


def _real_time(record: Record) -> Iterator[str]:
    """What ended before something else began has the smaller sequence."""
    owners = {i: attempt for attempt in record.attempts for i in attempt.ids}
    latest: Attempt | None = None  # the attempt that began last, of the events so far
    for event in record.events[record.before :]:
        owner = owners.get(event.operation)
        if owner is None or event.outcome is not Ending.DONE:
            continue
        if latest is not None and owner.outcome == DONE and owner.end < latest.start:
            yield f"{_said(event)} ended before an event that precedes it began: {say(owner)}, {say(latest)}"
        if latest is None or owner.start > latest.start:
            latest = owner


def _transitions(record: Record) -> Iterator[str]:
    """Every event that took effect is what its request leads to from the state before it."""
    owners = {i: attempt for attempt in record.attempts for i in attempt.ids}
    states = _states(record.events)
    for place in range(record.before, len(record.events)):
        event, state = record.events[place], states[place]
        owner = owners.get(event.operation)
        if owner is None or event.outcome is not Ending.DONE or event.kind is Kind.ADOPT:
            continue
        if owner.take_over:
            # It may have overtaken operations that are recorded before it, and that it could not see when it chose.
            allowed = event.to_version in (*state.former, state.champion)
        else:
            moved = event.from_version == state.champion or event.kind in (Kind.STAGE, Kind.RETIRE)
            allowed = moved and _decided(state, owner) == Target(event.to_version, event.rollout, event.forced)
        if not allowed:
            yield f"the state before {_said(event)} does not lead there: champion {state.champion}, {state.rollout}"


def _answers(record: Record) -> Iterator[str]:
    """What was refused, or was so already, was so at a moment between question and answer."""
    owners = {i: attempt for attempt in record.attempts for i in attempt.ids}
    states = _states(record.events)
    owned = [(place, owners.get(event.operation)) for place, event in enumerate(record.events, 1)]
    for attempt in record.attempts:
        if attempt.outcome not in (REFUSED, ALREADY):
            continue
        ended = [place for place, owner in owned if owner and owner.outcome == DONE and owner.end < attempt.start]
        begun = [place for place, owner in owned if owner and owner.start > attempt.end]
        first, last = max(ended, default=record.before), min(begun, default=len(states)) - 1
        answers = {_answer(states[place], attempt) for place in range(first, max(last, first) + 1)}
        if attempt.outcome not in answers:
            yield f"no state between {first} and {last} explains {say(attempt)}"


def _states(events: Sequence[Event]) -> list[State]:
    states = [State()]
    for event in events:
        states.append(fold([event], states[-1]))
    return states


def _decided(state: State, attempt: Attempt) -> Target | Already | None:
    try:
        return decide(state, attempt.request)
    except RefusedError:
        return None


def _answer(state: State, attempt: Attempt) -> str:
    target = _decided(state, attempt)
    return REFUSED if target is None else ALREADY if isinstance(target, Already) else DONE


def _said(event: Event) -> str:
    done = "" if event.outcome is Ending.DONE else f" ({event.outcome})"
    change = f"{event.from_version} to {event.to_version}"
    return f"{event.sequence} {event.kind} {change}{done} by {event.actor} [{event.operation}]"
