"""What is explored: histories to begin with, the processes that meet there, and how far each search goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from unittest.mock import patch

from benchmarks._explorer import Found, Limits, Search
from benchmarks._interned import MODEL, Registry, quick_reading
from benchmarks._invariants import Lifecycle, alone
from benchmarks._programs import LIFETIME, NOW, FixedRandom, Port, Program
from fds_mlflow.core.events import Kind
from fds_mlflow.core.operations import Request
from fds_mlflow.core.plan import Plan
from fds_mlflow.core.routing import RoutingTable
from fds_mlflow.registry import tags
from fds_mlflow.registry.store import MemoryStore
from fds_mlflow.registry.transaction import Result, Transactions
from fds_mlflow.serving.router import Router

PLAN = Plan([10, 100])
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


def wish(kind: Kind, version: int) -> Request:
    """A request; `version` is for the kinds that put a new version forward."""
    match kind:
        case Kind.START:
            return Request(kind, version, plan=PLAN, rollout_id=f"rollout-{version}", now=NOW)
        case Kind.STAGE | Kind.PROMOTE | Kind.RETIRE:
            return Request(kind, version)
        case Kind.ROLLBACK:
            return Request(kind, 1)
        case Kind.ADVANCE:
            return Request(kind, now=NOW)
        case Kind.COMPLETE:
            return Request(kind, force=True)
        case _:
            return Request(kind)


IDLE = (wish(Kind.PROMOTE, 1), wish(Kind.PROMOTE, 2), wish(Kind.STAGE, 3))
ROLLOUT = (*IDLE, wish(Kind.START, 3))
HISTORIES = {"new": (), "idle": IDLE, "rollout": ROLLOUT}
"""Requests that lead to the first state. idle: champion 2, former champion 1, candidate 3. Version 4 is unknown yet."""


def beginning(requests: Iterable[Request]) -> MemoryStore:
    """The registry after these requests."""
    store = MemoryStore()
    store.add(MODEL, versions=4)
    setup = alone(store, "Z", Transactions)
    for request in requests:
        setup.run(MODEL, request, actor="setup", reason="")
    return store


def writer(letter: str, request: Request, make: type[Transactions]) -> Program:
    """A process that carries out one request."""

    def body(port: Port) -> Result:
        transactions = make(port, port, port.new_id, random=FixedRandom(), time_to_live=LIFETIME)
        take_over = request.kind is Kind.EMERGENCY
        return transactions.run(MODEL, request, actor=letter, reason="", take_over=take_over)

    version = "" if request.version is None else f" {request.version}"
    return Program(f"{letter} ({request.kind}{version})", letter, body)


def reader(make: type[Router]) -> Program:
    """A process that reads the routing table once."""

    def body(port: Port) -> RoutingTable:
        return make(MODEL, port, _no_scorer, clock=port).refresh()

    return Program("router", "Q", body, reader=True, mortal=False)


def _no_scorer(version: int) -> None:  # type: ignore[misc]
    raise AssertionError(f"nobody scores, and version {version} was loaded")


@dataclass(frozen=True)
class Scenario:
    """Some processes that meet in one registry state.

    Attributes:
        history: Name of the history to begin with.
        kinds: What each writer does.
        limits: How far the search goes.
        routed: Whether a router reads at any two moments.
        packing: Whether every operation packs: three loose events are too many, one stays.
    """

    history: str
    kinds: tuple[Kind, ...]
    limits: Limits = field(default_factory=Limits)
    routed: bool = False
    packing: bool = False

    @property
    def name(self) -> str:
        """For tables."""
        limits = self.limits
        more = [
            f"{count} {what}"
            for count, what in ((limits.slow, "slow"), (limits.crashes, "killed"), (limits.failures, "failed"))
            if count
        ]
        more += [what for what, there in (("router", self.routed), ("packing", self.packing)) if there]
        return f"{self.history}: {' | '.join(self.kinds)}{' + ' if more else ''}{', '.join(more)}"


@dataclass(frozen=True)
class Code:
    """The code under test: as it is, or a mutant.

    Attributes:
        make: The operations.
        recover: The operations that settle what the dead leave behind.
        router: The reader.
        changed: What is replaced while it runs.
    """

    make: type[Transactions] = Transactions
    recover: type[Transactions] = Transactions
    router: type[Router] = Router
    changed: Callable[[], AbstractContextManager[object]] = nullcontext


def explore(scenario: Scenario, code: Code | None = None) -> Found:
    """Search one scenario until the first violation."""
    code = code or Code()
    store = beginning(HISTORIES[scenario.history])
    with ExitStack() as stack:
        if scenario.packing:
            stack.enter_context(patch.multiple(tags, LOOSE=3, KEEP_LOOSE=1))
        stack.enter_context(code.changed())
        stack.enter_context(quick_reading(failures=scenario.limits.failures > 0))
        registry = Registry()
        start = registry.number(store)
        versions = (3, 4, 4)
        programs = [
            writer(letter, wish(kind, version), code.make)
            for letter, kind, version in zip("ABC", scenario.kinds, versions, strict=False)
        ]
        if scenario.routed:
            programs.append(reader(code.router))
        return Search(registry, programs, Lifecycle(registry, start, code.recover), scenario.limits).run(start)


# --- the sets ------------------------------------------------------------------------------------------------


def pairs(limits: Limits, *, routed: bool = False, kinds: Sequence[Kind] = OPERATIONS) -> Iterator[Scenario]:
    """Two writers over every pair of operations, from both histories."""
    for history in ("idle", "rollout"):
        for two in combinations_with_replacement(kinds, 2):
            yield Scenario(history, two, limits, routed)


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
    for two in combinations_with_replacement((Kind.STAGE, Kind.PROMOTE, Kind.RETIRE), 2):
        yield Scenario("new", two, limits, routed=True)


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
_CUT = 4_000

SMALL = (
    Group("two writers and a router", lambda: without(_E, pairs(Limits(states=2 * _CUT), routed=True))),
    Group("a first version", lambda: firsts(Limits())),
    Group("two that pack", lambda: packings(Limits(states=_CUT))),
    Group("one of two is killed", lambda: pairs(Limits(crashes=1, states=_CUT), kinds=_CORE)),
    Group("calls that fail", lambda: pairs(Limits(failures=1, states=_CUT), kinds=(Kind.PROMOTE, Kind.ABORT))),
    Group("slow calls", lambda: _selected(Limits(slow=3, states=30_000), (Kind.PROMOTE, Kind.PROMOTE))),
    Group("an emergency that takes over", lambda: only(_E, pairs(Limits(states=_CUT)))),
    Group("three writers", lambda: (s for s in threes(Limits(states=_CUT)) if len(set(s.kinds)) == 3)),
)
"""What CI explores: every search stops at a limit of states, the shortest histories first."""

FULL = (
    Group("two writers and a router", lambda: pairs(Limits(), routed=True)),
    Group("a first version", lambda: firsts(Limits(crashes=1))),
    Group("two that pack, one killed", lambda: packings(Limits(crashes=1))),
    Group("one of two is killed", lambda: pairs(Limits(crashes=1))),
    Group("both of two are killed", lambda: without(_E, pairs(Limits(crashes=2)))),
    Group("calls that fail", lambda: without(_E, pairs(Limits(failures=1)))),
    Group("slow calls", lambda: without(_E, pairs(Limits(slow=3)))),
    Group("an emergency and slow calls", lambda: only(_E, pairs(Limits(slow=2)))),
    Group("three writers", lambda: threes(Limits())),
)
"""Everything."""
