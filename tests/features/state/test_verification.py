"""A history that is replayed through the online engine, against the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.oracle import RAW
from fds_mlflow.data.schema import Schema
from fds_mlflow.data.transactions import load
from fds_mlflow.features.engines.online import Online
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.memory import MemoryStore
from fds_mlflow.features.state.state import State
from fds_mlflow.features.state.verification import Verified, verify
from fds_mlflow.features.table import compute, default_spec
from fds_mlflow.simulator import simulate


def replay(source: Any, schema: str | Schema, spec: FeatureSpec | None = None) -> Verified:
    """Replay a source."""
    transactions = load(source, schema)
    spec = spec or default_spec(transactions.schema)
    return verify(State(MemoryStore(), Layout.of([spec])), transactions, spec)


@pytest.mark.slow
def test_no_row_of_a_shop_differs_from_the_batch() -> None:
    """Over months of a simulated shop, labels included, every feature at arrival is what the batch computes later."""
    found = replay(simulate.transactions(6_000, seed=5, fraud_rate=0.05), "simulator")
    assert (found.rows, found.mismatched, found.features) == (6_000, 0, ())
    assert found.max_rel_diff <= 1e-9


@pytest.mark.slow
def test_no_row_differs_where_some_come_late() -> None:
    """With one transaction in a hundred late, each gets what the batch as of arrival computes, and others differ."""
    frame = simulate.transactions(4_000, seed=5, fraud_rate=0.05)
    late = np.where(np.arange(4_000) % 100 == 0, 6 * 3_600, 0)
    schema = Schema.of(**{**Schema.load("simulator").model_dump(), "arrived_at": "seen"})
    late_frame = frame.assign(seen=frame["time"] + pd.to_timedelta(late, unit="s"))
    found = replay(late_frame, schema)
    assert (found.rows, found.mismatched) == (4_000, 0)
    spec = default_spec(schema)
    as_of_arrival, complete = (
        compute(load(rows, name), spec).frame[spec.names]
        for rows, name in ((late_frame, schema), (frame, Schema.load("simulator")))
    )
    assert 20 < (as_of_arrival.fillna(-1) != complete.fillna(-1)).any(axis=1).sum() < 400


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_no_row_differs_after_a_warm_start(late: bool) -> None:
    """Where the first half is filled in in bulk, each of the second half gets what the batch computes over both."""
    frame, schema = simulate.transactions(4_000, seed=5, fraud_rate=0.05), Schema.load("simulator")
    if late:
        delay = pd.to_timedelta(np.where(np.arange(4_000) % 100 == 0, 6 * 3_600, 0), unit="s")
        frame, schema = (
            frame.assign(seen=frame["time"] + delay),
            Schema.of(**{**schema.model_dump(), "arrived_at": "seen"}),
        )
    transactions = load(frame, schema)
    spec = default_spec(transactions.schema)
    found = verify(State(MemoryStore(), Layout.of([spec])), transactions, spec, loaded=2_000)
    assert (found.rows, found.mismatched, found.features) == (2_000, 0, ())


@pytest.mark.campaign
@pytest.mark.skipif(not RAW.exists(), reason="the handbook's transactions are not here")
def test_no_row_of_the_handbook_differs_from_the_batch() -> None:
    """Each of the handbook's transactions gets at arrival what the batch gives it."""
    found = replay(pd.read_parquet(RAW).iloc[:60_000], "handbook", FeatureSpec.load("handbook"))
    assert (found.mismatched, found.features) == (0, ())


def test_a_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is wrong about one feature is told from one that is right, with the feature's name."""
    right = Online.features

    def wrong(self: Online, *arguments: Any) -> dict[str, float]:
        found = right(self, *arguments)
        return {**found, "card_count_7d": found["card_count_7d"] + (found["card_count_7d"] == 2)}

    monkeypatch.setattr(Online, "features", wrong)
    found = replay(simulate.transactions(300, seed=5), "simulator")
    assert found.features == ("card_count_7d",)
    assert 0 < found.mismatched < 300
