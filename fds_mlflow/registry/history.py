"""A model's history: events in tags of their own and in packs, and the operations in flight."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from fds_mlflow.core.lifecycle.events import Event, Kind, Rollout
from fds_mlflow.registry import grammar
from fds_mlflow.registry.grammar import MAX_EVENTS, MAX_GAP, MAX_UNPACKED, MAX_VALUE, UNREADABLE, dump
from fds_mlflow.registry.records import Plans, decode_event, digest_of_plan, event_values, plans_of
from fds_mlflow.registry.tags import EVENT_NAME, INTENT_NAME, MAX_SEQUENCE, PACK_NAME, Intent, decode_intent


@dataclass(frozen=True)
class History:
    """The events that a model's tags hold.

    Attributes:
        events: In order of sequence, doubles dropped.
        loose: Events that have a tag of their own, by tag name.
        packs: Events of each pack, by tag name.
        packed: (operation, kind) of the events that a pack holds.
        intents: Operations in flight.
        damaged: Names of tags of ours that count for nothing, because they cannot be parsed or break a bound.
        why: What is wrong with each of them, by name.
    """

    events: tuple[Event, ...]
    loose: Mapping[str, Event]
    packs: Mapping[str, tuple[Event, ...]]
    packed: AbstractSet[tuple[str, Kind]]
    intents: tuple[Intent, ...]
    damaged: tuple[str, ...]
    why: Mapping[str, str]

    @property
    def last(self) -> tuple[int, str]:
        """Sequence and operation of the last event."""
        return (self.events[-1].sequence, self.events[-1].operation) if self.events else (0, "")

    def find(self, operation: str) -> Event | None:
        """The event of an operation."""
        return next((event for event in reversed(self.events) if event.operation == operation), None)

    def rollout(self, identity: str) -> Rollout | None:
        """A rollout as its last event has it."""
        about = (event.rollout for event in reversed(self.events) if event.rollout is not None)
        return next((rollout for rollout in about if rollout.id == identity), None)


def read_history(tags: Mapping[str, str]) -> History:
    """Read everything of ours from a model's tags; what cannot be parsed is named, never dropped in silence."""
    damaged: dict[str, str] = {}
    parsed: dict[str, _Parsed] = {}
    for name, value in tags.items():
        if name.startswith(("fds.event", "fds.intent")):
            try:
                parsed[name] = _parsed(name, value)
            except UNREADABLE as error:
                damaged[name] = _why(error)
    plans = {digest: plan for one in parsed.values() for digest, plan in one.plans.items()}
    loose: dict[str, Event] = {}
    packs: dict[str, tuple[Event, ...]] = {}
    intents: list[Intent] = []
    wanted = {name: tuple(plans[d] for d in one.named if d in plans) for name, one in parsed.items()}
    for name in parsed:
        try:
            if EVENT_NAME.fullmatch(name):
                loose[name] = _event(name, tags[name], wanted[name])
            elif PACK_NAME.fullmatch(name):
                packs[name] = _unpacked(name, tags[name], wanted[name])
            else:
                intents.append(_intent(name, tags[name], wanted[name]))
        except UNREADABLE as error:
            damaged[name] = _why(error)
    packs = dict(sorted(packs.items()))
    beyond = _beyond(packs, loose)
    damaged |= dict.fromkeys(beyond, f"its number is more than {MAX_GAP:,} beyond the event before")
    loose = {name: event for name, event in sorted(loose.items()) if name not in beyond}
    packs = {name: events for name, events in packs.items() if name not in beyond}
    older = _joined(tuple((name, tags[name], wanted[name]) for name in packs))
    return History(
        events=_in_order(older, loose.values()),
        loose=loose,
        packs=packs,
        packed=older.by_key.keys(),
        intents=tuple(sorted(intents, key=lambda i: i.id)),
        damaged=tuple(sorted(damaged)),
        why=damaged,
    )


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r:.60}" if error.args else "it lacks a field"
    return f"{error}"[:200] or type(error).__name__


def _beyond(packs: Mapping[str, tuple[Event, ...]], loose: Mapping[str, Event]) -> set[str]:
    """Names of tags with a number so far beyond the one before that it would leave none for those that follow."""
    numbers = [(event.sequence, name) for name, event in loose.items()]
    for name, events in packs.items():
        numbers += [(max(event.sequence for event in events), name)] if events else []
    numbers.sort()
    last = 0
    for place, (number, _) in enumerate(numbers):
        if number - last > MAX_GAP:
            return {name for _, name in numbers[place:]}
        last = number
    return set()


@dataclass(frozen=True, eq=False)
class _Older:
    """What a model's packs hold together: in order of sequence, and by (operation, kind)."""

    events: tuple[Event, ...]
    by_key: Mapping[tuple[str, Kind], Event]


@lru_cache(maxsize=16)
def _joined(packs: tuple[tuple[str, str, tuple[str, ...]], ...]) -> _Older:
    """The events of packs, doubles dropped; packs change seldom, so this is done once a process."""
    by_key = {(event.operation, event.kind): event for pack in packs for event in _unpacked(*pack)}
    return _Older(tuple(sorted(by_key.values(), key=_place)), by_key)


def _in_order(older: _Older, loose: Iterable[Event]) -> tuple[Event, ...]:
    """Packed and loose events in order of sequence, doubles dropped."""
    newer = {(e.operation, e.kind): e for e in loose}
    last = older.events[-1].sequence if older.events else 0
    if all(e.sequence > last for e in newer.values()) and older.by_key.keys().isdisjoint(newer):
        return (*older.events, *sorted(newer.values(), key=_place))  # the usual case, and the cheap one
    return tuple(sorted({**older.by_key, **newer}.values(), key=_place))


def _place(event: Event) -> tuple[int, str]:
    return event.sequence, event.operation


def in_flight(tags: Mapping[str, str]) -> list[Intent]:
    """The operations in flight."""
    return list(read_history(tags).intents)


@dataclass(frozen=True)
class Pack:
    """Events in one tag.

    Attributes:
        name: Of the tag; "" where nothing could be packed.
        value: Of the tag.
        events: What it holds.
        looked: How many of the events that were to be packed were looked at.
    """

    name: str
    value: str
    events: tuple[Event, ...]
    looked: int


def pack(events: Sequence[Event]) -> Pack:
    """Pack as many of the events, in order, as one tag holds.

    An event that is too large for a pack by itself is passed over and stays loose.
    """
    lines = [dump({"sequence": e.sequence, "operation": e.operation, **event_values(e)}) for e in events]
    first = next((place for place, line in enumerate(lines) if _encode_pack([line]) is not None), None)
    if first is None:
        return Pack("", "", (), len(lines))
    fits, value, too_many, ahead = first + 1, _encode_pack(lines[first : first + 1]) or "", len(lines) + 1, 32
    while too_many - fits > 1:
        # Ahead in growing steps, then by halves: packing each prefix would cost the square of a pack's length.
        tried = min(fits + ahead, (fits + too_many) // 2)
        longer = _encode_pack(lines[first:tried])
        if longer is not None:
            fits, value, ahead = tried, longer, 2 * ahead
        else:
            too_many = tried
    packed = tuple(events[first:fits])
    return Pack(f"fds.events.{packed[0].sequence:08d}-{packed[-1].sequence:08d}", value, packed, fits)


def _encode_pack(lines: Sequence[str]) -> str | None:
    """The value of a tag with these events; None where it would break a bound."""
    written = "\n".join(lines).encode()
    if len(lines) > MAX_EVENTS or len(written) > MAX_UNPACKED:
        return None
    value = base64.b85encode(zlib.compress(written, 9)).decode("ascii")
    return value if len(value) <= MAX_VALUE else None


@dataclass(frozen=True, eq=False)
class _Parsed:
    """What a tag says, before its events are read: some name plans that another tag holds.

    Attributes:
        rows: An event, an intent, or the events of a pack.
        plans: The plans that it holds, by digest.
        named: Digests of those that it names.
    """

    rows: Sequence[Any]
    plans: Plans
    named: tuple[str, ...]


@lru_cache(maxsize=4_096)
def _parsed(name: str, value: str) -> _Parsed:
    """What a tag says; done once a process, as an operation reads a model again and again."""
    if PACK_NAME.fullmatch(name):
        rows = told = _lines(value)
    elif EVENT_NAME.fullmatch(name):
        rows = told = [grammar.parse(value)]
    elif INTENT_NAME.fullmatch(name):
        rows = [grammar.parse(value)]
        told = [rows[0]["event"]] if rows[0].get("event") is not None else []
    else:
        raise ValueError("its name is none of ours")
    rollouts = [row["rollout"] for row in told if row.get("rollout") is not None]
    plans = {digest: plan for row in told for digest, plan in plans_of(row).items()}
    return _Parsed(rows, plans, tuple(sorted({r["plan_digest"] for r in rollouts if "plan" not in r})))


def _lines(value: str) -> list[Any]:
    """A pack's rows, if it breaks no bound."""
    written = zlib.decompressobj().decompress(base64.b85decode(grammar.bounded(value)), MAX_UNPACKED + 1)
    if len(written) > MAX_UNPACKED or written.count(b"\n") >= MAX_EVENTS:
        raise ValueError(f"it holds more than {MAX_EVENTS:,} events, or {MAX_UNPACKED:,} bytes")
    return [json.loads(line) for line in written.decode().split("\n")]


@lru_cache(maxsize=4_096)
def _event(name: str, value: str, plans: tuple[str, ...]) -> Event:
    _, _, number, operation = name.split(".")
    (values,) = _parsed(name, value).rows
    return decode_event(values, grammar.whole(int(number), 1, MAX_SEQUENCE), operation, _by_digest(plans))


@lru_cache(maxsize=4_096)
def _intent(name: str, value: str, plans: tuple[str, ...]) -> Intent:
    (values,) = _parsed(name, value).rows
    return decode_intent(name.rpartition(".")[2], values, _by_digest(plans))


@lru_cache(maxsize=1_024)
def _unpacked(name: str, value: str, plans: tuple[str, ...]) -> tuple[Event, ...]:
    """A pack's events."""
    known = _by_digest(plans)
    return tuple(_row(row, known) for row in _parsed(name, value).rows)


def _row(row: Any, plans: Plans) -> Event:
    sequence = grammar.whole(row["sequence"], 1, MAX_SEQUENCE)
    values = {key: value for key, value in row.items() if key not in ("sequence", "operation")}
    return decode_event(values, sequence, grammar.text(row["operation"], grammar.MAX_ID), plans)


def _by_digest(plans: tuple[str, ...]) -> Plans:
    return {digest_of_plan(plan): plan for plan in plans}


def numbered(event: Event, sequence: int) -> Event:
    """The event with its place in the history."""
    return replace(event, sequence=sequence)


def doubles(events: Iterable[Event]) -> dict[int, list[Event]]:
    """Sequence numbers that more than one event holds."""
    by_number: dict[int, list[Event]] = {}
    for event in events:
        by_number.setdefault(event.sequence, []).append(event)
    return {number: same for number, same in by_number.items() if len(same) > 1}
