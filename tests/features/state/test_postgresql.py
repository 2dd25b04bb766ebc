"""A past in PostgreSQL: connections that die, clients and servers that stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from fds_mlflow.errors import ConfigError, NotFoundError, UnavailableError
from fds_mlflow.features.state.opening import opened
from fds_mlflow.features.state.sql_store import SqlStore
from fds_mlflow.features.state.state import Arrival, State
from tests.support.arrivals import arriving, past
from tests.support.servers import Postgresql


def again(arrival: Arrival) -> bool:
    """Whether a transaction had arrived before."""
    return arrival.again


def held(store: Any) -> Any:
    """A connection of a store, in the middle of taking in a transaction."""
    pooled = store._engine.raw_connection()
    store._execute(pooled.driver_connection, "SELECT * FROM {table} WHERE part = 'number' FOR UPDATE")
    return pooled


def ended(store: Any, url: str) -> None:
    """End all other connections to a server, as its restart does."""
    import psycopg
    from sqlalchemy import make_url

    host = make_url(url).query["host"]
    with psycopg.connect(host=host, user="postgres", dbname="postgres") as connection:
        mine = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        connection.execute(f"{mine} AND backend_type = 'client backend'")


def test_connections_that_have_died_are_opened_anew(postgres_url: str) -> None:
    """After its server has ended all connections, a client goes on, and what it sends twice by that counts once."""
    known = past(postgres_url)
    known.arrive(arriving("T", 0), again)
    for number in range(1, 4):
        ended(known.store, postgres_url)
        assert not known.arrive(arriving("T", number), again)
    ended(known.store, postgres_url)
    assert known.label("T0", fraud=True, known=5)
    assert (known.number, known.size().transactions) == (5, 4)


def test_a_process_of_the_server_that_is_killed_loses_nothing(postgres_url: str, postgresql_server: Postgresql) -> None:
    """PostgreSQL ends all connections and recovers; what was acknowledged is there."""
    known = past(postgres_url)
    for number in range(20):
        known.arrive(arriving("T", number), again)
    postgresql_server.kill_backend(0)
    for number in range(20):
        assert _until_it_answers(partial(known.arrive, arriving("T", number), again))


def _until_it_answers(ask: Callable[[], bool]) -> bool:
    while True:
        try:
            return ask()
        except UnavailableError:
            continue


def test_a_client_that_stops_in_the_middle_is_not_waited_for(postgres_url: str) -> None:
    """Who holds the right to write and does nothing with it loses it to whoever comes after the stated time."""
    stopped, other = SqlStore(postgres_url, timeout=0.5), past(postgres_url)
    holding = held(stopped)
    assert not other.arrive(arriving("T", 0), again)
    holding.invalidate()


def test_a_server_that_has_stopped_is_not_waited_for(postgres_url: str) -> None:
    """Its process answers nothing and keeps none of its own limits: the connection is cut, and the next one answers."""
    import psycopg

    known = State(SqlStore(postgres_url, timeout=0.5), past(postgres_url).layout)
    pooled = known.store._engine.raw_connection()  # type: ignore[attr-defined]
    process = pooled.driver_connection.info.backend_pid
    pooled.close()
    os.kill(process, signal.SIGSTOP)
    try:
        with pytest.raises(UnavailableError, match="is not available") as told:
            known.arrive(arriving("T", 0), again)
        assert isinstance(told.value.__cause__, psycopg.Error)
        assert not known.arrive(arriving("T", 1), again)
    finally:
        os.kill(process, signal.SIGCONT)


def test_what_is_no_state_in_postgresql_is_told(postgres_url: str) -> None:
    """No state, another driver, a server that is not there: each with its fix."""
    with pytest.raises(NotFoundError, match="no state in"):
        opened(postgres_url, begin=False)
    with pytest.raises(ConfigError, match=r"cannot be kept in postgresql\+pg8000"):
        opened(postgres_url.replace("postgresql://", "postgresql+pg8000://"))
    with pytest.raises(UnavailableError, match="is not available"):
        opened("postgresql://127.0.0.1:1/d")
