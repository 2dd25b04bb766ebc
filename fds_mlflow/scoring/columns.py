"""From plain values to columns of MLflow's types: what does not fit exactly is refused, and never cut off or made up.

Source of the types: https://mlflow.org/docs/latest/ml/model/signatures/
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import numpy as np

from fds_mlflow.core.keys import EXACT
from fds_mlflow.data.codes import code
from fds_mlflow.errors import DataError

DTYPES: Mapping[str, type[np.generic]] = {
    "double": np.float64,
    "float": np.float32,
    "long": np.int64,
    "integer": np.int32,
    "boolean": np.bool_,
}
"""MLflow's types of columns that hold numbers or booleans, and how NumPy calls them."""

PLAIN = frozenset(DTYPES) | {"string"}
"""Types whose values are read one by one; requests with any other type are read by MLflow itself."""

NUMBERS = frozenset({"double", "float", "long", "integer"})

_EXACT = frozenset({"long", "integer", "boolean"})
"""Those in which a gap, a fraction or a number out of range has no place."""


_SIZES = {"long": 2**63, "integer": 2**31}

DECODED: Mapping[str, Any] = {
    "double": float | None,
    "float": float | None,
    "string": str | None,
    "boolean": bool,
    **{kind: Annotated[int, msgspec.Meta(ge=-size, le=size - 1)] for kind, size in _SIZES.items()},
}
"""What a value of each plain type is in JSON that needs no second look."""

MISSING = frozenset(
    [
        *["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"],
        *["<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"],
    ]
)
"""Fields of CSV that say that there is no value: those of `pandas.read_csv`, by which MLflow's server reads it."""


def from_text(field: str, kind: str) -> Any:
    """What a field of CSV says, as JSON would, for `cell` to take."""
    if field in ("",) if kind == "code" else field in MISSING:  # the code NA is Namibia
        return None
    if kind == "boolean":
        return {"true": True, "false": False, "1": 1, "0": 0, "1.0": 1, "0.0": 0}.get(field.strip().lower(), field)
    return field


def cell(value: Any, kind: str) -> Any:
    """One value as a column of a plain type takes it: what MLflow's server makes of it, where that loses nothing.

    Args:
        value: As JSON, CSV or Parquet has it; None for a gap, and so is NaN, which MLflow writes into its examples.
        kind: MLflow's name of the type, or "code" for a column of strings that are codes.

    Raises:
        ValueError: It does not fit; says why.
    """
    if kind not in _EXACT and (value is None or (isinstance(value, float) and math.isnan(value))):
        return None
    try:
        if kind in ("double", "float"):
            return _real(value)
        if kind == "boolean":
            return _boolean(value)
        if kind in _SIZES:
            return _whole(value, kind)
        return _string(code(value) if kind == "code" and isinstance(value, (bool, int, float, Decimal)) else value)
    except (TypeError, ValueError, ArithmeticError, DataError):  # ArithmeticError is Decimal's
        raise ValueError(f"{_shown(value)} is {_WANTED[kind]}") from None


_WANTED = {
    "double": "no number",
    "float": "no number",
    "long": "no whole number of 64 bits",
    "integer": "no whole number of 32 bits",
    "boolean": "neither true nor false",
    "string": "no text",
    "code": "neither text nor a number",
}


def _shown(value: Any) -> str:
    said = "null" if value is None else repr(value)
    return said if len(said) <= 50 else f"{said[:50]}..."


def _real(value: Any) -> float:
    if isinstance(value, str) and "_" in value:
        raise ValueError("Python takes that, and nobody else does")
    if not isinstance(value, (int, float, str, Decimal)):
        raise TypeError(value)
    return float(value)


def _whole(value: Any, kind: str) -> int:
    if isinstance(value, str) and "_" not in value:
        value = Decimal(value)
    size = min(EXACT, _SIZES[kind]) if isinstance(value, float) else _SIZES[kind]  # beyond it has lost digits already
    if not isinstance(value, (int, float, Decimal)) or not -size <= value < size:
        raise ValueError(value)
    if value != int(value):
        raise ValueError(value)
    return int(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, (int, float)) or value not in (0, 1):
        raise ValueError(value)
    return bool(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    value.encode()  # a lone surrogate is no text
    return value


def labels(schema: Any) -> dict[str, Any]:
    """What a signature calls the columns whose names are no text, by their name as text, which JSON has alone.

    Args:
        schema: MLflow's schema of the input; None where there is none.
    """
    names = schema.input_names() if schema is not None and schema.has_input_names() else []
    return {str(name): name for name in names if not isinstance(name, str)}


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
