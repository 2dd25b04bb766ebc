"""Models small enough to be saved in no time: MLflow models from code, without pickle."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

EXAMPLE = pd.DataFrame({"amount": [0.0, 0.25, 1.0], "hour": [0.0, 12.0, 23.0]})

_CODE = """
import mlflow
import numpy as np
import pandas as pd


class Tiny(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        rows = model_input
        return {expression}


mlflow.models.set_model(Tiny())
"""

GOOD = "rows['amount'].to_numpy(dtype=float)"
BETTER = "np.clip(rows['amount'] * 0.5 + (rows['hour'] > 20) * 0.5, 0, 1).to_numpy()"
RAISES = "rows['amount'] / 0 if False else 1 // 0"
CLASSES = "np.where(rows['amount'] > 0.5, 'fraud', 'fine')"
TOO_HIGH = "rows['amount'].to_numpy(dtype=float) + 2"


def save(folder: Path, name: str, expression: str, example: pd.DataFrame | None = EXAMPLE) -> Path:
    """Save a model that scores by an expression over `rows`; its signature is the example's."""
    saved = _saved.get(key := (name, expression, None if example is None else example.to_json()))
    if saved is not None and saved.exists():
        return Path(shutil.copytree(saved, folder / name))
    import mlflow
    from mlflow.models import infer_signature

    code = folder / f"{name}.py"
    code.write_text(_CODE.format(expression=expression), encoding="utf-8")
    mlflow.pyfunc.save_model(
        path=folder / name,
        python_model=str(code),
        signature=infer_signature(EXAMPLE if example is None else example),
        input_example=example,
        pip_requirements=[],
    )
    _saved[key] = folder / name
    return folder / name


_saved: dict[tuple[str, str, str | None], Path] = {}
"""Where a model was saved before: a copy takes no time, saving one half a second."""


def register(
    model: str, source: Path, *, threshold: str | None = "0.5", metrics: Mapping[str, float] | None = None
) -> int:
    """Register a saved model as the next version; with metrics, under a run that has them."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient()
    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    run_id = None
    if metrics is not None:
        run_id = client.create_run("0").info.run_id
        for name, value in metrics.items():
            client.log_metric(run_id, name, value)
    tags = {} if threshold is None else {"fds.threshold": threshold}
    return int(client.create_model_version(model, source=str(source), run_id=run_id, tags=tags).version)
