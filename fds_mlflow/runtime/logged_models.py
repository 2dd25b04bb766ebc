"""Where a registry finds what tracking has logged."""

from __future__ import annotations

from typing import Any


def registrable(info: Any) -> tuple[str, str | None]:
    """The source and the logged model's id to register a version with.

    A registry on a server of its own looks for `models:/m-...` in its own tracking, where that is not: it is told where
    the artifacts lie instead, and nothing of the logged model.

    Args:
        info: What MLflow's `log_model` has returned.
    """
    import mlflow

    tracking, registry = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    if registry == tracking or not registry.startswith(("http://", "https://")):
        return info.model_uri, info.model_id
    return mlflow.MlflowClient().get_logged_model(info.model_id).artifact_location, None
