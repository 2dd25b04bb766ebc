"""Counts, sums and means of an amount over windows of each entity, as one would have them without this project.

Runs in an environment of its own, which has river, redis and Feast, on a file of transactions that holds what the batch
computes of each; prints one JSON object: by peer, rows that differ, milliseconds a transaction and bytes an entity.

- `sorted_set`: a sorted set of Redis for each entity, one pipeline a transaction, windows summed by the client.
- `river`: `TimeRolling` of two sums, one for each entity and window, in the process's memory.
- `feast`: the values are computed elsewhere; they are pushed to its online store (Redis) and read back.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

ROLES = ("customer", "card", "device", "ip", "merchant")
WINDOWS = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7)}
AGGREGATES = ("count", "sum", "mean")

Row = Mapping[str, Any]
Step = Callable[[Row], dict[str, float]]


def named(role: str, aggregate: str, window: str) -> str:
    """The name of a feature."""
    return f"{role}_{aggregate}_{window}" if aggregate == "count" else f"{role}_{aggregate}_amount_{window}"


def of_amounts(role: str, window: str, amounts: list[float]) -> dict[str, float]:
    """The three features of one window."""
    total = math.fsum(amounts)
    values = (float(len(amounts)), total, total / len(amounts))
    return {named(role, aggregate, window): value for aggregate, value in zip(AGGREGATES, values, strict=True)}


def sorted_set(url: str) -> tuple[Step, Callable[[], int]]:
    """Redis by hand; what a transaction takes, and the bytes in use."""
    import redis

    server = redis.Redis.from_url(url)
    server.flushdb()
    before = server.info("memory")["used_memory"]
    longest = max(WINDOWS.values())

    def step(row: Row) -> dict[str, float]:
        at, pipeline = row["time"].value // 1_000, server.pipeline(transaction=True)
        roles = [role for role in ROLES if row[role] is not None]
        for role in roles:
            key = f"{role}:{row[role]}"
            pipeline.zadd(key, {f"{row['transaction_id']}|{row['amount']!r}": at})
            pipeline.zremrangebyscore(key, "-inf", at - longest // timedelta(microseconds=1))
            pipeline.zrange(key, 0, -1, withscores=True)
            pipeline.expire(key, longest)
        found: dict[str, float] = {}
        for role, members in zip(roles, pipeline.execute()[2::4], strict=True):
            rows = [(score, float(member.rpartition(b"|")[2])) for member, score in members]
            for window, length in WINDOWS.items():
                since = at - length // timedelta(microseconds=1)
                found |= of_amounts(role, window, [amount for score, amount in rows if score > since])
        return found

    return step, lambda: int(server.info("memory")["used_memory"] - before)


def river() -> tuple[Step, Callable[[], int]]:
    """River's rolling statistics; what a transaction takes, and the bytes that Python allocated."""
    from river import stats, utils

    tracemalloc.start()
    kept: dict[tuple[str, str, str], tuple[Any, Any]] = {}

    def step(row: Row) -> dict[str, float]:
        found: dict[str, float] = {}
        at = row["time"].to_pydatetime()
        for role in ROLES:
            for window, length in WINDOWS.items() if row[role] is not None else ():
                key = (role, row[role], window)
                if key not in kept:
                    kept[key] = (utils.TimeRolling(stats.Sum, length), utils.TimeRolling(stats.Sum, length))
                count, total = kept[key]
                count.update(1.0, t=at)
                total.update(row["amount"], t=at)
                values = (float(count.get()), float(total.get()), total.get() / count.get())
                found |= {
                    named(role, aggregate, window): value for aggregate, value in zip(AGGREGATES, values, strict=True)
                }
        return found

    return step, lambda: tracemalloc.get_traced_memory()[0]


def feast(url: str, folder: Path) -> tuple[Step, Callable[[], int]]:
    """Feast's online store; what a push of the computed values and reading them takes, and the bytes in use."""
    import pandas as pd
    import redis
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig
    from feast.data_source import PushMode
    from feast.types import Float64
    from feast.value_type import ValueType

    server = redis.Redis.from_url(url)
    server.flushdb()
    address = url.removeprefix("redis://").split("/")[0]
    store = FeatureStore(
        config=RepoConfig(
            project="fraud",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": "redis", "connection_string": address},
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
        )
    )
    parts: list[Any] = []
    for role in ROLES:
        path = folder / f"{role}.parquet"
        names = [named(role, aggregate, window) for window in WINDOWS for aggregate in AGGREGATES]
        pd.DataFrame({role: ["-"], "time": [pd.Timestamp.now("UTC")], **{name: [0.0] for name in names}}).to_parquet(
            path
        )
        source = PushSource(name=f"push_{role}", batch_source=FileSource(path=str(path), timestamp_field="time"))
        entity = Entity(name=role, join_keys=[role], value_type=ValueType.STRING)
        fields = [Field(name=name, dtype=Float64) for name in names]
        parts += [entity, FeatureView(name=role, entities=[entity], ttl=timedelta(0), schema=fields, source=source)]
    store.apply(parts)
    before = server.info("memory")["used_memory"]
    asked = [f"{role}:{named(role, a, w)}" for role in ROLES for w in WINDOWS for a in AGGREGATES]

    def step(row: Row) -> dict[str, float]:
        for role in ROLES:
            names = [named(role, aggregate, window) for window in WINDOWS for aggregate in AGGREGATES]
            values = {name: [row[name]] for name in names}
            frame = pd.DataFrame({role: [row[role]], "time": [row["time"].tz_localize("UTC")], **values})
            store.push(f"push_{role}", frame, to=PushMode.ONLINE)
        entity = {role: row[role] for role in ROLES}
        read = store.get_online_features(features=asked, entity_rows=[entity]).to_dict()
        return {name.partition(":")[2]: read[name.partition(":")[2]][0] for name in asked}

    return step, lambda: int(server.info("memory")["used_memory"] - before)


def measured(step: Step, size: Callable[[], int], rows: list[dict[str, Any]], entities: int) -> dict[str, Any]:
    """Run all rows through a peer."""
    took, wrong = [], 0
    for row in rows:
        began = time.perf_counter()
        found = step(row)
        took.append(time.perf_counter() - began)
        wrong += any(abs(value - row[name]) > 1e-9 * abs(row[name]) for name, value in found.items())
    took = sorted(took[len(took) // 2 :])
    p50, p99 = (round(took[int(len(took) * share)] * 1e3, 4) for share in (0.5, 0.99))
    return {
        "rows": len(rows),
        "mismatched_rows": wrong,
        "p50_ms": p50,
        "p99_ms": p99,
        "bytes_per_entity": round(size() / entities, 1),
    }


def main() -> None:
    """Measure each peer; what fails is said, and left out."""
    import pandas as pd

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="Parquet file: transactions, and what the batch computes")
    parser.add_argument("--redis", help="URL of a database that may be emptied")
    options = parser.parse_args()
    frame = pd.read_parquet(options.file)
    rows: list[dict[str, Any]] = frame.astype(dict.fromkeys(ROLES, object)).to_dict("records")

    def entities(some: Any) -> int:
        return sum(some[role].nunique() for role in ROLES)

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        makers: dict[str, tuple[Callable[[], tuple[Step, Callable[[], int]]], int]] = {"river": (river, len(rows))}
        if options.redis:
            makers["sorted_set"] = (lambda: sorted_set(options.redis), len(rows))
            makers["feast"] = (lambda: feast(options.redis, Path(name)), min(len(rows), 500))
        for peer, (make, some) in makers.items():
            try:
                step, size = make()
                found[peer] = measured(step, size, rows[:some], entities(frame.iloc[:some]))
            except Exception as error:
                print(f"{peer} is left out: {error!r}", file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
