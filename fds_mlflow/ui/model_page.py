"""One model: what serves and why, the rollout under way, what happened, and its versions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from fds_mlflow.core.lifecycle.decision import decisions, ended, who
from fds_mlflow.core.lifecycle.events import MOVES_CHAMPION, Ending, Event, Kind
from fds_mlflow.core.weight import to_percent
from fds_mlflow.registry import tags
from fds_mlflow.registry.doctor import examine
from fds_mlflow.registry.store import VersionView
from fds_mlflow.registry.view import View
from fds_mlflow.ui import asked, registry
from fds_mlflow.ui.actions import offered
from fds_mlflow.ui.permissions import access
from fds_mlflow.ui.render import page, url
from fds_mlflow.ui.trial import trial

if TYPE_CHECKING:
    from flask import Response

EVENTS, VERSIONS = 25, 20
"""Rows of a part of each list."""


@dataclass(frozen=True)
class Entry:
    """One event as the timeline has it.

    Attributes:
        event: The event.
        who: Who did it.
        moved: Whether it says from which champion to which.
        weight: The canary's share after it, percent, where its rollout goes on.
        decision: What was decided about a rollout that it ended; "" where it ended none.
        rollout: Id of the rollout that it is about; "" where it is about none.
    """

    event: Event
    who: str
    moved: bool
    weight: float | None
    decision: str
    rollout: str


@dataclass(frozen=True)
class Row:
    """One version as the table has it.

    Attributes:
        view: The version as the registry has it.
        role: Key of what it is, for the catalogue; "" for a plain version.
        decision: What was decided about its last rollout; "" where it had none.
        algorithm: What it was trained with; "" where that is not known.
        threshold: The score from which it flags; "" where it has none.
    """

    view: VersionView
    role: str
    decision: str
    algorithm: str
    threshold: str


@dataclass(frozen=True)
class Reign:
    """How the champion became it.

    Attributes:
        since: When, UTC.
        who: Who made it so.
        reason: Why; "" where nobody said.
    """

    since: datetime
    who: str
    reason: str


def show() -> Response:
    """The page."""
    name = asked.word("name")
    session = registry.readable(name)
    view, versions = session.look(), session.versions()
    events = asked.part("events", len(view.history.events), EVENTS)
    rows = asked.part("versions", len(versions), VERSIONS)
    newest = list(reversed(view.history.events))[events.first : events.end]
    return page(
        "model.html.j2",
        name=name,
        view=view,
        reign=reign(view),
        trial=trial(name, view.rollout),
        requests=[one for one in view.state.requests.values() if one.holds(session.now())],
        waits=asked.word("waits", most=100),
        actions=offered(view, access().level(name)),
        findings=examine(view, versions),
        entries=[entry(event) for event in newest],
        events=events,
        rows=_rows(view, versions[rows.first : rows.end]),
        versions=rows,
        done=_event(view, asked.number("done")),
        events_url=lambda number: url("model", name=name, events=number) + "#history",
        versions_url=lambda number: url("model", name=name, versions=number) + "#versions",
    )


def _event(view: View, sequence: int | None) -> Event | None:
    """An event by its number."""
    return next((event for event in reversed(view.history.events) if event.sequence == sequence), None)


def reign(view: View) -> Reign | None:
    """How today's champion became it, by the history; None where the history does not say."""
    for event in reversed(view.history.events):
        moved = event.kind in MOVES_CHAMPION or (event.kind is Kind.ADOPT and event.from_version != event.to_version)
        if moved and event.outcome is Ending.DONE and event.to_version == view.champion_alias:
            return Reign(event.time, who(event), event.reason)
    return None


def entry(event: Event) -> Entry:
    """An event as the timeline has it."""
    rollout = event.rollout
    goes_on = rollout is not None and rollout.active and event.outcome is Ending.DONE
    decided = ended(event) if event.outcome is Ending.DONE else None
    return Entry(
        event=event,
        who=who(event),
        moved=event.from_version != event.to_version and event.kind in {*MOVES_CHAMPION, Kind.ADOPT},
        weight=to_percent(rollout.weight) if rollout is not None and goes_on else None,
        decision=decided.name if decided is not None else "",
        rollout=rollout.id if rollout is not None else "",
    )


def _rows(view: View, versions: list[VersionView]) -> list[Row]:
    decided = decisions(view.history.events)
    return [
        Row(
            view=version,
            role=_role(view, version.version),
            decision=decided[version.version].name if version.version in decided else "",
            algorithm=version.tags.get(tags.ALGORITHM, ""),
            threshold=version.tags.get(tags.THRESHOLD, ""),
        )
        for version in versions
    ]


def _role(view: View, version: int) -> str:
    if version == view.champion_alias:
        return "role.champion"
    if view.rollout is not None and version == view.rollout.canary:
        return "role.control" if view.rollout.is_watch else "role.canary"
    if version in view.state.withdrawn:
        return "role.withdrawn"
    return "role.former" if version in view.state.former else ""
