"""A rollout that is trained once, for all tests that only score by it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fds_mlflow import ManagedModel
from tests.support import batch_world
from tests.support.places import mlflow_in


@pytest.fixture(scope="session")
def batch_folder(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is only read: `mlflow.db`, and rows in `computed.parquet`, `whole.parquet` and `raw.parquet`."""
    folder = tmp_path_factory.mktemp("batch")
    with mlflow_in(folder, migrated_database):
        batch_world.write(folder, batch_world.rollout(folder))
    return folder


@pytest.fixture
def model(batch_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ManagedModel:
    """The model, with outcomes of its own, and the rows in the test's folder."""
    import mlflow

    for name in ("computed.parquet", "whole.parquet", "raw.parquet"):
        shutil.copy(batch_folder / name, tmp_path)
    uri = f"sqlite:///{batch_folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    return ManagedModel("fraud", outcomes=f"sqlite:///{tmp_path / 'outcomes.db'}")
