"""What a guardrail calls harmful, as two tests: that the canary is (FAIL), and that it is not (PASS).

Harmful is who lies beyond the margin and is not negligible, or lies beyond the limit. FAIL has to reject that all is
well: that no side of the margin is crossed, or it is negligible, and the limit is kept. PASS has to reject every harm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from fds_mlflow.core.evidence.arms import Counts
from fds_mlflow.core.evidence.evidence import EventKind
from fds_mlflow.core.judge.labels import event_of, events_by_chance
from fds_mlflow.core.judge.measure import Measure, rate_until
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.statistics.combination import AllOf, AnyOf, SequentialTest, Single
from fds_mlflow.core.statistics.sequential import Side, Trials, rate_evidence

NEVER = Single(-inf, lambda _: None)
"""A test that nothing can be staked on: its evidence is broken."""


class Own(Protocol):
    """What is known of the treatment alone."""

    def test(self, boundary: float, *, above: bool, later: bool) -> SequentialTest:
        """The test that it lies above, or below, a fixed value."""
        ...


@dataclass(frozen=True)
class Rate:
    """One variant's own events.

    Attributes:
        hours: First events among the requests that could have had one, by the hour; each as much as it counts.
        chance: With which an event that counts in full is known: fixed rates are compared at as much of themselves.
    """

    hours: Sequence[Trials]
    chance: float = 1.0

    def test(self, boundary: float, *, above: bool, later: bool) -> SequentialTest:
        """The test that the rate lies above, or below, a fixed one."""
        rate = boundary * self.chance
        events = sum(each.worth * each.successes for each in self.hours)
        whole = Trials(round(events), sum(each.total for each in self.hours))
        evidence = rate_evidence(self.hours, rate, above=above, later=later)
        return Single(evidence, lambda alpha: rate_until(whole, rate, above=above, alpha=alpha))


def own_rate(metric: Metric, counts: Counts) -> Rate:
    """The treatment's rate of a metric's event; where labels come with known chances, by these."""
    kind, least = event_of(metric), counts.least_chance
    both = [events_by_chance(metric, tally, least) for tally in (counts.whole.treatment, counts.whole.control)]
    chances = {chance for events in both for chance, count in events.items() if count}
    if kind is EventKind.FALSE_POSITIVE and least is not None:
        chances = {least}  # what nobody has seen yet may be seen as seldom
    smallest = min(chances, default=1.0)
    hours: list[Trials] = []
    for tally in counts.own:
        events = events_by_chance(metric, tally, least)
        hours += [Trials(n, n, tally.hour, smallest / chance) for chance, n in events.items() if n]
        hours.append(Trials(0, max(0, tally.at_risk(kind) - sum(events.values())), tally.hour))
    return Rate(hours, smallest)


def boundaries(guardrail: Guardrail) -> Sequence[tuple[float, bool]]:
    """Each boundary of the margin, and whether what lies above it is harmful (else what lies below)."""
    if guardrail.margin is None:
        return ()
    relative = guardrail.relative
    higher = (1 + guardrail.margin if relative else guardrail.margin, True)
    lower = (1 / (1 + guardrail.margin) if relative else -guardrail.margin, False)
    return {Side.HIGHER: (higher,), Side.LOWER: (lower,), Side.BOTH: (higher, lower)}[guardrail.harms]


def fails(guardrail: Guardrail, measure: Measure | None, own: Own, *, later: bool) -> SequentialTest:
    """The test that the treatment is harmful.

    Args:
        guardrail: What is asked.
        measure: The comparison with the control; None where it cannot be trusted.
        own: Events of the treatment alone.
        later: Whether a part of each stake begins in later hours: a harm that came late is found as well.
    """
    return AnyOf(_tests(guardrail, measure, own, AllOf, harmful=True, later=later))


def passes(guardrail: Guardrail, measure: Measure | None, own: Own) -> SequentialTest:
    """The test that the treatment is not harmful; arguments as of `fails`."""
    return AllOf(_tests(guardrail, measure, own, AnyOf, harmful=False, later=False))


def _tests(
    guardrail: Guardrail,
    measure: Measure | None,
    own: Own,
    joined: Callable[[Sequence[SequentialTest]], SequentialTest],
    *,
    harmful: bool,
    later: bool,
) -> list[SequentialTest]:
    """One test per boundary, joined with that of what is negligible, and one of the limit."""
    tests: list[SequentialTest] = []
    for boundary, above in boundaries(guardrail):
        test = NEVER if measure is None else _margin(measure, boundary, above=above is harmful, later=later)
        if guardrail.negligible is not None:
            test = joined([test, own.test(guardrail.negligible, above=harmful, later=later)])
        tests.append(test)
    if guardrail.limit is not None:
        tests.append(own.test(guardrail.limit, above=harmful, later=later))
    return tests


def _margin(measure: Measure, boundary: float, *, above: bool, later: bool) -> SequentialTest:
    def wait(alpha: float) -> int | None:
        return measure.until(boundary, above=above, alpha=alpha)

    return Single(measure.evidence(boundary, above=above, later=later), wait)
