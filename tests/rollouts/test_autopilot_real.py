"""The autopilot against a whole simulated release: real routing, a real outcome store, and a clock that only jumps."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

import pytest

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.core.judge.judge import Status
from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.lifecycle.events import Kind, RolloutStatus
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.plan import Undecided, Watch
from fds_mlflow.errors import RefusedError, UnavailableError
from fds_mlflow.registry.store import Write
from fds_mlflow.rollouts.autopilot import Autopilot
from fds_mlflow.rollouts.tick import Tick
from tests.support.registry_model import Killed
from tests.support.release import MINUTE, Rates, Release

PLAN = Plan(
    [10, 25, 50, 100],
    guardrails=[Guardrail("error_rate", margin=1.0), Guardrail("alert_rate", margin=1.0)],
    min_outcomes=200,
)
GOOD = {1: Rates(), 2: Rates()}
HARMFUL = {1: Rates(), 2: Rates(error=0.25)}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.fixture
def release() -> Iterator[Callable[..., Release]]:
    """Makes a release; its store is closed at the end."""
    made: list[Release] = []

    def make(rates: Mapping[int, Rates], **more: float) -> Release:
        made.append(Release(rates, **more))
        return made[-1]

    yield make
    for one in made:
        one.outcomes.close()


Make = Callable[..., Release]


@pytest.mark.slow
def test_a_good_canary_goes_through_all_steps_and_becomes_champion(release: Make) -> None:
    """Unattended, a canary as good as the champion is given more traffic step by step and is completed."""
    world = release(GOOD)
    world.start(PLAN)
    last = world.autopilot().run(interval=MINUTE)
    assert last.ended
    assert last.error is None
    assert world.told() == [
        ("promote", None),
        ("start", 10),
        ("advance", 25),
        ("advance", 50),
        ("complete", None),
    ]
    assert world.model.overview().champion == 2
    done = world.model.history()[0]
    assert done.actor == "autopilot of ann"
    assert not done.forced
    assert "PASS" in done.reason
    world.world.assert_settled()


def test_a_harmful_canary_is_aborted_for_what_it_did(release: Make) -> None:
    """A canary that errs five times as often is stopped at its first step, and the history says both numbers."""
    world = release(HARMFUL)
    world.start(PLAN)
    last = world.autopilot().run(interval=MINUTE)
    assert [kind for kind, _ in world.told()] == ["promote", "start", "abort"]
    assert last.judgement is not None
    assert last.judgement.overall.status is Status.FAIL
    event = world.model.history()[0]
    assert event.reason == last.recommendation.reason if last.recommendation else False
    failed = next(v for v in last.judgement.verdicts if v.status is Status.FAIL)
    assert failed.reason in event.reason
    assert world.model.overview().champion == 1
    world.world.assert_settled()


# --- what only people decide ---------------------------------------------------------------------------------


def _never_decided(undecided: Undecided, **more: object) -> Plan:
    """A margin so small that no afternoon's traffic can show it."""
    guardrails = [Guardrail("error_rate", margin=0.01)]
    options = {"max_step_time": "10m", "min_outcomes": 200, "undecided": undecided, **more}
    return Plan([50, 100], guardrails=guardrails, **options)  # type: ignore[arg-type]


@pytest.mark.campaign
@pytest.mark.slow
def test_an_undecided_rollout_is_held_for_a_person(release: Make) -> None:
    """When a step's time is over without a decision, the autopilot waits; a person's decision ends its run."""
    world = release(GOOD, per_second=8.0)
    world.start(_never_decided(Undecided.HOLD))

    def person(tick: Tick) -> None:
        if len(world.ticks) == 20:
            world.model.canary.complete(reason="good enough", force=True)

    last = Autopilot(world.process().session, on_tick=[world.ticks.append, person]).run(interval=MINUTE)
    assert {tick.recommendation.action for tick in world.ticks[:20] if tick.recommendation} == {
        Action.WAIT,
        Action.HOLD,
    }
    assert world.ticks[19].recommendation is not None
    assert world.ticks[19].recommendation.action is Action.HOLD
    assert last.last is not None
    assert (last.last.kind, last.last.actor, last.last.reason) == (Kind.COMPLETE, "ann", "good enough")


@pytest.mark.campaign
@pytest.mark.slow
def test_an_undecided_rollout_is_aborted_where_the_plan_says_so(release: Make) -> None:
    """The same rollout, told to abort when undecided, ends by itself and never promotes."""
    world = release(GOOD, per_second=8.0)
    world.start(_never_decided(Undecided.ABORT))
    world.autopilot().run(interval=MINUTE)
    assert [kind for kind, _ in world.told()] == ["promote", "start", "abort"]
    passed = world.model.history()[0].time - world.model.history()[1].time
    assert timedelta(minutes=10) <= passed <= timedelta(minutes=12)


@pytest.mark.campaign
@pytest.mark.slow
def test_a_gate_waits_for_a_person(release: Make) -> None:
    """A gated step is entered only by hand; behind it the autopilot goes on."""
    world = release(GOOD)
    world.start(Plan([10, 25, 50, 100], guardrails=PLAN.guardrails, min_outcomes=200, gates=[25]))
    pilot = world.autopilot()
    waited = 0
    for _ in range(60):
        tick = pilot.tick()
        if tick.ended:
            break
        rollout = world.model.session.look().rollout
        assert rollout is not None
        if tick.recommendation is not None and tick.recommendation.action is Action.HOLD:
            waited += 1
        if waited == 5:
            world.model.canary.advance(reason="the gate is open")
            waited += 1
        world.street.sleep(MINUTE)
    by_hand = [e for e in world.model.history() if e.actor == "ann" and e.kind is Kind.ADVANCE]
    assert len(by_hand) == 1
    assert world.told()[-1] == ("complete", None)


def test_a_person_who_aborts_ends_the_run(release: Make) -> None:
    """What a person does in between is respected, and the autopilot says who ended the rollout."""
    world = release(GOOD)
    world.start(PLAN)

    def person(tick: Tick) -> None:
        if len(world.ticks) == 1:
            world.model.canary.abort(reason="second thoughts")

    last = Autopilot(world.process().session, on_tick=[world.ticks.append, person]).run(interval=MINUTE)
    assert last.ended
    assert last.applied is None
    assert last.last is not None
    assert last.last.reason == "second thoughts"


def test_there_must_be_something_to_fly(release: Make) -> None:
    """Running without a rollout is refused and names the fix; a single tick finds nothing to do."""
    world = release(GOOD)
    with pytest.raises(RefusedError, match="no active rollout") as refused:
        world.autopilot().run()
    assert "canary start" in refused.value.fix
    assert world.autopilot().tick().ended


# --- silence, faults, several autopilots ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("undecided", list(Undecided))
def test_silence_never_promotes(release: Make, undecided: Undecided) -> None:
    """Without any traffic nothing advances, however long it lasts; at most it is aborted."""
    world = release(GOOD, per_second=0.0)
    world.start(Plan(min_outcomes=1, max_step_time="1h", undecided=undecided))
    pilot = world.autopilot()
    for _ in range(100):
        if pilot.tick().ended:
            break
        world.street.sleep(MINUTE)
    assert [kind for kind, _ in world.told()] in (["promote", "start"], ["promote", "start", "abort"])
    assert world.model.overview().champion == 1


@pytest.mark.campaign
@pytest.mark.slow
def test_an_unreachable_registry_is_waited_out(release: Make) -> None:
    """Three ticks that cannot read the registry change nothing and say so; the pauses grow, and the rollout goes on."""
    world = release(GOOD)
    world.start(PLAN)
    failing = world.watched()
    down = iter([False, True, True, True])
    state = {"down": False}
    failing.fail_before = lambda *_: UnavailableError("gone", fix="wait") if state["down"] else None

    def note(tick: Tick) -> None:
        world.ticks.append(tick)
        state["down"] = next(down, False)

    last = Autopilot(world.process(failing).session, on_tick=[note]).run(interval=MINUTE)
    failed = [tick for tick in world.ticks if tick.error is not None]
    assert [type(tick.error) for tick in failed] == [UnavailableError] * 3
    assert {tick.applied for tick in failed} == {None}
    gaps = [(b.time - a.time).total_seconds() for a, b in zip(world.ticks, world.ticks[1:], strict=False)]
    first = world.ticks.index(failed[0])
    assert gaps[first] < gaps[first + 1] < gaps[first + 2]
    assert last.ended
    assert world.told()[-1] == ("complete", None)


@pytest.mark.slow
def test_an_unreachable_outcome_store_changes_nothing(release: Make) -> None:
    """Without evidence nothing is decided, and the tick says which rollout it could not judge."""
    world = release(HARMFUL)
    world.start(PLAN)
    world.street.sleep(10 * MINUTE)

    class Gone:
        """A store that cannot be reached."""

        def evidence(self, *_: object, **__: object) -> object:
            raise UnavailableError("the database is locked", fix="wait")

    tick = Autopilot(world.process().session, evidence=Gone()).tick()  # type: ignore[arg-type]
    assert isinstance(tick.error, UnavailableError)
    assert tick.rollout == world.model.canary.rollout()
    assert (tick.judgement, tick.applied, tick.ended) == (None, None, False)


def test_a_hook_that_fails_stops_nothing(release: Make) -> None:
    """A view or a tracking server that breaks does not keep a rollout from being judged."""
    world = release(HARMFUL)
    world.start(PLAN)

    def broken(tick: Tick) -> None:
        raise OSError("tracking server gone")

    last = Autopilot(world.process().session, on_tick=[broken, world.ticks.append]).run(interval=MINUTE)
    assert last.ended
    assert world.ticks[-1] is last


SHORT = Plan([25, 50, 100], guardrails=[Guardrail("error_rate", margin=1.0)], min_outcomes=100)


def _ready(release: Make, rates: Mapping[int, Rates]) -> Release:
    """A rollout whose next tick acts."""
    world = release(rates)
    world.start(SHORT)
    world.street.sleep(MINUTE / 2)
    return world


@pytest.mark.campaign
@pytest.mark.parametrize(("rates", "kind"), [(GOOD, "advance"), (HARMFUL, "abort")])
@pytest.mark.slow
def test_two_autopilots_act_once(release: Make, rates: Mapping[int, Rates], kind: str) -> None:
    """Wherever another autopilot's tick falls between two registry calls of a tick, what is due is done once."""
    ready = _ready(release, rates)
    at, calls = 1, 2
    while at <= calls:
        world = ready.fork()
        store, other = world.watched(), world.autopilot()

        def both(call: int, _: Write | None, at: int = at, other: Autopilot = other) -> None:
            if call == at:
                other.tick()

        store.on_call = both
        Autopilot(world.process(store).session).tick()
        assert [k for k, _ in world.told()] == ["promote", "start", kind], f"at call {at}"
        world.world.assert_settled()
        calls = max(calls, store.calls)
        at += 1
    assert calls > 5


def _killed(ready: Release, ticks: int) -> Iterator[Release]:
    """What other processes find after an autopilot was killed before each of its registry calls in so many ticks."""
    for at in itertools.count(1):
        world = ready.fork()
        store = world.watched()
        store.kill_at = at
        pilot = Autopilot(world.process(store).session)
        try:
            for _ in range(ticks):
                pilot.tick()
        except Killed:
            yield world
        else:
            assert at > 10 * ticks
            return


@pytest.mark.campaign
@pytest.mark.parametrize(("rates", "kind"), [(GOOD, "advance"), (HARMFUL, "abort")])
@pytest.mark.slow
def test_a_killed_autopilot_is_continued_by_the_next(release: Make, rates: Mapping[int, Rates], kind: str) -> None:
    """Killed before any one of its registry calls, a tick is finished or done anew by another process, once."""
    for world in _killed(_ready(release, rates), 1):
        world.autopilot().tick()
        assert [k for k, _ in world.told()] == ["promote", "start", kind]
        world.world.assert_settled()


# --- the watch after the promotion ---------------------------------------------------------------------------


def _watched(*, rollback: bool) -> Plan:
    watch = Watch(timedelta(hours=1), 20, rollback=rollback)
    return Plan([25, 50, 100], guardrails=[Guardrail("error_rate", margin=1.0)], min_outcomes=200, watch=watch)


def _fly(world: Release, turns: Mapping[Kind, Mapping[int, Rates]], *hooks: Callable[[Tick], None]) -> Tick:
    """Fly until the end; when an operation of a kind was applied, the rates change."""

    def turn(tick: Tick) -> None:
        event = tick.applied.event if tick.applied else None
        if event is not None and event.kind in turns:
            world.rates = turns[event.kind]

    return Autopilot(world.process().session, on_tick=[world.ticks.append, turn, *hooks]).run(interval=3 * MINUTE)


@pytest.mark.slow
def test_a_good_champion_is_watched_and_the_watch_ends(release: Make) -> None:
    """After the promotion the former champion gets its small share for the watch's time, and then steps down again."""
    world = release(GOOD, per_second=8.0)
    world.start(_watched(rollback=True))
    findings: list[object] = []
    last = _fly(world, {}, lambda _: findings.extend(world.model.doctor()))
    assert findings == []
    assert world.told()[-3:] == [("complete", None), ("start", 20), ("abort", None)]
    assert last.last is not None
    assert "the watch is over" in last.last.reason
    assert world.model.overview().champion == 2
    started = world.model.history()[1]
    assert started.actor == "autopilot of ann"
    assert started.rollout is not None
    assert (started.rollout.champion, started.rollout.canary, started.rollout.is_watch) == (2, 1, True)
    assert last.last.time - started.time >= timedelta(hours=1)
    assert {v.version: v.stage for v in world.model.overview().versions if v.version <= 2} == {
        1: "Archived",
        2: "Production",
    }
    world.world.assert_settled()


WORSE = {1: Rates(), 2: Rates(error=0.3)}


@pytest.mark.slow
def test_a_champion_that_turns_out_worse_is_rolled_back_by_itself(release: Make) -> None:
    """A FAIL during the watch brings the former champion back, says why, and never chooses the withdrawn one again."""
    world = release(GOOD, per_second=8.0)
    world.start(_watched(rollback=True))
    last = _fly(world, {Kind.START: WORSE})
    assert [kind for kind, _ in world.told()][-3:] == ["complete", "start", "emergency"]
    event = world.model.history()[0]
    assert (event.from_version, event.to_version, event.actor) == (2, 1, "autopilot of ann")
    assert event.rollout is not None
    assert event.rollout.status is RolloutStatus.ROLLED_BACK
    assert "error rate" in event.reason
    assert last.ended
    overview = world.model.overview()
    assert overview.champion == 1
    assert {c.version: c.withdrawn for c in world.model.rollback.candidates()} == {2: True}
    with pytest.raises(RefusedError, match="rolled back from"):
        world.model.rollback.emergency(reason="once more", validate=False)
    world.world.assert_settled()


@pytest.mark.campaign
@pytest.mark.slow
def test_without_leave_to_roll_back_a_bad_champion_is_only_reported(release: Make) -> None:
    """By default a FAIL of the watch moves nothing: it is held, beyond the watch's time, until a person decides."""
    world = release(GOOD, per_second=8.0)
    world.start(_watched(rollback=False))

    def person(tick: Tick) -> None:
        if tick.rollout and tick.time - tick.rollout.since > timedelta(minutes=90):
            world.model.rollback.emergency(reason="the watch says so", validate=False)

    last = _fly(world, {Kind.START: WORSE}, person)
    assert last.last is not None
    assert (last.last.actor, last.last.reason) == ("ann", "the watch says so")
    held = [tick for tick in world.ticks if tick.recommendation and tick.recommendation.action is Action.HOLD]
    assert held
    assert all(t.judgement and t.judgement.overall.status is Status.FAIL and t.applied is None for t in held)
    assert all(t.recommendation and "error rate" in t.recommendation.reason for t in held)
    assert world.model.overview().champion == 1


@pytest.mark.campaign
@pytest.mark.slow
def test_a_watch_begins_although_the_process_died_before_it(release: Make) -> None:
    """Killed anywhere between the completion and the watch's start, the next process begins the watch, once."""
    ready = release(GOOD, per_second=8.0)
    ready.start(_watched(rollback=True))
    ready.world.do(Kind.ADVANCE)
    ready.street.sleep(10 * MINUTE)
    for world in _killed(ready, 2):
        pilot = world.autopilot()
        for _ in range(2):
            pilot.tick()
        assert [k for k, _ in world.told()] == ["promote", "start", "advance", "complete", "start"]
        world.world.assert_settled()


def test_a_watch_that_was_ended_is_not_begun_again(release: Make) -> None:
    """Wherever another autopilot begins the watch and a person ends it within a tick, the tick begins no second one."""
    ready = release(GOOD)
    ready.start(_watched(rollback=True))
    ready.world.do(Kind.COMPLETE, force=True)
    at, calls = 1, 2
    while at <= calls:
        world = ready.fork()
        store, other = world.watched(), world.process()

        def meanwhile(call: int, _: Write | None, at: int = at, other: ManagedModel = other) -> None:
            if call == at and Autopilot(other.session).tick().applied:
                other.canary.abort(reason="no need")

        store.on_call = meanwhile
        Autopilot(world.process(store).session).tick()
        begun = [k for k, _ in world.told()].count("start")
        assert begun == 2, f"{begun - 1} watches at call {at}"
        calls = max(calls, store.calls)
        at += 1
    assert calls > 5


def test_a_watch_that_would_be_over_is_not_begun(release: Make) -> None:
    """Who looks again only after the watch's time has passed finds nothing to do."""
    world = release(GOOD, per_second=8.0)
    world.start(_watched(rollback=True))
    world.world.do(Kind.COMPLETE, force=True)
    world.street.seconds += 3_600
    tick = world.autopilot().tick()
    assert (tick.ended, tick.applied) == (True, None)


def test_a_champion_moved_since_forgoes_the_watch(release: Make) -> None:
    """A promotion or an out-of-band change after the completion: there is nothing to watch any more."""
    world = release(GOOD, per_second=8.0)
    world.start(_watched(rollback=True))
    world.world.do(Kind.COMPLETE, force=True)
    world.world.do(Kind.STAGE, 4)
    world.world.do(Kind.PROMOTE, 3)
    assert world.autopilot().tick().ended
    assert world.model.overview().champion == 3
