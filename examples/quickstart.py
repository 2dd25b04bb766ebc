"""From simulated transactions to a canary that becomes champion: `python examples/quickstart.py [FOLDER]`.

Everything it makes lies in the folder; without one, in a temporary folder that is removed at the end.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import mlflow
import pandas as pd

from fds_mlflow import CaseRecord, Guardrail, ManagedModel, Plan
from fds_mlflow.workflows import Source, prepare, train

MODEL = "fraud"


def main(folder: Path) -> None:
    """Train two versions, promote one, roll the other out, read the history."""
    uri = connect(folder)
    parts = prepare(Source("simulator:5000"))
    first = train(parts, MODEL, algorithm="isolation_forest")
    second = train(parts, MODEL, algorithm="lightgbm", params={"n_estimators": 100})

    fraud = ManagedModel(MODEL, tracking_uri=uri, outcomes=f"sqlite:///{folder / 'outcomes.db'}", actor="quickstart")
    fraud.promote(first.version, reason="first model")

    comparison = fraud.compare(first.version, second.version, data=parts.test, n_boot=100)
    print(f"compare: {comparison.advice}, {comparison.reason}")

    guardrails = [Guardrail("error_rate", limit=0.05), Guardrail("alert_rate", margin=1.0, required=False)]
    plan = Plan([10, 50, 100], guardrails=guardrails, min_outcomes=20)
    fraud.canary.start(second.version, plan=plan, reason="LightGBM instead of Isolation Forest")
    for day in range(20):
        serve(fraud, parts.test.frame, day)
        tick = fraud.canary.tick()  # `fraud.canary.run()` would go on by itself, a look every 30 seconds
        print(f"canary: {tick.recommendation.reason if tick.recommendation else tick.error}")
        if tick.ended:
            break

    for event in reversed(fraud.history()):
        print(f"{event.sequence} {event.kind:8} {event.from_version} -> {event.to_version}  {event.reason}")


def serve(fraud: ManagedModel, transactions: pd.DataFrame, day: int) -> None:
    """Play one day: score the rows, and let their labels arrive. The same rows come every day, under new ids."""
    requests = transactions.assign(transaction_id=transactions["transaction_id"] + f"/{day}")
    fraud.router(poll_seconds=0).predict(requests, key="transaction_id")
    labels = zip(requests["transaction_id"], requests["label"], strict=True)
    known_at = fraud.session.now()
    fraud.outcomes.label(
        [
            CaseRecord(transaction_id=key, status="confirmed" if label else "genuine", known_at=known_at)
            for key, label in labels
        ]
    )


def connect(folder: Path) -> str:
    """Use an MLflow on SQLite whose database and artifacts lie in the folder."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    for experiment in (f"fds/{MODEL}", f"fds/rollouts/{MODEL}"):  # else their artifacts would lie where this runs
        if mlflow.get_experiment_by_name(experiment) is None:
            mlflow.create_experiment(experiment, artifact_location=(folder / "artifacts").as_uri())
    return uri


if __name__ == "__main__":
    if len(sys.argv) > 1:
        chosen = Path(sys.argv[1]).resolve()
        chosen.mkdir(parents=True, exist_ok=True)
        main(chosen)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
