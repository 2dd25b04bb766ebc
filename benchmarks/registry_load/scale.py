"""One client alone: the cost of each operation, of emergencies, and how both grow with what a registry holds."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import numpy as np

from benchmarks.registry_load.clients import DONE, PLAN, UNKNOWN, Attempt, Client, TimedStore, prepare, random_request
from fds_mlflow.core.lifecycle.events import Event, Kind
from fds_mlflow.core.lifecycle.operations import Request, Target, decide
from fds_mlflow.core.lifecycle.state import State, fold
from fds_mlflow.errors import RefusedError
from fds_mlflow.registry import tags
from fds_mlflow.registry.history import _joined, _unpacked, pack
from fds_mlflow.registry.store import SetAlias, SetModelTag, SetStage, Write
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.runtime.identity import new_id

SHORT_LIFE = 3.0
"""Lifetime of intents for emergencies that one process measures alone on SQLite."""
SHORT_LIFE_SERVER = 10.0
"""The same on a server, where the ten calls before the decisive write have to fit into half of it."""


def cycle() -> Iterator[Request]:
    """Every operation once, each allowed after the one before, from version 1 as champion back to it."""
    now = SystemClock().now

    def start(version: int) -> Request:
        return Request(Kind.START, version, plan=PLAN, rollout_id=new_id(), now=now())

    yield Request(Kind.STAGE, 2)
    yield start(2)
    yield Request(Kind.ADVANCE, now=now())
    yield Request(Kind.COMPLETE, force=True)
    yield Request(Kind.ROLLBACK, 1)
    yield Request(Kind.PROMOTE, 3)
    yield Request(Kind.EMERGENCY)
    yield start(4)
    yield Request(Kind.ABORT)
    yield Request(Kind.RETIRE, 4)


def uncontended(uri: str, model: str, rounds: int) -> list[Attempt]:
    """Every operation, `rounds` times, by a client that is alone with the model.

    Raises:
        RuntimeError: One was not done.
    """
    client = Client(uri, model=model)
    _done(client.ask(Request(Kind.PROMOTE, 1)))
    return [_done(client.ask(request)) for _ in range(rounds) for request in cycle()]


def _done(attempt: Attempt) -> Attempt:
    if attempt.outcome != DONE:
        raise RuntimeError(f"{attempt.request.kind} was {attempt.outcome}: {attempt.message}")
    return attempt


# --- emergencies -------------------------------------------------------------------------------------------


class StoppingStore(TimedStore):
    """A registry on which a process halts before it moves the champion, until it is let go on."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, uri)
        self.halted = threading.Event()
        self.go_on = threading.Event()

    def write(self, model: str, write: Write) -> None:
        """Carry out one write; before the champion moves, halt."""
        if isinstance(write, SetAlias) and not self.go_on.is_set():
            self.halted.set()
            self.go_on.wait()
        super().write(model, write)


def emergencies(uri: str, model: str, *, rounds: int) -> dict[str, float]:
    """Seconds from the command to the moved alias, and until all is recorded; medians.

    Intents live shorter here than the package lets them, so that a measurement ends; what comes after the moved
    alias takes as much longer in earnest as they live longer.

    Command: `fds rollback emergency`, a process of its own, whose start takes most of it. Healthy: nobody else is
    there. Dead: an operation died after it had written its intent, and has been dead for longer than an intent
    lives; a fresh process cannot know that. Live: an operation is about to move the champion.

    Raises:
        RuntimeError: One was not done, or took longer for one write than half of an intent's life, or a victim was
            told something else than that its outcome is unknown.
    """
    life = SHORT_LIFE if uri.startswith("sqlite") else SHORT_LIFE_SERVER
    found: dict[str, list[float]] = {"intent_lifetime": [life]}
    situations = {"healthy": _emergency, "past_dead_intent": _past_dead, "past_live_operation": _past_live}
    for _ in range(rounds):
        for name, act in situations.items():
            for version in (1, 2):  # an emergency goes back to a former champion that nobody has rolled back from
                Client(uri, model=model).ask(Request(Kind.PROMOTE, version))
            attempt = _done(act(uri, model, life))
            if attempt.moved is None:
                raise RuntimeError("an emergency was done without moving the champion")
            found.setdefault(f"{name}_moved", []).append(attempt.moved)
            found.setdefault(f"{name}_recorded", []).append(attempt.seconds)
        found.setdefault("command_moved", []).append(_commanded(uri, model))
    return {name: round(float(np.median(values)), 3) for name, values in found.items()}


def _emergency(uri: str, model: str, life: float) -> Attempt:
    client = Client(uri, model=model, time_to_live=life)
    client.store.read(model)  # the connection is there, as in a running process
    attempt = client.ask(Request(Kind.EMERGENCY), take_over=True)
    if 2 * client.store.longest_write >= life:
        raise RuntimeError(f"a write took {client.store.longest_write:.1f} s, too long for a life of {life} s")
    return attempt


def _commanded(uri: str, model: str) -> float:
    """Seconds from starting the command line to its word that the champion has moved: a healthy registry."""
    Client(uri, model=model).ask(Request(Kind.PROMOTE, 2))
    command = [sys.executable, "-m", "fds_mlflow", "--tracking-uri", uri]
    command += ["rollback", "emergency", model, "--reason", "registry_load", "--no-validate"]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        lines = process.stderr or iter(())
        moved = next((time.monotonic() - began for line in lines if line.startswith("champion is version")), None)
        process.communicate()
    if moved is None or process.returncode != 0:
        raise RuntimeError("the command did not move the champion")
    return moved


def _past_dead(uri: str, model: str, life: float) -> Attempt:
    client = Client(uri, model=model)
    view = client.transactions.look(model)
    event = Event(0, new_id(), Kind.PROMOTE, "dead", "", SystemClock().now(), view.champion_alias, 3)
    intent = tags.Intent(event.operation, "dead", view.found, event, event.time)
    client.store.write(model, SetModelTag(tags.intent_name(intent.id), tags.encode_intent(intent)))
    time.sleep(life)
    return _emergency(uri, model, life)


def _past_live(uri: str, model: str, life: float) -> Attempt:
    victim = Client(uri, model=model, time_to_live=life)
    store = StoppingStore(uri)
    victim.transactions.store = store
    told: list[Attempt] = []
    thread = threading.Thread(target=lambda: told.append(victim.ask(Request(Kind.PROMOTE, 3))))
    thread.start()
    store.halted.wait(60)
    # Its write comes later than any that the protocol allows, and lands; the emergency reasserts.
    threading.Timer(life / 2, store.go_on.set).start()
    attempt = _emergency(uri, model, life)
    thread.join()
    if told[0].outcome != UNKNOWN:
        raise RuntimeError(f"an operation that was overtaken was told that it is {told[0].outcome}")
    return attempt


# --- scale -------------------------------------------------------------------------------------------------


def long_history(count: int, seed: int = 42) -> tuple[list[Event], State]:
    """As many events as that many random operations leave, without an active rollout at the end."""
    random = Random(seed)
    events: list[Event] = []
    state = State()
    while len(events) < count or state.rollout is not None:
        request = Request(Kind.ABORT) if len(events) >= count else random_request(random)
        try:
            target = decide(state, request)
        except RefusedError:
            continue
        if isinstance(target, Target):
            events.append(_event(len(events) + 1, request, target, state))
            state = fold(events[-1:], state)
    return events, state


def _event(sequence: int, request: Request, target: Target, state: State) -> Event:
    about_champion = request.kind not in (Kind.STAGE, Kind.RETIRE)
    return Event(
        sequence=sequence,
        operation=new_id(),
        kind=request.kind,
        actor="somebody@a-machine-with-a-name",
        reason=f"weekly review {sequence}: the numbers of the last seven days are within the limits",
        time=SystemClock().now(),
        from_version=state.champion if about_champion else None,
        to_version=target.version,
        rollout=target.rollout,
        forced=target.forced,
    )


def laid_down(client: Client, events: Sequence[Event], state: State) -> int:
    """Write a history into the registry as its operations would have left it; how many tags it takes."""
    kept = (tags.KEEP_LOOSE + tags.LOOSE) // 2
    older, loose = list(events[:-kept]), events[-kept:]
    written = 0
    while older:
        packed = pack(older)
        client.store.write(client.model, SetModelTag(packed.name, packed.value))
        older = older[packed.looked :]
        written += 1
    for event in loose:
        client.store.write(client.model, SetModelTag(*tags.event_tag(event)))
    for version, stage in state.stages.items():
        client.store.write(client.model, SetStage(version, stage))
    if state.champion is not None:
        client.store.write(client.model, SetAlias(tags.CHAMPION, state.champion))
    return written + len(loose)


def scale(uri: str, *, rounds: int, full: bool) -> dict[str, Any]:
    """How the cost of an alias write, of each operation and of reading grows with the history.

    Args:
        uri: Of an empty registry.
        rounds: How often each operation is measured, in turns; an alias write fifty times.
        full: Whether to measure with 1,000 events, 2,000 versions on a model and 1,000 models in the registry as well.
    """
    found: dict[str, Any] = {}
    clients = {}
    history = long_history(5_000)
    for count in (0, 1_000, 5_000) if full else (0, 5_000):
        model = f"events-{count}"
        prepare(uri, model)
        clients[count] = Client(uri, model=model)
        if count:
            some = history if count == 5_000 else long_history(count)
            found[f"tags_{count}_events"] = laid_down(clients[count], *some)
        else:
            _done(clients[count].ask(Request(Kind.PROMOTE, 1)))
    found |= _alias_writes(clients, 50)
    found |= _reads(clients, rounds)
    found |= _costs({f"{count}_events": client for count, client in clients.items()}, rounds, full=full)
    if full:
        found |= _crowds(uri, clients[0], history, rounds)
    return found


def _reads(clients: dict[int, Client], rounds: int) -> dict[str, float]:
    """Median of reading model and history by a process that has read them before, and by one that has not."""
    times: dict[str, list[float]] = {}
    for _ in range(max(rounds, 5)):
        for count, client in clients.items():
            for name in ("first", "again"):
                if name == "first":
                    for cache in (_unpacked, _joined, tags._plan):
                        cache.cache_clear()
                began = time.perf_counter()
                client.transactions.look(client.model)
                spent = (time.perf_counter() - began) * 1_000
                times.setdefault(f"read_history_{name}_ms_{count}_events", []).append(spent)
    return {name: round(float(np.median(values)), 1) for name, values in times.items()}


def _alias_writes(clients: dict[int, Client], rounds: int) -> dict[str, float]:
    """Median of one alias write, measured in turns, so that what else the machine does hits all alike."""
    times: dict[int, list[float]] = {count: [] for count in clients}
    champions = {count: client.store.read(client.model).aliases[tags.CHAMPION] for count, client in clients.items()}
    for _ in range(rounds):
        for count, client in clients.items():
            times[count].append(_timed(client, SetAlias(tags.CHAMPION, champions[count])))
    medians = {count: float(np.median(values)) for count, values in times.items()}
    found = {f"alias_write_ms_{count}_events": round(value, 2) for count, value in medians.items()}
    ratios = {f"alias_write_ratio_{n}_events": round(ms / medians[0], 3) for n, ms in medians.items() if n}
    return found | ratios


def _timed(client: Client, write: Write) -> float:
    began = time.perf_counter()
    client.store.write(client.model, write)
    return (time.perf_counter() - began) * 1_000


def _costs(clients: dict[str, Client], rounds: int, *, full: bool = True) -> dict[str, float]:
    """Median of each operation (of a promotion only, unless `full`), in turns."""
    times: dict[str, list[float]] = {}
    for client in clients.values():
        client.ask(Request(Kind.PROMOTE, 2))
        client.ask(Request(Kind.PROMOTE, 1))
    for _ in range(rounds):
        for name, client in clients.items():
            requests = cycle() if full else iter([Request(Kind.PROMOTE, 2), Request(Kind.PROMOTE, 1)])
            for request in requests:
                attempt = _done(client.ask(request))
                times.setdefault(f"{request.kind}_ms_{name}", []).append(attempt.seconds * 1_000)
    return {name: round(float(np.median(values)), 1) for name, values in times.items()}


def _crowds(uri: str, empty: Client, history: tuple[list[Event], State], rounds: int) -> dict[str, float]:
    """The same with 2,000 versions and 5,000 events on one model, and then with 1,000 models in the registry."""
    prepare(uri, "crowded", 2_000)
    crowded = Client(uri, model="crowded")
    laid_down(crowded, *history)
    clients = {"10_versions": empty, "2000_versions_5000_events": crowded}
    found = _costs(clients, rounds)
    found["list_versions_ms_2000_versions"] = _milliseconds(lambda: crowded.store.versions(crowded.model))
    for number in range(1_000):
        prepare(uri, f"model-{number}", 1)
    found |= _costs({f"{name}_1000_models": client for name, client in clients.items()}, rounds)
    found["list_models_ms_1000_models"] = _milliseconds(empty.store.models)
    return found


def _milliseconds(act: Callable[[], object]) -> float:
    """How long something takes, once."""
    began = time.perf_counter()
    act()
    return round((time.perf_counter() - began) * 1_000, 1)
