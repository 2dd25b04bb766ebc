"""Intent -> alias -> event: what each operation does while it holds the model, and how a dead one is settled.

The intent is a record: whoever finds a dead one settles it by looking at the one write that decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fds_mlflow.core.comparison import Comparison
from fds_mlflow.core.lifecycle.decision import decision
from fds_mlflow.core.lifecycle.events import MOVES_CHAMPION, Ending, Event, Kind, RolloutStatus
from fds_mlflow.core.lifecycle.operations import Already, Request, Target, decide, require_reason
from fds_mlflow.core.lifecycle.state import Stage, State, fold
from fds_mlflow.core.weight import to_percent
from fds_mlflow.errors import FdsError, NotFoundError, OutcomeUnknownError, RefusedError
from fds_mlflow.registry import packing, tags, writes
from fds_mlflow.registry.exclusion import BusyError, Exclusion, Turn, interrupted
from fds_mlflow.registry.store import DeleteAlias, DeleteModelTag, SetAlias, SetModelTag, SetStage, SetVersionTag, Write
from fds_mlflow.registry.tags import Intent
from fds_mlflow.registry.view import View, difference
from fds_mlflow.runtime.clock import Clock

__all__ = ["Check", "Clock", "Result", "Transactions"]

Check = Callable[[View, Target], Target]
"""Asked before anything is written: refuses by raising, or answers the target, marked where a guard was overridden."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What became of a request.

    Attributes:
        event: The event that records it; None where there was nothing to do.
        message: One sentence for people; for a version that was to get traffic, also what comparing it offline said.
        comparison: With the champion of that moment; None where nothing was compared.
    """

    event: Event | None
    message: str
    comparison: Comparison | None = None

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return self.event is not None


def _nobody(_model: str, _event: Event) -> None:
    """Nobody wants to know."""


@dataclass
class Transactions(Exclusion):
    """Runs the operations of models in one registry.

    Args:
        on_event: Called with the model and each event that this process has written into a history, its own and those
            of operations it settles. It is called while the model is held: it must return at once, and not raise.
    """

    on_event: Callable[[str, Event], None] = _nobody

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
            ConfigError: The reason or the actor does not fit into a tag; nothing was changed.
        """
        tags.checked_reason(reason)
        tags.checked_actor(actor)

        def attempt() -> Result | None:
            view = self.look(model)
            living = self._living(model, view.history)
            past = take_over and bool(living) and not any(intent.take_over for intent in living)
            if living and not past:
                raise BusyError(living[0])
            if not past and self._housekeep(model, view, actor):
                return None
            state = writes.as_live(view) if past else view.state
            target = decide(self._known(model, state) if request.kind is Kind.EMERGENCY else state, request)
            require_reason(state, request, reason)
            if isinstance(target, Already):
                return Result(None, target.why)
            if check is not None:
                target = check(view, target)
            event = self._event(view, request, target, actor, reason)
            done = (self._take_over if past else self._operate)(model, view, event, on_moved)
            if done.outcome is not Ending.DONE:
                return None  # a take-over that somebody else settled as overtaken: ask anew
            self._pack_if_due(model, actor)
            return Result(done, said(done))

        return self._until_done(attempt, patience)

    def settle(self, model: str, *, actor: str, patience: float | None = None) -> View:
        """Settle every dead operation and adopt an out-of-band change; the model as it then is.

        Raises:
            ConflictError: Another operation stayed in flight.
        """
        tags.checked_actor(actor)

        def attempt() -> View | None:
            view = self._look_alone(model)
            return None if self._housekeep(model, view, actor) else view

        return self._until_done(attempt, patience)

    def _look_alone(self, model: str) -> View:
        """Read the model, or give way to an operation that lives."""
        view = self.look(model)
        living = self._living(model, view.history)
        if living:
            raise BusyError(living[0])
        return view

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
        """Pack the oldest events where too many are loose."""
        self._pack_if_due(model, actor)

    # --- what an operation writes --------------------------------------------------------------------------

    def _known(self, model: str, state: State) -> State:
        """The state without the former champions that were deleted, as far as an emergency would choose them."""
        while state.emergency_target is not None:
            target = state.emergency_target
            try:
                self._patiently(lambda target=target: self.store.version(model, target))  # type: ignore[misc]
            except NotFoundError:
                state = replace(state, former=tuple(v for v in state.former if v != target))
            else:
                break
        return state

    def _event(self, view: View, request: Request, target: Target, actor: str, reason: str) -> Event:
        about_champion = request.kind not in (Kind.STAGE, Kind.RETIRE)
        return Event(
            sequence=0,
            operation=self.new_id(),
            kind=request.kind,
            actor=actor,
            reason=reason,
            time=self.clock.now(),
            from_version=view.champion_alias if about_champion else None,
            to_version=target.version,
            rollout=target.rollout,
            forced=target.forced,
            basis=request.basis if target.rollout is not None and request.kind is not Kind.START else None,
        )

    def _operate(self, model: str, view: View, event: Event, on_moved: Callable[[int], None] | None = None) -> Event:
        """Before, the decisive write, after, the event: in the order of the design's table."""
        done = tags.numbered(event, view.history.last[0] + 1)
        with self._turn(model, view, event) as turn:
            self._require_ready(model, event)
            point = writes.point(event)
            for write in writes.before(view, event):
                self._write(model, turn, write)
            if point is None:
                self._append(model, turn, done)
                self._tidy(model, turn, view, done)
                return done
            try:
                self._write(model, turn, point, decisive=True)
            except (NotFoundError, RefusedError):
                self._defuse(model, turn, event, RolloutStatus.ABANDONED)
                raise
            if on_moved is not None and isinstance(point, SetAlias) and point.alias == tags.CHAMPION:
                on_moved(point.version)
            self._finish(model, turn, view, done)
        return done

    def _finish(self, model: str, turn: Turn, view: View, done: Event) -> None:
        """What follows a decisive write; every part can be repeated."""
        for write in writes.after(view, done):
            self._write_if_there(model, turn, write)
        self._mirror(model, turn, view.state, done)
        self._append(model, turn, done)

    def _tidy(self, model: str, turn: Turn, view: View, event: Event, *, recorded: bool = False) -> None:
        """What follows an event that decides by itself: stages, and what an out-of-band change left of a rollout."""
        if event.kind is Kind.ADOPT:
            self._defuse(model, turn, event, RolloutStatus.OVERTAKEN)
            if view.canary_alias is not None and view.rollout is None:
                # It takes no traffic, and an out-of-band move of the champion back must not wake it.
                self._write_if_there(model, turn, DeleteAlias(tags.CANARY))
        self._mirror(model, turn, view.state, event, recorded=recorded)

    def _append(self, model: str, turn: Turn, event: Event) -> None:
        name, value = tags.event_tag(event)
        self._write(model, turn, SetModelTag(name, value), decisive=True)
        self.on_event(model, event)

    def _mirror(self, model: str, turn: Turn, before: State, event: Event, *, recorded: bool = False) -> None:
        """Mirror the fold's stages of the versions that the event names or changes, version by version."""
        state = before if recorded else fold([event], before)
        changed = {version for version, stage in state.stages.items() if before.stages.get(version) != stage}
        named = (event.from_version, event.to_version, event.rollout.canary if event.rollout else None)
        for version in sorted(changed.union(v for v in named if v is not None)):
            try:
                there = self._patiently(lambda version=version: self.store.version(model, version))  # type: ignore[misc]
            except NotFoundError:
                continue  # deleted by hand meanwhile: no stage to mirror
            stage = state.stages.get(version)
            if stage is None and there.stage == Stage.PRODUCTION:
                stage = Stage.STAGING  # its promotion was overtaken after it had set the stage
            if stage is not None and there.stage != stage:
                self._write_if_there(model, turn, SetStage(version, stage))

    def _require_ready(self, model: str, event: Event) -> None:
        """Traffic goes to READY versions only; asked again under the exclusion, just before the write."""
        version = event.to_version
        if version is None or event.kind in (Kind.ABORT, Kind.RETIRE, Kind.ADOPT):
            return
        there = self._patiently(lambda: self.store.version(model, version))
        if not there.ready:
            raise RefusedError(
                f"version {version} of {model!r} is {there.status}, not READY",
                fix="wait until its registration has finished, or register it again",
            )

    # --- settling, adopting, taking over, packing ----------------------------------------------------------

    def _housekeep(self, model: str, view: View, actor: str, *, adopt: bool = True) -> bool:
        """Settle one dead intent, or adopt an out-of-band change; whether there was anything of the kind."""
        dead = [intent for intent in view.history.intents if self._is_dead(model, intent)]
        if dead:
            self._settle(model, view, writes.first_to_settle(view, dead), actor)
            return True
        if adopt and not view.agrees:
            self._operate(model, view, self._adoption(view, actor))
            return True
        return False

    def _settle(self, model: str, view: View, dead: Intent, actor: str, *, reassert: bool = False) -> None:
        """Finish or write off a dead operation, by looking at its decisive write.

        Args:
            model: Registered model.
            view: The model as it is; the dead intent is in it.
            dead: What to settle.
            actor: Who settles.
            reassert: Make the decisive write again if it is not there: for a take-over's own process, which is alive.
        """
        event = dead.event
        recorded = view.history.find(dead.id)
        with self._turn(model, view, None, actor) as turn:
            if recorded is not None:
                self._tidy(model, turn, view, recorded, recorded=True)
            elif event is not None and event.kind is not Kind.ADOPT:  # what a dead one noticed, the next one notices
                outcome = writes.landed(view, dead)
                if dead.take_over:  # it looked past others: the settled history knows which rollout it ended
                    active = view.state.rollout
                    event = replace(event, rollout=active.ended(RolloutStatus.ROLLED_BACK) if active else None)
                point = writes.point(event)
                if reassert and outcome is not Ending.DONE and point is not None:
                    for write in (*writes.before(view, event), point):
                        self._write(model, turn, write)
                    outcome = Ending.DONE
                done = replace(event, sequence=view.history.last[0] + 1, outcome=outcome)
                if event.kind in MOVES_CHAMPION and view.state.champion not in (None, event.to_version):
                    # An emergency looked while another operation was in flight, which has been recorded since.
                    done = replace(done, from_version=view.state.champion)
                if outcome is Ending.DONE:
                    self._finish(model, turn, view, done)
                else:
                    self._defuse(model, turn, event, RolloutStatus.ABANDONED)
                    self._mirror(model, turn, view.state, done)
                    self._append(model, turn, done)
            self._write(model, turn, DeleteModelTag(tags.intent_name(dead.id)))

    def _defuse(self, model: str, turn: Turn, event: Event, status: RolloutStatus) -> None:
        """Mark a rollout that is not under way as ended on its version, so that no hand can wake it."""
        rollout = event.rollout
        never = event.kind is Kind.START
        over = event.kind is Kind.ADOPT and rollout is not None and not rollout.active
        if rollout is None or not (never or over):
            return
        try:
            there = self._patiently(lambda: self.store.version(model, rollout.canary))
        except NotFoundError:
            return
        named = tags.decode_rollout(there.tags.get(tags.ROLLOUT))
        if named is not None and named.active and named.id == rollout.id:
            ended = tags.encode_rollout(named.ended(status), event if over else None)
            self._write_if_there(model, turn, SetVersionTag(there.version, tags.ROLLOUT, ended))

    def _adoption(self, view: View, actor: str) -> Event:
        """The event that takes an out-of-band change into the history."""
        rollout = view.rollout
        if rollout is None and view.state.rollout is not None:
            rollout = view.state.rollout.ended(RolloutStatus.OVERTAKEN)
        return Event(
            sequence=0,
            operation=self.new_id(),
            kind=Kind.ADOPT,
            actor=actor,
            reason=difference(view),
            time=self.clock.now(),
            from_version=view.state.champion,
            to_version=view.champion_alias,
            rollout=rollout,
        )

    def _take_over(self, model: str, view: View, event: Event, on_moved: Callable[[int], None] | None) -> Event:
        """Move the champion at once, past live operations; outlive them, reassert, then settle everything."""
        intent = Intent(event.operation, event.actor, view.found, event, self.clock.now(), take_over=True)
        turn = Turn(intent, self.clock.monotonic())
        value = tags.encode_intent(intent)
        target = event.to_version
        point = writes.point(event)
        if target is None or point is None:
            raise TypeError("only an operation that moves the champion can take over")
        try:
            self._patiently(lambda: self.store.write(model, SetModelTag(tags.intent_name(intent.id), value)))
            rivals = [i for i in tags.intents(self.store.read(model).tags) if i.take_over and i.id != intent.id]
            if rivals:
                raise BusyError(rivals[0])
            self._require_ready(model, event)
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
            return self._outlive(model, intent, turn.began)
        except OutcomeUnknownError:
            raise
        except FdsError as error:  # a conflict included: the champion has moved, whatever keeps that from the history
            raise interrupted(intent, error) from error

    def _outlive(self, model: str, mine: Intent, began: float) -> Event:
        """Wait until every operation that a take-over went past is dead; then settle all of them, and oneself."""
        while self.clock.monotonic() < began + self.lifetime:
            self.clock.sleep(min(1.0, self.lifetime / 10))
            self.look(model)  # so that the others are seen to be dead
        self._seen[(model, mine.id)] = float("-inf")  # from here on a record to be settled, like any other
        return self._until_done(lambda: self._conclude(model, mine), None)

    def _conclude(self, model: str, mine: Intent) -> Event | None:
        """One step towards the end of a take-over: settle the others, then reassert and record one's own."""
        view = self._look_alone(model)
        others = [intent for intent in view.history.intents if intent.id != mine.id]
        if others:
            self._settle(model, view, writes.first_to_settle(view, others), mine.actor)
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

    def _pack_if_due(self, model: str, actor: str) -> None:
        """Pack the oldest loose events once there are too many: an operation of its own, after a success."""
        try:
            view = self.look(model)
            due = packing.due(view.history)
            if not due or view.history.intents:
                return
            with self._turn(model, view, None, actor) as turn:
                for write in due:
                    if self.clock.monotonic() - turn.began >= self.lifetime / 4:
                        break  # what is left is superfluous, and the next packing begins with it
                    self._write(model, turn, write)
        except (BusyError, FdsError) as error:
            log.info("events were not packed this time: %s", error)


def said(event: Event) -> str:
    """What an event did, in one sentence."""
    version, rollout = event.to_version, event.rollout
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
        Kind.ADOPT: f"the history now has the out-of-band change: champion {version}",
    }[event.kind]
    return f"{done}, by force" if event.forced and event.kind is not Kind.COMPLETE else done
