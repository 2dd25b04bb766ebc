"""The loader of a version that wraps another model: MLflow's pyfunc loads it by this module's name.

Its folder holds the other model as it was logged, and a file that says how its answers become scores.
"""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fds_mlflow.scoring import beside
from fds_mlflow.scoring.code import WRAPPED as MODEL
from fds_mlflow.scoring.output import Output, Scores

OUTPUT = "output.json"


class Wrapped(Scores):
    """A model whose own MLmodel says how its answers become scores; no tag is needed."""


def _load_pyfunc(path: str) -> Wrapped:
    """MLflow's hook: the wrapped model, which answers one score a row."""
    import mlflow

    folder = Path(path)
    output = Output.from_tag((folder / OUTPUT).read_text(encoding="utf-8"))
    # In this order, as everywhere: a compiled scorer beside a pickle is the reason why the pickle is not read.
    return Wrapped(beside.load(folder / MODEL) or mlflow.pyfunc.load_model(str(folder / MODEL)), output)


def log(
    folder: str, output: Output, *, signature: Any, example: Any, tags: dict[str, str], metadata: dict[str, str]
) -> Any:
    """Log a model that wraps a copy of another one.

    Args:
        folder: The other model, on disk.
        output: How its answers become scores.
        signature: Of the new model: the columns that it takes.
        example: Its input example.
        tags: Tags of the logged model.
        metadata: Its metadata.

    Returns:
        MLflow's ``ModelInfo``.
    """
    import mlflow

    needed = Path(folder) / "requirements.txt"
    packages = needed.read_text(encoding="utf-8").splitlines() if needed.exists() else ["mlflow"]
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "wrapped"
        shutil.copytree(folder, data / MODEL)
        (data / OUTPUT).write_text(output.to_tag(), encoding="utf-8")
        return mlflow.pyfunc.log_model(
            name="model",
            loader_module=__name__,
            data_path=str(data),
            signature=signature,
            input_example=example,
            pip_requirements=[*packages, f"fds-mlflow=={version('fds-mlflow')}"],
            tags=tags,
            metadata=metadata,
        )
