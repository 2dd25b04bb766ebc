"""Which packs to write, and which tags they make superfluous: no I/O.

Every tag of a model taxes every write to it, so packs are filled: the newest one grows until it holds no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fds_mlflow.core.lifecycle.events import Event
from fds_mlflow.registry import tags
from fds_mlflow.registry.history import History, Pack, pack
from fds_mlflow.registry.store import DeleteModelTag, SetModelTag, Write


def due(history: History) -> list[Write]:
    """What is to be written now: packs of the oldest loose events where there are too many, then what that tidies.

    In this order each event is in at least one tag at every moment; whatever is not written stays superfluous, and
    the next call names it again.
    """
    loose = [event for event in history.loose.values() if (event.operation, event.kind) not in history.packed]
    old = loose[: -tags.KEEP_LOOSE] if len(loose) > tags.LOOSE else []
    written = _filled(history.packs, old) if old else {}
    made = {name: pack.events for name, pack in written.items()}
    if any(event not in made[name] for name in made for event in history.packs.get(name, ())):
        return []  # somebody has named a pack out of band so that the new one would replace it
    packed = {*history.packed, *((e.operation, e.kind) for events in made.values() for e in events)}
    doubles = [name for name, event in history.loose.items() if (event.operation, event.kind) in packed]
    superfluous = (*_contained({**history.packs, **made}), *doubles)
    return [
        *(SetModelTag(name, pack.value) for name, pack in written.items()),
        *(DeleteModelTag(name) for name in superfluous),
    ]


def _filled(packs: Mapping[str, tuple[Event, ...]], old: Sequence[Event]) -> dict[str, Pack]:
    """New packs by name that hold the events, the first of them together with those of the newest pack, if it grows."""
    made: dict[str, Pack] = {}
    newest = max(packs.values(), key=lambda events: events[-1].sequence, default=())
    if newest and newest[-1].sequence < old[0].sequence:
        longer = pack([*newest, *old])
        if longer.looked > len(newest):
            made[longer.name] = longer
            old = old[longer.looked - len(newest) :]
    while old:
        packed = pack(old)
        if packed.name:
            made[packed.name] = packed
        old = old[packed.looked :]
    return made


def _contained(packs: Mapping[str, tuple[Event, ...]]) -> list[str]:
    """Names of packs all of whose events another one holds, unchanged."""
    found: list[str] = []
    held: tuple[Event, ...] = ()
    # By first event, the longer one first: a pack that holds another comes before it.
    for name, events in sorted(packs.items(), key=lambda pack: (pack[1][0].sequence, -pack[1][-1].sequence, pack[0])):
        if held and events[-1].sequence <= held[-1].sequence and all(event in held for event in events):
            found.append(name)
        else:
            held = events
    return found
