"""Requests that wait for their turn: no longer than a limit, and beyond it others are refused at once."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from fds_mlflow.serving.http.connections import Connections, Limits
from fds_mlflow.serving.http.protocol import ScoreProtocol
from fds_mlflow.serving.http.request import RefusedError
from fds_mlflow.serving.http.waiting import Batch, Turns
from tests.serving.http.test_protocol import LAST, REQUESTS, ROW, Connection, application, request


class Clock:
    """Seconds that pass as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        told = SimpleNamespace(monotonic=lambda: self.now, perf_counter=lambda: self.now)
        monkeypatch.setattr("fds_mlflow.serving.http.waiting.time", told)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of what waits."""
    return Clock(monkeypatch)


async def test_the_loop_has_other_things_done_between_requests(clock: Clock):
    """Much work is done a moment at a time, in its order; what comes meanwhile has its turn in between."""
    batch, done = Batch(1.0), []

    def work(number: int) -> None:
        clock.now += 0.001
        done.append(number)

    for number in range(10):
        batch.add(lambda number=number: work(number))
    seen = []
    while len(done) < 10:
        await asyncio.sleep(0)
        seen.append(len(done))
    assert done == list(range(10))
    assert len(set(seen)) >= 5
    assert batch.inside == 0


async def test_a_line_is_full_by_the_time_it_takes_and_not_by_its_length(clock: Clock):
    """A hundred quick requests may wait where five slow ones may not; once they are done there is room again."""
    for seconds, room in ((0.001, 200), (0.1, 5)):
        batch = Batch(0.5)
        for _ in range(40):
            batch.add(lambda seconds=seconds: setattr(clock, "now", clock.now + seconds))
        while batch.inside:
            await asyncio.sleep(0)
        for _ in range(room):
            assert not batch.full
            batch.add(lambda: None)
        for _ in range(400):
            batch.add(lambda: None)
        assert batch.full
        batch.now()
        assert not batch.full


async def test_requests_that_begin_to_arrive_count_before_they_are_inside(clock: Clock):
    """However many requests arrive at one moment, no more are let in than can be answered in time."""
    turns = Turns(2, 0.5)
    turns._pace = 0.1
    assert sum(not turns.turns_away() for _ in range(1_000)) == 7
    await asyncio.sleep(0)
    assert not turns.full


async def test_what_has_waited_for_too_long_is_not_done(clock: Clock):
    """Where others took longer than was to be foreseen, a request that comes too late is refused, and costs nothing."""
    turns, held, begun = Turns(1, 0.5), threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        first = asyncio.ensure_future(turns.take(threads, lambda: begun.set() or held.wait(60), computes=True))
        late = asyncio.ensure_future(turns.take(threads, lambda: pytest.fail("it was done"), computes=True))
        while not begun.is_set():
            await asyncio.sleep(0)
        clock.now = 1.1
        held.set()
        assert await first
        with pytest.raises(RefusedError) as refused:
            await late
    assert refused.value.status == 503
    assert turns.inside == 0


@pytest.mark.parametrize("path", ["/score", "/invocations"])
async def test_more_than_can_be_answered_in_time_is_refused_at_once(tmp_path: Path, path: str):
    """A crowded worker answers 503 with Retry-After by the head alone, keeps the connection, and goes on afterwards."""
    app = application(tmp_path)
    connection = Connection(ScoreProtocol, app)
    line = app.batch if path == "/score" else app._turns
    sent = request(path, ROW if path == "/score" else {"inputs": [ROW]})
    line._pace, line.inside = 1.0, 100
    await connection.send(sent[:-5])
    assert connection.statuses == []
    await connection.send(sent[-5:] + request("/ping", method="GET"))
    assert connection.statuses == [503, 200]
    assert b"\r\nretry-after: 1\r\n" in connection.wire.sent
    assert b"--queue-seconds" in connection.wire.sent
    line.inside = 0
    await connection.send(sent)
    assert (connection.statuses, connection.wire.closed) == ([503, 200, 200], False)
    assert not app.worker.engine.fetched()[1:]


async def test_a_refusal_overtakes_no_answer(tmp_path: Path):
    """A request that is refused because there is too much to do gets its answer after those before it."""
    app = application(tmp_path)
    connection = Connection(ScoreProtocol, app, server=Connections(Limits()))
    await connection.send(REQUESTS["many rows"], wait=False)
    app.batch._pace, app.batch.inside = 1.0, 100
    await connection.send(REQUESTS["a score"] + REQUESTS["another"], wait=False)
    assert connection.statuses == []
    await connection.settle()
    assert connection.statuses[:2] == [200, 503]


async def test_what_goes_another_way_overtakes_nothing_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """However little is done in one go, answers come in the order of the requests of a connection, and none is lost."""
    passing = itertools.count(0, 0.0015)  # one answer in each go
    told = SimpleNamespace(monotonic=lambda: 0.0, perf_counter=lambda: next(passing))
    monkeypatch.setattr("fds_mlflow.serving.http.waiting.time", told)
    connection = Connection(ScoreProtocol, application(tmp_path))
    names = ("a score", "another", "a gap", "with a query", "a question")
    await connection.send(b"".join(REQUESTS[name] for name in names) + LAST["closing"])
    assert re.findall(rb'"request_id":"(\w+)"', connection.wire.sent) == [b"r1", b"r2", b"r3", b"r4", b"r6"]
    assert connection.statuses == [200] * 6
    assert connection.wire.closed


async def test_a_body_that_is_refused_has_its_time(tmp_path: Path):
    """A client that trickles a body that was refused by its head is ended in time."""
    app, server = application(tmp_path), Connections(Limits())
    connection = Connection(ScoreProtocol, app, server=server)
    app.batch._pace, app.batch.inside = 1.0, 100
    await connection.send(REQUESTS["a score"][:-5])
    for now in range(12):
        server.examine(now)
    assert (connection.statuses, connection.wire.closed) == ([408], True)
