"""The online engine, beside the batch, beside computed rows over HTTP, and beside what others give for such windows.

    python -m benchmarks.online --json                   # small: some minutes
    python -m benchmarks.online --full --json            # the full figures: a million transactions a store, hours
    python -m benchmarks.online --rates --full --json    # HTTP alone: some minutes
    python -m benchmarks.online --long --json            # ten million and the handbook's file, hours
    python -m benchmarks.online --long --half 2 --json   # the second half of them after a warm start, in memory

1. Simulated transactions are replayed one by one through each store (Redis where a `redis-server` is installed), which
   is closed and opened again in the middle: rows that differ from the batch, milliseconds a transaction (72 features
   over five entities), bytes an entity. Once in order, once with one in a hundred late against the batch as of arrival.
2. Three replicas share a Redis, and each transaction and label goes to any of them: rows that differ.
3. `POST /score` on raw transactions beside computed rows of the same version, and `mlflow models serve`, signed.
4. Counts, sums and means over three windows: this engine, sorted sets of Redis by hand, river, and Feast, which only
   keeps what others computed.

`rows`, `mismatched_rows` and `max_rel_diff` are of all replays together; `p99_ms` is the engine's in memory, and
`bytes_per_entity` LMDB's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.handbook import DATA, RAW
from benchmarks.online import replay, served
from benchmarks.online.peers import AGGREGATES, ROLES, WINDOWS
from benchmarks.report import report
from benchmarks.serving import wrk
from benchmarks.serving.others import OTHERS, NotInstalledError, installed
from benchmarks.serving.process import end_in_order
from fds_mlflow.features.spec import FeatureSpec, Window
from fds_mlflow.features.state.lmdb_store import LmdbStore
from fds_mlflow.features.state.memory import MemoryStore
from fds_mlflow.features.state.redis_store import RedisStore
from fds_mlflow.features.state.store import Store
from fds_mlflow.features.table import compute, default_spec, handbook_spec
from tests.support.redis_server import no_redis, running_redis


def common() -> FeatureSpec:
    """The windows that all peers have."""
    return FeatureSpec(
        windows=tuple(
            Window(entity=role, aggregate=aggregate, windows=tuple(WINDOWS))  # type: ignore[arg-type]
            for role in ROLES
            for aggregate in AGGREGATES
        )
    )


def stores(folder: Path, redis: str | None) -> dict[str, Callable[[], Store]]:
    """By name, how each store is opened: every call of one gives the same store."""
    memory = MemoryStore()
    found: dict[str, Callable[[], Store]] = {"memory": lambda: memory, "lmdb": lambda: LmdbStore(folder)}
    if redis is not None:
        found["redis"] = lambda: RedisStore(f"{redis}?namespace=long")
    return found


def replays(folder: Path, redis: str | None, rows: int) -> dict[str, Any]:
    """Every store, in order and with some late."""
    found = {}
    for late in (False, True):
        transactions = replay.simulated(rows, late=late)
        spec = default_spec(transactions.schema)
        for name, store in stores(folder / ("late" if late else "ordered"), redis).items():
            said = name + (", late" if late else "")
            found[said] = replay.replay(store, transactions, spec)
            print(f"{said}: {found[said]}", file=sys.stderr, flush=True)
    return found


def peers(folder: Path, redis: str | None, rows: int, others: Path) -> dict[str, Any]:
    """The windows that all have: this engine's and theirs."""
    transactions, spec = replay.simulated(rows), common()
    found: dict[str, Any] = {}
    for name, store in stores(folder / "common", redis).items():
        found[f"fds, {name}"] = replay.replay(store, transactions, spec)
    frame = compute(transactions, spec).frame.assign(amount=transactions.frame["amount"])
    frame.drop(columns=["label", "label_known_at"]).to_parquet(folder / "common.parquet")
    try:
        binaries = installed(others / "online", ("river", "redis", "feast[redis]", "pandas", "pyarrow"), "feast")
    except NotInstalledError as error:
        print(f"peers are left out: {error}", file=sys.stderr)
        return found
    command = [binaries / "python", Path(__file__).with_name("peers.py"), folder / "common.parquet"]
    command += ["--redis", redis] if redis else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {**found, **json.loads(done.stdout.splitlines()[-1])}


def rates(folder: Path, *, full: bool) -> dict[str, Any]:
    """Raw transactions beside computed rows over HTTP."""
    return served.run(folder, rounds=5 if full else 1, seconds=8.0 if full else 3.0, connections=16)


def run(*, full: bool, others: Path) -> dict[str, Any]:
    """All of it; what is printed."""
    with tempfile.TemporaryDirectory(prefix="fds-online-") as name, ExitStack() as stack:
        folder = Path(name)
        redis = stack.enter_context(running_redis()).url().partition("?")[0] if no_redis() is None else None
        replayed = replays(folder, redis, 1_000_000 if full else 20_000)
        differ = None
        if redis is not None:
            transactions = replay.simulated(100_000 if full else 5_000)
            store = stores(folder / "shared", redis)["redis"]
            differ = replay.shared(store, transactions, default_spec(transactions.schema))["mismatched_rows"]
        beside = peers(folder, redis, 100_000 if full else 5_000, others)
        (folder / "served").mkdir()
        found = rates(folder / "served", full=full)
    return {
        "rows": sum(one["rows"] for one in replayed.values()),
        "mismatched_rows": sum(one["mismatched_rows"] for one in replayed.values()),
        "max_rel_diff": max(one["max_rel_diff"] for one in replayed.values()),
        "p99_ms": replayed["memory"]["p99_ms"],
        "bytes_per_entity": replayed["lmdb"]["bytes_per_entity"],
        "redis_p50_ms": replayed["redis"]["p50_ms"] if redis else None,
        "redis_p99_ms": replayed["redis"]["p99_ms"] if redis else None,
        "replicas_mismatched_rows": differ,
        "replays": replayed,
        "peers": beside,
        **found,
    }


def half(rows: int, which: int) -> dict[str, Any]:
    """One half of a long history, in memory; the second one on a state that the first was filled into in bulk."""
    transactions, memory = replay.simulated(rows), MemoryStore()
    spec = default_spec(transactions.schema)
    if which == 1:
        transactions = replace(transactions, frame=transactions.frame.iloc[: rows // 2])
    found = replay.replay(lambda: memory, transactions, spec, loaded=rows // 2 if which == 2 else 0)
    return {**found, "replays": {f"simulated, half {which}": found}}


def long(folder: Path, rows: int, only: Collection[str]) -> dict[str, Any]:
    """Long histories, whole and one by one: those that are named, or all, where their files and servers are."""
    raw, short = DATA / RAW, min(rows, 1_000_000)
    makers = {
        "handbook": partial(replay.handbook, raw),
        "handbook, late": partial(replay.handbook, raw, late=True),
        "handbook, replicas": partial(replay.handbook, raw),
        "simulated, late": partial(replay.simulated, short, late=True),
        "simulated, replicas": partial(replay.simulated, short),
        "simulated": partial(replay.simulated, rows),
    }
    found: dict[str, Any] = {}
    for name, make in makers.items():
        missing = no_redis() if "replicas" in name else None if "simulated" in name or raw.is_file() else f"no {raw}"
        if missing is not None or name not in (only or makers):
            continue
        transactions = make()
        spec = default_spec(transactions.schema) if "simulated" in name else handbook_spec()
        if "replicas" in name:
            with running_redis() as server:
                store = partial(RedisStore, f"{server.url().partition('?')[0]}?namespace=long")
                found[name] = replay.shared(store, transactions, spec)
        else:
            found[name] = replay.replay(partial(LmdbStore, folder / name), transactions, spec)
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    return {
        "rows": sum(one["rows"] for one in found.values()),
        "mismatched_rows": sum(one["mismatched_rows"] for one in found.values()),
        "max_rel_diff": max((one["max_rel_diff"] for one in found.values()), default=0.0),
        "replays": found,
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--full", action="store_true", help="the full figures")
    parser.add_argument("--long", action="store_true", help="long histories alone, for their rows that differ")
    parser.add_argument("--rates", action="store_true", help="what is answered over HTTP alone")
    parser.add_argument("--rows", type=int, default=10_000_000, help="with --long: simulated transactions")
    parser.add_argument("--only", action="append", default=[], help="with --long: this history alone; repeatable")
    parser.add_argument("--half", type=int, choices=(1, 2), help="with --long: one half of them alone, in memory")
    parser.add_argument("--others", type=Path, default=OTHERS, help="folder of the environment of river and Feast")
    options = parser.parse_args()
    end_in_order()
    if not options.long and (problem := wrk.missing()):
        sys.exit(problem)
    if options.long or options.rates:
        with tempfile.TemporaryDirectory(prefix="fds-online-") as name:
            result = {"replays": {}, "peers": {}}
            if options.half:
                result |= half(options.rows, options.half)
            else:
                result |= (
                    long(Path(name), options.rows, options.only)
                    if options.long
                    else rates(Path(name), full=options.full)
                )
    else:
        result = run(full=options.full, others=options.others)
    table: list[list[object]] = [["engine", "rows", "differ", "p50 ms", "p99 ms", "bytes an entity"]]
    for name, found in {**result["replays"], **result["peers"]}.items():
        values = (found.get(key) for key in ("rows", "mismatched_rows", "p50_ms", "p99_ms", "bytes_per_entity"))
        table.append([name, *values])
    report("Windows of each transaction, one by one", table, result, options.json)
