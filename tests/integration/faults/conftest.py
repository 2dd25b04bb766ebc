"""A real MLflow server, started once, with a proxy before it."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest

from fds_mlflow.lifecycle import new_id
from fds_mlflow.registry.mlflow_store import MlflowStore
from tests.integration.faults.fault_proxy import FaultProxy, healthy
from tests.integration.faults.registry_world import AlarmClock, RegistryWorld, register, sqlite


@dataclass
class Server:
    """An `mlflow server` on SQLite.

    Attributes:
        database: Its database.
        port: Its port on loopback.
        process: It runs in a process group of its own.
    """

    database: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", sqlite(self.database)]
        command += ["--default-artifact-root", (self.database.parent / "artifacts").as_uri()]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        with (self.database.parent / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.database.parent,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                start_new_session=True,
            )
        for _ in range(1_200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert self.process.poll() is None, (self.database.parent / "server.log").read_text()
                Event().wait(0.1)
        raise AssertionError("the MLflow server did not answer within two minutes")

    def kill(self) -> None:
        """`kill -9` for the server and its worker."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def mlflow_server(_migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real MLflow server on SQLite, one for all tests; each test has a model of its own."""
    database = tmp_path_factory.mktemp("server") / "mlflow.db"
    shutil.copyfile(_migrated_database, database)
    server = Server(database, free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def _proxy(mlflow_server: Server) -> Iterator[FaultProxy]:
    proxy = FaultProxy(mlflow_server.port)
    yield proxy
    proxy.down()


@pytest.fixture
def proxy(_proxy: FaultProxy) -> Iterator[FaultProxy]:
    """The way to the server, healthy to begin with."""
    _proxy.calls.clear()
    yield _proxy
    _proxy.choose = healthy
    _proxy.up()
    _proxy.release()


@pytest.fixture
def behind_proxy(mlflow_server: Server, proxy: FaultProxy, caplog: pytest.LogCaptureFixture) -> RegistryWorld:
    """A new model on the server; people reach it through the proxy, the test looks into the database."""
    caplog.set_level(logging.CRITICAL)
    model = f"fraud {new_id()}"
    uri = sqlite(mlflow_server.database)
    register(uri, model)
    store = MlflowStore(registry_uri=proxy.url, tracking_uri=proxy.url)
    return RegistryWorld(model, store, MlflowStore(registry_uri=uri, tracking_uri=uri), AlarmClock())


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the client give up on a request after one second."""
    from fds_mlflow.registry import mlflow_store

    return lambda: monkeypatch.setitem(mlflow_store._HTTP_SETTINGS, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
