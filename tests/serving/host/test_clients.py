"""A worker with real sockets: whatever some clients do, the others are answered."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from fds_mlflow.serving.host.ownership import Ownership
from fds_mlflow.serving.host.server import Options, work
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.support.effort import graded
from tests.support.served import until
from tests.support.version_caches import table, version_cache

pytestmark = pytest.mark.slow
SPAWN = multiprocessing.get_context("spawn")
ROW = {"amount": 250.0, "hour": 3, "channel": "web", "transaction_id": "TX1"}
CHUNKED = b"POST /score HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
MANY = 1_200
"""More than the requests that a worker works on at once."""

Start = Callable[[str], str]
OPTIONS: dict[str, tuple[tuple[int, int], dict[str, Any], dict[str, Any]]] = {
    "as it comes": ((256, 4_096), {}, {}),
    "few files": ((256, 512), {}, {}),
    "one place": ((256, 4_096), {"body_seconds": 0.5}, {"connections": 1, "idle": 5}),
}
"""Workers: how many files they may have at first and at most, their settings, and the server's options."""


def limited(files: tuple[int, int], *given: Any) -> None:
    """A worker in a process that may have only so many files."""
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    work(*given)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Gives the address of a worker, which is started where it does not run yet."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))  # the clients are all in this process
    with contextlib.ExitStack() as stack:

        @functools.cache
        def started(name: str) -> str:
            files, settings, options = OPTIONS[name]
            given = ServerSettings("fraud", "memory:", tmp_path_factory.mktemp("worker"), **settings)
            version_cache(given.cache).write_table(table())
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2_048))
            owner = Ownership(given.version_cache().folder)
            stack.callback(owner.release)
            leaving, staying = map(stack.enter_context, SPAWN.Pipe(duplex=False))
            stack.callback(staying.close)  # it is not to be forgotten before
            worker = SPAWN.Process(target=limited, args=(files, given, Options(**options), listening, owner, leaving))
            worker.start()
            stack.callback(worker.join)
            stack.callback(worker.kill)
            address = "http://{}:{}".format(*listening.getsockname())
            until(lambda: httpx.get(f"{address}/ping").status_code == 200, "an answer")
            return address

        yield started
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def connect(address: str) -> socket.socket:
    """A connection to a worker."""
    url = httpx.URL(address)
    return socket.create_connection((url.host, url.port), timeout=30)


def answered(address: str) -> None:
    """Others are answered: by new connections and by one that stays."""
    with httpx.Client(base_url=address, timeout=30) as client:
        for _ in range(2):
            assert client.post("/score", json=ROW).status_code == 200
            assert client.post("/invocations", json={"inputs": [ROW]}).status_code == 200
    assert httpx.get(f"{address}/ping", timeout=30).status_code == 200


@pytest.mark.campaign
@pytest.mark.parametrize("worker", graded(["few files", "as it comes"], tested=1))
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"POST /score HTTP/1.1\r\nX: ",
        b"POST /score HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 100\r\n\r\n{",
    ],
)
def test_clients_that_send_nothing_or_slowly_shut_nobody_out(start: Start, worker: str, said: bytes) -> None:
    """Beside 1,200 connections that send nothing, or not all of it, others are answered, with few files as well."""
    address = start(worker)
    with contextlib.ExitStack() as stack:
        for number in range(MANY):
            client = stack.enter_context(connect(address))
            with contextlib.suppress(ConnectionError):
                client.sendall(said)
            if number % 400 == 0:
                answered(address)
        answered(address)


@pytest.mark.campaign
@pytest.mark.parametrize(
    "said",
    graded([b"GET /ping HTTP/1.1\r\nX: ", CHUNKED + b"1;", b"GET /", CHUNKED + b"0\r\nX: "], tested=2),
)
def test_what_does_not_end_stalls_nobody(start: Start, said: bytes) -> None:
    """Who sends a line, a field or an extension without end is told to stop, and others are answered meanwhile."""
    address, ended = start("as it comes"), threading.Event()

    def flood() -> None:
        while not ended.is_set():
            with contextlib.suppress(ConnectionError), connect(address) as client:
                client.sendall(said + b"x" * 2**23)

    floods = [threading.Thread(target=flood) for _ in range(2)]
    for thread in floods:
        thread.start()
    try:
        answered(address)
        with connect(address) as client:
            client.sendall(said + b"x" * 2**20)
            assert client.recv(1_000).startswith(b"HTTP/1.1 431 ")
            assert client.recv(1_000) == b""
    finally:
        ended.set()
        for thread in floods:
            thread.join()


@pytest.mark.campaign
@pytest.mark.parametrize("said", [b"GET /ping HTTP/1.1\r\nX: ", CHUNKED + b"1\r\n{\r\n5;"])
def test_what_does_not_arrive_in_time_is_answered_408(start: Start, said: bytes) -> None:
    """A head, or a body in chunks, that comes byte by byte gets its answer although it never ends."""
    with connect(start("one place")) as client:
        client.sendall(said)
        client.settimeout(0.05)
        got = b""
        while not got:
            with contextlib.suppress(TimeoutError):
                got = client.recv(1_000)
            with contextlib.suppress(ConnectionError):
                client.sendall(b"x")
    assert got.startswith(b"HTTP/1.1 408 ")


@pytest.mark.campaign
def test_one_place_is_enough_for_clients_that_take_turns(start: Start) -> None:
    """Idle connections and requests that have their answer take no place: with one, all who take turns are served."""
    address = start("one place")
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(address))
            answered(address)
