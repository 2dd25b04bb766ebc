"""The compiled scorer that `fds train` logs beside a model, as a flavor of our own in its MLmodel file.

Whoever has this package scores by it, and needs neither pickle nor skops to load the version. Everybody else loads the
flavor beside it by `mlflow.pyfunc`, as ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fds_mlflow.errors import DataError
from fds_mlflow.scoring.code import FLAVOR
from fds_mlflow.scoring.compiled import CompiledModel

if TYPE_CHECKING:
    import pandas as pd

_FOLDER = "compiled"


class Beside:
    """MLflow's interface of a model, around its compiled scorer.

    Args:
        compiled: The compiled scorer.
    """

    def __init__(self, compiled: CompiledModel) -> None:
        self.compiled = compiled

    def predict(self, data: pd.DataFrame, params: Mapping[str, Any] | None = None) -> npt.NDArray[np.float64]:  # noqa: ARG002 - MLflow's signature
        """The scores of rows: shape (n,)."""
        return self.compiled.matrix([data[name].to_numpy() for name in self.compiled.names])

    def get_raw_model(self) -> CompiledModel:
        """The compiled scorer."""
        return self.compiled


def add(compiled: CompiledModel, folder: Path, model: Any) -> None:
    """Put a compiled scorer into the folder of a saved model.

    Args:
        compiled: The compiled scorer.
        folder: Of the saved model.
        model: Its MLflow `Model`, whose file is written anew.
    """
    place = folder / _FOLDER
    place.mkdir()
    compiled.save(place)
    model.add_flavor(FLAVOR, compiled=_FOLDER)
    model.save(str(folder / "MLmodel"))


def load(folder: Path) -> Any:
    """The logged model by its compiled scorer, as MLflow's pyfunc; None where it was logged without.

    Raises:
        DataError: Its files are not those of a compiled scorer.
    """
    from mlflow.models import Model
    from mlflow.pyfunc import PyFuncModel

    metadata = Model.load(str(folder))
    if FLAVOR not in metadata.flavors:
        return None
    try:
        compiled = CompiledModel.load(folder / _FOLDER)
    except (LookupError, TypeError, ValueError, OSError) as error:
        raise DataError(
            f"its compiled scorer cannot be read: {type(error).__name__}: {error}", fix="register it again"
        ) from error
    if compiled is None:
        raise DataError("its compiled scorer is missing", fix="register it again")
    made = PyFuncModel(metadata, Beside(compiled))
    with contextlib.suppress(Exception):  # as MLflow has it: one that cannot be read is as good as none
        made.input_example = metadata.load_input_example(str(folder))
    return made
