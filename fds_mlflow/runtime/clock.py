"""The real clock; everything that decides takes one as an argument."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


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
