"""Registries as strangers may leave them: any content of any tag of ours, from a seed."""

from __future__ import annotations

import base64
import copy
import itertools
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import click
from click.testing import CliRunner

from benchmarks.fuzz.target import Target
from fds_mlflow.cli.history import doctor, history
from fds_mlflow.cli.options import Settings
from fds_mlflow.core.lifecycle.events import MOVES_CHAMPION, Ending, Kind
from fds_mlflow.errors import OutcomeUnknownError, RefusedError
from fds_mlflow.model import ManagedModel
from fds_mlflow.registry import alias_names, grammar, records, tags
from fds_mlflow.registry.history import read_history
from fds_mlflow.registry.memory import MemoryStore
from tests.conftest import FakeClock
from tests.support.registry_model import MODEL, World

NASTY: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 7, 2**31, 2**31 - 1, 10**15, 10**30, 10**4_000, 1e308, 0.5, float("nan"), float("inf")),
    *("", "x" * 5_000, "\x1b[31mred", "\u202eevil", "\ud800", "\x00", "done", "active", "promote", "0" * 26),
    *("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-02-30T00:00:00+00:00", "2026-01-01"),
    *([], {}, [[]] * 40, {"a": {"b": {"c": {}}}}),
)
"""Values that fit nowhere, or only just."""

GARBAGE = (
    *("", "{", "null", "NaN", "[]", "[1, 2]", "{}", '"x"', "1" * 5_000, "\x00\x1b[2J", "\ud83d", "x" * 100_000),
    *("[" * 4_000, '{"a":' * 800 + "1" + "}" * 800),
)
"""Values that are none of ours."""

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

Act = Callable[[Random, MemoryStore, str], None]


def spoil(random: Random, store: MemoryStore, model: str) -> None:
    """Write up to a dozen things into a model's tags, as somebody might who may write to the registry."""
    for _ in range(random.randint(1, 12)):
        random.choice(_ACTS)(random, store, model)


def ulid(random: Random) -> str:
    """An operation's id."""
    return "".join(random.choices(_DIGITS, k=26))


def _mutated(random: Random, value: Any, depth: int = 0) -> Any:
    """A value with something in it replaced, left out or added."""
    if isinstance(value, dict) and value and (depth < 3 and random.random() < 0.9):
        changed = dict(value)
        key = random.choice(list(changed))
        action = random.random()
        if action < 0.1:
            del changed[key]
        elif action < 0.2:
            changed[random.choice(["later", "from", "x" * 600, "\x1b"])] = random.choice(NASTY)
        else:
            changed[key] = _mutated(random, changed[key], depth + 1)
        return changed
    return random.choice(NASTY)


def _written(random: Random, value: Any) -> str:
    """A value as JSON, sometimes with characters exchanged."""
    text = json.dumps(value, ensure_ascii=random.random() < 0.5, separators=(",", ":"))
    if random.random() < 0.2 and text:
        place = random.randrange(len(text))
        text = text[:place] + random.choice(['"', "}", "\\", "9", "", "\x00"]) + text[place + 1 :]
    return text


def _events(store: MemoryStore, model: str) -> list[dict[str, Any]]:
    events = read_history(store.models[model].tags).events
    return [{"sequence": e.sequence, "operation": e.operation, **records.event_values(e)} for e in events]


def _overwrite(random: Random, store: MemoryStore, model: str) -> None:
    there = store.models[model].tags
    if not there:
        return
    name = random.choice(list(there))
    if random.random() < 0.5:
        there[name] = random.choice(GARBAGE)
        return
    try:
        values = json.loads(there[name])
    except (ValueError, RecursionError):
        values = None
    there[name] = _written(random, _mutated(random, values))


def _forge_event(random: Random, store: MemoryStore, model: str) -> None:
    events = _events(store, model) or [{"sequence": 0, "operation": ulid(random)}]
    last = events[-1]["sequence"]
    values = dict(random.choice(events))
    del values["sequence"], values["operation"]
    if random.random() < 0.6:
        values = _mutated(random, values)
    number = random.choice([last + 1, last, 1, 0, 99_999_999, 10**9, 10**15 - 1, 10**17])
    store.models[model].tags[f"fds.event.{number:08d}.{ulid(random)}"] = _written(random, values)


def _forge_pack(random: Random, store: MemoryStore, model: str) -> None:
    events = _events(store, model) or [{}]
    kind = random.random()
    if kind < 0.25:
        written = b"[" * 3_000_000 if kind < 0.1 else b" " * 3_000_000  # a bomb
    elif kind < 0.5:
        line = json.dumps(random.choice(events))
        written = "\n".join([line] * random.choice([10, 512, 513, 5_000])).encode()
    else:
        rows = [_mutated(random, dict(random.choice(events), operation=ulid(random))) for _ in range(5)]
        written = "\n".join(_written(random, row) for row in rows).encode(errors="replace")
    value = base64.b85encode(zlib.compress(written, 9)).decode()
    store.models[model].tags[f"fds.events.{random.choice([1, 5, 10**9]):08d}-{random.choice([1, 9, 10**9]):08d}"] = (
        value
    )


def _forge_intents(random: Random, store: MemoryStore, model: str) -> None:
    events = _events(store, model)
    for _ in range(random.choice([1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 5, 5, 8, 200])):
        event = dict(random.choice(events)) if events else None
        if event is not None:
            del event["sequence"], event["operation"]
            event["kind"] = random.choice(
                ["promote", "complete", "emergency", "start", "abort", "advance", "rename", "stage"]
            )
            event["to"] = random.choice([1, 2, 3, 4, 5, 2**31 - 1])
        values: dict[str, Any] = {
            "actor": random.choice(["eve", "\x1b[31meve", ""]),
            "time": "2026-01-01T00:00:00+00:00",
            "found": {
                "champion": random.choice([1, 2, 3, 4, None]),
                "canary": random.choice([None, 3]),
                "last": [random.choice([0, len(events)]), ulid(random)],
                "rollout": "",
            },
            "event": event,
        }
        if random.random() < 0.3:
            values["lifetime"] = random.choice([1, 60, 600, 1e9])
        if random.random() < 0.2:
            values["take_over"] = True
        if random.random() < 0.3:
            values = _mutated(random, values)
        store.models[model].tags[f"fds.intent.{ulid(random)}"] = _written(random, values)


def _name_aliases(random: Random, store: MemoryStore, model: str) -> None:
    values = random.choice(
        [
            {"champion": "champion", "canary": "canary"},
            {"champion": "prod", "canary": "canary"},
            {"champion": random.choice(NASTY), "canary": "x"},
        ]
    )
    value = random.choice([_written(random, values), random.choice(GARBAGE)])
    store.models[model].tags[alias_names.TAG] = value


def _spoil_version(random: Random, store: MemoryStore, model: str) -> None:
    version = random.choice(list(store.models[model].versions.values()))
    name = random.choice([tags.ROLLOUT, tags.ROLLOUT, tags.THRESHOLD, tags.SCORE, "fds.warnings", tags.CODES])
    rollout = version.tags.get(tags.ROLLOUT)
    if name == tags.ROLLOUT and rollout is not None and tags.decode_rollout(rollout) is not None:
        values = json.loads(rollout)
        if random.random() < 0.5:
            values["plan"] = {**values["plan"], "alpha": random.choice([0.5, 0.01]), "min_outcomes": 1}
        else:
            values = _mutated(random, values)
        version.tags[name] = _written(random, values)
        return
    version.tags[name] = random.choice(GARBAGE)


def _odd_name(random: Random, store: MemoryStore, model: str) -> None:
    name = random.choice(
        [
            *(
                "fds.event",
                "fds.event.",
                "fds.events.1-2",
                "fds.intent",
                "fds.intent.x",
                "fds.event.00000001." + "I" * 26,
            ),
            *("fds.event.00000009.\x1b[31m", "fds.kept.x", "fds.nobody", "fds." + "x" * 300),
        ]
    )
    store.models[model].tags[name] = random.choice((*GARBAGE, grammar.dump({"x": 1})))


_ACTS: tuple[Act, ...] = (
    *(_overwrite, _forge_event, _forge_event, _forge_pack, _forge_intents, _forge_intents),
    *(_name_aliases, _spoil_version, _spoil_version, _odd_name),
)


def _seed(random: Random) -> int:
    return random.randrange(2**32)


def _world() -> World:
    """Former champions 1 and 2, champion 4, canary 3 at 10 %."""
    world = World()
    for version in (1, 2, 4):
        world.do(Kind.PROMOTE, version)
    world.do(Kind.START, 3)
    return world


def spoiled(world: World, seed: int) -> World:
    """The same world with its tags spoiled."""
    store = MemoryStore()
    store.models = copy.deepcopy(world.store.models)
    spoil(Random(seed), store, MODEL)
    return World(clock=FakeClock(), store=store, numbers=itertools.count(1_000))


def _read(_: Path) -> Callable[[int], None]:
    """What reads tags, whoever asks: what counts can be written again, within the bounds of a tag."""
    world = _world()

    def take(seed: int) -> None:
        there = spoiled(world, seed).store.models[MODEL]
        found = read_history(there.tags)
        made = dict(tags.event_tag(event) for event in found.events)
        plans = {name: value for name, value in there.tags.items() if name not in found.damaged}
        assert set(read_history(plans | made).events) == set(found.events)
        for version in there.versions.values():
            rollout = tags.decode_rollout(version.tags.get(tags.ROLLOUT))
            assert rollout is None or tags.decode_rollout(tags.encode_rollout(rollout)) == rollout

    return take


def _shown(_: Path) -> Callable[[int], str]:
    """The verbs that show what there is."""
    world = _world()

    def take(seed: int) -> str:
        there = spoiled(world, seed)

        class Here(Settings):
            def model(self, name: str) -> ManagedModel:
                return ManagedModel(name, store=there.store, clock=there.clock, actor="ann", outcomes="sqlite://")

        def told(verb: click.Command, *words: str) -> str:
            here = Here(None, None, None, None)
            return CliRunner().invoke(verb, [MODEL, *words], obj=here, catch_exceptions=False).output

        found = told(doctor, "--json")  # one line each
        assert not there.history.damaged or "cannot be parsed" in found or "aliases" in found
        return told(history) + told(doctor) + found

    return take


def _moved(_: Path) -> Callable[[int], None]:
    """An emergency: what `tests/registry/test_hostile.py` says of it."""
    world = _world()
    return lambda seed: assert_moves(spoiled(world, seed))


def assert_moves(world: World) -> None:
    """An emergency moves its alias after a bounded number of calls, at once or after one lifetime of an intent that
    claims a take-over, to a version that a settled operation had promoted.
    """
    store = world.watched()
    process = world.process(store)
    process.longest_pause = 60.0  # time is the world's own: looking more often would only take longer
    before = process.look(MODEL)
    claims = [process._lifetime_of(intent) for intent in before.history.intents if intent.take_over]
    began, calls = world.clock.seconds, store.calls
    moved: list[tuple[int, float, int]] = []

    def on_moved(version: int) -> None:
        moved.append((version, world.clock.seconds - began, store.calls - calls))

    request = world.request(Kind.EMERGENCY)
    try:
        process.run(MODEL, request, actor="ann", reason="now", take_over=True, on_moved=on_moved)
    except RefusedError:
        assert before.state.emergency_target is None or before.champion_alias != before.state.champion
        return
    except OutcomeUnknownError:
        assert moved
    version, seconds, asked = moved[0]
    assert seconds <= (max(claims) + process.longest_pause + 5.0 if claims else 5.0)
    assert asked <= CALLS + 10 * seconds
    events = [event for event in before.history.events if event.outcome is Ending.DONE]
    promoted = {event.to_version for event in events if event.kind in MOVES_CHAMPION}
    assert version in promoted | {before.champion_alias}


CALLS = 30
"""Calls of the registry until an emergency has moved its alias; an out-of-band change that is recorded first is among
them, and a target that does not exist, after which it asks which versions there are."""

TARGETS = (
    Target("registry tags", 40_000, _seed, _read, quick=150),
    Target("registry shown", 4_000, _seed, _shown, quick=20),
    Target("registry emergency", 6_000, _seed, _moved, quick=20),
)
