"""What each aggregate costs, beside the others in one run: CPU microseconds a row in memory and as transactions arrive.

    python -m benchmarks.window_cost --json                 # 100,000 simulated transactions, of which 2,000 arrive
    python -m benchmarks.window_cost --rows 1000000 --json

Each is a window over the customer, of 30 days (14 over an expression, 90 of times since frauds), on top of nothing: the
best of three turns in memory, and the median of what arrives in the second half, less that of a count alone.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import numpy as np

from benchmarks.report import report
from fds_mlflow.features.engines.online import Online
from fds_mlflow.features.engines.replay import replayed
from fds_mlflow.features.engines.staging import past
from fds_mlflow.features.kernel import Kernel, Past
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.memory import MemoryStore
from fds_mlflow.features.state.state import State

ROLE = "customer"
EARLIER = {"aggregate": "median", "earlier": True, "name": "usual"}
RATIO = {"expression": "to_usual", "windows": ["14d"]}
KINDS: dict[str, list[dict[str, Any]]] = {
    "count": [{"aggregate": "count"}],
    **{name: [{"aggregate": name}] for name in ("sum", "mean", "max", "std", "median")},
    "median, earlier": [EARLIER],
    "count above": [{"aggregate": "count", "above": 50}],
    "distinct": [{"aggregate": "distinct", "of": "merchant"}],
    "max of a ratio to it": [EARLIER, {"aggregate": "max", **RATIO}],
    "and how many above 3": [EARLIER, {"aggregate": "max", **RATIO}, {"aggregate": "count", "above": 3, **RATIO}],
    **{name: [{"aggregate": name}] for name in ("known", "risk", "fraud_run")},
    **{name: [{"aggregate": name, "windows": ["90d"]}] for name in ("since_first_fraud", "since_last_fraud")},
}


def specification(windows: list[dict[str, Any]]) -> FeatureSpec:
    """Them as features."""
    ratio = [{"name": "to_usual", "of": "amount / usual"}] if any("expression" in one for one in windows) else []
    return FeatureSpec(windows=[{"entity": ROLE, "windows": ["30d"], **one} for one in windows], expressions=ratio)


def in_memory(given: Past, spec: FeatureSpec) -> float:
    """Microseconds a row."""
    turns = []
    for _ in range(3):
        start = time.process_time()
        for _ in Kernel(given, spec).features(ROLE):
            pass
        turns.append(time.process_time() - start)
    return min(turns) / len(given.time) * 1e6


def arriving(given: Past, spec: FeatureSpec) -> float:
    """Microseconds a transaction, the median."""
    state = State(MemoryStore(), Layout.of([spec]))
    engine, turns = Online(spec, state.layout), []
    for one in replayed(state, given):
        start = time.process_time()
        state.arrive(one, partial(engine.features, one.time))
        turns.append(time.process_time() - start)
    return float(np.median(turns[len(turns) // 2 :])) * 1e6


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark: table on standard error, JSON on standard output."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.window_cost", description=str(__doc__).split("\n", 1)[0]
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--rows", type=int, default=100_000, help="simulated transactions (default 100,000)")
    parser.add_argument("--arriving", type=int, default=2_000, help="those that arrive one by one (default 2,000)")
    options = parser.parse_args(arguments)
    from fds_mlflow.data.transactions import load
    from fds_mlflow.simulator import simulate

    frame = load(simulate.transactions(options.rows), "simulator").frame
    frame = frame.sort_values("time", kind="stable").reset_index(drop=True)
    busiest = frame[ROLE].value_counts().index[: max(1, options.arriving // 200)]
    some = frame[frame[ROLE].isin(busiest)].head(options.arriving).reset_index(drop=True)
    found = {}
    for name, windows in KINDS.items():
        spec = specification(windows)
        found[name] = {"memory": in_memory(past(frame, spec), spec), "arriving": arriving(past(some, spec), spec)}
    base = found["count"]["arriving"]
    table: list[list[object]] = [["aggregate", "in memory, µs a row", "as it arrives, µs beside a count"]]
    table += [[name, f"{one['memory']:.2f}", f"{one['arriving'] - base:+.0f}"] for name, one in found.items()]
    report(f"{options.rows:,} rows; {len(some):,} arrive, of {len(busiest)} customers", table, found, options.json)


if __name__ == "__main__":
    main()
