"""Routing alone: nanoseconds per key, one at a time and a million at once, on one core.

    python -m benchmarks.routing --json      # half a minute

A rollout with 25 % for the canary routes the same keys in three ways: the batch (`RoutingTable.to_canary`), one key
after another (`RoutingTable.route`), and one after another as the server asks (`State.to_canary`). All must agree.
Batches are of keys of one length, of several, of hexadecimal UUIDs, and of names with letters beyond ASCII; the first
is the figure that is reported. The median of the rounds is taken, and their range; process time, so one core.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from typing import Any

from benchmarks.report import report
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.routing.routing import RoutingTable, Split, Variant

WEIGHT = 2_500
ROLLOUT = Rollout("01JGFJJZ000000000000000000", 1, 2, Plan(), WEIGHT, 0, datetime(2026, 1, 1, tzinfo=UTC))
FIRST = "TX0000000001"


def batches(number: int) -> dict[str, list[str]]:
    """Keys by what they look like."""
    made = random.Random(0)
    return {
        FIRST: [f"TX{i:010d}" for i in range(number)],
        "TX1": [f"TX{i}" for i in range(number)],
        "UUID": [f"{made.getrandbits(128):032x}" for _ in range(number)],
        "Müller-1": [f"Müller-{i}" for i in range(number)],
    }


def timed(work: Callable[[], Any], keys: int, rounds: int) -> list[float]:
    """Nanoseconds per key of each round."""
    found = []
    for _ in range(rounds):
        began = time.process_time_ns()
        work()
        found.append((time.process_time_ns() - began) / keys)
    return found


served = Split(ROLLOUT.id, WEIGHT).takes
"""As a server routes a request: what its state has made of the rollout once."""


def run(keys: int, rounds: int) -> dict[str, Any]:
    """Measure; the result that is printed."""
    table = RoutingTable(1, ROLLOUT)
    found: dict[str, list[float]] = {}
    for name, batch in batches(keys).items():
        found[f"batch, {name}"] = timed(lambda batch=batch: table.to_canary(batch), keys, rounds)  # type: ignore[misc]
    single = batches(min(keys, 100_000))[FIRST]
    found["route"] = timed(lambda: [table.route(key) for key in single], len(single), rounds)
    found["server"] = timed(lambda: [served(key) for key in single], len(single), rounds)
    one = [table.route(key).variant is Variant.CANARY for key in single]
    if not table.to_canary(single).tolist() == one == [served(key) for key in single]:
        raise AssertionError("the ways of routing a key do not agree")
    whole = median(found[f"batch, {FIRST}"])
    return {
        "keys_per_second": round(1e9 / whole),
        "ns_per_key": round(whole, 1),
        "ns_per_key_single": round(median(found["route"]), 1),
        "ns_per_key_server": round(median(found["server"]), 1),
        "ways": {
            name: {"ns_per_key": round(median(v), 1), "range": [round(min(v), 1), round(max(v), 1)]}
            for name, v in found.items()
        },
        "keys": keys,
        "rounds": rounds,
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--keys", type=int, default=1_000_000, help="in a batch")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is done")
    options = parser.parse_args()
    result = run(options.keys, options.rounds)
    rows: list[list[object]] = [["", "ns per key", "range", "keys per second"]]
    for name, found in result["ways"].items():
        low, high = found["range"]
        rows.append([name, found["ns_per_key"], f"{low:.0f} to {high:.0f}", round(1e9 / found["ns_per_key"])])
    report(f"Routing, {result['keys']:,} keys in a batch", rows, result, options.json)


if __name__ == "__main__":
    main()
