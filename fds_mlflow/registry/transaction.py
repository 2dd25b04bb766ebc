"""Intent -> alias -> event: what each operation does while it holds the model, and how a dead one is settled.

The intent is a record: whoever finds a dead one settles it by looking at the one write that decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fds_mlflow.core.lifecycle.decision import decision
from fds_mlflow.core.lifecycle.events import Ending, Event, Kind, Renaming
from fds_mlflow.core.lifecycle.operations import Already, Request, Target, decide, require_reason
from fds_mlflow.core.lifecycle.state import State
from fds_mlflow.core.weight import to_percent
from fds_mlflow.errors import FdsError, NotFoundError, OutcomeUnknownError, RefusedError
from fds_mlflow.registry import packing, seals, tags, texts, writes
from fds_mlflow.registry.exclusion import BusyError, Turn, interrupted
from fds_mlflow.registry.history import read_history
from fds_mlflow.registry.settlement import Settlement
from fds_mlflow.registry.store import SetModelTag, Write
from fds_mlflow.registry.tags import Intent
from fds_mlflow.registry.view import View
from fds_mlflow.runtime.clock import Clock

if TYPE_CHECKING:
    from fds_mlflow.core.comparison import Comparison

__all__ = ["Check", "Clock", "Result", "Transactions"]

Check = Callable[[View, Target], Target]
"""Asked before anything is written: refuses by raising, or answers the target, marked where a guard was overridden."""

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Operations that an emergency went past and settles; any number of intents can be forged."""


@dataclass(frozen=True)
class Result:
    """What became of a request.

    Attributes:
        event: The event that records it; None where there was nothing to do.
        message: One sentence for people; for a version that was to get traffic, also what comparing it offline said.
        comparison: With the champion of that moment; None where nothing was compared.
        warnings: For a version that was to get traffic: what could not be checked, or is known to be in doubt.
    """

    event: Event | None
    message: str
    comparison: Comparison | None = None
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return self.event is not None


@dataclass
class Transactions(Settlement):
    """Runs the operations of models in one registry; arguments as for `Settlement`."""

    def run(
        self,
        model: str,
        request: Request,
        *,
        actor: str,
        reason: str,
        check: Check | None = None,
        patience: float | None = None,
        take_over: bool = False,
        on_moved: Callable[[int], None] | None = None,
    ) -> Result:
        """Carry out a request, after settling whatever dead operations are in the way.

        Args:
            model: Registered model.
            request: What is wanted.
            actor: Who wants it.
            reason: Why.
            check: Called with the view and the target before anything is written.
            patience: Seconds to wait for other operations; None for long enough to see a dead one die.
            take_over: For an emergency: do not wait for live operations.
            on_moved: Called with the new champion as soon as its alias has moved.

        Raises:
            RefusedError: The state does not allow it, or a reason is missing; nothing was changed.
            ConflictError: Another operation stayed in flight; nothing was changed.
            OutcomeUnknownError: The operation was interrupted; the history will tell.
            UnavailableError: The registry cannot be reached; nothing was changed.
            ConfigError: The reason or the actor does not fit into a tag, or the history's key is too short; nothing was
                changed.
        """
        reason, actor = texts.checked_reason(reason), texts.checked_actor(actor)
        if not take_over:
            seals.require_usable_key()
        gone: set[int | None] = set()  # former champions that an emergency found deleted

        def attempt() -> Result | None:
            view = self.look(model)
            past = self._goes_past(model, view, take_over=take_over)
            if not past and self._housekeep(model, view, actor, urgent=take_over):
                return None
            state = _known(view, gone, past=past)
            target = decide(state, request)
            require_reason(state, request, reason)
            if isinstance(target, Already):
                return Result(None, target.why)
            target = self._checked(model, view, request.kind, target, check)
            event = self._event(view, request, target, actor, reason)
            try:
                done = (self._take_over if past else self._operate)(model, view, event, on_moved)
            except NotFoundError:
                if request.kind is not Kind.EMERGENCY or target.version in gone:
                    raise
                gone.update({target.version}, self._missing(model, state.former))
                return None
            self._pack_soon(model, view, actor)
            return Result(done, said(done)) if done.outcome is Ending.DONE else None  # a take-over that was overtaken

        return self._until_done(attempt, patience)

    def settle(self, model: str, *, actor: str, patience: float | None = None) -> View:
        """Settle every dead operation and adopt an out-of-band change; the model as it then is.

        Raises:
            ConflictError: Another operation stayed in flight.
        """
        texts.checked_actor(actor)

        def attempt() -> View | None:
            view = self._look_alone(model)
            return None if self._housekeep(model, view, actor) else view

        return self._until_done(attempt, patience)

    def write_alone(
        self, model: str, make: Callable[[View], Sequence[Write]], *, actor: str, adopt: bool = True
    ) -> View:
        """Settle what is dead, then carry out the writes that `make` finds for the model, under the exclusion.

        Args:
            model: Registered model.
            make: From the settled model to the writes; they must be idempotent.
            actor: Who asks.
            adopt: Take out-of-band changes into the history first.

        Raises:
            ConflictError: Another operation stayed in flight.
            OutcomeUnknownError: It was interrupted; the writes are idempotent and can be asked for again.
        """

        def attempt() -> View | None:
            view = self._look_alone(model)
            if self._housekeep(model, view, actor, adopt=adopt):
                return None
            planned = make(view)
            with self._turn(model, view, None, actor) as turn:
                for write in planned:
                    self._write(model, turn, write)
            return self.look(model)

        return self._until_done(attempt, None)

    def pack(self, model: str, *, actor: str) -> None:
        """Pack the oldest loose events where there are too many: an operation of its own, after a success."""
        try:
            view = self.look(model)
            due = packing.due(view.history)
            if not due or view.history.intents:
                return
            with self._turn(model, view, None, actor) as turn:
                for write in due:
                    if self.clock.monotonic() - turn.began >= self._half(turn) / 2:
                        break  # what is left is superfluous, and the next packing begins with it
                    self._write(model, turn, write)
        except (BusyError, FdsError) as error:
            log.info("events were not packed this time: %s", error)

    def _pack_soon(self, model: str, view: View, actor: str) -> None:
        """Pack where one event more than a view has may be too many."""
        if len(view.history.loose) >= tags.LOOSE or packing.due(view.history):
            self.pack(model, actor=actor)

    def _goes_past(self, model: str, view: View, *, take_over: bool) -> bool:
        """Whether a request goes past the operations in flight, as an emergency does.

        Raises:
            BusyError: It has to wait for one.
            ConfigError: What the aliases are called is not known, and it is no emergency.
        """
        if view.unnamed is not None and not take_over:
            raise view.unnamed
        living = self._living(model, view.history)
        rival = next((intent for intent in living if intent.take_over), None)
        past = take_over and rival is None and bool(view.history.intents)
        if living and not past:
            raise BusyError(rival or living[0])
        return past

    def _missing(self, model: str, versions: Collection[int]) -> set[int]:
        """Which of the versions are not there any more."""
        return set(versions) - {version.version for version in self._patiently(lambda: self.store.versions(model))}

    # --- a request, and a take-over ------------------------------------------------------------------------

    def _checked(self, model: str, view: View, kind: Kind, target: Target, check: Check | None) -> Target:
        """Refuse a version that does not exist, is not READY where it is to get traffic, or does not pass the check."""
        version, canary = target.version, view.canary
        # An emergency asks nothing before it moves the alias, and an abort takes no version anywhere.
        if version is not None and kind not in (Kind.EMERGENCY, Kind.ABORT):
            there = canary if canary and canary.version == version else None
            if there is None:
                there = self._patiently(lambda: self.store.version(model, version))
            if kind is not Kind.RETIRE:
                there.require_ready(model)
        return target if check is None else check(view, target)

    def _event(self, view: View, request: Request, target: Target, actor: str, reason: str) -> Event:
        about_champion = request.kind not in (Kind.STAGE, Kind.RETIRE, Kind.RENAME)
        renaming = None
        if request.names is not None:
            names = replace(request.names, later=view.names.later)
            renaming = Renaming(view.names, names, names.champion not in view.model.aliases)
        return Event(
            sequence=0,
            operation=self._new_operation(),
            kind=request.kind,
            actor=actor,
            reason=reason,
            time=self.clock.now(),
            from_version=view.champion_alias if about_champion else None,
            to_version=target.version,
            rollout=target.rollout,
            forced=target.forced,
            basis=request.basis if target.rollout is not None and request.kind is not Kind.START else None,
            renaming=renaming,
            files=target.files,
            trusted=target.trusted,
        )

    def _take_over(self, model: str, view: View, event: Event, on_moved: Callable[[int], None] | None) -> Event:
        """Move the champion at once, past operations in flight; outlive those that live, reassert, then settle them."""
        intent = Intent(
            event.operation, event.actor, view.found, event, self.clock.now(), take_over=True, lifetime=self.lifetime
        )
        turn = Turn(intent, self.clock.monotonic(), view.names)
        value = tags.encode_intent(intent)
        target = event.to_version
        point = writes.point(event)
        if target is None or point is None:
            raise TypeError("only an operation that moves the champion can take over")
        try:
            self._patiently(lambda: self.store.write(model, SetModelTag(tags.intent_name(intent.id), value)))
            living = self._past(model, view, intent)
            turn.fresh = True
            for write in (*writes.before(view, event), point):
                self._write(model, turn, write, decisive=write is point)
        except (BusyError, FdsError) as error:
            if not turn.decided or isinstance(error, NotFoundError | RefusedError):
                self._let_go(model, turn)
            elif isinstance(error, FdsError) and not isinstance(error, OutcomeUnknownError):
                raise interrupted(intent, error) from error
            raise
        if on_moved is not None:
            on_moved(target)
        try:
            return self._outlive(model, intent, turn.began if living else float("-inf"))
        except OutcomeUnknownError:
            raise
        except FdsError as error:  # a conflict included: the champion has moved, whatever keeps that from the history
            raise interrupted(intent, error) from error

    def _past(self, model: str, view: View, mine: Intent) -> bool:
        """Whether an operation lives that a take-over goes past; who goes past the dead alone must find all as it was.

        Raises:
            BusyError: Another take-over lives, or something has changed.
        """
        if self._living(model, view.history):
            others = self._living(model, read_history(self.store.read(model).tags), but=mine.id)
        else:
            again = self.look(model)
            others = self._living(model, again.history, but=mine.id)
            if not others and again.found != view.found:
                raise BusyError(None)
        rival = next((intent for intent in others if intent.take_over), None)
        if rival is not None:
            raise BusyError(rival)
        return bool(others)

    def _outlive(self, model: str, mine: Intent, began: float) -> Event:
        """Wait until every operation that a take-over went past is dead; then settle them, and oneself."""
        while self.clock.monotonic() < began + self._lifetime_of(mine):
            self.clock.sleep(min(1.0, self._lifetime_of(mine) / 10))
            self.look(model)  # so that the others are seen to be dead
        self._seen[(model, mine.id)] = float("-inf")  # from here on a record to be settled, like any other
        settled: list[str] = []
        return self._until_done(lambda: self._conclude(model, mine, settled), None)

    def _conclude(self, model: str, mine: Intent, settled: list[str]) -> Event | None:
        """One step towards the end of a take-over: settle the others, then reassert and record one's own.

        Args:
            model: Registered model.
            mine: The take-over's intent.
            settled: Others that it has settled so far; once they are many, the rest waits for the next operation.
        """
        view = self._look_alone(model)
        others = [intent for intent in view.history.intents if intent.id != mine.id]
        if others and len(settled) < AT_ONCE:
            other = writes.first_to_settle(view, others)
            self._settle(model, view, other, mine.actor)
            settled.append(other.id)
        elif any(intent.id == mine.id for intent in view.history.intents):
            self._settle(model, view, mine, mine.actor, reassert=True)
        else:
            recorded = view.history.find(mine.id)
            if recorded is None:
                raise OutcomeUnknownError(
                    f"the intent of the emergency {mine.id} was removed by hand",
                    fix="look at the aliases, and run the emergency again if the champion is not the one you want",
                )
            return recorded
        return None


def _known(view: View, gone: Collection[int | None], *, past: bool) -> State:
    """The state by which a request is decided.

    Args:
        view: The model as it is.
        gone: Former champions that are not there any more.
        past: It goes past operations in flight: what is one, or only claims to be, makes nobody a former champion.
    """
    state = writes.as_live(view) if past else view.state
    former = (v for v in state.former if v not in gone and (not past or v in view.state.champions))
    return replace(state, former=tuple(former))


def said(event: Event) -> str:
    """What an event did, in one sentence."""
    version, rollout, renaming = event.to_version, event.rollout, event.renaming
    names = f"{renaming.after.champion} (champion) and {renaming.after.canary} (canary)" if renaming else ""
    weight = f"{to_percent(rollout.weight):g} %" if rollout is not None else ""
    done = {
        Kind.STAGE: f"version {version} is a candidate now (Staging)",
        Kind.PROMOTE: f"version {version} is the champion now",
        Kind.START: f"version {version} is the canary now and gets {weight}",
        Kind.ADVANCE: f"canary {version} gets {weight} now",
        Kind.COMPLETE: f"the canary, version {version}, is the champion now ({decision(event)})",
        Kind.ABORT: f"canary {version} is stopped; version {event.from_version} gets all traffic",
        Kind.EMERGENCY: f"version {version} is the champion again",
        Kind.ROLLBACK: f"version {version} is the champion again",
        Kind.RETIRE: f"version {version} is out of the running now (Archived)",
        Kind.RENAME: f"the aliases are called {names} now",
        Kind.ADOPT: f"the history now has the out-of-band change: champion {version}",
    }[event.kind]
    return f"{done}, by force" if event.forced and event.kind is not Kind.COMPLETE else done
