"""What one tick of the autopilot found, decided and did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from fds_mlflow.core.evidence.evidence import Evidence
from fds_mlflow.core.judge.judge import Judgement
from fds_mlflow.core.lifecycle.controller import Recommendation
from fds_mlflow.core.lifecycle.events import Event, Rollout
from fds_mlflow.errors import (
    FdsError,
)
from fds_mlflow.registry.transaction import Result


@dataclass(frozen=True)
class Tick:
    """What one tick found, decided and did.

    Attributes:
        model: Registered model.
        time: When, UTC.
        rollout: The active rollout as it was judged; None where there is none, or the registry could not be read.
        evidence: What it was judged by.
        judgement: What the evidence says.
        recommendation: What was decided; None where nothing could be.
        applied: What was done; None where there was nothing to do.
        error: Why the tick could not finish. Nothing was done then, or the history will tell.
        ended: Nothing is left to do: no rollout is active, and no watch is due.
        last: The last event about a rollout, once nothing is left to do.
    """

    model: str
    time: datetime
    rollout: Rollout | None = None
    evidence: Evidence | None = None
    judgement: Judgement | None = None
    recommendation: Recommendation | None = None
    applied: Result | None = None
    error: FdsError | None = None
    ended: bool = False
    last: Event | None = None


OnTick = Callable[[Tick], None]
