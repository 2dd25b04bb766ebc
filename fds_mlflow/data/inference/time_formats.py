"""How a textual time is written: the formats that read all of a column's values, the best supported first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Moments = np.ndarray[Any, np.dtype[np.datetime64]]

_ISO = re.compile(r"^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?$")
_OFFSET = re.compile(r"(?:Z|[+-]\d\d(?::?\d\d)?)$")
_CLOCK = re.compile(r"(?<!\d)(\d{1,2})([:.h])(\d{2})(?:([:.])(\d{2})([.,]\d{1,9})?)?(?:(\s?)([AaPp][Mm]))?(?!\d)")
_DIGITS = re.compile(r"(\d{8})([ T_-])(\d{4}|\d{6})")
_DATE = re.compile(r"^(?:[A-Za-z]{3},?\s)?(\w+?)([-/. ]\s?|,\s?)(\w+?)([-/. ]\s?|,\s)(\w+)$")
_COMPACT = {
    6: ("%y%m%d", "%d%m%y", "%m%d%y"),
    8: ("%Y%m%d", "%d%m%Y", "%m%d%Y"),
    12: ("%Y%m%d%H%M",),
    14: ("%Y%m%d%H%M%S",),
}
_ORDERS = (("y", "m", "d"), ("d", "m", "y"), ("m", "d", "y"), ("y", "d", "m"))
_EARLIEST, _LATEST = np.datetime64("1900-01-02"), np.datetime64("2199-12-30")
_FIRST = 400


@dataclass(frozen=True)
class Format:
    """A way to read a textual time.

    Attributes:
        text: In the signs of `strptime`; None for ISO 8601.
        moments: What it reads, one a row, UTC where there are offsets; NaT where there is no value.
        order: Share of the rows whose time is not before that of the row above, or not after if that is more.
        rivals: Other formats, and how many values they cannot read: none where they read all of them too.
        offsets: Whether the values carry an offset from UTC.
    """

    text: str | None
    moments: Moments
    order: float
    rivals: tuple[tuple[str, int], ...] = ()
    offsets: bool = False

    @property
    def ambiguous(self) -> list[str]:
        """Formats that read all of the values too."""
        return [rival for rival, unread in self.rivals if not unread]


def find_format(texts: pd.Series[str]) -> Format | None:
    """The format that reads all values of a column, None values apart; None if there is none.

    Of several the one that puts the rows in order is taken, and of those the one of the shortest period.
    """
    known = texts.dropna()
    if known.empty:
        return None
    unique = pd.Series(known.str.strip().unique())
    first = unique.iloc[:: max(1, len(unique) // _FIRST)]
    if first.map(lambda text: _ISO.match(text) is not None).all():
        return _iso(texts, unique)
    candidates = list(dict.fromkeys(_candidates(str(first.iloc[0]))))
    if not candidates:
        return None
    unread = {item: _unread(first, item) for item in candidates}
    readings = [made for item in candidates if not unread[item] and (made := _read(texts, unique, item)) is not None]
    if not readings:
        return None
    best = min(enumerate(readings), key=lambda item: (-round(item[1].order, 2), _span(item[1]), item[0]))[1]
    whole = {made.text for made in readings}
    rivals = tuple((item, 0 if item in whole else unread[item] or 1) for item in candidates if item != best.text)
    return Format(best.text, best.moments, best.order, rivals, "%z" in (best.text or ""))


def _iso(texts: pd.Series[str], unique: pd.Series[str]) -> Format | None:
    clock = unique[unique.str.len() > 10]
    offsets = clock.str.contains(_OFFSET.pattern, regex=True)
    if offsets.any() and not offsets.all():
        return None
    moments = _moments(texts, unique, None)
    return None if moments is None else Format(None, moments, in_order(moments), offsets=bool(offsets.any()))


def _read(texts: pd.Series[str], unique: pd.Series[str], item: str) -> Format | None:
    moments = _moments(texts, unique, item)
    return None if moments is None else Format(item, moments, in_order(moments))


def _moments(texts: pd.Series[str], unique: pd.Series[str], item: str | None) -> Moments | None:
    """Read all values, each different one once; None if one cannot be read."""
    read = pd.to_datetime(unique, format=item or "ISO8601", errors="coerce", utc=True).dt.tz_localize(None)
    if read.isna().any():
        return None
    values = read.to_numpy().astype("datetime64[us]")
    if (values < _EARLIEST).any() or (values > _LATEST).any():
        return None
    place = pd.Index(unique).get_indexer(pd.Index(texts.str.strip()))
    made: Moments = np.where(place < 0, np.datetime64("NaT", "us"), values[place])
    return made


def _unread(values: pd.Series[str], item: str) -> int:
    return int(pd.to_datetime(values, format=item, errors="coerce", utc=True).isna().sum())


def _span(made: Format) -> float:
    known = made.moments[~np.isnat(made.moments)]
    return float((known.max() - known.min()).astype(np.int64))


def in_order(moments: Moments) -> float:
    """Share of neighbours in order, up or down, whichever is more."""
    known = moments[~np.isnat(moments)]
    if len(known) < 2:
        return 1.0
    steps = np.diff(known).astype(np.int64)
    return max(float(np.mean(steps >= 0)), float(np.mean(steps <= 0)))


def _candidates(text: str) -> Iterator[str]:
    """The formats that a value may be written in."""
    if text.isdigit():
        yield from _COMPACT.get(len(text), ())
        return
    digits = _DIGITS.fullmatch(text)
    if digits is not None:
        yield from (f"{date}{digits[2]}{'%H%M%S'[: len(digits[3])]}" for date in _COMPACT[8])
        return
    clocks = list(_CLOCK.finditer(text))  # 01.02.26 is a date unless it stands behind one
    clock = next((found for found in clocks if found[2] != "."), None)
    clock = clock or next((found for found in clocks if found.start() > 5), None)
    if clock is None:
        yield from _dates(text)
        return
    before, after = text[: clock.start()], text[clock.end() :]
    yield from _around(before, _clock(clock), after)


def _around(before: str, clock: str, after: str) -> Iterator[str]:
    """The formats of a date before a time of day, around it or after it."""
    if not before:
        yield from (f"{clock}{after[: -len(after.lstrip(' ,'))]}{item}" for item in _dates(after.lstrip(" ,")) if after)
        return
    if re.fullmatch(r" \d{4}", after):
        yield from (f"{item[:-3]} {clock} %Y" for item in _dates(before.rstrip() + after) if item.endswith(" %Y"))
        return
    date, zone = before.rstrip(" T,:-"), _zone(after)
    if zone is not None and date:
        yield from (f"{item}{before[len(date) :]}{clock}{zone}" for item in _dates(date))


def clock_format(texts: Sequence[str]) -> str | None:
    """The format of a time of day, None if the values are none."""
    if not texts:
        return None
    found = _CLOCK.fullmatch(texts[0].strip())
    if found is None:
        return None
    item = _clock(found)
    return (
        item if not _unread(pd.Series([f"2000-01-01 {text.strip()}" for text in texts]), f"%Y-%m-%d {item}") else None
    )


def _clock(found: re.Match[str]) -> str:
    hour = "%I" if found[8] else "%H"
    seconds = f"{found[4]}%S" if found[5] else ""
    fraction = f"{found[6][0]}%f" if found[6] else ""
    half = f"{found[7]}%p" if found[8] else ""
    return f"{hour}{found[2]}%M{seconds}{fraction}{half}"


def _zone(rest: str) -> str | None:
    """The format of what follows the time of day."""
    if not rest.strip():
        return rest
    bare = rest.strip()
    space = rest[: len(rest) - len(rest.lstrip())]
    if bare in ("UTC", "GMT"):
        return f"{space}{bare}"
    return f"{space}%z" if re.fullmatch(_OFFSET, bare) else None


def _dates(text: str) -> Iterator[str]:
    found = _DATE.match(text)
    if found is None:
        yield from _COMPACT.get(len(text), ()) if text.isdigit() else ()
        return
    weekday = text[: found.start(1)]
    lead = weekday.replace(weekday[:3], "%a") if weekday else ""
    parts = found[1], found[3], found[5]
    for order in _ORDERS:
        signs = [_sign(kind, part) for kind, part in zip(order, parts, strict=True)]
        if all(signs):
            yield f"{lead}{signs[0]}{found[2]}{signs[1]}{found[4]}{signs[2]}"


def _sign(kind: str, part: str) -> str | None:
    """The sign of `strptime` for a part of a date, if it can be that."""
    if part.isalpha():
        return None if kind != "m" else "%b" if len(part) == 3 else "%B"
    if not part.isdigit():
        return None
    if kind == "y":
        return {4: "%Y", 2: "%y"}.get(len(part))
    return f"%{kind}" if len(part) <= 2 else None
