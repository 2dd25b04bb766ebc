"""What clients may do to a connection: offer other protocols, send too much, too slowly, or nothing at all."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fds_mlflow.serving.http.app import App
from fds_mlflow.serving.http.connections import Connections, Limits
from fds_mlflow.serving.http.models import Models
from fds_mlflow.serving.http.protocol import ScoreProtocol
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.serving.http.test_protocol import REQUESTS, ROW, Connection, answered, application, chunked, request
from tests.support.effort import graded
from tests.support.loop import later
from tests.support.version_caches import table, version_cache

LIMITS = Limits(requests=2, connections=4, head_bytes=1_000, head_seconds=10, idle_seconds=75)
OFFERS = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n",
    b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n",
    b"UPGRADE: TLS/1.0\r\nupgrade: h2c, websocket\r\nconnection: upgrade\r\n",
    b"Upgrade: \r\nConnection: Upgrade\r\n",
    b"Upgrade: h2c\r\nProxy-Connection: Upgrade\r\n",
    b"Expect: 100-continue\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n",
    b"",
]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    """One application for all tests."""
    return application(tmp_path_factory.mktemp("clients"))


@pytest.fixture
def server() -> Connections:
    """A worker that allows little."""
    return Connections(LIMITS)


def offering(sent: bytes, offer: bytes, *, first: bool = False) -> bytes:
    """A request that offers to go on in another protocol, behind its first line or behind its headers."""
    line, rest = sent.split(b"\r\n", 1)
    if first:
        return line + b"\r\n" + offer + rest
    head, body = rest.split(b"\r\n\r\n", 1)
    return line + b"\r\n" + head + b"\r\n" + offer + b"\r\n" + body


def without_continue(sent: bytes) -> bytes:
    """Answers without the news that a body is waited for, which depends on whether it was there."""
    return sent.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")


# --- offers --------------------------------------------------------------------------------------------------


@given(data=st.data())
def test_offers_of_other_protocols_change_no_answer(app: App, data: st.DataObject):
    """Whatever protocols requests offer, pipelined and cut anywhere, each is answered as if it offered nothing."""
    names = data.draw(st.lists(st.sampled_from(sorted(REQUESTS)), min_size=1, max_size=5))
    plain = [REQUESTS[name] for name in names]
    offers = [data.draw(st.sampled_from(OFFERS)) for _ in plain]
    places = [data.draw(st.booleans()) for _ in plain]
    stream = b"".join(
        offering(one, offer, first=first) for one, offer, first in zip(plain, offers, places, strict=True)
    )
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=6)) | {0, len(stream)})
    parts = [(stream[start:end], data.draw(st.booleans())) for start, end in itertools.pairwise(cuts)]
    sent, closed, outcomes = asyncio.run(answered(ScoreProtocol, app, parts))
    expected = asyncio.run(answered(HttpToolsProtocol, app, [(b"".join(plain), True)]))
    assert (without_continue(sent), closed, outcomes) == expected


@pytest.mark.parametrize("path", ["/score", "/invocations"])
async def test_a_client_that_offers_and_closes_gets_its_answer(app: App, path: str):
    """The last request of a connection is answered although it offers something, and nothing behind it is."""
    last = request(path, ROW if path == "/score" else {"inputs": [ROW]}, X_Request_ID="last", Connection="close")
    offer = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    expected = await answered(HttpToolsProtocol, app, [(last + REQUESTS["another"], True)])
    assert await answered(ScoreProtocol, app, [(offering(last, offer) + REQUESTS["another"], True)]) == expected


@pytest.mark.tested(2)
@pytest.mark.parametrize("name", graded(["in chunks", "a score", "rows", "labels", "a question"]))
async def test_an_offer_may_be_cut_anywhere(app: App, name: str):
    """A request that offers HTTP/2 is answered alike wherever it is cut, and the connection goes on."""
    expected, *_ = await answered(HttpToolsProtocol, app, [(REQUESTS[name] + REQUESTS["another"], True)])
    whole = offering(REQUESTS[name], OFFERS[0]) + REQUESTS["another"]
    for place in range(len(whole) + 1):
        parts = [(part, True) for part in (whole[:place], whole[place:]) if part]
        sent, *_ = await answered(ScoreProtocol, app, parts)
        assert sent == expected


async def test_a_score_that_offers_another_protocol_takes_the_short_way(app: App):
    """An offer costs a score no task."""
    connection = Connection(ScoreProtocol, app)
    await connection.send(offering(REQUESTS["a score"], OFFERS[0]), wait=False)
    assert not connection.server.tasks
    await connection.settle()
    assert connection.statuses == [200]


async def test_a_body_is_asked_for_where_the_client_waits_for_that(app: App):
    """A client that expects to be told so sends its body then, with an offer or without."""
    for offer in (OFFERS[5], b"Expect: 100-continue\r\n"):
        connection = Connection(ScoreProtocol, app)
        head, body = offering(REQUESTS["a score"], offer).split(b"\r\n\r\n")
        await connection.send(head + b"\r\n\r\n")
        assert connection.wire.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
        await connection.send(body)
        assert connection.statuses == [100, 200]


LENGTH, CHUNKED = b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n"
HIDDEN = request("/score", ROW, X_Request_ID="hidden")
AMBIGUOUS = {
    "both": b"POST /score HTTP/1.1\r\n" + LENGTH + CHUNKED + b"%s\r\n0\r\n\r\n",
    "both the other way round": b"POST /score HTTP/1.1\r\n" + CHUNKED + LENGTH + b"%s\r\n0\r\n\r\n",
    "two lengths": b"POST /score HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5\r\n%s\r\n",
    "two equal lengths": b"POST /score HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n%s\r\n",
    "a list of lengths": b"POST /score HTTP/1.1\r\nContent-Length: 0, 5\r\n%s\r\n",
    "an encoding that is not the last": b"POST /score HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n%s\r\n",
    "an offer across lines": b"POST /score HTTP/1.1\r\nContent-Length:\r\n 0\r\n%s\r\n",
    "an encoding that nobody knows": b"POST /score HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n%s\r\n0\r\n\r\n",
    "an encoding in quotes": b'POST /score HTTP/1.1\r\nTransfer-Encoding: "chunked"\r\n%s\r\n0\r\n\r\n',
    "an encoding before there were any": b"POST /score HTTP/1.0\r\nConnection: keep-alive\r\n"
    + CHUNKED
    + b"%s\r\n0\r\n\r\n",
    "a name with a space": b"POST /score HTTP/1.1\r\nContent-Length : 0\r\n%s\r\n",
    "a tunnel": b"CONNECT fds:80 HTTP/1.1\r\n%s\r\n",
    "another version": b"PRI * HTTP/2.0\r\n%s\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_what_proxies_read_differently_is_refused(app: App, name: str, offer: bytes):
    """A request whose end is not certain, or that asks for a tunnel, ends the connection; nothing behind it is read."""
    connection = Connection(ScoreProtocol, app)
    await connection.send(REQUESTS["another"] + AMBIGUOUS[name] % offer + HIDDEN)
    assert (connection.statuses, connection.wire.closed) == ([200, 400], True)
    assert b"hidden" not in connection.wire.sent


@pytest.mark.parametrize("path", ["/score", "/invocations"])
@pytest.mark.parametrize("cut", [False, True])
async def test_what_comes_behind_a_body_is_no_header(app: App, path: str, cut: bool):
    """Fields behind a body in chunks name nothing, choose nothing and are not asked for: proxies do not check them."""
    body = json.dumps(ROW if path == "/score" else {"inputs": [ROW]}).encode()
    fields = b"X-Request-ID: trailing\r\nX-FDS-Variant: canary\r\nAuthorization: Bearer x\r\nContent-Type: text/csv\r\n"
    whole = chunked(path, body, X_Request_ID="named")[:-2] + fields + b"\r\n"
    connection = Connection(ScoreProtocol, app)
    await connection.send(whole[:-40] if cut else whole)
    await connection.send(whole[-40:] if cut else b"")
    assert connection.statuses == [200]
    assert b'"request_id":"named"' in connection.wire.sent


# --- too much ------------------------------------------------------------------------------------------------

POST = b"POST /score HTTP/1.1\r\nHost: fds\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "line": (b"GET /", b"x" * 100),
    "query": (b"GET /ping?", b"x" * 100),
    "header": (b"GET /ping HTTP/1.1\r\nX: ", b"x" * 100),
    "name": (b"GET /ping HTTP/1.1\r\nX", b"x" * 100),
    "headers": (b"GET /ping HTTP/1.1\r\n", b"X: y\r\n" * 20),
    "offers": (b"GET /ping HTTP/1.1\r\nConnection: Upgrade\r\n", b"Upgrade: h2c\r\n" * 9),
    "extension": (POST + b"1", b";x=y" * 25),
    "trailer": (POST + b"1\r\nx\r\n0\r\nX: ", b"x" * 100),
    "trailers": (POST + b"1\r\nx\r\n0\r\n", b"X: y\r\n" * 20),
    "lines": (b"", b"\r\n" * 50),
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("before", ["", "a score", "many rows"])
async def test_what_does_not_end_is_refused(app: App, server: Connections, name: str, before: str):
    """A line, header, field or extension without an end is refused 431 in our words, and what follows is not read."""
    connection = Connection(ScoreProtocol, app, server=server)
    begins, goes_on = ENDLESS[name]
    await connection.send(REQUESTS.get(before, b"") + begins)
    rounds = 0
    while not connection.wire.ended:
        await connection.send(goes_on)
        rounds += 1
        assert rounds <= LIMITS.head_bytes // len(goes_on) + 2
    assert connection.statuses == [200] * bool(before) + [431]
    assert b'"error_code":"REQUEST_HEADER_FIELDS_TOO_LARGE"' in connection.wire.sent
    sent = connection.wire.sent
    await connection.send(b"\r\n\r\n" + REQUESTS["a score"])
    assert connection.wire.sent == sent
    assert not server.tasks


@pytest.mark.parametrize("offer", [b"", OFFERS[0]])
async def test_a_head_that_is_too_large_is_refused_however_it_arrives(app: App, server: Connections, offer: bytes):
    """A head beyond the limit is refused, whole or in parts, among others too; a smaller one never is."""
    for size, expected in ((700, [200, 200, 200]), (1_000, [200, 431])):
        large = offering(request("/score", ROW, X="x" * size), offer)
        stream = REQUESTS["rows"] + large + request("/score", b" " * 1_900)
        for step in (len(stream), 300, 7):
            connection = Connection(ScoreProtocol, app, server=server)
            for start in range(0, len(stream), step):
                await connection.send(stream[start : start + step])
            assert connection.statuses[:3] == (expected if expected[-1] == 431 else [200, 200, 400])
            connection.protocol.connection_lost(None)


@pytest.mark.parametrize("step", [10**6, 1_000])
async def test_an_address_that_is_too_long_is_refused(app: App, step: int):
    """An address of more than 8 KiB is refused 414 however it arrives, and one of 8 KiB is answered."""
    for size, expected in ((8_192, 200), (8_193, 414), (60_000, 414)):
        connection = Connection(ScoreProtocol, app)
        stream = request("/ping?" + "x" * (size - 6), method="GET")
        for start in range(0, len(stream), step):
            await connection.send(stream[start : start + step])
        assert connection.statuses == [expected]


async def test_more_headers_than_anybody_needs_are_refused(app: App):
    """Beyond 256 headers a request is refused 431, however small they are."""
    for number, expected in ((253, 200), (254, 431)):
        fields = b"a:\r\n" * number
        sent = request("/score", ROW).replace(b"\r\n\r\n", b"\r\n" + fields + b"\r\n", 1)
        connection = Connection(ScoreProtocol, app)
        await connection.send(sent)
        assert connection.statuses == [expected]


async def test_a_request_without_a_version_is_refused(app: App):
    """What was asked before HTTP had versions is no request: other protocols look like it."""
    connection = Connection(ScoreProtocol, app)
    await connection.send(b"GET /ping\r\n\r\n")
    assert (connection.statuses, connection.wire.closed) == ([400], True)


@pytest.mark.parametrize(("target", "status"), [("http://fds/ping", 200), ("http://[::1/ping", 400), ("/../ping", 404)])
async def test_an_address_may_be_written_in_full(app: App, target: str, status: int):
    """A target with scheme and host, as a proxy gets it, is answered; one that is no address is a 400."""
    connection = Connection(ScoreProtocol, app)
    await connection.send(request(target, method="GET"))
    assert connection.statuses == [status]


async def test_a_body_of_many_small_chunks_is_put_together_once(app: App, monkeypatch: pytest.MonkeyPatch):
    """However many chunks a body has that came at once, the application gets them together."""
    given: list[bytes] = []
    monkeypatch.setattr(HttpToolsProtocol, "on_body", lambda _, body: given.append(body))
    connection = Connection(ScoreProtocol, app)
    await connection.send(POST.replace(b"/score", b"/invocations") + b"1\r\n \r\n" * 1_000, wait=False)
    assert given == [b" " * 1_000]


async def test_a_body_that_is_no_body_is_refused_once(app: App):
    """A body that breaks its encoding gets the refusal for an answer, and no other one; its request leaves nothing."""
    for wait in (True, False):
        connection = Connection(ScoreProtocol, app)
        await connection.send(REQUESTS["many rows"] + POST + b"5\r\nabc", wait=wait)
        await connection.send(b"dexyz")
        assert (connection.statuses, connection.wire.closed) == ([200, 400], True)
        assert not connection.server.tasks


async def test_a_request_has_one_answer(app: App):
    """Where a body breaks its encoding whose request has been refused already, the connection ends without a word."""
    connection = Connection(ScoreProtocol, app)
    await connection.send(POST + b"bb8\r\n" + b" " * 3_000)
    await connection.send(b"xyz")
    assert (connection.statuses, connection.wire.closed) == ([413], True)


async def test_requests_that_wait_for_their_turn_keep_further_ones_out(app: App):
    """A client that sends without waiting is not read from as long as its requests wait in line."""
    connection = Connection(ScoreProtocol, app)
    await connection.send(REQUESTS["many rows"] * 4, wait=False)
    seen = set()
    while connection.protocol.pipeline:
        seen.add(connection.wire.reading)
        await asyncio.sleep(0)
    await connection.settle()
    assert seen == {False}
    assert (connection.statuses, connection.wire.reading) == ([200] * 4, True)


# --- too slow ------------------------------------------------------------------------------------------------


def seconds(server: Connections, start: int, end: int) -> Iterator[int]:
    """Examine a worker's connections each second."""
    for now in range(start, end):
        server.examine(now)
        yield now


async def test_a_head_is_not_late_that_arrived_while_the_server_had_no_turn(app: App, monkeypatch: pytest.MonkeyPatch):
    """A worker reads what has arrived before it looks whose time is over, however long it had no turn itself."""
    connection = Connection(ScoreProtocol, app)
    client, mine = socket.socketpair()
    with client, mine:
        mine.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(mine, lambda: connection.protocol.data_received(mine.recv(4_096)))
        first, rest = REQUESTS["a score"][:30], REQUESTS["a score"][30:]
        await connection.send(first)
        await connection.server.look()
        client.send(rest)
        later(monkeypatch, 100)
        await connection.server.look()
        loop.remove_reader(mine)
        await connection.settle()
    assert connection.statuses == [200]


async def test_a_head_that_does_not_arrive_is_not_waited_for(app: App, server: Connections):
    """A head that comes byte by byte, or stops, is answered 408 in time, also behind other requests."""
    for before in (b"", REQUESTS["a score"]):
        connection = Connection(ScoreProtocol, app, server=server)
        await connection.send(before + b"POST /score HTTP/1.1\r\nX: ")
        for _ in seconds(server, 0, 10):
            await connection.send(b"x")
            assert connection.statuses == [200] * bool(before)
        server.examine(10)
        assert (connection.statuses[-1], connection.wire.closed) == (408, True)
        connection.protocol.connection_lost(None)


@pytest.mark.parametrize("sent", [b"", REQUESTS["a score"], REQUESTS["rows"]])
async def test_an_idle_connection_is_closed_in_time(app: App, server: Connections, sent: bytes):
    """A connection without a request is closed after its time, whether it has had one or none; blank lines are none."""
    connection = Connection(ScoreProtocol, app, server=server)
    if sent:
        await connection.send(sent)
    for _ in seconds(server, 0, 75):
        await connection.send(b"\r\n")
        assert not connection.wire.closed
    server.examine(75)
    assert connection.wire.closed


async def test_a_connection_in_use_stays(app: App, server: Connections):
    """A client that asks the same now and then keeps its connection for as long as it likes."""
    connection = Connection(ScoreProtocol, app, server=server)
    for now in seconds(server, 0, 500):
        if now % 60 == 0:
            for name in ("a score", "another") if now % 120 else ("rows", "rows"):
                await connection.send(REQUESTS[name])
    assert not connection.wire.closed
    assert set(connection.statuses) == {200}


async def test_what_takes_long_is_not_the_clients_fault(app: App, server: Connections):
    """A request that is worked on is waited for, and the connection's time begins after its answer."""
    connection = Connection(ScoreProtocol, app, server=server)
    await connection.send(REQUESTS["many rows"], wait=False)
    for _ in seconds(server, 0, 200):
        pass
    await connection.settle()
    for _ in seconds(server, 200, 275):
        pass
    assert (connection.statuses, connection.wire.closed) == ([200], False)


@pytest.mark.parametrize("answered", [True, False])
async def test_an_answer_that_nobody_takes_ends_the_connection(app: App, server: Connections, answered: bool):
    """Who asks and does not read is let go; who reads slowly is not."""
    connection = Connection(ScoreProtocol, app, server=server)
    if not answered:
        connection.protocol.pause_writing()
    await connection.send(REQUESTS["rows"])
    for now in seconds(server, 0, 30):
        connection.wire.unsent = 1_000 - now
    assert not connection.wire.closed
    for _ in seconds(server, 30, 41):
        pass
    assert connection.wire.closed
    connection.protocol.connection_lost(None)
    await connection.settle()
    assert not server.tasks


async def test_the_rest_of_a_refused_body_is_not_waited_for(app: App, server: Connections):
    """A client that goes on sending a body that was refused long ago is let go."""
    connection = Connection(ScoreProtocol, app, server=server)
    await connection.send(POST + b"bb8\r\n" + b" " * 3_000 + b"\r\n")
    assert connection.statuses == [413]
    for _ in seconds(server, 0, 10):
        assert not connection.wire.closed
        await connection.send(b"1\r\n \r\n")
    server.examine(10)
    assert (connection.statuses, connection.wire.closed) == ([413], True)


async def test_a_body_in_chunks_that_trickles_has_its_time(app: App, monkeypatch: pytest.MonkeyPatch):
    """A body that comes chunk by chunk without end is answered 408, as one that does not come at all."""
    connection = Connection(ScoreProtocol, app)
    await connection.send(POST + b"1\r\n \r\n")
    for _ in range(11):
        assert not connection.wire.sent
        later(monkeypatch, 1)
        await connection.send(b"1\r\n \r\n")
    assert connection.statuses == [408]


# --- too many ------------------------------------------------------------------------------------------------


async def test_idle_connections_make_room_for_new_ones(app: App, server: Connections):
    """Beyond the limit the connection that has waited longest goes; who was answered since, or is served, stays."""
    first, second, third, fourth = (Connection(ScoreProtocol, app, server=server) for _ in range(4))
    await first.send(REQUESTS["a score"])
    await second.send(b"POST /score HTTP/1.1\r\n")
    await third.send(REQUESTS["many rows"], wait=False)
    fifth = Connection(ScoreProtocol, app, server=server)
    assert [one.wire.closed for one in (first, second, third, fourth, fifth)] == [False, True, False, False, False]
    Connection(ScoreProtocol, app, server=server)
    assert [one.wire.closed for one in (first, third, fourth, fifth)] == [False, False, True, False]
    await third.settle()
    assert third.statuses == [200]


async def test_any_number_of_idle_connections_shuts_nobody_out(app: App, server: Connections):
    """However many clients connect and send nothing, or not all of it, the next one is answered."""
    for number in range(100):
        connection = Connection(ScoreProtocol, app, server=server)
        await connection.send((b"", b"GET", b"GET /ping HTTP/1.1\r\nX: ", POST, POST + b"1\r\n")[number % 5])
        asking = Connection(ScoreProtocol, app, server=server)
        await asking.send(REQUESTS["a score"] + REQUESTS["rows"])
        assert asking.statuses == [200, 200]
        if number % 2:
            asking.protocol.connection_lost(None)


async def test_a_body_on_its_way_makes_room_for_a_request_that_is_there(app: App, server: Connections):
    """Where no more requests are allowed, the one whose body has been on its way longest is the one that is refused."""
    slow, slower = Connection(ScoreProtocol, app, server=server), Connection(ScoreProtocol, app, server=server)
    await slower.send(REQUESTS["rows"][:-3])
    await slow.send(REQUESTS["rows"][:-3])
    asking = Connection(ScoreProtocol, app, server=server)
    await asking.send(REQUESTS["a score"])
    assert (asking.statuses, slower.statuses, slow.statuses) == ([200], [503], [])
    assert b'"error_code":"TEMPORARILY_UNAVAILABLE"' in slower.wire.sent
    assert slower.wire.ended
    await slow.send(REQUESTS["rows"][-3:])
    assert slow.statuses == [200]


PROBES = ("/ping", "/ready", "/health?full", "/models/fraud/ping", "/models/fraud/health")


@pytest.mark.parametrize("path", PROBES)
async def test_whoever_watches_is_answered_however_much_there_is_to_do(tmp_path: Path, path: str):
    """Where no further request is taken, and all connections are at work, one that asks how it is gets its answer."""
    models = Models([ServerSettings("fraud", "memory:", tmp_path)])
    version_cache(tmp_path).write_table(table())
    (app,) = models.apps.values()
    app.worker.follow()
    server = Connections(replace(LIMITS, requests=2, connections=2))
    under_way = [asyncio.create_task(asyncio.Event().wait()) for _ in range(2)]
    server.tasks.update(under_way)  # type: ignore[arg-type]
    busy = [Connection(ScoreProtocol, models, server=server) for _ in range(2)]
    for connection in busy:
        connection.protocol._waiting = 1
    asking = Connection(ScoreProtocol, models, server=server)
    await asking.send(request("/models/fraud/score", ROW))
    watching = Connection(ScoreProtocol, models, server=server)
    await watching.send(request(path, method="GET"))
    assert (asking.statuses, watching.statuses) == ([503], [200])
    assert b"\r\nretry-after: 1\r\n" in asking.wire.sent
    assert not any(connection.wire.closed for connection in busy)
    for task in under_way:
        task.cancel()


async def test_connections_at_work_leave_room_for_some_more(app: App, server: Connections):
    """Where all connections are at work there is room for a few more, and not for any number."""
    for _ in range(LIMITS.connections):
        Connection(ScoreProtocol, app, server=server).protocol._waiting = 1
    further = []
    for _ in range(200):
        further.append(Connection(ScoreProtocol, app, server=server))
        further[-1].protocol._waiting = 1
    assert 10 < sum(not one.wire.closed for one in further) < 100


async def test_a_client_that_has_gone_is_told_nothing(app: App, server: Connections):
    """Where a request has to make room whose client has just gone, nothing is sent to it, and the other is answered."""
    gone, there = (Connection(ScoreProtocol, app, server=server) for _ in range(2))
    for connection in (gone, there):
        await connection.send(REQUESTS["rows"][:-3])
    gone.wire.close()
    asking = Connection(ScoreProtocol, app, server=server)
    await asking.send(REQUESTS["rows"])
    assert (asking.statuses, gone.wire.late) == ([200], b"")


async def test_a_connection_that_cannot_be_examined_harms_no_other(app: App, server: Connections):
    """Whatever is wrong with one connection, the others are looked after."""
    broken, idle = (Connection(ScoreProtocol, app, server=server) for _ in range(2))
    broken.wire.get_write_buffer_size = lambda: 1 // 0  # type: ignore[method-assign]
    for _ in seconds(server, 0, 76):
        pass
    assert (broken.wire.closed, idle.wire.closed) == (False, True)


async def test_an_answered_request_takes_no_place(app: App):
    """As soon as an answer is sent its place is free: clients who take turns never stand in each other's way."""
    server = Connections(replace(LIMITS, requests=1))
    first, second = (Connection(ScoreProtocol, app, server=server) for _ in range(2))
    await first.send(REQUESTS["many rows"], wait=False)
    while not first.statuses:
        await asyncio.sleep(0)
    await second.send(REQUESTS["rows"])
    assert second.statuses == [200]


async def test_more_requests_than_allowed_are_refused_in_our_words(app: App, server: Connections):
    """Beyond the limit of requests one is answered 503 and told what to do; then all is as before."""
    gone = Connection(ScoreProtocol, app, server=server)
    await gone.send(REQUESTS["rows"][:-3])
    gone.protocol.connection_lost(None)
    await gone.settle()
    busy = [Connection(ScoreProtocol, app, server=server) for _ in range(2)]
    for connection in busy:
        await connection.send(REQUESTS["many rows"], wait=False)
    asking = Connection(ScoreProtocol, app, server=server)
    asking.protocol.data_received(REQUESTS["a score"])
    await asyncio.sleep(0)
    assert asking.statuses == [503]
    assert json.loads(asking.wire.sent.split(b"\r\n\r\n")[1])["fix"]
    await asking.settle()
    later = Connection(ScoreProtocol, app, server=server)
    await later.send(REQUESTS["a score"])
    assert [one.statuses for one in (*busy, later)] == [[200]] * 3
