"""A scikit-learn model asked with a plain matrix: what a frame and the checks of a signature cost is saved.

The request was checked against the signature while it was read, so MLflow need not check it again.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = frozenset({"double", "float", "long", "integer", "boolean"})
"""MLflow's types of columns that a matrix of numbers can hold."""


class ArrayModel:
    """Scores rows given as plain numbers.

    Args:
        loaded: A logged scikit-learn model, as MLflow's pyfunc.

    Raises:
        AttributeError: It is no scikit-learn model.
    """

    def __init__(self, loaded: Any) -> None:
        name = loaded.metadata.flavors["python_function"].get("predict_fn", "predict")
        self._predict = getattr(loaded.get_raw_model(), name)
        # The names are left out on purpose, and scikit-learn would say so at every call.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")

    def row(self, values: Sequence[Any]) -> float:
        """The score of one row.

        Args:
            values: One per column, in order; None or NaN for a missing number.

        Raises:
            TypeError, ValueError: A value is no number.
            Exception: Whatever the model raises.
        """
        row = np.array([[math.nan if value is None else value for value in values]], dtype=np.float64)
        return float(np.asarray(self._predict(row), dtype=np.float64).item())

    def matrix(self, columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        """The scores of rows given column by column: shape (rows,) or (rows, 1), float64.

        Args:
            columns: One array of numbers a column, in order.

        Raises:
            Exception: Whatever the model raises.
        """
        return np.asarray(self._predict(np.column_stack(columns).astype(np.float64)), dtype=np.float64)
