"""The mutation check: each takes one safeguard away, and some invariant must notice."""

# ruff: noqa: ARG002 - what a mutant leaves out, it does not look at

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from benchmarks.interleavings.explorer import Limits
from benchmarks.interleavings.interned import LIFETIME
from benchmarks.interleavings.scenarios import LONG, Code, Scenario
from fds_mlflow.core.lifecycle.events import Ending, Event, Kind, Rollout
from fds_mlflow.core.routing.routing import RoutingTable, effective_rollout
from fds_mlflow.errors import OutcomeUnknownError, UnavailableError
from fds_mlflow.registry import aliases, exclusion, tags, writes
from fds_mlflow.registry.aliases import Aliases
from fds_mlflow.registry.history import History, in_flight, numbered
from fds_mlflow.registry.store import DeleteAlias, DeleteModelTag, RegistryStore, Write
from fds_mlflow.registry.tags import Intent, Precondition
from fds_mlflow.registry.transaction import Transactions
from fds_mlflow.registry.view import View


@dataclass(frozen=True)
class Mutant:
    """Code without one safeguard.

    Attributes:
        name: What was taken away.
        code: The code without it.
        scenario: Where it is looked for.
    """

    name: str
    code: Code
    scenario: Scenario


class Deaf(Transactions):
    """Ignores other operations."""

    def _living(self, model: str, history: History, *, but: str | None = None) -> list[Intent]:
        return []


class Forgetful(Transactions):
    """Throws dead intents away without settling them."""

    def _settle(self, model: str, view: View, dead: Intent, actor: str, **_: Any) -> None:
        with self._turn(model, view, None, actor) as turn:
            self._write(model, turn, DeleteModelTag(tags.intent_name(dead.id)))


class Timeless(Transactions):
    """Goes on writing however long it takes."""

    def _check_turn(self, model: str, turn: exclusion.Turn, *, asked: bool) -> None:
        turn.began = self.clock.monotonic()
        super()._check_turn(model, turn, asked=asked)


class Hasty(Transactions):
    """Takes others for dead while their last write may still land."""

    def _lifetime_of(self, intent: Intent) -> float:
        """Twice the longest write, where more than that is needed."""
        return 2 * self.store.write_limit


class Selfish(Transactions):
    """Takes others for dead by its own intents' life."""

    def _lifetime_of(self, intent: Intent) -> float:
        return self.lifetime


class Boastful(Transactions):
    """Records its event before the write that decides."""

    def _operate(self, model: str, view: View, event: Event, on_moved: Any = None) -> Event:
        done = numbered(event, view.history.last[0] + 1)
        with self._turn(model, view, event) as turn:
            for write in writes.before(view, event):
                self._write(model, turn, write)
            self._append(model, turn, done)
            point = writes.point(event)
            if point is not None:
                self._write(model, turn, point, decisive=True)
            for write in writes.after(view, done):
                self._write_if_there(model, turn, write)
            self._mirror(model, turn, view, done)
        return done


class Early(Transactions):
    """Looks at its own clock before it asks whether its turn goes on, not after."""

    def _check_turn(self, model: str, turn: exclusion.Turn, *, asked: bool) -> None:
        if self.clock.monotonic() - turn.began >= self._half(turn):
            raise OutcomeUnknownError(f"the operation {turn.intent.id} stopped", fix="read the history")
        if asked and not any(intent.id == turn.intent.id for intent in in_flight(self.store.read(model).tags)):
            raise OutcomeUnknownError(f"the operation {turn.intent.id} was taken over", fix="read the history")


def _reading(first: str, second: str) -> AbstractContextManager[object]:
    """A router that reads each alias once, in this order."""

    def read(store: RegistryStore, model: str) -> Aliases:
        one = store.by_alias(model, first)
        other = store.by_alias(model, second)
        champion, canary = (one, other) if first == tags.CHAMPION else (other, one)
        if champion is None:
            raise UnavailableError("there is no champion", fix="promote a version")
        return Aliases(RoutingTable(champion.version, aliases._rollout(champion, canary)), champion, canary)

    return patch.object(aliases, "read", read)


def _unlanded_first() -> AbstractContextManager[object]:
    def first(view: View, dead: Sequence[Intent]) -> Intent:
        return min(dead, key=lambda intent: (writes.landed(view, intent) is Ending.DONE, intent.take_over))

    return patch.object(writes, "first_to_settle", first)


def _history_ignored() -> AbstractContextManager[object]:
    real = writes.landed

    def landed(view: View, dead: Intent) -> Ending:
        return real(view, replace(dead, found=replace(dead.found, last=view.history.last)))

    return patch.object(writes, "landed", landed)


def _found_is_never_asked() -> AbstractContextManager[object]:
    return patch.object(Precondition, "__eq__", lambda *_: True)


def _any_baseline(champion: int | None, canary: int | None, rollout: Rollout | None) -> Rollout | None:
    named = replace(rollout, champion=champion) if rollout is not None and champion is not None else None
    return rollout if effective_rollout(champion, canary, named) else None


@contextmanager
def _no_baseline() -> Iterator[None]:
    with ExitStack() as stack:
        for module in (aliases, exclusion):
            stack.enter_context(patch.object(module, "effective_rollout", _any_baseline))
        yield


def _tidied_first() -> AbstractContextManager[object]:
    real = writes.before

    def before(view: View, event: Event) -> list[Write]:
        return [DeleteAlias(tags.CANARY)] if event.kind is Kind.COMPLETE else real(view, event)

    return patch.object(writes, "before", before)


def _left_to_wake() -> AbstractContextManager[object]:
    real = writes.before
    return patch.object(writes, "before", lambda view, event: real(view, event) if event.kind is Kind.START else [])


def _doubles_kept() -> AbstractContextManager[object]:
    real = exclusion.read_history

    def history(given: Mapping[str, str]) -> History:
        found = real(given)
        events = [*(event for pack in found.packs.values() for event in pack), *found.loose.values()]
        return replace(found, events=tuple(sorted(events, key=lambda e: (e.sequence, e.operation))))

    return patch.object(exclusion, "read_history", history)


def _one(make: type[Transactions]) -> Code:
    return Code(make=make)


def _changed(changed: Callable[[], AbstractContextManager[object]]) -> Code:
    return Code(changed=changed)


_TWO = (Kind.PROMOTE, Kind.PROMOTE)

MUTANTS = (
    Mutant("the exclusion", _one(Deaf), Scenario("idle", _TWO)),
    Mutant("the second read", _changed(_found_is_never_asked), Scenario("idle", _TWO)),
    Mutant("the settling of dead intents", Code(make=Forgetful, recover=Forgetful), Scenario("idle", _TWO)),
    Mutant("the check of one's own clock", _one(Timeless), Scenario("idle", _TWO, Limits(slow=3))),
    Mutant("the length of an intent's life", _one(Hasty), Scenario("idle", _TWO, Limits(slow=3))),
    Mutant(
        "the life that the writer gave its intent",
        _one(Selfish),
        Scenario("idle", _TWO, Limits(slow=3), lifetimes=(LONG, LIFETIME, LIFETIME)),
    ),
    Mutant("the order: alias, then event", _one(Boastful), Scenario("idle", (Kind.PROMOTE,))),
    Mutant("the order: champion, then tidying", _changed(_tidied_first), Scenario("rollout", (Kind.COMPLETE,))),
    Mutant("the baseline rule of routing", _changed(_no_baseline), Scenario("rollout", (Kind.ROLLBACK,), routed=True)),
    Mutant(
        "the putting to sleep of an old canary",
        _changed(_left_to_wake),
        Scenario("rollout", (Kind.COMPLETE, Kind.EMERGENCY)),
    ),
    Mutant(
        "the router's order: canary, then champion",
        _changed(lambda: _reading(tags.CHAMPION, tags.CANARY)),
        Scenario("rollout", (Kind.ROLLBACK, Kind.PROMOTE), routed=True),
    ),
    Mutant(
        "the router's second look at the canary",
        _changed(lambda: _reading(tags.CANARY, tags.CHAMPION)),
        Scenario("rollout", (Kind.ROLLBACK, Kind.PROMOTE), routed=True, versions=(1, 2)),
    ),
    Mutant(
        "the settling of landed operations first", _changed(_unlanded_first), Scenario("idle", _TWO, Limits(crashes=2))
    ),
    Mutant(
        "writing off whoever looked before the last event",
        _changed(_history_ignored),
        Scenario("rollout", (Kind.ABORT, Kind.ABORT), Limits(crashes=1)),
    ),
    Mutant("the clock after the read", _one(Early), Scenario("idle", (Kind.START, Kind.START), Limits(slow=3))),
    Mutant("the dropping of packed doubles", _changed(_doubles_kept), Scenario("idle", (Kind.PROMOTE,), packing=True)),
)
