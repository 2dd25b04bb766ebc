"""The price of a verdict when millions of outcomes are stored: what is new counts, not what is there.

    python -m benchmarks.verdict_scale --json            # 20,000 and 200,000 outcomes: under two minutes
    python -m benchmarks.verdict_scale --json --rates    # only what a row costs: half a minute
    python -m benchmarks.verdict_scale --json --full     # 1 and 10 million: an hour on a busy machine, 10 GB of disk
    python -m benchmarks.verdict_scale --json --full --skip     # a quarter of that: without counting the 10 million
    python -m benchmarks.verdict_scale --json --hundred         # 10 and 100 million on PostgreSQL, 45 GB of disk

A store is filled with one rollout's outcomes (a transaction each, a fifth of them labelled, a label known after half a
day and mature after one). A verdict is what a tick of the autopilot does: 1,000 outcomes and 200 labels have come
since the last one, 1,000 older outcomes have matured; the evidence is brought up to date, and judged. Beside it
stand the first count of everything, and a recount from scratch in SQL, which is what a verdict costs without counters.

`prune` is what it takes to delete an old rollout of 20,000 outcomes beside them, a fifth of them labelled.

Before that `record_us`, `label_us`, `first_count_us` and `prune_us`: microseconds of CPU a row, client and server
together.

And `distinct_weights`: seconds of evidence, interval and wait where each of 5,000 hours has a weight of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
from sqlalchemy import Table, func, select, text

from benchmarks.report import report
from benchmarks.verdict_scale.rates import LABELLED, ROWS, rates
from fds_mlflow.core.evidence.evidence import Terms
from fds_mlflow.core.judge.judge import judge
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.plan import Guardrail, Metric, Plan
from fds_mlflow.core.statistics.sequential import Segment, ratio_evidence, ratio_interval, requests_until
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.outcomes.tables import CellCount, Count, FraudCase, Outcome
from tests.support.servers import missing, postgresql

MODEL, ROLLOUT = "fraud", "01JGZK3V8T6Y0W5X9R2B4N7MCD"
START = datetime(2026, 1, 1, tzinfo=UTC)
KNOWN_AFTER = timedelta(hours=12)
MATURITY = timedelta(days=1)
NEW, LABELS, ROUNDS, OLD = 1_000, 200, 7, 20_000
DATABASES = ("sqlite", "postgresql")

# The n-th outcome, the same on both databases: products modulo a prime stand for random numbers.
_UNIFORM = "((n * {factor}) % 2147483647) / 2147483647.0"
_KEY = "'TX' || CAST(1000000000 + (n * 48271) % 2147483647 AS text)"
_MOMENT = {
    "sqlite": (
        "strftime('%Y-%m-%d %H:%M:%S', {start} + {later} + n * {tenths} / 10, 'unixepoch') || '.' || "
        "CAST(n * {tenths} % 10 AS text) || '00000'"
    ),
    "postgresql": "to_timestamp({start} + {later} + n * {tenths} / 10.0)",
}
_NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT {low} UNION ALL SELECT n + 1 FROM numbers WHERE n < {high} - 1) "
_OUTCOMES = (
    "INSERT INTO fds_outcomes (model, request_id, key, transaction_id, rollout_id, step, weight, assigned, served, "
    "version, score, flagged, latency_ms, error, time) {numbers} "
    "SELECT '{model}', 'R' || CAST(1000000000 + n AS text), {key}, {key}, '{rollout}', "
    "CASE WHEN n < {half} THEN 0 ELSE 1 END, CASE WHEN n < {half} THEN 1000 ELSE 2500 END, "
    "CASE WHEN {a} < 0.1 THEN 'canary' ELSE 'champion' END, CASE WHEN {a} < 0.1 THEN 'canary' ELSE 'champion' END, "
    "CASE WHEN {a} < 0.1 THEN 2 ELSE 1 END, {b}, {b} > 0.98, 100.0 * {c} * {c} * {c}, "
    "CASE WHEN {d} < 0.002 THEN 'timeout' END, {time} FROM numbers"
)
_LABELS = (
    "INSERT INTO fds_fraud_cases (transaction_id, status, loss_amount, known_at) {numbers} "
    "SELECT {key}, CASE WHEN {c} < 0.1 THEN 'confirmed' ELSE 'genuine' END, 1000.0 * {d}, {time} "
    "FROM numbers WHERE n % 5 = 0"
)


def fill(store: OutcomeStore, low: int, high: int, half: int, spacing: timedelta) -> None:
    """Outcomes `low` to `high` and the labels of every fifth, by the database itself; then indexes and statistics."""
    dialect = store.engine.dialect.name
    numbers = (
        _NUMBERS if dialect == "sqlite" else "WITH numbers AS (SELECT generate_series({low}, {high} - 1)::bigint AS n) "
    )
    values = {
        "model": MODEL,
        "rollout": ROLLOUT,
        "numbers": numbers.format(low=low, high=high),
        "key": _KEY,
        "half": half,
        **{
            name: _UNIFORM.format(factor=factor)
            for name, factor in zip("abcd", (16807, 69621, 39373, 62089), strict=True)
        },
    }
    place = {"start": int(START.timestamp()), "tenths": spacing // timedelta(milliseconds=100)}
    later = KNOWN_AFTER // timedelta(seconds=1)
    indexes = list(cast(Table, Outcome.__table__).indexes)
    with store.engine.begin() as connection:
        for index in indexes:
            index.drop(connection)
        outcome_time = _MOMENT[dialect].format(later=0, **place)
        connection.exec_driver_sql(_escaped(dialect, _OUTCOMES.format(**values, time=outcome_time)))
        label_time = _MOMENT[dialect].format(later=later, **place)
        connection.exec_driver_sql(_escaped(dialect, _LABELS.format(**values, time=label_time)))
        for index in indexes:
            index.create(connection)
        # What PostgreSQL would do by itself a minute later, and what belongs after any bulk load.
        connection.exec_driver_sql("ANALYZE")


def _escaped(dialect: str, statement: str) -> str:
    return statement if dialect == "sqlite" else statement.replace("%", "%%")


def arrived(numbers: range, spacing: timedelta) -> list[OutcomeRecord]:
    """The outcomes of these numbers."""
    return [
        OutcomeRecord(
            model=MODEL,
            key=f"NEW{n}",
            assigned="canary" if n % 4 == 0 else "champion",
            version=2 if n % 4 == 0 else 1,
            score=(n % 97) / 97,
            flagged=n % 50 == 0,
            latency_ms=n % 90,
            time=START + n * spacing,
            rollout_id=ROLLOUT,
            step=1,
            weight=2500,
        )
        for n in numbers
    ]


def tick(store: OutcomeStore, position: int, spacing: timedelta) -> None:
    """What has come since the last verdict."""
    outcomes = arrived(range(position, position + NEW), spacing)
    store.record(outcomes)
    store.label(
        [
            CaseRecord(transaction_id=entry.key, status="genuine", known_at=entry.time + KNOWN_AFTER)
            for entry in outcomes[:LABELS]
        ]
    )


def skip(store: OutcomeStore, now: datetime) -> None:
    """Put the watermark behind what is stored: counters do not grow with it, so a verdict costs what it would cost."""
    with store.session() as session, session.begin():
        count = session.scalars(select(Count).where(Count.rollout_id == ROLLOUT)).one()
        count.outcome_id = count.matured_id = session.scalar(select(func.max(Outcome.id))) or 0
        count.case_id = session.scalar(select(func.max(FraudCase.id))) or 0
        count.matured_time, count.as_of = now - MATURITY, now
        for hour in range(int((now - 2 * MATURITY).timestamp()) // 3600, int(now.timestamp()) // 3600 + 1):
            for step, weight in ((0, 1000), (1, 2500)):
                for assigned in ("champion", "canary"):
                    place = {"step": step, "weight": weight, "assigned": assigned, "hour": hour}
                    times = {"first": now - 2 * MATURITY, "last": now}
                    session.merge(CellCount(count_id=count.id, segment="", numbers={}, **place, **times))


def measured(store: OutcomeStore, size: int, spacing: timedelta, *, bound: float, skipped: bool) -> dict[str, Any]:
    """Seconds of the first count, of verdicts, and of a recount; of verdicts only where the watermark was moved."""
    now = START + size * spacing
    trial = rollout(bound)
    terms = trial.plan.terms
    figures: dict[str, Any] = {}
    if skipped:
        skip(store, now)
        store.evidence(MODEL, ROLLOUT, terms, as_of=now)
    else:
        began = time.perf_counter()
        store.evidence(MODEL, ROLLOUT, terms, as_of=now)
        figures["first_count"] = time.perf_counter() - began
        _say(f"{size:,}: first count {figures['first_count']:.1f} s")
    seconds, counting = [], []
    for number in range(ROUNDS):
        tick(store, size + number * NEW, spacing)
        now += NEW * spacing
        gc.collect()
        began = time.perf_counter()
        evidence = store.evidence(MODEL, ROLLOUT, terms, as_of=now)
        counting.append(time.perf_counter() - began)
        judge(evidence, trial)
        seconds.append(time.perf_counter() - began)
    figures |= {
        "verdict": statistics.median(seconds),
        "verdict_worst": max(seconds),
        "counting": statistics.median(counting),
    }
    _say(f"{size:,}: verdict {figures['verdict'] * 1000:.1f} ms, counting {figures['counting'] * 1000:.1f}")
    figures["prune"] = pruning(store, terms)
    _say(f"{size:,}: an old rollout is gone after {figures['prune']:.2f} s")
    if skipped:
        return figures
    began = time.perf_counter()
    store.counts_by_step(MODEL, ROLLOUT, as_of=now, maturity=MATURITY)
    figures["recount"] = time.perf_counter() - began
    _say(f"{size:,}: recount {figures['recount']:.1f} s")
    return figures


def pruning(store: OutcomeStore, terms: Terms) -> float:
    """Seconds to delete a rollout of a year ago."""
    old = START - timedelta(days=365)
    made = arrived(range(OLD), timedelta(0))
    outcomes = [replace(one, key=f"OLD{n}", rollout_id="OLD", time=old) for n, one in enumerate(made)]
    store.record(outcomes)
    store.label([CaseRecord(transaction_id=one.key, status="genuine", known_at=old) for one in outcomes[::LABELLED]])
    store.evidence(MODEL, "OLD", terms, as_of=START)
    began = time.perf_counter()
    deleted = store.prune(MODEL, older_than=START - timedelta(days=30))
    assert deleted >= len(outcomes), deleted
    return time.perf_counter() - began


def rollout(latency_bound: float) -> Rollout:
    """A rollout in its second step, with every guardrail there is."""
    guardrails = [
        Guardrail(Metric.ERROR_RATE, margin=1.0),
        Guardrail(Metric.ALERT_RATE, margin=0.5),
        Guardrail(Metric.LATENCY, margin=0.5, bound=latency_bound),
        Guardrail(Metric.SCORE_SHIFT, margin=0.05),
        Guardrail(Metric.MISSED_FRAUD, margin=0.5),
        Guardrail(Metric.FALSE_POSITIVES, margin=0.5),
        Guardrail(Metric.ALERT_PRECISION, margin=0.1),
        Guardrail(Metric.MONEY_LOST, margin=0.5, bound=2_000.0),
    ]
    plan = Plan([10, 25, 100], guardrails=guardrails, label_maturity=MATURITY)
    return Rollout(id=ROLLOUT, champion=1, canary=2, plan=plan, weight=2500, step=1, since=START)


@contextlib.contextmanager
def opened(database: str) -> Iterator[OutcomeStore]:
    """An empty store, gone afterwards."""
    if database == "postgresql":
        with postgresql(durable=True) as server, OutcomeStore(server.url) as store:
            yield store
        return
    with (
        tempfile.TemporaryDirectory(prefix="fds-verdict-") as folder,
        OutcomeStore(f"sqlite:///{Path(folder) / 'outcomes.db'}") as store,
    ):
        yield store


def stored_bytes(store: OutcomeStore) -> int:
    """Bytes on disk."""
    query = "SELECT pg_database_size(current_database())"
    if store.engine.dialect.name == "sqlite":
        query = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    with store.session() as session:
        return int(session.scalar(text(query)) or 0)


def distinct_weights(number: int = 5_000) -> dict[str, float]:
    """Seconds that each question about so many hours takes, as many different weights in force."""
    random = np.random.default_rng(1)
    segments = [
        Segment(0.05 + 0.45 * hour / number, int(canary), int(champion), hour)
        for hour, (canary, champion) in enumerate(random.poisson((5, 20), (number, 2)))
    ]
    asked: dict[str, Callable[[], object]] = {
        "evidence": lambda: ratio_evidence(segments, 1.0, above=True),
        "evidence_later": lambda: ratio_evidence(segments, 1.0, above=True, later=True),
        "interval": lambda: ratio_interval(segments, 0.05),
        "until": lambda: requests_until(
            segments, 1.0, above=True, alpha=0.05, weight=0.1, champion_rate=0.02, canary_rate=0.03
        ),
    }
    seconds = {}
    for name, ask in asked.items():
        began = time.perf_counter()
        ask()
        seconds[name] = time.perf_counter() - began
    return seconds


def costs_of_rows(databases: list[str]) -> dict[str, dict[str, float]]:
    """By name, then by database: see `rates.rates`."""
    first = OutcomeRecord(
        model=MODEL,
        key="first",
        assigned="champion",
        version=1,
        score=0.0,
        flagged=False,
        latency_ms=0.0,
        time=START,
        rollout_id=ROLLOUT,
    )
    costs: dict[str, dict[str, float]] = {"record_us": {}, "label_us": {}, "first_count_us": {}, "prune_us": {}}
    for database in databases:
        if database == "postgresql" and missing("server_postgresql") is not None:
            continue
        with opened(database) as store:
            found = rates(store, rollout(60.0).plan.terms, first, timedelta(milliseconds=200), KNOWN_AFTER)
        for name, value in found.items():
            costs[name][database] = value
        _say(f"{database}, {ROWS:,} rows, one in {LABELLED} labelled: {found}")
    return costs


def run(sizes: tuple[int, int], spacing: timedelta, databases: list[str], *, skipping: bool, as_json: bool) -> None:
    """Measure and report."""
    result: dict[str, Any] = {}
    names = [_short(size) for size in sizes]
    rows: list[list[object]] = [["", *names, "growth"]]
    for database in databases:
        reason = missing("server_postgresql") if database == "postgresql" else None
        if reason is not None:
            _say(f"{database} is left out: {reason}")
            continue
        figures: dict[str, Any] = {}
        with opened(database) as store:
            stored = 0
            for size, name in zip(sizes, names, strict=True):
                began = time.perf_counter()
                # The rounds before have added a few thousand beyond `stored`: their numbers are left out.
                fill(store, stored + (ROUNDS * NEW if stored else 0), size, sizes[1] // 2, spacing)
                figures[f"load_seconds_{name}"] = time.perf_counter() - began
                _say(f"{database}: {size:,} outcomes stored after {figures[f'load_seconds_{name}']:.0f} s")
                # On terms of its own everything is counted from the beginning.
                bound = 60.0 if skipping else 60.0 + size / 10**7
                found = measured(store, size, spacing, bound=bound, skipped=skipping and stored > 0)
                figures[f"seconds_{name}"] = found["verdict"]
                figures[f"counting_seconds_{name}"] = found["counting"]
                figures[f"worst_seconds_{name}"] = found["verdict_worst"]
                figures[f"first_count_seconds_{name}"] = found.get("first_count")
                figures[f"prune_seconds_{name}"] = found["prune"]
                figures[f"recount_seconds_{name}"] = found.get("recount")
                figures[f"bytes_per_outcome_{name}"] = stored_bytes(store) / size
                stored = size
        figures["growth"] = figures[f"seconds_{names[1]}"] / figures[f"seconds_{names[0]}"]
        result[database] = figures
        for row in (
            "load_seconds",
            "first_count_seconds",
            "seconds",
            "counting_seconds",
            "worst_seconds",
            "recount_seconds",
            "prune_seconds",
            "bytes_per_outcome",
        ):
            small, large = (figures[f"{row}_{name}"] for name in names)
            rows.append([f"{database}: {row}", small, large, large / small if large is not None else None])
    if "seconds_100m" in result.get("postgresql", {}):
        result["tick_100m_s"] = result["postgresql"]["seconds_100m"]
    costs = costs_of_rows(databases)
    for name, by_database in costs.items():
        rows += [[f"{database}: {name}", value, None, None] for database, value in by_database.items()]
    result |= costs
    weights = distinct_weights()
    rows += [[f"5,000 weights: {name}", seconds, None, None] for name, seconds in weights.items()]
    report("Verdicts at scale", rows, {"verdict_scale": result, "distinct_weights_seconds": weights}, as_json)


def _short(size: int) -> str:
    return f"{size // 10**6}m" if size >= 10**6 else f"{size // 1000}k"


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the JSON object last on standard output")
    parser.add_argument("--full", action="store_true", help="1 and 10 million outcomes")
    parser.add_argument("--database", action="append", choices=DATABASES, help="only this one (may be repeated)")
    parser.add_argument(
        "--skip", action="store_true", help="do not count what the larger store adds: move the watermark past it"
    )
    parser.add_argument("--rates", action="store_true", help="only what a row costs")
    parser.add_argument("--hundred", action="store_true", help="10 and 100 million on PostgreSQL: 45 GB of disk")
    given = parser.parse_args()
    if given.rates:
        costs = costs_of_rows(given.database or list(DATABASES))
        rows: list[list[object]] = [["", *DATABASES]]
        rows += [[name, *(found.get(database) for database in DATABASES)] for name, found in costs.items()]
        report("CPU microseconds a row", rows, {"verdict_scale": costs}, given.json)
        return
    if given.hundred:
        run((10**7, 10**8), timedelta(milliseconds=100), ["postgresql"], skipping=True, as_json=given.json)
        return
    sizes = (10**6, 10**7) if given.full else (20_000, 200_000)
    spacing = timedelta(milliseconds=200) if given.full else timedelta(seconds=10)  # three weeks in all
    run(sizes, spacing, given.database or list(DATABASES), skipping=given.skip, as_json=given.json)


if __name__ == "__main__":
    main()
