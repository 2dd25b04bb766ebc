"""A scikit-learn model asked with a plain matrix: what a frame and the checks of a signature cost is saved.

The request was checked against the signature while it was read, so MLflow need not check it again.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fds_mlflow.scoring.columns import check, column
from fds_mlflow.scoring.output import Scores, predict_name


class ArrayModel:
    """Scores rows given as plain numbers.

    Args:
        loaded: A logged scikit-learn model, as MLflow's pyfunc.
        inputs: Input columns and MLflow's names of their types, in the order of the signature.

    Raises:
        AttributeError: It is no scikit-learn model.
    """

    def __init__(self, loaded: Any, inputs: Mapping[str, str]) -> None:
        self._kinds = tuple(inputs.values())
        adopted = loaded._model_impl if isinstance(loaded._model_impl, Scores) else None
        self._predict = adopted.predict if adopted else getattr(loaded.get_raw_model(), predict_name(loaded))
        # The names are left out on purpose, and scikit-learn would say so at every call.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")

    def row(self, values: Sequence[Any]) -> float:
        """The score of one row.

        Args:
            values: One per column, in order; None or NaN for a missing number.

        Raises:
            TypeError, ValueError: A value is not of its column's type.
            Exception: Whatever the model raises.
        """
        for value, kind in zip(values, self._kinds, strict=True):
            check(value, kind)
        columns = [column([value], kind) for value, kind in zip(values, self._kinds, strict=True)]
        return float(self.matrix(columns).item())

    def matrix(self, columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        """The scores of rows given column by column: shape (rows,) or (rows, 1), float64.

        Args:
            columns: One array of numbers a column, in order.

        Raises:
            Exception: Whatever the model raises.
        """
        return np.asarray(self._predict(np.column_stack(columns).astype(np.float64)), dtype=np.float64)
