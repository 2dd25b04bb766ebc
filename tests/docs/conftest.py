"""What the code on the pages stands on: a registry with a trained model, with and without a rollout, and data files."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from fds_mlflow.cli.main import main
from fds_mlflow.data.transactions import load
from fds_mlflow.features.table import compute, default_spec
from tests.support.places import ROOT, mlflow_in

SHOP = """\
transaction_id: order_no
time: created_at
amount: total_eur
entities: {customer: customer_no, device: device_hash, ip: client_ip}
label: chargeback
label_known_at: chargeback_date
"""
"""The schema of the pages' shop, as far as the simulator has columns for it."""

ROLES = {
    "transaction_id": "order_no",
    "time": "created_at",
    "amount": "total_eur",
    "customer_id": "customer_no",
    "device_id": "device_hash",
    "ip_address": "client_ip",
    "is_fraud": "chargeback",
    "label_known_at": "chargeback_date",
}
"""The shop's columns by the simulator's."""


@dataclass(frozen=True)
class Demo:
    """A folder that is only read.

    Attributes:
        folder: Holds `mlflow.db` and `outcomes.db` of each state, and under `files` what pages read.
        states: `rollout`: version 1 serves and version 2 is on trial, `last`: at the last step of its plan; `trained`:
            version 1 serves and nothing is on trial; `idle`: version 2 serves and version 1 served before.
    """

    folder: Path
    states: tuple[str, ...] = ("rollout", "last", "trained", "idle")

    def copy(self, state: str, to: Path) -> None:
        """Lay a state and the files into a folder."""
        shutil.copytree(self.folder / "files", to, dirs_exist_ok=True)
        for path in (self.folder / state).iterdir():
            shutil.copy(path, to / path.name)


@pytest.fixture(scope="session")
def demo(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Four versions of `fraud`, trained once; the registry in two states."""
    folder = tmp_path_factory.mktemp("demo")
    files, made = folder / "files", folder / "made"
    files.mkdir()
    made.mkdir()
    fds = _caller(made)
    with mlflow_in(made, migrated_database):
        _write_files(files, fds)
        for algorithm in ("isolation_forest", "lightgbm", "lightgbm", "lightgbm"):
            fds("train", "fraud", "--algorithm", algorithm, "--data", str(files / "transactions.parquet"))
        fds("label", "import", str(files / "labels.csv"))
        fds("promote", "fraud", "1", "--reason", "first model")
        _keep(made, folder / "trained")
        fds("canary", "start", "fraud", "2", "--plan", str(files / "plan.yaml"), "--reason", "weekly retrain")
        _keep(made, folder / "rollout")
        fds("canary", "advance", "fraud", "--to", "50", "--force", "--reason", "quick")
        _keep(made, folder / "last")
        fds("canary", "complete", "fraud", "--force", "--reason", "shown")
        fds("history", "export", "fraud", str(files / "history.jsonl"))
        _keep(made, folder / "idle")
    return Demo(folder)


def _caller(made: Path) -> Callable[..., str]:
    def fds(*words: str) -> str:
        stores = (
            "--tracking-uri",
            f"sqlite:///{made / 'mlflow.db'}",
            "--outcomes",
            f"sqlite:///{made / 'outcomes.db'}",
        )
        done = CliRunner().invoke(main, [*stores, *words])
        assert done.exit_code == 0, done.output
        return done.output

    return fds


def _keep(made: Path, folder: Path) -> None:
    """Copy the databases as they are now."""
    folder.mkdir()
    for path in made.glob("*.db"):
        with sqlite3.connect(path) as source, sqlite3.connect(folder / path.name) as target:
            source.backup(target)
        source.close()
        target.close()


def _write_files(files: Path, fds: Callable[..., str]) -> None:
    fds("plan", "template", "--output", str(files / "plan.yaml"))
    fds("simulate", str(files / "transactions.parquet"), "--rows", "8000", "--fraud-rate", "0.03")
    rows = pd.read_parquet(files / "transactions.parquet")
    rows.to_csv(files / "transactions.csv", index=False)
    transactions = load(files / "transactions.parquet", "simulator")
    features = compute(transactions, default_spec(transactions.schema))
    features.x.assign(label=rows["is_fraud"].to_numpy()).tail(2000).to_csv(files / "recent.csv", index=False)
    for name in ("arriving", "raw"):
        (files / name).mkdir()
    rows.tail(200).to_parquet(files / "raw/1.parquet")
    for path in ("features.parquet", "arriving/1.parquet"):
        features.x.assign(transaction_id=rows["transaction_id"].to_numpy()).tail(500).to_parquet(files / path)
    shop = rows.rename(columns=ROLES)[list(ROLES.values())]
    shop.to_csv(files / "orders.csv.gz", index=False)
    shop.to_csv(files / "orders.csv", index=False)
    shop.to_parquet(files / "orders.parquet")
    scores = np.random.default_rng(0).random((2, len(rows)))
    scored = rows.assign(champion_score=scores[0], canary_score=scores[1], label=rows["is_fraud"])
    scored.to_parquet(files / "history.parquet")
    for name in ("my-shop.yaml", "orders.schema.yaml"):
        (files / name).write_text(SHOP)
    fds("features", "template", "--schema", str(files / "my-shop.yaml"), "-o", str(files / "shop-features.yaml"))
    shutil.copy(ROOT / "fds_mlflow" / "data" / "schemas" / "simulator.yaml", files / "schema.yaml")
    known = "2026-03-20T09:00:00+00:00"
    (files / "labels.csv").write_text(f"transaction_id,status,known_at\nTX1,confirmed,{known}\n")
