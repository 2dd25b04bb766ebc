"""Registering a version of a logged model, with the tags that belong to it."""

from __future__ import annotations

from collections.abc import Mapping

from fds_mlflow.registry.connection import connect
from fds_mlflow.registry.store import SetVersionTag
from fds_mlflow.registry.tags import FILES
from fds_mlflow.runtime import model_files
from fds_mlflow.runtime.logged_models import registrable


def register(
    name: str,
    source: str,
    run_id: str | None,
    *,
    tags: Mapping[str, str],
    description: str,
    model_id: str | None = None,
) -> int:
    """Create a version with its tags in one call, so that nobody sees a version without its threshold.

    The digest of its files is one of them, unless it is among those that are given.

    Args:
        name: Registered model, made where there is none of that name.
        source: Where the logged model is.
        run_id: Run that logged it.
        tags: Tags of the version.
        description: For people.
        model_id: MLflow's id of the logged model.
    """
    import mlflow

    client = mlflow.MlflowClient()
    ensured_model(name)
    tags = {FILES: model_files.digest_at(source), **tags}
    source, model_id = registrable(source, model_id)
    store = connect()
    made = client.create_model_version(
        name,
        source=source,
        run_id=run_id,
        tags=dict(tags) if store.holds_tags else None,
        description=description,
        model_id=model_id,
    )
    version = int(made.version)
    if not store.holds_tags:
        for key, value in tags.items():
            store.write(name, SetVersionTag(version, key, value))
    return version


def ensured_model(name: str) -> None:
    """Have a registered model of that name."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        mlflow.MlflowClient().create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
