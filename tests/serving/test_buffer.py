"""Outcomes behind the caller's back: all of them, once, whatever the store does meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.errors import DataError, UnavailableError
from fds_mlflow.outcomes.records import OutcomeRecord
from fds_mlflow.serving.buffer import BATCH, Buffer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def outcome(number: int) -> OutcomeRecord:
    """One scored request."""
    return OutcomeRecord(
        model="fraud",
        key=f"TX{number}",
        transaction_id=f"TX{number}",
        request_id=f"r{number}",
        assigned=Variant.CHAMPION,
        served=Variant.CHAMPION,
        version=1,
        score=0.5,
        flagged=False,
        latency_ms=1.0,
        time=NOW,
        rollout_id=None,
        step=0,
        weight=0,
        error=None,
    )


class Store:
    """A store that can be down, and refuses some outcomes for good."""

    def __init__(self) -> None:
        self.down = threading.Event()
        self.taken: list[str] = []
        self.batches: list[int] = []
        self.refused: set[str] = set()

    def record(self, outcomes: Sequence[OutcomeRecord]) -> int:
        """Store a batch, all or none."""
        if self.down.is_set():
            raise UnavailableError("it is down", fix="start it")
        names = [one.request_id for one in outcomes]
        if self.refused.intersection(names):
            raise DataError("it does not fit", fix="mend it")
        self.taken += names
        self.batches.append(len(names))
        return len(names)


@pytest.fixture
def store() -> Store:
    """A store that is well."""
    return Store()


def test_closing_stores_everything_in_order_and_in_batches(store: Store):
    """What was taken is in the store when the buffer is closed, each outcome once and in order."""
    with Buffer(store, seconds=60) as buffer:
        for number in range(BATCH + 10):
            buffer.record([outcome(number)])
        assert store.taken == []
    assert store.taken == [f"r{number}" for number in range(BATCH + 10)]
    assert store.batches == [BATCH, 10]


def test_a_store_that_is_down_costs_no_outcome(store: Store):
    """While the store is down outcomes wait and the buffer says why; they go there once it is back."""
    buffer = Buffer(store, seconds=60)
    store.down.set()
    buffer.record([outcome(1), outcome(2)])
    assert not buffer.flush()
    assert (len(buffer), buffer.problem) == (2, "it is down")
    store.down.clear()
    assert buffer.close()
    assert (store.taken, len(buffer), buffer.problem) == (["r1", "r2"], 0, None)


def test_what_there_is_no_room_for_is_refused_and_said(store: Store):
    """Beyond the limit a batch is refused whole, with the reason, and those that wait are not touched."""
    store.down.set()
    buffer = Buffer(store, seconds=60, limit=3)
    buffer.record([outcome(1), outcome(2)])
    buffer.flush()
    with pytest.raises(UnavailableError, match="2 outcomes wait for the store: it is down"):
        buffer.record([outcome(3), outcome(4)])
    store.down.clear()
    assert buffer.close()
    assert store.taken == ["r1", "r2"]


def test_one_outcome_that_no_store_takes_holds_up_no_other(store: Store):
    """An outcome that the store refuses for good is counted; the rest of its batch is stored."""
    store.refused = {"r2"}
    with Buffer(store, seconds=60) as buffer:
        buffer.record([outcome(number) for number in range(1, 4)])
    assert (store.taken, buffer.refused) == (["r1", "r3"], 1)


def test_a_store_that_stays_down_is_not_waited_for(store: Store):
    """Closing gives up after the time it was given, and says that something is left."""
    store.down.set()
    buffer = Buffer(store, seconds=60)
    buffer.record([outcome(1)])
    assert not buffer.close(seconds=0)
    assert len(buffer) == 1
