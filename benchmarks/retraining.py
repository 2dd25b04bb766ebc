"""From a new label to the canary: how long a retraining takes, stage by stage, and what became of every label.

    python -m benchmarks.retraining --json                   # 20,000 transactions: some minutes
    python -m benchmarks.retraining --rows 1000000 --json

Simulated transactions without labels lie in a Parquet file, an outcome of each and the labels of all frauds in an
outcome store (SQLite); the champion learned from the first of them. A new label arrives, and one process does what
`fds retrain --labels outcomes --label-maturity 14d --stage always --canary default` does: both algorithms on the
features of the champion (the default ones, 72), registry and runs in SQLite.
`wall` is what a person waits for, `cpu` what the process took of all cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.report import report

MODEL = "fraud"
DAYS = 120
MATURITY = timedelta(days=14)
CHAMPIONS = 4
"""The champion learned from the first of so many shares of the transactions: none are test rows of the retraining."""
ANSWER: dict[str, Any] = {"assigned": "champion", "version": 1, "score": 0.1, "flagged": False, "latency_ms": 1.0}
LABELS = ("is_fraud", "fraud_type", "label_known_at")


def prepared(folder: Path, rows: int) -> None:
    """Transactions, outcomes, labels and a champion."""
    from fds_mlflow import ManagedModel
    from fds_mlflow.data.labels import without_labels
    from fds_mlflow.data.schema import Schema
    from fds_mlflow.features.declaration import to_yaml
    from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord
    from fds_mlflow.simulator import simulate
    from fds_mlflow.workflows import Source, prepare, train

    frame = simulate.transactions(rows, days=DAYS, seed=1)
    schema = Schema.load("simulator")
    (folder / "transactions.schema.yaml").write_text(to_yaml(without_labels(schema, ())))
    frame.drop(columns=list(LABELS)).to_parquet(folder / "transactions.parquet")
    first = frame.head(rows // CHAMPIONS)
    first.to_parquet(folder / "first.parquet")
    model = ManagedModel(MODEL, outcomes=f"sqlite:///{folder / 'outcomes.db'}")
    times = [moment.to_pydatetime().replace(tzinfo=UTC) for moment in frame["time"]]
    for start in range(0, rows, 10_000):
        model.outcomes.record(
            [
                OutcomeRecord(model=MODEL, key=name, time=time, **ANSWER)
                for name, time in zip(
                    frame["transaction_id"][start : start + 10_000], times[start : start + 10_000], strict=True
                )
            ]
        )
    told = frame[(frame["is_fraud"] == 1) & frame["label_known_at"].notna()]
    model.outcomes.label(
        [
            CaseRecord(transaction_id=name, status="confirmed", known_at=known.to_pydatetime().replace(tzinfo=UTC))
            for name, known in zip(told["transaction_id"], told["label_known_at"], strict=True)
        ]
    )
    parts = prepare(Source(str(folder / "first.parquet"), schema), split="stratified")
    train(parts, MODEL, params={"n_estimators": 50})
    model.promote(1)


def retrained(folder: Path) -> dict[str, Any]:
    """A new label arrives, and the job runs to the canary in this process."""
    from fds_mlflow import ManagedModel
    from fds_mlflow.core.plan.default import DEFAULT_PLAN
    from fds_mlflow.outcomes.records import CaseRecord
    from fds_mlflow.workflows import Feedback, Policy, Source, retrain
    from fds_mlflow.workflows.retraining.staging import When

    model = ManagedModel(MODEL, outcomes=f"sqlite:///{folder / 'outcomes.db'}")
    wall, cpu = time.perf_counter(), time.process_time()
    model.outcomes.label(
        [CaseRecord(transaction_id="T000000001", status="confirmed", known_at=datetime.now(UTC) - timedelta(seconds=1))]
    )
    made = retrain(
        model,
        Source(str(folder / "transactions.parquet")),
        labels=Feedback(maturity=MATURITY),
        policy=Policy(When.ALWAYS),
        canary=DEFAULT_PLAN,
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rollout = model.overview().rollout
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {
        "wall_minutes": round(wall / 60, 2),
        "cpu_minutes": round(cpu / 60, 2),
        "seconds": {stage: round(seconds, 1) for stage, seconds in made.seconds.items()},
        "peak_mib": int(peak.split()[1]) // 1024,
        "staged": made.staged,
        "canary": None if rollout is None else rollout.canary,
        "message": made.message,
        "said": made.canary,
        "account": None if made.account is None else made.account.said,
    }


def one(rows: int, folder: Path) -> dict[str, Any]:
    """Prepare and retrain, a process each."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": uri}
    environment["_MLFLOW_SERVER_ARTIFACT_ROOT"] = (folder / "artifacts").as_uri()
    answer = ""
    for step in ("prepared", "retrained"):
        command = [sys.executable, "-m", "benchmarks.retraining", "--step", step, "--rows", str(rows)]
        done = subprocess.run(
            [*command, "--folder", str(folder)], env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        answer = done.stdout.splitlines()[-1]
    return {"rows": rows, **json.loads(answer)}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="transactions; 20000 without it")
    parser.add_argument("--folder", type=Path, help="where there is room: a kilobyte a row")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--step", choices=("prepared", "retrained"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step == "prepared":
        prepared(options.folder, options.rows)
        print("{}")
        return
    if options.step == "retrained":
        print(json.dumps(retrained(options.folder)))
        return
    with tempfile.TemporaryDirectory(prefix="fds-retraining-", dir=options.folder) as folder:
        found = one(options.rows, Path(folder))
    account = found["account"]
    lines: list[list[object]] = [["stage", "seconds"], *(list(item) for item in found["seconds"].items())]
    lines += [["wall minutes", found["wall_minutes"]], ["cpu minutes", found["cpu_minutes"]]]
    lines += [["peak MiB", found["peak_mib"]], ["labels known", account["labels"]], ["labels used", account["used"]]]
    lines += [[f"left out: {why}", count] for why, count in account["left_out"].items()]
    report(f"From a new label to the canary, {options.rows:,} transactions", lines, found, options.json)
    if found["canary"] is None or account["labels"] != account["used"] + sum(account["left_out"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
