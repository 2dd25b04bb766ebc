"""Models as other people log them: of other libraries, with other answers, with and without signature and example."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = ["amount", "hour", "age"]
PIP: list[str] = []

_PYFUNC = """
import mlflow
import numpy as np
import pandas as pd


class Foreign(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        p = 1 / (1 + np.exp(1 - np.asarray(model_input["amount"], dtype=float)))
        return {expression}


mlflow.models.set_model(Foreign())
"""


def rows(count: int = 400, seed: int = 0) -> pd.DataFrame:
    """Rows of three columns and a label that the first one tells."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(count, len(COLUMNS))), columns=COLUMNS)
    return frame.assign(label=(frame["amount"] + random.normal(size=count) > 1).astype(int))


def fitted(model: Any, labels: Callable[[pd.Series[Any]], Any] = lambda y: y) -> Any:
    """A model of scikit-learn's kind, fitted on the rows."""
    frame = rows()
    return model.fit(frame[COLUMNS], labels(frame["label"]))


def named(y: pd.Series[Any]) -> Any:
    """Classes by name; fraud comes first in their order."""
    return np.where(y == 1, "fraud", "genuine")


def save(folder: Path, flavor: str, model: Any, *, bare: bool = False, **more: Any) -> Path:
    """Save a model in its flavor's plain way, with signature and input example unless it is bare."""
    import importlib

    import mlflow
    from mlflow.models import infer_signature

    frame = rows()[COLUMNS]
    described = {} if bare else {"signature": infer_signature(frame), "input_example": frame.head(5)}
    importlib.import_module(f"mlflow.{flavor}")
    save_model = getattr(mlflow, flavor).save_model
    if flavor == "pyfunc":
        code = folder.with_suffix(".py")
        code.write_text(_PYFUNC.format(expression=model), encoding="utf-8")
        save_model(folder, python_model=str(code), pip_requirements=PIP, **described, **more)
        return folder
    if flavor == "sklearn" and "serialization_format" not in more:
        from skops.io import dumps, get_untrusted_types

        more |= {"serialization_format": "skops", "skops_trusted_types": get_untrusted_types(data=dumps(model))}
    save_model(model, folder, pip_requirements=PIP, **described, **more)
    return folder


def pipeline() -> tuple[str, Any]:
    """A scikit-learn pipeline."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return "sklearn", fitted(make_pipeline(StandardScaler(), LogisticRegression()))


def forest() -> tuple[str, Any]:
    """A random forest of classes by name."""
    from sklearn.ensemble import RandomForestClassifier

    return "sklearn", fitted(RandomForestClassifier(10, random_state=0), named)


def lightgbm_classifier() -> tuple[str, Any]:
    """LightGBM by scikit-learn's face."""
    import lightgbm

    return "lightgbm", fitted(lightgbm.LGBMClassifier(n_estimators=5, verbose=-1))


def lightgbm_booster() -> tuple[str, Any]:
    """LightGBM's own."""
    return "lightgbm", lightgbm_classifier()[1].booster_


def xgboost_classifier() -> tuple[str, Any]:
    """XGBoost by scikit-learn's face."""
    import xgboost

    return "xgboost", fitted(xgboost.XGBClassifier(n_estimators=5))


def xgboost_booster() -> tuple[str, Any]:
    """XGBoost's own."""
    return "xgboost", xgboost_classifier()[1].get_booster()


def catboost_classifier() -> tuple[str, Any]:
    """CatBoost."""
    import catboost

    return "catboost", fitted(catboost.CatBoostClassifier(iterations=5, verbose=0, allow_writing_files=False))


def onnx_of(*, zipmap: bool) -> tuple[str, Any]:
    """A scikit-learn pipeline as ONNX: probabilities as maps or as an array."""
    from skl2onnx import to_onnx

    example = rows()[COLUMNS].to_numpy(dtype=np.float32)[:1]
    return "onnx", to_onnx(pipeline()[1], example, options=None if zipmap else {"zipmap": False})


KINDS: dict[str, Callable[[], tuple[str, Any]]] = {
    "scikit-learn pipeline": pipeline,
    "scikit-learn forest, classes by name": forest,
    "LightGBM classifier": lightgbm_classifier,
    "LightGBM booster": lightgbm_booster,
    "XGBoost classifier": xgboost_classifier,
    "XGBoost booster": xgboost_booster,
    "CatBoost": catboost_classifier,
    "pyfunc, two columns": lambda: ("pyfunc", "np.column_stack([1 - p, p])"),
    "pyfunc, a dict of lists": lambda: ("pyfunc", "{'class': (p > 0.5).astype(int).tolist(), 'score': p.tolist()}"),
    "ONNX, maps": lambda: onnx_of(zipmap=True),
    "ONNX, an array": lambda: onnx_of(zipmap=False),
}
"""Ten models of other people's kinds, and one more."""

NEEDS = {"XGBoost": "xgboost", "CatBoost": "catboost", "ONNX": "skl2onnx"}
"""Libraries that only some environments have, by how a kind's name begins."""
