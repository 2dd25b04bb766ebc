"""What becomes of a server that is asked for three times what it can do: the server on one core, the load on another.

    python -m benchmarks.overload --json
    python -m benchmarks.overload --json --rounds 1 --seconds 3      # the same, shorter

`fds serve` with one worker serves one LightGBM model (200 trees, 25 features). First it is asked over 16 connections,
one request after the other on each: what it answers then is its capacity. Then requests come at fixed times, three
times as many, over as many connections as it takes, up to a thousand, whatever becomes of the earlier ones. Beside them
lie idle connections that ask nothing, and somebody asks `/health` fifty times a second, over a connection that stays
and over new ones in turn. A client waits a second for its answer and goes, as real ones do; what comes later is worth
nothing. The rounds go over both in turn, and medians are reported, so that a drift of the machine hits both alike.

A request has many rows (`--rows`), so that the load costs its core less than the requests cost the server's; with one
row they go to `/score`. Linux, and two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np

from benchmarks.report import report
from benchmarks.serving.fds import replica
from benchmarks.serving.model import NAMES, register, rows, train
from benchmarks.serving.process import end_in_order

TIMES = 3.0
"""How many times the capacity is asked for."""

CONNECTIONS, CLOSED = 1_000, 16
"""Connections of those who do not wait for each other at most, and of those who do."""

PATIENCE = 1.0
"""Seconds a client waits for an answer."""

HEALTH_SECONDS = 0.02
"""How often `/health` is asked."""

HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@dataclass
class Told:
    """What came of requests.

    Attributes:
        good: Seconds until each answer of 200 that came in time.
        shed: Seconds until each answer of 503 that came in time.
        other: Other answers, by status; 0 where the connection ended or the client had gone.
        unsent: For which there was no connection.
    """

    good: list[float] = field(default_factory=list)
    shed: list[float] = field(default_factory=list)
    other: dict[int, int] = field(default_factory=dict)
    unsent: int = 0

    def answered(self, status: int, seconds: float) -> None:
        """One more."""
        if seconds <= PATIENCE and status in (200, 503):
            (self.good if status == 200 else self.shed).append(seconds)
        else:
            self.other[status] = self.other.get(status, 0) + 1


class Connection(asyncio.Protocol):
    """A connection that is kept alive, with one request at a time.

    Args:
        free: Called with it when it may carry a request.
        lost: Called with it when it has ended.
    """

    def __init__(self, free: Callable[[Connection], None], lost: Callable[[Connection], None]) -> None:
        self.free, self.lost = free, lost
        self.answered: Callable[[int, float], None] | None = None
        self.due = 0.0
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It may carry a request."""
        self._transport = cast(asyncio.Transport, transport)
        self.free(self)

    def send(self, data: bytes, due: float, answered: Callable[[int, float], None]) -> None:
        """Send a request that was due at a moment."""
        assert self._transport is not None
        self.due, self.answered = due, answered
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Take in a part of an answer."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return
        self._received = b""
        self._end(int(head[9:12]))
        self.free(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """What it carried has failed."""
        self._end(0)
        self.lost(self)

    def close(self) -> None:
        """Go, without waiting for anything."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self, status: int) -> None:
        answered, self.answered = self.answered, None
        if answered is not None:
            answered(status, time.monotonic() - self.due)


class Clients:
    """Connections to the server.

    Args:
        port: Of the server.
        requests: What is sent, over and over.
    """

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        self.told = Told()
        self._port = port
        self._next = itertools.cycle(requests).__next__
        self._all: set[Connection] = set()
        self._free: deque[Connection] = deque()
        self._opening = 0
        self._waiting: deque[float] = deque()  # when those were due that wait for a connection that is being made
        self._under_way: deque[tuple[float, Connection]] = deque()

    async def ask_in_turn(self, seconds: float) -> None:
        """Ask over a few connections, one request after the other on each."""
        until = time.monotonic() + seconds

        def free(one: Connection) -> None:
            if (now := time.monotonic()) < until:
                one.send(self._next(), now, self.told.answered)

        made = await asyncio.gather(*(self._made(free, lambda _: None) for _ in range(CLOSED)))
        await asyncio.sleep(until - time.monotonic() + 0.2)
        for one in made:
            one.close()

    async def ask_at_fixed_times(self, rate: float, seconds: float) -> tuple[int, float]:
        """Ask so many times a second, whatever becomes of the earlier requests; how often, and for how many seconds.

        Whoever asks may be late where its core is short of time, which is not the server's fault: a request counts
        from when it is sent, and what was asked in the end is what the server is measured by.
        """
        began, number = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            while number < rate * passed:
                self._ask(time.monotonic())
                number += 1
                if number % 16 == 0:
                    break
            self._go()
            await asyncio.sleep(0 if number < rate * passed else 0.001)
        took = time.monotonic() - began
        await asyncio.sleep(PATIENCE)
        self._go()
        for one in list(self._all):
            one.close()
        await asyncio.sleep(0.1)
        return number, took

    def _ask(self, due: float) -> None:
        if self._free:
            self._sent(self._free.pop(), due)
        elif len(self._all) + self._opening < CONNECTIONS:
            self._opening += 1
            self._waiting.append(due)
            asyncio.get_running_loop().create_task(self._open())
        else:
            self.told.unsent += 1

    def _sent(self, one: Connection, due: float) -> None:
        one.send(self._next(), due, self.told.answered)
        self._under_way.append((due, one))

    def _go(self) -> None:
        """Let clients go that have waited long enough."""
        now = time.monotonic()
        while self._under_way and now - self._under_way[0][0] > PATIENCE:
            due, one = self._under_way.popleft()
            if one.answered is not None and one.due == due:
                one.close()

    async def _open(self) -> None:
        try:
            await self._made(self._ready, self._lost)
        except OSError:
            self.told.answered(0, 0.0)
        finally:
            self._opening -= 1

    def _ready(self, one: Connection) -> None:
        self._all.add(one)
        if self._waiting:
            self._sent(one, self._waiting.popleft())
        else:
            self._free.append(one)

    def _lost(self, one: Connection) -> None:
        self._all.discard(one)
        if one in self._free:
            self._free.remove(one)

    async def _made(self, free: Callable[[Connection], None], lost: Callable[[Connection], None]) -> Connection:
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: Connection(free, lost), "127.0.0.1", self._port)
        return made


class Watch:
    """Somebody who asks `/health` all the time.

    Args:
        port: Of the server.
    """

    def __init__(self, port: int) -> None:
        self.seconds: list[float] = []
        self.failed = 0
        self._port = port

    async def run(self) -> None:
        """Ask until it is cancelled."""
        kept = await asyncio.open_connection("127.0.0.1", self._port)
        for number in itertools.count():
            began = time.monotonic()
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port) if number % 2 else kept
                writer.write(HEALTH)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
                if number % 2:
                    writer.close()
                self.failed += not head.startswith(b"HTTP/1.1 200 ")
            except (OSError, asyncio.IncompleteReadError):
                self.failed += 1
                kept = await asyncio.open_connection("127.0.0.1", self._port)
            self.seconds.append(time.monotonic() - began)
            await asyncio.sleep(max(0.0, HEALTH_SECONDS - self.seconds[-1]))


class Idle(asyncio.Protocol):
    """A connection that asks nothing.

    Args:
        lost: Called when it has ended.
    """

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """It has ended."""
        self._lost()


async def overloaded(port: int, requests: Sequence[bytes], rate: float, seconds: float, idle: int) -> dict[str, Any]:
    """Ask for more than the server can do; what came of it."""
    loop, lost = asyncio.get_running_loop(), []
    made = [
        (await loop.create_connection(lambda: Idle(lambda: lost.append(None)), "127.0.0.1", port))[0]
        for _ in range(idle)
    ]
    clients, watch = Clients(port, requests), Watch(port)
    watching = asyncio.create_task(watch.run())
    asked, took = await clients.ask_at_fixed_times(rate, seconds)
    held = idle - len(lost)
    watching.cancel()
    for one in made:
        one.abort()
    told = clients.told
    return {
        "offered_rps": asked / took,
        "goodput_rps": len(told.good) / took,
        "idle_connections": held,
        "health_p99_ms": _p99(watch.seconds),
        "health_failed": watch.failed,
        "answered_p99_ms": _p99(told.good),
        "shed": len(told.shed),
        "shed_p99_ms": _p99(told.shed),
        "failed": sum(told.other.values()) + told.unsent,
    }


async def capacity(port: int, requests: Sequence[bytes], seconds: float) -> float:
    """Requests per second that it answers where nobody asks before the answer to the last one."""
    clients = Clients(port, requests)
    await clients.ask_in_turn(seconds)
    if not clients.told.good:
        raise RuntimeError(f"the server answers nothing with 200: {clients.told.other}")
    return len(clients.told.good) / seconds


def _p99(seconds: Sequence[float]) -> float | None:
    return round(1_000 * float(np.percentile(seconds, 99)), 3) if seconds else None


def bodies(per_request: int) -> list[bytes]:
    """Whole requests of so many rows each; those of one row go to `/score`."""
    found = []
    for start in range(20):
        x = rows(per_request, seed=start).tolist()
        table = {"columns": list(NAMES), "data": x}
        said = dict(zip(NAMES, x[0], strict=True)) if per_request == 1 else {"dataframe_split": table}
        path, body = "/score" if per_request == 1 else "/invocations", json.dumps(said).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        found.append(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    return found


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Have what is started in the block run on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run(seconds: float, rounds: int, per_request: int, idle: int) -> dict[str, Any]:
    """Start the server, load it, stop it; the result that is printed."""
    import uvloop

    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("the server and its load need a core each")
    with tempfile.TemporaryDirectory(prefix="fds-overload-") as name, ExitStack() as stack:
        folder = Path(name)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        register(uri, train(folder), folder, versions=1)
        one = replica(uri, folder / "replica")
        stack.callback(one.server.stop)
        with on_core(cores[0]):
            one.server.start()
        stack.enter_context(on_core(cores[1]))
        requests = bodies(per_request)
        able: list[float] = []
        found: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(capacity(one.server.port, requests, 1.0))  # nothing is measured while it warms up
            for _ in range(rounds):
                able.append(runner.run(capacity(one.server.port, requests, seconds)))
                rate = TIMES * able[-1]
                found.append(runner.run(overloaded(one.server.port, requests, rate, seconds, idle)))
                print(f"{able[-1]:.0f}/s; {found[-1]}", file=sys.stderr, flush=True)
    ratios = [one["goodput_rps"] / most for one, most in zip(found, able, strict=True)]
    result = {"goodput_ratio": round(median(ratios), 3)}
    result |= {
        name: _median([one[name] for one in found])
        for name in ("idle_connections", "health_p99_ms", "answered_p99_ms", "shed_p99_ms")
    }
    result |= {name: sum(one[name] for one in found) for name in ("health_failed", "shed", "failed")}
    offered = median(one["offered_rps"] / most for one, most in zip(found, able, strict=True))
    result |= {
        "capacity_rps": round(median(able)),
        "offered_ratio": round(offered, 2),
        "rows": per_request,
        "rounds": rounds,
    }
    return result


def _median(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return round(median(there), 3) if there else None


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind")
    parser.add_argument("--rows", type=int, default=200, help="rows of a request")
    parser.add_argument("--idle", type=int, default=1_000, help="connections that ask nothing")
    options = parser.parse_args()
    end_in_order()
    result = run(options.seconds, options.rounds, options.rows, options.idle)
    report("Overload", [["", "value"], *([name, str(value)] for name, value in result.items())], result, options.json)


if __name__ == "__main__":
    main()
