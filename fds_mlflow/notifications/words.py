"""A notification in words, for people: what happened, to which version, by whom, why, and where to look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from fds_mlflow.core.lifecycle.decision import Decision, done, ended, who
from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.display.characters import printable
from fds_mlflow.display.redaction import redacted

if TYPE_CHECKING:
    from fds_mlflow.notifications.notification import Notification


class Urgency(StrEnum):
    """How urgent a notification is; the values are those of Apprise."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


class Words(NamedTuple):
    """What a person reads.

    Attributes:
        title: One line.
        body: What stands below it, in lines.
        urgency: How urgent it is.
    """

    title: str
    body: str
    urgency: Urgency


_FAILURES = frozenset({Decision.FAILED, Decision.REVERTED})
_WARNINGS = frozenset(
    {Decision.UNDECIDED, Decision.STOPPED, Decision.ROLLED_BACK, Decision.OVERTAKEN, Decision.ABANDONED}
)
_WARN = frozenset({Kind.ADOPT, Kind.ROLLBACK, Kind.PAUSE, Kind.REQUEST, Kind.REJECT})
_VERDICTS = {Status.FAIL: Urgency.FAILURE, Status.ERROR: Urgency.FAILURE, Status.PASS: Urgency.SUCCESS}


def words(notification: Notification) -> Words:
    """A notification in words."""
    if notification.type == "rollout.verdict":
        title, lines, urgency = _verdict(notification.data)
    elif notification.type.startswith("lifecycle."):
        title, lines, urgency = _event(notification.data)
    else:
        title, lines, urgency = "a test", [f"sent by {notification.data.get('actor')}"], Urgency.INFO
    lines.append(f"{notification.time:%Y-%m-%d %H:%M:%S} UTC")
    if notification.link is not None:
        lines.append(notification.link)
    # Reasons and names are anybody's words: what acts on a terminal, or hides, is written out.
    shown = [printable(redacted(line)) for line in (f"{notification.model}: {title}", *lines)]
    return Words(shown[0], "\n".join(shown[1:]), urgency)


def _event(data: Mapping[str, Any]) -> tuple[str, list[str], Urgency]:
    from fds_mlflow.registry.records import import_line

    event = import_line(data)
    lines = [f"Why: {event.reason}"] if event.reason else []
    lines.append(f"Who: {who(event)}")
    if event.outcome is not Ending.DONE:
        return f"{done(event)} did not take effect ({event.outcome})", lines, Urgency.WARNING
    return f"{done(event)}{_versions(event)}", lines, _urgency(event)


def _versions(event: Event) -> str:
    before, after, rollout = event.from_version, event.to_version, event.rollout
    if rollout is not None and event.kind not in (Kind.EMERGENCY, Kind.ROLLBACK):
        return f", canary {rollout.canary} against champion {rollout.champion}"
    if before is not None and after is not None and before != after:
        return f", from version {before} to {after}"
    version = after if after is not None else before
    return "" if version is None else f", version {version}"


def _urgency(event: Event) -> Urgency:
    decided = ended(event)
    if event.kind is Kind.EMERGENCY or decided in _FAILURES:
        return Urgency.FAILURE
    if event.kind in _WARN or decided in _WARNINGS:
        return Urgency.WARNING
    return Urgency.SUCCESS if event.kind in (Kind.PROMOTE, Kind.COMPLETE) else Urgency.INFO


def _verdict(data: Mapping[str, Any]) -> tuple[str, list[str], Urgency]:
    overall, advice = data["overall"], data["recommendation"]

    def lines() -> Iterator[str]:
        yield f"Verdict: {overall['reason']}"
        for change in data["changes"]:
            yield f"{change['check'].replace('_', ' ')}: {change['from']} -> {change['to']}: {change['reason']}"
        yield f"Recommendation: {advice['to']}: {advice['reason']}"

    title = f"{overall['status']}, canary {data['canary']} against champion {data['champion']} at {data['weight']:g} %"
    return title, list(lines()), _VERDICTS.get(Status(overall["status"]), Urgency.INFO)
