"""A proxy before a real MLflow server, which is started once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fds_mlflow.registry.connection import connect
from fds_mlflow.runtime.identity import new_id
from tests.support.fault_proxy import FaultProxy, healthy
from tests.support.registry_world import AlarmClock, RegistryWorld, register
from tests.support.servers import Postgresql, Server, running


@pytest.fixture(scope="session")
def mlflow_on_postgresql(postgresql_server: Postgresql, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real MLflow server with two workers on PostgreSQL, one for all tests; each test has models of its own."""
    with running(Server(postgresql_server.url, tmp_path_factory.mktemp("server"), workers=2)) as server:
        yield server


@pytest.fixture(scope="session")
def _proxy(mlflow_server: Server) -> Iterator[FaultProxy]:
    proxy = FaultProxy(mlflow_server.port)
    yield proxy
    proxy.down()


@pytest.fixture(scope="session")
def _postgresql_proxy(mlflow_on_postgresql: Server) -> Iterator[FaultProxy]:
    proxy = FaultProxy(mlflow_on_postgresql.port)
    yield proxy
    proxy.down()


@pytest.fixture
def proxy(_proxy: FaultProxy) -> Iterator[FaultProxy]:
    """The way to the server, healthy to begin with."""
    with _healed(_proxy):
        yield _proxy


@pytest.fixture
def postgresql_proxy(_postgresql_proxy: FaultProxy) -> Iterator[FaultProxy]:
    """The way to the server on PostgreSQL, healthy to begin with."""
    with _healed(_postgresql_proxy):
        yield _postgresql_proxy


@contextmanager
def _healed(proxy: FaultProxy) -> Iterator[None]:
    proxy.calls.clear()
    yield
    proxy.choose = healthy
    proxy.up()
    proxy.release()


@pytest.fixture
def behind_proxy(mlflow_server: Server, proxy: FaultProxy, caplog: pytest.LogCaptureFixture) -> RegistryWorld:
    """A new model on the server; people reach it through the proxy, the test looks into the database."""
    caplog.set_level(logging.CRITICAL)
    return _world(proxy.url, mlflow_server.backend)


@pytest.fixture
def on_postgresql(
    mlflow_on_postgresql: Server, postgresql_proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> RegistryWorld:
    """A new model on PostgreSQL; people reach it through the proxy, the test asks the server itself."""
    caplog.set_level(logging.CRITICAL)
    return _world(postgresql_proxy.url, mlflow_on_postgresql.url)


def _world(reached: str, truth: str) -> RegistryWorld:
    model = f"fraud {new_id()}"
    register(truth, model)
    people, past_faults = (connect(uri, uri) for uri in (reached, truth))
    past_faults.write_limit = people.write_limit  # one lifetime for all who work on one model
    return RegistryWorld(model, people, past_faults, AlarmClock())


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the client give up on a request after one second."""
    from fds_mlflow.runtime.mlflow_server import Server

    real = Server.call

    def hasty(server: Server, *asked: str, **values: object) -> dict[str, object]:
        server._timeout = 1.0
        return real(server, *asked, **values)

    return lambda: monkeypatch.setattr(Server, "call", hasty)
