"""What a swap of versions costs those who ask meanwhile, and how fast three replicas leave a version behind.

    python -m benchmarks.swap --json                 # three minutes
    python -m benchmarks.swap --json --rounds 1 --seconds 3

**Latency.** A replica answers a steady load while versions become champion: some it has never seen, which it
fetches and checks in a process of its own first, and some it has. The p99 of requests due before any swap stands
beside that of those due during one: from the verb until a second after the first answer of the new version. Requests
are sent at fixed times (`benchmarks._serving_load`), so a pause would be charged to all who came meanwhile.

**Rollback.** Three replicas with caches of their own follow one registry. Counted are the seconds from the start of the
command `fds rollback emergency`, and from its end, to the last answer of the old version on any replica.

**Memory.** Of one more version in a process that scores, and of a worker with and without a canary.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks._report import report
from benchmarks._serving_fds import FDS, Replica, replica
from benchmarks._serving_load import Records, read, steady
from benchmarks._serving_model import MODEL, Model, register, train
from benchmarks._serving_process import end_in_order, pss_mb

if TYPE_CHECKING:
    from fds_mlflow import ManagedModel

REPLICAS = 3
AFTER = 1.0
"""Seconds after the first answer of a new version that still count as its swap."""

_COPIES = 20

_MEMORY = """
import sys
from pathlib import Path
from benchmarks._serving_process import end_in_order, pss_mb
from fds_mlflow.scoring.compiled import CompiledModel
folder, copies = Path(sys.argv[1]), int(sys.argv[2])
kept = [CompiledModel.load(folder)]
kept[0].row([1.0] * len(kept[0].columns))
import os
before = pss_mb(os.getpid())
for _ in range(copies):
    kept.append(CompiledModel.load(folder))
    kept[-1].row([1.0] * len(kept[-1].columns))
print((pss_mb(os.getpid()) - before) / copies)
"""


def percentile(records: Records, share: float) -> float | None:
    """Of the latency in milliseconds; None without records."""
    if not len(records):
        return None
    return round(float(np.percentile(records["done"] - records["due"], share)) * 1_000, 3)


def swaps(managed: ManagedModel, one: Replica, versions: Sequence[int]) -> list[tuple[float, float]]:
    """Make one version after another the champion; when each verb began, and when its version was in force."""
    windows = []
    for version in versions:
        began = time.monotonic()
        managed.promote(version, reason="benchmark")
        one.await_health(lambda health, version=version: health["champion"] == version)  # type: ignore[misc]
        windows.append((began, time.monotonic()))
        time.sleep(2 * AFTER)
    return windows


def latency(
    managed: ManagedModel, one: Replica, folder: Path, *, rounds: int, seconds: float, rate: float
) -> dict[str, Any]:
    """p50 and p99 before any swap and during swaps, to versions never seen and to versions that are ready."""
    fresh = list(range(2, 2 + rounds))
    ready = [1 + place % 2 for place in range(2 * rounds)]  # 1 and 2 in turn; the last fresh one is neither or 2
    ready = ready if fresh[-1] != ready[0] else ready[1:] + ready[:1]
    path = folder / "latency.npy"
    with steady(path, [one.server.port], rate):
        time.sleep(2.0)  # connections, first touches
        before = (time.monotonic(), time.monotonic() + seconds)
        time.sleep(seconds)
        unseen = swaps(managed, one, fresh)
        seen = swaps(managed, one, ready)
    records = read(path)
    due = records["due"]
    failed = int((records["status"] != 200).sum())

    def within(windows: Sequence[tuple[float, float]]) -> Records:
        chosen = np.zeros(len(records), dtype=np.bool_)
        for low, high in windows:
            chosen |= (due >= low) & (due < high)
        return records[chosen]

    def reached(windows: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(low, high + AFTER) for low, high in windows]

    quiet, all_swaps = within([before]), within(reached([*unseen, *seen]))
    return {
        "p99_before_ms": percentile(quiet, 99),
        "p99_during_ms": percentile(all_swaps, 99),
        "p99_during_ready_ms": percentile(within(reached(seen)), 99),
        "p99_during_fetch_ms": percentile(within(reached(unseen)), 99),
        "p50_before_ms": percentile(quiet, 50),
        "p50_during_ms": percentile(all_swaps, 50),
        "max_before_ms": percentile(quiet, 100),
        "max_during_ms": percentile(all_swaps, 100),
        "swap_seconds_ready": round(median(high - low for low, high in seen), 2),
        "swap_seconds_fetch": round(median(high - low for low, high in unseen), 2),
        "requests": len(records),
        "requests_during": len(all_swaps),
        "failed": failed,
        "swaps": len(unseen) + len(seen),
    }


def emergencies(
    managed: ManagedModel, replicas: Sequence[Replica], uri: str, folder: Path, rounds: int
) -> dict[str, Any]:
    """Seconds from the command, and from its end, to the last answer of the old version."""
    path = folder / "rollback.npy"
    moments: list[tuple[float, float, float]] = []
    with steady(path, [one.server.port for one in replicas], 50.0 * len(replicas)):
        for _ in range(rounds):
            managed.promote(2, reason="benchmark")
            _all(replicas, lambda health: bool(health["champion"] == 2))
            time.sleep(1.0)
            began = time.monotonic()
            command = [*FDS, "--tracking-uri", uri, "--registry-uri", uri, "rollback", "emergency", MODEL]
            subprocess.run([*command, "--reason", "benchmark"], check=True, capture_output=True, cwd=folder)
            ended = time.monotonic()
            _all(replicas, lambda health: bool(health["champion"] != 2))
            time.sleep(2.0)
            moments.append((began, ended, time.monotonic()))
    records = read(path)
    from_command, from_return = [], []
    for began, ended, until in moments:
        done = records["done"][records["version"] == 2]
        last = float(done[(done >= began) & (done < until)].max())
        from_command.append(round(last - began, 3))
        from_return.append(round(last - ended, 3))
    return {
        "rollback_seconds": median(from_command),
        "rollback_seconds_all": from_command,
        "rollback_seconds_after_return": from_return,
        "rollback_command_seconds": [round(ended - began, 3) for began, ended, _ in moments],
        "rollback_failed": int((records["status"] != 200).sum()),
        "replicas": len(replicas),
    }


def memory(managed: ManagedModel, one: Replica) -> dict[str, Any]:
    """MB of a version, and of a worker that has only a champion, and a canary as well."""
    from fds_mlflow import Plan

    alone = pss_mb(one.worker)
    managed.canary.start(3, plan=Plan(steps=[10, 100]), reason="benchmark")
    one.await_health(lambda health: bool(health["canary_loaded"]))
    both = pss_mb(one.worker)
    folder = next(path for path in one.server.folder.rglob("native.json")).parent
    command = [sys.executable, "-c", _MEMORY, str(folder), str(_COPIES)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    return {
        "memory_mb_per_version": round(float(done.stdout), 2),
        "worker_mb_champion": round(alone, 1),
        "worker_mb_with_canary": round(both, 1),
    }


def _all(replicas: Sequence[Replica], enough: Callable[[dict[str, Any]], bool]) -> None:
    for one in replicas:
        one.await_health(enough)


def run(*, rounds: int, seconds: float, rate: float) -> dict[str, Any]:
    """Start all, measure, stop all; the result that is printed."""
    with tempfile.TemporaryDirectory(prefix="fds-swap-") as name, ExitStack() as stack:
        folder = Path(name)
        model: Model = train(folder)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        managed = register(uri, model, folder, versions=max(3, 1 + rounds))
        first = replica(uri, folder / "replica-1")
        stack.callback(first.server.stop)
        first.server.start()
        result = latency(managed, first, folder, rounds=rounds, seconds=seconds, rate=rate)
        others = [replica(uri, folder / f"replica-{number}") for number in range(2, REPLICAS + 1)]
        for other in others:
            stack.callback(other.server.stop)
            other.server.start()
        result |= emergencies(managed, [first, *others], uri, folder, rounds)
        return {**result, **memory(managed, first), "rate": rate}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--rounds", type=int, default=3, help="emergencies, and a third of the swaps")
    parser.add_argument("--seconds", type=float, default=20.0, help="of load before the first swap")
    parser.add_argument("--rate", type=float, default=300.0, help="requests per second during the swaps")
    options = parser.parse_args()
    end_in_order()
    result = run(rounds=options.rounds, seconds=options.seconds, rate=options.rate)
    rows: list[list[object]] = [["", "value"]]
    rows += [[name, str(value)] for name, value in result.items()]
    report("Swaps of the champion, and emergencies", rows, result, options.json)


if __name__ == "__main__":
    main()
