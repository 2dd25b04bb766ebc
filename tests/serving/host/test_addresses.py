"""A registry that is named where it is used, and not in MLflow's own settings."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
import pytest

from fds_mlflow import ManagedModel
from tests.support import tiny_models


@pytest.mark.slow
def test_a_registry_may_be_named_without_telling_mlflow(
    mlflow_uri: str, tmp_path: Path, migrated_database: Path
) -> None:
    """A model whose registry is given by hand is loaded from there, wherever MLflow itself points."""
    tiny_models.register("fraud", tiny_models.save(tmp_path, "good", tiny_models.GOOD))
    shutil.copyfile(migrated_database, tmp_path / "elsewhere.db")
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    mlflow.set_tracking_uri(elsewhere)
    mlflow.set_registry_uri(elsewhere)
    model = ManagedModel("fraud", tracking_uri=mlflow_uri, registry_uri=mlflow_uri, outcomes="sqlite://", actor="ann")
    model.promote(1)
    assert model.scorer(1).score(tiny_models.EXAMPLE).tolist() == tiny_models.EXAMPLE["amount"].tolist()
