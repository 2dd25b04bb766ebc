"""Whoever may write to a registry can write any tag: none of them locks a model, or keeps an emergency from moving."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fuzz.registries import assert_moves, spoil
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.errors import ConfigError
from fds_mlflow.model import ManagedModel
from fds_mlflow.registry import alias_names, grammar, records, tags
from fds_mlflow.registry.history import pack, read_history
from fds_mlflow.registry.records import export_line, import_line
from fds_mlflow.registry.store import DeleteModelTag, SetModelTag, SetVersionTag
from fds_mlflow.registry.transaction import AT_ONCE
from tests.support.effort import at_most
from tests.support.registry_model import MODEL, World


def _world(*, rollout: bool) -> World:
    world = World()
    for version in (1, 2, 4):
        world.do(Kind.PROMOTE, version)
    if rollout:
        world.do(Kind.START, 3)
    return world


@pytest.mark.slow
@at_most(15)
@given(st.integers(0, 2**32), st.booleans())
def test_an_emergency_moves_in_its_usual_time(seed: int, rollout: bool) -> None:
    """Whatever tags hold, its alias moves after a bounded number of calls, at once or after one lifetime of an intent
    that claims a take-over, to a version that a settled operation had promoted.
    """
    world = _world(rollout=rollout)
    spoil(Random(seed), world.store, MODEL)
    assert_moves(world)


@pytest.mark.slow
@at_most(10)
@given(st.integers(0, 2**32), st.booleans())
def test_nothing_in_tags_locks_a_model(seed: int, rollout: bool) -> None:
    """The doctor names each tag that does not count, and whatever tags hold, operations go on; only the names of the
    aliases are asked for first.
    """
    world = _world(rollout=rollout)
    spoil(Random(seed), world.store, MODEL)
    model = ManagedModel(MODEL, store=world.store, clock=world.clock, actor="bob", outcomes="sqlite://")
    told = "\n".join(finding.what for finding in model.doctor())
    assert all(name in told for name in world.history.damaged)
    model.session.transactions.longest_pause = 60.0
    if model.session.look().unnamed is None:
        model.settle()
    else:
        with pytest.raises(ConfigError, match=r"fds\.aliases"):
            world.do(Kind.STAGE, 6)
        world.by_hand(DeleteModelTag(alias_names.TAG))
        model.settle()
    model.doctor(fix=True)
    if model.session.look().state.rollout is not None:
        world.do(Kind.ABORT)
    target = 6 if model.session.look().champion_alias == 5 else 5
    assert world.do(Kind.PROMOTE, target).changed
    assert model.session.look().champion_alias == target
    assert model.session.look().agrees


def _forged(world: World, count: int, **more: object) -> None:
    """So many operations in flight that nobody runs."""
    values = {
        "actor": "eve",
        "time": "2026-01-01T00:00:00+00:00",
        "found": {"champion": 4, "canary": None, "last": [3, "x"], "rollout": ""},
        "event": {**records.event_values(world.history.events[-1]), "to": 5},
        **more,
    }
    for number in range(count):
        world.by_hand(SetModelTag(tags.intent_name(f"9{number:025d}"), grammar.dump(values)))


@pytest.mark.parametrize("seen", [False, True], ids=["not seen before", "seen to be dead"])
def test_an_emergency_settles_a_bounded_number_of_foreign_intents(seen: bool) -> None:
    """However many operations claim to be in flight, the alias moves first, a few of them are settled, the rest is said
    to be left, and later operations settle it.
    """
    world = _world(rollout=False)
    _forged(world, 40)
    process = world.process()
    if seen:
        process.look(MODEL)
        world.clock.seconds += 1_000.0
    moved: list[float] = []
    result = process.run(
        *(MODEL, world.request(Kind.EMERGENCY)),
        **{"actor": "ann", "reason": "now", "take_over": True},
        on_moved=lambda _: moved.append(world.clock.seconds),
    )
    assert result.event is not None
    assert result.event.to_version == 2
    assert moved[0] <= 1_000.0 * seen + 1.0
    assert len(world.history.intents) == 40 - AT_ONCE
    world.do(Kind.PROMOTE, 6)
    assert world.history.intents == ()
    world.assert_settled()


def test_an_intent_that_claims_a_take_over_delays_for_one_lifetime() -> None:
    """Whoever forges a take-over holds an emergency up until it is dead, and no longer."""
    world = _world(rollout=False)
    _forged(world, 3, take_over=True, lifetime=60)
    moved: list[float] = []
    world.process().run(
        *(MODEL, world.request(Kind.EMERGENCY)),
        **{"actor": "ann", "reason": "now", "take_over": True},
        on_moved=lambda _: moved.append(world.clock.seconds),
    )
    assert 60.0 <= moved[0] <= 65.0


def test_an_emergency_past_versions_that_are_gone_asks_once_which_are_there() -> None:
    """A forged history of champions that do not exist costs one look at the versions, not one try each."""
    world = _world(rollout=False)
    last = world.history.events[-1]
    for number in range(100):
        event = replace(last, sequence=4 + number, operation=f"9{number:025d}", to_version=1_000 + number)
        world.by_hand(SetModelTag(*tags.event_tag(event)))
    store = world.watched()
    asked: list[int] = []
    world.process(store).run(
        *(MODEL, world.request(Kind.EMERGENCY)),
        **{"actor": "ann", "reason": "now", "take_over": True},
        on_moved=lambda _: asked.append(store.calls),
    )
    assert world.aliases["champion"] == 2
    assert asked[0] < 40


@pytest.mark.parametrize("number", [99_999_999, 10**9, 10**15 - 1, 10**30])
def test_a_forged_sequence_number_costs_nothing(number: int) -> None:
    """The doctor names a gap by its ends, or the event as damaged; the next operation is recorded after the last that
    counts.
    """
    world = _world(rollout=False)
    event = replace(world.history.events[-1], kind=Kind.STAGE, to_version=6)
    world.by_hand(SetModelTag(f"fds.event.{number}.{'9' * 26}", tags.event_tag(event)[1]))
    model = ManagedModel(MODEL, store=world.store, clock=world.clock, actor="bob", outcomes="sqlite://")
    told = [finding.what for finding in model.doctor()]
    assert any(f"4 to {number - 1}" in what or f"fds.event.{number}" in what for what in told)
    world.do(Kind.PROMOTE, 5)
    counts = number <= 10**8
    assert world.history.last[0] == (number + 1 if counts else 4)
    assert bool(world.history.damaged) != counts


@pytest.mark.parametrize("to", [2**31, 10**30, 10**4_000, 0, -1, True, "5", 5.0])
def test_what_is_no_version_is_named_as_damaged(to: object) -> None:
    """A number that no version can have counts for nothing, and no verb ever sends it to a database."""
    world = _world(rollout=False)
    values = {**records.event_values(world.history.events[-1]), "to": to}
    with _any_digits():
        world.by_hand(SetModelTag(name := f"fds.event.00000004.{'9' * 26}", grammar.dump(values)))
    assert world.history.damaged == (name,)
    assert world.do(Kind.EMERGENCY).event.to_version == 2  # type: ignore[union-attr]


@contextmanager
def _any_digits() -> Iterator[None]:
    """Python writes no number of more than 4,300 digits unless it is told to; others do."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


def test_fields_of_a_later_release_survive() -> None:
    """What a later release has written beside what this one knows is kept: in events, their packs, exports, and the
    tag of a rollout that goes on.
    """
    world = _world(rollout=True)
    name, value = tags.event_tag(world.history.events[-1])
    values = json.loads(value)
    values |= {"ticket": {"id": 7}, "rollout": {**values["rollout"], "region": "eu"}}
    world.by_hand(SetModelTag(name, grammar.dump(values)))
    rollout_tag = json.loads(world.store.models[MODEL].versions[3].tags[tags.ROLLOUT]) | {"region": "eu"}
    world.by_hand(SetVersionTag(3, tags.ROLLOUT, grammar.dump(rollout_tag)))
    event = world.history.events[-1]
    assert import_line(json.loads(json.dumps(export_line(event)))) == event
    packed = pack([event])
    assert read_history({packed.name: packed.value}).events == (event,)
    assert json.loads(tags.event_tag(event)[1]) == values
    world.do(Kind.ADVANCE)
    assert json.loads(world.store.models[MODEL].versions[3].tags[tags.ROLLOUT])["region"] == "eu"
    world.do(Kind.ABORT)
    world.assert_settled()


def test_only_the_start_holds_the_plan() -> None:
    """Later events name a rollout's plan by its digest, so that a plan may be long; an export repeats it."""
    world = _world(rollout=True)
    world.do(Kind.ADVANCE)
    start, advance = (json.loads(tags.event_tag(event)[1])["rollout"] for event in world.history.events[-2:])
    assert "plan" in start
    assert "plan" not in advance
    assert len(advance["plan_digest"]) == 32
    assert world.history.events[-1].rollout.plan == Plan()  # type: ignore[union-attr]
    assert export_line(world.history.events[-1])["rollout"]["plan"] == start["plan"]


def test_an_event_whose_plan_is_gone_is_named_as_damaged() -> None:
    """Without its start, what a later event was about is not guessed; restoring the start brings it back."""
    world = _world(rollout=True)
    world.do(Kind.ADVANCE)
    start, advance = world.history.events[-2:]
    name, value = tags.event_tag(start)
    world.by_hand(DeleteModelTag(name))
    assert world.history.damaged == (tags.event_tag(advance)[0],)
    world.by_hand(SetModelTag(name, value))
    assert world.history.events[-1] == advance
