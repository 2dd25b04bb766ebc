"""Moves what lies in a topic or in files into an outcome store, where it counts once however often it comes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.homes.rows import KINDS, Record
from fds_mlflow.outcomes.records import CaseRecord, require_past
from fds_mlflow.outcomes.sink import Sink, stored
from fds_mlflow.runtime.clock import Clock, SystemClock

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Drained:
    """How many records were read, those that the store has already included.

    Attributes:
        outcomes: Outcomes.
        shadows: Shadows.
        labels: Labels.
        refused: Of all these, those that no store takes, each told in the log.
    """

    outcomes: int = 0
    shadows: int = 0
    labels: int = 0
    refused: int = 0


def drain(batches: Iterable[Sequence[tuple[str, Record]]], store: Sink, *, clock: Clock | None = None) -> Drained:
    """Store batches; the next one is asked for when the last one is stored.

    Args:
        batches: Records with their kinds.
        store: Where to.
        clock: Tells what is the future: no time of a label may lie more than a day ahead.

    Raises:
        FdsError: The batches, or the store, are away; what was asked for and is not stored comes again next time.
    """
    clock, done = clock or SystemClock(), Drained()
    takes: dict[str, Callable[[Any], int]]
    takes = {"outcomes": store.record, "shadows": store.record_shadows, "labels": store.label}
    for batch in batches:
        parted: dict[str, list[Any]] = {kind: [record for its, record in batch if its == kind] for kind in KINDS}
        past = [case for case in parted["labels"] if _is_past(case, clock)]
        done.refused += len(parted["labels"]) - len(past)
        for kind in KINDS:
            setattr(done, kind, getattr(done, kind) + len(parted[kind]))
            records = past if kind == "labels" else parted[kind]
            if records:
                done.refused += stored(takes[kind], records)
    return done


def _is_past(case: CaseRecord, clock: Clock) -> bool:
    try:
        require_past(case, clock.now())
    except DataError as error:
        log.error("a label is not taken: %s", error.what)  # noqa: TRY400 - the trace says no more
        return False
    return True
