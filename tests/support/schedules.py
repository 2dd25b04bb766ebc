"""Several processes on one registry, run step by step in an order that a test chooses.

A step is one registry call or one sleep. Each process is a greenlet, so a schedule is exact and repeatable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from greenlet import greenlet

from fds_mlflow.registry.memory import MemoryStore
from fds_mlflow.registry.store import ModelView, VersionView, Write
from fds_mlflow.registry.transaction import Transactions
from tests.conftest import FakeClock
from tests.support.registry_model import Routing, World

Segments = list[tuple[int, int]]
"""Which process runs, and for how many steps; afterwards they end one after the other."""


@dataclass
class Process:
    """One process: what it does, and what came of it."""

    task: Callable[[Transactions], Any]
    result: Any = None
    error: Exception | None = None
    wakes: float = 0.0
    greenlet: greenlet | None = None

    @property
    def ended(self) -> bool:
        """Whether it has nothing left to do."""
        return self.greenlet is not None and self.greenlet.dead


class _SteppedStore(MemoryStore):
    """Hands over to the scheduler before every call."""

    def __init__(self, shared: MemoryStore, step: Callable[[], None], seen: Callable[[], None]) -> None:
        super().__init__()
        self.models = shared.models
        self._step = step
        self._seen = seen

    def read(self, model: str) -> ModelView:
        self._step()
        return super().read(model)

    def version(self, model: str, version: int) -> VersionView:
        self._step()
        return super().version(model, version)

    def write(self, model: str, write: Write) -> None:
        self._step()
        super().write(model, write)
        self._seen()


class _SteppedClock:
    """Everybody sees the same time; who sleeps hands over."""

    def __init__(self, clock: FakeClock, process: Process, step: Callable[[], None]) -> None:
        self._clock = clock
        self._process = process
        self._step = step
        self.now = clock.now
        self.monotonic = clock.monotonic

    def sleep(self, seconds: float) -> None:
        self._process.wakes = self._clock.seconds + max(seconds, 1e-6)
        self._step()


@dataclass
class Run:
    """Several processes in one world, and what a router would have seen meanwhile."""

    world: World
    processes: list[Process]
    routings: list[Routing] = field(default_factory=list)

    def play(self, segments: Segments) -> None:
        """Run the segments, then everybody to the end; a sleeping process is passed over until it wakes."""
        scheduler = greenlet.getcurrent()
        self._saw()
        for process in self.processes:
            process.greenlet = greenlet(lambda process=process: self._body(process, scheduler))
        order = self._order(segments)
        while not all(process.ended for process in self.processes):
            wanted = next(order, 0)
            awake = [p for p in self.processes if not p.ended and p.wakes <= self.world.clock.seconds]
            if not awake:
                self.world.clock.seconds = min(p.wakes for p in self.processes if not p.ended)
                continue
            process = self.processes[wanted] if self.processes[wanted] in awake else awake[0]
            assert process.greenlet is not None
            process.greenlet.switch()

    @staticmethod
    def _order(segments: Segments) -> Iterator[int]:
        for process, steps in segments:
            for _ in range(steps):
                yield process

    def _body(self, process: Process, scheduler: greenlet) -> None:
        store = _SteppedStore(self.world.store, scheduler.switch, self._saw)
        clock = _SteppedClock(self.world.clock, process, scheduler.switch)
        try:
            process.result = process.task(Transactions(store, clock, self.world.new_id, Random(1)))
        except Exception as error:
            process.error = error

    def _saw(self) -> None:
        routing = self.world.routing()
        if not self.routings or self.routings[-1] != routing:
            self.routings.append(routing)
