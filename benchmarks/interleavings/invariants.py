"""What must hold in every registry state, after every write and at every end of an operation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from itertools import permutations
from typing import Any

from benchmarks.interleavings.explorer import Table, show_table
from benchmarks.interleavings.interned import LIFETIME, MODEL, Registry, Walker
from benchmarks.interleavings.programs import NOW, Call, Ended, FixedRandom
from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.core.lifecycle.operations import Request, Target, decide
from fds_mlflow.core.lifecycle.state import State, fold
from fds_mlflow.errors import FdsError
from fds_mlflow.registry import exclusion, tags, transaction, writes
from fds_mlflow.registry.history import History
from fds_mlflow.registry.store import RegistryStore

STOPPED = frozenset({"ConflictError", "RefusedError", "UnavailableError", "NotFoundError", "ConfigError", "already"})
"""Ends that promise that nothing was changed."""


HAND = "H"
"""Marks the writes of a hand."""


class TickClock:
    """A clock for code that runs alone: waiting is all that takes time."""

    def __init__(self) -> None:
        self.tick = 0.0

    def now(self) -> datetime:
        """For people."""
        return NOW

    def monotonic(self) -> float:
        """The tick."""
        return self.tick

    def sleep(self, seconds: float) -> None:
        """Let whole ticks pass."""
        self.tick += max(1.0, float(round(seconds)))


class Ids:
    """ULIDs that name their process."""

    def __init__(self, letter: str) -> None:
        self.letter = letter
        self.count = 0

    def __call__(self) -> str:
        """The next one."""
        self.count += 1
        return f"01{self.letter}{self.count:023d}"


def alone(store: RegistryStore, letter: str, make: type[transaction.Transactions]) -> transaction.Transactions:
    """Operations by a process that is alone with the registry."""
    return make(store, TickClock(), Ids(letter), random=FixedRandom(), time_to_live=LIFETIME)


@dataclass(frozen=True)
class Recovered:
    """What a registry state leads to when everybody has died and one process settles it."""

    number: int
    wrong: str | None


class Lifecycle:
    """The invariants of the lifecycle of one model.

    Args:
        registry: The registry states they judge.
        start: The state the search begins with.
        recover: The operations that settle what the dead leave behind.
        deleted: Whether a hand deletes the champion's alias.
    """

    def __init__(
        self, registry: Registry, start: int, recover: type[transaction.Transactions], *, deleted: bool = False
    ) -> None:
        self._registry = registry
        self._recover = recover
        self._deleted = deleted
        self._begun = registry.views[start].aliases.get(tags.CHAMPION) is not None
        self._states: dict[tuple[int, bool], str | None] = {}
        self._steps: dict[tuple[int, int, Call, str, bool], str | None] = {}
        self._tables: dict[int, Table] = {}
        self._recovered: dict[int, Recovered] = {}

    # --- what the search asks ----------------------------------------------------------------------------

    def table(self, number: int) -> Table:
        """What a router that reads both aliases at one moment sees, by the routing rule of the design."""
        if number not in self._tables:
            self._tables[number] = self._table(number)
        return self._tables[number]

    def state(self, number: int, touched: bool = False) -> str | None:
        """Of every registry state; whether a hand has touched the registry."""
        key = (number, touched)
        if key not in self._states:
            self._states[key] = self._state(number, touched) or self._after_recovery(number, touched)
        return self._states[key]

    def step(self, before: int, after: int, write: Call, letter: str, touched: bool = False) -> str | None:
        """Of every write; whether a hand has touched the registry, this write included."""
        key = (before, after, write, letter, touched)
        if key not in self._steps:
            self._steps[key] = self._step(*key)
        return self._steps[key]

    def end(self, ended: Ended, letter: str, number: int) -> str | None:
        """Of every end of a program."""
        history = exclusion.read_history(self._registry.views[number].tags)
        mine = [e for e in history.events if e.operation[2] == letter and e.kind is not Kind.ADOPT]
        if ended.how == "done":
            if [(e.operation, e.outcome) for e in mine] != [(ended.operation, Ending.DONE)]:
                return f"{ended.operation} reported success, and the history has {_names(mine)}"
        elif ended.how in STOPPED:
            left = [i.id for i in history.intents if i.id[2] == letter]
            if mine or left:
                return f"{ended.how} promised that nothing was changed, and there is {_names(mine) or left}"
        elif ended.how == "OutcomeUnknownError":
            told = exclusion.read_history(self._registry.views[self.recovered(number).number].tags)
            if ended.operation is None or (told.find(ended.operation) is None and self._has_event(number, ended)):
                return f"the history does not tell how {ended.operation} ended"
        return None

    def _has_event(self, number: int, ended: Ended) -> bool:
        """Whether the operation was one whose end the history tells: housekeeping is repeated instead."""
        history = exclusion.read_history(self._registry.views[number].tags)
        return any(i.id == ended.operation and i.event is not None for i in history.intents)

    # --- of a state --------------------------------------------------------------------------------------

    def _table(self, number: int) -> Table:
        aliases, _, versions = self._registry.frozen[number]
        live = dict(aliases)
        champion, canary = live.get(tags.CHAMPION), live.get(tags.CANARY)
        named = next((dict(t).get(tags.ROLLOUT) for n, _, _, t in versions if n == canary), None)
        rollout = tags.decode_rollout(named)
        if rollout is None or not rollout.active or (rollout.champion, rollout.canary) != (champion, canary):
            return champion, None
        return champion, rollout

    def _state(self, number: int, touched: bool) -> str | None:
        view = self._registry.views[number]
        history = exclusion.read_history(view.tags)
        table = self.table(number)
        status = {n: status for n, status, _, _ in self._registry.frozen[number][2]}
        if self._begun and table[0] is None and not (touched and self._deleted):
            return "there is no champion"
        for version in (table[0], table[1].canary if table[1] else None):
            if version is not None and status.get(version) != "READY":
                return f"traffic goes to version {version}, which is {status.get(version)}"
        if history.damaged:
            return f"tags do not read: {history.damaged}"
        wrong = self._sequence(history) or _sequential(history.events)
        return wrong or (None if touched else _explained(history, table))

    def _sequence(self, history: History) -> str | None:
        """No event lost or doubled: 1..n, each operation once, copies in packs alike."""
        numbers = [event.sequence for event in history.events]
        if numbers != list(range(1, len(numbers) + 1)):
            return f"the sequence is {numbers}"
        loose = [event.operation for event in history.loose.values()]
        if len(set(loose)) != len(loose):
            return f"an operation has two events: {loose}"
        return None

    # --- of a write --------------------------------------------------------------------------------------

    def _step(self, before: int, after: int, write: Call, letter: str, touched: bool) -> str | None:
        old, new = (
            exclusion.read_history(self._registry.views[before].tags),
            exclusion.read_history(self._registry.views[after].tags),
        )
        if new.events[: len(old.events)] != old.events:
            return f"an event was lost or changed: {_names(old.events)} became {_names(new.events)}"
        if letter == HAND or self._same(before, after, touched):
            return None
        mine = [i.event for i in old.intents if i.event is not None and i.id[2] == letter]
        # A hand may have put the canary just where the operation is about to put it: then its tag is what wakes it.
        beaten = touched and any(self.table(after)[1] == event.rollout for event in mine)
        if write not in [writes.point(event) for event in mine] and not beaten:
            tables = f"{show_table(self.table(before))} to {show_table(self.table(after))}"
            return f"routing went from {tables} by another write than the one that decides"
        return None

    def _same(self, before: int, after: int, touched: bool) -> bool:
        """Whether both route alike; or a canary is stopped that only a hand can have woken while it was tidied away."""
        was, now = self.table(before), self.table(after)
        return was == now or (touched and now == (was[0], None))

    # --- after recovery ----------------------------------------------------------------------------------

    def recovered(self, number: int) -> Recovered:
        """What the state leads to when everybody has died and one process settles it."""
        if number not in self._recovered:
            store = Walker(self._registry, number)
            try:
                alone(store, "R", self._recover).settle(MODEL, actor="recovery")
                wrong = None
            except (FdsError, AssertionError) as error:
                wrong = f"recovery failed: {error}"
            self._recovered[number] = Recovered(store.number, wrong)
        return self._recovered[number]

    def _after_recovery(self, number: int, touched: bool) -> str | None:
        done = self.recovered(number)
        if done.wrong is not None:
            return done.wrong
        aliases, _, versions = self._registry.frozen[done.number]
        history = exclusion.read_history(self._registry.views[done.number].tags)
        state = fold(history.events)
        table = self.table(done.number)
        stages = {n: stage for n, _, stage, _ in versions}
        named = {n: tags.decode_rollout(dict(t).get(tags.ROLLOUT)) for n, _, _, t in versions}
        awake = [rollout for rollout in named.values() if rollout is not None and rollout.active]
        wrong = {
            "an intent is left": bool(history.intents),
            "the history disagrees with the registry": (state.champion, state.rollout) != table,
            "routing changed": not self._same(number, done.number, touched),
            "a hand is blamed": not touched
            and any(e.kind is Kind.ADOPT and e.outcome is Ending.DONE for e in history.events),
            # A hand may set one that is inert; that nothing can wake it, the rollout's tag decides.
            "a canary alias is left": not touched and (tags.CANARY in dict(aliases)) != (state.rollout is not None),
            "a rollout tag that nobody ended is left": awake != ([state.rollout] if state.rollout else []),
            "a stage is not mirrored": any(stages[n] != stage for n, stage in state.stages.items()),
        }
        said = [what for what, there in wrong.items() if there]
        return f"after recovery: {', '.join(said)}" if said else self._state(done.number, touched)


def _adopts(event: Event) -> bool:
    return event.kind is Kind.ADOPT and event.outcome is Ending.DONE


def _sequential(events: tuple[Event, ...]) -> str | None:
    """Every event that took effect is one that the state before it allows, and leads where the request leads."""
    state = State()
    for event in events:
        if event.outcome is Ending.DONE and event.kind is not Kind.ADOPT and not _allowed(state, event):
            return f"the history does not allow {_name(event)}: {_names(events)}"
        state = fold([event], state)
    return None


def _allowed(state: State, event: Event) -> bool:
    rollout = event.rollout
    if event.kind in (Kind.POLICY, Kind.REQUEST, Kind.APPROVE):
        return True  # no program asks for them
    there = state.requests.get(event.answers)
    if event.kind is Kind.PROMOTE and state.policy.require and (there is None or there.approval is None):
        return False
    if event.kind is Kind.EMERGENCY:
        # It may have overtaken operations that are recorded before it, and that it could not see when it chose.
        return event.to_version in (*state.former, state.champion)
    arguments: dict[Kind, dict[str, Any]] = {
        Kind.ADVANCE: {"weight": asked_weight(state, event), "force": event.forced},
        Kind.START: {"version": event.to_version, "plan": rollout.plan if rollout else None},
        Kind.COMPLETE: {"force": event.forced},
        Kind.ABORT: {},
        Kind.PAUSE: {},
        Kind.RESUME: {},
    }
    request = Request(event.kind, **arguments.get(event.kind, {"version": event.to_version}))
    if rollout is not None:
        request = replace(request, rollout_id=rollout.id, now=rollout.since)
    try:
        target = decide(state, request)
    except FdsError:
        return False
    moved = event.from_version == state.champion or event.kind in (Kind.STAGE, Kind.RETIRE)
    return moved and target == Target(event.to_version, rollout, event.forced)


def asked_weight(state: State, event: Event) -> int | None:
    """The weight that led from a state to an advance; None where it is the plan's next step, taken without force."""
    if event.rollout is None or state.rollout is None:
        return None
    planned = event.rollout.weight == state.rollout.next_weight and not event.forced
    return None if planned else event.rollout.weight


def _explained(history: History, table: Table) -> str | None:
    """Routing is what the history says, or what it says with operations in flight that have landed."""
    pending = [i.event for i in history.intents if i.event is not None and history.find(i.id) is None]
    base = fold(history.events)
    for count in range(len(pending) + 1):
        for some in permutations(pending, count):
            state = fold(some, base)
            if (state.champion, state.rollout) == table:
                return None
    return f"nothing explains {show_table(table)}: history {_names(history.events)}, in flight {_names(pending)}"


def _name(event: Event) -> str:
    done = "" if event.outcome is Ending.DONE else f" ({event.outcome})"
    return f"{event.sequence} {event.kind} {event.to_version}{done} of {event.operation[2]}{event.operation[-4:]}"


def _names(events: Any) -> str:
    return ", ".join(_name(event) for event in events)
