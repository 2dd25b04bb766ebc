"""What of a logged model is code: told by its MLmodel file, before anything of it is loaded.

A list of what is known to be data, not of what is known to be code: a flavor that is not on it may do anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fds_mlflow.runtime.yaml_file import read_yaml

FLAVOR = "fds_mlflow"
"""Our own flavor: a compiled scorer beside the model."""
WRAPPED = "model"
"""Folder of the other model in one that wraps it."""

_CLASS = re.compile(r"(?:sklearn|scipy|lightgbm|xgboost|catboost|numpy\.random)(?:\.\w+)*\._?[A-Z]\w*")
_TYPES = frozenset({"numpy.dtype", "numpy.ndarray", "collections.OrderedDict", "collections.defaultdict"})
_XGBOOST = frozenset(
    {
        "xgboost.core.Booster",
        *(
            f"xgboost.sklearn.XGB{name}"
            for name in ("Classifier", "Regressor", "Ranker", "RFClassifier", "RFRegressor")
        ),
    }
)
_PATHS = ("data", "model_path", "pickled_model")

Settings = Mapping[str, Any]


def code_in(folder: str | Path) -> str | None:
    """Why loading a logged model runs code that came with it, or could; None where its files are data alone.

    Args:
        folder: Where its files are.

    Raises:
        ConfigError: Its MLmodel file cannot be read.
    """
    try:
        return _code_in(Path(folder))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return f"its MLmodel file has an unknown form ({type(error).__name__}: {error})"


def trust_fix(model: str, version: int) -> str:
    """How somebody allows a version to run code of its own."""
    return (
        f"if you know who made it, allow it by name: `fds promote {model} {version} --trust`, and so with the other"
        " verbs that load a version (in Python ManagedModel(NAME, trust=True)); or log it without pickle"
    )


def _code_in(folder: Path) -> str | None:  # noqa: PLR0911 - one reason after the other
    file = folder / "MLmodel"
    flavors = read_yaml(file, "the model's file MLmodel", fix="register a model that MLflow has logged")["flavors"]
    if FLAVOR in flavors:  # scored by that alone
        return None
    main = flavors["python_function"]
    if main.get("code"):
        return "it brings a folder of Python code (code_paths)"
    loader = main.get("loader_module")
    if outside := [path for flavor in flavors.values() for path in map(flavor.get, _PATHS) if not _inside(path)]:
        return f"it reads {outside[0]!r}, which is not in its folder"
    if loader == "fds_mlflow.scoring.wrapped":
        return _code_in(folder / main["data"] / WRAPPED)
    data = main.get("data")
    if data is not None and ("/" in data or not (folder / data).is_file()):
        return f"it is loaded by what {data!r} holds"  # which may have an MLmodel file of its own
    if str(loader).startswith("mlflow.pyfunc."):
        return "it is Python code or a pickle of it (a PythonModel)"
    told = _FLAVORS.get(loader)
    return f"its loader is {loader}, which is not known to run no code" if told is None else told(flavors)


def _inside(path: str | None) -> bool:
    if path is None:
        return True
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts


def _serialized(settings: Settings, otherwise: str) -> str | None:
    form = settings.get("serialization_format", otherwise)
    if form != "skops":
        return f"it is kept as {form}"
    named = settings.get("skops_trusted_types") or []
    unknown = [name for name in named if name not in _TYPES and not _CLASS.fullmatch(name)]
    return f"it has skops trust {', '.join(unknown[:3])}" if unknown else None


def _lightgbm(flavors: Settings) -> str | None:
    settings = flavors["lightgbm"]
    if settings.get("model_class", "lightgbm.basic.Booster") == "lightgbm.basic.Booster":
        return None
    return _serialized(settings, "cloudpickle")


def _xgboost(flavors: Settings) -> str | None:
    name = flavors["xgboost"].get("model_class", "xgboost.core.Booster")
    return None if name in _XGBOOST else f"it is made by {name}"


def _onnx(flavors: Settings) -> str | None:
    providers = flavors["onnx"].get("providers") or []
    return None if all(isinstance(one, str) for one in providers) else "it sets up how ONNX Runtime runs it"


_FLAVORS: Mapping[str, Callable[[Settings], str | None]] = {
    "mlflow.sklearn": lambda flavors: _serialized(flavors["sklearn"], "pickle"),
    "mlflow.lightgbm": _lightgbm,
    "mlflow.xgboost": _xgboost,
    "mlflow.catboost": lambda _flavors: None,
    "mlflow.onnx": _onnx,
}
"""MLflow's loaders that are known, by what of their settings leads to code."""
