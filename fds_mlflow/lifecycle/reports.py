"""What the lifecycle answers to questions: frozen values for people, tables and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from fds_mlflow.core.evidence.evidence import Tally
from fds_mlflow.core.judge.judge import Verdict
from fds_mlflow.core.lifecycle.controller import Recommendation
from fds_mlflow.core.lifecycle.decision import Decision
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.errors import RefusedError
from fds_mlflow.lifecycle.validation import ValidationCheck
from fds_mlflow.registry.store import VersionView
from fds_mlflow.registry.tags import Intent


@dataclass(frozen=True)
class Candidate:
    """A former champion that the model can be rolled back to.

    Attributes:
        version: Its number.
        champion_since: When it last became champion, UTC.
        retired_at: When it last stepped down, UTC.
        withdrawn: It was itself rolled back from, so an emergency does not choose it.
        metrics: Test metrics of the run that logged it.
        description: The version's description.
        emergency: An emergency rollback would go back to it.
    """

    version: int
    champion_since: datetime | None
    retired_at: datetime | None
    withdrawn: bool
    metrics: Mapping[str, float]
    description: str
    emergency: bool = False


@dataclass(frozen=True)
class Validation:
    """Whether a version may serve.

    Attributes:
        version: The version.
        checks: One per question.
        warnings: What is worth knowing and forbids nothing.
    """

    version: int
    checks: tuple[ValidationCheck, ...]
    warnings: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it."""
        return all(check.passed is not False for check in self.checks)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What could not be checked, which is not to have passed, and the warnings."""
        open_ = [f"not checked: {check.name} ({check.detail})" for check in self.checks if check.passed is None]
        return (*open_, *self.warnings)

    def require(self) -> None:
        """Refuse when a check failed.

        Raises:
            RefusedError: Names every failed check.
        """
        failed = [check for check in self.checks if check.passed is False]
        if failed:
            said = "; ".join(f"{check.name}: {check.detail}" for check in failed)
            raise RefusedError(
                f"version {self.version} may not serve: {said}",
                fix="; ".join(dict.fromkeys(check.fix for check in failed)),
            )


@dataclass(frozen=True)
class CanaryStatus:
    """Where a rollout stands.

    Attributes:
        rollout: The active rollout.
        champion: The champion's outcomes in this step.
        canary: The canary's outcomes in this step.
        verdicts: The split's first, then one per guardrail.
        recommendation: What the controller would do.
        warnings: Out-of-band changes by which nobody judges.
    """

    rollout: Rollout
    champion: Tally
    canary: Tally
    verdicts: tuple[Verdict, ...]
    recommendation: Recommendation
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Overview:
    """A model at a glance.

    Attributes:
        name: Registered model.
        champion: Version that serves.
        rollout: The active rollout.
        agrees: Whether the history explains the live aliases.
        pending: Operations in flight, or left behind by a process that died.
        versions: All versions, the newest first.
        decisions: What was decided about the last rollout of each version that had one, by number.
        crowned: What was decided about the rollout that made the champion; None where none did.
        withdrawn: Versions that were rolled back from and not promoted since.
    """

    name: str
    champion: int | None
    rollout: Rollout | None
    agrees: bool
    pending: tuple[Intent, ...]
    versions: tuple[VersionView, ...]
    decisions: Mapping[int, Decision] = field(default_factory=lambda: MappingProxyType({}))
    crowned: Decision | None = None
    withdrawn: tuple[int, ...] = ()
