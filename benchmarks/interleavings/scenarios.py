"""What is explored: histories to begin with, the processes that meet there, and how far each search goes."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import combinations_with_replacement, product
from unittest.mock import patch

from benchmarks.interleavings.explorer import Found, Limits, Search
from benchmarks.interleavings.interned import LIFETIME, MODEL, Registry, quick_reading
from benchmarks.interleavings.invariants import HAND, Lifecycle, alone
from benchmarks.interleavings.programs import NOW, FixedRandom, Port, Program
from fds_mlflow.core.lifecycle.events import Kind, Policy
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.lifecycle.state import fold
from fds_mlflow.core.plan.approval import Approval
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.routing.routing import RoutingTable
from fds_mlflow.errors import AwaitsApprovalError
from fds_mlflow.registry import aliases, tags
from fds_mlflow.registry.history import read_history
from fds_mlflow.registry.memory import MemoryStore
from fds_mlflow.registry.store import DeleteAlias, SetAlias, SetVersionTag, Write
from fds_mlflow.registry.transaction import Result, Transactions

PLAN = Plan([10, 100])
LONG = 5.0
"""How long the intent of a process lives, in ticks, to which the registry is slow."""
OPERATIONS = (
    Kind.STAGE,
    Kind.PROMOTE,
    Kind.START,
    Kind.ADVANCE,
    Kind.COMPLETE,
    Kind.ABORT,
    Kind.EMERGENCY,
    Kind.ROLLBACK,
    Kind.RETIRE,
)
THREE = (Kind.PROMOTE, Kind.ADVANCE, Kind.ABORT, Kind.ROLLBACK)


def request_of(kind: Kind, version: int | None = None) -> Request:
    """A request; `version` is for the kinds that put a new version forward."""
    match kind:
        case Kind.START:
            return Request(kind, version, plan=PLAN, rollout_id=f"rollout-{version}", now=NOW)
        case Kind.STAGE | Kind.PROMOTE | Kind.RETIRE:
            return Request(kind, version)
        case Kind.ROLLBACK:
            return Request(kind, 1)
        case Kind.ADVANCE | Kind.PAUSE | Kind.RESUME:
            return Request(kind, now=NOW)
        case Kind.COMPLETE:
            return Request(kind, force=True)
        case _:
            return Request(kind)


IDLE = (request_of(Kind.PROMOTE, 1), request_of(Kind.PROMOTE, 2), request_of(Kind.STAGE, 3))
ROLLOUT = (*IDLE, request_of(Kind.START, 3))
PAUSED = (*ROLLOUT, request_of(Kind.PAUSE))
APPROVED = (
    *IDLE,
    Request(Kind.POLICY, policy=Policy((Approval.PROMOTE,))),
    request_of(Kind.PROMOTE, 3),
    Request(Kind.APPROVE),
)
HISTORIES = {"new": (), "idle": IDLE, "rollout": ROLLOUT, "paused": PAUSED, "approved": APPROVED}
"""Requests that lead to the first state. idle: champion 2, former champion 1, candidate 3. Version 4 is unknown yet.
approved: a policy asks for the approval of promotions, and that of version 3 has one."""


HANDS: dict[str, tuple[Write, ...]] = {
    "moves the champion": (SetAlias(tags.CHAMPION, 1),),
    "moves the champion to a new version": (SetAlias(tags.CHAMPION, 4),),
    "moves the champion away and back": (SetAlias(tags.CHAMPION, 1), SetAlias(tags.CHAMPION, 2)),
    "deletes the champion": (DeleteAlias(tags.CHAMPION),),
    "deletes the canary": (DeleteAlias(tags.CANARY),),
    "moves the canary": (SetAlias(tags.CANARY, 4),),
    "edits the rollout into nonsense": (SetVersionTag(3, tags.ROLLOUT, '{"weight": "all of it"}'),),
}
"""What hands do, in the order of their writes."""

_OF_ROLLOUTS = frozenset({"deletes the canary", "moves the canary", "edits the rollout into nonsense"})


def beginning(requests: Iterable[Request]) -> MemoryStore:
    """The registry after these requests."""
    store = MemoryStore()
    store.add(MODEL, versions=4)
    setup = alone(store, "Z", Transactions)
    for request in requests:
        asked = fold(read_history(store.read(MODEL).tags).events).requests
        actor, answers = ("second", next(iter(asked))) if request.kind is Kind.APPROVE else ("setup", "")
        with suppress(AwaitsApprovalError):
            setup.run(MODEL, replace(request, answers=answers), actor=actor, reason="set up")
    return store


def writer(letter: str, request: Request, make: type[Transactions], lifetime: float = LIFETIME) -> Program:
    """A process that carries out one request; its intents live so many ticks."""

    def body(port: Port) -> Result:
        transactions = make(port, port, port.new_id, random=FixedRandom(), time_to_live=lifetime)
        take_over = request.kind is Kind.EMERGENCY
        return transactions.run(MODEL, request, actor=letter, reason="asked for", take_over=take_over)

    version = "" if request.version is None else f" {request.version}"
    return Program(f"{letter} ({request.kind}{version})", letter, body, takes_over=request.kind is Kind.EMERGENCY)


def reader() -> Program:
    """A process that reads the routing table once, as routers and servers do."""

    def body(port: Port) -> RoutingTable:
        return aliases.read(port, MODEL).routing

    return Program("router", "Q", body, reader=True, mortal=False)


def hand(name: str) -> Program:
    """A person who writes past us."""

    def body(port: Port) -> Result:
        for write in HANDS[name]:
            port.write(MODEL, write)
        return Result(None, "")

    return Program(f"a hand ({name})", HAND, body, mortal=False, hand=True)


@dataclass(frozen=True)
class Scenario:
    """Some processes that meet in one registry state.

    Attributes:
        history: Name of the history to begin with.
        kinds: What each writer does.
        limits: How far the search goes.
        routed: Whether a router reads at any two moments.
        packing: Whether every operation packs: three loose events are too many, one stays.
        hand: What a person does past us, at any moment.
        versions: What each writer puts forward, where it does that.
        lifetimes: Ticks for which each writer's intents live, none less than `LIFETIME`.
    """

    history: str
    kinds: tuple[Kind, ...]
    limits: Limits = field(default_factory=Limits)
    routed: bool = False
    packing: bool = False
    hand: str | None = None
    versions: tuple[int, ...] = (3, 4, 4)
    lifetimes: tuple[float, ...] = (LIFETIME, LIFETIME, LIFETIME)

    @property
    def name(self) -> str:
        """For tables."""
        limits = self.limits
        more = [
            f"{count} {what}"
            for count, what in ((limits.slow, "slow"), (limits.crashes, "killed"), (limits.failures, "failed"))
            if count
        ]
        more += [f"a hand {self.hand}"] if self.hand else []
        unequal = len(set(self.lifetimes)) > 1
        more += [f"lives of {' and '.join(f'{ticks:g}' for ticks in self.lifetimes)}"] if unequal else []
        more += [what for what, there in (("router", self.routed), ("packing", self.packing)) if there]
        return f"{self.history}: {self._requests}{' + ' if more else ''}{', '.join(more)}"

    @property
    def _requests(self) -> str:
        requests = [request_of(kind, version) for kind, version in zip(self.kinds, self.versions, strict=False)]
        return " | ".join(f"{w.kind}{'' if w.version is None else f' {w.version}'}" for w in requests)


@dataclass(frozen=True)
class Code:
    """The code under test: as it is, or a mutant.

    Attributes:
        make: The operations.
        recover: The operations that settle what the dead leave behind.
        changed: What is replaced while it runs.
    """

    make: type[Transactions] = Transactions
    recover: type[Transactions] = Transactions
    changed: Callable[[], AbstractContextManager[object]] = nullcontext


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector of cycles: a search keeps millions of tuples, and looking them through takes most of it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def explore(scenario: Scenario, code: Code | None = None) -> Found:
    """Search one scenario until the first violation."""
    as_written = code is None
    code = code or Code()
    store = beginning(HISTORIES[scenario.history])
    with ExitStack() as stack:
        stack.enter_context(_uncollected())
        if scenario.packing:
            stack.enter_context(patch.multiple(tags, LOOSE=3, KEEP_LOOSE=1))
        stack.enter_context(code.changed())
        stack.enter_context(quick_reading(failures=scenario.limits.failures > 0))
        registry = Registry()
        start = registry.number(store)
        programs = [
            writer(letter, request_of(kind, version), code.make, lifetime)
            for letter, kind, version, lifetime in zip(
                "ABC", scenario.kinds, scenario.versions, scenario.lifetimes, strict=False
            )
        ]
        if scenario.hand is not None:
            programs.append(hand(scenario.hand))
        if scenario.routed:
            programs.append(reader())
        deleted = scenario.hand is not None and DeleteAlias(tags.CHAMPION) in HANDS[scenario.hand]
        judge = Lifecycle(registry, start, code.recover, deleted=deleted)
        return Search(registry, programs, judge, scenario.limits, as_written=as_written).run(start)


# --- the sets ------------------------------------------------------------------------------------------------


_NEW_VERSION = (Kind.STAGE, Kind.PROMOTE, Kind.START, Kind.RETIRE)
"""The kinds that put a version forward: with these it matters who comes first."""


def pairs(
    limits: Limits,
    *,
    routed: bool = False,
    kinds: Sequence[Kind] = OPERATIONS,
    hand: str | None = None,
    histories: Sequence[str] = ("idle", "rollout"),
) -> Iterator[Scenario]:
    """Two writers over every pair of operations; in both orders where that makes a difference."""
    for history, first, second in product(histories, kinds, kinds):
        orders = {first, second} & set(_NEW_VERSION)
        if orders or kinds.index(first) <= kinds.index(second):
            yield Scenario(history, (first, second), limits, routed, hand=hand)


def handed(limits: Limits, names: Iterable[str], kinds: Sequence[Kind] = OPERATIONS) -> Iterator[Scenario]:
    """A hand beside one writer: every change by every operation, with a router."""
    for history, name, kind in product(("idle", "rollout"), names, kinds):
        if history == "rollout" or name not in _OF_ROLLOUTS:
            yield Scenario(history, (kind,), limits, routed=True, hand=name)


def handed_pairs(limits: Limits, names: Iterable[str], kinds: Sequence[Kind]) -> Iterator[Scenario]:
    """A hand beside two writers."""
    for name in names:
        yield from pairs(limits, kinds=kinds, hand=name, histories=("rollout",))


def unequal(scenarios: Iterable[Scenario]) -> Iterator[Scenario]:
    """The same two writers, one of whom is given longer than the other."""
    for scenario, lifetimes in product(scenarios, ((LIFETIME, LONG), (LONG, LIFETIME))):
        yield replace(scenario, lifetimes=lifetimes)


def threes(limits: Limits) -> Iterator[Scenario]:
    """Three writers, from both histories."""
    for history in ("idle", "rollout"):
        for three in combinations_with_replacement(THREE, 3):
            yield Scenario(history, three, limits)


def packings(limits: Limits) -> Iterator[Scenario]:
    """Two writers, each of which packs."""
    for history in ("idle", "rollout"):
        for two in combinations_with_replacement((Kind.STAGE, Kind.PROMOTE, Kind.ABORT), 2):
            yield Scenario(history, two, limits, packing=True)


def firsts(limits: Limits) -> Iterator[Scenario]:
    """Two writers on a model without a history."""
    for two in product((Kind.STAGE, Kind.PROMOTE, Kind.RETIRE), repeat=2):
        yield Scenario("new", two, limits, routed=True)


def paused(limits: Limits) -> Iterator[Scenario]:
    """One who pauses or resumes, and one who does something else with the rollout."""
    for other in (Kind.PAUSE, Kind.ADVANCE, Kind.COMPLETE, Kind.ABORT, Kind.ROLLBACK):
        yield Scenario("rollout", (Kind.PAUSE, other), limits, routed=True)
    for other in (Kind.RESUME, Kind.ABORT, Kind.ROLLBACK):
        yield Scenario("paused", (Kind.RESUME, other), limits, routed=True)


def approved(limits: Limits) -> Iterator[Scenario]:
    """One who carries out what was approved, and one who does the same, or moves what it was approved for."""
    for other in (Kind.PROMOTE, Kind.ROLLBACK, Kind.STAGE, Kind.EMERGENCY):
        yield Scenario("approved", (Kind.PROMOTE, other), limits, versions=(3, 3, 4))


def without(kind: Kind, scenarios: Iterable[Scenario]) -> Iterator[Scenario]:
    """Those in which nobody does this."""
    return (scenario for scenario in scenarios if kind not in scenario.kinds)


def only(kind: Kind, scenarios: Iterable[Scenario]) -> Iterator[Scenario]:
    """Those in which somebody does this."""
    return (scenario for scenario in scenarios if kind in scenario.kinds)


@dataclass(frozen=True)
class Group:
    """Scenarios that belong together."""

    name: str
    scenarios: Callable[[], Iterator[Scenario]]


def _selected(limits: Limits, *two: tuple[Kind, Kind]) -> Iterator[Scenario]:
    for kinds in two:
        yield Scenario("rollout" if Kind.ABORT in kinds or Kind.ADVANCE in kinds else "idle", kinds, limits)


_E = Kind.EMERGENCY
_CORE = (Kind.PROMOTE, Kind.START, Kind.ADVANCE, Kind.ABORT, Kind.ROLLBACK)
_CUT = 2_500

SMALL = (
    Group("two writers and a router", lambda: without(_E, pairs(Limits(states=2 * _CUT), routed=True))),
    Group("a first version", lambda: firsts(Limits())),
    Group("two that pack", lambda: packings(Limits(states=_CUT))),
    Group("one of two is killed", lambda: pairs(Limits(crashes=1, states=_CUT), kinds=_CORE)),
    Group("calls that fail", lambda: pairs(Limits(failures=1, states=_CUT), kinds=(Kind.PROMOTE, Kind.ABORT))),
    Group("a pause, one killed", lambda: paused(Limits(crashes=1, states=_CUT))),
    Group("an approval, one killed", lambda: approved(Limits(crashes=1, states=_CUT))),
    Group("slow calls", lambda: _selected(Limits(slow=3, states=20_000), (Kind.PROMOTE, Kind.PROMOTE))),
    Group(
        "unequal lifetimes, one killed or slow",
        lambda: (
            *unequal(pairs(Limits(crashes=1, states=_CUT), kinds=(Kind.PROMOTE, Kind.ABORT, Kind.EMERGENCY))),
            *unequal(_selected(Limits(slow=3, states=8 * _CUT), (Kind.PROMOTE, Kind.PROMOTE))),
        ),
    ),
    Group("a hand and a writer", lambda: handed(Limits(states=_CUT), HANDS, (Kind.PROMOTE, Kind.ABORT))),
    Group("an emergency that takes over", lambda: only(_E, pairs(Limits(states=_CUT // 2)))),
    Group("three writers", lambda: (s for s in threes(Limits(states=_CUT)) if len(set(s.kinds)) == 3)),
)
"""What CI explores: every search stops at a limit of states, the shortest histories first."""

_ALL = Limits(states=3_000_000)

FULL = (
    Group("two writers and a router", lambda: pairs(_ALL, routed=True)),
    Group("a first version", lambda: firsts(replace(_ALL, crashes=2))),
    Group("two that pack, both killed", lambda: packings(replace(_ALL, crashes=2))),
    Group("one of two is killed, and a router", lambda: without(_E, pairs(replace(_ALL, crashes=1), routed=True))),
    Group("both of two are killed", lambda: pairs(replace(_ALL, crashes=2))),
    Group("calls that fail", lambda: pairs(replace(_ALL, failures=1))),
    Group("a hand, a killed writer and a router", lambda: handed(replace(_ALL, crashes=1), HANDS)),
    Group("a hand and two writers", lambda: handed_pairs(_ALL, HANDS, _CORE)),
    Group("a pause, both killed", lambda: paused(replace(_ALL, crashes=2))),
    Group("an approval, both killed", lambda: approved(replace(_ALL, crashes=2))),
    Group("three writers", lambda: threes(_ALL)),
    Group("slow calls", lambda: without(_E, pairs(replace(_ALL, slow=3)))),
    Group("unequal lifetimes, one of two killed", lambda: unequal(pairs(replace(_ALL, crashes=1)))),
    Group("unequal lifetimes and slow calls", lambda: unequal(without(_E, pairs(replace(_ALL, slow=3))))),
    Group("an emergency and slow calls", lambda: only(_E, pairs(replace(_ALL, slow=2)))),
)
"""Everything."""
