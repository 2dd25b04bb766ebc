"""What a person asks for, and what that leads to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from fds_mlflow.core.lifecycle.events import AliasNames, Basis, Kind, Policy, Rollout
from fds_mlflow.core.plan.plan import Plan


@dataclass(frozen=True)
class Request:
    """One request of one actor.

    Attributes:
        kind: The operation.
        version: The version it is about; None for the kinds that find it in the state.
        weight: For an advance: the requested weight in basis points; None for the next step of the plan.
        plan: For a start.
        force: Go past a guard that a person may override. It needs a reason.
        rollout_id: For a start: ULID of the new rollout.
        now: For rollouts: when the step begins, UTC.
        expected_sequence: Sequence number of the last event that the request is based on: refused once the history has
            gone on. None for a request that holds whatever has happened since.
        basis: For what moves or ends a rollout: who decided, and on what evidence.
        is_watch: For a start: the new rollout watches the champion.
        names: For a rename.
        policy: For a change of the policy.
        answers: For an approval or a rejection: id of the request.
        actor: Who asks; whoever carries the request out says so.
        signed_in: The actor's name begins with that of the user who was signed in.
        anew: Also where it holds already, for what its event records: for a promotion and a change of the policy.
    """

    kind: Kind
    version: int | None = None
    weight: int | None = None
    plan: Plan | None = None
    force: bool = False
    rollout_id: str | None = None
    now: datetime | None = None
    expected_sequence: int | None = None
    basis: Basis = field(default_factory=Basis)
    is_watch: bool = False
    names: AliasNames | None = None
    anew: bool = False
    policy: Policy | None = None
    answers: str = ""
    actor: str = ""
    signed_in: bool = False


@dataclass(frozen=True)
class Target:
    """What an operation leads to.

    Attributes:
        version: The version the operation is about.
        rollout: The rollout after the operation, where it starts, changes or ends one.
        forced: A guard spoke against it, and was overridden.
        files: As in `Event`.
        trusted: As in `Event`.
    """

    version: int | None
    rollout: Rollout | None = None
    forced: bool = False
    files: str | None = None
    trusted: bool = False


@dataclass(frozen=True)
class Already:
    """What was requested holds already; there is nothing to do."""

    why: str
