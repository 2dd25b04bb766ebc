"""A request that waits for the approval of a second person: who may give it, what it holds for, and for how long."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from fds_mlflow.core.lifecycle.decision import AGENT, AUTOPILOT
from fds_mlflow.core.lifecycle.events import Asked, Event, Kind, Policy, Rollout
from fds_mlflow.display.characters import alike

LASTS = timedelta(days=7)
"""For so long a request can be approved, and an approval be used."""

AHEAD = timedelta(hours=1)
"""By so much the clock of who asked or approved may be ahead of the one that is asked whether it still holds."""


class Acting(Protocol):
    """Whoever acts: an event, or a request."""

    @property
    def actor(self) -> str:
        """Who."""
        ...

    @property
    def signed_in(self) -> bool:
        """The name begins with that of the user who was signed in."""
        ...


@dataclass(frozen=True)
class OpenRequest:
    """A request that nobody has rejected, and that nothing has overtaken.

    Attributes:
        request: The event that asked.
        asked: What it is for.
        approval: The event that approved it; None while it waits.
    """

    request: Event
    asked: Asked
    approval: Event | None = None

    @property
    def id(self) -> str:
        """What it is called: the operation that asked."""
        return self.request.operation

    @property
    def lapses(self) -> datetime:
        """When it lapses, if nothing happens until then, UTC."""
        return (self.approval or self.request).time + LASTS

    def holds(self, now: datetime) -> bool:
        """Whether it has not lapsed by now: a week after it was made, an approval a week after it was given."""
        return now < self.lapses and (self.approval or self.request).time <= now + AHEAD


def same_person(one: Acting, other: Acting) -> bool:
    """Whether two actors may be one person, however each is spelled: then the one cannot approve for the other.

    An autopilot, or an agent, is whoever runs it. "a for b" is both, a who was signed in and b for whom they said they
    act. Unless both were signed in, the host of user@host makes no difference.
    """
    hosts = one.signed_in and other.signed_in
    mine, theirs = _people(one, hosts=hosts), _people(other, hosts=hosts)
    return not mine or not theirs or not mine.isdisjoint(theirs)  # whom nobody can tell may be anybody


def _people(acting: Acting, *, hosts: bool) -> frozenset[str]:
    name = alike(acting.actor)
    while name.startswith((AUTOPILOT, AGENT)):
        name = name.removeprefix(AUTOPILOT).removeprefix(AGENT)
    parts = [part.replace(" ", "") for part in f" {name} ".split(" for ")]
    found = [part if hosts else part.rpartition("@")[0] or part for part in parts]
    return frozenset(part for part in found if part)


def digest(values: Mapping[str, Any]) -> str:
    """A digest of plain values: SHA-256 of their JSON with sorted keys, the first 128 bits in hexadecimal digits."""
    written = json.dumps(values, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()[:32]


def digest_of_state(champion: int | None, rollout: Rollout | None, policy: Policy) -> str:
    """A digest of what an approval was given in view of: who serves, the rollout, the policy."""
    trial = rollout and {
        "id": rollout.id,
        "champion": rollout.champion,
        "canary": rollout.canary,
        "weight": rollout.weight,
        "step": rollout.step,
        "status": rollout.status.value,
        "paused": rollout.paused is not None,
        "plan": rollout.plan_values(),
    }
    return digest({"champion": champion, "rollout": trial, "policy": list(policy.require)})


def still_open(one: OpenRequest, event: Event, state: str) -> bool:
    """Whether an event leaves a request open: not once its version was retired, or the state is another.

    Args:
        one: The request.
        event: The event.
        state: Digest of the state that the event leads to.
    """
    retired = event.kind is Kind.RETIRE and event.to_version == one.asked.version
    return not retired and one.asked.state == state
