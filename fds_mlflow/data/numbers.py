"""Columns of numbers, as people and programs write them, as float64."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.data.column import Column

Floats = npt.NDArray[np.float64]

_GROUPS = {" ": "[ \u00a0\u202f]", "'": "['\u2019]"}
"""Signs between groups of digits that look alike."""

_HINTS = (
    (re.compile(r"^[^\d.,-]*-?\d{1,3}(,\d{3})+(\.\d+)?[^\d.,]*$"), 'thousands: ","'),
    (re.compile(r"^[^\d.,-]*-?\d{1,3}(\.\d{3})+(,\d+)[^\d.,]*$"), 'decimal: "," and thousands: "."'),
    (re.compile(r"^[^\d.,-]*-?\d+,\d+[^\d.,]*$"), 'decimal: ","'),
)


def numbers(column: Column, *, required: bool) -> Floats:
    """A column's values as numbers: shape (rows,), float64, NaN where missing.

    Args:
        column: The column.
        required: Whether it may have no gaps.

    Raises:
        Refused: They are none, are infinite, or there are gaps where there may be none.
    """
    values = floats(column) + 0.0  # + 0.0 turns -0.0 into 0.0, so that equal content has an equal digest
    infinite = np.isinf(values)
    if infinite.any():
        raise column.refused(infinite, "infinite values", "replace them or leave them empty")
    if required and (missing := np.isnan(values)).any():
        raise column.refused(missing, "NaN", "fill in the amounts, or leave those rows out")
    return values


def floats(column: Column) -> Floats:
    """As `numbers`, infinite values and gaps included.

    Raises:
        Refused: They are no numbers.
    """
    data, kind = column.data, column.data.type
    if pa.types.is_string(kind):
        values = _of_text(column)
    elif pa.types.is_boolean(kind):
        values = _array(pc.cast(pc.cast(data, pa.int8()), pa.float64()))
    elif pa.types.is_decimal(kind) or kind in (pa.float32(), pa.float16()):
        # By their shortest decimals, as a text file has them: 0.1 of a float32 is 0.1, and not 0.10000000149.
        values = _array(pc.cast(pc.cast(data, pa.string()), pa.float64()))
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
        values = _array(pc.cast(data, pa.float64(), safe=False))
    else:
        raise column.wrong(
            f"values of type {kind}, not numbers,", "name a numeric column in the schema, or convert this one"
        )
    absent = [float(text) for text in column.schema.missing if _is_float(text)]
    return np.where(np.isin(values, absent), np.nan, values) if absent else values


def _of_text(column: Column) -> Floats:
    text = _written(column)
    try:
        return _array(pc.cast(text, pa.float64()))
    except pa.ArrowInvalid:
        words = pc.utf8_lower(text)  # booleans, as a column of them would be numbers
        text = pc.if_else(pc.equal(words, "true"), "1", pc.if_else(pc.equal(words, "false"), "0", text))
        parsed = pd.to_numeric(text.to_pandas(), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        bad = np.isnan(parsed) & ~np.asarray(pc.is_null(text))
        if not bad.any():
            return np.asarray(parsed, dtype=np.float64)
        raise column.refused(bad, "values that are not numbers", _fix(column, bad)) from None


def _written(column: Column) -> pa.ChunkedArray:
    """Text with a decimal point and digits alone, from what the schema says of decimals, thousands and currencies.

    What does not fit stays as it is, and is no number.
    """
    schema, text = column.schema, column.text()
    if schema.currency:
        signs = "|".join(re.escape(sign) for sign in sorted(schema.currency, key=len, reverse=True))
        sign, body = rf"^(?:{signs})?\s*([+-]?)\s*(?:{signs})?\s*", rf"([^()]*?)\s*(?:{signs})?$"
        text = pc.replace_substring_regex(text, r"^\((.*)\)$", r"-\1")  # an accountant's minus
        text = pc.replace_substring_regex(text, sign + body, r"\1\2")
    if schema.thousands is None and schema.decimal == ".":
        return text
    group = _GROUPS.get(schema.thousands or "", re.escape(schema.thousands or ""))
    whole = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|\d+)" if schema.thousands else r"\d+"
    point = re.escape(schema.decimal)
    fits = pc.match_substring_regex(text, rf"^[+-]?(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?$")
    bare = pc.replace_substring_regex(text, group, "") if schema.thousands else text
    return pc.if_else(fits, pc.replace_substring(bare, schema.decimal, "."), pc.binary_join_element_wise("?", text, ""))


def _fix(column: Column, bad: Any) -> str:
    first = str(column.data[int(np.argmax(bad))].as_py()).strip()
    hints = [key for shape, key in _HINTS if shape.match(first)][:1]
    sign = re.search(r"^[^\w\s.,+-]+|[^\w\s.,%]+$|\b[A-Z]{3}\b", first)
    if sign is not None and re.search(r"\d", first):
        hints.append(f'currency: ["{sign[0]}"]')
    if hints:
        return f"say in the schema how they are written: {' and '.join(hints)}"
    return (
        "say in the schema how they are written (decimal, thousands, currency) and which texts stand for none "
        "(missing), or name another column"
    )


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _array(data: pa.ChunkedArray) -> Floats:
    values: Floats = data.to_numpy()
    return values
