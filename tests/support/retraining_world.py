"""A model to retrain from transactions without labels and a store of outcomes; run as a module, one that is killed.

`python -m tests.support.retraining_world N` retrains in the working directory, and dies as by `kill -9` right after its
Nth write to the registry or to tracking; 0 for never, and then it says how many there were.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

from fds_mlflow import ManagedModel
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.data.schema import Schema
from fds_mlflow.outcomes.records import CaseRecord
from fds_mlflow.simulator import simulate
from fds_mlflow.workflows import Retrained, Source, retrain
from fds_mlflow.workflows.retraining.feedback import Feedback
from fds_mlflow.workflows.retraining.staging import Policy, When

MODEL = "fraud"
ALGORITHMS = ("tests.support.own_algorithms:logistic", "tests.support.retraining_world:steady")
BARE = {"label": None, "label_known_at": None, "numeric": [], "categorical": [], "entities": {}}
MATURITY = timedelta(days=14)


def steady(  # noqa: PLR0917 - the contract
    train_x: Any, train_y: Any, validation_x: Any, validation_y: Any, params: Any, seed: int
) -> Any:
    """The amount alone, which is worse."""
    from tests.support.own_algorithms import logistic

    return logistic(train_x, train_y, validation_x, validation_y, {"C": 0.001, **params}, seed)


def write(folder: Path, rows: int = 2_500) -> None:
    """`transactions.parquet` without labels, its schema beside it, and a store that knows the frauds."""
    frame = simulate.transactions(rows, days=90, fraud_rate=0.08, seed=7)
    schema = Schema.load("simulator").model_copy(update=BARE)
    from fds_mlflow.features.declaration import to_yaml

    (folder / "transactions.schema.yaml").write_text(to_yaml(schema))
    frame[["transaction_id", "time", "amount"]].to_parquet(folder / "transactions.parquet")
    frauds = frame[(frame["is_fraud"] == 1) & frame["label_known_at"].notna()]
    with_zone = [moment.to_pydatetime().replace(tzinfo=UTC) for moment in frauds["label_known_at"]]
    cases = [
        CaseRecord(transaction_id=name, status="confirmed", known_at=known)
        for name, known in zip(frauds["transaction_id"], with_zone, strict=True)
    ]
    model().outcomes.label(cases)


def model() -> ManagedModel:
    """The model, its outcomes in the working directory."""
    return ManagedModel(MODEL, outcomes="sqlite:///outcomes.db", actor="ann")


def retrained(of: ManagedModel | None = None, **changes: Any) -> Retrained:
    """The retraining that is asked for every night."""
    asked: dict[str, Any] = {
        "algorithms": ALGORITHMS,
        "labels": Feedback(maturity=MATURITY),
        "policy": Policy(When.ALWAYS),
        "canary": Plan([10, 100]),
    }
    return retrain(of or model(), Source("transactions.parquet"), **{**asked, **changes})


def _killed_after(number: int) -> list[str]:
    """Have this process end right after so many writes; what was written so far."""
    from mlflow import MlflowClient

    from fds_mlflow.registry.mlflow_store import MlflowStore

    written: list[str] = []

    def counted(of: type, name: str) -> None:
        original: Callable[..., Any] = getattr(of, name)

        def call(*args: Any, **more: Any) -> Any:
            answer = original(*args, **more)
            written.append(name)
            if len(written) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        setattr(of, name, call)

    counted(MlflowStore, "write")
    for name in ("create_run", "create_model_version", "set_terminated", "log_batch", "log_artifact"):
        counted(MlflowClient, name)
    return written


if __name__ == "__main__":
    done = _killed_after(int(sys.argv[1]))
    retrained()
    print(len(done), *done)
