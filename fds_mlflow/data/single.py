"""One transaction at a time, as a request has it: what a source of this one row would give.

Values that are plainly typed are taken as they are. Whatever is not quite so plain (numbers in text, times in formats
of their own, an hour that occurs twice) goes the way of every source, through `Canonical`, in some milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import isfinite, nan
from typing import Any

from fds_mlflow.data.codes import code
from fds_mlflow.data.moments import micros_of
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import DataError

_YEARS = range(1900, 2200)
_PLAIN_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?", re.ASCII).fullmatch
_EXACT = 2**53
_HALF = re.compile("[\ud800-\udfff]").search
"""Half a character (a lone surrogate): Python's texts may have one, and no file, so that batch could not follow."""

LABELS = ("label", "label_values", "label_known_at", "label_delay", "labels_mature", "label_propensity")
LATER = (*LABELS, "arrived_at")
"""Keys of a schema about what is not known when a transaction takes place."""


class _NotPlainError(Exception):
    """A value goes the usual way."""


class Single:
    """Reads single transactions by a schema.

    Args:
        schema: Of the transactions; what it says of labels and of arrivals is left out.

    Attributes:
        columns: The columns that a transaction has to have.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = Schema.of(**{name: value for name, value in _values(schema).items() if name not in LATER})
        self.columns = tuple(self._schema.columns())
        reading: dict[str, Callable[[Any], Any]] = {
            "transaction_id": self._id,
            "time": self._time,
            "amount": self._amount,
            **dict.fromkeys(schema.entities, self._code),
            **dict.fromkeys(schema.categorical, self._code),
            **dict.fromkeys(schema.numeric, self._number),
        }
        roles = self._schema.roles()
        self._plain = all(len(names) == 1 for names in roles.values())
        self._reading = [(role, names[0], reading[role]) for role, names in roles.items()]
        self._missing = frozenset(schema.missing)

    def read(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The canonical values of a transaction.

        Args:
            row: Its columns, as JSON has them: text, numbers, booleans and None; others are passed over.

        Returns:
            By canonical name: ``transaction_id`` (str), ``time`` (int, microseconds since 1970, UTC), ``amount`` and
            numeric columns (float, NaN where missing), entities and categories (str, None where missing).

        Raises:
            DataError: A column is not there, or a value does not fit.
        """
        absent = [name for name in self.columns if name not in row]
        if absent:
            raise DataError(
                f"the transaction lacks the column {', '.join(absent)}",
                fix="send every column of the schema; null where there is no value",
            )
        if self._plain:
            try:
                return {role: read(row[name]) for role, name, read in self._reading}
            except _NotPlainError:
                pass
        return self._usual(row)

    # --- plainly typed -------------------------------------------------------------------------------------

    def _code(self, value: Any) -> str | None:
        if value is None or value.__class__ not in (str, int, bool) or value in self._missing:
            if value is None:
                return None
            raise _NotPlainError
        if value.__class__ is str and not value.isascii() and _HALF(value):
            raise _NotPlainError
        return code(value)

    def _id(self, value: Any) -> str:
        found = self._code(value)
        if found is None:
            raise _NotPlainError
        return found

    def _number(self, value: Any) -> float:
        if value is None:
            return nan
        if value.__class__ is float:
            if isfinite(value):
                return float(value) + 0.0
        elif value.__class__ is int and -_EXACT <= value <= _EXACT:
            return float(value)
        raise _NotPlainError

    def _amount(self, value: Any) -> float:
        if value is None:
            raise _NotPlainError
        return self._number(value)

    def _time(self, value: Any) -> int:
        schema = self._schema
        if value.__class__ is not str or schema.time_format is not None or schema.time_unit is not None:
            raise _NotPlainError
        plain = _PLAIN_TIME(value)
        if plain is None or (plain[2] is None and schema.time_zone is not None):
            raise _NotPlainError
        try:
            found = datetime.fromisoformat(value)
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError):  # no such day, or none that has a year in UTC
            raise _NotPlainError from None
        if found.year not in _YEARS:
            raise _NotPlainError
        return micros_of(found)

    # --- as every source -----------------------------------------------------------------------------------

    def _usual(self, row: Mapping[str, Any]) -> dict[str, Any]:
        import pandas as pd
        import pyarrow as pa

        from fds_mlflow.data.canonical import Canonical
        from fds_mlflow.data.frames import array

        for name in self.columns:
            if isinstance(row[name], list | tuple | dict):
                raise DataError(f"column {name!r} holds a list or an object", fix="send text or a number, or null")
        columns = (pd.Series([row[name]], dtype=object, name=name) for name in self.columns)
        given = {column.name: pa.chunked_array([array(column)]) for column in columns}
        reading = Canonical(self._schema, "the transaction")
        frame = reading.frame(pa.table(given))
        reading.finish()
        assert frame is not None
        first = frame.iloc[0].items()
        found: dict[str, Any] = {str(name): None if pd.isna(value) else value for name, value in first}
        for name in ("amount", *self._schema.numeric):
            if name in found:
                found[name] = nan if found[name] is None else float(found[name])
        found["time"] = int(frame["time"].to_numpy().astype("datetime64[us]").astype("int64")[0])
        if self._schema.transaction_id is None:
            del found["transaction_id"]
        return found


def _values(schema: Schema) -> dict[str, Any]:
    return {name: getattr(schema, name) for name in type(schema).model_fields}
