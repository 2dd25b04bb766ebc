"""Models small enough to be saved in no time: plain numbers where an expression is linear, else models from code.

What is code of its own runs in a process of its own, and takes its time.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fds_mlflow.runtime import model_files

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

WORSE = f"1 - ({GOOD})"

_LINEAR = {GOOD: ((1.0,), 0.0), BETTER: ((0.5, 0.5), 0.0), TOO_HIGH: ((1.0,), 2.0), WORSE: ((-1.0,), 1.0)}
"""Expressions that are plain numbers: coefficients of the amount and of whether it is late, and what is added."""


def save(folder: Path, name: str, expression: str, example: pd.DataFrame | None = EXAMPLE) -> Path:
    """Save a model that scores by an expression over `rows`; its signature is the example's."""
    saved = _saved.get(key := (name, expression, None if example is None else example.to_json()))
    if saved is not None and saved.exists():
        return Path(shutil.copytree(saved, folder / name))
    import mlflow
    from mlflow.models import infer_signature

    described: dict[str, Any] = {
        "signature": infer_signature(EXAMPLE if example is None else example),
        "input_example": example,
        "pip_requirements": [],
    }
    if expression in _LINEAR:
        mlflow.sklearn.save_model(
            _linear(*_LINEAR[expression], example), folder / name, serialization_format="skops", **described
        )
        _saved[key] = folder / name
        return folder / name
    code = folder / f"{name}.py"
    code.write_text(_CODE.format(expression=expression), encoding="utf-8")
    mlflow.pyfunc.save_model(
        path=folder / name,
        python_model=str(code),
        **described,
    )
    _saved[key] = folder / name
    return folder / name


def _linear(coefficients: tuple[float, ...], intercept: float, example: pd.DataFrame | None) -> Any:
    """A scikit-learn pipeline that was never fitted: its numbers are given."""
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Binarizer

    parts = [("amount", "passthrough", ["amount"]), ("late", Binarizer(threshold=20.0), ["hour"])]
    prepare = ColumnTransformer(parts[: len(coefficients)]).fit(EXAMPLE if example is None else example)
    line = LinearRegression()
    line.coef_, line.intercept_ = np.array(coefficients), intercept
    return make_pipeline(prepare, line)


_saved: dict[tuple[str, str, str | None], Path] = {}
"""Where a model was saved before: a copy takes no time, saving one half a second."""


def booster(folder: Path, *, seed: int = 0) -> Path:
    """A saved LightGBM model, which is text."""
    import lightgbm
    import mlflow
    import numpy as np
    from mlflow.models import infer_signature

    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"amount": random.random(64), "hour": random.random(64) * 24})
    params = {"objective": "binary", "min_data_in_leaf": 4, "verbose": -1, "num_threads": 1}
    made = lightgbm.train(params, lightgbm.Dataset(frame, frame["amount"] > 0.5), num_boost_round=5)
    mlflow.lightgbm.save_model(
        made, folder, signature=infer_signature(frame), input_example=frame.head(3), pip_requirements=[]
    )
    return folder


def negated(folder: Path) -> None:
    """Turn every leaf of a saved LightGBM model round: what was fraud is genuine."""
    file = folder / "model.lgb"
    lines = file.read_text(encoding="utf-8").split("\n")
    for place, line in enumerate(lines):
        if line.startswith("leaf_value="):
            values = [str(-float(value)) for value in line.removeprefix("leaf_value=").split()]
            lines[place] = "leaf_value=" + " ".join(values)
    file.write_text("\n".join(lines), encoding="utf-8")


def register(
    model: str,
    source: Path,
    *,
    threshold: str | None = "0.5",
    metrics: Mapping[str, float] | None = None,
    digest: bool = True,
) -> int:
    """Register a saved model as the next version; with metrics, under a run that has them.

    Its digest is recorded as `fds train` does it, unless a test is about a version without.
    """
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
    tags = {"fds.files": model_files.digest(source)} if source.is_dir() and digest else {}
    tags |= {} if threshold is None else {"fds.threshold": threshold}
    return int(client.create_model_version(model, source=str(source), run_id=run_id, tags=tags).version)
