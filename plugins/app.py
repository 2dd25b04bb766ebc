"""MLflow app `fds`: the page on which rollouts are looked at and acted on, inside `mlflow server --app-name fds`."""

from __future__ import annotations

from fds_mlflow.ui.app import create_app

__all__ = ["create_app"]
