"""What can happen to a model's lifecycle, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from fds_mlflow.core.keys import Spelling
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.core.plan.approval import Approval
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.weight import FULL


class Kind(StrEnum):
    """The operations of the lifecycle; an event carries the kind of its operation."""

    STAGE = "stage"
    PROMOTE = "promote"
    START = "start"
    ADVANCE = "advance"
    COMPLETE = "complete"
    ABORT = "abort"
    EMERGENCY = "emergency"
    ROLLBACK = "rollback"
    RETIRE = "retire"
    ADOPT = "adopt"
    """An out-of-band change, which the history takes over; stored by the word of earlier releases."""
    RENAME = "rename"
    PAUSE = "pause"
    RESUME = "resume"
    POLICY = "policy"
    REQUEST = "request"
    """An operation waits for the approval of a second person."""
    APPROVE = "approve"
    REJECT = "reject"

    @property
    def shown(self) -> str:
        """What it is called before people."""
        return "out-of-band change" if self is Kind.ADOPT else self.value


MOVES_CHAMPION = frozenset({Kind.PROMOTE, Kind.COMPLETE, Kind.EMERGENCY, Kind.ROLLBACK})
"""Kinds whose one decisive write is the champion alias."""


class Role(StrEnum):
    """What an alias is for; a model's team may call the aliases otherwise."""

    CHAMPION = "champion"
    CANARY = "canary"


@dataclass(frozen=True)
class AliasNames:
    """What a model's team calls the two aliases.

    Attributes:
        champion: The alias of the version that serves.
        canary: The alias of the version on trial.
        later: Fields that a later release has written, as JSON; "" where there are none.
    """

    champion: str = Role.CHAMPION.value
    canary: str = Role.CANARY.value
    later: str = field(default="", repr=False, compare=False)

    def of(self, role: Role) -> str:
        """The name of the alias with a role."""
        return self.champion if role is Role.CHAMPION else self.canary


@dataclass(frozen=True)
class Renaming:
    """A change of a model's alias names.

    Attributes:
        before: The names before.
        after: The names after.
        creates: The champion's alias is made under its new name; else the team has it already.
    """

    before: AliasNames
    after: AliasNames
    creates: bool


@dataclass(frozen=True)
class Policy:
    """What of a model needs the approval of a second person, whatever a rollout's plan says.

    Attributes:
        require: What does, in the order of `Approval`.
        later: Fields that a later release has written, as JSON; "" where there are none.
    """

    require: tuple[Approval, ...] = ()
    later: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True)
class Asked:
    """What an approval is asked for, and what stood there then: it holds for exactly that.

    Attributes:
        kind: The operation.
        version: The version it is about.
        weight: For an advance: the weight it leads to, in basis points.
        forced: It overrides a guard.
        plan: For a start: the plan, as JSON.
        is_watch: For a start: the rollout watches the champion.
        names: For a rename: the names.
        policy: For a change of the policy: what it becomes.
        versions: Digest of the version and of the champion: their files, thresholds and training data.
        terms: Digest of the plan; "" where there is none.
        state: Digest of who serves, of the rollout, and of the policy.
        later: Fields that a later release has written, as JSON: what has any is nothing that this release asks for.
    """

    kind: Kind
    version: int | None = None
    weight: int | None = None
    forced: bool = False
    plan: str = ""
    is_watch: bool = False
    names: AliasNames | None = None
    policy: Policy | None = None
    versions: str = ""
    terms: str = ""
    state: str = ""
    later: str = ""


class Ending(StrEnum):
    """How an operation ended: it took effect, it died before it did, or an out-of-band change moved the alias."""

    DONE = "done"
    ABANDONED = "abandoned"
    OVERTAKEN = "overtaken"


class RolloutStatus(StrEnum):
    """Whether a rollout is under way, or how it ended."""

    ACTIVE = "active"
    COMPLETED = "completed"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"
    OVERTAKEN = "overtaken"
    ABANDONED = "abandoned"


@dataclass(frozen=True)
class Rollout:
    """One trial of one canary against one champion.

    Attributes:
        id: ULID; it salts the routing hash.
        champion: Version the canary is tried against.
        canary: Version on trial.
        plan: The plan it follows.
        weight: Share of the traffic, in basis points, in [0, 10000].
        step: Index of the step in the plan; displayed statistics restart with each step.
        since: When the current step began, UTC.
        status: Active, or how it ended.
        spelling: How keys are written, from its start to its end.
        is_watch: It watches a new champion: the canary is the former champion, as a control, and the champion is
            judged.
        paused: Since when it is paused, UTC; None while it goes on.
        plan_written: The plan as the history has it, as JSON, where it was read from one; "" for a new one.
        later: Fields that a later release has written, as JSON; "" where there are none.
    """

    id: str
    champion: int
    canary: int
    plan: Plan
    weight: int
    step: int
    since: datetime
    status: RolloutStatus = RolloutStatus.ACTIVE
    spelling: Spelling = Spelling.BY_COLUMN
    is_watch: bool = False
    paused: datetime | None = None
    plan_written: str = field(default="", compare=False, repr=False)
    later: str = field(default="", repr=False)

    @property
    def active(self) -> bool:
        """Whether the rollout is under way."""
        return self.status is RolloutStatus.ACTIVE

    @property
    def at_last_step(self) -> bool:
        """Whether the weight has reached the last one of the plan."""
        return self.weight >= self.plan.weights[-1]

    @property
    def next_weight(self) -> int | None:
        """The plan's next weight, in basis points; None at its last step."""
        return next((weight for weight in self.plan.weights if weight > self.weight), None)

    @property
    def can_complete(self) -> bool:
        """Whether nothing of the plan is left but the completion: all traffic has no control, so it is no step."""
        return self.next_weight in (None, FULL)

    def plan_values(self) -> dict[str, Any]:
        """The plan as tags, tracking runs and JSON keep it: in a watch's, `control` stands as well."""
        return self.plan.to_dict() | ({"control": True} if self.is_watch else {})

    def ended(self, status: RolloutStatus) -> Rollout:
        """The same rollout, ended in the given way."""
        return replace(self, status=status)


@dataclass(frozen=True)
class Basis:
    """Who decided about a rollout, and on what evidence, as it was known then.

    Attributes:
        judged: The judge decided, by way of an autopilot; else a person did.
        overall: The overall verdict then; None where nobody asked the judge.
        statuses: Status by check; empty where nobody asked.
        keys: Distinct keys that had met the canary; None where nobody asked.
        labelled: Keys of both variants with a label that a guardrail looked at; None where nobody asked.
        pushed: A step of the rollout had been forced, so that a person's completion is forced too.
    """

    judged: bool = False
    overall: Status | None = None
    statuses: Mapping[str, Status] = field(default_factory=dict, hash=False)  # a dict: events travel between processes
    keys: int | None = None
    labelled: int | None = None
    pushed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `from_dict` takes them; what nobody asked is left out."""
        values: dict[str, Any] = {"by": "judge" if self.judged else "person"}
        if self.pushed:
            values["pushed"] = True
        if self.overall is not None:
            statuses = {check: status.value for check, status in self.statuses.items()}
            values |= {
                "overall": self.overall.value,
                "statuses": statuses,
                "keys": self.keys,
                "labelled": self.labelled,
            }
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Basis:
        """Read plain values; raises ValueError, LookupError or TypeError where they are none of `to_dict`'s."""
        judged, pushed = values["by"] == "judge", bool(values.get("pushed", False))
        if "overall" not in values:
            return cls(judged, pushed=pushed)
        statuses = {str(check): Status(status) for check, status in values["statuses"].items()}
        overall, keys, labelled = Status(values["overall"]), int(values["keys"]), int(values["labelled"])
        return cls(judged, overall, statuses, keys, labelled, pushed)


@dataclass(frozen=True)
class Event:
    """One thing that happened to a model's lifecycle.

    Attributes:
        sequence: Place in the model's history, from 1 without gaps. It is the only order.
        operation: ULID of the operation.
        kind: What was done.
        actor: Who did it.
        reason: Why, at most 1,000 bytes of UTF-8.
        time: When, UTC, by the actor's clock. For people; never used for order.
        from_version: Champion before, for kinds that can move it; else the version's own former place is implied.
        to_version: Version the operation is about: the new champion, the canary, the staged or retired one.
        rollout: The rollout after the event, where the event is about one.
        outcome: Whether it took effect.
        forced: A person overrode a check that can be overridden.
        basis: For what moves or ends a rollout: who decided, and on what evidence; None in events of older releases.
        renaming: For a rename: from which names to which.
        signed_in: The actor's name begins with that of the user who was signed in; else it is only what they claim.
        files: Digest of the files of `to_version` that were looked at, and its registration
            (`VersionView.registration`); None where nobody looked, and in events of older releases.
        trusted: The actor allowed `to_version` by name to run code of its own when it is loaded.
        asked: For a request: what it is for.
        answers: Operation of the request that this approves, rejects, or was approved by; "" for none.
        policy: For a change of the policy: what it is from then on.
        seal: What proves that it was recorded by somebody with the team's key; "" where it has none.
        later: Fields that a later release has written, as JSON; "" where there are none.
        holds_plan: It is written with the plan of its rollout whatever its kind, as earlier releases wrote all.
    """

    sequence: int
    operation: str
    kind: Kind
    actor: str
    reason: str
    time: datetime
    from_version: int | None = None
    to_version: int | None = None
    rollout: Rollout | None = None
    outcome: Ending = Ending.DONE
    forced: bool = False
    basis: Basis | None = None
    renaming: Renaming | None = None
    signed_in: bool = False
    files: str | None = None
    trusted: bool = False
    asked: Asked | None = None
    answers: str = ""
    policy: Policy | None = None
    seal: str = field(default="", compare=False, repr=False)
    later: str = field(default="", repr=False)
    holds_plan: bool = field(default=False, compare=False, repr=False)
