"""The server: one process that follows the registry and writes to the store, and workers that answer requests.

The workers share one listening socket and import neither MLflow nor SQLAlchemy (but for a model that has no
compiled scorer); so they are small, and nothing that the registry or the store does holds a request up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import TYPE_CHECKING, Any

from fds_mlflow.display.redaction import redacted
from fds_mlflow.outcomes.sink import Sink
from fds_mlflow.runtime import environment, tracing
from fds_mlflow.runtime.streams import errors
from fds_mlflow.serving.host.follower import Follower
from fds_mlflow.serving.host.model import HostedModel, labels_of
from fds_mlflow.serving.host.ownership import Ownership
from fds_mlflow.serving.host.recorder import OutcomeRecorder
from fds_mlflow.serving.host.starting import listen, one_thread_each
from fds_mlflow.serving.http.models import together
from fds_mlflow.serving.worker.access import Access
from fds_mlflow.serving.worker.settings import ServerSettings

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe

    from fds_mlflow.serving.http.connections import Connections

log = logging.getLogger(__name__)

HTTP: Mapping[str, Any] = {
    "loop": "none",
    "http": "httptools",
    "ws": "none",
    "access_log": False,
    "log_config": None,
    "proxy_headers": False,
    "server_header": False,
    "date_header": False,
    "timeout_keep_alive": 75,
    "backlog": 2_048,
}
"""What uvicorn does for an application; what is compared with this server gets the same."""

OTHERS_SECONDS = 10.0
"""How long a server that can serve one model waits at its first start for the others to be made ready."""

_SWITCH_SECONDS = 0.0001
"""How long a thread of a worker computes before another one has its turn: the loop needs one for each thing that it
does, and would wait the usual 5 ms each time while a large request is read or scored."""

_ACCEPTS = 8
"""Connections that are accepted in one round of the loop."""


@dataclass(frozen=True)
class Options:
    """How the server runs.

    Attributes:
        host: Address to listen on.
        port: Port; 0 for a free one.
        workers: Processes that answer requests.
        poll_seconds: How often the aliases are read.
        drain_seconds: How long the store may take to accept what waits when the server stops.
        leave_seconds: How long it goes on answering before, while its probes say that it leaves.
        connections: Requests a worker works on at once; beyond, it answers 503. None for what its models allow.
        hosts: Names under which it may be asked, beside those of loopback.
        origins: Pages of other sites that may write.
        idle: Connections a worker may have beside them; beyond, the one that has waited longest is closed.
    """

    host: str = "127.0.0.1"
    port: int = 5001
    workers: int = 1
    poll_seconds: float = 2.0
    drain_seconds: float = 20.0
    leave_seconds: float = 0.0
    connections: int | None = None
    idle: int = 4_000
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()


def work(
    settings: ServerSettings | Sequence[ServerSettings],
    options: Options,
    listening: socket.socket,
    ownership: Ownership | Sequence[Ownership],  # noqa: ARG001
    leaving: Pipe,
) -> None:
    """One worker, until it is told to stop.

    Args:
        settings: Of the worker, for each model.
        options: Of the server.
        listening: Where clients connect.
        ownership: Of the version caches: nobody else's while this process lives.
        leaving: Its other end is closed when the server begins to leave.
    """
    logging_setup()
    _forget()

    import uvicorn
    import uvloop

    from fds_mlflow.serving.http.models import Models
    from fds_mlflow.serving.http.protocol import ScoreProtocol

    sys.setswitchinterval(_SWITCH_SECONDS)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    app = Models(_several(settings))
    connections = _connections(_several(settings), options)

    async def examine() -> None:
        await connections.look()
        app.flush()

    def leave() -> None:
        asyncio.get_running_loop().remove_reader(leaving.fileno())
        connections.leaving = True
        app.leave()

    async def serve() -> None:
        asyncio.get_running_loop().add_reader(leaving.fileno(), leave)
        await server.serve(sockets=accepting(listening))

    config = uvicorn.Config(
        app,
        lifespan="on",
        timeout_graceful_shutdown=int(options.drain_seconds),
        callback_notify=examine,
        timeout_notify=0,  # each second, which is as often as uvicorn asks
        **{**HTTP, "http": ScoreProtocol},
    )
    server = uvicorn.Server(config)
    server.server_state = connections
    # uvloop sets TCP_NODELAY on every connection; on asyncio's own loop it is missing on those that come through a
    # socket handed down by another process, and each response then waits some 40 ms for an acknowledgement.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
    # All is answered and handed over; Python would go on to wait for threads in which a model hangs.
    logging.shutdown()
    os._exit(0)


def accepting(listening: socket.socket) -> list[socket.socket]:
    """The sockets by which a worker accepts: libuv takes one connection a round from each, and rounds may be long.

    None waits; all workers share that. One that was late for a connection would stand still until the next one comes.
    """
    listening.setblocking(False)
    return [listening, *(listening.dup() for _ in range(_ACCEPTS - 1))]


def _connections(models: Sequence[ServerSettings], options: Options) -> Connections:
    """A worker's connections, within what the options and the system allow."""
    from fds_mlflow.serving.http.connections import Connections, Limits, connections_allowed

    requests = options.connections or sum(one.connections for one in models)
    allowed = connections_allowed(requests + options.idle)
    return Connections(
        Limits(
            requests=min(requests, allowed),
            connections=allowed,
            head_seconds=max(one.body_seconds for one in models),
            idle_seconds=HTTP["timeout_keep_alive"],
        )
    )


def _forget() -> None:
    """Keep no secret in this process's environment and arguments: versions may run code of their own here."""
    tracing.tracer()  # which is made by what these variables say
    environment.forget_secrets()
    sys.argv[1:] = []


def _several(settings: ServerSettings | Sequence[ServerSettings]) -> Sequence[ServerSettings]:
    return [settings] if isinstance(settings, ServerSettings) else settings


def _end_with_parent() -> None:
    """Stop this worker when its supervisor is gone: nobody would follow the registry, or free the port, any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


class Server:
    """Supervises the workers, and what is done for each model beside them.

    Args:
        models: What is done for each model.
        settings: Of the workers, for each model.
        options: Of the server.
        ownerships: Of the version caches; the workers share them.

    Raises:
        ConfigError: The address cannot be listened on, or what is allowed is no host or origin.
    """

    def __init__(
        self,
        models: Sequence[HostedModel],
        settings: Sequence[ServerSettings],
        options: Options,
        ownerships: Sequence[Ownership],
    ) -> None:
        self._models = models
        self._options = options
        self._told = 0
        self._workers: list[SpawnProcess] = []
        self._context = multiprocessing.get_context("spawn")
        self._socket = listen(options.host, options.port)
        leaving, self._staying = self._context.Pipe(duplex=False)
        access = Access.bound(
            self._socket.getsockname()[0],
            named=options.host,
            token=any(one.token is not None for one in settings),
            hosts=options.hosts,
            origins=options.origins,
        )
        if not access.labels:
            log.warning("labels are not taken: other machines can connect, and no --token (FDS_SERVE_TOKEN) is set")
        told = [replace(one, token=None, access=access) for one in settings]
        self._shared = (told, options, self._socket, ownerships, leaving)

    @property
    def address(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def run(self, ready: Callable[[str], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT.

        Where a table is on disk it serves at once; else it first looks at the registry and makes ready what that says.
        Where there is no champion, or no registry, it starts all the same, and answers 503 until there is one.

        Args:
            ready: Called with the address once the workers are started.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        at_once = any(model.serves for model in self._models)
        for model in self._models:
            model.begin(self._options.poll_seconds)
        if not at_once:
            self._await_models()
        self._workers = [self._spawn() for _ in range(self._options.workers)]
        if ready is not None:
            ready(self.address)
        while not self._waited(0.2):
            self._revive()
        self._leave()
        self._shut_down()

    def _await_models(self) -> None:
        """Wait until each has been looked at; where one can serve, the others are waited for only so long."""
        until = float("inf")
        while not self._waited(0.1) and time.monotonic() < until:
            if all(model.looked for model in self._models):
                return
            if until == float("inf") and any(model.serves for model in self._models):
                until = time.monotonic() + OTHERS_SECONDS

    # --- the workers ---------------------------------------------------------------------------------------

    def _spawn(self) -> SpawnProcess:
        process = self._context.Process(target=work, args=self._shared, name="worker")
        with one_thread_each():
            process.start()
        return process

    def _revive(self) -> None:
        for place, process in enumerate(self._workers):
            if not process.is_alive() and not self._told:
                log.error("worker %s ended with code %s and is started again", process.pid, process.exitcode)
                self._waited(0.5)
                self._workers[place] = self._spawn()

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's signature
        self._told += 1  # and takes no lock: the thread that it interrupts may hold it

    def _waited(self, seconds: float, times: int = 1) -> bool:
        """Wait to be told to stop, so many times, for some seconds at most; whether it has been."""
        until = time.monotonic() + seconds
        while self._told < times and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))
        return self._told >= times

    def _leave(self) -> None:
        """Answer on for a while, so that who leads clients here learns that it goes before it has gone.

        Where no worker is left, as after a terminal's Ctrl-C, nobody answers: who connects would wait for nothing.
        """
        self._staying.close()
        until = time.monotonic() + self._options.leave_seconds
        while time.monotonic() < until and any(process.is_alive() for process in self._workers):
            if self._waited(0.1, times=2):
                return

    def _shut_down(self) -> None:
        """Let the workers finish what they have accepted, then move what they leave behind."""
        for process in self._workers:
            process.terminate()
        self._socket.close()  # who comes now is refused, and need not wait for nothing
        until = time.monotonic() + self._options.drain_seconds
        for process in self._workers:
            process.join(max(0.1, until - time.monotonic()))
            if process.is_alive():
                log.error("worker %s did not stop in time", process.pid)
                process.kill()
        # Side by side: a store that does not answer one of them keeps the others from nothing.
        finishing = [
            threading.Thread(target=model.finish, args=(until,), name=f"finish {model.name}", daemon=True)
            for model in self._models
        ]
        for thread in finishing:
            thread.start()
        for thread in finishing:
            thread.join(max(1.0, until - time.monotonic()))


def logging_setup() -> None:
    """One JSON object per line on standard error, in ASCII and without secrets, whatever it quotes."""
    from pythonjsonlogger.json import JsonFormatter

    class Redacting(JsonFormatter):
        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            return {name: redacted(value) if isinstance(value, str) else value for name, value in log_data.items()}

    environment.hide_secrets()  # each worker has a process of its own, and starts here
    handler = logging.StreamHandler(errors())
    handler.setFormatter(
        Redacting("{asctime}{levelname}{name}{message}{process}", style="{", rename_fields={"levelname": "level"})
    )
    level = environment.setting(environment.LOG_LEVEL) or "INFO"
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def run(
    settings: ServerSettings | Sequence[ServerSettings],
    options: Options,
    *,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    outcomes: Callable[[], Sink] | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve models from MLflow's registry until told to stop.

    Args:
        settings: Of the workers, for each model.
        options: Of the server.
        tracking_uri: None for the one MLflow resolves.
        registry_uri: None for the one MLflow resolves.
        outcomes: Opens the store of outcomes; None to leave them on disk.
        ready: Called with the address once requests are answered.

    Raises:
        ConfigError: The address cannot be listened on, a cache cannot be written or is another server's, or a model is
            there twice.
    """
    from fds_mlflow.registry.connection import connect
    from fds_mlflow.runtime.clock import SystemClock
    from fds_mlflow.serving.host.prepare import Preparation

    several = _several(settings)
    together(several)
    with contextlib.ExitStack() as stack:
        ownerships, models = [], []
        for one in several:
            # Before the address: workers of a server that was killed have both until they end.
            ownerships.append(Ownership(one.version_cache().folder))
            stack.callback(ownerships[-1].release)
            preparation = Preparation(one.model, tracking_uri, registry_uri, one.prepare_seconds, one.trust)
            stack.callback(preparation.stop)
            store = connect(tracking_uri, registry_uri)
            follower = Follower(one.model, store, one.version_cache(), preparation, SystemClock())
            recorder = None if outcomes is None else OutcomeRecorder(one.model, one.spool(), outcomes)
            models.append(HostedModel(one, follower, recorder, labels_of(one, recorder)))
        Server(models, several, options, ownerships).run(ready)
