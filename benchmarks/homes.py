"""What an outcome costs at each of its homes: bytes kept, and CPU time to record one and to count one.

    python -m benchmarks.homes --json --outcomes 1000000

One rollout's outcomes, a transaction each, in batches of 5,000, as a server hands them over; a fifth of them labelled.
Counting is the first look of a judge at all of them; bytes are those of outcomes and, with SQLite, of labels.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks.report import report
from fds_mlflow.core.evidence.evidence import Evidence, Terms
from fds_mlflow.outcomes.homes.folder import ParquetOutcomes
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord
from fds_mlflow.outcomes.sink import Home
from fds_mlflow.outcomes.store import OutcomeStore

MODEL, ROLLOUT = "fraud", "01JGZK3V8T6Y0W5X9R2B4N7MCD"
START = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = Terms(latency_bound=50.0, maturity=timedelta(days=1), hourly=True)
BATCH = 5_000


def outcomes(total: int) -> Iterator[list[OutcomeRecord]]:
    """Batches of outcomes, a hundred a second."""
    random = np.random.default_rng(1)
    for low in range(0, total, BATCH):
        draws = random.random((BATCH, 4))
        yield [
            OutcomeRecord(
                model=MODEL,
                key=f"TX{1_000_000_000 + n * 48_271 % 2_147_483_647}",
                assigned="canary" if canary < 0.1 else "champion",
                version=2 if canary < 0.1 else 1,
                score=float(score),
                flagged=bool(score > 0.98),
                latency_ms=float(100 * latency**3),
                error="timeout" if error < 0.002 else None,
                time=START + n * timedelta(milliseconds=10),
                rollout_id=ROLLOUT,
                weight=1_000,
                inputs_digest=f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}",
            )
            for n, (canary, score, latency, error) in enumerate(draws[: total - low], low)
        ]


def measured(home: Home, total: int, taken: Callable[[], int]) -> dict[str, float]:
    """Bytes an outcome, and microseconds of this process."""
    spent, cases = 0.0, 0.0
    for batch in outcomes(total):
        began = time.process_time()
        home.record(batch)
        spent += time.process_time() - began
        labels = [
            CaseRecord(transaction_id=one.key, status="genuine", known_at=one.time + timedelta(hours=12))
            for one in itertools.islice(batch, 0, None, 5)
        ]
        began = time.process_time()
        size = taken()
        home.label(labels)
        cases += time.process_time() - began
    began = time.process_time()
    found: Evidence = home.evidence(MODEL, ROLLOUT, TERMS, as_of=START + timedelta(days=30))
    counting = time.process_time() - began
    assert sum(tally.requests for tally in found.tallies) == total
    return {
        "bytes": size / total,
        "record_us": spent / total * 1e6,
        "label_us": cases / (total / 5) * 1e6,
        "first_count_us": counting / total * 1e6,
    }


def main() -> None:
    """Measure SQLite and Parquet on the same outcomes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--outcomes", type=int, default=100_000)
    parser.add_argument("--only", choices=["sqlite", "parquet"])
    given = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.only != "parquet":
            with OutcomeStore(f"sqlite:///{folder}/outcomes.db") as store:
                found["sqlite"] = measured(store, given.outcomes, lambda: (folder / "outcomes.db").stat().st_size)
        if given.only != "sqlite":
            files = folder / "files" / "outcomes"
            with ParquetOutcomes(f"parquet:{folder / 'files'}") as home:
                found["parquet"] = measured(
                    home, given.outcomes, lambda: sum(path.stat().st_size for path in files.iterdir())
                )
    names = next(iter(found.values()))
    rows = [("home", *names), *((home, *numbers.values()) for home, numbers in found.items())]
    report(f"{given.outcomes:,} outcomes", rows, {"outcomes": given.outcomes, **found}, given.json)


if __name__ == "__main__":
    main()
