"""Simulated transactions through the online engine, one by one: against the batch, with the time that each took."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd

from fds_mlflow.data.schema import Schema
from fds_mlflow.data.transactions import Transactions, load
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.state import Arriving, State
from fds_mlflow.features.state.store import Store
from fds_mlflow.features.state.verification import verify
from fds_mlflow.simulator import simulate

LATE = 0.01
"""Share of the transactions that arrive late, where some do, by six hours on average."""


@dataclass
class Timed(State):
    """A state that notes what each transaction took, its features included, and that is opened anew on the way.

    Attributes:
        reopen: Makes the store anew, as a process that was ended and started does.
        again: After how many transactions.
    """

    reopen: Callable[[], Store] | None = None
    again: int = 0
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def arrive(self, arriving: Arriving, compute: Any) -> Any:
        """See `State`."""
        if self.reopen is not None and len(self.wall) == self.again:
            self.close()
            self.store, self.reopen = self.reopen(), None
        wall, cpu = time.perf_counter(), time.thread_time()
        found = super().arrive(arriving, compute)
        self.cpu.append(time.thread_time() - cpu)
        self.wall.append(time.perf_counter() - wall)
        return found


@dataclass
class Turns(State):
    """Replicas of one state, each with a client of its own: every transaction and label goes to any of them.

    Attributes:
        replicas: All of them.
        random: Chooses.
    """

    replicas: Sequence[State] = ()
    random: Random = field(default_factory=lambda: Random(7))

    def arrive(self, arriving: Arriving, compute: Any) -> Any:
        """See `State`."""
        return self.random.choice(self.replicas).arrive(arriving, compute)

    def label(self, *arguments: Any, **labels: Any) -> bool:
        """See `State`."""
        return self.random.choice(self.replicas).label(*arguments, **labels)


def shared(store: Callable[[], Store], transactions: Transactions, spec: FeatureSpec) -> dict[str, Any]:
    """Replay through three replicas of one state; rows, rows that differ from the batch and by how much."""
    layout = Layout.of([spec])
    with closing(Turns(store(), layout, replicas=[State(store(), layout) for _ in range(3)])) as state:
        found = verify(state, transactions, spec)
    return {"rows": found.rows, "mismatched_rows": found.mismatched, "max_rel_diff": found.max_rel_diff}


def simulated(rows: int, *, late: bool = False) -> Transactions:
    """Simulated transactions; some of them late, with the moment of their arrival.

    Args:
        rows: How many.
        late: Whether some are late.
    """
    return _loaded(simulate.transactions(rows, seed=7), Schema.load("simulator"), late=late)


def handbook(file: Path, *, late: bool = False) -> Transactions:
    """The handbook's raw transactions; some of them late, with the moment of their arrival.

    Args:
        file: Parquet.
        late: Whether some are late.
    """
    return _loaded(pd.read_parquet(file), Schema.load("handbook"), late=late)


def _loaded(frame: pd.DataFrame, schema: Schema, *, late: bool) -> Transactions:
    if late:
        random, rows = np.random.default_rng(7), len(frame)
        delay = np.where(random.random(rows) < LATE, random.exponential(6 * 3_600, rows), 0.0)
        frame["arrived_at"] = frame[schema.time] + pd.to_timedelta((delay * 1e6).astype(np.int64), unit="us")
        schema = Schema.of(**{**schema.model_dump(), "arrived_at": "arrived_at"})
    return load(frame, schema)


def replay(
    store: Callable[[], Store], transactions: Transactions, spec: FeatureSpec, loaded: int = 0
) -> dict[str, Any]:
    """Replay them through a store, which is closed and opened again in the middle.

    Args:
        store: Opens it.
        transactions: They.
        spec: The features.
        loaded: So many of the first are filled in in bulk instead.

    Returns:
        Rows, rows that differ from the batch and by how much, milliseconds of a transaction (median and 99th
        percentile, by the clock and of CPU), and bytes of an entity.
    """
    layout = Layout.of([spec])
    with closing(Timed(store(), layout, reopen=store, again=(len(transactions) - loaded) // 2)) as state:
        found = verify(state, transactions, spec, loaded=loaded)
        size = state.size()
    return {
        "rows": found.rows,
        "mismatched_rows": found.mismatched,
        "max_rel_diff": found.max_rel_diff,
        **percentiles(state.wall),
        **{f"cpu_{name}": value for name, value in percentiles(state.cpu).items()},
        "entities": size.entities,
        "bytes_per_entity": round(size.bytes / size.entities, 1),
    }


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile of the second half, when the windows are full, in milliseconds."""
    p50, p99 = np.percentile(seconds[len(seconds) // 2 :], [50, 99]) * 1e3
    return {"p50_ms": round(float(p50), 4), "p99_ms": round(float(p99), 4)}
