"""Where the repository is, the published data that may lie beside it, and which MLflow is in force."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""

DATA = ROOT.parent / "shared" / "data"
"""Published data sets; tests that read them skip where they are not there."""


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
