"""The lifecycle on real registries, from several processes at once, and the check of what they were told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from benchmarks.interleavings.invariants import asked_weight
from benchmarks.registry_load.clients import (
    ALREADY,
    CONFLICT,
    DONE,
    REFUSED,
    Attempt,
    Crowd,
    all_attempts,
    prepare,
    together,
)
from benchmarks.registry_load.linear import Record, violations
from benchmarks.registry_load.registry_load import checked
from benchmarks.registry_load.scale import emergencies, long_history
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.lifecycle.state import fold
from tests.support.effort import graded
from tests.support.servers import BACKENDS, missing, registry

LIFETIME = 12.0
"""Seconds an intent lives; far above twice the longest write, which each test that relies on it asserts."""


@pytest.fixture(params=graded(BACKENDS, quick=0, tested=1))
def uri(request: pytest.FixtureRequest) -> Iterator[str]:
    """A registry of each kind with a model of ten versions, or a skip with the reason."""
    reason = missing(request.param)
    if reason is not None:
        pytest.skip(reason)
    with registry(request.param) as found:
        prepare(found)
        yield found


@pytest.mark.campaign
def test_operations_of_several_processes_happen_one_after_the_other(uri: str) -> None:
    """Four processes at once on one model: what each is told agrees with one history that loses and doubles nothing."""
    worked = together(uri, Crowd(operations=32, processes=4, take_overs=1, time_to_live=LIFETIME), seed=7)
    attempts = all_attempts(worked)
    assert 2 * max(one.longest_write for one in worked) < LIFETIME, "the machine is too slow for this test to tell"
    assert len(attempts) == 32
    assert any(attempt.outcome == DONE for attempt in attempts)
    assert checked(uri, attempts, LIFETIME) == []


@pytest.mark.campaign
@pytest.mark.slow
def test_an_emergency_moves_the_champion_past_dead_and_live_operations() -> None:
    """The champion moves before a dead or a live operation has been waited for, and all is recorded in the end."""
    with registry("sqlite") as uri:
        prepare(uri)
        found = emergencies(uri, "fraud", rounds=1)
    for name in ("past_dead_intent", "past_live_operation"):
        assert found[f"{name}_moved"] < found[f"{name}_recorded"]


# --- the check itself ----------------------------------------------------------------------------------------------


def lived() -> Record:
    """A history of forty operations, one after the other, each by a client who was told the truth."""
    events, _ = long_history(40)
    attempts = [
        Attempt(
            client=event.sequence % 3,
            request=Request(
                event.kind,
                event.to_version if event.kind not in (Kind.ADVANCE, Kind.COMPLETE, Kind.ABORT) else None,
                weight=asked_weight(fold(events[:place]), event) if event.kind is Kind.ADVANCE else None,
                plan=event.rollout.plan if event.rollout and event.kind is Kind.START else None,
                force=event.forced,
                rollout_id=event.rollout.id if event.rollout else None,
                now=event.rollout.since if event.rollout else None,
            ),
            take_over=False,
            ids=(event.operation,),
            operation=event.operation,
            outcome=DONE,
            start=float(event.sequence),
            end=event.sequence + 0.5,
        )
        for place, event in enumerate(events)
    ]
    return Record(events, attempts)


def test_a_truthful_record_is_accepted() -> None:
    """Operations one after the other, each reported as it was, violate nothing."""
    assert violations(lived()) == []


def test_a_lost_event_is_found() -> None:
    """An operation that was reported as done and is not in the history is found, as is the gap."""
    record = lived()
    found = violations(replace(record, events=[*record.events[:10], *record.events[11:]]))
    assert any("gaps" in said for said in found)
    assert any("the history has []" in said for said in found)


def test_a_lost_last_event_is_found() -> None:
    """The last event leaves no gap; its client misses it all the same."""
    record = lived()
    assert len(violations(replace(record, events=record.events[:-1]))) == 1


def test_a_doubled_event_is_found() -> None:
    """An operation that a retry did twice is found."""
    record = lived()
    again = replace(record.events[-1], sequence=len(record.events) + 1)
    found = violations(replace(record, events=[*record.events, again]))
    assert any("has 2 events" in said for said in found)


@pytest.mark.parametrize("told", [REFUSED, CONFLICT, ALREADY])
def test_what_was_reported_as_not_done_is_not_in_the_history(told: str) -> None:
    """An operation that was reported as refused, and happened, is found."""
    record = lived()
    attempts = [*record.attempts[:10], replace(record.attempts[10], outcome=told, operation=None)]
    assert violations(replace(record, attempts=[*attempts, *record.attempts[11:]]))


def test_an_event_that_nobody_asked_for_is_found() -> None:
    """An event without a client is found."""
    record = lived()
    found = violations(replace(record, attempts=record.attempts[:-1]))
    assert any(said.startswith("nobody asked for") for said in found)


def test_an_order_against_real_time_is_found() -> None:
    """What ended before another began has to stand before it, whatever the table allows."""
    record = lived()
    attempts = list(record.attempts)
    late, early = attempts[20], attempts[21]
    attempts[20] = replace(late, start=early.start + 1, end=early.end + 1)
    found = violations(replace(record, attempts=attempts))
    assert any("ended before an event that precedes it began" in said for said in found)


def test_a_transition_that_the_table_forbids_is_found() -> None:
    """Two events in the wrong order, as without mutual exclusion, lead somewhere the table does not."""
    record = lived()
    starts = [place for place, event in enumerate(record.events) if event.kind is Kind.START]
    place = Random(1).choice(starts[1:])
    events = list(record.events)
    events[place] = replace(events[place], from_version=99)
    found = violations(replace(record, events=events))
    assert any("does not lead there" in said for said in found)


@pytest.mark.parametrize(("told", "kind"), [(REFUSED, Kind.STAGE), (ALREADY, Kind.PROMOTE)])
def test_an_answer_that_was_right_at_no_moment_is_found(told: str, kind: Kind) -> None:
    """A refusal, or an answer that it is so already, has to be right at a moment between question and answer."""
    record = lived()
    unknown = Request(kind, 77)  # no history of ten versions refuses to stage it, or has it as champion
    wrong = Attempt(9, unknown, False, (), None, told, start=5.0, end=30.0)
    found = violations(replace(record, attempts=[*record.attempts, wrong]))
    assert len(found) == 1
    assert found[0].startswith("no state between")
