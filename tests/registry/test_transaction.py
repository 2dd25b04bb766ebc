"""Operations exclude one another, cannot half-happen, and are recorded exactly once."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace

import pytest

from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.core.weight import FULL
from fds_mlflow.errors import (
    ConfigError,
    ConflictError,
    FdsError,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
    UnavailableError,
)
from fds_mlflow.registry import grammar, tags
from fds_mlflow.registry.store import (
    DeleteAlias,
    DeleteModelTag,
    SetAlias,
    SetModelTag,
    SetStage,
    SetVersionTag,
    Write,
)
from tests.support.effort import graded
from tests.support.registry_model import MODEL, SCENARIOS, Killed, Scenario, World, ids

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
EXPECTED = {
    "stage": "intent event stage:1=Staging -intent",
    "first promotion": "intent champion=1 stage:1=Production event -intent",
    "promotion": "intent champion=2 stage:1=Archived stage:2=Production event -intent",
    "start": "intent rollout:3 canary=3 stage:3=Staging event -intent",
    "advance": "intent rollout:3 event -intent",
    "advance to 50 %": "intent rollout:3 event -intent",
    "complete": "intent champion=3 rollout:3 -canary stage:2=Archived stage:3=Production event -intent",
    "abort": "intent -canary rollout:3 event -intent",
    "emergency": "intent champion=1 stage:1=Production stage:2=Archived event -intent",
    "emergency in a rollout": "intent champion=1 rollout:3 -canary stage:1=Production stage:2=Archived event -intent",
    "rollback": "intent champion=1 stage:1=Production stage:2=Archived event -intent",
    "rollback in a rollout": "intent champion=1 rollout:3 -canary stage:1=Production stage:2=Archived event -intent",
    "pause": "intent rollout:3 event -intent",
    "resume": "intent rollout:3 event -intent",
    "abort of a paused rollout": "intent -canary rollout:3 event -intent",
    "policy": "intent event policy -intent",
    "promotion that is approved": "intent champion=3 stage:2=Archived stage:3=Production event -intent",
    "retire": "intent event stage:1=Archived -intent",
    "promotion that would wake an old canary": (
        "intent -canary champion=2 -canary stage:2=Production stage:4=Archived event -intent"
    ),
    "start past an old canary": "intent -canary rollout:5 canary=5 stage:5=Staging event -intent",
    "promotion after a hand": (
        "intent event stage:2=Archived stage:5=Production -intent"
        " intent champion=3 stage:3=Production stage:5=Archived event -intent"
    ),
    "rollback after a hand": (
        "intent event stage:2=Archived stage:5=Production -intent"
        " intent champion=1 stage:1=Production stage:5=Archived event -intent"
    ),
}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


def short(write: Write) -> str:
    """A write as the tests spell it."""
    match write:
        case SetAlias(alias, version):
            return f"{alias}={version}"
        case DeleteAlias(alias):
            return f"-{alias}"
        case SetModelTag(name, _):
            return name.split(".")[1]
        case DeleteModelTag(name):
            return f"-{name.split('.')[1]}"
        case SetVersionTag(version, name, _):
            return f"{name.removeprefix('fds.')}:{version}"
        case SetStage(version, stage):
            return f"stage:{version}={stage}"


def done_once(world: World, operation: str) -> Event:
    """The one event of an operation."""
    (event,) = [event for event in world.history.events if event.operation == operation]
    return event


def tidy(world: World) -> None:
    """Delete the inert canary alias that only a hand can leave behind, so that all aliases can be compared."""
    if world.routing()[1] is None and tags.CANARY in world.aliases:
        world.by_hand(DeleteAlias(tags.CANARY))


# --- the order of writes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS, ids=ids)
def test_writes_come_in_the_documented_order(scenario: Scenario) -> None:
    """Every operation writes its intent, what is inert, the decisive write, what tidies, the event, in that order."""
    world = scenario.world()
    store = world.watched()
    scenario.run(world, world.process(store))
    assert " ".join(short(write) for write in store.writes) == EXPECTED[scenario.name]
    world.assert_settled()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=ids)
def test_only_one_write_changes_the_routing(scenario: Scenario) -> None:
    """A router sees the old routing before the decisive write and the new one after it, never anything else."""
    world = scenario.world()
    before = world.routing()
    store = world.watched()
    seen = [before]
    store.fail_after = lambda _number, _write: seen.append(world.routing())
    scenario.run(world, world.process(store))
    changes = [new for old, new in itertools.pairwise(seen) if old != new]
    assert changes == ([world.routing()] if world.routing() != before else [])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=ids)
def test_an_operation_is_recorded_with_actor_reason_and_versions(scenario: Scenario) -> None:
    """The result is the event in the history: who, why, from where to where, and numbered without gaps."""
    world = scenario.world()
    result = scenario.run(world, world.process())
    assert result.changed
    last = world.history.events[-1]
    assert result.event == last
    assert (last.kind, last.actor, last.reason) == (scenario.kind, "ann", "because")
    assert last.outcome is Ending.DONE


# --- crashes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", graded(SCENARIOS, quick=5), ids=ids)
def test_a_crash_at_any_call_is_settled(scenario: Scenario) -> None:
    """A process killed before any registry call leaves correct routing, and the next one settles what it left."""
    complete = scenario.world()
    old = complete.routing()
    store = complete.watched()
    scenario.run(complete, complete.process(store))
    new = complete.routing()
    for call in range(1, store.calls + 1):
        world = scenario.world()
        crashing = world.watched()
        crashing.kill_at = call
        before = world.history.events
        with pytest.raises(Killed):
            scenario.run(world, world.process(crashing))
        found = world.routing()
        assert found in (old, new), call
        intents = world.history.intents
        world.process().settle(MODEL, actor="bob")
        assert world.routing() == found, call
        tidy(world)
        world.assert_settled()
        for intent in intents:
            if intent.event is not None and intent.event.kind is scenario.kind and old != new:
                assert done_once(world, intent.id).outcome is (Ending.DONE if found == new else Ending.ABANDONED)
        assert world.history.events[: len(before)] == before


@pytest.mark.slow
@pytest.mark.parametrize("name", graded(["complete", "start past an old canary", "emergency in a rollout", "stage"]))
def test_a_crash_while_settling_is_settled(name: str) -> None:
    """Settling can be killed before any of its writes too; the one after it finishes the work, still once."""
    scenario = BY_NAME[name]
    counting = scenario.world()
    store = counting.watched()
    scenario.run(counting, counting.process(store))
    for first in range(1, len(store.writes) + 1):
        second, died = 0, True
        while died:
            second += 1
            world = scenario.world()
            crashing, settling = world.watched(), world.watched()
            crashing.kill_at_write, settling.kill_at_write = first, second
            with pytest.raises(Killed):
                scenario.run(world, world.process(crashing))
            found = world.routing()
            try:
                world.process(settling).settle(MODEL, actor="bob")
                died = False
            except Killed:
                pass
            world.process().settle(MODEL, actor="cy")
            assert world.routing() == found, (first, second)
            tidy(world)
            world.assert_settled()


def test_a_promotion_that_died_is_abandoned_and_does_not_happen_later() -> None:
    """An operation that died before its decisive write never happens afterwards; the history says abandoned."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    with pytest.raises(Killed):
        world.do(Kind.PROMOTE, 2, by=world.process(world.dying(SetAlias)))
    world.do(Kind.STAGE, 3, actor="bob")
    assert world.aliases == {"champion": 1}
    assert [(e.kind, e.outcome) for e in world.history.events[1:]] == [
        (Kind.PROMOTE, Ending.ABANDONED),
        (Kind.STAGE, Ending.DONE),
    ]


def test_a_start_that_died_leaves_nothing_that_a_hand_could_wake() -> None:
    """The rollout tag of a start that never happened is marked, so that setting the alias by hand does nothing."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    with pytest.raises(Killed):
        world.do(Kind.START, 2, by=world.process(world.dying(SetAlias)))
    world.process().settle(MODEL, actor="bob")
    world.by_hand(SetAlias(tags.CANARY, 2))
    assert world.routing() == (1, None, None)


def test_a_dead_operation_whose_alias_a_hand_moved_is_overtaken() -> None:
    """If somebody moved the champion after the crash, the dead operation is recorded as overtaken, nothing else."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    with pytest.raises(Killed):
        world.do(Kind.PROMOTE, 2, by=world.process(world.dying(SetAlias)))
    world.by_hand(SetAlias(tags.CHAMPION, 3))
    world.process().settle(MODEL, actor="bob")
    assert [(e.kind, e.outcome) for e in world.history.events[1:]] == [
        (Kind.PROMOTE, Ending.OVERTAKEN),
        (Kind.ADOPT, Ending.DONE),
    ]
    assert world.aliases == {"champion": 3}
    world.assert_settled()


# --- failures that pass, answers that get lost -----------------------------------------------------------------


@pytest.mark.parametrize("scenario", graded(SCENARIOS, quick=5), ids=ids)
@pytest.mark.parametrize("landed", [False, True], ids=["call lost", "answer lost"])
def test_a_call_that_fails_for_a_moment_is_repeated(scenario: Scenario, landed: bool) -> None:
    """One unanswered call anywhere, whether it landed or not, still leads to success, done once in the history."""
    world = scenario.world()
    counting = world.watched()
    writing: list[int] = []
    counting.on_call = lambda number, write: writing.append(number) if write else None
    scenario.run(world, world.process(counting))
    expected = [(e.kind, e.from_version, e.to_version, e.outcome) for e in world.history.events]
    for call in writing if landed else range(1, counting.calls + 1):
        world = scenario.world()
        store = world.watched()

        def fail(number: int, write: Write | None, call: int = call) -> UnavailableError | None:
            return UnavailableError("no answer", fix="wait") if number == call else None

        if landed:
            store.fail_after = fail
        else:
            store.fail_before = fail
        scenario.run(world, world.process(store))
        world.assert_settled()
        assert [(e.kind, e.from_version, e.to_version, e.outcome) for e in world.history.events] == expected, call


def test_three_failures_in_a_row_are_survived() -> None:
    """Several passing failures of the same call do not end an operation."""
    world = World()
    store = world.watched()
    store.fail_before = lambda number, _write: UnavailableError("locked", fix="wait") if number in (4, 5, 6) else None
    assert world.do(Kind.PROMOTE, 1, by=world.process(store)).changed
    world.assert_settled()


def test_a_registry_that_stays_away_before_the_decisive_write_changes_nothing() -> None:
    """When the registry goes away before anything was decided, the caller gets an error and nothing moved."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    store = world.watched()
    store.fail_before = lambda number, _write: UnavailableError("down", fix="wait") if number > 4 else None
    with pytest.raises((UnavailableError, OutcomeUnknownError)):
        world.do(Kind.PROMOTE, 2, by=world.process(store))
    assert world.routing() == (1, None, None)
    world.process().settle(MODEL, actor="bob")
    world.assert_settled()


def test_a_registry_that_goes_away_after_the_decisive_write_leaves_the_outcome_to_the_history() -> None:
    """When the answer to the decisive write never comes, the caller learns that the history will tell, and it does."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    store = world.watched()
    down = False

    def fail(number: int, write: Write | None) -> UnavailableError | None:
        nonlocal down
        down = down or isinstance(write, SetAlias)
        return UnavailableError("down", fix="wait") if down else None

    store.fail_after = fail
    with pytest.raises(OutcomeUnknownError, match="history"):
        world.do(Kind.PROMOTE, 2, by=world.process(store))
    world.process().settle(MODEL, actor="bob")
    world.assert_settled()
    assert world.history.events[-1].to_version == 2
    assert world.history.events[-1].outcome is Ending.DONE


@pytest.mark.parametrize("error", [ConfigError("does not fit", fix="-"), RuntimeError("a bug"), KeyboardInterrupt()])
def test_an_operation_broken_off_after_its_decisive_write_is_finished_by_others(error: BaseException) -> None:
    """Whatever breaks off an operation once the alias has moved, its intent stays for the next one to finish."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    store = world.watched()
    store.fail_before = lambda _number, write: error if isinstance(write, SetStage) else None
    expected = OutcomeUnknownError if isinstance(error, ConfigError) else type(error)
    with pytest.raises(expected):
        world.do(Kind.PROMOTE, 2, by=world.process(store))
    assert world.routing() == (2, None, None)
    assert [intent.actor for intent in world.history.intents] == ["ann"]
    world.process().settle(MODEL, actor="bob")
    assert done_once(world, world.history.last[1]).outcome is Ending.DONE
    world.assert_settled()


@pytest.mark.parametrize("error", [ConfigError("does not fit", fix="-"), RuntimeError("a bug"), KeyboardInterrupt()])
def test_an_operation_broken_off_before_its_decisive_write_leaves_nothing(error: BaseException) -> None:
    """Broken off before anything was decided, an operation takes its intent back and nobody has to wait."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    store = world.watched()
    store.fail_before = lambda number, _write: error if number == 4 else None
    with pytest.raises(type(error)):
        world.do(Kind.PROMOTE, 2, by=world.process(store))
    assert world.routing() == (1, None, None)
    world.assert_settled()


def test_a_slow_operation_stops_before_others_may_call_it_dead() -> None:
    """An operation stops writing at half its life by its own clock, so nobody settles it while it still writes."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    store = world.watched()
    store.seconds = 0.25
    began = world.clock.seconds
    times: list[float] = []
    store.fail_after = lambda _number, write: times.append(world.clock.seconds) if write else None
    process = world.process(store)
    with pytest.raises(OutcomeUnknownError, match="half of an intent's life"):
        world.do(Kind.PROMOTE, 2, by=process)
    assert max(times) - began < process.lifetime
    world.process().settle(MODEL, actor="bob")
    world.assert_settled()


@pytest.mark.parametrize(
    "error", [RefusedError("no stages here", fix="-"), UnavailableError("a fault of mine", fix="-", answered=True)]
)
def test_a_registry_without_stages_gets_alias_and_event_at_once(error: FdsError) -> None:
    """A backend that refuses stages, in whatever words, keeps nobody waiting, and is not asked for them again."""
    world = World()
    store = world.watched()
    asked: list[Write] = []

    def refuse(_number: int, write: Write | None) -> FdsError | None:
        if not isinstance(write, SetStage):
            return None
        asked.append(write)
        return error

    store.fail_before = refuse
    process, began = world.process(store), world.clock.monotonic()
    assert world.do(Kind.PROMOTE, 1, by=process).changed
    assert world.clock.monotonic() - began < store.write_limit / 2
    times = len(asked)
    assert world.do(Kind.PROMOTE, 2, by=process).changed
    assert len(asked) == times
    assert world.aliases == {"champion": 2}
    assert world.history.intents == ()


# --- who is in the way -----------------------------------------------------------------------------------------


def _live_intent(world: World, kind: Kind = Kind.PROMOTE, version: int = 2) -> None:
    """Somebody called zoe is in the middle of an operation, and lives."""
    with pytest.raises(Killed):
        world.do(kind, version, by=world.process(world.dying(SetAlias)), actor="zoe")


def test_a_conflict_names_the_other_actor_and_what_they_do() -> None:
    """Whoever meets an operation in flight learns who runs it and which, and nothing was changed."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    _live_intent(world)
    writes = world.watched()
    with pytest.raises(ConflictError, match=r"zoe has an operation in flight since .* promote of version 2"):
        world.process(writes).run(MODEL, world.request(Kind.PROMOTE, 3), actor="ann", reason="", patience=0.5)
    assert writes.writes == []
    assert world.aliases == {"champion": 1}


def test_who_takes_too_long_to_give_way_does_not_claim_that_nothing_is_recorded() -> None:
    """An intent removed after half its life may have been written off: the answer is "unknown", not a new attempt."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    store = world.watched()
    process = world.process(store)

    def zoe_comes_and_the_line_is_slow(_number: int, write: Write | None) -> None:
        if isinstance(write, SetModelTag) and not world.history.intents:
            _live_intent(world)
        if isinstance(write, DeleteModelTag):
            world.clock.seconds += 0.6 * process.lifetime

    store.on_call = zoe_comes_and_the_line_is_slow
    with pytest.raises(OutcomeUnknownError, match="gave way, which took"):
        world.do(Kind.PROMOTE, 3, by=process)
    assert [type(write) for write in store.writes] == [SetModelTag, DeleteModelTag]
    assert world.aliases == {"champion": 1}


def test_the_default_patience_sees_a_dead_operation_die() -> None:
    """Without a limit of one's own, an operation waits long enough to settle a dead one and go on."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    _live_intent(world)
    assert world.do(Kind.PROMOTE, 3).changed
    assert world.clock.seconds >= world.process().lifetime
    world.assert_settled()


def test_an_intent_is_dead_only_by_the_observers_own_clock() -> None:
    """An intent with an ancient time is waited for all the same: clocks of two machines are never compared."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    _live_intent(world)
    (intent,) = world.history.intents
    old = replace(intent, time=intent.time.replace(year=2001))
    world.by_hand(SetModelTag(tags.intent_name(intent.id), tags.encode_intent(old)))
    with pytest.raises(ConflictError):
        world.process().run(MODEL, world.request(Kind.STAGE, 3), actor="ann", reason="", patience=0.5)


def test_an_operation_that_lost_its_intent_stops() -> None:
    """Who finds the own intent gone was settled by others, and records nothing."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    store = world.watched()

    def settled_by_others(number: int, write: Write | None) -> None:
        if isinstance(write, SetAlias):
            for intent in world.history.intents:
                world.by_hand(DeleteModelTag(tags.intent_name(intent.id)))

    store.on_call = settled_by_others
    with pytest.raises(OutcomeUnknownError):
        world.do(Kind.PROMOTE, 2, by=world.process(store))
    assert [event.to_version for event in world.history.events] == [1]


def test_what_changed_between_the_two_looks_starts_the_operation_over() -> None:
    """A hand that moves the champion between the two looks is noticed, adopted, and then the operation is done."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    store = world.watched()

    def hand(number: int, write: Write | None) -> None:
        if number == 3:
            world.by_hand(SetAlias(tags.CHAMPION, 4))

    store.on_call = hand
    assert world.do(Kind.PROMOTE, 2, by=world.process(store)).changed
    assert [(e.kind, e.from_version, e.to_version) for e in world.history.events[1:]] == [
        (Kind.ADOPT, 1, 4),
        (Kind.PROMOTE, 4, 2),
    ]
    world.assert_settled()


# --- refused and nothing to do -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prepare", "kind", "version", "more", "says"),
    [
        ("start", Kind.START, 3, {}, "no champion"),
        ("advance", Kind.PROMOTE, 4, {}, "rollout of version 3 is active at 10 %"),
        ("advance", Kind.START, 4, {}, "rollout of version 3 is active"),
        ("advance", Kind.STAGE, 3, {}, "canary of the active rollout"),
        ("advance", Kind.RETIRE, 2, {}, "version 2 is the champion"),
        ("advance", Kind.COMPLETE, None, {}, "below the plan's last step"),
        ("advance", Kind.ROLLBACK, 3, {}, "canary of the active rollout"),
        ("promotion", Kind.ABORT, None, {}, "no active rollout"),
        ("promotion", Kind.EMERGENCY, None, {}, "no former champion"),
        ("promotion", Kind.ROLLBACK, 5, {}, "never champion"),
        ("advance", Kind.ROLLBACK, 77, {}, "never champion"),
    ],
)
def test_refused_changes_nothing(
    prepare: str, kind: Kind, version: int | None, more: dict[str, object], says: str
) -> None:
    """A refused operation names the reason and the fix, and not one write reaches the registry."""
    world = BY_NAME[prepare].world() if kind is not Kind.START or prepare != "start" else World()
    store = world.watched()
    with pytest.raises(RefusedError, match=says) as refused:
        world.do(kind, version, by=world.process(store), **more)
    assert refused.value.fix
    assert store.writes == []


@pytest.mark.parametrize(("kind", "version"), [(Kind.PROMOTE, 2), (Kind.ROLLBACK, 2)])
def test_the_champion_again_is_answered_before_any_intent(kind: Kind, version: int) -> None:
    """Asking for what holds already changes nothing and says so."""
    world = BY_NAME["start"].world()
    store = world.watched()
    result = world.do(kind, version, by=world.process(store))
    assert not result.changed
    assert "champion already" in result.message
    assert store.writes == []


@pytest.mark.parametrize("kind", [Kind.PROMOTE, Kind.STAGE, Kind.START])
def test_a_version_that_is_not_ready_gets_no_traffic(kind: Kind) -> None:
    """A version still registering is refused, under the exclusion, and leaves no trace."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    world.store.models[MODEL].versions[2].status = "PENDING_REGISTRATION"
    with pytest.raises(RefusedError, match="PENDING_REGISTRATION, not READY"):
        world.do(kind, 2)
    assert world.routing() == (1, None, None)
    world.assert_settled()


@pytest.mark.parametrize("kind", [Kind.PROMOTE, Kind.START])
def test_a_version_that_does_not_exist_is_not_found(kind: Kind) -> None:
    """An unknown version is named, with those there are."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    with pytest.raises(NotFoundError, match="no version 9") as error:
        world.do(kind, 9)
    assert "1, 2, 3" in error.value.fix
    world.assert_settled()


def test_a_model_that_does_not_exist_is_not_found() -> None:
    """An unknown model is an error of its own."""
    world = World()
    with pytest.raises(NotFoundError, match="'nobody'"):
        world.process().run("nobody", world.request(Kind.PROMOTE, 1), actor="ann", reason="")


def test_a_check_that_refuses_comes_before_any_write() -> None:
    """What a caller checks is checked before the intent; a refusal there writes nothing."""
    world = World()
    store = world.watched()

    def refuse(view: object, target: object) -> None:
        raise RefusedError("does not load", fix="mend it")

    with pytest.raises(RefusedError, match="does not load"):
        world.process(store).run(MODEL, world.request(Kind.PROMOTE, 1), actor="ann", reason="", check=refuse)
    assert store.writes == []


@pytest.mark.parametrize(
    ("actor", "reason"), [("", "x"), ("   ", "x"), ("ann", "x" * 1001), ("ann", "\x00"), ("\x1b[31m", "")]
)
def test_actor_and_reason_are_checked_before_anything_is_read(actor: str, reason: str) -> None:
    """A reason or an actor that does not fit a tag is refused before the registry is touched."""
    world = World()
    store = world.watched()
    with pytest.raises(ConfigError):
        world.process(store).run(MODEL, world.request(Kind.PROMOTE, 1), actor=actor, reason=reason)
    assert store.calls == 0


def test_the_longest_reason_fits_everywhere() -> None:
    """A reason of 1,000 bytes passes through intent, event and pack, with quotes and line breaks that JSON escapes."""
    world = World()
    reason = ('"\n\t' * 334)[:1000]
    for version in (1, 2):
        world.do(Kind.PROMOTE, version, reason=reason)
    world.do(Kind.START, 3, reason=reason)
    assert [event.reason for event in world.history.events] == [reason] * 3


# --- what hands do -----------------------------------------------------------------------------------------------


def test_a_champion_moved_by_hand_is_adopted_by_the_next_operation() -> None:
    """The history gets an event that says what changed outside, in the name of whoever noticed."""
    world = BY_NAME["start"].world()
    world.by_hand(SetAlias(tags.CHAMPION, 5))
    world.do(Kind.STAGE, 4, actor="bob")
    adopted = world.history.events[-2]
    assert (adopted.kind, adopted.actor, adopted.from_version, adopted.to_version) == (Kind.ADOPT, "bob", 2, 5)
    assert adopted.reason == "changed outside: champion is 5 where the history says 2"
    world.assert_settled()


def test_a_deleted_champion_is_adopted_as_no_champion() -> None:
    """MLflow drops the alias of a deleted version silently; the history says so, and a promotion follows."""
    world = BY_NAME["start"].world()
    world.store.delete_version(MODEL, 2)
    world.process().settle(MODEL, actor="bob")
    assert world.history.events[-1].to_version is None
    assert "champion is None where the history says 2" in world.history.events[-1].reason
    assert world.do(Kind.PROMOTE, 3).changed
    world.assert_settled()


@pytest.mark.parametrize("dangling", [False, True])
def test_an_emergency_after_the_champion_was_deleted_goes_back(dangling: bool) -> None:
    """When the champion's version is gone altogether, its alias too or not, the emergency finds the former champion."""
    world = BY_NAME["start"].world()
    world.store.dangling = dangling
    world.store.delete_version(MODEL, 2)
    world.do(Kind.EMERGENCY)
    assert world.routing() == (1, None, None)
    world.assert_settled()


def test_a_champion_moved_by_hand_in_a_rollout_ends_the_rollout() -> None:
    """The canary was tried against another champion, so it is inert at once and the rollout is adopted as overtaken."""
    world = BY_NAME["advance"].world()
    world.by_hand(SetAlias(tags.CHAMPION, 5))
    assert world.routing() == (5, None, None)
    world.process().settle(MODEL, actor="bob")
    assert world.folded_routing() == (5, None, None)
    assert world.do(Kind.START, 4).changed
    world.assert_settled()


def test_a_canary_alias_deleted_by_hand_ends_the_rollout() -> None:
    """Whoever deletes the alias in the UI has stopped the canary; the history follows."""
    world = BY_NAME["advance"].world()
    world.by_hand(DeleteAlias(tags.CANARY))
    world.process().settle(MODEL, actor="bob")
    assert world.history.events[-1].kind is Kind.ADOPT
    world.assert_settled()


@pytest.mark.parametrize("dangling", [False, True])
def test_a_deleted_canary_version_ends_the_rollout(dangling: bool) -> None:
    """Deleting the canary's version in the UI stops it too, its alias left or not, and the next rollout can start."""
    world = BY_NAME["advance"].world()
    world.store.dangling = dangling
    world.store.delete_version(MODEL, 3)
    assert world.routing() == (2, None, None)
    assert world.do(Kind.START, 4).changed
    world.assert_settled()


def test_a_weight_changed_by_hand_is_adopted() -> None:
    """Somebody edits the rollout tag: routing follows, and so does the history."""
    world = BY_NAME["advance"].world()
    version = world.store.models[MODEL].versions[3]
    rollout = tags.decode_rollout(version.tags[tags.ROLLOUT])
    assert rollout is not None
    version.tags[tags.ROLLOUT] = tags.encode_rollout(replace(rollout, weight=3_300))
    world.do(Kind.ADVANCE)
    assert [e.kind for e in world.history.events[-2:]] == [Kind.ADOPT, Kind.ADVANCE]
    assert world.routing() == (2, 3, 5_000)
    world.assert_settled()


def test_a_canary_alias_set_by_hand_without_a_rollout_is_inert() -> None:
    """An alias alone sends no traffic: without an active rollout on the version there is none."""
    world = BY_NAME["start"].world()
    world.by_hand(SetAlias(tags.CANARY, 4))
    assert world.routing() == (2, None, None)
    world.do(Kind.STAGE, 5)
    assert world.routing() == (2, None, None)
    assert world.do(Kind.START, 3).changed
    assert world.routing() == (2, 3, 1_000)


def test_completing_makes_the_canary_champion_at_the_last_step() -> None:
    """Through all steps to 100 % and completed without force, as the plan says."""
    world = BY_NAME["advance"].world()
    for weight in (2_500, 5_000, FULL):
        world.do(Kind.ADVANCE)
        assert world.routing() == (2, 3, weight)
    assert world.do(Kind.COMPLETE).changed
    assert world.routing() == (3, None, None)
    world.assert_settled()


# --- packing -----------------------------------------------------------------------------------------------------


def _busy_history(world: World, events: int = 64, reason: str = "because") -> None:
    process = world.process()
    for number in range(events):
        world.do(Kind.PROMOTE, 1 + number % 2, by=process, reason=f"{reason} {number}")


def test_packing_keeps_every_event_unchanged() -> None:
    """Beyond 64 loose events the oldest are packed, and the history reads exactly as before."""
    world = World()
    _busy_history(world)
    before = world.history.events
    assert len(world.history.loose) == 64
    world.do(Kind.PROMOTE, 5)
    history = world.history
    assert history.events[:64] == before
    assert len(history.events) == 65
    assert len(history.loose) == tags.KEEP_LOOSE
    assert len(history.packed) == 33
    assert all(len(value) <= grammar.MAX_VALUE for value in world.store.models[MODEL].tags.values())
    world.assert_settled()


def test_a_crash_in_the_middle_of_packing_loses_no_event() -> None:
    """Packing killed anywhere leaves every event once in the history, and a later packing finishes the work."""
    template = World()
    _busy_history(template)
    tags_then = dict(template.store.models[MODEL].tags)
    alias = template.aliases["champion"]

    def world_then() -> World:
        world = World(numbers=iter(range(1_000, 2_000)))
        world.store.models[MODEL].tags.update(tags_then)
        world.by_hand(SetAlias(tags.CHAMPION, alias))
        return world

    world = world_then()
    store = world.watched()
    world.do(Kind.PROMOTE, 5, by=world.process(store))
    expected = [(e.sequence, e.kind, e.reason) for e in world.history.events]
    packing = next(i for i, write in enumerate(store.writes) if short(write) == "events")
    last = len(store.writes)
    for number in (packing, packing + 1, packing + 2, packing + 3, packing + 17, last - 1, last):
        world = world_then()
        crashing = world.watched()
        crashing.kill_at_write = number
        with pytest.raises(Killed):
            world.do(Kind.PROMOTE, 5, by=world.process(crashing))
        world.process().settle(MODEL, actor="bob")
        assert [(e.sequence, e.kind, e.reason) for e in world.history.events][:64] == expected[:64], number
        world.do(Kind.STAGE, 6)
        assert [(e.sequence, e.kind, e.reason) for e in world.history.events][:64] == expected[:64], number
        assert len(world.history.loose) <= tags.LOOSE
        assert not {(e.operation, e.kind) for e in world.history.loose.values()} & world.history.packed, number
        assert world.history.intents == ()


def test_a_packing_that_fails_does_not_fail_the_operation() -> None:
    """Packing is housekeeping: when the registry refuses it, the promotion is still done and said to be done."""
    world = World()
    _busy_history(world)
    store = world.watched()

    def refuse(number: int, write: Write | None) -> RefusedError | None:
        pack = isinstance(write, SetModelTag) and write.name.startswith("fds.events.")
        return RefusedError("value too long", fix="-") if pack else None

    store.fail_before = refuse
    assert world.do(Kind.PROMOTE, 5, by=world.process(store)).changed
    assert len(world.history.events) == 65
    assert world.history.intents == ()


def test_packing_again_and_again_keeps_a_long_history() -> None:
    """A hundred and ten events with long, hardly compressible reasons are all there, in order, in tags that fit."""
    world = World()
    _busy_history(world, 110, reason="ärgerlich " + "".join(chr(0x4E00 + i) for i in range(200)))
    events = world.history.events
    assert [event.sequence for event in events] == list(range(1, 111))
    assert len(world.history.loose) <= tags.LOOSE
    assert all(len(value) <= grammar.MAX_VALUE for value in world.store.models[MODEL].tags.values())
    world.assert_settled()
