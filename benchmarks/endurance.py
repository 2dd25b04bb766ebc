"""Two hours of a fraud system's life: traffic that drifts, late labels, retraining, rollouts, outages.

    python -m benchmarks.soak --hours 2 --json
    python -m benchmarks.soak --hours 0.1 --json      # the same course, shorter

`fds serve` answers 200 transactions a second whose amounts drift, and an autopilot carries each rollout. A version
retrained on what has drifted becomes champion; one that flags far too much is stopped; the registry's server is killed
and comes back; the outcome store is locked and freed; a second retraining follows the drift. Labels arrive a while
after each transaction. At the end every answered transaction must be in the store exactly once, every label too, and
the report of each rollout must be drawn. Memory is that of the server and all its workers.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.serving.fds import FDS, Replica, replica
from benchmarks.serving.load import Records, drifted, identity, read, steady
from benchmarks.serving.model import MODEL, frame, rows, scores, truth
from benchmarks.serving.process import Server, children

if TYPE_CHECKING:
    from fds_mlflow import ManagedModel, Plan

DRIFT = 0.6
"""By how much amounts have risen at the end."""

LABEL_AFTER = 0.01
"""After which share of the whole time a transaction's label arrives."""

FLAGGED = 0.05
"""Share of transactions that a version flags on what it was trained on."""

EVERY = 2.0
"""Seconds between two looks at the memory, and between two batches of labels."""


@dataclass
class Course:
    """What happens, when, and what came of it.

    Attributes:
        seconds: How long all takes.
        began: On the monotonic clock.
        told: The steps.
    """

    seconds: float
    began: float
    told: list[dict[str, Any]] = field(default_factory=list)

    def at(self, share: float, name: str, act: Callable[[], object]) -> None:
        """Do something at its time, and keep what came of it."""
        time.sleep(max(0.0, self.began + share * self.seconds - time.monotonic()))
        start = time.monotonic()
        came = act()
        took = time.monotonic() - start
        self.told.append({"what": name, "at": round(start - self.began), "took": round(took, 1), "came": came})
        print(f"{time.strftime('%H:%M:%S')} {self.told[-1]}", file=sys.stderr, flush=True)

    @property
    def share(self) -> float:
        """How much of the time has passed, from 0 to 1."""
        return min(1.0, (time.monotonic() - self.began) / self.seconds)


class Watch(threading.Thread):
    """Notes the memory of the server's processes, and sends labels once they are due."""

    def __init__(self, one: Replica, course: Course, rate: float) -> None:
        super().__init__(daemon=True)
        self.one, self.course, self.rate = one, course, rate
        self.memory: list[tuple[float, float]] = []  # seconds since the beginning, MiB
        self.labelled = 0
        self.refused = 0
        self.over = threading.Event()
        self._frauds = truth(rows(1_000))

    def run(self) -> None:
        """Until it is told that all is over."""
        while not self.over.wait(EVERY):
            assert self.one.server.process is not None
            process = self.one.server.process.pid
            used = sum(_resident(pid) for pid in (process, *children(process)))
            self.memory.append((time.monotonic() - self.course.began, used / 1_024))
            due = time.monotonic() - self.course.began - LABEL_AFTER * self.course.seconds
            self.send_until(int(due * self.rate))

    def send_until(self, number: int) -> None:
        """Send the labels of all transactions before that one that were not sent yet."""
        while self.labelled < number:
            numbers = range(self.labelled, min(number, self.labelled + 1_000))
            now = datetime.now(UTC).isoformat()
            body = [{"transaction_id": identity(n), "status": self._status(n), "known_at": now} for n in numbers]
            try:
                status, _ = self.one.server.post("/labels", json.dumps(body).encode())
            except OSError:
                status = 0
            if status != 200:
                self.refused += 1
                return  # the same ones again, the next time
            self.labelled = numbers.stop

    def _status(self, number: int) -> str:
        return "confirmed" if self._frauds[number % len(self._frauds)] else "genuine"

    def peak(self, first: float, last: float) -> float:
        """The most memory in a part of the time, in MiB."""
        return round(max((used for at, used in self.memory if first <= at <= last), default=0.0), 1)


def retrained(uri: str, folder: Path, phase: float, *, harmful: bool = False) -> int:
    """Train on what has drifted so far, register it, and return the new version's number.

    Args:
        uri: Registry and tracking.
        folder: An empty one.
        phase: How far the drift has come, from 0 to 1.
        harmful: Choose a threshold that flags four times as much as is wanted.
    """
    import lightgbm
    import mlflow
    from mlflow import MlflowClient
    from mlflow.models import infer_signature

    plain = rows(20_000, seed=int(1_000 * phase) + 2)
    x = drifted(plain, DRIFT * phase)
    options = {"objective": "binary", "num_leaves": 31, "verbosity": -1, "seed": 0, "num_threads": 1}
    names = list(frame(x).columns)
    booster = lightgbm.train(options, lightgbm.Dataset(x, truth(plain), feature_name=names), 200)
    threshold = float(np.quantile(scores(booster, x), 1 - FLAGGED * (4 if harmful else 1)))
    example = frame(x[:50])
    signature = infer_signature(example, scores(booster, x[:50]))
    mlflow.lightgbm.save_model(
        booster, folder, signature=signature, input_example=example, pip_requirements=["lightgbm"]
    )
    client = MlflowClient(uri, uri)
    with mlflow.start_run(experiment_id=client.get_experiment_by_name(MODEL).experiment_id) as run:
        mlflow.log_artifacts(str(folder), "model")
        source = f"{run.info.artifact_uri}/model"
    made = client.create_model_version(
        MODEL, source=source, run_id=run.info.run_id, tags={"fds.threshold": repr(threshold)}
    )
    return int(made.version)


def plan(seconds: float) -> Plan:
    """A plan that takes about a tenth of the time."""
    from fds_mlflow import Guardrail, Plan

    guardrails = [
        Guardrail("error_rate", margin=1.0, negligible=0.002),
        Guardrail("alert_rate", margin=1.0, side="higher"),
        Guardrail("missed_fraud", margin=2.0, required=False),
    ]
    bake, maturity = f"{max(1, int(0.005 * seconds))}s", f"{max(1, int(1.5 * LABEL_AFTER * seconds))}s"
    return Plan([20, 50, 100], guardrails=guardrails, min_outcomes=1_000, bake_time=bake, label_maturity=maturity)


def rollout(managed: ManagedModel, one: Replica, uri: str, version: int, course: Course) -> str:
    """Start a rollout and let the autopilot, a process of its own, carry it; how it ended."""
    managed.canary.start(version, plan=plan(course.seconds), reason="soak")
    command = [*FDS, "--tracking-uri", uri, "--registry-uri", uri, "--outcomes", f"sqlite:///{one.outcomes}"]
    command += ["canary", "run", MODEL, "--interval", f"{max(1, int(course.seconds / 500))}s"]
    with (one.server.folder / f"autopilot-{version}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            code = process.wait(0.25 * course.seconds)
        except subprocess.TimeoutExpired:
            process.terminate()
            code = process.wait()
            managed.canary.abort(reason="the course goes on, and nothing is decided")
    event = managed.history()[0]
    ended = event.rollout.status.value if event.rollout is not None else event.kind.value
    return f"version {version} {ended} (exit code {code}): {event.reason}"


def away(registry: Server, seconds: float) -> None:
    """Kill the registry's server, and start it again later."""
    registry.kill()
    time.sleep(seconds)
    registry.start()


def locked(outcomes: Path, seconds: float) -> None:
    """Keep the outcome store's database to oneself for a while."""
    with closing(sqlite3.connect(outcomes, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")


def endure(hours: float, rate: float, registry_server: Callable[[Path], Server], start: Any) -> dict[str, Any]:
    """Start all, go the course, stop all; the result that is printed.

    Args:
        hours: How long.
        rate: Transactions per second.
        registry_server: Makes the registry's server.
        start: Registers the first version and promotes it: (uri, folder) to the managed model.
    """
    seconds = 3_600 * hours
    with tempfile.TemporaryDirectory(prefix="fds-soak-") as name, ExitStack() as stack:
        folder = Path(name)
        registry = registry_server(folder / "registry")
        stack.callback(registry.stop)
        registry.start()
        uri = f"http://127.0.0.1:{registry.port}"
        managed = start(uri, folder)
        one = replica(uri, folder / "replica")
        stack.callback(one.server.stop)
        one.server.start()
        path = folder / "load.npy"
        course = Course(seconds, time.monotonic())
        watch = Watch(one, course, rate)

        def trained(name: str, *, harmful: bool = False) -> str:
            version = retrained(uri, folder / name, course.share, harmful=harmful)
            return rollout(managed, one, uri, version, course)

        with steady(path, [one.server.port], rate, seconds, drift=DRIFT):
            course.began = time.monotonic()
            watch.start()
            course.at(0.05, "a retrained version on trial", lambda: trained("first"))
            course.at(0.35, "one that flags too much on trial", lambda: trained("second", harmful=True))
            course.at(0.55, "registry away and back", lambda: away(registry, 0.02 * seconds))
            course.at(0.62, "outcome store locked and freed", lambda: locked(one.outcomes, 0.01 * seconds))
            course.at(0.68, "a version retrained on the drift on trial", lambda: trained("third"))
            course.at(1.0, "the end", lambda: None)
        watch.over.set()
        watch.join()
        records = read(path)
        watch.send_until(len(records))
        one.server.stop(patience=180.0)
        hour = min(3_600.0, seconds / 2)
        return {
            "hours": hours,
            "rate": rate,
            **served(records, one),
            **_labelled(one, watch),
            "peak_mib_first_hour": watch.peak(0.0, hour),
            "peak_mib_last_hour": watch.peak(seconds - hour, seconds),
            "reports": _reports(uri),
            "course": course.told,
        }


def served(records: Records, one: Replica) -> dict[str, Any]:
    """Failed requests, what of the answered ones the store lacks or has twice, and how long they took."""
    answered = {identity(number) for number in records["number"][records["status"] == 200].tolist()}
    stored = Counter(one.recorded())
    latency = 1_000 * (records["done"] - records["due"])
    return {
        "requests": len(records),
        "failed": len(records) - len(answered),
        "outcomes_lost": len(answered - stored.keys()),
        "outcomes_doubled": sum(count - 1 for count in stored.values()),
        "outcomes": sum(stored.values()),
        "p50_ms": round(float(np.percentile(latency, 50)), 3),
        "p99_ms": round(float(np.percentile(latency, 99)), 3),
        "max_ms": round(float(latency.max()), 3),
    }


def _labelled(one: Replica, watch: Watch) -> dict[str, int]:
    """Labels that were sent, and those of them that the store lacks."""
    with closing(sqlite3.connect(one.outcomes)) as connection:
        (labels,) = connection.execute("SELECT count(DISTINCT transaction_id) FROM fds_fraud_cases").fetchone()
    return {"labels_sent": watch.labelled, "labels_lost": watch.labelled - labels}


def _reports(uri: str) -> int:
    """Rollouts whose run has its report."""
    from mlflow import MlflowClient

    from fds_mlflow.rollouts import naming
    from fds_mlflow.rollouts.naming import REPORT

    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name(naming.experiment(MODEL))
    runs = [] if experiment is None else client.search_runs([experiment.experiment_id])
    return sum(any(file.path == REPORT for file in client.list_artifacts(run.info.run_id)) for run in runs)


def _resident(pid: int) -> float:
    """KiB of memory that a process holds; 0 for one that has ended."""
    try:
        status = Path(f"/proc/{pid}/statm").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(status.split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1_024
