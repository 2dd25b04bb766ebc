"""Checks of one value of one record: it is returned as the store takes it, or refused with the fix."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from fds_mlflow.display.characters import acting

Choice = TypeVar("Choice", bound=StrEnum)


INTEGER_MAX = 2**31 - 1
"""The largest whole number that a column takes."""


class RefusedValueError(Exception):
    """One value of one record is not valid; carries what is wrong and the fix."""


# Each check lets the usual value pass at once: a server stores thousands of records a second.


_OF_OTHERS = ("model", "rollout_id", "error", "segment", "reasons")
"""Texts that the registry or a model chose: an outcome is not lost because of them."""


def text(name: str, value: Any, longest: int) -> str:
    """A text that every database stores and that does nothing to whoever lists it."""
    if type(value) is str and 0 < len(value) <= longest and value.isascii() and value.isprintable():
        return value
    if not isinstance(value, str) or not value:
        raise RefusedValueError(f"{name} is {value!r}", f"give {name} as a text that is not empty")
    if len(value) > longest:
        raise RefusedValueError(f"{name} has {len(value):,} characters > {longest}", f"shorten {name}")
    if "\0" in value or (not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)):
        raise RefusedValueError(
            f"{name} holds a character no database stores: {value!r}", "remove NUL and lone surrogates"
        )
    sign = None if name in _OF_OTHERS else acting(value)
    if sign is not None:  # it would act on whoever lists it: a terminal, a report, a log
        raise RefusedValueError(f"{name} holds the control character {sign}: {value!r}", f"remove it from {name}")
    return str(value)


def choice(name: str, value: Any, allowed: type[Choice]) -> Choice:
    """One of the allowed words."""
    if type(value) is allowed:
        return value
    try:
        return allowed(value)
    except ValueError:
        raise RefusedValueError(f"{name} is {value!r}", f"use one of {', '.join(allowed)}") from None


def integer(name: str, value: Any, least: int, most: int) -> int:
    """A whole number in bounds."""
    if type(value) is int and least <= value <= most:
        return value
    try:
        number = value.__index__()
    except AttributeError:
        number = None
    if number is None or isinstance(value, bool) or not least <= number <= most:
        raise RefusedValueError(f"{name} is {value!r}", f"give {name} as a whole number from {least} to {most}")
    return int(number)


def number(name: str, value: Any, least: float, most: float) -> float:
    """A finite number in bounds."""
    if type(value) is float and least <= value <= most and value != math.inf:
        return value
    try:
        number = math.nan if isinstance(value, (str, bytes, bytearray, bool)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and least <= number <= most):
        bounds = f"from {least:g} to {most:g}" if math.isfinite(most) else f"of at least {least:g}"
        raise RefusedValueError(f"{name} is {value!r}", f"give {name} as a finite number {bounds}")
    return number


def boolean(name: str, value: Any) -> bool:
    """True or False."""
    if value is True or value is False:
        return value
    try:
        if value in (0, 1):
            return bool(value)
    except (TypeError, ValueError):  # pandas' NA, or an array
        pass
    raise RefusedValueError(f"{name} is {value!r}", f"give {name} as True or False")


def moment(name: str, value: Any) -> datetime:
    """A moment, in UTC."""
    if type(value) is datetime and value.tzinfo is UTC:
        return value
    if not isinstance(value, datetime) or value.tzinfo is None or value.utcoffset() is None:
        raise RefusedValueError(
            f"{name} is {value!r}, which has no time zone",
            "attach one: datetime.now(timezone.utc), or .replace(tzinfo=timezone.utc) if the time is in UTC",
        )
    try:
        utc = value.astimezone(UTC)
    except (OverflowError, ValueError):  # the first or last hours of the calendar, elsewhere
        raise RefusedValueError(
            f"{name} is {value!r}, which is no time in UTC", "give a time of the years 1 to 9999"
        ) from None
    if type(utc) is datetime:
        return utc
    # A pandas Timestamp is a datetime too, with nanoseconds that no driver stores: keep the microseconds.
    return datetime(utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond, tzinfo=UTC)
