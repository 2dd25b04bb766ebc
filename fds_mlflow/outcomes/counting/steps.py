"""Work of several transactions, told once: generators that yield one step each, for the sync and the async store."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from fds_mlflow.core.evidence.evidence import Evidence
from fds_mlflow.outcomes import retention
from fds_mlflow.outcomes.counting.counting import advance
from fds_mlflow.outcomes.counting.question import Question
from fds_mlflow.outcomes.counting.watermarks import watermarks
from fds_mlflow.outcomes.forgetting import Forgotten, forget

PAUSE = {"sqlite": 0.1}
"""Seconds to leave the database to others between two chunks: a writer that waits for SQLite's lock tries again at
least every 0.1 s. PostgreSQL's writers need not wait at all."""


class UnitOfWork(NamedTuple):
    """One transaction, or a pause.

    Attributes:
        operation: Takes a session, then `arguments`; its answer is sent back. None for a pause.
        arguments: What follows the session.
        writes: Whether it writes.
    """

    operation: Callable[..., Any] | None
    arguments: tuple[Any, ...] = ()
    writes: bool = False


def counted(question: Question) -> Generator[UnitOfWork, Any, Evidence]:
    """Bring the counters up to date, a chunk at a time; returns the evidence."""
    upto = yield UnitOfWork(watermarks)
    found: Evidence | None = yield UnitOfWork(advance, (question, upto), writes=True)
    while found is None:
        yield UnitOfWork(None)
        found = yield UnitOfWork(advance, (question, upto), writes=True)
    return found


def pruned(model: str, older_than: datetime, *, uncounted: bool) -> Generator[UnitOfWork, Any, int]:
    """Delete what is old and counted, a chunk at a time; returns how many rows."""
    deleted = 0
    for rollout in (yield UnitOfWork(retention.rollouts, (model,))):
        terms = yield UnitOfWork(retention.due, (model, rollout, older_than))
        if terms is None or not (terms or uncounted):
            continue
        for each in terms:
            yield from counted(Question(model=model, rollout_id=rollout, terms=each, as_of=older_than))
        deleted += yield from _walked(retention.delete_rollout, model, rollout)
    deleted += yield from _walked(retention.delete_outside, model, older_than)
    deleted += yield from _walked(retention.delete_shadows, model, older_than)
    deleted += yield from _walked(retention.delete_cases, older_than)
    return deleted


def forgotten(by: str, values: Sequence[str], now: datetime) -> Generator[UnitOfWork, Any, Forgotten]:
    """Count what is stored of a person where somebody counts, then remove it, in one transaction; what went."""
    found: Forgotten = yield UnitOfWork(partial(forget, dry=True), (by, values))
    for model, rollout in found.rollouts:
        for terms in (yield UnitOfWork(retention.known_terms, (model, rollout))):
            yield from counted(Question(model=model, rollout_id=rollout, terms=terms, as_of=now))
    gone: Forgotten = yield UnitOfWork(forget, (by, values), writes=True)
    return gone


def _walked(delete: Callable[..., tuple[int, Any]], *arguments: Any) -> Generator[UnitOfWork, Any, int]:
    """Delete chunk by chunk, each from where the last one ended; returns how many rows."""
    deleted, after = yield UnitOfWork(delete, arguments, writes=True)
    while after is not None:
        yield UnitOfWork(None)
        rows, after = yield UnitOfWork(delete, (*arguments, after), writes=True)
        deleted += rows
    return int(deleted)
