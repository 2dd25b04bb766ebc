"""The router in process on a large frame: what splitting it, and recording its outcomes, costs beside the scores.

    python -m benchmarks.frame --json                    # a million rows: two minutes
    python -m benchmarks.frame --json --rows 100000 --rounds 1

During a rollout that gives the canary 25 %, `ManagedModel.router().predict` scores a frame of 25 features and a key.
In turns with it, on one core each: the same rows by the Booster itself (`Booster.predict`, one thread), by MLflow's
pyfunc, and by a router that records every outcome into SQLite. All must give the same scores. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.report import report
from benchmarks.serving.model import MODEL, booster, frame, register, rows, train

WEIGHT = 25


def timed(ways: dict[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of every way in every round, taken in turns, and the last answer of each."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers = {}
    for _ in range(rounds):
        for name, work in ways.items():
            began = time.perf_counter()
            answers[name] = work()
            seconds[name].append(time.perf_counter() - began)
    return seconds, answers


def run(number: int, rounds: int) -> dict[str, Any]:
    """Measure; the result that is printed."""
    import mlflow

    from fds_mlflow import ManagedModel, OutcomeStore, Plan

    with tempfile.TemporaryDirectory(prefix="fds-frame-") as name:
        folder = Path(name)
        model = train(folder)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        managed = register(uri, model, folder)
        managed.canary.start(2, plan=Plan(steps=[WEIGHT, 100]), reason="benchmark")
        x = rows(number)
        features = frame(x)
        requests = features.assign(transaction_id=[f"TX{place:010d}" for place in range(number)])
        trained, pyfunc = booster(model), mlflow.pyfunc.load_model(str(model.signed))
        silent = managed.router(record=False)
        with OutcomeStore(f"sqlite:///{folder / 'outcomes.db'}") as store:
            recording = ManagedModel(MODEL, tracking_uri=uri, registry_uri=uri, outcomes=store).router()
            for router in (silent, recording):
                router.predict(requests.head(10))  # loads both versions
            seconds, answers = timed(
                {
                    "Booster.predict": lambda: trained.predict(x, num_threads=1),
                    "pyfunc.predict": lambda: pyfunc.predict(features),
                    "router": lambda: silent.predict(requests)["score"],
                    "router that records": lambda: recording.predict(requests)["score"],
                },
                rounds,
            )
    scores = [np.asarray(answer, dtype=np.float64) for answer in answers.values()]
    if not all((one == scores[0]).all() for one in scores):
        raise AssertionError("the ways of scoring a frame do not agree")
    middle = {name: median(found) for name, found in seconds.items()}
    return {
        "rows": number,
        "rounds": rounds,
        "router_seconds": round(middle["router"], 3),
        "ratio_to_booster": round(middle["router"] / middle["Booster.predict"], 3),
        "recorded_ratio_to_booster": round(middle["router that records"] / middle["Booster.predict"], 3),
        "ways": {
            name: {"seconds": round(middle[name], 3), "range": [round(min(found), 3), round(max(found), 3)]}
            for name, found in seconds.items()
        },
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the frame")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is done")
    options = parser.parse_args()
    result = run(options.rows, options.rounds)
    table: list[list[object]] = [["", "seconds", "range", "us a row"]]
    for name, found in result["ways"].items():
        low, high = found["range"]
        table.append([name, found["seconds"], f"{low:.2f} to {high:.2f}", 1e6 * found["seconds"] / result["rows"]])
    report(f"A frame of {result['rows']:,} rows", table, result, options.json)


if __name__ == "__main__":
    main()
