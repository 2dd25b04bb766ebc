"""Where outcomes go: what a store takes, and how a batch gets in but for what no store takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord, ShadowRecord

if TYPE_CHECKING:
    from fds_mlflow.core.evidence.evidence import Evidence, Terms
    from fds_mlflow.outcomes.truths import Truth

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class OutcomeSink(Protocol):
    """Takes outcomes: the store, synchronous, or a buffer before it."""

    def record(self, outcomes: Sequence[OutcomeRecord]) -> int:
        """Store a batch, all or none; how many were new, as far as that shows there."""
        ...


class Sink(OutcomeSink, Protocol):
    """Takes all that a server records."""

    def record_shadows(self, shadows: Sequence[ShadowRecord]) -> int:
        """Store shadows, all or none; how many were new."""
        ...

    def label(self, cases: Sequence[CaseRecord]) -> int:
        """Store labels, all or none; how many were new or changed."""
        ...

    def truths(self, after: int, limit: int) -> tuple[int, list[Truth]]:
        """What is known of the transactions about which something was written after a row of cases."""
        ...

    def explored(self, model: str, since: datetime) -> int:
        """How many outcomes of a model have been explored since a time."""
        ...


class Home(Sink, Protocol):
    """Keeps outcomes, and tells a judge what they say. In a `with` it is closed at the end."""

    def evidence(self, model: str, rollout_id: str, terms: Terms, *, as_of: datetime | None = None) -> Evidence:
        """What a judge knows about a rollout."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


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
