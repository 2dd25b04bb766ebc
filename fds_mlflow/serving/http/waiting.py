"""Requests that wait for their turn, and no longer than a limit: beyond it, others are refused at once.

How long the next one would wait is told by how many wait, and how fast the last ones went. Refusing costs little, so a
server that is asked for more than it can do goes on doing what it can; and those whom it answers need not wait long.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from fds_mlflow.serving.http.request import RefusedError

log = logging.getLogger(__name__)

_Given = TypeVar("_Given")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

_SLICE_SECONDS = 0.002
"""How long requests are answered in one go: whoever asks how it is must not wait for all of them."""

_OF_LAST = 1 / 16
"""What the latest one counts for in how fast they go."""


def too_busy() -> RefusedError:
    """What is answered to a request that would wait too long."""
    return RefusedError(
        503, "more is asked than can be answered in time", "send it later, to another server, or allow --queue-seconds"
    )


def too_many(limit: int) -> RefusedError:
    """What is answered where so many requests are worked on already."""
    return RefusedError(503, f"the server works on {limit:,} requests already", "send it later, or allow --connections")


class Line:
    """What waits, and for how long the next one would.

    Args:
        seconds: How long one may wait.
        at_once: How many are worked on side by side.

    Attributes:
        inside: How many wait or are worked on.
    """

    def __init__(self, seconds: float, at_once: int = 1) -> None:
        self.inside = 0
        self._seconds = seconds
        self._at_once = at_once
        self._pace = 0.0  # seconds between two that are done, while there is always another one
        self._coming = 0  # let in by their heads, and not inside yet

    @property
    def full(self) -> bool:
        """Whether one more would wait too long."""
        return (self.inside + self._coming + 1 - self._at_once) * self._pace > self._seconds

    def turns_away(self) -> bool:
        """Whether a request that begins to arrive would wait too long; if not it is expected."""
        if self.full:
            return True
        if not self._coming:  # all that have arrived by now are read first, and then go inside
            asyncio.get_running_loop().call_soon(self._came)
        self._coming += 1
        return False

    def _came(self) -> None:
        self._coming = 0

    def _check(self, asked: float) -> None:
        """Let nothing be done that comes too late, where others took longer than those before them.

        Raises:
            RefusedError: It has waited for twice as long as it may.
        """
        if self.inside >= self._at_once and time.monotonic() - asked > 2 * self._seconds:
            raise too_busy()

    def _took(self, seconds: float) -> None:
        self._pace += _OF_LAST * (seconds - self._pace) if self._pace else seconds


class Batch(Line):
    """Work that takes turns in the loop: in its order, whichever models it is for, and others have theirs in between.

    Args:
        seconds: How long one may wait.
    """

    def __init__(self, seconds: float = 0.5) -> None:
        super().__init__(seconds)
        self._waiting: deque[Callable[[], object]] = deque()

    def add(self, work: Callable[[], object]) -> None:
        """Have it done after all that has arrived by now has been read."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._some)
        self._waiting.append(work)
        self.inside += 1

    def now(self) -> None:
        """Do all of it."""
        while self._waiting:
            self._next()

    def _some(self) -> None:
        """Do as much as fits into a moment, and the rest after what has arrived meanwhile has been read."""
        began, before = time.perf_counter(), self.inside
        while self._waiting and time.perf_counter() - began < _SLICE_SECONDS:
            self._next()
        if done := before - self.inside:
            self._took((time.perf_counter() - began) / done)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._some)

    def _next(self) -> None:
        work = self._waiting.popleft()
        self.inside -= 1
        try:
            work()
        except Exception:  # the others wait for theirs
            log.exception("an answer could not be sent")


class Turns(Line):
    """Work that takes turns in threads.

    Args:
        threads: So many of them.
        seconds: How long one may wait.
    """

    def __init__(self, threads: int, seconds: float) -> None:
        super().__init__(seconds, threads)
        self._cores = threading.Semaphore(CORES)
        self._lock = threading.Lock()
        self._last: float | None = None  # when the last one was done, if there was another one

    async def take(self, threads: Executor, work: Callable[[], _Given], *, computes: bool) -> _Given:
        """What work gives when its turn has come.

        Args:
            threads: Where it is done.
            work: It.
            computes: Whether it does nothing but compute: then more of it at once than there are cores gains nothing,
                and keeps the loop from its requests.

        Raises:
            RefusedError: It has waited too long.
        """
        with self._lock:
            self.inside += 1
        done = threads.submit(self._in_turn, time.monotonic(), work, self._cores if computes else nullcontext())
        done.add_done_callback(self._left)
        return await asyncio.wrap_future(done)

    def _in_turn(self, asked: float, work: Callable[[], _Given], place: AbstractContextManager[Any]) -> _Given:
        with place:
            self._check(asked)
            try:
                return work()
            finally:
                self._done(time.monotonic())

    def _done(self, now: float) -> None:
        with self._lock:
            busy = self.inside >= self._at_once
            if busy and self._last is not None:
                self._took(now - self._last)
            self._last = now if busy else None

    def _left(self, _: Future[Any]) -> None:
        with self._lock:
            self.inside -= 1
