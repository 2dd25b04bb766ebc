"""Ten minutes at 1,000 requests a second, through three alias changes and an outage of the registry.

    python -m benchmarks.soak --json --seconds 600 --rate 1000
    python -m benchmarks.soak --json --seconds 30 --rate 300     # the same course, shorter

`fds serve` follows an MLflow server on SQLite. On the way a canary starts, the registry's server is killed for a tenth
of the time and started again, the canary becomes the champion, and an emergency brings the former one back. Requests
are sent at fixed times whatever happens (`benchmarks.serving.load`); one fails that is not answered with 200 and its
own identity. At the end the server is told to stop, and every answered request must be in the outcome store exactly
once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.endurance import endure, served
from benchmarks.report import report
from benchmarks.serving.fds import Replica, replica
from benchmarks.serving.load import Records, read, steady
from benchmarks.serving.model import register, train
from benchmarks.serving.process import Server, end_in_order, free_port

if TYPE_CHECKING:
    from fds_mlflow import ManagedModel

CANARY_AT, OUTAGE_AT, OUTAGE_FOR, COMPLETE_AT, EMERGENCY_AT = 0.1, 0.3, 0.1, 0.6, 0.8
"""When things happen, and how long the registry is away, as shares of the whole time."""


def mlflow_server(folder: Path) -> Server:
    """An MLflow server on SQLite, which can be killed and started again at the same address."""
    port = free_port()
    command: list[str | Path] = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--workers", "1"]
    command += ["--artifacts-destination", (folder / "artifacts").as_uri()]
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # two processes instead of fifteen
    return Server("registry", command, port, folder, ready="/health", environment=environment)


def course(managed: ManagedModel, registry: Server, one: Replica, seconds: float) -> list[dict[str, Any]]:
    """Everything that happens on the way; what, when, and how long it took to be in force."""
    from fds_mlflow import Plan

    began = time.monotonic()
    told: list[dict[str, Any]] = []

    def step(at: float, name: str, act: Callable[[], object], enough: Callable[[dict[str, Any]], bool]) -> None:
        time.sleep(max(0.0, began + at * seconds - time.monotonic()))
        start = time.monotonic()
        act()
        one.await_health(enough, 600.0)
        took = round(time.monotonic() - start, 2)
        told.append({"what": name, "at": round(start - began, 1), "in_force_after": took})
        _say(f"{told[-1]['at']} s: {name}, in force after {took} s")

    def outage() -> None:
        registry.kill()
        time.sleep(OUTAGE_FOR * seconds)
        registry.start()

    plan = Plan(steps=[25, 100])
    step(CANARY_AT, "canary starts", lambda: managed.canary.start(2, plan=plan, reason="soak"), _canary_loaded)
    step(OUTAGE_AT, "registry away and back", outage, lambda health: health["problem"] is None)
    step(
        COMPLETE_AT,
        "canary becomes champion",
        lambda: managed.canary.complete(reason="soak", force=True),
        lambda health: bool(health["champion"] == 2),
    )
    step(
        EMERGENCY_AT,
        "emergency",
        lambda: managed.rollback.emergency(reason="soak"),
        lambda health: bool(health["champion"] == 1),
    )
    time.sleep(max(2.0, began + seconds - time.monotonic()))
    return told


def _canary_loaded(health: dict[str, Any]) -> bool:
    return bool(health["canary_loaded"])


def judged(records: Records, one: Replica) -> dict[str, Any]:
    """What came of all requests, and which versions answered."""
    versions = zip(*np.unique(records["version"], return_counts=True), strict=True)
    return served(records, one) | {"versions": {str(version): int(count) for version, count in versions}}


def run(seconds: float, rate: float) -> dict[str, Any]:
    """Start all, go the course, stop all; the result that is printed."""
    with tempfile.TemporaryDirectory(prefix="fds-soak-") as name, ExitStack() as stack:
        folder = Path(name)
        model = train(folder)
        registry = mlflow_server(folder / "registry")
        stack.callback(registry.stop)
        registry.start()
        uri = f"http://127.0.0.1:{registry.port}"
        managed = register(uri, model, folder)
        one = replica(uri, folder / "replica")
        stack.callback(one.server.stop)
        one.server.start()
        path = folder / "load.npy"
        began = time.monotonic()
        with steady(path, [one.server.port], rate):
            told = course(managed, registry, one, seconds)
            took = time.monotonic() - began
        one.server.stop(patience=120.0)
        return {"seconds": round(took, 1), **judged(read(path), one), "rate": rate, "course": told}


def endured(hours: float, rate: float) -> dict[str, Any]:
    """The long course: see `benchmarks.endurance`."""

    def start(uri: str, folder: Path) -> ManagedModel:
        return register(uri, train(folder), folder, versions=1)

    return endure(hours, rate, mlflow_server, start)


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def main() -> None:
    """Parse, run, print; exit code 1 where a request failed or an outcome is not there exactly once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long")
    parser.add_argument("--hours", type=float, help="the long course of `benchmarks.endurance` instead, such as 2")
    parser.add_argument("--rate", type=float, help="requests per second; 1,000, and 200 on the long course")
    options = parser.parse_args()
    end_in_order()
    if options.hours is not None:
        result = endured(options.hours, options.rate or 200.0)
    else:
        result = run(options.seconds, options.rate or 1_000.0)
    rows: list[list[object]] = [["", "value"]]
    rows += [[name, str(value)] for name, value in result.items() if name != "course"]
    rows += [
        [step["what"], ", ".join(f"{name} {value}" for name, value in step.items() if name != "what")]
        for step in result["course"]
    ]
    report("Soak", rows, result, options.json)
    bad = ("failed", "outcomes_lost", "outcomes_doubled", "labels_lost")
    sys.exit(1 if any(result.get(name) for name in bad) else 0)


if __name__ == "__main__":
    main()
