"""A registry behind a proxy that makes it ill, and servers that follow it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from fds_mlflow import ManagedModel, OutcomeStore
from tests.support.fault_proxy import FaultProxy, healthy
from tests.support.places import pointing_at
from tests.support.served import Served, until
from tests.support.servers import WEBHOOKS, Server, running
from tests.support.serving_registry import FIRST, MODEL, Registry, cached_versions, log_versions


@pytest.fixture(scope="session")
def way_to_mlflow(
    migrated_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, FaultProxy]]:
    """An MLflow server of these tests alone, whose model they share, and the proxy before it."""
    folder = tmp_path_factory.mktemp("serving")
    shutil.copyfile(migrated_database, folder / "mlflow.db")
    with running(Server(f"sqlite:///{folder / 'mlflow.db'}", folder, settings=WEBHOOKS)) as server:
        proxy = FaultProxy(server.port)
        yield server, proxy
        proxy.down()


@pytest.fixture(scope="session")
def _registry(way_to_mlflow: tuple[Server, FaultProxy], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    server, proxy = way_to_mlflow
    folder = tmp_path_factory.mktemp("versions")
    with pointing_at(server.url):
        log_versions(folder)
        prepared = cached_versions(proxy.url, server.url, folder / "cache")
    with OutcomeStore("sqlite://") as store:
        uris = {"tracking_uri": server.url, "registry_uri": server.url}
        model = ManagedModel(MODEL, outcomes=store, actor="tester", trust=True, **uris)
        yield Registry(proxy.url, server.url, prepared, model)


@pytest.fixture
def proxy(way_to_mlflow: tuple[Server, FaultProxy]) -> Iterator[FaultProxy]:
    """The way to the registry, healthy to begin with and in the end."""
    proxy = way_to_mlflow[1]
    yield proxy
    proxy.choose = healthy
    proxy.up()
    proxy.release()


@pytest.fixture
def registry(_registry: Registry, proxy: FaultProxy) -> Registry:
    """The model: its first version is champion, and no rollout is active."""
    mlflow.set_tracking_uri(_registry.truth)
    mlflow.set_registry_uri(_registry.truth)
    _registry.settle()
    return _registry


@pytest.fixture(scope="session")
def _server(_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    options = ("--workers", "2", "--shadow", "100", "--body-seconds", "0.5", "--body-limit", "1000000")
    server = Served(folder, _registry.uri, _registry.cache(folder / "cache"), *options)
    yield server
    server.kill()


@pytest.fixture
def server(_server: Served, registry: Registry) -> Served:
    """One server with two workers for many tests; it serves the first version, and has seen that."""
    if not _server.url:
        _server.ready()
    settled(_server)
    return _server


def settled(server: Served) -> None:
    """Wait until every worker serves what a settled registry says."""

    def all_say_so() -> bool:
        # A new connection each: some reach one worker, some the other.
        said = [server.client.get("/health", headers={"Connection": "close"}).json() for _ in range(10)]
        return all((one["champion"], one["canary"], one["status"]) == (FIRST, None, "ok") for one in said)

    until(all_say_so, "the first version everywhere")


@pytest.fixture
def serve(registry: Registry, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts servers with everything on their version cache; they are killed at the end."""
    started: list[Served] = []

    def start(name: str, *options: str, cache: Path | None = None, **more: Any) -> Served:
        folder = tmp_path / name
        cache = cache or registry.cache(folder / "cache")
        started.append(Served(folder, registry.uri, cache, *options, **more))
        return started[-1]

    yield start
    for server in started:
        server.kill()
