"""Keeps whoever asks from a state that does not answer: one waits for it, the others are told at once.

What it has not been told meanwhile it is told when it answers again, in order, before anybody is let through.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from fds_mlflow.errors import UnavailableError

log = logging.getLogger(__name__)

ROOM = 50_000
"""Transactions and labels that a process keeps for a state which does not answer: some 50 MB."""

RETRY_SECONDS = 0.5
"""How often a state that does not answer is asked again, from a thread of its own."""

Found = TypeVar("Found")


class Why(StrEnum):
    """Why features are not what they would be."""

    DOWN = "down"
    SLOW = "slow"
    BEHIND = "behind"
    COLD = "cold"


class Guard:
    """Stands before a state.

    Args:
        look: Asks the state for something small.
        timeout: Seconds after which an answer that did not come is called slow; who waits no longer is the store.
        room: What is kept of what it was not told.
        retry_seconds: How often it is asked again.
        monotonic: Seconds that only ever grow.

    Attributes:
        problem: Why it does not answer; None when it does.
        missed: Transactions and labels that it will never be told: there was no room, or it refused them.
    """

    def __init__(
        self,
        look: Callable[[], object],
        timeout: float,
        *,
        room: int = ROOM,
        retry_seconds: float = RETRY_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.problem: str | None = None
        self.missed = 0
        self._look = look
        self._timeout = timeout
        self._room = room
        self._retry_seconds = retry_seconds
        self._monotonic = monotonic
        self._why = Why.DOWN
        self._waiting: deque[Callable[[], object]] = deque()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._retrying: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """What it is still to be told."""
        return len(self._waiting)

    def ask(self, question: Callable[[], Found]) -> Found | Why:
        """What the state says; why it says nothing, at once where it did not answer lately.

        Raises:
            FdsError: The question is wrong.
        """
        if self.problem is not None:
            return self._why
        began = self._monotonic()
        try:
            return question()
        except UnavailableError as error:
            return self._fail(error, Why.SLOW if self._monotonic() - began >= self._timeout else Why.DOWN)

    def later(self, telling: Callable[[], object]) -> None:
        """Tell the state something when it answers again; telling it twice has to be harmless."""
        with self._lock:
            if len(self._waiting) < self._room:
                self._waiting.append(telling)
            else:
                self.missed += 1
            self.problem = self.problem or "it has yet to be told what it missed"
            self._begin()

    def catch_up(self) -> bool:
        """Tell the state what it missed; whether it answers and knows all of it."""
        try:
            self._look()
            while True:
                with self._lock:
                    if not self._waiting:
                        if self.problem is not None:
                            log.warning("the state answers again, and has been told what it missed")
                        self.problem = self._retrying = None
                        return True
                    telling = self._waiting[0]
                self._tell(telling)
                self._waiting.popleft()
                self._why = Why.BEHIND
        except UnavailableError as error:
            self._fail(error, Why.DOWN)
            return False

    def close(self) -> None:
        """Tell the state what it can be told; the rest is lost, and the log says how much."""
        self._closed.set()
        retrying = self._retrying
        if retrying is not None:
            retrying.join()
        if self._waiting and not self.catch_up():
            log.error("%s transactions and labels are lost to the state: %s", len(self._waiting), self.problem)

    def _tell(self, telling: Callable[[], object]) -> None:
        try:
            telling()
        except UnavailableError:
            raise
        except Exception:  # an id that had another transaction, say: nobody can be told any more
            self.missed += 1
            log.exception("the state refused what it missed")

    def _fail(self, error: UnavailableError, why: Why) -> Why:
        with self._lock:
            if self.problem is None:
                log.error("the state does not answer (%s): %s", why, error.what)
            self.problem, self._why = error.what, why
            self._begin()
        return why

    def _begin(self) -> None:
        """Ask it again from time to time, until it answers."""
        if self._retrying is None:
            self._retrying = threading.Thread(target=self._retry, name="state", daemon=True)
            self._retrying.start()

    def _retry(self) -> None:
        while not self._closed.wait(self._retry_seconds):
            try:
                if self.catch_up():
                    return
            except Exception:
                log.exception("the state could not be asked again")
