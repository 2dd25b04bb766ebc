"""What a request, an outcome and a poll cost those that stand beside the replicas, as CPU: it does not tell who waited.

    python -m benchmarks.replicas --json     # two minutes; needs wrk, HAProxy and PostgreSQL

- `proxy`: a worker alone, then behind HAProxy with the configuration of `deploy/`, loaded by wrk over 16 connections:
  microseconds a request of either. The model is one tree, so the worker's is the price of everything but a score.
- `postgresql`: recording outcomes in batches of 5,000: microseconds an outcome of the client (the process beside the
  workers) and of the server, and bytes an outcome, indexes included.
- `mlflow`: milliseconds of CPU of an MLflow server (one process, on SQLite) for one poll of the aliases.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from mlflow import MlflowClient

from benchmarks.report import report
from benchmarks.serving import wrk
from fds_mlflow.outcomes.records import OutcomeRecord
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.registry import tags
from fds_mlflow.registry.aliases import AliasReader
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.serving.host.ownership import Ownership
from fds_mlflow.serving.host.server import Options, work
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.support.haproxy import haproxy, no_haproxy
from tests.support.served import until
from tests.support.servers import Server, no_postgresql, postgresql, running
from tests.support.version_caches import table, version_cache

SPAWN = multiprocessing.get_context("spawn")
SECONDS, CONNECTIONS = 10, 16
OUTCOMES, BATCH = 50_000, 5_000
POLLS = 200
ROW = {"amount": 250.0, "hour": 3, "channel": "web"}
_TICK = os.sysconf("SC_CLK_TCK")


def cpu(process: int) -> float:
    """Seconds of CPU of a process, and of those below it that run or have been waited for."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICK + sum(map(cpu, _children(process)))


def _command(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


def _children(process: int) -> list[int]:
    files = Path(f"/proc/{process}/task").glob("*/children")
    return [int(name) for file in files for name in file.read_text().split()]


def proxied(folder: Path) -> dict[str, float]:
    """A worker behind the proxy."""
    version_cache(folder).write_table(table())
    given = ServerSettings("fraud", "memory:", folder)
    owner, (leaving, staying) = Ownership(given.version_cache().folder), SPAWN.Pipe(duplex=False)
    bodies = wrk.write_bodies([json.dumps({"transaction_id": "TX", **ROW}).encode()], folder / "bodies")
    with socket.create_server(("127.0.0.1", 0), backlog=2_048) as listening, staying:
        worker = SPAWN.Process(target=work, args=(given, Options(), listening, owner, leaving))
        worker.start()
        try:
            port = listening.getsockname()[1]
            until(lambda: httpx.get(f"http://127.0.0.1:{port}/ping").status_code == 200, "an answer", limit=300)
            assert worker.pid is not None
            (direct,) = loaded(port, bodies, worker.pid)
            with haproxy(folder, [port] * 3) as url:
                (proxy,) = [pid for pid in _children(os.getpid()) if b"haproxy" in _command(pid)]
                behind, before = loaded(int(url.rpartition(":")[2]), bodies, worker.pid, proxy)
        finally:
            worker.kill()
            worker.join()
            owner.release()
    return {"worker_us": direct, "worker_behind_us": behind, "proxy_us": before}


def loaded(port: int, bodies: Path, *processes: int) -> list[float]:
    """Microseconds of CPU a request of each process, while wrk asks at a port."""
    before = [cpu(process) for process in processes]
    load = wrk.run(port, "/score", bodies, seconds=SECONDS, connections=CONNECTIONS)
    assert not load.failed
    return [1e6 * (cpu(process) - early) / load.requests for process, early in zip(processes, before, strict=True)]


def recorded() -> dict[str, float]:
    """Outcomes into a PostgreSQL that waits for its disk."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    of_rollout: dict[str, Any] = {
        "model": "fraud",
        "rollout_id": "01JGZK3V8T6Y0W5X9R2B4N7MCD",
        "step": 0,
        "weight": 2_500,
    }
    of_rollout |= {"assigned": "champion", "served": "champion", "version": 1, "flagged": False, "latency_ms": 0.5}
    records = [
        OutcomeRecord(request_id=f"{n:020x}-{n:012x}", key=f"TX{n}", transaction_id=f"TX{n}", score=n / OUTCOMES,
                      time=begin + timedelta(seconds=n / 10), **of_rollout)
        for n in range(OUTCOMES)
    ]  # fmt: skip
    with postgresql(durable=True) as server, OutcomeStore(server.url) as store:
        postmaster = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
        before, began = cpu(postmaster), time.process_time()
        for start in range(0, OUTCOMES, BATCH):
            store.record(records[start : start + BATCH])
        client, after = time.process_time() - began, cpu(postmaster)
        with store.engine.connect() as connection:
            size = connection.exec_driver_sql("SELECT pg_total_relation_size('fds_outcomes')").scalar_one()
    return {
        "client_us": 1e6 * client / OUTCOMES,
        "server_us": 1e6 * (after - before) / OUTCOMES,
        "bytes": size / OUTCOMES,
    }


def polled(folder: Path) -> dict[str, float]:
    """An MLflow server that is asked for the aliases again and again."""
    with running(Server(f"sqlite:///{folder / 'mlflow.db'}", folder)) as server:
        assert server.process is not None
        store = MlflowStore(registry_uri=server.url, tracking_uri=server.url)
        client = MlflowClient(server.url, server.url)
        client.create_registered_model("fraud")
        for _ in range(2):
            version = client.create_model_version("fraud", source="s3://nowhere/model", await_creation_for=None).version
            client.set_model_version_tag("fraud", version, tags.THRESHOLD, "0.5")
        client.set_registered_model_alias("fraud", tags.CHAMPION, "1")
        aliases = AliasReader(store, "fraud")
        aliases.read()
        before = cpu(server.process.pid)
        for _ in range(POLLS):
            aliases.read()
        return {"poll_ms": 1e3 * (cpu(server.process.pid) - before) / POLLS}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print a JSON object last")
    options = parser.parse_args()
    for reason in (wrk.missing(), no_haproxy(), no_postgresql()):
        if reason is not None:
            sys.exit(reason)
    result = {}
    for name, measure in (("proxy", proxied), ("mlflow", polled)):
        with tempfile.TemporaryDirectory(prefix="fds-replicas-") as folder:
            result[name] = measure(Path(folder))
    result["postgresql"] = recorded()
    rows = [
        ("what", "figure"),
        *((f"{name}: {what}", value) for name, of in result.items() for what, value in of.items()),
    ]
    report("Beside the replicas", rows, result, options.json)


if __name__ == "__main__":
    main()
