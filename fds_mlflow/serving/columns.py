"""From plain values to columns of MLflow's types: what does not fit exactly is refused, and never cut off or made up.

Source of the types: https://mlflow.org/docs/latest/ml/model/signatures/
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

DTYPES: Mapping[str, type[np.generic]] = {
    "double": np.float64,
    "float": np.float32,
    "long": np.int64,
    "integer": np.int32,
    "boolean": np.bool_,
}
"""MLflow's types of columns that hold numbers or booleans, and how NumPy calls them."""

_EXACT = frozenset({"long", "integer", "boolean"})
"""Those in which a gap, a fraction or a number out of range has no place."""


_SIZES = {"long": 2**63, "integer": 2**31}


def exact(inputs: Mapping[str, str]) -> list[tuple[int, str]]:
    """Place and type of each column whose values are to be checked one by one before a row is scored."""
    return [(place, kind) for place, kind in enumerate(inputs.values()) if kind in _EXACT]


def check(value: Any, kind: str) -> None:
    """See whether one value is of a type, as `column` does for many.

    Args:
        value: None for a gap.
        kind: MLflow's name of a type of numbers or booleans.

    Raises:
        TypeError: It is a text.
        ValueError: It is a gap, a fraction or out of range where there may be none.
        OverflowError: It is infinite where there are whole numbers only.
    """
    if isinstance(value, str | bytes):
        raise TypeError(f"{value[:50]!r} is a text where a number belongs")
    if kind not in _EXACT:
        return
    if value is None:
        raise ValueError(f"a column of {'booleans' if kind == 'boolean' else 'whole numbers'} has a gap")
    if kind != "boolean" and not (value == int(value) and -_SIZES[kind] <= value < _SIZES[kind]):
        raise ValueError(f"{value!r} is no whole number of the type {kind}")


def column(values: Sequence[Any], kind: str) -> Any:
    """A column of values as an array of MLflow's type: shape (rows,).

    Args:
        values: None for a gap.
        kind: MLflow's name of the type.

    Raises:
        TypeError, ValueError: A value is not of the type, or a gap where there may be none.
    """
    if kind in ("double", "float"):
        return np.array([math.nan if value is None else value for value in values], dtype=DTYPES[kind])
    if kind in ("long", "integer"):
        whole = np.array(values, dtype=DTYPES[kind])
        if any(value != number for value, number in zip(values, whole.tolist(), strict=True)):
            raise ValueError("a column of whole numbers holds a fraction")  # NumPy would cut it off
        return whole
    if kind == "boolean" and any(value is None for value in values):
        raise ValueError("a column of booleans has a gap")  # NumPy would make it false
    return np.array(values, dtype=DTYPES.get(kind, np.object_))
