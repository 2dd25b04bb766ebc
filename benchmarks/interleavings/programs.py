"""Real code, run one registry call at a time: where it stands is decided by the answers it has been given."""

# ruff: noqa: ARG002 - the signatures are the registry port's and the standard library's

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from types import FunctionType, MethodType
from typing import Any, NamedTuple, cast, get_args

from greenlet import GreenletExit, getcurrent, greenlet

from benchmarks.interleavings.interned import Asking, Read
from fds_mlflow.core.lifecycle import state as folded
from fds_mlflow.core.lifecycle.approval import OpenRequest
from fds_mlflow.core.lifecycle.events import AliasNames, Asked, Event, Policy, Rollout
from fds_mlflow.core.lifecycle.operations import Request, Target
from fds_mlflow.core.routing.routing import RoutingTable
from fds_mlflow.errors import FdsError, OutcomeUnknownError
from fds_mlflow.registry import exclusion
from fds_mlflow.registry.history import History
from fds_mlflow.registry.store import ModelView, VersionView, Write
from fds_mlflow.registry.tags import Intent
from fds_mlflow.registry.view import View

NOW = datetime(2026, 1, 1, tzinfo=UTC)


_WANTED = {
    "_checked": "status",
    "_mirror": "stage",
    "_defuse": "rollout",
    "look": "canary",
}
"""What the callers of `version` look at."""


class Sleep(NamedTuple):
    """A wait until a tick."""

    until: float


Call = Read | Sleep | Write


class Ended(NamedTuple):
    """How a program ended: its answer, or the error's class name; and the operation it names."""

    how: str
    operation: str | None
    answer: Any = None


class FixedRandom(Random):
    """Backing off: the first pauses take no time, the later ones a tick each."""

    def uniform(self, a: float, b: float) -> float:
        """Nothing while the bound is small, then one tick."""
        return 0.0 if b <= 0.05 else 1.0


class Port(Asking):
    """Registry, clock and source of ULIDs of one process: every call is handed to the explorer."""

    def __init__(self, letter: str, *, exact: bool = False) -> None:
        self.letter = letter
        self._exact = exact
        self._left = False
        self.tick = 0.0
        self._named = (-1.0, 0)  # the tick of the last ULID, and how many there are of that tick
        self.seen: list[tuple[float, float, bool] | float] = []  # what was learnt of the clock since the last call

    def ask(self, call: Call) -> Any:
        """Hand a call out, and wait until the explorer has an answer to try."""
        if self._left:
            raise GreenletExit
        try:
            return getcurrent().parent.switch(call)
        except GreenletExit:
            self._left = True  # thrown in when the search is over: nothing that tidies up may call any more
            raise

    def read(self, model: str) -> ModelView:
        """Aliases and tags, and what the caller wants to know by them."""
        caller = sys._getframe(1)
        if caller.f_code.co_name == "_check_turn":
            asked = Read("read", None, caller.f_locals["turn"].intent.id)
        else:
            asked = Read(
                "read", None, None, "a turn" if caller.f_code.co_qualname.startswith("Exclusion.look.") else None
            )
        view: ModelView = self._answer(asked)
        return view

    def version(self, model: str, version: int) -> VersionView:
        """One version, of which most callers look at one thing only."""
        names = sys._getframe(1).f_code.co_qualname.split(".")
        view: VersionView = self._answer(Read("version", version, None, _WANTED.get(names[1]) if names[1:] else None))
        return view

    def now(self) -> datetime:
        """For people; never used for order, so it stands still."""
        return NOW

    def monotonic(self) -> float:
        """The tick, and a note of what the caller will learn from it."""
        caller = sys._getframe(1)
        names = caller.f_locals
        match caller.f_code.co_name:
            case "_check_turn":
                self._note(names["turn"].began, names["self"]._half(names["turn"]))
            case "_is_dead":
                self._note(names["first"], names["self"]._lifetime_of(names["intent"]))
            case "_observe":
                known = names["self"]._seen
                if any((names["model"], intent.id) not in known for intent in names["history"].intents):
                    self.seen.append(self.tick)
            case "_until_done" if "pause" in names:
                self._note(names["until"] - names["pause"], 0.0)
            case "_patiently" if not self._exact:
                pass  # it matters after a failed call only
            case _:
                self.seen.append(self.tick)
        return self.tick

    def _note(self, since: float, limit: float) -> None:
        self.seen.append((since, limit, self.tick - since >= limit))

    def sleep(self, seconds: float) -> None:
        """Wait a whole number of ticks; the pauses between tries of one call take none."""
        tenacity = sys._getframe(1).f_globals["__name__"].startswith("tenacity")
        pause = 0.0 if tenacity or seconds <= 0 else max(1.0, float(round(seconds)))
        self.seen.append(self.tick)
        self.ask(Sleep(self.tick + pause))

    def new_id(self) -> str:
        """A ULID that names its process and its tick: what was named in earlier ticks makes no difference to it."""
        self.seen.append(self.tick)
        tick, count = self._named
        self._named = (self.tick, count + 1 if tick == self.tick else 1)
        return f"01{self.letter}{int(self.tick):021d}{self._named[1]:02d}"

    @property
    def named(self) -> tuple[float, int] | None:
        """What decides the next ULID, as far as it differs from other places of this tick."""
        return self._named if self._named[0] == self.tick else None


@dataclass(frozen=True)
class Program:
    """What one process does.

    Attributes:
        name: For traces.
        letter: Marks its ULIDs; one of a ULID's letters.
        body: The real code, given a port.
        reader: Whether it only reads; its answer is a routing table.
        mortal: Whether it may be killed.
        takes_over: Whether it disregards live operations.
        hand: Whether it is a person who writes past us, at any moment however long from now.
    """

    name: str
    letter: str
    body: Callable[[Port], Any]
    reader: bool = False
    mortal: bool = True
    takes_over: bool = False
    hand: bool = False


Facts = tuple[tuple[float, float, bool] | float, ...]


def _hold(facts: Facts, tick: float) -> bool:
    """Whether reading the clock at this tick teaches the code the same."""
    return all(fact == tick if isinstance(fact, float) else (tick - fact[0] >= fact[1]) is fact[2] for fact in facts)


class _Node:
    """A place in a program: its pending call, and the answer and the tick that led to it."""

    __slots__ = ("answer", "call", "children", "live", "parent", "tick")

    def __init__(self, call: Call | Ended, parent: int, answer: Any, tick: float) -> None:
        self.call = call
        self.parent = parent
        self.answer = answer
        self.tick = tick
        self.children: dict[Any, list[tuple[Facts, int]]] = {}
        self.live: tuple[greenlet, Port] | None = None


class Process:
    """The places of a program met so far, numbered."""

    def __init__(self, program: Program, *, exact: bool = False) -> None:
        self.program = program
        self.nodes: list[_Node] = []
        self.runs = 0
        self._exact = exact
        self._places: dict[Any, int] = {}
        live, port, call = self._begin()
        self._add(call, -1, None, port, live)

    def _begin(self) -> tuple[greenlet, Port, Call | Ended]:
        port = Port(self.program.letter, exact=self._exact)
        live = greenlet(lambda: _ended(self.program.body, port))
        self.runs += 1
        return live, port, live.switch()

    def _add(self, call: Call | Ended, parent: int, answer: Any, port: Port, live: greenlet) -> int:
        """Number a place, unless the code stands at a known one: the same frames with the same variables."""
        inside = call if isinstance(call, Ended) else (call, _fingerprint(live))
        if inside in self._places:
            return self._places[inside]
        node = _Node(call, parent, answer, port.tick)
        if not isinstance(call, Ended):
            node.live = (live, port)
        self._places[inside] = len(self.nodes)
        self.nodes.append(node)
        return len(self.nodes) - 1

    def pending(self, place: int) -> Call:
        """The call that waits for its answer at a place where the program has not ended."""
        return cast(Call, self.nodes[place].call)

    def step(self, place: int, key: Any, answer: Any, tick: float) -> int:
        """Where the program stands after its pending call was answered."""
        known = self.nodes[place].children.setdefault(key, [])
        for facts, child in known:
            if _hold(facts, tick):
                return child
        live, port = self._at(place)
        port.tick, port.seen = tick, []
        call = live.switch(answer)
        child = self._add(call, place, answer, port, live)
        known.append((tuple(port.seen), child))
        return child

    def _at(self, place: int) -> tuple[greenlet, Port]:
        """The running code at a place; run again from the beginning where it has gone on already."""
        node = self.nodes[place]
        if node.live is not None:
            live, node.live = node.live, None
            return live
        path = []
        while node.parent >= 0:
            path.append(node)
            node = self.nodes[node.parent]
        fresh, port, _ = self._begin()
        for node in reversed(path):
            port.tick, port.seen = node.tick, []
            fresh.switch(node.answer)
        return fresh, port


_CONSTANT = frozenset({"body", "model", "request", "actor", "reason", "check", "patience", "take_over", "on_moved"})
"""Variables that a program's own arguments decide."""

_SPENT = frozenset({"other", "busy", "pause", "left", "answer"})
"""Variables of `_until_done` that are set anew before they are read again, or only named to people."""

_IGNORED = _CONSTANT | _SPENT

_DONE_WITH = frozenset(
    {"view", "again", "others", "living", "past", "state", "target", "turn", "intent", "value", "event", "dead", "call"}
)
"""Variables that nobody reads any more once an intent is being removed; its name is in the call."""

_CARRIERS = frozenset({__name__, "tenacity", "contextlib", "random"})
"""Modules whose frames only carry ours."""


def _fingerprint(live: greenlet) -> tuple[Any, ...]:
    """All that decides how suspended code goes on: where each of its frames stands, and their variables.

    Loops over several writes or versions keep their position in the current, never repeated, element.
    """
    frames = []
    frame = live.gr_frame
    while frame is not None:
        if frame.f_globals["__name__"] not in _CARRIERS:
            frames.append(frame)
        frame = frame.f_back
    leaving = any(frame.f_code.co_name == "_let_go" for frame in frames)
    ignored = _IGNORED | _DONE_WITH if leaving else _IGNORED
    return tuple(
        (frame.f_code, frame.f_lasti, tuple((n, _held(n, v)) for n, v in frame.f_locals.items() if n not in ignored))
        for frame in frames
    )


def _held(name: str, value: Any) -> Any:
    return value > 0.05 if name == "wait" else _value(value)  # all that `FixedRandom` asks


def _cells(function: FunctionType) -> Any:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    held = tuple((name, _value(cell.cell_contents)) for name, cell in cells if name not in _CONSTANT)
    return function.__code__, held, _value(function.__defaults__)


def _folded(state: folded.State) -> Any:
    stages = tuple(state.stages.items())
    who = state.sequence, state.champion, stages, state.rollout, state.former, state.withdrawn
    return (*who, state.policy, tuple(state.requests.items()))


_STAND_INS: tuple[tuple[tuple[type, ...], Callable[[Any], Any]], ...] = (
    ((ModelView, VersionView, History), id),  # interned by the registry for as long as the search lives
    ((View,), lambda view: (id(view.model), id(view.canary))),
    ((folded.State,), _folded),
    ((exclusion.Turn,), lambda turn: (turn.intent, turn.began, turn.fresh, turn.decided, turn.landed)),
    ((exclusion.Exclusion,), lambda owner: (frozenset(owner._seen.items()), owner.new_id.__self__.named)),
    ((Port,), lambda port: port.named),
    ((list, tuple), lambda items: tuple(map(_value, items))),
    ((set,), frozenset),
    ((dict,), lambda items: tuple((_value(key), _value(value)) for key, value in items.items())),
    ((FunctionType,), _cells),
    ((MethodType,), lambda method: (method.__func__.__code__, _value(method.__self__))),
    ((BaseException,), lambda error: (type(error), tuple(map(_value, error.args)))),
)
_THEMSELVES = (
    type(None),
    bool,
    int,
    float,
    str,
    type,
    frozenset,
    Request,
    Intent,
    Event,
    Asked,
    OpenRequest,
    Policy,
    Rollout,
    AliasNames,
    Target,
    RoutingTable,
)
_known: dict[type, Callable[[Any], Any]] = {}


def _value(value: Any) -> Any:
    """A hashable stand-in that is equal only for values that code cannot tell apart."""
    kind = type(value)
    if kind not in _known:
        _known[kind] = _stand_in(kind)
    return _known[kind](value)


def _stand_in(kind: type) -> Callable[[Any], Any]:
    if issubclass(kind, _THEMSELVES) or kind in get_args(Write):
        return lambda value: value
    for kinds, stand_in in _STAND_INS:
        if issubclass(kind, kinds):
            return stand_in
    raise TypeError(f"variables of {kind} cannot be told apart")


def _ended(body: Callable[[Port], Any], port: Port) -> Ended:
    try:
        answer = body(port)
    except FdsError as error:
        words = error.what.split()
        operation = words[2] if isinstance(error, OutcomeUnknownError) else None
        return Ended(type(error).__name__, operation)
    if isinstance(answer, RoutingTable):
        return Ended("routes", None, (answer.champion, answer.rollout))
    event = answer.event
    return Ended("done" if event else "already", event.operation if event else None)
