"""Labels on their way from the outcome store to the state of raw transactions, whichever way they came."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from fds_mlflow.data.moments import micros_of
from fds_mlflow.errors import FdsError
from fds_mlflow.features.state import head
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.opening import Address, opened
from fds_mlflow.features.state.state import State
from fds_mlflow.features.state.store import Values, write
from fds_mlflow.outcomes.truths import Truth

log = logging.getLogger(__name__)

BATCH = 500
"""Rows of labels that are looked at together."""

AGAIN_SECONDS = 86_400.0
"""How often all labels are told again: a correction of the same moment has no row of its own."""

_NOTE = b"labels"


class Truths(Protocol):
    """Where labels are."""

    def truths(self, after: int, limit: int) -> tuple[int, list[Truth]]:
        """What is known of the transactions about which something was written after a row; see `outcomes.truths`."""
        ...


class LabelFollower:
    """Tells a state the labels of an outcome store. What it has been told is no news to it, so each counts once.

    How far it has come stands in the state: whoever shares it goes on from there, and a new one is told all of them.

    Args:
        address: Of the state.
        open_store: Opens where the labels are.
        monotonic: Seconds that only ever grow.

    Attributes:
        problem: Why the last labels could not be told; None when all is well.
    """

    def __init__(
        self, address: Address, open_store: Callable[[], Truths], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.problem: str | None = None
        self._address = address
        self._open_store = open_store
        self._monotonic = monotonic
        self._state: State | None = None
        self._after = 0
        self._began = float("-inf")

    def follow(self) -> bool:
        """Tell the next labels; whether there are no more of them for now, or they cannot be told."""
        try:
            return self._follow()
        except FdsError as error:
            if self.problem is None:
                log.warning("labels wait for the state: %s", error.what)
            self.problem = error.what
            return True

    def _follow(self) -> bool:
        if self._state is None:
            self._state = State(opened(self._address), Layout())
            with self._state.store.reading() as values:
                self._after = int(head.note(values, _NOTE) or 0)
            self._began = self._monotonic()
        if self._monotonic() - self._began >= AGAIN_SECONDS:
            self._after, self._began = 0, self._monotonic()
        last, found = self._open_store().truths(self._after, BATCH)
        for one in found:
            self._state.label(one.transaction_id, fraud=one.fraud, known=micros_of(one.known_at))
        if last != self._after:
            self._after = last
            write(self._state.store, partial(_noted, last))
        self.problem = None
        return not found

    def close(self) -> None:
        """Let go of the state."""
        if self._state is not None:
            self._state.close()


def _noted(last: int, values: Values) -> None:
    head.put_note(values, _NOTE, str(last).encode())
