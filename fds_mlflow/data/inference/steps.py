"""Numbers as times: seconds since 1970 in any unit, days of a spreadsheet, steps since an unknown start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fds_mlflow.data.inference import names
from fds_mlflow.data.inference.time_formats import Moments, in_order

_Numbers = np.ndarray[Any, np.dtype[np.float64]]

_FIRST, _LAST = 631_152_000.0, 2_082_758_400.0  # 1990 and 2036 in seconds since 1970
_SHEET = 25_569  # days from 1899-12-30, where spreadsheets begin, to 1970
_MICROS = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6, "min": 60e6, "h": 3_600e6, "d": 86_400e6}
_WORDS = {
    "d": frozenset({"day", "days", "tag"}),
    "h": frozenset({"hour", "hours"}),
    "min": frozenset({"minute", "minutes", "min"}),
    "ms": frozenset({"ms", "millis", "milliseconds"}),
    "s": frozenset({"seconds", "second", "sec", "secs"}),
}
_NAMED_A_STEP = frozenset({"step", "time", "timestep", "dt", "elapsed", "seconds"}) | names.OF_TRANSACTION
"""A name of such words alone is that of a time, whatever the order of the rows."""
_SPAN = names.MEASURE - names.TIME | {"between", "since", "diff", "first", "last", "avg", "session"}


@dataclass(frozen=True)
class Count:
    """Numbers read as a time.

    Attributes:
        unit: What they count.
        origin: Where they count from; None for 1970.
        moments: The times.
        reason: What speaks for it.
        doubts: What it could not tell.
        absolute: Whether where they count from is known.
    """

    unit: str
    origin: str | None
    moments: Moments
    reason: str
    doubts: tuple[str, ...] = ()
    absolute: bool = True


def epoch(name: str, numbers: _Numbers) -> Count | None:
    """Numbers that are of the size of a time since 1970 in some unit, or of a day in a spreadsheet."""
    known = numbers[~np.isnan(numbers)]
    if not len(known) or not (
        names.has(name, names.TIME) or (in_order(_as_moments(numbers)) > 0.99 and len(known) > 50)
    ):
        return None
    low, high = float(known.min()), float(known.max())
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)):
        if low < high and low >= _FIRST * scale and high <= _LAST * scale:
            moments = _moments(numbers, unit)
            first, last = np.nanmin(moments), np.nanmax(moments)
            return Count(unit, None, moments, f"numbers of the size of {unit} since 1970: {first} to {last}")
    days = 86_400.0
    if names.has(name, names.TIME) and low >= _FIRST / days + _SHEET and high <= _LAST / days + _SHEET:
        moments = _moments(numbers - _SHEET, "d")
        reason = f"days as spreadsheets count them, from 1899-12-30: {low:g} to {high:g}"
        return Count("d", "1899-12-30T00:00:00", moments, reason)
    return None


def counted(name: str, numbers: _Numbers) -> Count | None:
    """Numbers that grow from row to row, named like a time: steps since a start that the file does not tell."""
    known = numbers[~np.isnan(numbers)]
    if len(known) < 2 or known.min() < 0 or known.max() == known.min():
        return None
    if not names.has(name, names.TIME) or names.has(name, _SPAN):
        return None
    order = in_order(_as_moments(numbers))
    if not _climbs(known) and not (_NAMED_A_STEP.issuperset(names.words(name)) and known.max() > 60):
        return None
    unit, reason, doubt = _unit(name, known)
    said = f"it counts {known.min():g} to {known.max():g}; {order:.0%} of the rows are in order so; {reason}"
    start = (
        f"when {name!r} begins to count: 1970-01-01 stands in for it, so weekends and nights mean nothing; set"
        " time_origin if you know it"
    )
    doubts = (start, *((doubt,) if doubt else ()))
    return Count(unit, None, _moments(numbers, unit), said, doubts, absolute=False)


def _climbs(known: _Numbers) -> bool:
    """Whether the numbers grow from the first row to the last; hours of a day grow too, and begin again."""
    below = np.maximum.accumulate(known) - known
    return float(np.mean(below > 0.05 * (known.max() - known.min()))) < 0.02


def _unit(name: str, known: _Numbers) -> tuple[str, str, str]:
    """The unit of a step, what speaks for it, and what remains in doubt."""
    named = next((unit for unit, words in _WORDS.items() if names.has(name, words)), None)
    if named is not None:
        return named, f"its name says the unit ({named})", ""
    last = float(known.max())
    whole = bool((known == np.floor(known)).all())
    if not whole or last > 20_000:
        unit = "ms" if last > 1e9 else "s"
        return unit, f"too fine for hours, so {unit}", f"the unit of {name!r}: {unit} is a guess by its size"
    cycle = _cycle(known)
    if cycle is not None:
        lag, strength = cycle
        unit = "h" if lag == 24 else "d"
        return unit, f"the rows a step repeat after {lag} (correlation {strength:.2f}), so it counts {unit}", ""
    unit = "d" if 62 <= last <= 400 or (last < 62 and last > 24 and names.has(name, frozenset({"day"}))) else "h"
    rival = "h" if unit == "d" else "d"
    return (
        unit,
        "no daily or weekly rhythm tells the unit",
        f"the unit of {name!r}: {unit} is a guess, {rival} its rival",
    )


def _cycle(known: _Numbers) -> tuple[int, float] | None:
    """The rhythm of the rows a step: after 24 steps, as hours have it, or after 7, as days have it."""
    counts = np.bincount((known - known.min()).astype(np.int64)).astype(np.float64)
    if len(counts) < 48:
        return None
    strength = {lag: _correlation(counts, lag) for lag in (5, 7, 17, 24, 31)}
    if strength[24] > 0.3 and strength[24] > strength[17] + 0.15 and strength[24] > strength[31]:
        return 24, strength[24]
    if strength[7] > 0.3 and strength[7] > strength[5] + 0.15:
        return 7, strength[7]
    return None


def _correlation(counts: _Numbers, lag: int) -> float:
    early, late = counts[:-lag], counts[lag:]
    if len(early) < 8 or early.std() == 0 or late.std() == 0:
        return 0.0
    return float(np.corrcoef(early, late)[0, 1])


def _moments(numbers: _Numbers, unit: str) -> Moments:
    micros = numbers * _MICROS[unit]
    missing = np.isnan(micros) | (np.abs(micros) > 2.0**62)
    made: Moments = np.datetime64(0, "us") + np.where(missing, 0.0, micros).astype(np.int64).astype("timedelta64[us]")
    made[missing] = np.datetime64("NaT")
    return made


def _as_moments(numbers: _Numbers) -> Moments:
    """Numbers in the form of times, for their order alone."""
    known = numbers[~np.isnan(numbers)]
    ranks = np.unique(known, return_inverse=True)[1]
    return np.datetime64(0, "us") + ranks.astype("timedelta64[us]")
