"""Packing keeps every event, in few tags, wherever it is interrupted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.lifecycle.events import Event, Kind, Rollout
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.registry import grammar, packing, tags
from fds_mlflow.registry.history import pack, read_history
from fds_mlflow.registry.store import DeleteModelTag, SetModelTag, Write
from tests.support.effort import at_most

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def _event(number: int, size: int = 80) -> Event:
    """An event whose operation and reason compress as badly as real ones."""
    scattered = [(number * 2_654_435_761 + i * i * 40_503) >> (i % 7) for i in range(max(26, size))]
    ulid = "".join(_DIGITS[value % 32] for value in scattered[:26])
    reason = "".join(chr(0x61 + value % 26) for value in scattered[:size])
    time = NOON + timedelta(seconds=number * 37.003_1)
    rollout = Rollout(ulid, 1, 2, Plan([10, 50, 100]), 1_000, 0, time) if number % 2 else None
    return Event(number, ulid, Kind.START if rollout else Kind.PROMOTE, "ann", reason, time, 1, 2, rollout)


def _apply(given_tags: dict[str, str], writes: list[Write]) -> None:
    for write in writes:
        match write:
            case SetModelTag(name, value):
                given_tags[name] = value
            case DeleteModelTag(name):
                given_tags.pop(name)
            case _:
                raise AssertionError(write)


def _grown(count: int, sizes: list[int] | None = None, stops: list[int] | None = None) -> dict[str, str]:
    """The tags of a model after so many operations, each of which packed; `stops`: writes until each is killed."""
    there: dict[str, str] = {}
    for number in range(1, count + 1):
        name, value = tags.event_tag(_event(number, sizes[number % len(sizes)] if sizes else 80))
        there[name] = value
        due = packing.due(read_history(there))
        _apply(there, due[: stops[number % len(stops)]] if stops else due)
    return there


def _packs(there: dict[str, str]) -> list[str]:
    return sorted(name for name in there if name.startswith("fds.events."))


@pytest.mark.slow
def test_a_long_history_takes_few_tags() -> None:
    """Four hundred events fill their packs: each but the newest could not take the next event."""
    there = _grown(400)
    history = read_history(there)
    assert [event.sequence for event in history.events] == list(range(1, 401))
    assert len(history.loose) <= tags.LOOSE
    names = _packs(there)
    assert all(len(there[name]) <= grammar.MAX_VALUE for name in names)
    for name, following in pairwise(names):
        more = [*history.packs[name], history.packs[following][0]]
        assert pack(more).looked < len(more)


@pytest.mark.slow
@at_most(30)
@given(
    st.integers(8, 60),
    st.lists(st.integers(0, 900), min_size=1, max_size=5),
    st.lists(st.integers(0, 9), min_size=1, max_size=5),
)
def test_packing_killed_anywhere_loses_and_doubles_nothing(count: int, sizes: list[int], stops: list[int]) -> None:
    """However often packing is killed after any of its writes, the history reads the same; the next one finishes."""
    with patch.multiple(tags, LOOSE=6, KEEP_LOOSE=3):
        _kill_and_go_on(count, sizes, stops)


def _kill_and_go_on(count: int, sizes: list[int], stops: list[int]) -> None:
    there = _grown(count, sizes, stops)
    written = [_event(number, sizes[number % len(sizes)]) for number in range(1, count + 1)]
    due = packing.due(read_history(there))
    for stop in range(len(due) + 1):
        halfway = dict(there)
        _apply(halfway, due[:stop])
        assert list(read_history(halfway).events) == written
    while due:
        _apply(there, due)
        due = packing.due(read_history(there))
    history = read_history(there)
    assert len(history.loose) <= tags.LOOSE
    assert not {(e.operation, e.kind) for e in history.loose.values()} & history.packed
    assert sum(len(events) for events in history.packs.values()) == len(history.packed)


def test_a_pack_whose_events_another_one_holds_is_removed() -> None:
    """A process killed between a larger pack and the removal of the smaller leaves work for the next packing."""
    events = [_event(number) for number in range(1, 41)]
    small = pack(events[:20])
    large = pack(events[:30])
    due = packing.due(read_history({small.name: small.value, large.name: large.value}))
    assert due == [DeleteModelTag(small.name)]


def test_a_pack_that_a_hand_has_changed_is_kept() -> None:
    """Where two packs tell an event differently, neither is thrown away."""
    events = [_event(number) for number in range(1, 41)]
    changed = replace(events[5], reason="something else")
    small = pack([*events[:5], changed, *events[6:20]])
    large = pack(events[:30])
    assert packing.due(read_history({small.name: small.value, large.name: large.value})) == []


def test_a_pack_that_a_hand_has_renamed_is_not_replaced() -> None:
    """A pack whose name belongs to other events stays: what it holds is nowhere else."""
    events = [_event(number) for number in range(1, tags.LOOSE + 2)]
    loose = dict(tags.event_tag(event) for event in events)
    name = next(w.name for w in packing.due(read_history(loose)) if isinstance(w, SetModelTag))
    elsewhere = _event(900)
    value = pack([elsewhere]).value
    there = {**loose, name: value}
    _apply(there, packing.due(read_history(there)))
    assert list(read_history(there).events) == [*events, elsewhere]


def test_an_unreadable_pack_is_left_alone() -> None:
    """Packing neither reads nor removes what a hand has damaged; the other events are packed all the same."""
    events = [_event(number) for number in range(1, tags.LOOSE + 2)]
    there = {"fds.events.00000900-00000901": "nonsense", **dict(tags.event_tag(event) for event in events)}
    _apply(there, packing.due(read_history(there)))
    assert there["fds.events.00000900-00000901"] == "nonsense"
    assert list(read_history(there).events) == events
    assert len(read_history(there).loose) == tags.KEEP_LOOSE


def test_a_packing_leaves_the_newest_events_loose_and_no_others() -> None:
    """What does not fit into the newest pack goes into the next one in the same packing."""
    there = {(one := pack([_event(number) for number in range(1, 21)])).name: one.value}
    there |= dict(tags.event_tag(_event(number)) for number in range(21, 21 + 2 * tags.LOOSE))
    _apply(there, packing.due(read_history(there)))
    history = read_history(there)
    assert [event.sequence for event in history.events] == list(range(1, 21 + 2 * tags.LOOSE))
    assert len(history.loose) == tags.KEEP_LOOSE
    assert len(history.packs) > 1
