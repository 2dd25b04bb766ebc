"""Columns of times, as people and programs write them: UTC, naive, microseconds (finer digits are cut off)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.data.column import Column
from fds_mlflow.data.numbers import floats
from fds_mlflow.data.origin import origin
from fds_mlflow.data.problems import Refused

_EARLIEST, _LATEST = np.datetime64("1900-01-01", "us"), np.datetime64("2200-01-01", "us")
_BEYOND = 2.0**62
"""Microseconds that no calendar reaches, and whose sums still fit into 64 bits."""

MICROSECONDS = {
    "ns": 1e-3,
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
"""Of each unit of `Schema.time_unit`."""

_OFFSET = r"(?:[T ]\d\d|:\d\d(?:\.\d+)?)\s?(?:[zZ]|UTC|GMT|[+-]\d\d(?::?\d\d)?)$"


def times(column: Column, aware: set[bool]) -> pd.Series[pd.Timestamp]:
    """A column's values as times: datetime64[us], UTC, NaT where missing.

    Args:
        column: The column; text, timestamps, dates, or numbers where the schema gives a unit.
        aware: Whether times of this source so far carried an offset; what this column has is added.

    Raises:
        Refused: They are no times, lie outside the years 1900 to 2199, or some carry an offset and others do not.
    """
    kind = column.data.type
    if column.schema.time_unit is not None:
        return _checked(column, _of_numbers(column, column.schema.time_unit))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        found = _of_timestamps(column)
        aware.add(getattr(kind, "tz", None) is not None)
    elif pa.types.is_string(kind):
        found, offsets = _of_text(column)
        aware |= offsets
    else:
        raise column.wrong(
            f"values of type {kind}, not times,",
            "for numbers set time_unit: ns, us, ms, s, min, h or d in the schema; else store timestamps or text",
        )
    if len(aware) > 1:
        raise mixed(column)
    return _checked(column, found)


def mixed(column: Column) -> Refused:
    """Some stretches of a column say in which zone they are, and others do not."""
    return column.wrong("times without an offset among times with one", "give every time an offset, or none")


def _checked(column: Column, found: pd.Series[pd.Timestamp]) -> pd.Series[pd.Timestamp]:
    """In UTC without saying so; refuses years in which no transaction was."""
    aware = found.dt.tz is not None
    values = (found.dt.tz_convert(None) if aware else found).to_numpy().astype("datetime64[us]")
    odd = (values < _EARLIEST) | (values >= _LATEST)
    if odd.any():
        raise column.refused(
            odd,
            "times outside the years 1900 to 2199",
            "check time_unit, time_origin and time_format in the schema; a date that stands for none goes to missing",
        )
    naive = pd.Series(values)
    zone = column.schema.time_zone
    if aware or zone is None or column.schema.time_unit is not None:
        return naive
    there = naive.dt.tz_localize(zone, ambiguous=np.ones(len(naive), dtype=bool), nonexistent="NaT")
    skipped = there.isna().to_numpy() & ~naive.isna().to_numpy()
    if skipped.any():
        raise column.refused(
            skipped,
            f"times that do not exist in {zone} (its clocks went forward over them)",
            "name the zone that these times are in as time_zone; leave it out where they are UTC",
        )
    return there.dt.tz_convert("UTC").dt.tz_localize(None)


def _of_timestamps(column: Column) -> pd.Series[pd.Timestamp]:
    data, kind = column.data, column.data.type
    if pa.types.is_timestamp(kind) and kind.unit == "s":
        # Seconds reach beyond microseconds, and the cast would say nothing.
        seconds = pc.cast(pc.cast(data, pa.int64()), pa.float64(), safe=False).to_numpy()
        _refuse_absurd(column, seconds * 1e6)
    return pd.Series(pc.cast(data, pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False).to_pandas())


def _refuse_absurd(column: Column, micros: npt.NDArray[np.float64]) -> None:
    absurd = np.abs(micros) > _BEYOND
    if absurd.any():
        raise column.refused(absurd, "times beyond any calendar", "check time_unit in the schema")


def _of_numbers(column: Column, unit: str) -> pd.Series[pd.Timestamp]:
    """Counted from the origin, in whole numbers as long as possible: a float of microseconds is exact only just."""
    kind = column.data.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        raise column.wrong(f"timestamps, but the schema gives time_unit: {unit}", "leave time_unit out of the schema")
    values = floats(column)
    _refuse_absurd(column, values * MICROSECONDS[unit])
    start = origin(column.schema.time_origin, column.schema.time_zone)
    _refuse_absurd(column, values * MICROSECONDS[unit] + float(start.astype(np.int64)))
    missing = np.isnan(values)
    whole = _integers(column.data)
    if whole is None:
        micros = np.round(np.where(missing, 0.0, values) * MICROSECONDS[unit]).astype(np.int64)
    else:
        micros = whole // 1_000 if unit == "ns" else whole * int(MICROSECONDS[unit])
    steps = micros.astype("timedelta64[us]")
    steps[missing] = np.timedelta64("NaT")
    return pd.Series(start + steps)


def _integers(data: pa.ChunkedArray) -> npt.NDArray[np.int64] | None:
    """Whole numbers in all their digits, 0 where missing; None where some are not whole."""
    if pa.types.is_string(data.type):
        text = pc.utf8_trim_whitespace(data)
        if not pc.all(pc.match_substring_regex(text, r"^-?\d{1,19}$")).as_py():
            return None
        try:
            data = pc.cast(text, pa.int64())
        except pa.ArrowInvalid:  # out of its range
            return None
    if not pa.types.is_integer(data.type):
        return None
    return np.asarray(pc.fill_null(pc.cast(data, pa.int64()), 0).to_numpy())


def _of_text(column: Column) -> tuple[pd.Series[pd.Timestamp], set[bool]]:
    """Parsed text, and whether its times carry an offset."""
    text = column.text()
    frame, style = text.to_pandas(), column.schema.time_format
    found = _parsed(frame, style, utc=False)
    if found.dtype.kind != "M":
        # Several offsets, such as summer and winter time: fine as long as every row has one.
        offset = np.asarray(pc.match_substring_regex(text, _OFFSET).fill_null(True))
        if not offset.all():
            raise column.refused(
                ~offset, "times without an offset among times with one", "give every time an offset, or none"
            )
        found = _parsed(frame, style, utc=True)
    bad = found.isna().to_numpy() & ~np.asarray(pc.is_null(text))
    if bad.any():
        what = "values that are not times" if style is None else f"values that are not times like {style}"
        raise column.refused(
            bad,
            what,
            "say in the schema how they are written, such as time_format: '%d.%m.%Y %H:%M'; set time_unit for "
            "numbers; texts that stand for none go to missing",
        )
    return found, set() if found.isna().all() else {found.dt.tz is not None}


def _parsed(frame: pd.Series[Any], style: str | None, *, utc: bool) -> pd.Series[Any]:
    """No times where the texts have several offsets: pandas 3 refuses them, pandas 2 warns and gives Python's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return pd.to_datetime(frame, format=style or "ISO8601", errors="coerce", utc=utc)
    except ValueError:
        return frame
