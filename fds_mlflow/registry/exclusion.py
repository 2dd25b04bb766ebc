"""Mutual exclusion with nothing but tags: Dekker's flags, then an optimistic check.

Write an intent, look again, and go on only when nobody else is there and nothing that was found has changed. An
intent that has been seen unchanged for its whole life, by the observer's own clock, is dead; its owner stops writing
long before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from fds_mlflow.core.lifecycle.events import AliasNames, Ending, Event
from fds_mlflow.core.lifecycle.state import fold
from fds_mlflow.core.routing.routing import effective_rollout
from fds_mlflow.errors import (
    ConfigError,
    ConflictError,
    FdsError,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
    UnavailableError,
)
from fds_mlflow.registry import alias_names, tags, writes
from fds_mlflow.registry.history import History, in_flight, read_history
from fds_mlflow.registry.store import DeleteModelTag, RegistryStore, SetModelTag, Write
from fds_mlflow.registry.tags import Intent
from fds_mlflow.registry.view import View
from fds_mlflow.runtime.clock import Clock

log = logging.getLogger(__name__)

T = TypeVar("T")

CALLS = 48
"""Calls of the latency measured that fit into an intent's life: an operation makes up to 14 in the half of it in which
it may write, so each may take nearly twice as long as the slowest before."""


class BusyError(Exception):
    """Another operation got in the way before anything was written; start over."""

    def __init__(self, other: Intent | None) -> None:
        self.other = other


@dataclass
class Turn:
    """One's own intent and the clock that limits how long one may go on writing."""

    intent: Intent
    began: float
    names: AliasNames
    fresh: bool = False  # nothing was written since the look that found it alone: that look is the first write's check
    decided: bool = False  # the decisive write was tried, so it may have landed
    landed: bool = False  # it is known to have landed


@dataclass
class Exclusion:
    """Holds a model for one operation at a time, with nothing but tags.

    Args:
        store: The registry.
        clock: Time.
        new_id: Makes ULIDs.
        random: For backing off.
        time_to_live: Seconds after which an intent that has been seen unchanged is dead; None for what the
            registry's longest write and its latency ask for. It must exceed twice the longest write.
        longest_pause: Seconds that one who waits for others pauses at most before looking again.
    """

    store: RegistryStore
    clock: Clock
    new_id: Callable[[], str]
    random: Random = field(default_factory=Random)
    time_to_live: float | None = None
    longest_pause: float = 2.0
    _seen: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def lifetime(self) -> float:
        """Seconds an intent lives that is written now."""
        if self.time_to_live is not None:
            return self.time_to_live
        slow = min(CALLS * self.store.latency, tags.MAX_LIFETIME)
        return max(2.25 * self.store.write_limit, slow)

    def _lifetime_of(self, intent: Intent) -> float:
        """Seconds for which an observer takes an intent for alive: its own and the writer's, whichever is longer."""
        return max(self.lifetime, intent.lifetime or 0.0)

    def look(self, model: str) -> View:
        """Read the model as it is now."""
        live = self._patiently(lambda: self.store.read(model))
        history = read_history(live.tags)
        names, unnamed = _named(live.tags, history)
        canary_alias = live.aliases.get(names.canary)
        canary = None
        if canary_alias is not None:
            try:
                canary = self._patiently(lambda: self.store.version(model, canary_alias))
            except NotFoundError:
                canary = None  # deleted; its alias went with it, or dangles
        named = tags.decode_rollout(canary.tags.get(tags.ROLLOUT)) if canary else None
        rollout = effective_rollout(live.aliases.get(names.champion), canary_alias, named)
        recorded = None if rollout is None else history.rollout(rollout.id)
        edited = None
        if rollout is not None and recorded is not None:
            told = replace(rollout, plan=recorded.plan, is_watch=recorded.is_watch, plan_written=recorded.plan_written)
            rollout, edited = told, rollout if rollout != told else None
        self._observe(model, history)
        return View(
            model=live,
            history=history,
            state=fold(history.events),
            canary=canary,
            rollout=rollout,
            edited=edited,
            names=names,
            unnamed=unnamed,
        )

    def _until_done(self, attempt: Callable[[], T | None], patience: float | None) -> T:
        """Try again, backing off at random while others are busy, until there is an answer or patience ends."""
        began = self.clock.monotonic()
        until = began + (1.5 * self.lifetime if patience is None else patience)
        wait = 0.05
        other: Intent | None = None
        while True:
            try:
                answer = attempt()
                if answer is not None:
                    return answer
                pause = 0.0  # one step of housekeeping is done: the next one at once
            except BusyError as busy:
                other = busy.other
                if patience is None and other is not None:
                    until = max(until, began + 1.5 * self._lifetime_of(other))
                pause = self.random.uniform(0, wait)
                wait = min(2 * wait, self.longest_pause)
            left = until - self.clock.monotonic()
            if pause and left <= 0:  # housekeeping that gets on is not given up
                raise _conflict(other) from None
            if pause:
                self.clock.sleep(min(pause, left))  # one last try at the very end

    @contextmanager
    def _turn(self, model: str, view: View, event: Event | None, actor: str | None = None) -> Iterator[Turn]:
        """Hold the model: write an intent, look again, and go on only if alone and nothing has changed."""
        intent = Intent(
            id=event.operation if event else self.new_id(),
            actor=event.actor if event else actor or "",
            found=view.found,
            event=event,
            time=self.clock.now(),
            lifetime=self.lifetime,
        )
        turn = Turn(intent, self.clock.monotonic(), view.names)
        value = tags.encode_intent(intent)
        try:
            self._patiently(lambda: self.store.write(model, SetModelTag(tags.intent_name(intent.id), value)))
            again = self.look(model)
            others = self._living(model, again.history, but=intent.id)
            if others or again.found != view.found or not any(i.id == intent.id for i in again.history.intents):
                raise BusyError(others[0] if others else None)
            turn.fresh = True
            yield turn
        except OutcomeUnknownError:
            if event is None:  # housekeeping can be repeated by anyone: nobody needs to wait for this intent to die
                self._let_go(model, turn)
            raise
        except FdsError as error:
            if not turn.decided or (isinstance(error, NotFoundError | RefusedError) and not turn.landed):
                if isinstance(error, UnavailableError):  # that promises nothing about what is recorded
                    self._let_go(model, turn)
                else:
                    self._give_way(model, turn)
                raise
            raise interrupted(intent, error) from error
        except BusyError:
            if not turn.decided:
                self._give_way(model, turn)
            raise
        except BaseException:
            if not turn.decided:
                self._let_go(model, turn)
            raise
        else:
            self._let_go(model, turn)

    def _let_go(self, model: str, turn: Turn) -> None:
        try:
            self._patiently(lambda: self.store.write(model, DeleteModelTag(tags.intent_name(turn.intent.id))))
        except FdsError as error:
            log.warning("the intent %s stays behind until it is settled: %s", turn.intent.id, error.what)

    def _give_way(self, model: str, turn: Turn) -> None:
        """Remove one's intent, and stop if that took so long that others may have recorded it as abandoned.

        Whoever went on to report that nothing was changed, or that it was done under another name, would be
        contradicted by the history.

        Raises:
            OutcomeUnknownError: Half of the intent's life is over.
        """
        self._let_go(model, turn)
        elapsed = self.clock.monotonic() - turn.began
        if turn.intent.event is not None and elapsed >= self._half(turn):
            raise OutcomeUnknownError(
                f"the operation {turn.intent.id} gave way, which took {elapsed:.1f} s, half of an intent's life",
                fix="read the history: it may say that this one was abandoned; then ask again",
            )

    def _half(self, turn: Turn) -> float:
        """Seconds from the beginning of a turn in which it may write."""
        return (turn.intent.lifetime or self.lifetime) / 2

    def _write(
        self, model: str, turn: Turn, write: Write, *, decisive: bool = False, patience: float | None = None
    ) -> None:
        """One write under the exclusion: each try only after a check of one's own clock.

        Before the decisive write, and the event, it is also asked again that one's intent is still there; what comes
        before and after changes no routing.
        """

        def attempt() -> None:
            self._check_turn(model, turn, asked=decisive and not turn.fresh)
            turn.fresh = False
            turn.decided = turn.decided or decisive
            self.store.write(model, writes.named(write, turn.names))

        self._patiently(attempt, patience)
        turn.landed = turn.landed or decisive

    def _write_if_there(self, model: str, turn: Turn, write: Write) -> None:
        """A write that tidies: what was deleted by hand, or what the backend refuses, needs no tidying."""
        try:
            self._write(model, turn, write)
        except (NotFoundError, RefusedError) as error:
            log.warning("left untidied: %s", error.what)

    def _check_turn(self, model: str, turn: Turn, *, asked: bool) -> None:
        mine = turn.intent.id
        # The read first: whatever it takes counts, so that only the write itself can still block after the check.
        present = in_flight(self.store.read(model).tags) if asked else [turn.intent]
        elapsed = self.clock.monotonic() - turn.began
        if elapsed >= self._half(turn):
            raise OutcomeUnknownError(
                f"the operation {mine} took {elapsed:.1f} s, half of an intent's life, and stopped",
                fix="read the history: the next operation settles this one and records how it ended",
            )
        challenger = next((i for i in present if i.id != mine and i.take_over and not self._is_dead(model, i)), None)
        if not any(intent.id == mine for intent in present) or (challenger and not turn.intent.take_over):
            by = f" by {challenger.actor}" if challenger else ""
            raise OutcomeUnknownError(
                f"the operation {mine} was taken over{by} and stopped",
                fix="read the history: it will say how this operation ended",
            )

    def _living(self, model: str, history: History, *, but: str | None = None) -> list[Intent]:
        return [i for i in history.intents if i.id != but and not self._is_dead(model, i)]

    def _is_dead(self, model: str, intent: Intent) -> bool:
        first = self._seen.get((model, intent.id))
        return first is not None and self.clock.monotonic() - first >= self._lifetime_of(intent)

    def _observe(self, model: str, history: History) -> None:
        """Note when each intent was first seen, by one's own monotonic clock; no two clocks are compared."""
        now = self.clock.monotonic()
        present = {(model, intent.id) for intent in history.intents}
        for key in [key for key in self._seen if key[0] == model and key not in present]:
            self._seen.pop(key, None)  # another thread may have looked at the model, too
        for key in present:
            self._seen.setdefault(key, now)

    def _patiently(self, call: Callable[[], T], patience: float | None = None) -> T:
        """Repeat a registry call that failed for a passing reason, within the time that one write may take.

        Args:
            call: The call.
            patience: Seconds for which a registry is believed that answers it has failed; None for as long.
        """
        began = self.clock.monotonic()

        def late(state: RetryCallState) -> bool:
            error = state.outcome and state.outcome.exception()
            answered = isinstance(error, UnavailableError) and error.answered
            limit = patience if answered and patience is not None else self.store.write_limit
            return self.clock.monotonic() - began >= limit

        return Retrying(
            retry=retry_if_exception_type(UnavailableError),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=late,
            sleep=self.clock.sleep,
            reraise=True,
        )(call)


def _named(model_tags: Mapping[str, str], history: History) -> tuple[AliasNames, ConfigError | None]:
    """What the two aliases are called, and what is wrong with the tag that says so: then the history says it."""
    try:
        return alias_names.decode(model_tags), None
    except ConfigError as error:
        renamed = [e.renaming for e in history.events if e.renaming is not None and e.outcome is Ending.DONE]
        return renamed[-1].after if renamed else AliasNames(), error


def interrupted(intent: Intent, error: FdsError) -> OutcomeUnknownError:
    """What to say of an operation that stopped once its decisive write had been tried, whatever stopped it."""
    return OutcomeUnknownError(
        f"the operation {intent.id} was interrupted after its decisive write was tried: {error.what}",
        fix="read the history: the next operation settles this one and records how it ended",
    )


def _conflict(other: Intent | None) -> ConflictError:
    if other is None:
        return ConflictError("other operations kept changing the model", fix="look at the history, then try again")
    what = f"{other.event.kind.shown} of version {other.event.to_version}" if other.event else "housekeeping"
    return ConflictError(
        f"{other.actor} has an operation in flight since {other.time:%Y-%m-%d %H:%M:%S} UTC: {what} ({other.id})",
        fix="wait for it and try again; if its process died, the next try after its time to live settles it",
    )
