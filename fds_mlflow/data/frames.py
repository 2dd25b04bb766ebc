"""Columns of DataFrames, and of rows of Python's values, as Arrow's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from fds_mlflow.core.keys import spelled
from fds_mlflow.data.codes import codes
from fds_mlflow.data.column import Column, plain
from fds_mlflow.data.problems import Refused
from fds_mlflow.data.request import Request
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import DataError
from fds_mlflow.runtime.text_column import text_column

_ROWS = 500_000
_OF_ONE_KIND = frozenset(
    {"string", "boolean", "integer", "floating", "mixed-integer-float", "decimal", "empty", "bytes"}
)


def tables(frame: pd.DataFrame, request: Request) -> Iterator[pa.Table]:
    """Yield a frame's rows in order, a stretch at a time.

    Raises:
        DataError: It lacks a column.
    """
    wanted = request.wanted(list(frame.columns))
    for start in range(0, max(1, len(frame)), _ROWS):
        stretch = frame.iloc[start : start + _ROWS]
        yield pa.table({str(name): array(stretch[name]) for name in wanted})
        request.report(start + len(stretch), len(frame))


def array(series: pd.Series[Any]) -> pa.Array | pa.ChunkedArray:
    """A column as Arrow's array; what is of several kinds (3 and "A7") as text, as a text file would have it.

    Raises:
        DataError: A text has half a character (a lone surrogate), which no file holds.
    """
    try:
        return _array(series)
    except UnicodeEncodeError as error:
        raise DataError(
            f"column {series.name!r} holds {error.object[:50]!r}, which is not valid Unicode",
            fix="leave out the lone surrogate",
        ) from None


def _array(series: pd.Series[Any]) -> pa.Array | pa.ChunkedArray:
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        # Without the zone pyarrow takes the values as they are; the cast only names the zone they are in.
        return pa.array(series.dt.tz_convert(None), from_pandas=True).cast(pa.timestamp(series.dt.unit, tz="UTC"))
    if series.dtype != object or pd.api.types.infer_dtype(series, skipna=True) in _OF_ONE_KIND:
        try:
            return pa.array(series, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            pass
    # Arrow would cut times to days and drop their offsets where a column has several kinds of them.
    return pa.array([_text(value) for value in series], pa.string())


def code_column(series: pd.Series[Any]) -> pd.Series[str]:
    """A column as codes, spelled as those that a version was trained on: str, missing where there is none.

    Raises:
        DataError: It holds what is no code.
    """
    found = code_array(plain(pa.chunked_array([array(series)])), str(series.name))
    return text_column(found, index=series.index, name=series.name)


def code_array(data: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """The same of a column of Arrow's that is plain, by its name: strings, null where there is none.

    Raises:
        DataError: It holds what is no code.
    """
    try:
        return codes(Column(name, name, data, _NOTHING, np.arange(len(data))))
    except Refused as refused:
        raise DataError(refused.problem.sentence(f"in {len(data):,} rows"), fix=refused.problem.fix) from None


_NOTHING = Schema(transaction_id=None, time=None, amount=None)


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, date):  # and datetime
        return None if pd.isna(value) else value.isoformat()
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else spelled(value)
