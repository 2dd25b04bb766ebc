"""Where a registry finds what tracking has logged."""

from __future__ import annotations


def registrable(source: str, model_id: str | None) -> tuple[str, str | None]:
    """The source and the logged model's id to register a version with.

    A registry on a server of its own looks for `models:/m-...` in its own tracking, where that is not: it is told where
    the artifacts lie instead, and nothing of the logged model.

    Args:
        source: Where MLflow's `log_model` says that it is.
        model_id: MLflow's id of the logged model; None where it is none.
    """
    import mlflow

    tracking, registry = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    if model_id is None or registry == tracking or not registry.startswith(("http://", "https://")):
        return source, model_id
    return mlflow.MlflowClient().get_logged_model(model_id).artifact_location, None
