"""What evidence says about one question, and about all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.statistics.wealth import Interval


class Status(StrEnum):
    """What a verdict says."""

    PASS = "PASS"
    INCONCLUSIVE = "INCONCLUSIVE"
    NODATA = "NODATA"
    ERROR = "ERROR"
    FAIL = "FAIL"


SEVERITY = (Status.PASS, Status.INCONCLUSIVE, Status.NODATA, Status.ERROR, Status.FAIL)
"""From harmless to harmful; every worst-of goes through this tuple."""


@dataclass(frozen=True)
class Verdict:
    """What the evidence says about one question.

    Attributes:
        status: The answer.
        check: The question: a guardrail's metric, or "split".
        reason: One sentence with both numbers.
        guardrail: Whose verdict this is; None for the split.
        champion: The champion's number in the current step; None without outcomes.
        canary: The canary's number in the current step; None without outcomes.
        estimate: The ratio of both over the rollout, judged by control, or their difference; None where unknown.
        interval: Where that lies at all times with a chance of at least 1 - alpha of the guardrail.
        fail_evidence: Log of the evidence that the canary is harmful.
        pass_evidence: Log of the evidence that it is not.
        threshold: What either must reach, log(1/alpha) of the guardrail.
        requests_to_go: Estimated requests of the treatment remaining until it is decided, if they are like those
            so far (scored by both versions, where it is paired); None if never, or nothing is left to decide.
        coverage: Share of the treatment's matured keys, or alerts, whose truth is known; None without labels.
        segment: The segment that it is about; None for the whole traffic.
        approximate: The numbers are means that can only be read off bins: counted by an older release, or losses in
            the one bin that the cap divides.
    """

    status: Status
    check: str
    reason: str
    guardrail: Guardrail | None = None
    champion: float | None = None
    canary: float | None = None
    estimate: float | None = None
    interval: Interval | None = None
    fail_evidence: float | None = None
    pass_evidence: float | None = None
    threshold: float | None = None
    requests_to_go: int | None = None
    coverage: float | None = None
    segment: str | None = None
    approximate: bool = False

    @property
    def matters(self) -> bool:
        """Whether it counts for the whole: every FAIL does, the rest of an optional guardrail does not."""
        return self.guardrail is None or self.guardrail.required or self.status is Status.FAIL


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The most severe verdict; the last of those that are equally severe, since later checks say more."""
    return max(reversed(verdicts), key=lambda verdict: SEVERITY.index(verdict.status))


@dataclass(frozen=True)
class Judgement:
    """All verdicts on a rollout at one time.

    Attributes:
        verdicts: The split's first, then one per guardrail, then those of segments that fail.
        outcomes: What the current step has seen of the canary: its requests, but no more than its keys in all.
        keys: Distinct keys that have met the canary in the whole rollout.
        matured: Of these, keys whose label has reached its maturity.
        silent: Why the canary is taken to have no outcomes though it has traffic; empty where it has, or has none.
    """

    verdicts: tuple[Verdict, ...]
    outcomes: int
    keys: int
    matured: int = 0
    silent: str = ""

    @property
    def overall(self) -> Verdict:
        """The most severe verdict that matters."""
        return worst([verdict for verdict in self.verdicts if verdict.matters])
