"""What a store keeps once: the layout, how much has arrived, and since when it knows what it keeps."""

from __future__ import annotations

import struct
from typing import NamedTuple

from fds_mlflow.features.state.coverage import Coverage
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.store import KEY, Values

_KEY = b"m".ljust(KEY, b"\0")
_LAYOUT, _NUMBER, _COVERAGE = b"layout", b"number", b"coverage"
_COUNT = struct.Struct("<qq")


class Count(NamedTuple):
    """How much has arrived.

    Attributes:
        number: Transactions and labels.
        latest: The latest time of any transaction, microseconds; 0 of none.
    """

    number: int
    latest: int


def count(values: Values) -> Count:
    """How much has arrived."""
    kept = values.get(_KEY, _NUMBER)
    return Count(0, 0) if kept is None else Count(*_COUNT.unpack(kept))


def put_count(values: Values, number: int, latest: int) -> None:
    """Say how much has arrived."""
    values.put(_KEY, _NUMBER, _COUNT.pack(number, latest))


def counted(values: Values, time: int | None = None) -> int:
    """Count one more arrival; its number.

    Args:
        values: Of the store.
        time: Of a transaction, microseconds; None for a label.
    """
    number, latest = count(values)
    if number == 0 and time is not None:
        put_coverage(values, coverage(values).beginning(time))
    put_count(values, number + 1, latest if time is None else max(time, latest))
    return number + 1


def layout(values: Values) -> bytes | None:
    """The layout as it is kept; None before there is one."""
    kept = values.get(_KEY, _LAYOUT)
    return None if kept is None else bytes(kept)


def join(values: Values, other: Layout) -> tuple[Layout, bytes]:
    """Have what another layout needs kept from now on; the layout of both, and as it is kept.

    Raises:
        ConfigError: They do not go together.
    """
    kept = layout(values)
    joined = other if kept is None else Layout.from_json(kept).joined(other)
    said = joined.to_json()
    if said != kept:
        number, latest = count(values)
        put_coverage(values, coverage(values).gaining(joined, latest, number))
        values.put(_KEY, _LAYOUT, said)
    return joined, said


def coverage(values: Values) -> Coverage:
    """Since when everything is known."""
    kept = values.get(_KEY, _COVERAGE)
    return Coverage() if kept is None else Coverage.from_json(bytes(kept))


def put_coverage(values: Values, known: Coverage) -> None:
    """Say since when."""
    values.put(_KEY, _COVERAGE, known.to_json())


def note(values: Values, name: bytes) -> bytes | None:
    """What was noted under a name."""
    kept = values.get(_KEY, name)
    return None if kept is None else bytes(kept)


def put_note(values: Values, name: bytes, said: bytes) -> None:
    """Note something."""
    values.put(_KEY, name, said)


def drop_note(values: Values, name: bytes) -> None:
    """Forget a note."""
    values.delete(_KEY, name)
