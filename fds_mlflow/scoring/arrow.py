"""Rows of Arrow's as a version takes them: whole columns at once, and the values that `/score` makes of each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.data.column import plain
from fds_mlflow.data.frames import code_array
from fds_mlflow.errors import DataError
from fds_mlflow.scoring.columns import DTYPES, MISSING, cell, column, from_text
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.scoring.requests.rows import Batch, Piece

Array = npt.NDArray[Any]

_WHOLE = {"long": pa.int64(), "integer": pa.int32()}
_NOTHING = pa.array(sorted(MISSING))


def scores(loaded: Loaded, rows: pa.RecordBatch, *, text: bool = False) -> npt.NDArray[np.float64]:
    """The scores of rows: shape (rows,), float64 in [0, 1].

    Args:
        loaded: The version.
        rows: Its columns among others.
        text: The rows come from a file of text, whose fields say so where there is no value.

    Raises:
        DataError: A column is missing, a value does not fit its type, or the model raises or breaks the contract.
    """
    require(loaded, rows.schema.names)
    if loaded.loose:
        frame = rows.select([name for name in loaded.names if name in rows.schema.names] or rows.schema.names)
        batch = Batch(frame.to_pandas())
        return loaded.rows([Piece(batch, place) for place in range(len(batch))])
    return loaded.columns(columns(loaded, rows, text=text), rows.num_rows)


def require(loaded: Loaded, there: list[str]) -> None:
    """Refuse rows that lack a column which the version needs.

    Raises:
        DataError: They do; names all of them.
    """
    missing = [name for name in loaded.names if name in loaded.required and name not in there]
    if missing:
        raise DataError(
            f"version {loaded.version} needs columns that the rows do not have: {', '.join(missing)}",
            fix="give its features, or raw transactions with all columns of the schema that it declares",
        )


def columns(loaded: Loaded, rows: pa.RecordBatch, *, text: bool = False) -> dict[str, Array | None]:
    """What a version scores of rows, by column of its signature: as arrays, codes spelled; None for one left out.

    Args:
        loaded: The version.
        rows: As for `scores`.
        text: As for `scores`.

    Raises:
        DataError: A value does not fit its column's type.
    """
    return {
        name: _array(rows.column(name), name, "code" if name in loaded.codes else kind, text)
        if name in rows.schema.names
        else None
        for name, kind in loaded.inputs.items()
    }


def listed(values: Array | None, size: int) -> list[Any]:
    """A column of `columns` as a list of Python's values, None for gaps."""
    if values is None:
        return [None] * size
    if values.dtype.kind == "f":
        return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124 - a NaN is a gap
    return list(values.tolist())


def filled(data: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of a file of text, null where its field says that there is no value."""
    if not pa.types.is_string(data.type):
        return data
    return pc.if_else(pc.is_in(data, value_set=_NOTHING), pa.scalar(None, pa.string()), data)


def _array(given: pa.Array, name: str, kind: str, text: bool) -> Array:
    """A column as the type has it."""
    data = plain(pa.chunked_array([given]))
    if kind == "code" and not pa.types.is_nested(data.type):
        return _objects(code_array(data, name))
    data = filled(data) if text else data
    quick = _quick(data, kind, text)
    if quick is not None:
        return quick
    try:
        values = data.to_pylist()
        if text:
            values = [from_text(value, kind) if isinstance(value, str) else value for value in values]
        return np.asarray(column([cell(value, kind) for value in values], "string" if kind == "code" else kind))
    except ValueError as error:
        raise DataError(
            f"column {name!r} does not fit: {error}", fix=f"give values of the type {kind} there, as it was trained on"
        ) from None


def _quick(data: pa.ChunkedArray, kind: str, text: bool) -> Array | None:
    """A column whose values all plainly fit; None where each must be looked at."""
    if kind == "string":
        return _objects(data) if pa.types.is_string(data.type) else None
    try:
        if kind in ("double", "float"):
            if not (_is_number(data) or (text and pa.types.is_string(data.type))):
                return None
            return np.asarray(pc.cast(data, pa.float64(), safe=False).to_numpy().astype(DTYPES[kind], copy=False))
        if data.null_count == 0 and kind in _WHOLE and pa.types.is_integer(data.type):
            return np.asarray(pc.cast(data, _WHOLE[kind]).to_numpy())
    except pa.ArrowInvalid:
        return None
    plainly = kind == "boolean" and pa.types.is_boolean(data.type) and data.null_count == 0
    return np.asarray(data.to_numpy()) if plainly else None


def _is_number(data: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_integer(data.type) or pa.types.is_floating(data.type))


def _objects(data: pa.ChunkedArray) -> Array:
    found = np.empty(len(data), dtype=object)
    found[:] = data.to_pylist()
    return found
