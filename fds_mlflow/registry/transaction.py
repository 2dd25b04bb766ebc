"""Intent -> alias -> event: operations that exclude one another, cannot half-happen, and are recorded.

Mutual exclusion with nothing but tags: write an intent, then look again (Dekker's flags), and go on only when
nobody else is there and nothing that was found has changed (an optimistic check). The intent is a record: whoever
finds a dead one settles it by looking at the one write that decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import Protocol, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from fds_mlflow.core.events import MOVES_CHAMPION, Event, Kind, Outcome, RolloutStatus
from fds_mlflow.core.operations import Already, Request, Target, decide
from fds_mlflow.core.routing import effective_rollout
from fds_mlflow.core.state import Stage, State, fold
from fds_mlflow.errors import (
    ConflictError,
    FdsError,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
    UnavailableError,
)
from fds_mlflow.registry import tags, writes
from fds_mlflow.registry.store import (
    DeleteModelTag,
    RegistryStore,
    SetAlias,
    SetModelTag,
    SetStage,
    SetVersionTag,
    Write,
)
from fds_mlflow.registry.tags import History, Intent
from fds_mlflow.registry.view import View, difference

log = logging.getLogger(__name__)

T = TypeVar("T")


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> datetime:
        """The time for people, UTC and timezone-aware."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


@dataclass(frozen=True)
class Result:
    """What became of a request.

    Attributes:
        event: The event that records it; None where there was nothing to do.
        message: One sentence for people.
    """

    event: Event | None
    message: str

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return self.event is not None


class _BusyError(Exception):
    """Another operation got in the way before anything was written; start over."""

    def __init__(self, other: Intent | None) -> None:
        self.other = other


@dataclass
class _Turn:
    """One's own intent and the clock that limits how long one may go on writing."""

    intent: Intent
    began: float
    decided: bool = False  # the decisive write was tried, so it may have landed
    landed: bool = False  # it is known to have landed


@dataclass
class Transactions:
    """Runs the operations of models in one registry.

    Args:
        store: The registry.
        clock: Time.
        new_id: Makes ULIDs.
        random: For backing off.
        time_to_live: Seconds after which an intent that has been seen unchanged is dead; None for what the
            registry's longest write asks for. It must exceed twice that.
    """

    store: RegistryStore
    clock: Clock
    new_id: Callable[[], str]
    random: Random = field(default_factory=Random)
    time_to_live: float | None = None
    _seen: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def lifetime(self) -> float:
        """Seconds an intent lives."""
        return self.time_to_live if self.time_to_live is not None else 2.25 * self.store.write_limit

    def look(self, model: str) -> View:
        """Read the model as it is now."""
        live = self._patiently(lambda: self.store.read(model))
        canary_alias = live.aliases.get(tags.CANARY)
        canary = None
        if canary_alias is not None:
            try:
                canary = self._patiently(lambda: self.store.version(model, canary_alias))
            except NotFoundError:
                canary = None  # deleted between the two reads; its alias went with it
        history = tags.history(live.tags)
        rollout = tags.decode_rollout(canary.tags.get(tags.ROLLOUT)) if canary else None
        self._observe(model, history)
        return View(
            model=live,
            history=history,
            state=fold(history.events),
            canary=canary,
            rollout=effective_rollout(live.aliases.get(tags.CHAMPION), canary_alias, rollout),
        )

    def run(
        self,
        model: str,
        request: Request,
        *,
        actor: str,
        reason: str,
        check: Callable[[View, Target], None] | None = None,
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
            check: Called with the view and the target before anything is written; may refuse.
            patience: Seconds to wait for other operations; None for long enough to see a dead one die.
            take_over: For an emergency: do not wait for live operations.
            on_moved: Called with the new champion as soon as its alias has moved.

        Raises:
            RefusedError: The state does not allow it; nothing was changed.
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
                raise _BusyError(living[0])
            if not past and self._housekeep(model, view, actor):
                return None
            state = writes.as_live(view) if past else view.state
            target = decide(self._known(model, state) if request.kind is Kind.EMERGENCY else state, request)
            if isinstance(target, Already):
                return Result(None, target.why)
            if check is not None:
                check(view, target)
            event = self._event(view, request, target, actor, reason)
            done = (self._take_over if past else self._operate)(model, view, event, on_moved)
            if done.outcome is not Outcome.DONE:
                return None  # a take-over that somebody else settled as overtaken: ask anew
            self._pack_if_due(model, actor)
            return Result(done, f"{done.kind} of version {done.to_version} is done")

        return self._until_done(attempt, patience)

    def settle(self, model: str, *, actor: str, patience: float | None = None) -> View:
        """Settle every dead operation and adopt what a hand did; the model as it then is.

        Raises:
            ConflictError: Another operation stayed in flight.
        """
        tags.checked_actor(actor)

        def attempt() -> View | None:
            view = self.look(model)
            living = self._living(model, view.history)
            if living:
                raise _BusyError(living[0])
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
            adopt: Take what hands did into the history first.

        Raises:
            ConflictError: Another operation stayed in flight.
            OutcomeUnknownError: It was interrupted; the writes are idempotent and can be asked for again.
        """

        def attempt() -> View | None:
            view = self.look(model)
            living = self._living(model, view.history)
            if living:
                raise _BusyError(living[0])
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

    def _until_done(self, attempt: Callable[[], T | None], patience: float | None) -> T:
        """Try again, backing off at random while others are busy, until there is an answer or patience ends."""
        until = self.clock.monotonic() + (1.5 * self.lifetime if patience is None else patience)
        wait = 0.05
        while True:
            try:
                answer = attempt()
                if answer is not None:
                    return answer
            except _BusyError as busy:
                pause = self.random.uniform(0, wait)
                wait = min(2 * wait, 2.0)
                if self.clock.monotonic() + pause > until:
                    raise _conflict(busy.other) from None
                self.clock.sleep(pause)

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
            forced=request.force,
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
                self._mirror(model, turn, view.state, done)
                return done
            self._write(model, turn, point, decisive=True)
            if on_moved is not None and isinstance(point, SetAlias) and point.alias == tags.CHAMPION:
                on_moved(point.version)
            self._finish(model, turn, view, done)
        return done

    def _finish(self, model: str, turn: _Turn, view: View, done: Event) -> None:
        """What follows a decisive write; every part can be repeated."""
        for write in writes.after(view, done):
            self._write_if_there(model, turn, write)
        self._mirror(model, turn, view.state, done)
        self._append(model, turn, done)

    def _append(self, model: str, turn: _Turn, event: Event) -> None:
        name, value = tags.event_tag(event)
        self._write(model, turn, SetModelTag(name, value), decisive=True)

    def _mirror(self, model: str, turn: _Turn, before: State, event: Event, *, recorded: bool = False) -> None:
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
        """Settle one dead intent, or adopt what a hand did; whether there was anything of the kind."""
        dead = [intent for intent in view.history.intents if self._is_dead(model, intent)]
        if dead:
            self._settle(model, view, dead[0], actor)
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
                self._mirror(model, turn, view.state, recorded, recorded=True)
            elif event is not None:
                outcome = writes.landed(view, dead)
                point = writes.point(event)
                if reassert and outcome is not Outcome.DONE and point is not None:
                    for write in (*writes.before(view, event), point):
                        self._write(model, turn, write)
                    outcome = Outcome.DONE
                done = replace(event, sequence=view.history.last[0] + 1, outcome=outcome)
                if event.kind in MOVES_CHAMPION and view.state.champion not in (None, event.to_version):
                    # An emergency looked while another operation was in flight, which has been recorded since.
                    done = replace(done, from_version=view.state.champion)
                if outcome is Outcome.DONE:
                    self._finish(model, turn, view, done)
                else:
                    self._defuse(model, turn, event)
                    self._mirror(model, turn, view.state, done)
                    self._append(model, turn, done)
            self._write(model, turn, DeleteModelTag(tags.intent_name(dead.id)))

    def _defuse(self, model: str, turn: _Turn, event: Event) -> None:
        """Mark the rollout of a start that never happened as abandoned, so that no hand can wake it."""
        if event.kind is not Kind.START or event.rollout is None:
            return
        try:
            there = self._patiently(lambda: self.store.version(model, event.rollout.canary))  # type: ignore[union-attr]
        except NotFoundError:
            return
        if tags.decode_rollout(there.tags.get(tags.ROLLOUT)) == event.rollout:
            ended = tags.encode_rollout(event.rollout.ended(RolloutStatus.ABANDONED))
            self._write_if_there(model, turn, SetVersionTag(there.version, tags.ROLLOUT, ended))

    def _adoption(self, view: View, actor: str) -> Event:
        """The event that takes what a hand did into the history."""
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
        turn = _Turn(intent, self.clock.monotonic())
        value = tags.encode_intent(intent)
        target = event.to_version
        point = writes.point(event)
        if target is None or point is None:
            raise TypeError("only an operation that moves the champion can take over")
        try:
            self._patiently(lambda: self.store.write(model, SetModelTag(tags.intent_name(intent.id), value)))
            rivals = [i for i in tags.intents(self.store.read(model).tags) if i.take_over and i.id != intent.id]
            if rivals:
                raise _BusyError(rivals[0])
            self._require_ready(model, event)
            for write in (*writes.before(view, event), point):
                self._write(model, turn, write, decisive=write is point)
        except (_BusyError, FdsError):
            if not turn.decided:
                self._let_go(model, turn)
            raise
        if on_moved is not None:
            on_moved(target)
        while self.clock.monotonic() < turn.began + self.lifetime:
            self.clock.sleep(min(1.0, self.lifetime / 10))
            self.look(model)  # so that the others are seen to be dead
        self._seen[(model, intent.id)] = float("-inf")  # from here on a record to be settled, like any other
        return self._until_done(lambda: self._conclude(model, intent), None)

    def _conclude(self, model: str, mine: Intent) -> Event | None:
        """One step towards the end of a take-over: settle the others, then reassert and record one's own."""
        view = self.look(model)
        living = self._living(model, view.history)
        if living:
            raise _BusyError(living[0])
        others = [intent for intent in view.history.intents if intent.id != mine.id]
        if others:
            self._settle(model, view, others[0], mine.actor)
        elif any(intent.id == mine.id for intent in view.history.intents):
            self._settle(model, view, mine, mine.actor, reassert=True)
        else:
            recorded = view.history.find(mine.id)
            if recorded is None:
                raise OutcomeUnknownError(
                    f"the intent of the emergency {mine.id} was removed by hand",
                    fix="look at the aliases, and run the emergency again if the champion is not the wished one",
                )
            return recorded
        return None

    def _pack_if_due(self, model: str, actor: str) -> None:
        """Pack the oldest loose events once there are too many: an operation of its own, after a success."""
        try:
            view = self.look(model)
            loose = view.history.loose
            doubles = [name for name, e in loose.items() if (e.operation, e.kind) in view.history.packed]
            rest = [event for name, event in loose.items() if name not in doubles]
            due = rest[: -tags.KEEP_LOOSE] if len(rest) > tags.LOOSE else []
            if (not doubles and not due) or view.history.intents:
                return
            with self._turn(model, view, None, actor) as turn:
                while due:
                    name, value, looked = tags.pack(due)
                    if name:
                        self._write(model, turn, SetModelTag(name, value))
                        packed = {(e.operation, e.kind) for e in tags.decode_pack(value)}
                        doubles += [n for n, e in loose.items() if (e.operation, e.kind) in packed]
                    due = due[looked:]
                for name in doubles:
                    if self.clock.monotonic() - turn.began >= self.lifetime / 4:
                        break  # what is left is a double, and the next packing removes it first
                    self._write(model, turn, DeleteModelTag(name))
        except (_BusyError, FdsError) as error:
            log.info("events were not packed this time: %s", error)

    # --- the exclusion -------------------------------------------------------------------------------------

    @contextmanager
    def _turn(self, model: str, view: View, event: Event | None, actor: str | None = None) -> Iterator[_Turn]:
        """Hold the model: write an intent, look again, and go on only if alone and nothing has changed."""
        intent = Intent(
            id=event.operation if event else self.new_id(),
            actor=event.actor if event else actor or "",
            found=view.found,
            event=event,
            time=self.clock.now(),
        )
        turn = _Turn(intent, self.clock.monotonic())
        value = tags.encode_intent(intent)
        try:
            self._patiently(lambda: self.store.write(model, SetModelTag(tags.intent_name(intent.id), value)))
            again = self.look(model)
            others = self._living(model, again.history, but=intent.id)
            if others or again.found != view.found or not any(i.id == intent.id for i in again.history.intents):
                raise _BusyError(others[0] if others else None)
            yield turn
        except OutcomeUnknownError:
            raise
        except FdsError as error:
            if not turn.decided or (isinstance(error, NotFoundError | RefusedError) and not turn.landed):
                self._let_go(model, turn)
                raise
            raise OutcomeUnknownError(
                f"the operation {intent.id} was interrupted after its decisive write was tried: {error.what}",
                fix="read the history: the next operation settles this one and records how it ended",
            ) from error
        except BaseException:
            if not turn.decided:
                self._let_go(model, turn)
            raise
        else:
            self._let_go(model, turn)

    def _let_go(self, model: str, turn: _Turn) -> None:
        try:
            self._patiently(lambda: self.store.write(model, DeleteModelTag(tags.intent_name(turn.intent.id))))
        except FdsError as error:
            log.warning("the intent %s stays behind until it is settled: %s", turn.intent.id, error.what)

    def _write(self, model: str, turn: _Turn, write: Write, *, decisive: bool = False) -> None:
        """One write under the exclusion: each try only after a fresh check of one's own clock and intent."""

        def attempt() -> None:
            self._check_turn(model, turn)
            turn.decided = turn.decided or decisive
            self.store.write(model, write)

        self._patiently(attempt)
        turn.landed = turn.landed or decisive

    def _write_if_there(self, model: str, turn: _Turn, write: Write) -> None:
        """A write that tidies: what was deleted by hand, or what the backend refuses, needs no tidying."""
        try:
            self._write(model, turn, write)
        except (NotFoundError, RefusedError) as error:
            log.warning("left untidied: %s", error.what)

    def _check_turn(self, model: str, turn: _Turn) -> None:
        mine = turn.intent.id
        elapsed = self.clock.monotonic() - turn.began
        if elapsed >= self.lifetime / 2:
            raise OutcomeUnknownError(
                f"the operation {mine} took {elapsed:.1f} s, half of an intent's life, and stopped",
                fix="read the history: the next operation settles this one and records how it ended",
            )
        present = tags.intents(self.store.read(model).tags)
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
        return first is not None and self.clock.monotonic() - first >= self.lifetime

    def _observe(self, model: str, history: History) -> None:
        """Note when each intent was first seen, by one's own monotonic clock; no two clocks are compared."""
        now = self.clock.monotonic()
        present = {(model, intent.id) for intent in history.intents}
        for key in [key for key in self._seen if key[0] == model and key not in present]:
            del self._seen[key]
        for key in present:
            self._seen.setdefault(key, now)

    def _patiently(self, call: Callable[[], T]) -> T:
        """Repeat a registry call that failed for a passing reason, within the time that one write may take."""
        began = self.clock.monotonic()

        def late(_: RetryCallState) -> bool:
            return self.clock.monotonic() - began >= self.store.write_limit

        return Retrying(
            retry=retry_if_exception_type(UnavailableError),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=late,
            sleep=self.clock.sleep,
            reraise=True,
        )(call)


def _conflict(other: Intent | None) -> ConflictError:
    if other is None:
        return ConflictError("other operations kept changing the model", fix="look at the history, then try again")
    what = f"{other.event.kind} of version {other.event.to_version}" if other.event else "housekeeping"
    return ConflictError(
        f"{other.actor} has an operation in flight since {other.time:%Y-%m-%d %H:%M:%S} UTC: {what} ({other.id})",
        fix="wait for it and try again; if its process died, the next try after its time to live settles it",
    )
