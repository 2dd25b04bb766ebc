"""Codes as text, spelled alike whatever road they came by: a column of 101 with gaps is one of floats in pandas, and
`101.0` in the file that pandas writes; it is `101` here, as it is where there are no gaps.

`fds_mlflow.core.keys.spelled` says how a value is written; this applies it to columns, and to codes that went through a
text file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.core.keys import EXACT, spelled
from fds_mlflow.data.column import Column

FORM = "canonical"
"""What versions record that were trained on codes spelled so; versions without a record were trained on codes as each
road gave them, and are given what they are sent."""

_WHOLE = r"^-?(0|[1-9][0-9]{0,15})\.0+$"
_BOOLEAN = r"^(?i:true|false)$"
_RESPELLED = f"({_WHOLE})|({_BOOLEAN})"
_whole = re.compile(_WHOLE, re.ASCII).match


def code(value: Any) -> str | None:
    """One value as a code: as `spelled`, and text that stands for a whole number or a boolean as that is spelled.

    Raises:
        DataError: It is a float too large to have all its digits, or no value that can be a code.
    """
    if isinstance(value, str):
        return _text(value) if value else None
    if isinstance(value, Decimal) and value.is_finite():
        return _text(f"{value:f}")  # with the digits that a text file of it has
    written = spelled(value)
    return "0" if written == "-0" else written


def _text(written: str) -> str:
    if written.endswith("0") and _whole(written):
        number = written.partition(".")[0]
        return str(int(number)) if abs(int(number)) < EXACT else written
    word = written.lower() if len(written) in (4, 5) else ""
    return word if word in ("true", "false") else written


def codes(column: Column) -> pa.ChunkedArray:
    """A column's values as codes: strings, null where there is none.

    Raises:
        Refused: They are no codes, or floats too large to have all their digits.
    """
    data, kind = column.data, column.data.type
    if pa.types.is_string(kind):
        written = _of_text(data)
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        written = pc.cast(data, pa.string())
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        written = _of_numbers(column)
    else:
        try:
            written = pc.cast(data, pa.string())
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            raise column.wrong(
                f"values of type {kind}, which are no codes,",
                "store it as text or as an integer, or leave it out of the schema",
            ) from None
    if column.schema.missing:
        nothing = pa.array([code(text) for text in column.schema.missing])
        written = pc.if_else(pc.is_in(written, value_set=nothing), pa.scalar(None, pa.string()), written)
    return written


def _of_text(data: pa.ChunkedArray) -> pa.ChunkedArray:
    """Null where empty; what stands for a whole number or a boolean as that is spelled."""
    data = pc.if_else(pc.equal(data, ""), pa.scalar(None, pa.string()), data)
    odd = pc.match_substring_regex(data, _RESPELLED)
    if not pc.any(odd).as_py():
        return data
    return _by_value(data, code)


def _of_numbers(column: Column) -> pa.ChunkedArray:
    """Floats and decimals; codes are few beside the rows that have them."""
    data = column.data
    if not pa.types.is_floating(data.type):
        return _by_value(data, code)
    values = data.to_numpy()
    lost = np.abs(values) >= 2.0 ** {16: 11, 32: 24}.get(data.type.bit_width, 53)
    if lost.any():
        raise column.refused(
            lost,
            "codes stored as floats too large to be exact",
            "store the column as text or as a 64-bit integer; the digits are already lost in this source",
        )
    return _by_value(pa.chunked_array([pa.array(values, from_pandas=True)]), _of_float)


def _of_float(value: np.floating[Any]) -> str:
    """Its shortest spelling; a float32 of 7.1 is `7.1`, where Python would write what it is as a float64."""
    return str(int(value)) if np.isfinite(value) and value == int(value) else str(value)


def _by_value(data: pa.ChunkedArray, write: Callable[[Any], str | None]) -> pa.ChunkedArray:
    """Write each distinct value once."""
    chunks = []
    for chunk in data.chunks:
        encoded = pc.dictionary_encode(chunk)
        values = encoded.dictionary.to_numpy(zero_copy_only=False)
        chunks.append(pa.array([write(value) for value in values], pa.string()).take(encoded.indices))
    return pa.chunked_array(chunks, pa.string())
