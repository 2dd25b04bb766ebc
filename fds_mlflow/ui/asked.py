"""What a page was asked for: names and numbers of its address, or a clear refusal."""

from __future__ import annotations

from dataclasses import dataclass

from fds_mlflow.errors import ConfigError

MAX_VERSION = 10**9
"""No registry counts further; a longer number is a mistake, and costs time to read."""


def word(name: str, *, most: int = 1_000) -> str:
    """A text; "" where it is not there.

    Raises:
        ConfigError: It is longer than anything of that name.
    """
    from flask import request

    found = request.values.get(name, "")
    if len(found) > most:
        raise ConfigError(f"{name} has {len(found):,} characters", fix=f"give at most {most:,}")
    return found


def number(name: str, default: int | None = None) -> int | None:
    """A whole number from 1; the default where it is not there.

    Raises:
        ConfigError: It is none.
    """
    found = word(name, most=100).strip()
    if not found:
        return default
    if not found.isascii() or not found.isdigit() or not 1 <= int(found) <= MAX_VERSION:
        raise ConfigError(f"{name} is {found!r}, which is no number of the kind", fix="give a whole number from 1")
    return int(found)


def version(name: str) -> int:
    """The number of a version.

    Raises:
        ConfigError: It is not there, or is none.
    """
    found = number(name)
    if found is None:
        raise ConfigError(f"the address names no version ({name})", fix="choose one on the model's page")
    return found


@dataclass(frozen=True)
class Part:
    """A part of a long list.

    Attributes:
        name: Of the argument that chooses it.
        number: From 1.
        last: Number of the last part.
        first: Place of its first row, from 0.
        end: Place behind its last row.
        total: Rows of the whole list.
    """

    name: str
    number: int
    last: int
    first: int
    end: int
    total: int


def part(name: str, total: int, rows: int) -> Part:
    """Which part of a list of so many rows was asked for; the last one where it is beyond."""
    last = max(1, -(-total // rows))
    at = min(number(name, 1) or 1, last)
    return Part(name, at, last, (at - 1) * rows, min(at * rows, total), total)
