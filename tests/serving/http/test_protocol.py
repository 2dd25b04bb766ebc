"""The short way of a score: byte for byte what the usual way answers, however the bytes arrive."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fds_mlflow.scoring.compiled import CompiledModel
from fds_mlflow.serving.host.server import HTTP
from fds_mlflow.serving.http.app import App
from fds_mlflow.serving.http.connections import Connections, Limits
from fds_mlflow.serving.http.models import Models
from fds_mlflow.serving.http.protocol import ScoreProtocol
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.support.loop import later
from tests.support.version_caches import table, version_cache

ROW: dict[str, Any] = {"amount": 250.0, "hour": 3, "channel": "web", "transaction_id": "TX1"}


class Wire(asyncio.Transport):
    """The other end of a connection: what was sent to the client, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.late = b""
        self.closed = False
        self.ended = False
        self.reading = True
        self.unsent = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """To the client, as long as the connection is there."""
        if self.closed:
            self.late += bytes(data)
        else:
            self.sent += bytes(data)

    def close(self) -> None:
        """End it."""
        self.closed = True

    def is_closing(self) -> bool:
        """Whether it has ended."""
        return self.closed

    def abort(self) -> None:
        """End it at once."""
        self.closed = True

    def write_eof(self) -> None:
        """Send no more."""
        self.ended = True

    def get_write_buffer_size(self) -> int:
        """Bytes that the client has not taken."""
        return self.unsent

    def pause_reading(self) -> None:
        """The test goes on sending, but may see it."""
        self.reading = False

    def resume_reading(self) -> None:
        """Take in again."""
        self.reading = True


class Immediate(Executor):
    """Threads that have done their work as soon as they are asked; the loop hears of it a few rounds later."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it."""
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class Connection:
    """A connection to an application, by a kind of protocol."""

    def __init__(self, kind: type[HttpToolsProtocol], app: App | Models, *, server: Connections | None = None) -> None:
        config = Config(app, lifespan="off", **{**HTTP, "http": kind})
        config.load()
        self.app = app
        self.wire = Wire()
        self.server = server or Connections(Limits())
        self.protocol = kind(config=config, server_state=self.server, app_state={}, _loop=asyncio.get_running_loop())
        self.protocol.connection_made(self.wire)

    async def send(self, data: bytes, *, wait: bool = True) -> None:
        """To the server; wait until it has nothing more to do."""
        self.protocol.data_received(data)
        if wait:
            await self.settle()

    @property
    def statuses(self) -> list[int]:
        """Of all answers so far."""
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", self.wire.sent)]

    async def settle(self) -> None:
        """Let the server go on until it has nothing more to do; how much it does in a round is a matter of time."""
        quiet = 0
        while quiet < 20:
            sent = len(self.wire.sent)
            await asyncio.sleep(0)
            quiet = 0 if self.app.batch._waiting or len(self.wire.sent) > sent else quiet + 1


def request(path: str, body: Any = None, *, method: str = "POST", version: str = "1.1", **headers: str) -> bytes:
    """The bytes of a request; a body that is no bytes goes as JSON."""
    sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/{version}", "Host: fds", f"Content-Length: {len(sent)}"]
    headers = {"Content_Type": "application/json", **headers} if method == "POST" else headers
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + sent


def chunked(path: str, body: bytes, **headers: str) -> bytes:
    """The bytes of a request whose body comes in chunks of ten bytes."""
    head = request(path, **headers).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunks = [body[start : start + 10] for start in range(0, len(body), 10)] + [b""]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


REQUESTS = {
    "a score": request("/score", ROW, X_Request_ID="r1"),
    "another": request("/score", {**ROW, "amount": 20}, X_Request_ID="r2", X_Routing_Key="K"),
    "a gap": request("/score", {**ROW, "hour": None}, X_Request_ID="r3"),
    "in chunks": chunked("/score", json.dumps(ROW).encode(), X_Request_ID="r8"),
    "not JSON": request("/score", b"{"),
    "a text for a number": request("/score", {**ROW, "amount": "much"}),
    "too long": request("/score", b" " * 3_000),
    "a variant that may not be chosen": request("/score", ROW, X_FDS_Variant="canary"),
    "no body": request("/score"),
    "with a query": request("/score?a=b", ROW, X_Request_ID="r4"),
    "rows": request("/invocations", {"inputs": [ROW]}, X_Request_ID="r5"),
    "many rows": request("/invocations", {"inputs": [ROW] * 17}, X_Request_ID="rows"),
    "labels": request("/labels", [{"transaction_id": "TX1", "status": "confirmed", "known_at": "2026-03-01T00:00Z"}]),
    "too deep": request("/score", b'{"more":' + b"[" * 1_500),
    "a question": request("/ping", method="GET"),
    "a wrong method": request("/score", method="GET"),
    "no such path": request("/scores", ROW),
}
LAST = {
    "nothing more": b"",
    "closing": request("/score", ROW, X_Request_ID="r6", Connection="close"),
    "HTTP/1.0": request("/score", ROW, version="1.0", X_Request_ID="r7"),
    "HTTP/1.0 that would stay": request("/score", ROW, version="1.0", X_Request_ID="r9", Connection="keep-alive"),
}


def application(folder: Path, **more: Any) -> App:
    """Champion 1 is in the version cache, and serves; a busy machine turns nobody away."""
    app = App(ServerSettings("fraud", "memory:", folder, **{"body_limit": 2_000, "queue_seconds": 60.0, **more}))
    version_cache(folder).write_table(table())
    app.worker.follow()
    app._threads = Immediate()  # type: ignore[assignment]
    return app


async def answered(kind: type[HttpToolsProtocol], app: App, parts: Sequence[tuple[bytes, bool]]) -> tuple[Any, ...]:
    """All that the client gets, whether the connection was closed, and the requests that left an outcome."""
    connection = Connection(kind, app)
    for data, wait in parts:
        if not connection.wire.closed:
            await connection.send(data, wait=wait)
    await connection.settle()
    outcomes = [(one.request_id, one.score) for one in app.worker.engine.fetched()]
    return connection.wire.sent, connection.wire.closed, outcomes


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    """One application for all examples."""
    return application(tmp_path_factory.mktemp("short"))


@given(data=st.data())
def test_whatever_is_asked_is_answered_as_the_usual_way_answers(app: App, data: st.DataObject):
    """Any requests, pipelined and cut into any pieces, get byte for byte uvicorn's answers, and one outcome each."""
    names = data.draw(st.lists(st.sampled_from(sorted(REQUESTS)), max_size=6))
    stream = b"".join(REQUESTS[name] for name in names) + LAST[data.draw(st.sampled_from(sorted(LAST)))]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=6)) | {0, len(stream)})
    pieces = [stream[start:end] for start, end in itertools.pairwise(cuts)]
    waits = data.draw(st.lists(st.booleans(), min_size=len(pieces), max_size=len(pieces)))
    parts = list(zip(pieces, waits, strict=True))
    short = asyncio.run(answered(ScoreProtocol, app, parts))
    usual = asyncio.run(answered(HttpToolsProtocol, app, parts))
    assert short == usual


@pytest.mark.parametrize("name", ["a score", "rows", "not JSON", "a question"])
async def test_each_connection_of_a_server_that_leaves_ends_with_its_answer(tmp_path: Path, name: str) -> None:
    """A client whose server leaves has its answer as ever, but is told that the connection ends: it goes elsewhere."""
    server = Connections(Limits())
    connection, before = (Connection(ScoreProtocol, application(tmp_path), server=each) for each in (server, None))
    server.leaving = True
    for each in (connection, before):
        await each.send(REQUESTS[name])
    head, _, body = connection.wire.sent.partition(b"\r\n\r\n")
    assert head.endswith(b"\r\nconnection: close")
    assert connection.wire.closed
    assert before.wire.sent.partition(b"\r\n\r\n")[2][:20] == body[:20]
    assert not before.wire.closed


async def test_a_server_that_leaves_says_so_to_who_leads_clients_to_it(tmp_path: Path) -> None:
    """Every probe, also of one model, says 503 while the server leaves; a score is answered."""
    version_cache(tmp_path).write_table(table())
    models = Models([ServerSettings(name, "memory:", tmp_path) for name in ("fraud", "returns")])
    models.apps["fraud"].worker.follow()
    asked = [f"{start}{path}" for start in ("", "/models/fraud") for path in ("/ping", "/health")] + [
        "/models/fraud/ready"
    ]

    async def statuses() -> list[int]:
        connection = Connection(ScoreProtocol, models)
        for path in asked:
            await connection.send(request(path, method="GET"))
        await connection.send(request("/models/fraud/score", ROW))
        return connection.statuses

    assert await statuses() == [200] * 6
    models.leave()
    assert await statuses() == [503] * 5 + [200]


@pytest.mark.parametrize("name", REQUESTS)
async def test_each_request_is_answered_as_the_usual_way_answers_it(app: App, name: str):
    """Whatever a request is about, it gets byte for byte uvicorn's answer, and so does the one behind it."""
    parts = [(REQUESTS[name] + REQUESTS["another"], True)]
    assert await answered(ScoreProtocol, app, parts) == await answered(HttpToolsProtocol, app, parts)


async def test_what_is_no_http_ends_the_connection(app: App):
    """Bytes that are no request are answered 400, after what was asked before them; then the connection closes."""
    connection = Connection(ScoreProtocol, app)
    await connection.send(REQUESTS["a score"] + REQUESTS["another"] + b"HELO fds\r\n\r\n")
    assert (connection.statuses, connection.wire.closed) == ([200, 200, 400], True)
    assert b'"error_code":"BAD_REQUEST"' in connection.wire.sent


async def test_what_is_no_http_does_not_overtake_what_was_asked_before_it(app: App):
    """Where an answer takes its time, the refusal of what came behind it waits: no answer is taken for another's."""
    connection = Connection(ScoreProtocol, app)
    await connection.send(REQUESTS["many rows"] + REQUESTS["labels"] + b"HELO fds\r\n\r\n", wait=False)
    assert connection.statuses == []
    await connection.settle()
    assert (connection.statuses, connection.wire.closed) == ([200, 200, 400], True)


async def test_a_plain_score_is_answered_without_a_task(app: App):
    """A request for a score that arrives whole is answered from within the connection."""
    connection = Connection(ScoreProtocol, app)
    await connection.send(REQUESTS["a score"], wait=False)
    assert not connection.server.tasks
    await connection.settle()
    assert connection.wire.sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert connection.server.total_requests == 1


async def test_a_body_may_come_in_any_two_parts(app: App):
    """A request for a score, its body in chunks, is answered alike wherever it was cut in two on its way."""
    whole = REQUESTS["in chunks"]
    expected, *_ = await answered(HttpToolsProtocol, app, [(whole, True)])
    for place in range(1, len(whole)):
        sent, *_ = await answered(ScoreProtocol, app, [(whole[:place], True), (whole[place:], True)])
        assert sent == expected


async def test_a_body_that_does_not_come_is_not_waited_for(app: App, monkeypatch: pytest.MonkeyPatch):
    """A request for a score that has begun has the time limit of every other request."""
    connection = Connection(ScoreProtocol, app)
    await connection.send(REQUESTS["a score"][:-5])
    for _ in range(2):
        later(monkeypatch, 10)
        await connection.settle()
    assert connection.wire.sent.startswith(b"HTTP/1.1 408 ")


async def test_a_server_that_ends_answers_what_it_has_accepted(app: App):
    """A request that was read before the server began to end gets its answer, and the connection closes after it."""
    connection = Connection(ScoreProtocol, app)
    await connection.send(REQUESTS["a score"], wait=False)
    connection.protocol.shutdown()
    assert connection.wire.sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert connection.wire.closed


async def test_nothing_overtakes_what_takes_a_thread(app: App):
    """Behind a score, what takes longer is answered before what came after it, and a server that ends waits for it."""
    for last in ("a question", "a score"):
        connection = Connection(ScoreProtocol, app)
        await connection.send(REQUESTS["a score"] + REQUESTS["many rows"] + REQUESTS[last], wait=False)
        for _ in range(2):
            await asyncio.sleep(0)
        assert connection.wire.sent.count(b"HTTP/1.1 200 OK") == 1
        connection.protocol.shutdown()
        assert not connection.wire.closed
        await connection.settle()
        assert b'"request_id":"rows-16"' in connection.wire.sent
        assert connection.wire.late == b""


async def test_a_client_that_has_gone_harms_nobody(app: App):
    """Where one of two clients is gone before its answer, the other gets its own."""
    gone, there = Connection(ScoreProtocol, app), Connection(ScoreProtocol, app)
    await gone.send(REQUESTS["a score"], wait=False)
    await there.send(REQUESTS["another"], wait=False)
    gone.wire.close()
    gone.protocol.connection_lost(ConnectionResetError())
    await there.settle()
    assert gone.wire.sent + gone.wire.late == b""
    assert b'"request_id":"r2"' in there.wire.sent


async def test_more_requests_under_way_than_allowed_turn_a_score_away(app: App):
    """Requests of clients that have gone count until they are done: a score beyond the limit is a 503 as well."""
    connection = Connection(ScoreProtocol, app, server=Connections(Limits(requests=2)))
    under_way = {asyncio.create_task(asyncio.Event().wait()) for _ in range(2)}
    connection.server.tasks.update(under_way)  # type: ignore[arg-type]
    connection.protocol.data_received(REQUESTS["a score"])
    for _ in range(5):
        await asyncio.sleep(0)
    assert connection.wire.sent.startswith(b"HTTP/1.1 503 ")
    for task in under_way:
        task.cancel()


async def test_a_champion_that_fails_is_a_503_the_short_way_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where the champion cannot score, the answer says why, in the words of the usual way."""
    app = application(tmp_path)

    def fail(*_: object) -> float:
        raise ValueError("out of order")

    monkeypatch.setattr(CompiledModel, "row", fail)
    short = await answered(ScoreProtocol, app, [(REQUESTS["a score"], True)])
    usual = await answered(HttpToolsProtocol, app, [(REQUESTS["a score"], True)])
    assert short == usual
    assert short[0].startswith(b"HTTP/1.1 503 ")
    assert b"out of order" in short[0]


async def test_a_defect_of_ours_is_a_500(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An error nobody thought of is answered 500 without its text, and the next request is served."""
    app = application(tmp_path)
    connection = Connection(ScoreProtocol, app)
    with monkeypatch.context() as broken:
        broken.setattr(app.worker.engine, "answer", lambda *_, **__: 1 / 0)
        await connection.send(REQUESTS["a score"])
    assert connection.wire.sent.startswith(b"HTTP/1.1 500 ")
    assert b"division" not in connection.wire.sent
    connection.wire.sent = b""
    await connection.send(REQUESTS["another"])
    assert connection.wire.sent.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(("token", "status"), [("Bearer right", 200), ("Bearer wrong", 401)])
async def test_the_token_is_asked_for_the_short_way_too(tmp_path: Path, token: str, status: int):
    """Who shows another token than the server's gets no score."""
    connection = Connection(ScoreProtocol, application(tmp_path, token="right"))
    await connection.send(request("/score", ROW, Authorization=token))
    assert connection.wire.sent.startswith(f"HTTP/1.1 {status} ".encode())
