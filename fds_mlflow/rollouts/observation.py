"""A rollout looked at by somebody who does nothing about it: once, or until it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from fds_mlflow.core.evidence.evidence import Evidence, Terms
from fds_mlflow.core.judge.judge import Judgement, judge
from fds_mlflow.core.lifecycle.controller import Recommendation, next_step
from fds_mlflow.core.lifecycle.events import Event, Rollout
from fds_mlflow.errors import ConflictError, FdsError, OutcomeUnknownError, StaleError, UnavailableError
from fds_mlflow.rollouts.tick import OnTick, Tick

if TYPE_CHECKING:
    from fds_mlflow.lifecycle.session import Session
    from fds_mlflow.registry.view import View

PASSING = (ConflictError, OutcomeUnknownError, StaleError, UnavailableError)
"""Errors that may be gone at the next look."""


class EvidenceSource(Protocol):
    """Where evidence comes from: the outcome store, or a test."""

    def evidence(self, model: str, rollout_id: str, terms: Terms, *, as_of: datetime | None = None) -> Evidence:
        """Everything that is known about a rollout."""
        ...


def judged(
    model: str, rollout: Rollout, source: EvidenceSource, now: datetime
) -> tuple[Evidence, Judgement, Recommendation]:
    """What is known about a rollout, what the judge says of it, and what is to be done."""
    evidence = source.evidence(model, rollout.id, rollout.plan.terms, as_of=now)
    judgement = judge(evidence, rollout)
    return evidence, judgement, next_step(rollout, judgement, now)


def last_of(view: View, rollout_id: str | None = None) -> Event | None:
    """The last event about a rollout; None for any rollout, or where there was none."""
    about = [
        event for event in view.history.events if event.rollout is not None and rollout_id in (None, event.rollout.id)
    ]
    return about[-1] if about else None


def looked(session: Session, rollout_id: str | None = None) -> Tick:
    """Look once, and write nothing to the registry.

    Args:
        session: With the model.
        rollout_id: The rollout that is waited for: once it is not the active one, it has ended. None for whichever.

    Returns:
        What was found. An error of the registry or of the outcome store is part of the answer.
    """
    tick = Tick(session.name, session.now())
    try:
        view = session.look()
        if view.rollout is None or rollout_id not in (None, view.rollout.id):
            return replace(tick, ended=True, last=last_of(view, rollout_id))
        tick = replace(tick, rollout=view.rollout)
        evidence, judgement, recommendation = judged(session.name, view.rollout, session.outcomes, tick.time)
        return replace(tick, evidence=evidence, judgement=judgement, recommendation=recommendation)
    except FdsError as error:
        return replace(tick, error=error)


def awaited(
    session: Session, *, timeout: float | None = None, interval: float = 30.0, on_tick: Sequence[OnTick] = ()
) -> Tick:
    """Look until the rollout that is under way has ended, whoever carries it through.

    Args:
        session: With the model.
        timeout: Seconds after which nobody waits any longer; None for as long as it takes.
        interval: Seconds between two looks.
        on_tick: Called with what each look found.

    Returns:
        The last look: `ended`, unless the time was over.

    Raises:
        FdsError: The first look met an error that no waiting fixes, such as a model that does not exist.
    """
    clock = session.clock
    until = None if timeout is None else clock.monotonic() + timeout
    waited_for: str | None = None
    while True:
        tick = looked(session, waited_for)
        if tick.error is not None and not isinstance(tick.error, PASSING):
            raise tick.error
        if waited_for is None and tick.rollout is not None:
            waited_for = tick.rollout.id
        for hook in on_tick:
            hook(tick)
        left = interval if until is None else until - clock.monotonic()
        if tick.ended or left <= 0:
            return tick
        clock.sleep(min(interval, left))
