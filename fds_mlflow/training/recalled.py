"""A training, told again from what it left in its run: for who goes on from a version that is there already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fds_mlflow.registry.store import VersionView
from fds_mlflow.training.pipeline import SUMMARY, Trained
from fds_mlflow.training.summary import PartCounts

if TYPE_CHECKING:
    from mlflow import MlflowClient


def recalled(client: MlflowClient, view: VersionView) -> Trained | None:
    """What the training of a version left behind; None where its run or its summary is gone.

    Args:
        client: Of the tracking server.
        view: The version.

    Raises:
        Exception: Whatever MLflow raises where it cannot be asked.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    if view.run_id is None:
        return None
    try:
        run = client.get_run(view.run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    there = {item.path for item in client.list_artifacts(view.run_id)}
    if run.info.lifecycle_stage != "active" or SUMMARY not in there or "threshold" not in run.data.metrics:
        return None
    summary: dict[str, Any] = mlflow.artifacts.load_dict(f"runs:/{view.run_id}/{SUMMARY}")
    metrics = {k: v for k, v in run.data.metrics.items() if not k.startswith(("curve_", "system/"))}
    return Trained(
        run_id=view.run_id,
        model_uri=view.source,
        version=view.version,
        metrics=metrics,
        threshold=metrics["threshold"],
        parts={name: PartCounts(**part) for name, part in summary["parts"].items()},
        features=tuple(summary["features"]),
        trees=int(summary["trees"]),
        warnings=tuple(summary["warnings"]),
        notes=tuple(summary["notes"]),
    )
