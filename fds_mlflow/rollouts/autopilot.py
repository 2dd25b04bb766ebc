"""The autopilot of a rollout: load, fold, judge, decide, apply, until the rollout ends.

It keeps nothing between ticks: kill it, start it elsewhere, call a tick from cron, or run two. What it does it does
through the same operations as a person, and an operation that was decided by a history that has gone on is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fds_mlflow.core.lifecycle.controller import Action, Recommendation
from fds_mlflow.core.lifecycle.decision import AUTOPILOT, basis
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.lifecycle.watch import watch_due
from fds_mlflow.errors import (
    AwaitsApprovalError,
    FdsError,
    RefusedError,
    StaleError,
)
from fds_mlflow.registry.texts import MAX_ACTOR, MAX_REASON, clipped
from fds_mlflow.registry.transaction import Result
from fds_mlflow.registry.view import View
from fds_mlflow.rollouts.observation import PASSING, EvidenceSource, judged, last_of
from fds_mlflow.rollouts.tick import OnTick, Tick
from fds_mlflow.rollouts.watch import start_watch

if TYPE_CHECKING:
    from fds_mlflow.lifecycle.session import Session

log = logging.getLogger(__name__)

INTERVAL = 30.0
"""Seconds between two ticks."""

LONGEST_PAUSE = 300.0
"""Seconds to which the pause grows while ticks fail, unless the interval is longer."""

TRIES = 3
"""How often one tick starts over because somebody else acted meanwhile."""

KINDS: Mapping[Action, Kind] = {
    Action.ADVANCE: Kind.ADVANCE,
    Action.COMPLETE: Kind.COMPLETE,
    Action.ABORT: Kind.ABORT,
    Action.ROLLBACK: Kind.EMERGENCY,
}
"""The operation that an action asks for; the other actions ask for none."""


class Autopilot:
    """Carries a model's rollout through its plan.

    Args:
        session: With the model.
        evidence: Where evidence comes from; None for the model's outcome store.
        on_tick: Called after every tick, in order: tracking, a view, notifications. One that raises is logged and
            stops nothing.
    """

    def __init__(
        self, session: Session, *, evidence: EvidenceSource | None = None, on_tick: Sequence[OnTick] = ()
    ) -> None:
        self._session = session
        self._evidence = evidence
        self._on_tick = tuple(on_tick)

    @property
    def actor(self) -> str:
        """Who its events name."""
        return clipped(f"{AUTOPILOT}{self._session.actor}", MAX_ACTOR)

    def tick(self) -> Tick:
        """Judge the rollout once and do what follows.

        Returns:
            What was found and done. An error of the registry or of the outcome store is part of the answer.
        """
        tick = self._look()
        self._tell(tick)
        return tick

    def run(self, *, interval: float = INTERVAL, wait: Callable[[float], object] | None = None) -> Tick:
        """Tick until the rollout, and the watch that may follow it, has ended.

        While ticks fail, the pause between them doubles, up to five minutes (or the interval, if that is longer).

        Args:
            interval: Seconds between two ticks.
            wait: Waits for some seconds, or less where there is something to see (`Waking.wait`); None for the clock.

        Returns:
            The last tick.

        Raises:
            RefusedError: There is no active rollout to begin with, and no watch is due.
            FdsError: The first look met an error that no waiting fixes, such as a model that does not exist.
        """
        tick = self._look()
        if tick.ended and tick.applied is None:
            raise RefusedError("there is no active rollout", fix="start one (`fds canary start MODEL VERSION`)")
        if tick.error is not None and not isinstance(tick.error, PASSING):
            raise tick.error
        self._tell(tick)
        failures = 0
        while not tick.ended:
            failures = failures + 1 if tick.error is not None else 0
            (wait or self._session.clock.sleep)(pause(tick, interval, failures))
            tick = self.tick()
        return tick

    def _look(self) -> Tick:
        """A tick that nobody has been notified of; one that somebody else got ahead of starts over."""
        for _ in range(TRIES):
            tick = self._tick()
            if not isinstance(tick.error, StaleError):
                break
        return tick

    def _tick(self) -> Tick:
        """Load, fold, judge, decide, apply."""
        session, tick = self._session, Tick(self._session.name, self._session.now())
        try:
            view = self._settled()
            if view.rollout is None:
                return self._between_rollouts(tick, view)
            tick = replace(tick, rollout=view.rollout)
            source = self._evidence or session.outcomes
            evidence, judgement, recommendation = judged(session.name, view.rollout, source, tick.time)
            tick = replace(tick, evidence=evidence, judgement=judgement, recommendation=recommendation)
            kind = KINDS.get(recommendation.action)
            if kind is None:
                return tick
            decided_on = basis(judgement, evidence, judged=True)
            request = Request(kind, now=tick.time, expected_sequence=view.state.sequence, basis=decided_on)
            check = session.intact if kind is Kind.COMPLETE else None
            applied = session.run(request, clipped(recommendation.reason, MAX_REASON), check, actor=self.actor)
            return replace(tick, applied=applied, **_after(applied, tick.time))
        except AwaitsApprovalError as error:  # it is in the history, and the next tick acts once it is approved
            return replace(tick, recommendation=Recommendation(Action.HOLD, error.what))
        except FdsError as error:
            return replace(tick, error=error)

    def _settled(self) -> View:
        """The model, once what dead processes left behind and out-of-band changes are in the history."""
        view = self._session.look()
        if view.history.intents or not view.agrees:
            self._session.settle()
            view = self._session.look()
        return view

    def _between_rollouts(self, tick: Tick, view: View) -> Tick:
        """Start the watch that a completed rollout asks for; else nothing is left to do."""
        completed = watch_due(view.history.events, tick.time)
        if completed is None:
            return replace(tick, ended=True, last=last_of(view))
        applied = start_watch(self._session, completed, expected_sequence=view.state.sequence, actor=self.actor)
        return replace(tick, applied=applied)

    def _tell(self, tick: Tick) -> None:
        if tick.error is not None:
            log.warning("the tick of %r could not finish: %s", tick.model, tick.error.what)
        for hook in self._on_tick:
            try:
                hook(tick)
            except Exception:
                log.exception("a hook of the autopilot failed; the rollout goes on")


def pause(tick: Tick, interval: float, failures: int) -> float:
    """Seconds until the next tick.

    Args:
        tick: The last one.
        interval: Seconds between two ticks that work.
        failures: Ticks that failed in a row, the last one included.
    """
    if failures:
        return float(min(interval * 2 ** min(failures - 1, 20), max(interval, LONGEST_PAUSE)))
    event = tick.applied.event if tick.applied is not None else None
    return 0.0 if event is not None and event.kind is Kind.COMPLETE else interval  # a watch begins at once


def _after(applied: Result, now: datetime) -> dict[str, Any]:
    """What an operation leaves to be done."""
    event = applied.event
    if event is None or event.rollout is None or event.rollout.active or watch_due([event], now) is not None:
        return {}
    return {"ended": True, "last": event}
