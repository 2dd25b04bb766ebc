"""A source's columns become the canonical columns, or an error that names the column, the rows and the fix.

Everything is converted in Arrow, column by column and role by role, because a detour through pandas' inference
changes values silently: integer codes with one missing value become floats, ``"007"`` becomes 7, ``"NA"`` (Namibia)
becomes missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.core.text.duration import parse_duration
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import DataError

_MISSING_NUMBERS = ["", "NA", "NaN", "nan", "N/A", "null", "NULL", "None"]
_LARGEST_EXACT = 2.0**53  # the largest float64 up to which every whole number is exact
_EARLIEST, _LATEST = np.datetime64("1900-01-01", "us"), np.datetime64("2200-01-01", "us")
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}


@dataclass(frozen=True)
class Where:
    """What messages call the rows at hand: all of a source, or one stretch of it."""

    source: str
    rows: int
    first: int | None = None

    def __str__(self) -> str:
        if self.first is None:
            return f"in {self.rows:,} rows of {self.source}"
        return f"in rows {self.first + 1:,} to {self.first + self.rows:,} of {self.source}"

    def row(self, position: int) -> str:
        """Name one row, counting from 1."""
        return f"row {(self.first or 0) + position + 1:,}"


@dataclass(frozen=True)
class _Column:
    """One source column on its way to its role."""

    name: str
    role: str
    data: pa.ChunkedArray
    where: Where

    def __str__(self) -> str:
        return f"column {self.name!r}" + (f" ({self.role})" if self.role != self.name else "")

    def fail(self, bad: np.ndarray[Any, Any], what: str, fix: str) -> DataError:
        """Describe the rows where `bad` is true: how many, the first one, and its value."""
        first = int(np.argmax(bad))
        value = self.data[first].as_py()
        shown = "" if value is None else f" (first: {str(value)[:60]!r} in {self.where.row(first)})"
        shown = shown or f" (first: {self.where.row(first)})"
        return DataError(f"{self} holds {int(bad.sum()):,} {what} {self.where}{shown}", fix=fix)


def canonical(table: pa.Table, schema: Schema, where: Where) -> pd.DataFrame:
    """Turn source columns into the canonical frame.

    Args:
        table: The source's columns, at least those that the schema names.
        schema: Which column plays which role.
        where: What messages call these rows.

    Returns:
        One row per row, in the same order: ``transaction_id`` (str), ``time`` (datetime64[us], UTC, naive), ``amount``
        (float64), one str column per entity role, ``label`` (int8) and ``label_known_at`` (datetime64[us], NaT =
        never) where the schema has them, numeric extras (float64), categorical extras (str).

    Raises:
        DataError: A column does not fit its role.
    """
    if table.num_rows == 0:
        raise DataError(f"{where.source} has no rows", fix="check the file, the table or the query's condition")
    names = schema.columns()
    column = {role: _Column(name, role, _plain(table[name]), where) for role, name in names.items()}
    out: dict[str, Any] = {}
    if schema.transaction_id is None:
        start = where.first or 0
        numbers = pa.array(np.arange(start, start + table.num_rows))
        out["transaction_id"] = _to_str(numbers.cast(pa.string()))
    else:
        out["transaction_id"] = _ids(column["transaction_id"])
    out["time"] = _required_times(column["time"], schema)
    out["amount"] = _numbers(column["amount"], required=True)
    for role in schema.entities:
        out[role] = _to_str(_codes(column[role]))
    if schema.label is not None:
        out["label"] = _labels(column["label"])
        if schema.label_known_at is not None:
            out["label_known_at"] = _known_times(column["label_known_at"], schema, out["time"])
        elif schema.label_delay is not None:
            out["label_known_at"] = out["time"] + np.timedelta64(parse_duration(schema.label_delay))
    for name in schema.numeric:
        out[name] = _numbers(column[name], required=False)
    for name in schema.categorical:
        out[name] = _to_str(_codes(column[name]))
    return pd.DataFrame(out)


def _plain(data: pa.ChunkedArray) -> pa.ChunkedArray:
    """Undo dictionary encoding and string views, and give an all-null column a type."""
    if pa.types.is_dictionary(data.type):
        data = data.cast(data.type.value_type)
    if pa.types.is_null(data.type) or pa.types.is_string_view(data.type) or pa.types.is_large_string(data.type):
        data = data.cast(pa.string())
    return data


def _to_str(data: pa.ChunkedArray | pa.Array) -> pd.Series[str]:
    return pd.Series(pd.array(data, dtype="str"))


def _codes(column: _Column) -> pa.ChunkedArray:
    """Codes as text: whole numbers keep their digits, empty text is missing."""
    data, kind = column.data, column.data.type
    if pa.types.is_string(kind):
        return pc.if_else(pc.equal(data, ""), pa.scalar(None, pa.string()), data)
    if pa.types.is_floating(kind):
        values = data.to_numpy().astype(np.float64)
        lost = np.abs(values) >= _LARGEST_EXACT
        if lost.any():
            raise column.fail(
                lost,
                "codes stored as floats too large to be exact",
                "store the column as text or as a 64-bit integer; the digits are already lost in this source",
            )
        whole = np.isnan(values) | (values == np.floor(values))
        if whole.all():
            # Whole numbers only: floats because some are missing. 123.0 is the code 123.
            return pc.cast(pc.cast(pa.array(values, from_pandas=True), pa.int64()), pa.string())
        return pc.cast(pa.array(values, from_pandas=True), pa.string())
    try:
        return pc.cast(data, pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise DataError(
            f"{column} holds values of type {kind} {column.where}, which are no codes",
            fix="store it as text or as an integer, or leave it out of the schema",
        ) from None


def _ids(column: _Column) -> pd.Series[str]:
    codes = _codes(column)
    missing = np.asarray(pc.is_null(codes))
    if missing.any():
        raise column.fail(
            missing,
            "missing ids",
            "give every transaction an id, or set transaction_id: null to number the rows",
        )
    return _to_str(codes)


def _floats(column: _Column) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Any numeric or textual column as float64, NaN where missing."""
    data, kind = column.data, column.data.type
    if pa.types.is_string(kind):
        text = pc.utf8_trim_whitespace(data)
        text = pc.if_else(pc.is_in(text, value_set=pa.array(_MISSING_NUMBERS)), pa.scalar(None, pa.string()), text)
        try:
            return _array(pc.cast(text, pa.float64()))
        except pa.ArrowInvalid:
            parsed = pd.to_numeric(text.to_pandas(), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
            bad = np.isnan(parsed) & ~pc.is_null(text).to_numpy()
            raise column.fail(
                bad,
                "values that are not numbers",
                "write numbers with a decimal point and no thousands separators or currency signs, "
                "or name another column in the schema",
            ) from None
    if pa.types.is_boolean(kind):
        return _array(pc.cast(pc.cast(data, pa.int8()), pa.float64()))
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return _array(pc.cast(data, pa.float64(), safe=False))
    raise DataError(
        f"{column} holds values of type {kind} {column.where}, not numbers",
        fix="name a numeric column in the schema, or convert this one",
    )


def _array(data: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.float64]]:
    values: np.ndarray[Any, np.dtype[np.float64]] = data.to_numpy()
    return values


def _numbers(column: _Column, *, required: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = _floats(column) + 0.0  # + 0.0 turns -0.0 into 0.0, so that equal content has an equal digest
    infinite = np.isinf(values)
    if infinite.any():
        raise column.fail(infinite, "infinite values", "replace them or leave them empty")
    if required and (missing := np.isnan(values)).any():
        raise column.fail(missing, "NaN", "fill in the amounts, or leave those rows out")
    return values


def _labels(column: _Column) -> np.ndarray[Any, np.dtype[np.int8]]:
    data = column.data
    if pa.types.is_string(data.type):
        words = pc.utf8_lower(pc.utf8_trim_whitespace(data))
        data = pc.if_else(
            pc.equal(words, "true"),
            "1",
            pc.if_else(pc.equal(words, "false"), "0", pc.utf8_trim_whitespace(data)),
        )
    values = _floats(_Column(column.name, column.role, data, column.where))
    missing = np.isnan(values)
    if missing.any():
        raise column.fail(
            missing,
            "missing labels (NaN)",
            "leave out transactions without a label, or leave 'label' out of the schema",
        )
    bad = (values != 0) & (values != 1)
    if bad.any():
        raise column.fail(bad, "labels other than 0 and 1", "map the labels to 1 (fraud) and 0 (genuine)")
    return values.astype(np.int8)


def _required_times(column: _Column, schema: Schema) -> pd.Series[pd.Timestamp]:
    times = _times(column, schema)
    missing = times.isna().to_numpy()
    if missing.any():
        raise column.fail(missing, "missing times", "fill in the times, or leave those rows out")
    return times


def _known_times(column: _Column, schema: Schema, time: pd.Series[pd.Timestamp]) -> pd.Series[pd.Timestamp]:
    known = _times(column, schema)
    early = (known < time).to_numpy()
    if early.any():
        raise column.fail(
            early,
            "labels known before their transaction took place",
            "check the two columns' time zones, or leave the label's time empty where it is not known",
        )
    return known


def _times(column: _Column, schema: Schema) -> pd.Series[pd.Timestamp]:
    """Times as UTC, naive, microseconds (finer digits are cut off); NaT where missing."""
    kind = column.data.type
    if schema.time_unit is not None:
        times = _numeric_times(column, schema, schema.time_unit)
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        unit = pa.timestamp("us", tz=getattr(kind, "tz", None))
        times = _utc(pd.Series(pc.cast(column.data, unit, safe=False).to_pandas()), column, schema)
    elif pa.types.is_string(kind):
        times = _text_times(column, schema)
    else:
        raise DataError(
            f"{column} holds values of type {kind} {column.where}, not times",
            fix="for numbers set time_unit: s, ms or us in the schema; else store timestamps or ISO 8601 text",
        )
    values = times.to_numpy().astype("datetime64[us]")
    odd = (values < _EARLIEST) | (values >= _LATEST)
    if odd.any():
        raise column.fail(odd, "times outside the years 1900 to 2199", "check time_unit and time_origin in the schema")
    return pd.Series(values)


def _numeric_times(column: _Column, schema: Schema, unit: str) -> pd.Series[pd.Timestamp]:
    if pa.types.is_timestamp(column.data.type) or pa.types.is_date(column.data.type):
        raise DataError(
            f"{column} holds timestamps {column.where}, but the schema gives time_unit: {unit}",
            fix="leave time_unit out of the schema",
        )
    if pa.types.is_integer(column.data.type):
        # In integers as long as possible: a float of microseconds since 1970 is exact, but only just.
        micros = (column.data.to_pandas().astype("Int64") * (1_000_000 // _PER_SECOND[unit])).astype("Int64")
        missing = micros.isna().to_numpy()
        whole = micros.fillna(0).to_numpy(dtype=np.int64)
    else:
        values = _floats(column) * (1_000_000 // _PER_SECOND[unit])
        missing = np.isnan(values)
        absurd = np.abs(values) > 2.0**62
        if absurd.any():
            raise column.fail(absurd, "times beyond any calendar", "check time_unit in the schema")
        whole = np.round(np.where(missing, 0.0, values)).astype(np.int64)
    steps = whole.astype("timedelta64[us]")
    steps[missing] = np.timedelta64("NaT")
    if schema.time_origin is None:
        return pd.Series(np.datetime64(0, "us") + steps)
    origin = datetime.fromisoformat(schema.time_origin)
    start = pd.Timestamp(origin)
    start = start.tz_localize(schema.time_zone or "UTC") if start.tzinfo is None else start
    return pd.Series(start.tz_convert("UTC").tz_localize(None).to_datetime64().astype("datetime64[us]") + steps)


def _text_times(column: _Column, schema: Schema) -> pd.Series[pd.Timestamp]:
    text = pc.utf8_trim_whitespace(column.data)
    text = pc.if_else(pc.is_in(text, value_set=pa.array(_MISSING_NUMBERS)), pa.scalar(None, pa.string()), text)
    frame = text.to_pandas()
    try:
        times = pd.to_datetime(frame, format="ISO8601", errors="coerce")
    except ValueError:
        # Several offsets, such as summer and winter time: fine as long as every row has one.
        offset = frame.str.contains(r"\d[T ]\d\d.*(?:[zZ]|[+-]\d\d(?::?\d\d)?)$", regex=True, na=True).to_numpy(
            dtype=bool
        )
        if not offset.all():
            raise column.fail(
                ~offset, "times without an offset among times with one", "give every time an offset, or none"
            ) from None
        times = pd.to_datetime(frame, format="ISO8601", errors="coerce", utc=True)
    bad = times.isna().to_numpy() & ~pc.is_null(text).to_numpy()
    if bad.any():
        raise column.fail(
            bad,
            "values that are not times",
            "write ISO 8601 (2026-01-31T23:59:59), or set time_unit in the schema for numbers",
        )
    return _utc(times, column, schema)


def _utc(times: pd.Series[pd.Timestamp], column: _Column, schema: Schema) -> pd.Series[pd.Timestamp]:
    if times.dt.tz is None and schema.time_zone is not None:
        try:
            times = times.dt.tz_localize(schema.time_zone, ambiguous=np.ones(len(times), dtype=bool))
        except ValueError as error:
            raise DataError(
                f"{column} holds a time that does not exist in {schema.time_zone} {column.where}: {error}",
                fix="check time_zone in the schema: that hour was skipped when the clocks went forward",
            ) from None
    return times if times.dt.tz is None else times.dt.tz_convert("UTC").dt.tz_localize(None)
