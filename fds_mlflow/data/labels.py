"""The columns of labels: what their values mean, and with what chance they came."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.data.codes import code, codes
from fds_mlflow.data.column import Column
from fds_mlflow.data.numbers import Floats, numbers
from fds_mlflow.data.schema import Schema

_FRAUD, _GENUINE = ("1", "true"), ("0", "false")
_YAML = {True: ("true", "yes", "on", "1"), False: ("false", "no", "off", "0")}
"""What YAML reads as a boolean where no quotes say that it is text."""


def labels(column: Column) -> pd.Series[Any]:
    """Labels, 1 = fraud: int8, or pandas' Int8 where some rows have none.

    Raises:
        Refused: A value means neither.
    """
    words = _words(column)
    given = column.schema.label_values
    fraud = _spellings(given.fraud) if given is not None else _FRAUD
    genuine = _spellings(given.genuine) if given is not None else _GENUINE
    is_fraud = pc.is_in(words, value_set=pa.array(fraud))
    there = np.asarray(pc.is_valid(words))
    bad = there & ~np.asarray(pc.or_(is_fraud, pc.is_in(words, value_set=pa.array(genuine))))
    if bad.any():
        raise column.refused(
            bad,
            "labels other than 0 and 1" if given is None else "labels that label_values does not have",
            "say what they mean in the schema: label_values: {fraud: [...], genuine: [...]}; there are "
            + _some(column),
        )
    values = pd.Series(np.asarray(is_fraud).astype(np.int8))
    return values if there.all() else values.astype("Int8").where(there)


def chances(column: Column) -> Floats:
    """With what chance each row got its label: shape (rows,), float64; 1 where nothing is said.

    Raises:
        Refused: A value is no chance.
    """
    values = numbers(column, required=False)
    bad = (values < 0) | (values > 1)
    if bad.any():
        raise column.refused(bad, "values that are no chances", "give numbers above 0 and at most 1: 0.005 is 0.5 %")
    return np.where(np.isnan(values), 1.0, values)


def with_labels(schema: Schema) -> Schema:
    """The schema with columns for labels and their times where it names none: they come from elsewhere."""
    missing = {} if schema.label is not None else {"label": "label"}
    if schema.label_known_at is None and schema.label_delay is None and schema.time is not None:
        missing["label_known_at"] = "label_known_at"
    return schema.model_copy(update=missing)


def without_labels(schema: Schema, columns: Collection[str]) -> Schema:
    """The schema without what it says of labels, where none of their columns is among those that a source has."""
    roles = ("label", "label_known_at", "label_propensity")
    if any(getattr(schema, role) in columns for role in roles):
        return schema
    said = (*roles, "label_values", "label_delay", "labels_mature")
    return schema.model_copy(update=dict.fromkeys(said))


def _words(column: Column) -> pa.ChunkedArray:
    """Its values as codes in small letters, null where one stands for nothing."""
    text = column.text() if pa.types.is_string(column.data.type) else column.data
    return pc.utf8_lower(codes(Column(column.name, column.role, text, column.schema, column.rows)))


def _spellings(values: Iterable[str | bool | int | float]) -> list[str]:
    found: list[str] = []
    for value in values:
        found.extend(_YAML[value] if isinstance(value, bool) else [str(code(value) or "").lower()])
    return found


def _some(column: Column) -> str:
    distinct = pc.unique(column.data)
    shown = ", ".join(repr(value) for value in distinct[:6].to_pylist() if value not in (None, ""))
    return shown + (", ..." if len(distinct) > 6 else "")
