"""The model that every server serves: a LightGBM Booster of 200 trees over 25 features, and rows to ask it about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import lightgbm
    import pandas as pd

    from fds_mlflow import ManagedModel

MODEL = "fraud"
FEATURES = 25
TREES = 200
NAMES = tuple(f"feature_{place:02d}" for place in range(FEATURES))

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """A trained model on disk.

    Attributes:
        booster: LightGBM's own text file.
        signed: MLflow's folder of the same Booster, with a signature and an input example.
        unsigned: The same without either.
    """

    booster: Path
    signed: Path
    unsigned: Path


def rows(number: int, seed: int = 1) -> Rows:
    """Rows to score: shape (number, 25), four decimals each, as amounts and ratios are sent."""
    random = np.random.default_rng(seed)
    return np.round(random.lognormal(0.0, 1.0, (number, FEATURES)), 4)


def truth(x: Rows) -> npt.NDArray[np.int8]:
    """What turned out to be fraud, 1, of rows as they were before any drift: shape (rows,)."""
    risk = x[:, 0] - x[:, 1] + 0.5 * x[:, 2] * (x[:, 3] > 1.0)
    return (risk + np.random.default_rng(0).normal(0.0, 1.0, len(x)) > 2.5).astype(np.int8)


def train(folder: Path) -> Model:
    """Train and save the model in an empty folder."""
    import lightgbm
    import mlflow
    from mlflow.models import infer_signature

    x = rows(20_000, seed=0)
    data = lightgbm.Dataset(x, truth(x), feature_name=list(NAMES))
    options = {"objective": "binary", "num_leaves": 31, "verbosity": -1, "seed": 0, "num_threads": 1}
    trained = lightgbm.train(options, data, TREES)
    model = Model(folder / "booster.txt", folder / "signed", folder / "unsigned")
    trained.save_model(model.booster)
    example = frame(x[:50])
    common: dict[str, Any] = {"pip_requirements": ["lightgbm"]}
    signature = infer_signature(example, scores(trained, x[:50]))
    mlflow.lightgbm.save_model(trained, model.signed, signature=signature, input_example=example, **common)
    mlflow.lightgbm.save_model(trained, model.unsigned, **common)
    return model


def frame(x: Rows) -> pd.DataFrame:
    """Rows with the names of the columns."""
    import pandas as pd

    return pd.DataFrame(x, columns=list(NAMES))


def booster(model: Model) -> lightgbm.Booster:
    """The model as LightGBM reads it."""
    import lightgbm

    return lightgbm.Booster(model_file=str(model.booster))


def scores(trained: lightgbm.Booster, x: Rows) -> Rows:
    """The scores of rows: shape (rows,)."""
    return np.asarray(trained.predict(x, num_threads=1), dtype=np.float64)


def register(uri: str, model: Model, folder: Path, *, versions: int = 2, threshold: float = 0.5) -> ManagedModel:
    """Register the same files as several versions, each from a run as a training would, and promote version 1.

    A swap between such versions changes nothing but the number.

    Args:
        uri: Registry and tracking.
        model: The files.
        folder: Where the artifacts go, for a registry without a server.
        versions: How many.
        threshold: Of each.
    """
    import mlflow
    from mlflow import MlflowClient

    from fds_mlflow import ManagedModel

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = MlflowClient(uri, uri)
    client.create_registered_model(MODEL)
    location = None if uri.startswith("http") else (folder / "artifacts").as_uri()
    experiment = client.create_experiment(MODEL, location)
    for _ in range(versions):
        with mlflow.start_run(experiment_id=experiment) as run:
            mlflow.log_artifacts(str(model.signed), "model")
            source = f"{run.info.artifact_uri}/model"
        tags = {"fds.threshold": repr(threshold)}
        client.create_model_version(MODEL, source=source, run_id=run.info.run_id, tags=tags)
    managed = ManagedModel(MODEL, tracking_uri=uri, registry_uri=uri)
    managed.promote(1, reason="benchmark")
    return managed


def score_bodies(x: Rows) -> list[bytes]:
    """Bodies of `/score`: an object a transaction; `@KEY@` stands for the key, which each request makes anew."""
    return [
        json.dumps({"transaction_id": "@KEY@", **dict(zip(NAMES, row, strict=True))}).encode() for row in x.tolist()
    ]


def split_bodies(x: Rows, *, key: bool) -> list[bytes]:
    """Bodies of `/invocations`: MLflow's `dataframe_split`, one row each, with or without a column for the key."""
    columns = [*(["transaction_id"] if key else []), *NAMES]
    return [
        json.dumps({"dataframe_split": {"columns": columns, "data": [[*(["@KEY@"] if key else []), *row]]}}).encode()
        for row in x.tolist()
    ]


def list_bodies(x: Rows, name: str) -> list[bytes]:
    """Bodies that are one list of one row under a name: `inputs` of MLflow without a signature, BentoML's argument."""
    return [json.dumps({name: [row]}).encode() for row in x.tolist()]
