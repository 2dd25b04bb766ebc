"""Intent -> alias -> event: what each operation does while it holds the model, and how a dead one is settled.

The intent is a record: whoever finds a dead one settles it by looking at the one write that decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from fds_mlflow.core.lifecycle.approval import OpenRequest
from fds_mlflow.core.lifecycle.events import MOVES_CHAMPION, Asked, Ending, Event, Kind, Renaming
from fds_mlflow.core.lifecycle.operations import Already, Request, Target, decide, require_reason
from fds_mlflow.core.lifecycle.policy import asked, found, is_due_watch, required
from fds_mlflow.core.lifecycle.state import State
from fds_mlflow.errors import AwaitsApprovalError, FdsError, NotFoundError, OutcomeUnknownError, RefusedError
from fds_mlflow.registry import packing, seals, tags, texts, writes
from fds_mlflow.registry.exclusion import BusyError, Turn, interrupted
from fds_mlflow.registry.history import read_history
from fds_mlflow.registry.result import Result
from fds_mlflow.registry.sentences import said, waiting
from fds_mlflow.registry.settlement import Settlement, named
from fds_mlflow.registry.spans import traced
from fds_mlflow.registry.store import SetModelTag, Write
from fds_mlflow.registry.tags import Intent
from fds_mlflow.registry.view import View
from fds_mlflow.runtime.clock import Clock

__all__ = ["Check", "Clock", "Result", "Transactions"]

Check = Callable[[View, Target], Target]
"""Asked before anything is written: refuses by raising, or answers the target, marked where a guard was overridden."""

log = logging.getLogger(__name__)

_ASKS_NOTHING = frozenset({Kind.EMERGENCY, Kind.ABORT, Kind.PAUSE, Kind.APPROVE, Kind.REJECT})
"""Kinds that give no version traffic, and the emergency, which asks nothing before it moves the alias."""
_ABOUT_CHAMPION = frozenset({*MOVES_CHAMPION, Kind.START, Kind.ADVANCE, Kind.ABORT, Kind.PAUSE, Kind.RESUME})
"""Kinds whose event says who serves when it is written."""

AT_ONCE = 16
"""Operations that an emergency went past and settles; any number of intents can be forged."""


@dataclass
class Transactions(Settlement):
    """Runs the operations of models in one registry; arguments as for `Settlement`."""

    @traced
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
            AwaitsApprovalError: It waits for the approval of a second person, as a request in the history.
            ConflictError: Another operation stayed in flight; nothing was changed.
            OutcomeUnknownError: The operation was interrupted; the history will tell.
            UnavailableError: The registry cannot be reached; nothing was changed.
            ConfigError: The reason or the actor does not fit into a tag, or the history's key is too short; nothing was
                changed.
        """
        reason, actor = _recordable(reason, actor, urgent=take_over)
        gone: set[int | None] = set()  # former champions that an emergency found deleted

        def attempt() -> Result | None:
            view = self.look(model)
            past = self._goes_past(model, view, take_over=take_over)
            if not past and self._housekeep(model, view, actor, urgent=take_over):
                return None
            state = _known(view, gone, past=past)
            target = decide(state, self._asking(request, actor))
            require_reason(state, request, reason)
            if isinstance(target, Already):
                return Result(None, target.why)
            target = self._checked(model, view, request, target, check)
            wanted = self._wanted(model, view, state, request, target)
            event = self._approved(model, view, wanted, self._event(view, request, target, actor, reason))
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
        self, model: str, make: Callable[[View], Iterable[Write]], *, actor: str, adopt: bool = True
    ) -> View:
        """Settle what is dead, then carry out the writes that `make` finds for the model, under the exclusion.

        Args:
            model: Registered model.
            make: From the settled model to the writes; they must be idempotent. What it yields is made while the model
                is held.
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

    def _checked(self, model: str, view: View, request: Request, target: Target, check: Check | None) -> Target:
        """Refuse a version that does not exist, is not READY where it is to get traffic, or does not pass the check."""
        version, canary, kind = target.version, view.canary, request.kind
        if request.names is not None:
            writes.require_renamable(view, request.names)
        if version is not None and kind not in _ASKS_NOTHING:
            there = canary if canary and canary.version == version else None
            if there is None:
                there = self._patiently(lambda: self.store.version(model, version))
            if kind is not Kind.RETIRE:
                there.require_ready(model)
        return target if check is None else check(view, target)

    def _asking(self, request: Request, actor: str) -> Request:
        """An answer to a request with who gives it, by what the registry says of who is signed in, and when."""
        if request.kind not in (Kind.APPROVE, Kind.REJECT):
            return request
        user = self.store.signed_in()
        return replace(request, actor=named(actor, user), signed_in=user is not None, now=self.clock.now())

    def _wanted(self, model: str, view: View, state: State, request: Request, target: Target) -> Asked | None:
        """What an approval is needed for; None where it is for nothing."""
        if not required(state, view.policy, request, target) or is_due_watch(view.history.events, request):
            return None
        versions: dict[str, object] = {"files": target.files, "trusted": target.trusted}
        for number in {target.version, state.champion} - {None}:
            there = self._patiently(lambda number=number: self.store.version(model, number))  # type: ignore[misc]
            names = (tags.FILES, tags.THRESHOLD, tags.DIGEST, tags.SCORE)
            versions[str(number)] = [there.registration, *(there.tags.get(name) for name in names)]
        return asked(state, request, target, versions)

    def _approved(self, model: str, view: View, wanted: Asked | None, event: Event) -> Event:
        """An event, with the approved request for exactly what is wanted where an approval is.

        Raises:
            AwaitsApprovalError: There is none: it waits, as a request in the history from now on.
        """
        if wanted is None:
            return event
        there = found(view.state, wanted, self.clock.now())
        if there is None:
            done = self._operate(model, view, _request(event, wanted))
            self._pack_soon(model, view, event.actor)
            there = OpenRequest(done, wanted)
        if there.approval is None:
            what, fix = waiting(model, there)
            raise AwaitsApprovalError(what, fix=fix, request=there.id)
        return replace(event, answers=there.id)

    def _event(self, view: View, request: Request, target: Target, actor: str, reason: str) -> Event:
        about_champion = request.kind in _ABOUT_CHAMPION
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
            answers=request.answers if request.kind in (Kind.APPROVE, Kind.REJECT) else "",
            policy=request.policy if request.kind is Kind.POLICY else None,
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


def _recordable(reason: str, actor: str, *, urgent: bool) -> tuple[str, str]:
    """Why and who, if the history can hold them; unless it is urgent, its key has to be usable as well."""
    if not urgent:
        seals.require_usable_key()
    return texts.checked_reason(reason), texts.checked_actor(actor)


def _request(event: Event, wanted: Asked) -> Event:
    """The event that asks for an approval: of the operation that would be done by another one, and what it is for."""
    return Event(
        sequence=0,
        operation=event.operation,
        kind=Kind.REQUEST,
        actor=event.actor,
        reason=event.reason,
        time=event.time,
        from_version=event.from_version,
        to_version=event.to_version,
        asked=wanted,
    )


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
