"""From plain values to columns of MLflow's types: what does not fit exactly is refused, and never cut off or made up.

Source of the types: https://mlflow.org/docs/latest/ml/model/signatures/
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

EXACT = frozenset({"long", "integer", "boolean"})
"""Types whose values are checked one by one: a gap, a fraction or a number out of range is none of them."""

_SIZES = {"long": 2**63, "integer": 2**31}


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
    if kind not in EXACT:
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
        numbers = [math.nan if value is None else value for value in values]
        return np.array(numbers, dtype=np.float64 if kind == "double" else np.float32)
    if kind in ("long", "integer"):
        whole = np.array(values, dtype=np.int64 if kind == "long" else np.int32)
        if any(value != number for value, number in zip(values, whole.tolist(), strict=True)):
            raise ValueError("a column of whole numbers holds a fraction")  # NumPy would cut it off
        return whole
    if kind == "boolean" and any(value is None for value in values):
        raise ValueError("a column of booleans has a gap")  # NumPy would make it false
    return np.array(values, dtype=np.bool_ if kind == "boolean" else np.object_)
