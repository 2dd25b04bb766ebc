"""How a scikit-learn pipeline of ours is logged: MLflow's own flavor as skops, and its compiled scorer beside it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from fds_mlflow.scoring import beside
from fds_mlflow.scoring.convert import of_pipeline

log = logging.getLogger(__name__)


def save_model(sk_model: Any, path: str, mlflow_model: Any = None, **options: Any) -> None:
    """Save a pipeline; arguments as for `mlflow.sklearn.save_model`, with a signature and an input example."""
    import mlflow
    from mlflow.models import Model

    described = Model() if mlflow_model is None else mlflow_model
    mlflow.sklearn.save_model(sk_model, path, mlflow_model=described, serialization_format="skops", **options)
    inputs = {str(column.name): str(column.type.name) for column in options["signature"].inputs.inputs}
    compiled = of_pipeline(sk_model, options["input_example"], inputs)
    if compiled is None:
        log.warning("the pipeline has no compiled scorer: its version can only be loaded where skops may be")
    else:
        beside.add(compiled, Path(path), described)


def log_model(sk_model: Any, **options: Any) -> Any:
    """Log a pipeline to the active run; arguments as for `save_model` and MLflow's `Model.log`."""
    import sys

    from mlflow.models import Model

    return Model.log(artifact_path=None, flavor=sys.modules[__name__], sk_model=sk_model, **options)
