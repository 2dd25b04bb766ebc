"""One column of a source on its way to its role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.data.problems import Problem, Refused
from fds_mlflow.data.schema import Schema

NO_VALUE = ("", "NA", "NaN", "nan", "N/A", "null", "NULL", "None")
"""Texts that stand for a missing number, time or label; a code may be NA (Namibia)."""


@dataclass(frozen=True)
class Column:
    """Values of one source column.

    Attributes:
        name: The column's.
        role: What the schema takes it for.
        data: Its values.
        schema: Says how they are written.
        rows: Each value's row in the source, from 0; -1 where rows have no order.
    """

    name: str
    role: str
    data: pa.ChunkedArray
    schema: Schema
    rows: npt.NDArray[np.int64]

    def __str__(self) -> str:
        return f"column {self.name!r}" + (f" ({self.role})" if self.role != self.name else "")

    def refused(self, bad: Any, what: str, fix: str) -> Refused:
        """Describe the values where `bad` is true: how many, the first one, and its row."""
        mask = np.asarray(bad, dtype=bool)
        first = int(np.argmax(mask))
        try:
            value = self.data[first].as_py()
        except (OverflowError, ValueError):  # a moment that Python has no datetime for
            value = None
        row, said = int(self.rows[first]) + 1, [] if value is None else [repr(str(value)[:60])]
        said += [f"row {row:,}"] if row > 0 else []
        shown = f" (first: {' in '.join(said)})" if said else ""
        return Refused(Problem(str(self), what, fix, int(mask.sum()), shown))

    def wrong(self, what: str, fix: str) -> Refused:
        """Describe what is wrong with the column as a whole."""
        return Refused(Problem(str(self), what, fix))

    def text(self) -> pa.ChunkedArray:
        """A textual column without the spaces around its values, null where one stands for nothing."""
        text = pc.utf8_trim_whitespace(self.data)
        nothing = pc.is_in(text, value_set=pa.array([*NO_VALUE, *self.schema.missing]))
        return pc.if_else(nothing, pa.scalar(None, pa.string()), text)


def plain(data: pa.ChunkedArray) -> pa.ChunkedArray:
    """Undo dictionary encoding and string views, and give a column without any value a type."""
    if pa.types.is_dictionary(data.type):
        data = data.cast(data.type.value_type)
    if pa.types.is_null(data.type) or pa.types.is_string_view(data.type) or pa.types.is_large_string(data.type):
        data = data.cast(pa.string())
    return data


def empty(data: pa.ChunkedArray, schema: Schema) -> npt.NDArray[np.bool_]:
    """Where a column says nothing."""
    if pa.types.is_string(data.type):
        nothing = pc.is_in(pc.utf8_trim_whitespace(data), value_set=pa.array(["", *schema.missing]))
        data = pc.if_else(nothing, pa.scalar(None, pa.string()), data)
    elif pa.types.is_floating(data.type):
        return np.asarray(pc.is_null(data, nan_is_null=True))
    return np.asarray(pc.is_null(data))
