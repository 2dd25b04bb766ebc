"""What is written here though a library does it, beside that library: cost of each, side by side in one run.

    python -m benchmarks.libraries --json      # a minute

`metrics`: one request counted (a latency, a response) by a worker of `fds serve`, and by prometheus_client's
multiprocess mode, whose processes share files; then both asked for the sums of four workers. `yaml`: the plan template
read with double keys refused, and by ruamel.yaml, which refuses them too. Each takes turns with the other.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import report

TURNS, REQUESTS, WORKERS = 15, 5_000, 4


def microseconds(one: Callable[[], object], times: int) -> float:
    """CPU of this process for one call."""
    began = time.process_time()
    for _ in range(times):
        one()
    return (time.process_time() - began) / times * 1e6


def side_by_side(ours: Callable[[], object], theirs: Callable[[], object], times: int) -> tuple[float, float]:
    """Medians of turns that both take, microseconds of CPU a call."""
    found = [(microseconds(ours, times), microseconds(theirs, times)) for _ in range(TURNS)]
    return median(one for one, _ in found), median(other for _, other in found)


def metrics(folder: Path) -> dict[str, tuple[float, float]]:
    """A request counted, and four workers' counts added up."""
    shared = folder / "shared"
    shared.mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared)  # read when the library is imported
    from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess, values

    from fds_mlflow.serving.worker.metrics import BOUNDS, Metrics, added_up

    own = folder / "own"
    own.mkdir()
    ours = Metrics()
    worker = [0]
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: worker[0])
    registry = CollectorRegistry()
    latency = Histogram("latency", "", ["variant", "version"], buckets=BOUNDS, registry=registry)
    responses = Counter("responses", "", ["path", "status"], registry=registry)

    def count() -> None:
        ours.scored("champion", 3, 0.002)
        ours.responded("/score", 200)

    def count_there() -> None:
        latency.labels("champion", "3").observe(0.002)
        responses.labels("/score", "200").inc()

    counted = side_by_side(count, count_there, REQUESTS)
    for worker[0] in range(1, WORKERS):
        count_there()
        other = Metrics()
        other.scored("champion", 3, 0.002)
        other.flush(own)
    whole = CollectorRegistry()
    multiprocess.MultiProcessCollector(whole)
    asked = side_by_side(lambda: added_up(own, ours), lambda: generate_latest(whole), 20)
    return {"a request counted": counted, "four workers added up": asked}


def documents() -> dict[str, tuple[float, float]]:
    """The plan template read."""
    from ruamel.yaml import YAML

    from fds_mlflow.rollouts.plan.template import TEMPLATE
    from fds_mlflow.runtime.yaml_file import parse_yaml

    text = TEMPLATE
    theirs = YAML(typ="safe", pure=True)
    return {"a plan read": side_by_side(lambda: parse_yaml(text, "the plan", fix=""), lambda: theirs.load(text), 3)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = metrics(Path(folder)) | documents()
    rows: list[Any] = [("what", "here, µs", "library, µs", "ratio")]
    rows += [(what, ours, theirs, theirs / ours) for what, (ours, theirs) in found.items()]
    result = {what.replace(" ", "_"): {"here_us": a, "library_us": b, "ratio": b / a} for what, (a, b) in found.items()}
    report("Here and by a library", rows, {"libraries": result}, given.json)


if __name__ == "__main__":
    main()
