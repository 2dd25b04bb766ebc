"""The real clock; everything that decides takes one as an argument."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol, Self


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time for people, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> datetime:
        """The time for people, UTC and timezone-aware."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Stopwatch:
    """How long the blocks that it was entered for took together, those that ended in an error too.

    Attributes:
        milliseconds: So far.
    """

    def __init__(self) -> None:
        self.milliseconds = 0.0
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.milliseconds += 1_000.0 * (time.perf_counter() - self._began)
