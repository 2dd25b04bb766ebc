"""Durations and rates: read as people write them, and written as people read them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from fds_mlflow.errors import ConfigError

_UNITS = (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_TEXT = re.compile("".join(rf"(?:([0-9]+){unit})?" for unit, _ in _UNITS))
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?) ?/ ?(s|sec|m|min|h|d|w)")
_PER = {**dict(_UNITS), "sec": 1, "min": 60}
_SHOWN = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))

LONGEST = timedelta(days=36_525)
"""A century: no bake time or window is longer, and no moment of these days leaves the calendar by it."""

LIKE = "write it like 30m, 12h, 7d or 1h30m"
LIKE_RATE = "write it like 50/s, 2000/m or 1e6/d"


def parse_duration(text: str) -> timedelta:
    """A duration of whole seconds from weeks, days, hours, minutes and seconds (w, d, h, m, s), in this order.

    Raises:
        ValueError: The text is none, or longer than a century.
    """
    found = _TEXT.fullmatch(text)
    if not text or found is None:
        raise ValueError(f"{text[:200]!r} is not a duration: {LIKE}")
    try:
        made = timedelta(seconds=sum(int(n) * s for n, (_, s) in zip(found.groups("0"), _UNITS, strict=True)))
    except (OverflowError, ValueError):  # Python reads no number of more than 4,300 digits
        made = timedelta.max
    if made > LONGEST:
        raise ValueError(f"{text[:40]!r} is longer than {LONGEST.days:,} days: {LIKE}")
    return made


def to_duration(name: str, value: Any) -> timedelta:
    """A duration of whole seconds from a text such as "1h30m", or from a timedelta.

    Args:
        name: The setting, for the message.
        value: The text, as `parse_duration` takes it, or a timedelta.

    Raises:
        ConfigError: The value is no such text, is negative, too long, or has fractions of a second.
    """
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError:
            pass
    elif isinstance(value, timedelta) and timedelta(0) <= value <= LONGEST and not value.microseconds:
        return value
    raise ConfigError(
        f"{name} is {value!r}, not a duration of whole seconds, of {LONGEST.days:,} days at most"[:400], fix=LIKE
    )


def from_duration(value: timedelta) -> str:
    """The shortest text that `to_duration` reads as this duration; fractions of a second are dropped."""
    left = value // timedelta(seconds=1)
    parts = []
    for unit, seconds in _UNITS[1:]:
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def describe_duration(value: timedelta) -> str:
    """A duration for people: its largest unit and the next one, "1 h 30 min"; less than nothing is "0 s"."""
    seconds = max(0, round(value.total_seconds()))
    counts = []
    for unit, size in _SHOWN:
        count, seconds = divmod(seconds, size)
        counts.append((count, unit))
    first = next((place for place, (count, _) in enumerate(counts) if count), len(counts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in counts[first : first + 2] if count) or "0 s"


def to_rate(name: str, value: Any) -> float:
    """A rate per second from a text such as "50/s", "2000/m" or "1e6/d".

    Args:
        name: The setting, for the message.
        value: A number, a slash, and s, m, h, d or w; `sec` and `min` are understood as well.

    Raises:
        ConfigError: The value is no such text, or not above zero.
    """
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    rate = float(found[1]) / _PER[found[2]] if found is not None else 0.0
    if not 0 < rate < float("inf"):
        raise ConfigError(f"{name} is {value!r}, not a rate above zero", fix=LIKE_RATE)
    return rate
