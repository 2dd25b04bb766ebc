"""A small explicit-state explorer that runs the real operation code, one registry call at a time.

A program is real code (`Transactions.run`, `Router.refresh`) on a port that hands every registry call and every
sleep out to the explorer. Between two calls such code is deterministic, so where a process stands is decided by
the answers and clock readings it has been given: its local states form a tree, grown on demand by running the code
in a greenlet (and run again from its beginning where a second answer is tried at the same place). Registry states
and answers are interned. A global state is then a short tuple of numbers, and one step costs a few dictionary
look-ups; visited states are pruned. The search is breadth first, so the first violation has a shortest trace.

Time is a whole number of ticks, one clock for all (offsets do not matter, as no two clocks are ever compared):

- a registry call is issued at one moment and lands at another, at most one tick later: `write_limit` is one tick;
- an intent's life is three ticks, the least whole number above twice that, so its owner stops writing at 1.5;
- computing takes no time; a sleep ends in the tick in which it is due;
- a killed process leaves its pending write either never to land, or to land within that same limit;
- `slow` bounds how many ticks may pass while a call is pending. Ticks in which everyone sleeps are free.

"Dead" can therefore be concluded exactly where the protocol's assumption allows it, and a crashed owner's intent is
seen to die by whoever keeps looking. All constraints are closed or have slack, so whole ticks lose no order of events.

Reductions, by what the code holds and reads:

- places of a program whose frames stand at the same instruction with the same variables are one place;
- `_check_turn` keeps nothing and answers with an exception or not, so two reads that it judges alike are one;
- so are two versions that differ in nothing that the caller looks at;
- a clock reading that is only compared counts by the outcome of the comparison;
- a step that depends on nothing that others can do, nor they on it, is explored first and alone (partial order);
- where a program ended, and how old a call is that no tick can pass any more, makes no difference afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.interleavings.interned import Read, Registry, born
from benchmarks.interleavings.programs import Call, Ended, Process, Program, Sleep
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.errors import UnavailableError
from fds_mlflow.registry.store import Write

Table = tuple[int | None, Rollout | None]


class Judge(Protocol):
    """What must hold; each answer is a sentence that says what does not, or None."""

    def table(self, number: int) -> Table:
        """What a router that reads both aliases at one moment sees."""
        ...

    def state(self, number: int, touched: bool) -> str | None:
        """Of every registry state; whether a hand has touched the registry."""
        ...

    def step(self, before: int, after: int, write: Call, letter: str, touched: bool) -> str | None:
        """Of every write; whether a hand has touched the registry, this write included."""
        ...

    def end(self, ended: Ended, letter: str, number: int) -> str | None:
        """Of every end of a program."""
        ...


@dataclass(frozen=True)
class Limits:
    """What the search may do besides running the programs.

    Attributes:
        slow: Ticks that may pass while a call is pending.
        crashes: Processes that may be killed.
        failures: Calls that may fail for a passing reason, before or after the write was done.
        states: Global states after which the search gives up.
    """

    slow: int = 0
    crashes: int = 0
    failures: int = 0
    states: int = 2_000_000


@dataclass
class Found:
    """What a search found.

    Attributes:
        states: Global states.
        registry_states: States of the registry among them.
        steps: Steps between global states.
        runs: How often a program was run from its beginning.
        complete: Whether all were explored, within the limit of states.
        violation: What does not hold.
        trace: A shortest way to that.
    """

    states: int = 0
    registry_states: int = 0
    steps: int = 0
    runs: int = 0
    complete: bool = True
    violation: str | None = None
    trace: list[str] = field(default_factory=list)


_GONE = -1  # ended, or killed with nothing under way
_FAILED = UnavailableError("the call failed on the way", fix="try again")

Place = tuple[int, int, int]  # where it stands (below -1: a dead one's write), the age of its call, what it may read
State = tuple[int, float, int, int, int, tuple[Place, ...]]
Label = tuple[int, str, Any]  # which process, what happens, to which call


class Search:
    """Every interleaving of some programs from one registry state.

    Args:
        registry: The states.
        programs: What runs.
        judge: What must hold.
        limits: How far to go.
        as_written: Whether the code is as written: the reductions that know what its decisions depend on hold. A mutant
            is explored without them.
    """

    def __init__(
        self,
        registry: Registry,
        programs: Sequence[Program],
        judge: Judge,
        limits: Limits,
        *,
        as_written: bool = True,
    ) -> None:
        self._as_written = as_written
        self._registry = registry
        self._judge = judge
        self._limits = limits
        self._processes = [Process(program, exact=limits.failures > 0) for program in programs]
        self._readers = [i for i, program in enumerate(programs) if program.reader]
        self._hands = frozenset(i for i, program in enumerate(programs) if program.hand)
        self._undisturbed = [
            not any(other.takes_over for other in programs if other is not program) for program in programs
        ]
        self._orphans: list[Write] = []
        self._windows: dict[frozenset[Table], int] = {frozenset(): 0}
        self._window_list: list[frozenset[Table]] = [frozenset()]
        self._from: dict[State, tuple[State, Label] | None] = {}
        self._labels: dict[Label, Label] = {}
        self._found = Found()
        self._wrong: str | None = None

    def run(self, number: int) -> Found:
        """Search breadth first, until the first violation."""
        limits, found = self._limits, self._found
        places = tuple((0, 0, 0) for _ in self._processes)
        first: State = (number, 0.0, limits.slow, limits.crashes, limits.failures, places)
        self._from[first] = None
        layer = [first]
        while layer and found.violation is None:
            if len(self._from) > limits.states:
                found.complete = False
                break
            layer = self._next(layer)
        found.states = len(self._from)
        found.registry_states = len({state[0] for state in self._from})
        found.runs = sum(process.runs for process in self._processes)
        return found

    def _next(self, layer: list[State]) -> list[State]:
        """The states that one more step reaches, the new ones among them."""
        fresh: list[State] = []
        known, labels = self._from, self._labels
        for state in layer:
            for after, label in self._steps(state):
                self._found.steps += 1
                if self._wrong is not None:
                    self._found.violation = self._wrong
                    self._found.trace = [*self._trace(state), self._said(label)]
                    return []
                if after not in known:
                    known[after] = (state, labels.setdefault(label, label))
                    fresh.append(after)
        return fresh

    def _steps(self, state: State) -> Iterator[tuple[State, Label]]:
        number, tick, slow, crashes, failures, places = state
        calling = late = waiting = False
        processes = self._processes
        calls = [processes[i].pending(place) if place > _GONE else None for i, (place, _, _) in enumerate(places)]
        for i, call in enumerate(calls):
            if call is not None and self._is_local(i, call, tick, slow):
                yield self._answered(state, i, call)
                return
        for i, call in enumerate(calls):
            if call is None:
                if places[i][0] < _GONE:
                    waiting, late = True, late or places[i][1] > 0
                    yield self._land(state, i)
                continue
            if not isinstance(call, Sleep):
                if i not in self._hands:
                    calling, late = True, late or places[i][1] > 0
                yield self._answered(state, i, call)
                yield from self._failures(state, i, call)
            waiting = waiting or i not in self._hands
            yield from self._deaths(state, i, call)
        if waiting and not late and (slow or not calling):
            slow -= calling
            aged = self._aged(places, calls, slow, crashes)
            yield (number, tick + 1, slow, crashes, failures, aged), (-1, "a tick passes", None)

    def _is_local(self, i: int, call: Call, tick: float, slow: int) -> bool:
        """Whether nothing that others do meanwhile, before or after, makes a difference to this step, or it to them.

        It is then explored first, and alone. Who wakes up reads the clock only. A read that takes no time is local
        where its answer cannot change: nobody takes an intent that was written in this tick for dead, and nobody but a
        hand or a take-over by somebody else disregards a live one.
        """
        if isinstance(call, Sleep):
            return tick >= call.until
        if slow or self._hands or not isinstance(call, Read) or not self._as_written:
            return False
        if call.checking is not None:
            return self._undisturbed[i] and born(call.checking) == tick
        return call.wanted in ("nothing", "status")

    def _aged(
        self, places: tuple[Place, ...], calls: Sequence[Call | None], slow: int, crashes: int
    ) -> tuple[Place, ...]:
        """The places one tick later; the age of a call counts while another tick may pass before it is answered."""
        aged = list(places)
        for i, (place, _, window) in enumerate(places):
            call = calls[i]
            counts = slow or (crashes and not isinstance(call, Read))  # a killed one's write may land a tick later
            if place < _GONE or (call is not None and counts and i not in self._hands and not isinstance(call, Sleep)):
                aged[i] = (place, 1, window)
            elif call is not None:
                aged[i] = (place, 0, window)
        return tuple(aged)

    def _answered(self, state: State, i: int, call: Call) -> tuple[State, Label]:
        if isinstance(call, Sleep):
            return self._go(state, i, after=state[0], key="awake", answer=None)
        after, answer, key = self._registry.call(state[0], call)
        if self._as_written and isinstance(call, Read) and call.wanted == "a turn" and not state[2]:
            program = self._processes[i].program
            crowd = None if program.takes_over else self._registry.crowded(state[0], program.letter, state[1])
            answer, key = crowd or (answer, key)
        return self._go(state, i, after=after, key=key, answer=answer)

    def _failures(self, state: State, i: int, call: Call) -> Iterator[tuple[State, Label]]:
        """The caller of a write is told that it failed, before or after it was done."""
        if state[4] and i not in self._hands and not isinstance(call, Read | Sleep):
            after, _, _ = self._registry.call(state[0], call)
            for there, what in ((state[0], "fails before"), (after, "fails after")):
                yield self._go(state, i, after=there, key="failed", answer=_FAILED, what=what, failed=1)

    def _deaths(self, state: State, i: int, call: Call) -> Iterator[tuple[State, Label]]:
        """The process is killed; a write it had sent may land yet."""
        if state[3] and self._processes[i].program.mortal:
            yield self._die(state, i, _GONE, "is killed before")
            if not isinstance(call, Read | Sleep):
                yield self._die(state, i, self._orphan(call), "is killed during")

    def _go(
        self, state: State, i: int, *, after: int, key: Any, answer: Any, what: str = "", failed: int = 0
    ) -> tuple[State, Label]:
        """The process goes on to its next call, or ends."""
        number, tick, slow, crashes, failures, places = state
        place, _, window = places[i]
        process = self._processes[i]
        call = process.pending(place)
        there = process.step(place, key, answer, tick)
        if after != number:
            self._wrong = self._judged(state, i, after, call)
        if process.program.reader and window == 0:
            window = self._window(frozenset((self._judge.table(after),)))
        changed = list(places)
        changed[i] = (there, 0, window)
        if after != number and self._readers:
            self._watch(changed, after)
        ended = process.nodes[there].call
        if isinstance(ended, Ended) and self._wrong is None:
            seen = self._window_list[changed[i][2]]
            changed[i] = (_GONE, 0, 0)
            self._wrong = self._read(ended, seen) if process.program.reader else None
            self._wrong = self._wrong or self._judge.end(ended, process.program.letter, after)
        return (after, tick, slow, crashes, failures - failed, tuple(changed)), (i, what, call)

    def _judged(self, state: State, i: int, after: int, write: Call) -> str | None:
        touched = i in self._hands or any(state[5][hand][0] != 0 for hand in self._hands)
        letter = self._processes[i].program.letter
        return self._judge.step(state[0], after, write, letter, touched) or self._judge.state(after, touched)

    def _die(self, state: State, i: int, place: int, what: str) -> tuple[State, Label]:
        number, tick, slow, crashes, failures, places = state
        changed = list(places)
        changed[i] = (place, places[i][1], 0)
        call = self._processes[i].pending(places[i][0])
        return (number, tick, slow, crashes - 1, failures, tuple(changed)), (i, what, call)

    def _orphan(self, write: Write) -> int:
        if write not in self._orphans:
            self._orphans.append(write)
        return -2 - self._orphans.index(write)

    def _land(self, state: State, i: int) -> tuple[State, Label]:
        """A dead process's last write lands."""
        number, tick, slow, crashes, failures, places = state
        write = self._orphans[-2 - places[i][0]]
        after, _, _ = self._registry.call(number, write)
        changed = list(places)
        changed[i] = (_GONE, 0, 0)
        if after != number:
            self._wrong = self._judged(state, i, after, write)
            self._watch(changed, after)
        return (after, tick, slow, crashes, failures, tuple(changed)), (i, "is dead, but does", write)

    # --- the reader --------------------------------------------------------------------------------------

    def _window(self, tables: frozenset[Table]) -> int:
        if tables not in self._windows:
            self._windows[tables] = len(self._window_list)
            self._window_list.append(tables)
        return self._windows[tables]

    def _watch(self, places: list[Place], number: int) -> None:
        """Add today's table to what every reader under way may answer."""
        table = self._judge.table(number)
        for i in self._readers:
            place, age, window = places[i]
            if window:
                places[i] = (place, age, self._window(self._window_list[window] | {table}))

    @staticmethod
    def _read(ended: Ended, window: frozenset[Table]) -> str | None:
        table = ended.answer if ended.how == "routes" else (None, None)
        if table in window:
            return None
        return f"a reader saw {show_table(table)}, while there was {' and then '.join(map(show_table, window))}"

    # --- traces ------------------------------------------------------------------------------------------

    def _trace(self, state: State) -> list[str]:
        labels = []
        came = self._from[state]
        while came is not None:
            labels.append(self._said(came[1]))
            came = self._from[came[0]]
        return labels[::-1]

    def _said(self, label: Label) -> str:
        i, what, call = label
        if i < 0:
            return what
        return f"{self._processes[i].program.name}: {what}{' ' if what else ''}{show_call(call)}"


def show_table(table: Table) -> str:
    """A routing table in words."""
    champion, rollout = table
    if rollout is None:
        return f"champion {champion}"
    return f"champion {champion} with canary {rollout.canary} at {rollout.weight / 100:g} %"


def show_call(call: Call) -> str:
    """A call in words."""
    match call:
        case Sleep(until):
            return f"sleep until tick {until:g}"
        case Read("read", _, checking):
            return "read the model" if checking is None else "check its turn"
        case Read(method, argument):
            return f"read {method.replace('by_', '')} {argument}"
        case _:
            values = ", ".join(str(value)[:60] for value in vars(call).values())
            return f"{type(call).__name__}({values})"
