"""A model with a rollout between two algorithms, and rows to score, with gaps: what batches are tried on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.simulator import simulate
from fds_mlflow.workflows import Source, prepare, train
from fds_mlflow.workflows.preparation import featurised_for

SPEC = """\
numeric: [amount]
windows:
  - {entity: customer, aggregate: count, windows: [1d]}
  - {entity: customer, aggregate: mean, windows: [7d]}
categorical: [country]
"""
ROWS = 1_500


def rollout(folder: Path) -> ManagedModel:
    """Champion 1 is LightGBM, canary 2 an Isolation Forest, at 40 %; outcomes go to SQLite in the folder."""
    (folder / "features.yaml").write_text(SPEC)
    split = prepare(Source("simulator:3000"), features=str(folder / "features.yaml"), split="stratified")
    for algorithm in ("lightgbm", "isolation_forest"):
        train(split, "fraud", algorithm=algorithm, params={"n_estimators": 10})
    model = ManagedModel("fraud", outcomes=f"sqlite:///{folder / 'outcomes.db'}")
    model.promote(1)
    model.canary.start(2, plan=Plan(steps=[40, 100]), force=True, reason="two algorithms")
    return model


def write(folder: Path, model: ManagedModel) -> None:
    """Write rows into a folder.

    Raw transactions without labels; the whole of their features; and those with some missing.
    """
    simulate.transactions(ROWS, seed=7).drop(columns=["is_fraud", "label_known_at"]).to_parquet(folder / "raw.parquet")
    table = featurised_for(model, [1, 2], Source(f"simulator:{ROWS}").read(seed=7)).frame
    frame = table[["transaction_id", *model.scorer(1).inputs]]
    frame.to_parquet(folder / "whole.parquet")
    gaps = np.random.default_rng(0).random(len(frame)) < 0.2
    frame = frame.assign(amount=frame["amount"].mask(gaps), country=frame["country"].mask(gaps[::-1]))
    frame.to_parquet(folder / "computed.parquet")
