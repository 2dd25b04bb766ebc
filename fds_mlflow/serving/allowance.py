"""How much may be explored a day: the outcome store is asked at each poll how much there was, by all replicas."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.errors import FdsError
from fds_mlflow.runtime.clock import Clock

log = logging.getLogger(__name__)


class Allowance:
    """Until when may be explored.

    An answer of the store holds for two poll intervals and a second. Whoever can ask it no more explores no more.

    Args:
        exploration: It says how many a day may be explored.
        count: How many the store has of them since a time; raises `FdsError` where it cannot be asked.
        clock: Time.
        poll_seconds: How often it is asked.

    Attributes:
        until: By the clock, seconds since 1970; 0 where nothing may be explored.
        stopped: Why nothing may; None where it may.
        problem: The same, where that is no use of the day's count but something wrong; None when all is well.
    """

    def __init__(
        self, exploration: Exploration, count: Callable[[datetime], int], clock: Clock, poll_seconds: float
    ) -> None:
        self.until = 0.0
        self.stopped: str | None = "how much was explored today is not known yet"
        self.problem: str | None = None
        self._exploration = exploration
        self._count = count
        self._clock = clock
        self._seconds = 2.0 * poll_seconds + 1.0

    def renew(self) -> None:
        """Ask the store."""
        now = self._clock.now()
        most = self._exploration.per_day or 0
        try:
            explored = self._count(Exploration.day(now))
        except FdsError as error:
            self.fail(f"how much was explored today cannot be told: {error.what}")
            return
        self.until = now.timestamp() + self._seconds if explored < most else 0.0
        self._say(None if explored < most else f"{explored:,} were explored today, of {most:,} a day", None)

    def fail(self, why: str) -> None:
        """Explore nothing, since something is wrong."""
        self.until = 0.0
        self._say(why, why)

    def allows(self, now: datetime) -> bool:
        """Whether something may be explored at this time."""
        return now.timestamp() < self.until

    def _say(self, stopped: str | None, problem: str | None) -> None:
        if stopped is None and self.stopped is not None:
            log.info("exploration of %s goes on", self._exploration.model)
        elif problem is not None and self.problem is None:
            log.warning("exploration of %s stops: %s", self._exploration.model, problem)
        elif stopped is not None and self.stopped is None:
            log.info("exploration of %s stops: %s", self._exploration.model, stopped)
        self.stopped, self.problem = stopped, problem
