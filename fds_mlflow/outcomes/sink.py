"""Into a store, all but what no store takes: one bad record costs no other record its place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fds_mlflow.errors import DataError

log = logging.getLogger(__name__)

Item = TypeVar("Item")


def stored(take: Callable[[Sequence[Item]], Any], items: Sequence[Item]) -> int:
    """Store items; a batch that is refused is halved until those that are refused stand alone, each told in the log.

    Args:
        take: Stores a batch, all or none.
        items: At least one.

    Returns:
        How many were refused.

    Raises:
        FdsError: The store is away; halves before may be stored, and storing them again is harmless.
    """
    try:
        take(items)
    except DataError as error:
        if len(items) == 1:
            log.error("the store refused what no store takes: %s", error.what)  # noqa: TRY400 - the trace says no more
            return 1
        middle = len(items) // 2
        return stored(take, items[:middle]) + stored(take, items[middle:])
    return 0
