"""Writes outcomes behind the caller's back: in batches, from a thread of its own, while the answers go out."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Sequence
from typing import Self

from fds_mlflow.errors import FdsError, UnavailableError
from fds_mlflow.outcomes.records import OutcomeRecord
from fds_mlflow.outcomes.sink import OutcomeSink, stored

log = logging.getLogger(__name__)

BATCH = 5_000
"""Outcomes that go into the store at once."""


class Buffer:
    """Takes outcomes at once and stores them soon.

    What is in memory is lost when the process is killed; a caller who cannot afford that records without a buffer.
    While the store is down outcomes wait, and beyond the limit they are refused, which the router counts.

    Args:
        store: Where outcomes end up.
        seconds: How long an outcome may wait for others.
        limit: How many may wait.

    Attributes:
        refused: How many the store has refused, each told in the log.
        problem: Why the last batch did not go through; None when all is well.
    """

    def __init__(self, store: OutcomeSink, *, seconds: float = 0.5, limit: int = 200_000) -> None:
        self.refused = 0
        self.problem: str | None = None
        self._store = store
        self._seconds = seconds
        self._limit = limit
        self._waiting: list[OutcomeRecord] = []
        self._lock = threading.Lock()  # around what waits
        self._writing = threading.Lock()  # held by the one thread that writes
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outcomes", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def record(self, outcomes: Sequence[OutcomeRecord]) -> int:
        """Take outcomes; how many.

        Raises:
            UnavailableError: So many wait that there is no room for them.
        """
        with self._lock:
            if len(self._waiting) + len(outcomes) > self._limit:
                raise UnavailableError(
                    f"{len(self._waiting):,} outcomes wait for the store: {self.problem or 'it is slow'}",
                    fix="look at the store; they are written as soon as it takes them",
                )
            self._waiting.extend(outcomes)
        return len(outcomes)

    def flush(self) -> bool:
        """Store all that waits now; False where the store does not take it, which then goes on waiting."""
        with self._writing:
            while True:
                with self._lock:
                    batch = self._waiting[:BATCH]
                if not batch:
                    return True
                try:
                    self.refused += stored(self._store.record, batch)
                except FdsError as error:
                    if self.problem is None:
                        log.warning("outcomes wait: %s", error.what)
                    self.problem = error.what
                    return False
                self.problem = None
                with self._lock:
                    del self._waiting[: len(batch)]

    def close(self, *, seconds: float = 10.0) -> bool:
        """Store what waits and stop; whether all of it was stored in time."""
        self._closed.set()
        self._thread.join()
        atexit.unregister(self.close)
        until = time.monotonic() + seconds
        while not self.flush():
            if time.monotonic() >= until:
                log.error("%s outcomes were not stored: %s", len(self), self.problem)
                return False
            time.sleep(0.1)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closed.wait(self._seconds):
            self.flush()
