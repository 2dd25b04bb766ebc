"""The faults that matter most, on a server with two workers on PostgreSQL: what holds on one worker holds on two.

The whole set runs on SQLite, in `test_server_faults.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import pytest

from fds_mlflow.core.lifecycle.events import Ending, Kind
from fds_mlflow.errors import OutcomeUnknownError
from tests.registry.faults.test_server_faults import LONG, SHORT, each_write_once, live_through, named, one_in_three
from tests.support.effort import graded
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.registry_world import AlarmClock, HookedStore, RegistryWorld, before_write
from tests.support.servers import Postgresql, Server

FAULTS = [Fault.ANSWER_500, Fault.ANSWER_429, Fault.CUT_BEFORE, Fault.CUT_AFTER]


@pytest.mark.campaign
@pytest.mark.parametrize("fault", FAULTS, ids=named)
def test_a_write_that_fails_once_is_recorded_once(
    fault: Fault, on_postgresql: RegistryWorld, postgresql_proxy: FaultProxy
) -> None:
    """Each write of promote, start and complete fails at its first try, done or not: all succeed, each exactly once."""
    postgresql_proxy.choose = each_write_once(fault)
    live_through(on_postgresql, SHORT)


@pytest.mark.campaign
def test_a_whole_life_on_a_bad_network(on_postgresql: RegistryWorld, postgresql_proxy: FaultProxy) -> None:
    """Twelve operations of every kind while one request in three meets a fault, in turn: each succeeds, once."""
    turns = cycle(FAULTS)
    ill = one_in_three(Fault.SLOW)
    postgresql_proxy.choose = lambda call: next(turns) if ill(call) else None
    live_through(on_postgresql, LONG)


@pytest.mark.campaign
@pytest.mark.parametrize("what", graded(["postgresql", "mlflow"], tested=1))
def test_a_crash_in_the_middle_is_waited_for(
    what: str, on_postgresql: RegistryWorld, mlflow_on_postgresql: Server, postgresql_server: Postgresql
) -> None:
    """`kill -9` for MLflow, or for all of PostgreSQL, before the champion moves, and a new start: it succeeds."""
    clock = on_postgresql.clock
    assert isinstance(clock, AlarmClock)
    on_postgresql.do(Kind.PROMOTE, 1)
    stop, start = {
        "mlflow": (mlflow_on_postgresql.kill, mlflow_on_postgresql.start),
        "postgresql": (postgresql_server.crash, postgresql_server.start),
    }[what]

    def restart() -> None:
        stop()
        clock.after(2.0, start)

    store = HookedStore(on_postgresql.store, before_write(2, restart))
    done = on_postgresql.do(Kind.PROMOTE, 2, by=on_postgresql.process(store))
    assert on_postgresql.events[1:] == (done.event,)
    on_postgresql.assert_settled()


@pytest.mark.campaign
@pytest.mark.parametrize("number", [2, 3], ids=["champion", "stage of 1"])
def test_a_server_that_stays_away_leaves_an_operation_that_can_be_settled(
    number: int, on_postgresql: RegistryWorld, postgresql_proxy: FaultProxy
) -> None:
    """From the decisive write on, or from the one after it, nothing answers: one event says how it ended."""
    on_postgresql.do(Kind.PROMOTE, 1)
    store = HookedStore(on_postgresql.store, before_write(number, postgresql_proxy.down))
    with pytest.raises(OutcomeUnknownError, match="did not answer"):
        on_postgresql.do(Kind.PROMOTE, 2, by=on_postgresql.process(store))
    postgresql_proxy.up()
    on_postgresql.process(on_postgresql.truth).settle(on_postgresql.model, actor="bob")
    (told,) = on_postgresql.events[1:]
    assert told.outcome is (Ending.ABANDONED if number == 2 else Ending.DONE)
    on_postgresql.assert_settled()


@pytest.mark.campaign
def test_a_request_that_arrives_late_changes_nothing_any_more(
    on_postgresql: RegistryWorld, postgresql_proxy: FaultProxy, short_timeout: Callable[[], None]
) -> None:
    """The champion's write timed out and was repeated, and lands again after the operation: one event, one champion."""
    on_postgresql.do(Kind.PROMOTE, 1)
    short_timeout()
    held = iter([True])
    postgresql_proxy.choose = lambda call: (
        Fault.HOLD if call.endpoint.endswith("/alias") and call.writes and next(held, False) else None
    )
    done = on_postgresql.do(Kind.PROMOTE, 2)
    assert postgresql_proxy.held == 1
    postgresql_proxy.release()
    on_postgresql.process(on_postgresql.truth).settle(on_postgresql.model, actor="bob")
    assert on_postgresql.events[1:] == (done.event,)
    on_postgresql.assert_settled()
