"""Several processes on one model: schedules with at most two preemptions, and the take-over of an emergency.

Most faults of concurrent programs show with few preemptions (Musuvathi and Qadeer, Iterative Context Bounding for
Systematic Testing of Multithreaded Programs, PLDI 2007).
"""

from __future__ import annotations

import logging
from itertools import groupby
from random import Random

import pytest

from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.core.lifecycle.state import fold
from fds_mlflow.errors import FdsError, OutcomeUnknownError, RefusedError, UnavailableError
from fds_mlflow.registry import tags
from fds_mlflow.registry.store import DeleteModelTag, SetAlias, SetVersionTag, Write
from tests.support.effort import graded
from tests.support.registry_model import MODEL, SCENARIOS, Killed, Routing, World
from tests.support.schedules import Process, Run

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
Asked = tuple[Kind, int | None]
COMPLETE = {"force": True}
PAIRS: dict[str, tuple[str, Asked, Asked]] = {
    "two promotions": ("promotion", (Kind.PROMOTE, 2), (Kind.PROMOTE, 3)),
    "start and promotion": ("start", (Kind.START, 3), (Kind.PROMOTE, 4)),
    "two starts": ("start", (Kind.START, 3), (Kind.START, 4)),
    "advance and abort": ("advance", (Kind.ADVANCE, None), (Kind.ABORT, None)),
    "two advances": ("advance", (Kind.ADVANCE, None), (Kind.ADVANCE, None)),
    "complete and abort": ("complete", (Kind.COMPLETE, None), (Kind.ABORT, None)),
    "complete and rollback": ("complete", (Kind.COMPLETE, None), (Kind.ROLLBACK, 1)),
    "stage and retire": ("start", (Kind.STAGE, 3), (Kind.RETIRE, 3)),
}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


def process_of(world: World, kind: Kind, version: int | None, actor: str) -> Process:
    """A process with one request."""
    more = COMPLETE if kind is Kind.COMPLETE else {}
    return Process(lambda by: world.do(kind, version, by=by, actor=actor, **more))


def told(events: tuple[Event, ...]) -> list[Routing]:
    """The routings that a history tells, one after the other."""
    states = [fold(events[:number]) for number in range(len(events) + 1)]
    routings = [(s.champion, s.canary, s.rollout.weight if s.rollout else None) for s in states]
    return [routing for routing, _ in groupby(routings)]


# --- schedules -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.tested(4)
@pytest.mark.parametrize("name", graded(PAIRS, quick=3))
@pytest.mark.parametrize("first", graded([0, 1]), ids=["one first", "other first"])
def test_two_operations_at_once_happen_one_after_the_other(name: str, first: int) -> None:
    """In whatever order two processes take turns, the routers see exactly what the history tells, step by step."""
    scenario, one, other = PAIRS[name]
    for head in range(1 + first, 20, 2):
        for tail in (2 + first, 5, 9 + first, 14):
            world = BY_NAME[scenario].world()
            before = len(world.history.events)
            run = Run(world, [process_of(world, *one, "ann"), process_of(world, *other, "bob")])
            run.play([(first, head), (1 - first, tail), (first, 100)])
            world.assert_settled()
            assert run.routings == told(world.history.events)[-len(run.routings) :], (head, tail)
            done = [p.result.event for p in run.processes if p.result is not None and p.result.changed]
            assert sorted(done, key=lambda event: event.sequence) == list(world.history.events[before:])
            assert all(p.error is None or isinstance(p.error, RefusedError) for p in run.processes)


@pytest.mark.parametrize("seed", range(25))
def test_three_operations_at_once_happen_one_after_the_other(seed: int) -> None:
    """Three processes in a random order of steps end with one history that explains every routing seen."""
    random = Random(seed)
    world = BY_NAME["advance"].world()
    requests: list[Asked] = [
        (Kind.ADVANCE, None),
        (Kind.ABORT, None),
        (Kind.COMPLETE, None),
        (Kind.ROLLBACK, 1),
        (Kind.STAGE, 4),
    ]
    chosen = random.sample(requests, 3)
    run = Run(world, [process_of(world, *w, f"actor {i}") for i, w in enumerate(chosen)])
    run.play([(random.randrange(3), random.randint(1, 6)) for _ in range(60)])
    world.assert_settled()
    assert run.routings == told(world.history.events)[-len(run.routings) :]


# --- an emergency past operations in flight ------------------------------------------------------------------------


def _stuck(world: World, kind: Kind = Kind.PROMOTE, version: int | None = 3) -> None:
    """Zoe's operation hangs just before its decisive write."""
    more = COMPLETE if kind is Kind.COMPLETE else {}
    with pytest.raises(Killed):
        world.do(kind, version, by=world.process(world.dying(SetAlias)), actor="zoe", **more)


def test_an_emergency_does_not_wait_for_an_operation_in_flight() -> None:
    """The champion moves at once, while somebody else's operation still counts as alive."""
    world = BY_NAME["start"].world()
    _stuck(world)
    moved: list[tuple[int, float]] = []
    world.process().run(
        MODEL,
        world.request(Kind.EMERGENCY),
        actor="eve",
        reason="fraud gets through",
        take_over=True,
        on_moved=lambda version: moved.append((version, world.clock.seconds)),
    )
    assert moved == [(1, 0.0)]
    assert world.routing() == (1, None, None)
    world.assert_settled()
    assert [(e.kind, e.outcome) for e in world.history.events[-2:]] == [
        (Kind.PROMOTE, Ending.OVERTAKEN),
        (Kind.EMERGENCY, Ending.DONE),
    ]


@pytest.mark.tested(1)
@pytest.mark.slow
@pytest.mark.parametrize("victim", graded(["promotion", "start", "complete", "abort"]))
def test_an_emergency_wins_whatever_its_victim_still_writes(victim: str) -> None:
    """However the steps of an emergency and its victim interleave, the emergency's version serves in the end."""
    scenario = BY_NAME[victim if victim != "promotion" else "start"]
    kind, version = (Kind.PROMOTE, 3) if victim == "promotion" else (scenario.kind, scenario.version)
    for head in range(2, 20):
        for tail in (2, 4, 5, 8, 100):
            world = scenario.world()
            victims = process_of(world, kind, version, "zoe")
            emergency = process_of(world, Kind.EMERGENCY, None, "eve")
            Run(world, [victims, emergency]).play([(0, head), (1, tail), (0, 100)])
            world.process().settle(MODEL, actor="bob")
            world.assert_settled()
            assert emergency.error is None, (head, tail)
            event = next(e for e in world.history.events if e.kind is Kind.EMERGENCY)
            assert event == emergency.result.event
            if world.history.events[-1] == event:
                assert world.routing()[0] == event.to_version, (head, tail)
            assert victims.error is None or isinstance(victims.error, OutcomeUnknownError | RefusedError)


@pytest.mark.slow
def test_a_crash_anywhere_in_a_take_over_is_settled() -> None:
    """An emergency killed at any of its calls, past an operation that was killed too, leaves nothing that hangs."""
    call, died = 0, True
    while died:
        call += 1
        world = BY_NAME["advance"].world()
        _stuck(world, Kind.COMPLETE, None)
        crashing = world.watched()
        crashing.kill_at = call
        try:
            world.do(Kind.EMERGENCY, by=world.process(crashing), actor="eve")
            died = False
        except Killed:
            pass
        found = world.routing()
        world.process().settle(MODEL, actor="bob")
        assert world.routing() == found, call
        world.assert_settled()


def test_a_champion_that_an_emergency_left_is_not_in_production() -> None:
    """An emergency that looked while a promotion was in flight still archives the version it really moved away from."""
    world = BY_NAME["start"].world()
    run = Run(world, [process_of(world, Kind.PROMOTE, 3, "zoe"), process_of(world, Kind.EMERGENCY, None, "eve")])
    run.play([(0, 3), (1, 2), (0, 100)])
    world.process().settle(MODEL, actor="bob")
    world.assert_settled()
    production = [v for v, there in world.store.models[MODEL].versions.items() if there.stage == "Production"]
    assert production == [world.aliases[tags.CHAMPION]]


def test_an_emergency_does_not_undo_a_later_promotion() -> None:
    """Once others have settled the emergency and promoted anew, the emergency leaves their champion alone."""
    world = BY_NAME["start"].world()
    _stuck(world)
    store = world.watched()
    waiting = world.process()
    late: list[int] = []

    def others(number: int, write: object) -> None:
        if late or write is not None or world.aliases[tags.CHAMPION] != 1:
            return
        waiting.look(MODEL)
        if world.clock.seconds >= waiting.lifetime:  # they have seen the take-over for its whole life
            late.append(number)
            world.clock.seconds += 0.1
            world.do(Kind.PROMOTE, 4, by=waiting, actor="bob")

    store.on_call = others
    world.do(Kind.EMERGENCY, by=world.process(store), actor="eve")
    assert late
    assert world.routing() == (4, None, None)
    world.assert_settled()


def test_a_second_emergency_does_not_take_over_the_first() -> None:
    """Two people press the button: the second waits for the first, and both learn how it ended."""
    world = BY_NAME["start"].world()
    run = Run(world, [process_of(world, Kind.EMERGENCY, None, "eve"), process_of(world, Kind.EMERGENCY, None, "adam")])
    run.play([(0, 9), (1, 100)])
    world.process().settle(MODEL, actor="bob")
    world.assert_settled()
    assert world.routing() == (1, None, None)
    assert sum(e.kind is Kind.EMERGENCY and e.outcome is Ending.DONE for e in world.history.events) == 1


@pytest.mark.parametrize("trouble", ["the registry is away", "somebody is always in the way"])
def test_an_emergency_that_moved_the_champion_never_says_that_nothing_was_changed(trouble: str) -> None:
    """Whatever keeps a take-over from recording itself, it says that its outcome is open; the next one records it."""
    world = BY_NAME["start"].world()
    _stuck(world)
    live = world.store.models[MODEL].tags
    value = next(value for name, value in live.items() if name.startswith("fds.intent"))
    store = world.watched()
    busy: list[str] = []

    def disturb(number: int, write: Write | None) -> FdsError | None:
        if world.aliases["champion"] != 1 or number > 500:
            return None
        if trouble == "the registry is away":
            return UnavailableError("nothing answers", fix="wait")
        for name in busy:
            live.pop(name, None)
        busy.append(tags.intent_name(world.new_id()))
        live[busy[-1]] = value
        return None

    store.fail_before = disturb
    with pytest.raises(OutcomeUnknownError, match="interrupted after its decisive write"):
        world.do(Kind.EMERGENCY, by=world.process(store), actor="eve")
    assert world.routing() == (1, None, None)
    world.process().settle(MODEL, actor="bob")
    world.assert_settled()
    assert world.routing() == (1, None, None)
    assert [e.kind for e in world.history.events if e.outcome is Ending.DONE][-1] is Kind.EMERGENCY


def test_an_emergency_that_has_nowhere_to_go_leaves_no_intent() -> None:
    """Past a live operation too, an emergency without a former champion is refused before it writes anything."""
    world = BY_NAME["promotion"].world()
    _stuck(world, Kind.PROMOTE, 2)
    store = world.watched()
    with pytest.raises(RefusedError, match="no former champion"):
        world.do(Kind.EMERGENCY, by=world.process(store))
    assert store.writes == []


def test_a_take_over_goes_past_a_version_that_was_deleted() -> None:
    """An emergency that meets a deleted former champion goes to the one before, and no intent of it stays behind."""
    world = BY_NAME["start"].world()
    world.do(Kind.PROMOTE, 3)
    _stuck(world, version=1)
    world.store.delete_version(MODEL, 2)
    world.do(Kind.EMERGENCY, actor="eve")
    assert world.routing() == (1, None, None)
    assert not world.history.intents


def test_who_loses_the_intent_of_an_operation_before_the_alias_learns_it() -> None:
    """An operation whose intent somebody deleted before its decisive write does not move the alias."""
    world = BY_NAME["start"].world()
    store = world.watched()

    def remove(number: int, write: object) -> None:
        if isinstance(write, SetVersionTag):  # between the second look and the alias
            for intent in world.history.intents:
                world.by_hand(DeleteModelTag(tags.intent_name(intent.id)))

    store.on_call = remove
    with pytest.raises(OutcomeUnknownError):
        world.do(Kind.START, 3, by=world.process(store))
    assert world.routing() == (2, None, None)
