"""A registry on MLflow that holds what an earlier commit trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from fds_mlflow import ManagedModel
from tests.golden.support import HERE, MODEL, MODELS, read


@pytest.fixture
def trained(mlflow_uri: str, tmp_path: Path) -> ManagedModel:
    """A registry whose versions are models that an earlier commit logged, the first with its test set."""
    client = MlflowClient()
    models = tmp_path / "golden"  # MLflow writes into the folder that a version is loaded from
    shutil.copytree(HERE / "models", models)
    client.create_registered_model(MODEL)
    for number, name in enumerate(MODELS, start=1):
        golden = read(HERE / "models" / f"{name}.json")
        run = client.create_run("0").info.run_id
        client.log_artifact(run, str(HERE / "models" / "test_set.parquet"))
        source = (models / name).as_uri()
        version = client.create_model_version(
            MODEL, source=source, run_id=run, tags={"fds.threshold": str(golden["threshold"])}
        )
        assert int(version.version) == number
    return ManagedModel(MODEL, actor="eve")
