"""CPU that a row costs, client and server together: to record, to label, and to count for the first time."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from sqlalchemy import text

from fds_mlflow.core.evidence.evidence import Terms
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord
from fds_mlflow.outcomes.store import OutcomeStore

ROWS, BATCH, LABELLED = 200_000, 20_000, 5
"""Outcomes, how many are written at once, and that one in so many is labelled."""

Costs = dict[str, float]


def rates(store: OutcomeStore, terms: Terms, first: OutcomeRecord, spacing: timedelta, known_after: timedelta) -> Costs:
    """CPU microseconds a row on an empty store: to record, to label, to count outcomes with their labels, to delete.

    Args:
        store: Empty.
        terms: On which they are counted.
        first: The first outcome, which the others are like.
        spacing: Time between two.
        known_after: The age at which labels are known.
    """
    draw = random.Random(1)
    outcomes = [
        OutcomeRecord(
            model=first.model,
            rollout_id=first.rollout_id,
            key=f"TX{draw.randrange(10**9, 10**10)}",
            assigned="canary" if draw.random() < 0.1 else "champion",
            version=2,
            score=draw.random(),
            flagged=draw.random() < 0.02,
            latency_ms=100 * draw.random() ** 3,
            error="timeout" if draw.random() < 0.002 else None,
            weight=1000,
            time=first.time + number * spacing,
        )
        for number in range(ROWS)
    ]
    labels = [
        CaseRecord(
            transaction_id=outcome.key,
            status="confirmed" if draw.random() < 0.1 else "genuine",
            loss_amount=1000 * draw.random(),
            known_at=outcome.time + known_after,
        )
        for outcome in outcomes[::LABELLED]
    ]
    costs: Costs = {}
    end = outcomes[-1].time + timedelta(days=2)
    with _cpu(store, costs, "record_us", ROWS):
        for start in range(0, ROWS, BATCH):
            store.record(outcomes[start : start + BATCH])
    with _cpu(store, costs, "label_us", len(labels)):
        for start in range(0, len(labels), BATCH):
            store.label(labels[start : start + BATCH])
    with _cpu(store, costs, "first_count_us", ROWS):
        evidence = store.evidence(first.model, str(first.rollout_id), terms, as_of=end)
    assert sum(tally.requests for tally in evidence.tallies) == ROWS
    assert sum(tally.labelled for tally in evidence.tallies) == len({label.transaction_id for label in labels})
    with _cpu(store, costs, "prune_us", ROWS):
        store.prune(first.model, older_than=end + timedelta(days=30))
    return costs


@contextlib.contextmanager
def _cpu(store: OutcomeStore, costs: Costs, name: str, rows: int) -> Iterator[None]:
    gc.collect()
    before = time.process_time() + _server_cpu(store)
    yield
    costs[name] = 1e6 * (time.process_time() + _server_cpu(store) - before) / rows


def _server_cpu(store: OutcomeStore) -> float:
    """CPU seconds of PostgreSQL's processes so far, those that have ended included; zero for SQLite."""
    if store.engine.dialect.name != "postgresql":
        return 0.0
    with store.session() as session:
        backend = int(session.scalar(text("SELECT pg_backend_pid()")) or 0)
    server, *_ = _status(backend)
    ticks = sum(_status(server)[1:])
    for process in Path(f"/proc/{server}/task/{server}/children").read_text(encoding="ascii").split():
        with contextlib.suppress(FileNotFoundError):
            ticks += _status(int(process))[1]
    return ticks / os.sysconf("SC_CLK_TCK")


def _status(process: int) -> tuple[int, int, int]:
    """A process's parent, its own CPU ticks, and those of its children that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
