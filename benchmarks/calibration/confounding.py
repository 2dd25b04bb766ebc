"""Time and weight move together: rates that rise or fall just while the canary gets more of the traffic.

Three steps of half a day, 10, 25 and 50 %. Added up over them, most of the champion's outcomes are of the first step
and most of the canary's of the last: two versions that are alike in every hour look different, and different ones
alike.
"Before" is the test that adds up. Looked at every six hours through the judge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from benchmarks.calibration.counted import counted
from benchmarks.calibration.figures import share, spread_out
from fds_mlflow.core.evidence.arms import counts
from fds_mlflow.core.evidence.bins import LOSS_BINS, SCORE_BINS
from fds_mlflow.core.evidence.evidence import EventKind, Evidence, KnownAlerts, Tally
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.judge import Status, Verdict, judge
from fds_mlflow.core.judge.values import compared_values
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.plan import Guardrail, Metric, Plan

START = datetime(2026, 1, 1, tzinfo=UTC)
FIRST_HOUR = int(START.timestamp()) // 3600
STEPS, HOURS, LOOK = (10, 25, 50), 12, 6
REQUESTS = 20_000
"""Per hour, of both versions."""
MARGIN = 0.05
FALLS, RISES = (0.8, 0.65, 0.5), (0.5, 0.65, 0.8)
MORE, LESS = (0.3, 0.6, 0.9), (0.9, 0.6, 0.3)
"""Shares in the three steps."""
FLAT = (1.0, 1.0, 1.0)
PRECISION = (Guardrail(Metric.ALERT_PRECISION, margin=MARGIN),)
EVERYTHING = (
    Guardrail(Metric.ERROR_RATE, margin=0.5),
    Guardrail(Metric.ALERT_RATE, margin=0.5),
    Guardrail(Metric.SCORE_SHIFT, margin=0.05),
    Guardrail(Metric.MISSED_FRAUD, margin=0.5),
    Guardrail(Metric.FALSE_POSITIVES, margin=0.5),
    Guardrail(Metric.MONEY_LOST, margin=0.5, bound=1_000.0),
    *PRECISION,
)


@dataclass(frozen=True)
class World:
    """What moves from step to step.

    Attributes:
        precision: The champion's.
        within: By how much the precision falls from the begin of each step to its end.
        worse: Points that the canary's precision lies below.
        shown: Share of the alerts that show their truth because they are let pass; None: all have a label.
        reviewed: Share of those that have a label.
        busy: Multiple of all rates, of scores and losses.
    """

    precision: tuple[float, float, float] = (0.6, 0.6, 0.6)
    within: float = 0.0
    worse: float = 0.0
    shown: float | None = None
    reviewed: tuple[float, float, float] = FLAT
    busy: tuple[float, float, float] = FLAT

    def hour(self, random: np.random.Generator, step: int, hour: int) -> Iterator[Tally]:
        """What both versions do in one hour of a step, all labels known."""
        canary, at = int(random.binomial(REQUESTS, STEPS[step] / 100)), FIRST_HOUR + step * HOURS + hour
        precision = self.precision[step] - self.within * (hour / (HOURS - 1) - 0.5)
        for variant, keys in ((Variant.CHAMPION, REQUESTS - canary), (Variant.CANARY, canary)):
            own = precision - (self.worse if variant is Variant.CANARY else 0.0)
            place = Tally(variant=variant, step=step, weight=100 * STEPS[step], hour=at, requests=keys)
            yield self._tally(random, place, own)

    def _tally(self, random: np.random.Generator, place: Tally, precision: float) -> Tally:
        busy, keys = self.busy[place.step], place.requests
        alerts, errors = (int(random.binomial(keys, busy * rate)) for rate in (0.02, 0.005))
        missed = int(random.binomial(keys - alerts, busy * 0.005))
        shown = alerts if self.shown is None else int(random.binomial(alerts, self.shown))
        reviewed = int(random.binomial(shown, self.reviewed[place.step]))
        false = int(random.binomial(reviewed, 1 - precision))
        high = int(random.binomial(keys, 0.1 * busy))
        scores, losses = [0] * SCORE_BINS, [0] * LOSS_BINS
        scores[SCORE_BINS // 2], scores[SCORE_BINS // 20] = high, keys - high
        losses[int(5 * busy)] = missed
        known = {} if self.shown is None else {self.shown: KnownAlerts(alerts, shown, reviewed, false)}
        return replace(
            place,
            keys=keys,
            matured=keys,
            matured_requests=keys,
            labelled=keys - alerts + reviewed,
            passed_genuine=keys - alerts - missed,
            events={
                EventKind.ERROR: errors,
                EventKind.ALERT: alerts,
                EventKind.MISSED_FRAUD: missed,
                EventKind.FALSE_POSITIVE: false,
            },
            scores=tuple(scores),
            losses=tuple(losses),
            matured_alerts=alerts,
            reviewed_alerts=reviewed,
            false_alerts=false,
            known_alerts=known,
        )


@dataclass
class Found:
    """What the looks of one rollout find.

    Attributes:
        statuses: Every verdict on any guardrail.
        estimates: Whether each estimate at the end lies outside its own interval.
        numbers: Whether what the two numbers of a verdict say lies outside that interval.
    """

    statuses: set[Status] = field(default_factory=set)
    estimates: list[bool] = field(default_factory=list)
    numbers: list[bool] = field(default_factory=list)


def rollout(tallies: Sequence[Tally], plan: Plan, *, detail: bool) -> Found:
    """Judge a rollout at every look; with detail, its estimates at the end."""
    found = Found()
    for hours in range(LOOK, len(STEPS) * HOURS + 1, LOOK):
        step = (hours - 1) // HOURS
        now, since = START + timedelta(hours=hours), START + timedelta(hours=step * HOURS)
        evidence = counted(plan, now, [t for t in tallies if t.hour < FIRST_HOUR + hours])
        at_end = detail and hours == len(STEPS) * HOURS
        made = judge(evidence, Rollout("R", 1, 2, plan, plan.weights[step], step, since), detail=at_end)
        found.statuses |= {verdict.status for verdict in made.verdicts[1:]}
        if at_end:
            _compare(found, made.verdicts[1:], evidence)
    return found


def _compare(found: Found, verdicts: Sequence[Verdict], evidence: Evidence) -> None:
    both = counts(evidence, is_watch=False)
    for verdict in verdicts:
        guardrail, interval = verdict.guardrail, verdict.interval
        if guardrail is None or interval is None or verdict.estimate is None:
            continue
        found.estimates.append(not interval.low <= verdict.estimate <= interval.high)
        canary, champion = compared_values(guardrail.metric, both, evidence.terms, guardrail.bound)
        if canary is not None and champion:
            told = canary / champion if guardrail.relative else canary - champion
            found.numbers.append(not interval.low <= told <= interval.high)


CELLS: dict[str, tuple[World, tuple[Guardrail, ...], Status]] = {
    "good_fails_precision_falls": (World(FALLS), PRECISION, Status.FAIL),
    "good_fails_precision_falls_within_steps": (World(FALLS, within=0.2), PRECISION, Status.FAIL),
    "margin_fails_precision_falls": (World(FALLS, worse=MARGIN), PRECISION, Status.FAIL),
    "margin_passes_precision_rises": (World(RISES, worse=MARGIN), PRECISION, Status.PASS),
    "eight_points_worse_passes_precision_rises": (World(RISES, worse=0.08), PRECISION, Status.PASS),
    "reviewed_alike_called_apart_review_rises": (World(shown=0.5, reviewed=MORE), PRECISION, Status.ERROR),
    "reviewed_alike_called_apart_review_falls": (World(shown=0.5, reviewed=LESS), PRECISION, Status.ERROR),
    "good_fails_everything_rises": (World(FALLS, busy=(1.0, 2.0, 4.0)), EVERYTHING, Status.FAIL),
    "good_fails_everything_falls": (World(RISES, busy=(4.0, 2.0, 1.0)), EVERYTHING, Status.FAIL),
}
"""What moves, the guardrails, and the verdict that would be wrong."""


def cell(seed: int, name: str, rollouts: int) -> dict[str, Any]:
    """How often the wrong verdict is found at any look, now and before."""
    random = np.random.default_rng(seed)
    world, guardrails, wrong = CELLS[name]
    row: dict[str, Any] = {"cell": name, "wrong_verdict": wrong.value}
    plans = {"": 2, "_before": 1}
    found: dict[str, list[Found]] = {suffix: [] for suffix in plans}
    for number in range(rollouts):
        hours = [(step, hour) for step in range(len(STEPS)) for hour in range(HOURS)]
        tallies = [tally for step, hour in hours for tally in world.hour(random, step, hour)]
        for suffix, test in plans.items():
            plan = Plan([*STEPS, 100], guardrails=guardrails, label_maturity="1h", test=test)
            found[suffix].append(rollout(tallies, plan, detail=number < max(1, rollouts // DETAILED)))
    for suffix, each in found.items():
        row[f"wrong{suffix}"] = share([wrong in one.statuses for one in each])
        row[f"estimates_outside{suffix}"] = share([out for one in each for out in one.estimates])
        row[f"numbers_outside{suffix}"] = share([out for one in each for out in one.numbers])
    return row


DETAILED = 5
"""Of so many rollouts one is looked at with estimates and intervals, which take most of the time."""


def confounding(rollouts: int) -> dict[str, Any]:
    """The key of the benchmark.

    Args:
        rollouts: Rollouts per cell.
    """
    parts = spread_out(20261126, {"cells": [(cell, (name, rollouts), {}) for name in CELLS]})
    figures = ("wrong", "estimates_outside", "numbers_outside")

    def worst(suffix: str) -> float:
        return max(float(row[f"{name}{suffix}"]["rate"]) for row in parts["cells"] for name in figures)

    return {"worst": worst(""), "worst_before": worst("_before"), **parts}
