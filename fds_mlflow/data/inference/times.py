"""Which column, or which columns together, tell when a transaction took place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from fds_mlflow.data.inference import names, steps
from fds_mlflow.data.inference.columns import Column
from fds_mlflow.data.inference.time_formats import Format, Moments, clock_format, find_format, in_order


@dataclass(frozen=True)
class Reading:
    """A way to read the time of the rows.

    Attributes:
        columns: The columns, joined by a space.
        moments: What is read, one a row of the sample.
        keys: `time_format`, `time_unit` and `time_origin`, as far as they are needed.
        reason: What speaks for it.
        doubts: What it could not tell, in sentences.
        offsets: Whether the times carry an offset from UTC.
        absolute: Whether the times are those of a calendar, not counted from an unknown start.
    """

    columns: tuple[str, ...]
    moments: Moments
    keys: dict[str, str]
    reason: str
    doubts: tuple[str, ...] = ()
    offsets: bool = False
    absolute: bool = True

    @property
    def name(self) -> str:
        """The columns, for people."""
        return " and ".join(map(repr, self.columns))

    @property
    def missing(self) -> int:
        """Rows of the sample without a time."""
        return int(np.isnat(self.moments).sum())

    @property
    def to_the_day(self) -> bool:
        """Whether all are midnights."""
        known = self.moments[~np.isnat(self.moments)]
        return bool((known.astype("datetime64[D]") == known).all())


def readings(columns: dict[str, Column]) -> list[Reading]:
    """Every way to read a time from one column or from several."""
    found = [made for column in columns.values() if (made := _one(column)) is not None]
    return [*_joined(columns, found), *found]


def choose(found: list[Reading]) -> Reading | None:
    """The reading that most likely is the transaction's own time: by name, by the time of day, by the rows' order."""
    fitting = [item for item in found if not item.missing and item.moments.min() < item.moments.max()]
    return max(fitting, key=_rank, default=None)


def _rank(item: Reading) -> tuple[float, int]:
    name = " ".join(item.columns)
    points = 4.0 * names.has(name, names.OF_TRANSACTION) - 6.0 * names.has(name, names.OTHER_TIME)
    points += 3.0 * (not item.to_the_day) + 2.0 * (in_order(item.moments) >= 0.99) + names.has(name, names.TIME)
    points += 2.0 * item.absolute + 2.0 * (len(item.columns) > 1) - 8.0 * names.holds(name, names.CASE)
    return points, int(np.mean(item.moments.astype(np.int64)))


def _one(column: Column) -> Reading | None:
    """A column's own reading."""
    if column.moments is not None:
        return Reading((column.name,), column.moments, {}, f"timestamps of type {column.kind}", offsets=column.zoned)
    if column.numbers is not None:
        compact = _compact(column)
        return compact if compact is not None else _number(column)
    made = find_format(column.texts)
    if made is None:
        return None
    return _text((column.name,), made, column.example)


def _compact(column: Column) -> Reading | None:
    """Digits that are a date, such as 20260131: where the name says so, they are times and neither numbers nor ids."""
    if not names.has(column.name, names.TIME) or column.texts.dropna().map(len).nunique() != 1:
        return None
    if len(str(column.example)) not in (8, 12, 14):
        return None
    made = find_format(column.texts)
    return None if made is None else _text((column.name,), made, column.example)


def _text(columns: tuple[str, ...], made: Format, example: str) -> Reading:
    shown = f"such as {example!r}"
    if made.text is None:
        return Reading(columns, made.moments, {}, f"ISO 8601, {shown}", offsets=made.offsets)
    refuted = [f"{rival!r} cannot read {unread:,} of the values tried" for rival, unread in made.rivals if unread]
    doubts: tuple[str, ...] = ()
    if made.ambiguous:
        others = " and ".join(map(repr, made.ambiguous))
        doubts = (
            f"the order of day, month and year of {' and '.join(map(repr, columns))}: {others} would read every value"
            f" too; {made.text!r} puts {made.order:.0%} of the rows in order, over the shorter period",
        )
    reason = f"{shown}; {made.order:.0%} of the rows are in order so; " + ("; ".join(refuted) or "no rival")
    return Reading(columns, made.moments, {"time_format": made.text}, reason, doubts, made.offsets)


def _number(column: Column) -> Reading | None:
    assert column.numbers is not None
    found = steps.epoch(column.name, column.numbers) or steps.counted(column.name, column.numbers)
    if found is None:
        return None
    keys = {"time_unit": found.unit} | ({"time_origin": found.origin} if found.origin else {})
    return Reading((column.name,), found.moments, keys, found.reason, found.doubts, absolute=found.absolute)


def _joined(columns: dict[str, Column], found: list[Reading]) -> list[Reading]:
    """Dates with a time of day beside them, and years, months and days of their own."""
    clocks = [(c, f) for c in columns.values() if (f := _clock(c)) is not None]
    dates = [item for item in found if item.to_the_day and item.absolute and not item.offsets and not item.missing]
    made = [r for item in dates if (r := _with_clock(columns, item, clocks)) is not None]
    parts = _calendar(columns)
    if parts is not None:
        made += [r for r in (_with_clock(columns, parts, clocks), parts) if r is not None]
    return made


def _clock(column: Column) -> str | None:
    """The format of a column that is a time of day."""
    if column.missing:
        return None
    if column.numbers is None:
        unique = column.texts.dropna().unique()
        return clock_format([str(text) for text in unique[:2_000]])
    whole = column.integers and column.numbers.min() >= 0 and column.numbers.max() <= 23
    return "%H" if whole and names.has(column.name, frozenset({"hour", "hr", "stunde", "hora"})) else None


def _with_clock(columns: dict[str, Column], date: Reading, clocks: list[tuple[Column, str]]) -> Reading | None:
    """A date together with the time of day that most likely is its own: by a word in common, else the first."""
    own = [(c, f) for c, f in clocks if c.name not in date.columns]
    if not own:
        return None
    shared = set(names.words(" ".join(date.columns)))
    column, form = max(own, key=lambda item: (len(shared & set(names.words(item[0].name))), item[1] != "%H"))
    item = f"{date.keys.get('time_format', '%Y-%m-%d')} {form}"
    first = columns[date.columns[0]]
    texts = first.texts if first.moments is None else first.texts.str[:10]  # a day stored as its midnight
    for name in (*date.columns[1:], column.name):
        texts = texts + " " + columns[name].texts
    moments = _parse(texts, item)
    if moments is None:
        return None
    parts = (*date.columns, column.name)
    keys = {"time_format": item}
    return replace(date, columns=parts, moments=moments, keys=keys, reason=f"{date.reason}; the time of day beside it")


def _calendar(columns: dict[str, Column]) -> Reading | None:
    """Year, month and day in columns of their own."""
    parts = [
        _part(columns, *each) for each in (("year", 1900, 2199, "%Y"), ("month", 1, 12, "%m"), ("day", 1, 31, "%d"))
    ]
    if any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]
    texts = known[0][0].texts + " " + known[1][0].texts + " " + known[2][0].texts
    item = " ".join(form for _, form in known)
    moments = _parse(texts, item)
    if moments is None:
        return None
    reason = f"year, month and day in columns of their own, such as {texts.iloc[0]!r}"
    return Reading(tuple(column.name for column, _ in known), moments, {"time_format": item}, reason)


def _part(columns: dict[str, Column], word: str, least: int, most: int, form: str) -> tuple[Column, str] | None:
    for column in columns.values():
        if names.words(column.name)[-1:] != [word] or column.missing:
            continue
        if column.numbers is None:
            named = word == "month" and column.texts.str.fullmatch(r"[A-Z][a-z]{2,}").all()
            if named:
                return column, "%b" if column.texts.str.len().max() == 3 else "%B"
        elif column.integers and least <= column.numbers.min() and column.numbers.max() <= most:
            return column, form
    return None


def _parse(texts: pd.Series[Any], item: str) -> Moments | None:
    read = pd.to_datetime(texts, format=item, errors="coerce", utc=True).dt.tz_localize(None)
    return None if read.isna().any() else read.to_numpy().astype("datetime64[us]")
