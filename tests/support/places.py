"""Where the repository is, the published data that may lie beside it, and which MLflow is in force."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""

DATA = ROOT.parent / "shared" / "data"
"""Published data sets; tests that read them skip where they are not there."""

ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"
"""Where MLflow's SQL store puts the artifacts of new experiments; without it `./mlruns`."""


@contextmanager
def pointing_at(uri: str) -> Iterator[str]:
    """Have MLflow track and register there while the block runs: for fixtures that outlive a test."""
    import mlflow

    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        yield uri
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])


def artifacts_in(folder: Path, database: Path) -> str:
    """Copy an empty MLflow database to `mlflow.db` there; the URI under which its experiments' artifacts will lie."""
    artifacts = (folder / "artifacts").as_uri()
    shutil.copyfile(database, folder / "mlflow.db")
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ? || '/' || experiment_id", (artifacts,))
    return artifacts


@contextmanager
def mlflow_in(folder: Path, database: Path) -> Iterator[str]:
    """Work in a folder, on an MLflow of its own there, while the block runs; its URI.

    Args:
        folder: Gets `mlflow.db` and `artifacts`.
        database: An empty database of MLflow's, which is copied.
    """
    with pytest.MonkeyPatch.context() as patch, pointing_at(f"sqlite:///{folder / 'mlflow.db'}") as uri:
        patch.setenv(ARTIFACT_ROOT, artifacts_in(folder, database))
        patch.chdir(folder)
        yield uri
