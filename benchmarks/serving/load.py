"""A steady load from a process of its own: requests at fixed times whether or not earlier ones are answered.

    python -m benchmarks.serving.load RESULT --rate 1000 --ports 5001,5002 [--seconds 60]

Latency counts from the moment a request was due, so that a server that stops for a while is charged for all who came
meanwhile (an open loop; a closed one would ask less while it waits). It ends after `--seconds`, or at SIGTERM, lets
what is under way finish, and writes one record a request to RESULT, in the order of their answers. Every request has
an identity of its own. Times are of the machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.serving.model import Rows, rows, score_bodies

RECORD = np.dtype(
    [("number", "i8"), ("port", "i4"), ("due", "f8"), ("done", "f8"), ("status", "i4"), ("version", "i4")]
)
"""One request: its number, which names it; the port it went to; when it was due and answered, seconds of the monotonic
clock; the answer's status, 0 for none; the version that answered, 0 for none."""

Records = npt.NDArray[np.void]

_PHASES = 20
"""Steps in which values drift."""

_CONNECTIONS = 32
"""Per server; a request that finds none free waits, and its latency runs."""

_PATIENCE = 15.0
"""Seconds for which answers are waited for once nothing more is sent; what is missing then has failed."""


class _Answer(msgspec.Struct):
    request_id: str
    version: int


_answer = msgspec.json.Decoder(_Answer).decode


def drifted(x: Rows, drift: float) -> Rows:
    """Rows whose values have risen by a share: shape as given."""
    return np.round(x * (1.0 + drift), 4)


def identity(number: int) -> str:
    """The identity of a request."""
    return f"load-{number:012d}"


class _Connection(asyncio.Protocol):
    """A connection that is kept alive, with one request at a time.

    Args:
        load: Whose requests it carries.
        port: Of the server.
    """

    def __init__(self, load: Load, port: int) -> None:
        self.load = load
        self.port = port
        self.number = -1
        self.due = 0.0
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It may carry a request."""
        self._transport = cast(asyncio.Transport, transport)
        self.load.free(self)

    def send(self, number: int, due: float) -> None:
        """Send a request."""
        assert self._transport is not None
        self.number, self.due = number, due
        self._transport.write(self.load.request(number))

    def data_received(self, data: bytes) -> None:
        """Take in a part of an answer."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._received = b""
        self._end(int(head[9:12]), body)
        self.load.free(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """What it carried has failed; another takes its place."""
        self._end(0, b"")
        self.load.lost(self)

    def give_up(self) -> None:
        """Close it; what it carries has failed."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self, status: int, body: bytes) -> None:
        if self.number < 0:
            return
        version = 0
        if status == 200:
            answer = _answer(body)
            version = answer.version
            if answer.request_id != identity(self.number):
                status = -1  # the answer to somebody else
        self.load.done.append((self.number, self.port, self.due, time.monotonic(), status, version))
        self.number = -1


class Load:
    """Sends requests at a fixed rate, to several servers in turn.

    Args:
        ports: Of the servers on loopback.
        rate: Requests per second, all servers together.
        drift: By how much the values have risen at the end, as a share.
        seconds: When that is.

    Attributes:
        done: The records.
    """

    def __init__(self, ports: list[int], rate: float, drift: float = 0.0, seconds: float = 1.0) -> None:
        self.done: list[tuple[int, int, float, float, int, int]] = []
        self._ports = ports
        self._rate = rate
        self._free: dict[int, deque[_Connection]] = {port: deque() for port in ports}
        self._waiting: dict[int, deque[tuple[int, float]]] = {port: deque() for port in ports}
        self._connections: set[_Connection] = set()
        self._requests = rate * seconds  # after which the drift is at its end
        phases = _PHASES if drift else 1
        self._parts = [
            [tuple(body.split(b"@KEY@")) for body in score_bodies(drifted(rows(1_000), drift * phase / phases))]
            for phase in range(phases)
        ]
        self._ended = False

    def request(self, number: int) -> bytes:
        """The bytes of a request."""
        name = identity(number).encode()
        parts = self._parts[min(len(self._parts) - 1, int(len(self._parts) * number / self._requests))]
        before, after = parts[number % len(parts)]
        length = len(before) + len(name) + len(after)
        return (
            b"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-Request-Id: %b\r\n"
            b"Content-Length: %d\r\n\r\n%b%b%b" % (name, length, before, name, after)
        )

    def free(self, connection: _Connection) -> None:
        """A connection may carry the next request."""
        waiting = self._waiting[connection.port]
        if waiting:
            connection.send(*waiting.popleft())
        else:
            self._free[connection.port].append(connection)

    def lost(self, connection: _Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        if connection in self._free[connection.port]:
            self._free[connection.port].remove(connection)
        if not self._ended:
            asyncio.get_running_loop().create_task(self._connect(connection.port))

    async def _connect(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        while not self._ended:
            try:
                _, made = await loop.create_connection(lambda: _Connection(self, port), "127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            self._connections.add(made)
            return

    async def run(self, seconds: float, stop: asyncio.Event) -> None:
        """Send until the time is over or somebody says so, and wait for what is under way."""
        for port in self._ports:
            await asyncio.gather(*(self._connect(port) for _ in range(_CONNECTIONS)))
        began, number = time.monotonic(), 0
        while not stop.is_set() and time.monotonic() - began < seconds:
            due = began + number / self._rate
            now = time.monotonic()
            if due > now:
                await asyncio.sleep(due - now)
                continue
            port = self._ports[number % len(self._ports)]
            free = self._free[port]
            if free:
                free.popleft().send(number, due)
            else:
                self._waiting[port].append((number, due))
            number += 1
            if number % 16 == 0:  # behind its time: answers must be taken in all the same
                await asyncio.sleep(0)
        await self._finish(number)

    async def _finish(self, sent: int) -> None:
        until = time.monotonic() + _PATIENCE
        while len(self.done) < sent and time.monotonic() < until:
            await asyncio.sleep(0.01)
        self._ended = True
        for connection in list(self._connections):
            connection.give_up()
        await asyncio.sleep(0.05)
        answered = {record[0] for record in self.done}
        now = time.monotonic()
        for number in set(range(sent)) - answered:
            port = self._ports[number % len(self._ports)]
            self.done.append((number, port, now - _PATIENCE, now, 0, 0))


@contextmanager
def steady(
    path: Path, ports: list[int], rate: float, seconds: float = 86_400.0, *, drift: float = 0.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Load servers for as long as the block lasts; the records are then at the path.

    Args:
        path: Where the records go.
        ports: Of the servers.
        rate: Requests per second, all servers together.
        seconds: At most so long.
        drift: By how much the values have risen by then, as a share.
    """
    command: list[str | Path] = [sys.executable, "-m", "benchmarks.serving.load", path, "--rate", str(rate)]
    command += ["--ports", ",".join(map(str, ports)), "--seconds", str(seconds), "--drift", str(drift)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        yield process
    finally:
        process.terminate()
        code = process.wait(4 * _PATIENCE)
    if code != 0:
        raise RuntimeError(f"the load ended with code {code}")


def read(path: Path) -> Records:
    """The records of a load."""
    found: Records = np.load(path)
    return found


def main() -> None:
    """Parse, send, write."""
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--rate", type=float, default=1_000.0, help="requests per second")
    parser.add_argument("--ports", default="5001", help="of the servers, with commas")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long")
    parser.add_argument("--drift", type=float, default=0.0, help="by how much values have risen at the end")
    options = parser.parse_args()
    load = Load([int(port) for port in options.ports.split(",")], options.rate, options.drift, options.seconds)

    async def send() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await load.run(options.seconds, stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send())
    with options.result.open("wb") as file:
        np.save(file, np.array(load.done, dtype=RECORD))


if __name__ == "__main__":
    main()
