"""A model's history: events in tags of their own and in packs, and the operations in flight."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import lru_cache

from fds_mlflow.core.lifecycle.events import Event, Kind
from fds_mlflow.registry.tags import (
    EVENT_NAME,
    INTENT_NAME,
    MAX_VALUE,
    PACK_NAME,
    UNREADABLE,
    Intent,
    decode_event,
    decode_intent,
    dump,
    event_values,
    text_of,
)


@dataclass(frozen=True)
class History:
    """The events that a model's tags hold.

    Attributes:
        events: In order of sequence, doubles dropped.
        loose: Events that have a tag of their own, by tag name.
        packs: Events of each pack, by tag name.
        packed: (operation, kind) of the events that a pack holds.
        intents: Operations in flight.
        damaged: Names of tags of ours whose value cannot be parsed: edited by hand.
    """

    events: tuple[Event, ...]
    loose: Mapping[str, Event]
    packs: Mapping[str, tuple[Event, ...]]
    packed: AbstractSet[tuple[str, Kind]]
    intents: tuple[Intent, ...]
    damaged: tuple[str, ...]

    @property
    def last(self) -> tuple[int, str]:
        """Sequence and operation of the last event."""
        return (self.events[-1].sequence, self.events[-1].operation) if self.events else (0, "")

    def find(self, operation: str) -> Event | None:
        """The event of an operation."""
        return next((event for event in reversed(self.events) if event.operation == operation), None)


def read_history(tags: Mapping[str, str]) -> History:
    """Read everything of ours from a model's tags; what cannot be parsed is named, never dropped in silence."""
    loose: dict[str, Event] = {}
    packs: dict[str, tuple[Event, ...]] = {}
    intents: list[Intent] = []
    damaged: list[str] = []
    for name, value in tags.items():
        if not name.startswith("fds."):
            continue
        try:
            if match := EVENT_NAME.fullmatch(name):
                loose[name] = decode_event(json.loads(value), int(match[1]), match[2])
            elif PACK_NAME.fullmatch(name):
                packs[name] = _unpacked(value)
            elif match := INTENT_NAME.fullmatch(name):
                intents.append(decode_intent(match[1], value))
            elif name.startswith(("fds.event", "fds.intent")):
                damaged.append(name)
        except UNREADABLE:
            damaged.append(name)
    packs = dict(sorted(packs.items()))
    older = _joined(tuple(tags[name] for name in packs))
    return History(
        events=_in_order(older, loose.values()),
        loose=dict(sorted(loose.items())),
        packs=packs,
        packed=older.by_key.keys(),
        intents=tuple(sorted(intents, key=lambda i: i.id)),
        damaged=tuple(sorted(damaged)),
    )


@dataclass(frozen=True, eq=False)
class _Older:
    """What a model's packs hold together: in order of sequence, and by (operation, kind)."""

    events: tuple[Event, ...]
    by_key: Mapping[tuple[str, Kind], Event]


@lru_cache(maxsize=16)
def _joined(values: tuple[str, ...]) -> _Older:
    """The events of packs, doubles dropped; packs change seldom, so this is done once a process."""
    by_key = {(e.operation, e.kind): e for value in values for e in _unpacked(value)}
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
    """The operations in flight, without reading the rest of the history."""
    names = {name: value for name, value in tags.items() if INTENT_NAME.fullmatch(name)}
    return list(read_history(names).intents)


def pack(events: Sequence[Event]) -> tuple[str, str, int]:
    """Pack as many of the events, in order, as one tag holds.

    An event that is too large for a pack by itself is passed over and stays loose.

    Returns:
        Name and value of the pack's tag, and how many of the given events were looked at.
        The name is empty where nothing could be packed.
    """
    lines = [dump({"sequence": e.sequence, "operation": e.operation, **event_values(e)}) for e in events]
    first = next((place for place, line in enumerate(lines) if len(_encode_pack([line])) <= MAX_VALUE), None)
    if first is None:
        return "", "", len(lines)
    fits, value, too_many, ahead = first + 1, _encode_pack(lines[first : first + 1]), len(lines) + 1, 32
    while too_many - fits > 1:
        # Ahead in growing steps, then by halves: packing each prefix would cost the square of a pack's length.
        tried = min(fits + ahead, (fits + too_many) // 2)
        longer = _encode_pack(lines[first:tried])
        if len(longer) <= MAX_VALUE:
            fits, value, ahead = tried, longer, 2 * ahead
        else:
            too_many = tried
    return f"fds.events.{events[first].sequence:08d}-{events[fits - 1].sequence:08d}", value, fits


def _encode_pack(lines: Sequence[str]) -> str:
    return base64.b85encode(zlib.compress("\n".join(lines).encode(), 9)).decode("ascii")


def decode_pack(value: str) -> list[Event]:
    """Read a pack's tag."""
    return list(_unpacked(value))


@lru_cache(maxsize=1_024)
def _unpacked(value: str) -> tuple[Event, ...]:
    """A pack's events; a value is decompressed once a process."""
    lines = zlib.decompress(base64.b85decode(value)).decode().split("\n")
    rows = [json.loads(line) for line in lines]
    return tuple(decode_event(row, int(row["sequence"]), text_of(row["operation"])) for row in rows)


def numbered(event: Event, sequence: int) -> Event:
    """The event with its place in the history."""
    return replace(event, sequence=sequence)


def doubles(events: Iterable[Event]) -> dict[int, list[Event]]:
    """Sequence numbers that more than one event holds."""
    by_number: dict[int, list[Event]] = {}
    for event in events:
        by_number.setdefault(event.sequence, []).append(event)
    return {number: same for number, same in by_number.items() if len(same) > 1}
