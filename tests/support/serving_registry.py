"""A model with versions of every temper, in a real MLflow, logged once, and the cache that a server fills from it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature

from fds_mlflow import ManagedModel
from fds_mlflow.registry import tags
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.serving.disk.version_cache import VersionCache
from fds_mlflow.serving.host.prepare import prepare

MODEL = "fraud"
COLUMNS = ("amount", "hour", "age")
FIRST, SECOND, MOODY, BROKEN = 1, 2, 3, 4
"""Native; native with its columns in another order; a pyfunc that fails on demand; one whose files are gone."""

RAISES, HANGS, NAN = -1.0, -2.0, -3.0
"""Amounts at which the moody version raises, hangs, or gives NaN; to all others it gives `CALM`."""
CALM = 0.25

_MOODY = """
import threading

import mlflow
import numpy as np


class Moody(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        amounts = model_input["amount"].to_numpy(dtype=float)
        if (amounts == -1).any():
            raise RuntimeError("out of order")
        if (amounts == -2).any():
            threading.Event().wait(3600)
        return np.where(amounts == -3, np.nan, 0.25)


mlflow.models.set_model(Moody())
"""


def frame(rows: int, *, seed: int = 0) -> pd.DataFrame:
    """Feature rows in the order of the first version's signature."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {"amount": random.lognormal(3, 1, rows), "hour": random.uniform(0, 24, rows), "age": random.uniform(0, 9, rows)}
    )


def log_versions(folder: Path) -> None:
    """Log the four versions to the MLflow in force."""
    example = frame(64)
    fraud = (example["amount"] > 20).to_numpy() ^ (example["hour"] > 20).to_numpy()
    with mlflow.start_run():
        for number, columns in ((FIRST, list(COLUMNS)), (SECOND, list(reversed(COLUMNS)))):
            data = lightgbm.Dataset(example[columns], fraud)
            params = {"objective": "binary", "num_leaves": 3 + number, "min_data_in_leaf": 4, "verbose": -1}
            booster = lightgbm.train({**params, "num_threads": 1}, data, num_boost_round=5)
            mlflow.lightgbm.log_model(
                booster,
                name=f"native{number}",
                signature=infer_signature(example[columns], booster.predict(example[columns])),
                input_example=example[columns],
                registered_model_name=MODEL,
                pip_requirements=[],
            )
        code = folder / "moody.py"
        code.write_text(_MOODY, encoding="utf-8")
        mlflow.pyfunc.log_model(
            name="moody",
            python_model=str(code),
            signature=infer_signature(example, np.zeros(len(example))),
            input_example=example,
            registered_model_name=MODEL,
            pip_requirements=[],
        )
    client = mlflow.MlflowClient()
    client.create_model_version(MODEL, source="s3://nowhere/model", await_creation_for=None)
    for version in (FIRST, SECOND, MOODY, BROKEN):
        client.set_model_version_tag(MODEL, str(version), tags.THRESHOLD, "0.5")


@dataclass(frozen=True)
class Registry:
    """The model behind the proxy.

    Attributes:
        uri: How servers reach it, through the proxy.
        truth: The same past every fault.
        prepared: A cache folder that has all versions that load, and no table.
        model: What people use, past every fault.
    """

    uri: str
    truth: str
    prepared: Path
    model: ManagedModel

    def cache(self, folder: Path) -> Path:
        """A new cache folder with all versions in it, so that a server need not fetch them."""
        shutil.copytree(self.prepared, folder)
        return folder

    def settle(self) -> None:
        """The first version is champion, and there is no rollout: where every test begins."""
        look = self.model.session.look()
        if look.rollout is not None:
            self.model.canary.abort(reason="the next test")
        if look.model.aliases.get(tags.CHAMPION) != FIRST:
            self.model.promote(FIRST, reason="the next test")


def cached_versions(uri: str, truth: str, root: Path) -> Path:
    """Prepare the versions that load, as a server would in processes of their own."""
    cache, store = VersionCache(root, MODEL, uri), MlflowStore(registry_uri=truth, tracking_uri=truth)
    for version in (FIRST, SECOND, MOODY):
        with cache.preparing(version, store.version(MODEL, version).identity) as folder:
            prepare(store, MODEL, version, folder, tracking_uri=truth, registry_uri=truth, trust=True)
    return root
