"""What a value in a tag may be: one set of bounds, for what is written and for what is read.

Anybody who may write to a registry can write any tag. What breaks a bound is damaged: it counts for nothing, so that
whatever has been read can be written again, and reading takes no longer than its length asks for.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from fds_mlflow.errors import ConfigError

MAX_VALUE = 4_900
"""Characters one tag may hold. MLflow's own column holds 5,000 on PostgreSQL; SQLite would let longer ones pass."""
MAX_VERSION = 2**31 - 1
"""Highest number of a version: MLflow's column is an integer of 32 bits."""
MAX_GAP = 10**8
"""Sequence numbers that may lie between two events. Without a bound, one forged event would use up all numbers."""
MAX_EVENTS = 512
"""Events that one pack may hold."""
MAX_UNPACKED = 1_000_000
"""Bytes that the events of one pack may take once they are unpacked."""
MAX_ID = 64
"""Characters of the id of a rollout."""
MAX_BASIS = 1_000
"""Characters that who decided, and on what evidence, may take as JSON."""
MAX_LATER = 500
"""Characters that fields which this release does not know may take as JSON."""

UNREADABLE = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError),
    *(ConfigError, zlib.error),
)
"""What reading a value can raise that breaks a bound, or that an out-of-band change has made unreadable."""


def dump(values: Mapping[str, Any]) -> str:
    """Compact JSON, as tags hold it."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def parse(value: str) -> Any:
    """What a tag's JSON says; raises one of `UNREADABLE` where it is longer than a tag may be, or is none."""
    return json.loads(bounded(value), parse_constant=_no_number)


def bounded(value: str) -> str:
    """A tag's value, if it is no longer than a tag may be; raises ValueError where it is."""
    if len(value) > MAX_VALUE:
        raise ValueError(f"it has {len(value):,} characters, more than the {MAX_VALUE:,} of a tag")
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def fits(value: str, what: str) -> str:
    """The value, if a tag may hold it.

    Raises:
        ConfigError: It is longer.
    """
    if len(value) > MAX_VALUE:
        raise ConfigError(
            f"{what} takes {len(value):,} characters, more than the {MAX_VALUE:,} a registry tag may hold",
            fix="shorten the reason or the plan",
        )
    return value


def short(values: Mapping[str, Any], what: str, limit: int) -> str:
    """The values as compact JSON, if it is short enough; raises ValueError where it is not."""
    value = dump(values)
    if len(value) > limit:
        raise ValueError(f"{what} takes {len(value):,} characters, more than {limit:,}")
    return value


def text(value: Any, limit: int | None = None) -> str:
    """A value that must be a text that can be written again: no lone surrogates, and not above the limit in bytes.

    Raises:
        TypeError: It is none.
        ValueError: It has a lone surrogate, or is longer.
    """
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.100} is no text")
    size = len(value.encode())
    if limit is not None and size > limit:
        raise ValueError(f"a text of {size:,} bytes is longer than {limit:,}")
    return value


def whole(value: Any, lowest: int, highest: int) -> int:
    """A value that must be a whole number within bounds; raises TypeError or ValueError where it is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r:.100} is no whole number")
    if not lowest <= value <= highest:
        raise ValueError(f"a number is not within {lowest} and {highest}")  # printing it may take longer than reading
    return value


def version(value: Any) -> int:
    """A value that must be the number of a version; raises TypeError or ValueError where it is none."""
    return whole(value, 1, MAX_VERSION)


def maybe_version(value: Any) -> int | None:
    """As `version`, for what may be about none."""
    return None if value is None else version(value)


def moment(value: Any) -> datetime:
    """A value that must be a time with its zone, in UTC; raises TypeError or one of `UNREADABLE` where it is none."""
    made = datetime.fromisoformat(text(value))
    if made.tzinfo is None:
        raise ValueError(f"{value!r:.100} has no time zone")
    return made.astimezone(UTC)


def later(values: Mapping[str, Any], known: Collection[str]) -> str:
    """The fields that this release does not know, as JSON, to be written again as they were; "" where there are none.

    Raises:
        ValueError: They are longer than `MAX_LATER`.
    """
    unknown = {key: value for key, value in values.items() if key not in known}
    return short(unknown, "what a later release has written", MAX_LATER) if unknown else ""
