"""Regressions: a version with more of one kind of harm, and with nothing else changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.rollouts.rehearsal.cell import Arm, Bools

RATIOS = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)
"""How much more harm the rehearsed regressions do."""

INJECTED = frozenset(
    {Metric.ERROR_RATE, Metric.ALERT_RATE, Metric.MISSED_FRAUD, Metric.FALSE_POSITIVES, Metric.MONEY_LOST}
)
"""Metrics whose harm can be injected as further events."""


def injectable(plan: Plan) -> list[Guardrail]:
    """The plan's guardrails whose harm can be injected."""
    return [g for g in plan.guardrails if g.metric in INJECTED and g.margin is not None]


def ratios(guardrail: Guardrail) -> list[float]:
    """Regressions beyond the margin."""
    return [ratio for ratio in RATIOS if ratio > 1 + (guardrail.margin or 0.0)]


def worse(arm: Arm, metric: Metric, ratio: float, random: np.random.Generator) -> Arm | None:
    """The same decisions with `ratio` times as many of the metric's events; None where there are too few to begin with.

    Genuine requests that were not flagged become the events: they fail, are flagged, or turn out to be frauds.
    """
    passed = ~arm.flagged & (arm.labels == 0)
    if metric is Metric.ERROR_RATE:
        extra = _drawn(arm.errors.sum(), ~arm.errors, ratio, random)
        return None if extra is None else replace(arm, errors=arm.errors | extra)
    if metric in (Metric.ALERT_RATE, Metric.FALSE_POSITIVES):
        events = arm.flagged.sum() if metric is Metric.ALERT_RATE else _known(arm, arm.false)
        extra = _drawn(events, passed, ratio, random)
        return None if extra is None else replace(arm, flagged=arm.flagged | extra)
    extra = _drawn(_known(arm, arm.missed), passed, ratio, random)
    if extra is None:
        return None
    amounts = arm.amounts.copy()
    amounts[extra] = random.choice(arm.amounts[arm.missed], size=int(extra.sum()))
    return replace(arm, labels=np.where(extra, 1, arm.labels), amounts=amounts)


def _known(arm: Arm, events: Bools) -> float:
    """How many events there are, by the chance with which each is known."""
    return float(events.sum() if arm.chances is None else (1 / arm.chances[events]).sum())


def _drawn(events: float, among: Bools, ratio: float, random: np.random.Generator) -> Bools | None:
    """Further events, each request among the given ones as likely as another."""
    more, there = (ratio - 1) * float(events), float(among.sum())
    if not more or more > there:
        return None
    return among & (random.random(len(among)) < more / there)
