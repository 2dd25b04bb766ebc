"""The mutation check: each takes one safeguard away, and some invariant must notice."""

# ruff: noqa: ARG002 - what a mutant leaves out, it does not look at

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from benchmarks._explorer import Limits
from benchmarks._scenarios import Code, Scenario
from fds_mlflow.core.events import Event, Kind, Rollout
from fds_mlflow.core.routing import RoutingTable, effective_rollout
from fds_mlflow.registry import exclusion, tags, writes
from fds_mlflow.registry.store import DeleteAlias, DeleteModelTag, Write
from fds_mlflow.registry.tags import Found, History, Intent
from fds_mlflow.registry.transaction import Transactions
from fds_mlflow.registry.view import View
from fds_mlflow.serving import router
from fds_mlflow.serving.router import Router


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

    def _check_turn(self, model: str, turn: exclusion.Turn) -> None:
        turn.began = self.clock.monotonic()
        super()._check_turn(model, turn)


class Hasty(Transactions):
    """Takes others for dead while their last write may still land."""

    @property
    def lifetime(self) -> float:
        """Twice the longest write, where more than that is needed."""
        return 2 * self.store.write_limit


class Boastful(Transactions):
    """Records its event before the write that decides."""

    def _operate(self, model: str, view: View, event: Event, on_moved: Any = None) -> Event:
        done = tags.numbered(event, view.history.last[0] + 1)
        with self._turn(model, view, event) as turn:
            self._require_ready(model, event)
            for write in writes.before(view, event):
                self._write(model, turn, write)
            self._append(model, turn, done)
            point = writes.point(event)
            if point is not None:
                self._write(model, turn, point, decisive=True)
            for write in writes.after(view, done):
                self._write_if_there(model, turn, write)
            self._mirror(model, turn, view.state, done)
        return done


class Backwards(Router):
    """Reads the champion before the canary."""

    def _read(self) -> RoutingTable:
        champion = self._store.by_alias(self.model, tags.CHAMPION)
        canary = self._store.by_alias(self.model, tags.CANARY)
        if champion is None:
            return super()._read()
        named = tags.decode_rollout(canary.tags.get(tags.ROLLOUT)) if canary else None
        return RoutingTable(
            champion.version, effective_rollout(champion.version, canary.version if canary else None, named)
        )


def _found_is_never_asked() -> AbstractContextManager[object]:
    return patch.object(Found, "__eq__", lambda *_: True)


def _any_baseline(champion: int | None, canary: int | None, rollout: Rollout | None) -> Rollout | None:
    named = replace(rollout, champion=champion) if rollout is not None and champion is not None else None
    return rollout if effective_rollout(champion, canary, named) else None


@contextmanager
def _no_baseline() -> Iterator[None]:
    with ExitStack() as stack:
        for module in (router, exclusion):
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
    real = tags.history

    def history(given: Mapping[str, str]) -> History:
        found = real(given)
        packs = [tags.decode_pack(value) for name, value in given.items() if tags._PACK.fullmatch(name)]
        events = [*(event for pack in packs for event in pack), *found.loose.values()]
        return replace(found, events=tuple(sorted(events, key=lambda e: (e.sequence, e.operation))))

    return patch.object(tags, "history", history)


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
        Code(router=Backwards),
        Scenario("rollout", (Kind.ROLLBACK, Kind.PROMOTE), routed=True),
    ),
    Mutant("the dropping of packed doubles", _changed(_doubles_kept), Scenario("idle", (Kind.PROMOTE,), packing=True)),
)
