"""The connections of one worker: how many there may be, how long they may wait, and which one makes room.

Only requests that have arrived whole take a place among those that a worker works on at once. A client that sends
nothing, or slowly, holds no such place; it is ended in time, and before that where somebody else needs its room.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Sized
from dataclasses import dataclass
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from fds_mlflow.serving.http.request import TURN, RefusedError

log = logging.getLogger(__name__)

RESERVED_FILES = 128
"""File descriptors that are kept for everything but connections."""

_SPARE = RESERVED_FILES // 2
"""Connections beyond the limit that are kept where all are at work, for those who ask how it is."""


@dataclass(frozen=True)
class Limits:
    """What the clients of one worker may do.

    Attributes:
        requests: Requests at once that have arrived; beyond, one is answered 503.
        connections: Connections at once; beyond, the one that has waited longest for its client is closed.
        head_bytes: Of a request's line and headers, and of whatever else is sent around a body.
        head_fields: Headers of a request, or fields behind its body.
        target_bytes: Of the address in a request's first line.
        head_seconds: How long they may take to arrive, and an answer to be taken.
        idle_seconds: How long a connection may be without a request.
    """

    requests: int = 1_000
    connections: int = 5_000
    head_bytes: int = 64 * 2**10
    head_fields: int = 256
    target_bytes: int = 8 * 2**10
    head_seconds: float = 10.0
    idle_seconds: float = 75.0

    def too_large(self, target: bytes = b"", fields: int = 0) -> RefusedError:
        """What is wrong with a head that is too large.

        Args:
            target: Of a head that is there.
            fields: How many headers it has.
        """
        if len(target) > self.target_bytes:
            return RefusedError(414, f"the address has more than {self.target_bytes:,} bytes", "send a shorter one")
        if fields > self.head_fields:
            return RefusedError(431, f"the request has more than {self.head_fields:,} headers", "send fewer headers")
        what = f"the request's line and headers have more than {self.head_bytes:,} bytes"
        return RefusedError(431, what, "send fewer headers")


class Connection(Protocol):
    """What is asked of one."""

    @property
    def works(self) -> bool:
        """Whether it has a request that has come whole and is not answered yet."""
        ...

    def examine(self, now: float) -> None:
        """End it where its client has kept it waiting for too long."""
        ...

    def displace(self) -> None:
        """Close it at once: another one needs its room."""
        ...

    def turn_away(self) -> None:
        """Answer the request that it is still sending with 503."""
        ...


class Connections(ServerState):
    """What uvicorn keeps about its connections, and their limits.

    Args:
        limits: Of this worker.

    Attributes:
        leaving: Whether each connection ends with its next answer, which says so: its client then connects to another
            server, and has no request on its way when this one ends.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        self.leaving = False
        self._open: OrderedDict[Connection, None] = OrderedDict()  # the last answer longest ago first
        self._arriving: OrderedDict[RequestResponseCycle, Connection] = OrderedDict()

    def opened(self, connection: Connection) -> None:
        """A client has connected: where there are too many, the one that has waited longest for its own goes."""
        self._open[connection] = None
        if len(self._open) > self.limits.connections:
            longest = next((one for one in self._open if not one.works), connection)
            if longest is connection and len(self._open) <= self.limits.connections + _SPARE:
                return
            del self._open[longest]
            longest.displace()

    def closed(self, connection: Connection) -> None:
        """A connection has ended."""
        self._open.pop(connection, None)

    def answered(self, connection: Connection) -> None:
        """A connection has sent an answer, and waits for its client again."""
        if connection in self._open:
            self._open.move_to_end(connection)

    def arriving(self, cycle: RequestResponseCycle, connection: Connection) -> None:
        """The body of a request is on its way; it takes no place, but is turned away where places run out."""
        self._arriving[cycle] = connection

    def arrived(self, cycle: RequestResponseCycle) -> None:
        """It is there, or will not come."""
        self._arriving.pop(cycle, None)

    def admit(self) -> bool:
        """Whether there is a place for one more request; where it must be, that of one whose body is on its way."""
        if len(self.tasks) < self.limits.requests:
            return True
        if not self._arriving:
            return False
        _, slowest = self._arriving.popitem(last=False)
        slowest.turn_away()
        return True

    async def look(self) -> None:
        """Examine them, once what has arrived is read."""
        await asyncio.sleep(TURN)
        self.examine(asyncio.get_running_loop().time())

    def examine(self, now: float) -> None:
        """End the connections whose clients have kept them waiting for too long; about once a second.

        Args:
            now: Seconds that only ever grow.
        """
        for connection in list(self._open):
            try:
                connection.examine(now)
            except Exception:  # the others must be looked at, and the worker go on
                log.exception("a connection could not be examined")


class Flow(FlowControl):
    """Reads nothing more while requests queue: each answer would else let in a segment full of further ones."""

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        """Read on, unless requests wait for their turn."""
        if not self._pipeline:
            super().resume_reading()


def connections_allowed(wanted: int) -> int:
    """How many connections this process may have, once it has been given as many files as it may ask for.

    Args:
        wanted: How many there should be.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # some systems have a lower limit than they tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(soft - RESERVED_FILES, soft // 2))
