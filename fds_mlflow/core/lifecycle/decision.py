"""How a rollout ended: what was decided, by whom, and on what evidence; never what the end state suggests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum

from fds_mlflow.core.evidence.evidence import Evidence
from fds_mlflow.core.lifecycle.events import MOVES_CHAMPION, Basis, Ending, Event, Kind, RolloutStatus
from fds_mlflow.core.lifecycle.verdict import Judgement, Status
from fds_mlflow.core.weight import to_percent

AUTOPILOT = "autopilot of "
AGENT = "agent of "
"""How the name of an autopilot begins. Events of releases that recorded no basis tell the judge by it alone."""

BY_HAND = "an alias moved in MLflow"
"""How the name of who made an out-of-band change ends where MLflow's server saw them make it: `ann for …`."""

_SAID = re.compile(rf"\(({'|'.join(Status)}): ")
"""How the reason of an autopilot's event names the overall verdict."""


class Decision(StrEnum):
    """What was decided about a rollout."""

    UNDER_WAY = "under way"
    PASSED = "passed"
    WITHOUT_PASS = "completed by hand without a PASS"
    BY_HAND = "completed by hand"
    """Of an older release, which kept no verdict: nobody knows whether there was a PASS."""
    FORCED = "forced"
    FAILED = "aborted by the judge"
    UNDECIDED = "aborted undecided"
    """The judge stopped it as its plan says, without having shown any harm."""
    STOPPED = "aborted by hand"
    REVERTED = "rolled back by the judge"
    ROLLED_BACK = "rolled back by hand"
    WATCHED = "watch over"
    OVERTAKEN = "overtaken"
    ABANDONED = "abandoned"


def basis(judgement: Judgement, evidence: Evidence, *, judged: bool) -> Basis:
    """What a decision rests on, once the judge has been asked.

    Args:
        judgement: What the evidence says.
        evidence: What was judged.
        judged: Whether the judge decides, not a person who asked it.
    """
    asked = any(v.guardrail is not None and v.guardrail.metric.needs_labels for v in judgement.verdicts)
    return Basis(
        judged=judged,
        overall=judgement.overall.status,
        statuses={verdict.check: verdict.status for verdict in judgement.verdicts},
        keys=judgement.keys,
        labelled=sum(max(t.labelled, t.reviewed_alerts) for t in evidence.tallies) if asked else 0,
    )


def by_judge(event: Event) -> bool:
    """Whether the judge decided, by way of an autopilot; else a person did."""
    return event.basis.judged if event.basis is not None else event.actor.startswith(AUTOPILOT)


def overall(event: Event, last: Status | None = None) -> Status | None:
    """What the judge said when it was decided; None where nobody asked it, or nobody wrote it down.

    Args:
        event: The event.
        last: The last overall verdict that is known otherwise, for events of releases that recorded no basis.
    """
    if event.basis is not None:
        return event.basis.overall
    said = _SAID.search(event.reason) if event.actor.startswith(AUTOPILOT) else None
    return Status(said[1]) if said else last


def decision(event: Event, last: Status | None = None) -> Decision | None:
    """What an event decided about a rollout; None where it is about none. Arguments as of `overall`."""
    if event.rollout is None:
        return None
    judged, status = by_judge(event), event.rollout.status
    if status is RolloutStatus.COMPLETED:
        pushed = event.basis is not None and event.basis.pushed and not judged
        return Decision.FORCED if event.forced or pushed else _completed(event, last)
    if status is RolloutStatus.ABORTED and judged:
        failed = Decision.FAILED if overall(event, last) is Status.FAIL else Decision.UNDECIDED
        return Decision.WATCHED if event.rollout.is_watch else failed
    if status is RolloutStatus.ROLLED_BACK and judged:
        return Decision.REVERTED
    return _ENDS[status]


def _completed(event: Event, last: Status | None) -> Decision:
    said = overall(event, last)
    if said is Status.PASS or (event.basis is None and by_judge(event)):  # the judge completes with nothing else
        return Decision.PASSED
    return Decision.BY_HAND if said is None and event.basis is None else Decision.WITHOUT_PASS


_ENDS: Mapping[RolloutStatus, Decision] = {
    RolloutStatus.ACTIVE: Decision.UNDER_WAY,
    RolloutStatus.ABORTED: Decision.STOPPED,
    RolloutStatus.ROLLED_BACK: Decision.ROLLED_BACK,
    RolloutStatus.OVERTAKEN: Decision.OVERTAKEN,
    RolloutStatus.ABANDONED: Decision.ABANDONED,
}
"""What a status means where the judge had no part in it."""


def ended(event: Event) -> Decision | None:
    """What an event decided about a rollout that it ended; None where it ended none."""
    return None if event.rollout is None or event.rollout.active else decision(event)


def decisions(events: Iterable[Event]) -> dict[int, Decision]:
    """What was decided about the last rollout of each version, a watch of another one left out; by number."""
    found: dict[int, Decision] = {}
    for event in events:
        decided = ended(event) if event.outcome is Ending.DONE else None
        if decided is not None and event.rollout is not None and not event.rollout.is_watch:
            found[event.rollout.canary] = decided
    return found


def moves_champion(event: Event) -> bool:
    """Whether an event made another version the champion, out-of-band changes included."""
    moves = event.kind in MOVES_CHAMPION or (event.kind is Kind.ADOPT and event.from_version != event.to_version)
    return moves and event.outcome is Ending.DONE


def crowned(events: Iterable[Event]) -> Decision | None:
    """What was decided about the rollout whose completion made today's champion; None where none did."""
    found = None
    for event in events:
        if moves_champion(event):
            found = ended(event) if event.kind is Kind.COMPLETE else None
    return found


def pushed(events: Iterable[Event]) -> bool:
    """Whether a step of the last rollout of a history was forced."""
    about = [e for e in events if e.rollout is not None and e.outcome is Ending.DONE]
    last = about[-1].rollout if about else None
    return any(e.forced and e.kind is Kind.ADVANCE and e.rollout and last and e.rollout.id == last.id for e in about)


def done(event: Event) -> str:
    """What was done: the weight of a rollout that goes on, what was decided about one that ended."""
    decided = ended(event)
    if decided is not None and event.outcome is Ending.DONE:
        return f"{event.kind.shown} ({decided})"
    rollout = event.rollout
    weight = f" {to_percent(rollout.weight):g} %" if rollout is not None and rollout.active else ""
    return event.kind.shown + (" (forced)" if event.forced else "") + weight


def who(event: Event) -> str:
    """Who decided: of an out-of-band change the registry keeps no name, unless our page's server saw who it was."""
    if event.kind is not Kind.ADOPT:
        return event.actor
    made, _, _ = event.actor.partition(f" for {BY_HAND}")
    if made != event.actor:
        return f"an out-of-band change by {made}"
    return f"an out-of-band change, noticed by {event.actor}"


def ending(event: Event | None) -> str:
    """How the last rollout ended, by its last event: the rest of a sentence; empty where there was none."""
    if event is None or event.rollout is None:
        return ""
    told = f"; the last one, of version {event.rollout.canary}: {decision(event)} ({who(event)})"
    return f"{told}: {event.reason}" if event.reason else told
