"""Labels of the outcome store reach the state of raw transactions, whichever way they came, once each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from fds_mlflow.data.moments import micros_of
from fds_mlflow.errors import UnavailableError
from fds_mlflow.features.engines.online import Online
from fds_mlflow.features.spec import FeatureSpec, Window
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.lmdb_store import LmdbStore
from fds_mlflow.features.state.state import Arriving, State
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.serving.host.labels import AGAIN_SECONDS, LabelFollower
from tests.support.samples import NOON, case

SPEC = FeatureSpec(
    windows=tuple(Window(entity="customer", aggregate=of, windows=("1d",)) for of in ("known", "frauds"))  # type: ignore[arg-type]
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state that remembers ten transactions of a customer."""
    with closing(State(LmdbStore(tmp_path / "state"), Layout.of([SPEC]))) as state:
        for number in range(10):
            at = micros_of(NOON) + number
            state.arrive(Arriving(f"T{number}", at, {"customer": "c"}, {}), lambda _: None)
    return tmp_path / "state"


@pytest.fixture
def store() -> Iterator[OutcomeStore]:
    """A store of labels."""
    with OutcomeStore("sqlite://") as opened:
        yield opened


def told(folder: Path) -> tuple[float, float, int]:
    """The customer's known labels, frauds among them, and how much has arrived in the state."""
    with closing(State(LmdbStore(folder), Layout.of([SPEC]))) as state:
        one = Arriving("X", micros_of(NOON + timedelta(hours=9)), {"customer": "c"}, {})
        found = state.look(one, partial(Online(SPEC, state.layout).features, one.time))
        return found["customer_known_1d"], found["customer_frauds_1d"], state.number


def followed(folder: Path, store: OutcomeStore, seconds: float = 0.0) -> None:
    """Tell everything there is, from a process that begins anew and runs so long."""
    clock = [0.0]
    follower = LabelFollower(folder, lambda: store, monotonic=lambda: clock[0])
    while not follower.follow():
        pass
    clock[0] = seconds
    while not follower.follow():
        pass
    assert follower.problem is None
    follower.close()


def test_labels_come_once_and_corrections_once(
    folder: Path, store: OutcomeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New ones, retries, corrections, suspicions and unknown transactions, over restarts: what holds today counts."""
    monkeypatch.setattr("fds_mlflow.serving.host.labels.BATCH", 2)
    hour = NOON + timedelta(hours=1)
    store.label([case(transaction_id=f"T{number}", status="confirmed", known_at=hour) for number in range(5)])
    store.label([case(transaction_id="T5", status="suspected", known_at=hour), case(transaction_id="nobody")])
    followed(folder, store)
    assert told(folder) == (5.0, 5.0, 15)
    store.label([case(transaction_id="T0", status="confirmed", known_at=hour)])
    followed(folder, store)
    assert told(folder) == (5.0, 5.0, 15)
    store.label([case(transaction_id="T1", status="genuine", known_at=hour + timedelta(hours=1))])
    store.label([case(transaction_id="T1", status="confirmed", known_at=hour - timedelta(minutes=1))])
    followed(folder, store)
    assert told(folder) == (5.0, 4.0, 16)


def test_a_correction_of_the_same_moment_is_found_within_a_day(folder: Path, store: OutcomeStore) -> None:
    """It has no row of its own, so all labels are told again once a day: those that are known are no news."""
    hour = NOON + timedelta(hours=1)
    store.label([case(transaction_id=f"T{number}", status="confirmed", known_at=hour) for number in range(5)])
    followed(folder, store)
    store.label([case(transaction_id="T1", status="genuine", known_at=hour)])
    followed(folder, store)
    assert told(folder)[1] == 5.0
    followed(folder, store, AGAIN_SECONDS)
    assert told(folder) == (5.0, 4.0, 16)


def test_a_store_that_is_away_loses_no_label(folder: Path, store: OutcomeStore) -> None:
    """While it cannot be asked it is said why; what is in it is told later."""

    def away() -> OutcomeStore:
        raise UnavailableError("the store is away", fix="wait")

    follower = LabelFollower(folder, away)
    assert follower.follow()
    assert follower.problem == "the store is away"
    follower.close()
    store.label([case(transaction_id="T1", status="confirmed", known_at=NOON + timedelta(hours=1))])
    followed(folder, store)
    assert told(folder) == (1.0, 1.0, 11)
