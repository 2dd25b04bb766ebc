"""What people write, checked: known keys, names, seeds."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from math import inf
from typing import Any, TypeVar

from fds_mlflow.errors import ConfigError

E = TypeVar("E", bound=StrEnum)


MOST_SEED = 2**32 - 1
"""The largest seed that NumPy's generators all take."""


def check_seed(seed: int) -> None:
    """Refuse a seed that some library does not take.

    Raises:
        ConfigError: It is negative, or above `MOST_SEED`.
    """
    if not 0 <= seed <= MOST_SEED:
        raise ConfigError(f"the seed is {seed}", fix=f"choose a whole number from 0 to {MOST_SEED}")


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < inf


def check_keys(
    what: str, given: Iterable[Any], known: Collection[str], *, inside: Mapping[str, str] | None = None
) -> None:
    """Refuse unknown keys, and name the known key that was probably meant.

    Args:
        what: What has the keys, for the message.
        given: The keys.
        known: Those it may have.
        inside: Keys that belong into the value of a known one, and of which.

    Raises:
        ConfigError: A key is not among the known ones.
    """
    unknown = sorted({str(key) for key in given} - set(known))
    if not unknown:
        return
    within = inside or {}
    meant = [f"{within[key]}: {{{key}: ...}} instead of {key}" for key in unknown if key in within]
    rest = [key for key in unknown if key not in within]
    meant += [f"{close[0]} instead of {key}" for key in rest if (close := difflib.get_close_matches(key, known, 1))]
    fix = f"use {', '.join(meant)}; " if meant else ""
    raise ConfigError(
        f"{what} has unknown keys: {', '.join(unknown)}", fix=f"{fix}known are {', '.join(sorted(known))}"
    )


class RepeatedError(ValueError):
    """A key that stands twice in one JSON object.

    Attributes:
        names: The keys that do.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"it has {', '.join(names)[:200]} twice")
        self.names = names


def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object from its keys and values, for `json.loads`: one that has a key twice says two things.

    Raises:
        RepeatedError: It has one twice, of which Python would take the last.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise RepeatedError(sorted(name for name, count in counts.items() if count > 1))
    return found


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
