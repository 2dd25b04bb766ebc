"""A real MLflow server behind a bad network: no operation is lost, doubled or half-done.

The protocol's clock stands still but for the protocol's own pauses, so a server that is away for seconds, and an intent
that must be seen to die, cost no time.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NoReturn

import pytest

from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.errors import OutcomeUnknownError, UnavailableError
from fds_mlflow.registry import tags
from fds_mlflow.registry.store import SetAlias
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.serving.router import Router
from tests.support.effort import graded
from tests.support.fault_proxy import Call, Fault, FaultProxy
from tests.support.registry_world import AlarmClock, HookedStore, RegistryWorld, before_write
from tests.support.servers import Server

Asked = tuple[Kind, int | None]
SHORT: list[Asked] = [(Kind.PROMOTE, 1), (Kind.START, 2), (Kind.COMPLETE, None)]
LONG: list[Asked] = [
    (Kind.STAGE, 1),
    (Kind.PROMOTE, 1),
    (Kind.START, 2),
    (Kind.ADVANCE, None),
    (Kind.ABORT, None),
    (Kind.START, 2),
    (Kind.COMPLETE, None),
    (Kind.EMERGENCY, None),
    (Kind.PROMOTE, 3),
    (Kind.ROLLBACK, 1),
    (Kind.STAGE, 4),
    (Kind.RETIRE, 4),
]
AT_ONCE = [
    Fault.CUT_AFTER,
    Fault.ANSWER_500,
    Fault.ANSWER_404,
    Fault.ANSWER_429,
    Fault.ANSWER_503_AFTER,
    Fault.CUT_BEFORE,
    Fault.CUT_WITHIN,
]
"""Faults that the client notices at once; the first ones tell most."""

WRITES = ["intent", "champion", "stage of 1", "stage of 2", "event", "intent removed"]
"""The writes of a promotion from 1 to 2, in order."""


def write_number(*, first: tuple[int, ...]) -> pytest.MarkDecorator:
    """A test for each write of a promotion; those that tell least by themselves are left to a campaign."""
    values = [
        pytest.param(n, id=name, marks=() if n in first else pytest.mark.campaign)
        for n, name in enumerate(WRITES, start=1)
    ]
    return pytest.mark.parametrize("number", values)


def named(fault: Fault) -> str:
    """A fault as test id."""
    return fault.name.lower().replace("_", " ")


def each_write_once(fault: Fault) -> Callable[[Call], Fault | None]:
    """Every write meets the fault when it is first tried."""
    tried: set[str] = set()

    def choose(call: Call) -> Fault | None:
        key = f"{call.method} {call.endpoint} {sorted(call.body.items())}"
        if not call.writes or key in tried:
            return None
        tried.add(key)
        return fault

    return choose


def one_in_three(fault: Fault) -> Callable[[Call], Fault | None]:
    """One request in three meets the fault, reads and repetitions included."""
    random = Random(3)
    return lambda _: fault if random.random() < 1 / 3 else None


def live_through(world: RegistryWorld, requests: list[Asked]) -> None:
    """Every request comes true, and the history tells exactly that, each once."""
    done: list[Event | None] = [world.do(*asked).event for asked in requests]
    assert list(world.events) == done
    assert [event.outcome for event in world.events] == [Ending.DONE] * len(requests)
    world.assert_settled()


@pytest.mark.tested(1)
@pytest.mark.parametrize("fault", graded(AT_ONCE, tested=3), ids=named)
def test_a_write_that_fails_once_is_recorded_once(fault: Fault, behind_proxy: RegistryWorld, proxy: FaultProxy) -> None:
    """Each write of promote, start and complete fails at its first try, done or not: all succeed, each exactly once."""
    proxy.choose = each_write_once(fault)
    live_through(behind_proxy, SHORT)


@pytest.mark.campaign
@pytest.mark.parametrize("fault", AT_ONCE, ids=named)
@pytest.mark.parametrize("rule", [each_write_once, one_in_three])
def test_a_whole_life_on_a_bad_network(
    rule: Callable[[Fault], Callable[[Call], Fault | None]],
    fault: Fault,
    behind_proxy: RegistryWorld,
    proxy: FaultProxy,
) -> None:
    """Twelve operations of every kind succeed while every write, or one request in three, fails."""
    proxy.choose = rule(fault)
    live_through(behind_proxy, LONG)


@pytest.mark.campaign
def test_reads_that_fail_cost_nothing(behind_proxy: RegistryWorld, proxy: FaultProxy) -> None:
    """One request in three is cut, reads and repetitions too: operations succeed, each exactly once."""
    proxy.choose = one_in_three(Fault.CUT_AFTER)
    live_through(behind_proxy, SHORT)


@pytest.mark.campaign
def test_a_slow_server_is_waited_for(behind_proxy: RegistryWorld, proxy: FaultProxy) -> None:
    """Every request takes a fifth of a second longer, by the real clock: the operation succeeds."""
    behind_proxy.clock = SystemClock()
    behind_proxy.ann = behind_proxy.process()
    proxy.choose = lambda _: Fault.SLOW
    live_through(behind_proxy, SHORT[:1])


def past_faults(world: RegistryWorld, kind: Kind, version: int) -> None:
    """Bob runs an operation on the database itself."""
    world.do(kind, version, by=world.process(world.truth), actor="bob")


# --- a server that is away ------------------------------------------------------------------------------------


def _promoted(world: RegistryWorld) -> AlarmClock:
    assert isinstance(world.clock, AlarmClock)
    past_faults(world, Kind.PROMOTE, 1)
    return world.clock


@pytest.mark.tested(1)
@write_number(first=(2, 5))
def test_a_server_that_restarts_is_waited_for(number: int, behind_proxy: RegistryWorld, proxy: FaultProxy) -> None:
    """Connections are refused for three seconds from any write on: the operation goes on and succeeds."""
    clock = _promoted(behind_proxy)

    def restart() -> None:
        proxy.down()
        clock.after(3.0, proxy.up)

    store = HookedStore(behind_proxy.store, before_write(number, restart))
    done = behind_proxy.do(Kind.PROMOTE, 2, by=behind_proxy.process(store))
    assert clock.seconds > 3.0
    assert behind_proxy.events[1:] == (done.event,)
    behind_proxy.assert_settled()


@pytest.mark.campaign
@write_number(first=(1, 2, 3))
def test_a_server_that_stays_away_leaves_an_operation_that_can_be_settled(
    number: int, behind_proxy: RegistryWorld, proxy: FaultProxy
) -> None:
    """From any write on nothing answers: a clear error, then one event that says how it ended, and the work goes on."""
    _promoted(behind_proxy)
    store = HookedStore(behind_proxy.store, before_write(number, proxy.down))
    if number == len(WRITES):
        assert behind_proxy.do(Kind.PROMOTE, 2, by=behind_proxy.process(store)).changed
    else:
        expected = UnavailableError if number == 1 else OutcomeUnknownError
        with pytest.raises(expected, match="did not answer"):
            behind_proxy.do(Kind.PROMOTE, 2, by=behind_proxy.process(store))
    proxy.up()
    moved = number > WRITES.index("champion") + 1
    view = behind_proxy.look()
    assert view.champion_alias == (2 if moved else 1)
    assert len(view.history.intents) == (0 if number == 1 else 1)
    behind_proxy.process(behind_proxy.truth).settle(behind_proxy.model, actor="bob")
    told = [(e.kind, e.to_version, e.outcome) for e in behind_proxy.events[1:]]
    outcome = Ending.DONE if moved else Ending.ABANDONED
    assert told == ([] if number == 1 else [(Kind.PROMOTE, 2, outcome)])
    behind_proxy.assert_settled()
    past_faults(behind_proxy, Kind.PROMOTE, 3)
    behind_proxy.assert_settled()


def test_a_server_that_is_not_there_is_an_error_that_names_it(behind_proxy: RegistryWorld, proxy: FaultProxy) -> None:
    """With nothing listening an operation changes nothing, and says which address did not answer."""
    proxy.down()
    with pytest.raises(UnavailableError, match=proxy.url):
        behind_proxy.do(Kind.PROMOTE, 1)
    proxy.up()
    assert behind_proxy.events == ()


@pytest.mark.campaign
def test_a_server_killed_and_started_again_loses_nothing(behind_proxy: RegistryWorld, mlflow_server: Server) -> None:
    """`kill -9` for the real server before the champion moves, and a new process on its database: it succeeds."""
    clock = _promoted(behind_proxy)

    def restart() -> None:
        mlflow_server.kill()
        clock.after(2.0, mlflow_server.start)

    store = HookedStore(behind_proxy.store, before_write(2, restart))
    done = behind_proxy.do(Kind.PROMOTE, 2, by=behind_proxy.process(store))
    assert behind_proxy.events[1:] == (done.event,)
    behind_proxy.assert_settled()


# --- requests that arrive late --------------------------------------------------------------------------------


@pytest.mark.tested(1)
@write_number(first=(1, 2, 5))
def test_a_request_that_arrives_late_changes_nothing_any_more(
    number: int, behind_proxy: RegistryWorld, proxy: FaultProxy, short_timeout: Callable[[], None]
) -> None:
    """A write that timed out and was repeated lands once more after the operation: still one event, one champion."""
    _promoted(behind_proxy)
    short_timeout()
    count = iter(range(1, 1_000_000))
    proxy.choose = lambda call: Fault.HOLD if call.writes and next(count) == number else None
    done = behind_proxy.do(Kind.PROMOTE, 2)
    assert proxy.held == 1
    proxy.release()
    behind_proxy.process(behind_proxy.truth).settle(behind_proxy.model, actor="bob")
    assert behind_proxy.events[1:] == (done.event,)
    behind_proxy.assert_settled()


def test_a_champion_that_arrives_after_the_next_operation_is_taken_into_the_history(
    behind_proxy: RegistryWorld, proxy: FaultProxy, short_timeout: Callable[[], None]
) -> None:
    """The stated limit: a server that moves the champion long after its client gave up is told apart and adopted."""
    _promoted(behind_proxy)
    short_timeout()
    held = iter([True])
    proxy.choose = lambda call: Fault.HOLD if call.endpoint.endswith("/alias") and next(held, False) else None
    behind_proxy.do(Kind.PROMOTE, 2)
    past_faults(behind_proxy, Kind.PROMOTE, 3)
    proxy.release()
    assert behind_proxy.look().champion_alias == 2
    behind_proxy.process(behind_proxy.truth).settle(behind_proxy.model, actor="bob")
    last = behind_proxy.events[-1]
    assert (last.kind, last.from_version, last.to_version) == (Kind.ADOPT, 3, 2)
    assert last.reason == "changed outside: champion is 2 where the history says 3"
    behind_proxy.assert_settled()


def test_an_operation_that_took_too_long_stops_by_itself(behind_proxy: RegistryWorld) -> None:
    """A write that blocked for half of an intent's life is the last: the next operation finishes what was begun."""
    clock = _promoted(behind_proxy)

    def block() -> None:
        clock.seconds += 12.0  # more than half of 22.5 s

    store = HookedStore(behind_proxy.store, before_write(2, block))
    with pytest.raises(OutcomeUnknownError, match="half of an intent's life"):
        behind_proxy.do(Kind.PROMOTE, 2, by=behind_proxy.process(store))
    assert isinstance(behind_proxy.look().champion_alias, int)
    past_faults(behind_proxy, Kind.PROMOTE, 3)
    told = [(e.to_version, e.outcome) for e in behind_proxy.events[1:]]
    assert told == [(2, Ending.DONE), (3, Ending.DONE)]
    behind_proxy.assert_settled()


# --- routers --------------------------------------------------------------------------------------------------


def _never(version: int) -> NoReturn:
    raise AssertionError(f"version {version} was loaded")


@pytest.mark.parametrize(
    "fault", graded([None, *AT_ONCE], tested=4), ids=lambda fault: named(fault) if fault else "refused"
)
def test_a_router_keeps_its_table_while_the_server_is_ill(
    fault: Fault | None, behind_proxy: RegistryWorld, proxy: FaultProxy
) -> None:
    """No error of a server is taken for an absent alias: the rollout goes on, and `degraded` says what is wrong."""
    past_faults(behind_proxy, Kind.PROMOTE, 1)
    past_faults(behind_proxy, Kind.START, 2)
    router = Router(behind_proxy.model, behind_proxy.store, _never, clock=behind_proxy.clock)
    table = router.table
    assert table.rollout is not None
    if fault is None:
        proxy.down()
    else:
        proxy.choose = lambda _: fault
    assert router.refresh() == table
    assert router.degraded is not None
    assert "did not answer" in router.degraded
    proxy.up()
    proxy.choose = lambda _: None
    behind_proxy.truth.write(behind_proxy.model, SetAlias(tags.CHAMPION, 3))
    assert router.refresh().champion == 3
    assert router.degraded is None
