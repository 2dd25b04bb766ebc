"""What a guardrail calls harmful, as two tests: that the canary is (FAIL), and that it is not (PASS).

Harmful is who lies beyond the margin and is not negligible, or lies beyond the limit. FAIL has to reject that all is
well: that no side of the margin is crossed, or it is negligible, and the limit is kept. PASS has to reject every harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from fds_mlflow.core.judge.measure import Measure, rate_until
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.statistics.combination import AllOf, AnyOf, SequentialTest, Single
from fds_mlflow.core.statistics.sequential import Side, rate_evidence

NEVER = Single(-inf, lambda _: None)
"""A test that nothing can be staked on: its evidence is broken."""


@dataclass(frozen=True)
class Rate:
    """One variant's own events.

    Attributes:
        events: Keys with the event.
        keys: Keys that could have had it.
    """

    events: int
    keys: int

    def test(self, boundary: float, *, above: bool) -> SequentialTest:
        """The test that the rate lies above, or below, a fixed one."""
        evidence = rate_evidence(self.events, self.keys, boundary, above=above)
        return Single(evidence, lambda alpha: rate_until(self.events, self.keys, boundary, above=above, alpha=alpha))


def boundaries(guardrail: Guardrail) -> Sequence[tuple[float, bool]]:
    """Each boundary of the margin, and whether what lies above it is harmful (else what lies below)."""
    if guardrail.margin is None:
        return ()
    relative = guardrail.relative
    higher = (1 + guardrail.margin if relative else guardrail.margin, True)
    lower = (1 / (1 + guardrail.margin) if relative else -guardrail.margin, False)
    return {Side.HIGHER: (higher,), Side.LOWER: (lower,), Side.BOTH: (higher, lower)}[guardrail.harms]


def fails(guardrail: Guardrail, measure: Measure | None, own: Rate) -> SequentialTest:
    """The test that the treatment is harmful.

    Args:
        guardrail: What is asked.
        measure: The comparison with the control; None where it cannot be trusted.
        own: Events of the treatment alone.
    """
    harms: list[SequentialTest] = []
    for boundary, above in boundaries(guardrail):
        beyond = NEVER if measure is None else _margin(measure, boundary, above=above)
        if guardrail.negligible is not None:
            harms.append(AllOf([beyond, own.test(guardrail.negligible, above=True)]))
        else:
            harms.append(beyond)
    if guardrail.limit is not None:
        harms.append(own.test(guardrail.limit, above=True))
    return AnyOf(harms)


def passes(guardrail: Guardrail, measure: Measure | None, own: Rate) -> SequentialTest:
    """The test that the treatment is not harmful.

    Args:
        guardrail: What is asked.
        measure: The comparison with the control; None where it cannot be trusted.
        own: Events of the treatment alone.
    """
    assurances: list[SequentialTest] = []
    for boundary, above in boundaries(guardrail):
        within = NEVER if measure is None else _margin(measure, boundary, above=not above)
        if guardrail.negligible is not None:
            assurances.append(AnyOf([within, own.test(guardrail.negligible, above=False)]))
        else:
            assurances.append(within)
    if guardrail.limit is not None:
        assurances.append(own.test(guardrail.limit, above=False))
    return AllOf(assurances)


def _margin(measure: Measure, boundary: float, *, above: bool) -> SequentialTest:
    def wait(alpha: float) -> int | None:
        return measure.until(boundary, above=above, alpha=alpha)

    return Single(measure.evidence(boundary, above=above), wait)
