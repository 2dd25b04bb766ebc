"""The server around its models: it starts when one can serve, and ends all of them side by side."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

import pytest

from fds_mlflow.serving.host.server import Options, Server, accepting
from fds_mlflow.serving.worker.settings import ServerSettings

OPTIONS = Options(port=0, workers=0, drain_seconds=60.0)


@dataclass
class Model:
    """What a server does for a model, as far as a test says.

    Attributes:
        name: Registered model.
        looked: Whether the registry has been looked at once it has begun.
        serves: Whether there is a table then.
        on_disk: Whether there was one before.
        ending: What its end takes.
    """

    name: str
    looked: bool = True
    serves: bool = True
    on_disk: bool = False
    ending: Callable[[], object] = lambda: None
    finished: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._then, self.serves = self.serves, self.on_disk

    def begin(self, poll_seconds: float) -> None:
        """It may have a table now."""
        self.serves = self._then

    def finish(self, until: float) -> None:
        """It takes what it takes."""
        self.ending()
        self.finished.set()


@pytest.fixture(autouse=True)
def _signals_stay() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(*models: Model, options: Options = OPTIONS, signals: int = 1) -> list[str]:
    """Serve until it is ready, and be told to stop then; the addresses that were told."""
    told: list[str] = []

    def ready(address: str) -> None:
        told.append(address)
        for _ in range(signals):
            os.kill(os.getpid(), signal.SIGTERM)

    Server(models, [], options, []).run(ready)  # type: ignore[arg-type]
    return told


def test_what_is_open_follows_where_it_listens(tmp_path: Path) -> None:
    """A server hands its workers what its own address and token make of the names and pages that are allowed."""
    for token, name, taken in (
        (None, "evil.example", False),
        (None, "localhost:5001", True),
        ("t", "any.example", True),
    ):
        server = Server([], [ServerSettings("fraud", "memory:", tmp_path, token=token)], OPTIONS, [])
        ((given,), *_) = server._shared
        server._socket.close()
        assert (given.access.allows_host(name), given.access.labels) == (taken, True)


def test_it_starts_when_all_have_been_looked_at() -> None:
    """A server without any version starts all the same, once the registry has been asked about each model."""
    assert len(run(Model("fraud", serves=False), Model("returns", serves=False))) == 1


def test_a_model_that_is_never_ready_holds_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one model can serve, one whose registry or files never answer is waited for only so long."""
    monkeypatch.setattr("fds_mlflow.serving.host.server.OTHERS_SECONDS", 0.0)
    assert len(run(Model("fraud"), Model("returns", looked=False, serves=False))) == 1


def test_what_is_on_disk_serves_at_once() -> None:
    """Where one model has a table from before, it is not kept waiting for another one at all."""
    assert len(run(Model("fraud", looked=False, on_disk=True), Model("returns", looked=False, serves=False))) == 1


HOUR = replace(OPTIONS, workers=1, leave_seconds=3_600.0)


def test_who_tells_it_twice_does_not_wait_for_it_to_leave() -> None:
    """A server that is told to stop a second time, while it would answer on for an hour, ends at once."""
    worker = mock.Mock(**{"is_alive.return_value": True})
    with mock.patch.object(Server, "_spawn", return_value=worker):
        assert len(run(Model("fraud"), options=HOUR, signals=2)) == 1


def test_where_no_worker_is_left_it_does_not_wait() -> None:
    """A terminal tells the workers, too: once they have ended, nobody who connects waits for a server that leaves."""
    worker = mock.Mock(**{"is_alive.side_effect": [True, True, False, False]})
    with mock.patch.object(Server, "_spawn", return_value=worker):
        assert len(run(Model("fraud"), options=HOUR)) == 1


def test_a_signal_needs_no_lock() -> None:
    """A signal comes between any two steps of the thread that waits for it, also while that one holds a lock."""
    with mock.patch.object(threading.Condition, "__enter__", side_effect=AssertionError("it waits for a lock")):
        Server([], [], OPTIONS, [])._stop(signal.SIGTERM, None)


def test_models_end_side_by_side() -> None:
    """Outcomes of one model go to the store although another one's cannot: no end waits for another."""
    fraud, returns = Model("fraud"), Model("returns")
    fraud.ending = lambda: returns.finished.wait(60)
    run(fraud, returns)
    assert fraud.finished.is_set()
    assert returns.finished.is_set()


def test_no_worker_waits_for_a_connection_that_another_one_took() -> None:
    """However workers start beside each other, accepting never waits: a loop that did would answer nobody meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        first, second = (
            socket.socket(fileno=os.dup(listening.fileno())) for _ in range(2)
        )  # as a process is handed it
        sockets = accepting(first)
        assert not any(os.get_blocking(one.fileno()) for one in sockets)
        sockets += accepting(second)  # a worker that starts later, or again
        assert not any(os.get_blocking(one.fileno()) for one in sockets)
        for one in sockets:
            one.close()
