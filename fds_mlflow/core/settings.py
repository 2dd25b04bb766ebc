"""Settings as people write them: known keys, names, durations such as 1h30m."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

from fds_mlflow.errors import ConfigError

E = TypeVar("E", bound=StrEnum)

_UNITS = (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_TEXT = re.compile("".join(rf"(?:([0-9]+){unit})?" for unit, _ in _UNITS))


def to_duration(name: str, value: Any) -> timedelta:
    """A duration of whole seconds from a text such as "1h30m", or from a timedelta.

    Args:
        name: The setting, for the message.
        value: Weeks, days, hours, minutes and seconds (w, d, h, m, s), in this order.

    Raises:
        ConfigError: The value is no such text, is negative, too long, or has fractions of a second.
    """
    found = _TEXT.fullmatch(value) if isinstance(value, str) and value else None
    try:
        if found is not None:
            value = timedelta(seconds=sum(int(n) * s for n, (_, s) in zip(found.groups("0"), _UNITS, strict=True)))
    except (OverflowError, ValueError):
        value = None
    if not isinstance(value, timedelta) or value < timedelta(0) or value.microseconds:
        raise ConfigError(
            f"{name} is {value!r}, not a duration of whole seconds", fix="write it like 30m, 12h, 7d or 1h30m"
        )
    return value


def from_duration(value: timedelta) -> str:
    """The shortest text that `to_duration` reads as this duration; fractions of a second are dropped."""
    left = value // timedelta(seconds=1)
    parts = []
    for unit, seconds in _UNITS[1:]:
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


MOST_SEED = 2**32 - 1
"""The largest seed that NumPy's generators all take."""


def check_seed(seed: int) -> None:
    """Refuse a seed that some library does not take.

    Raises:
        ConfigError: It is negative, or above `MOST_SEED`.
    """
    if not 0 <= seed <= MOST_SEED:
        raise ConfigError(f"the seed is {seed}", fix=f"choose a whole number from 0 to {MOST_SEED}")


def check_keys(what: str, given: Iterable[Any], known: Collection[str]) -> None:
    """Refuse unknown keys, and name the known key that was probably meant.

    Raises:
        ConfigError: A key is not among the known ones.
    """
    unknown = sorted({str(key) for key in given} - set(known))
    if not unknown:
        return
    meant = [f"{close[0]} instead of {key}" for key in unknown if (close := difflib.get_close_matches(key, known, 1))]
    fix = f"use {', '.join(meant)}; " if meant else ""
    raise ConfigError(
        f"{what} has unknown keys: {', '.join(unknown)}", fix=f"{fix}known are {', '.join(sorted(known))}"
    )


def to_enum(kind: type[E], what: str, value: Any) -> E:
    """A member from its value.

    Raises:
        ConfigError: There is no such member; names the closest one.
    """
    names = [member.value for member in kind]
    if isinstance(value, str) and value in names:
        return kind(value)
    close = difflib.get_close_matches(str(value), names, 1)
    raise ConfigError(
        f"{what} is {value!r}, which is unknown",
        fix=f"use {close[0]}" if close else f"use one of {', '.join(names)}",
    )


def short(value: Any) -> Any:
    """A whole number without its fraction."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
