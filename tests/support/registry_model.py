"""A registry in memory that can be watched, killed and made to fail, and the model the tests run operations on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from fds_mlflow.core.lifecycle.events import Kind, Policy
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.lifecycle.state import fold
from fds_mlflow.core.plan.approval import Approval
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.routing.routing import effective_rollout
from fds_mlflow.errors import AwaitsApprovalError
from fds_mlflow.registry import tags
from fds_mlflow.registry.history import History, read_history
from fds_mlflow.registry.memory import MemoryStore
from fds_mlflow.registry.store import ModelView, SetAlias, VersionView, Write
from fds_mlflow.registry.transaction import Result, Transactions
from tests.conftest import FakeClock

MODEL = "fraud"
Routing = tuple[int | None, int | None, int | None]


def _nothing(_number: int, _write: Write | None) -> None:
    """No hook."""


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class WatchedStore(MemoryStore):
    """MemoryStore that counts its calls, keeps its writes, and fails where a test says so.

    Attributes:
        calls: Calls so far.
        writes: Writes that landed, in order.
        kill_at: The process is killed before this call (counted from 1).
        kill_at_write: The process is killed before this write (counted from 1).
        seconds: How long a call takes by the clock.
    """

    def __init__(self, shared: MemoryStore | None = None, clock: FakeClock | None = None) -> None:
        super().__init__()
        if shared is not None:
            self.models = shared.models
        self.clock = clock
        self.calls = 0
        self.writes: list[Write] = []
        self.seconds = 0.0
        self.kill_at: int | None = None
        self.kill_at_write: int | None = None
        self.fail_before: Callable[[int, Write | None], BaseException | None] = _nothing
        self.fail_after: Callable[[int, Write | None], BaseException | None] = _nothing
        self.on_call: Callable[[int, Write | None], None] = _nothing

    def _call(self, write: Write | None = None) -> Iterator[None]:
        self.calls += 1
        number = self.calls
        if self.kill_at is not None and number >= self.kill_at:
            raise Killed
        if write is not None and len(self.writes) + 1 == self.kill_at_write:
            self.kill_at = number  # from here on it is gone
            raise Killed
        self.on_call(number, write)
        if self.clock is not None:
            self.clock.seconds += self.seconds
        if error := self.fail_before(number, write):
            raise error
        yield
        if error := self.fail_after(number, write):
            raise error

    def read(self, model: str) -> ModelView:
        """As MemoryStore."""
        for _ in self._call():
            view = super().read(model)
        return view

    def version(self, model: str, version: int) -> VersionView:
        """As MemoryStore."""
        for _ in self._call():
            view = super().version(model, version)
        return view

    def write(self, model: str, write: Write) -> None:
        """As MemoryStore."""
        for _ in self._call(write):
            super().write(model, write)
            self.writes.append(write)


@dataclass
class World:
    """A model of six READY versions, and people who act on it."""

    clock: FakeClock = field(default_factory=FakeClock)
    store: MemoryStore = field(default_factory=MemoryStore)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        if MODEL not in self.store.models:
            self.store.add(MODEL, versions=6)

    def new_id(self) -> str:
        """ULIDs in the order in which they were asked for."""
        return f"{next(self.numbers):026d}"

    def process(self, store: MemoryStore | None = None) -> Transactions:
        """Another process: it knows nothing of what others saw."""
        return Transactions(store or self.store, self.clock, self.new_id, Random(1))

    def watched(self) -> WatchedStore:
        """A process's own access to the registry."""
        return WatchedStore(self.store, self.clock)

    def dying(self, before: type) -> WatchedStore:
        """Access for a process that is killed just before its first write of a type."""
        store = self.watched()

        def watch(number: int, write: Write | None) -> None:
            if isinstance(write, before):
                store.kill_at = number
                raise Killed

        store.on_call = watch
        return store

    def request(self, kind: Kind, version: int | None = None, **more: object) -> Request:
        """A request with what its kind needs."""
        if kind is Kind.START:
            more = {"plan": Plan(), "rollout_id": self.new_id(), "now": self.clock.now(), **more}
        if kind in (Kind.ADVANCE, Kind.PAUSE, Kind.RESUME):
            more = {"now": self.clock.now(), **more}
        return Request(kind, version, **more)  # type: ignore[arg-type]

    def do(
        self,
        kind: Kind,
        version: int | None = None,
        *,
        by: Transactions | None = None,
        actor: str = "ann",
        reason: str = "because",
        **more: object,
    ) -> Result:
        """Run one operation as `ann`, in a process of its own unless told otherwise."""
        process = by or self.process()
        take_over = kind is Kind.EMERGENCY
        return process.run(MODEL, self.request(kind, version, **more), actor=actor, reason=reason, take_over=take_over)

    def by_hand(self, write: Write) -> None:
        """Somebody changes the registry past us."""
        self.store.write(MODEL, write)

    @property
    def history(self) -> History:
        """What the tags say."""
        return read_history(self.store.models[MODEL].tags)

    @property
    def aliases(self) -> dict[str, int]:
        """The live aliases."""
        return dict(self.store.models[MODEL].aliases)

    def routing(self) -> Routing:
        """What a router would do now: champion, canary that takes traffic, its weight."""
        model = self.store.models[MODEL]
        there = {alias: version for alias, version in model.aliases.items() if version in model.versions}
        champion, canary = there.get(tags.CHAMPION), there.get(tags.CANARY)
        named = tags.decode_rollout(model.versions[canary].tags.get(tags.ROLLOUT)) if canary else None
        rollout = effective_rollout(champion, canary, named)
        return (champion, rollout.canary, rollout.weight) if rollout else (champion, None, None)

    def folded_routing(self) -> Routing:
        """What the history says a router should do."""
        state = fold(self.history.events)
        rollout = state.rollout
        return (state.champion, rollout.canary, rollout.weight) if rollout else (state.champion, None, None)

    def assert_settled(self) -> None:
        """History, aliases and stages agree; nothing hangs; the sequence has no gap and no double."""
        history = self.history
        assert history.intents == ()
        assert history.damaged == ()
        assert [event.sequence for event in history.events] == list(range(1, len(history.events) + 1))
        assert len({event.operation for event in history.events}) == len(history.events)
        assert self.folded_routing() == self.routing()
        assert (tags.CANARY in self.aliases) == (self.routing()[1] is not None)
        there = self.store.models[MODEL].versions
        folded = fold(history.events).stages
        assert {v: there[v].stage for v in folded if v in there} == {v: s for v, s in folded.items() if v in there}


@dataclass(frozen=True)
class Scenario:
    """A situation and the operation that is tried in it."""

    name: str
    prepare: Callable[[World], None]
    kind: Kind
    version: int | None = None
    more: dict[str, object] = field(default_factory=dict)

    def world(self) -> World:
        """A fresh world in this situation."""
        world = World()
        self.prepare(world)
        return world

    def run(self, world: World, by: Transactions) -> Result:
        """Try the operation."""
        return world.do(self.kind, self.version, by=by, **self.more)


def _champion(world: World) -> None:
    world.do(Kind.PROMOTE, 1)


def _two_champions(world: World) -> None:
    _champion(world)
    world.do(Kind.PROMOTE, 2)


def _rollout(world: World) -> None:
    _two_champions(world)
    world.do(Kind.START, 3)


def _paused(world: World) -> None:
    _rollout(world)
    world.do(Kind.PAUSE)


def _asked(world: World) -> None:
    """A policy asks for approvals, and version 3 waits for one."""
    _two_champions(world)
    world.do(Kind.POLICY, policy=Policy((Approval.PROMOTE,)))
    with suppress(AwaitsApprovalError):
        world.do(Kind.PROMOTE, 3)


def _approved(world: World) -> None:
    _asked(world)
    world.do(Kind.APPROVE, actor="bob", answers=request_in(world))


def request_in(world: World) -> str:
    """The id of the request that waits."""
    (request,) = fold(world.history.events).requests
    return request


def _left_over_canary(world: World) -> None:
    """Version 3 was on trial against version 2; a hand moved the champion to 4, and version 3's alias stayed."""
    _rollout(world)
    tag = world.store.models[MODEL].versions[3].tags[tags.ROLLOUT]
    world.do(Kind.ABORT)
    world.do(Kind.PROMOTE, 4)
    world.store.models[MODEL].versions[3].tags[tags.ROLLOUT] = tag
    world.by_hand(SetAlias(tags.CANARY, 3))


def _hand_moved(world: World) -> None:
    _two_champions(world)
    world.by_hand(SetAlias(tags.CHAMPION, 5))


SCENARIOS = [
    Scenario("stage", lambda _world: None, Kind.STAGE, 1),
    Scenario("first promotion", lambda _world: None, Kind.PROMOTE, 1),
    Scenario("promotion", _champion, Kind.PROMOTE, 2),
    Scenario("start", _two_champions, Kind.START, 3),
    Scenario("advance", _rollout, Kind.ADVANCE),
    Scenario("advance to 50 %", _rollout, Kind.ADVANCE, None, {"weight": 5_000, "force": True}),
    Scenario("complete", _rollout, Kind.COMPLETE, None, {"force": True}),
    Scenario("abort", _rollout, Kind.ABORT),
    Scenario("emergency", _two_champions, Kind.EMERGENCY),
    Scenario("emergency in a rollout", _rollout, Kind.EMERGENCY),
    Scenario("rollback", _two_champions, Kind.ROLLBACK, 1),
    Scenario("rollback in a rollout", _rollout, Kind.ROLLBACK, 1),
    Scenario("pause", _rollout, Kind.PAUSE),
    Scenario("resume", _paused, Kind.RESUME),
    Scenario("abort of a paused rollout", _paused, Kind.ABORT),
    Scenario("policy", _two_champions, Kind.POLICY, None, {"policy": Policy((Approval.PROMOTE,))}),
    Scenario("promotion that is approved", _approved, Kind.PROMOTE, 3),
    Scenario("retire", lambda world: world.do(Kind.STAGE, 1), Kind.RETIRE, 1),
    Scenario("promotion that would wake an old canary", _left_over_canary, Kind.PROMOTE, 2),
    Scenario("start past an old canary", _left_over_canary, Kind.START, 5),
    Scenario("promotion after a hand", _hand_moved, Kind.PROMOTE, 3),
    Scenario("rollback after a hand", _hand_moved, Kind.ROLLBACK, 1),
]
ids = [scenario.name for scenario in SCENARIOS]
