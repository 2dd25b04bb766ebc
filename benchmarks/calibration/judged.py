"""A/A rollouts through the judge itself: a plan of five guardrails over three steps, labels missing not at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from benchmarks.calibration.counted import counted
from fds_mlflow.core.evidence.arms import added
from fds_mlflow.core.evidence.bins import LOSS_BINS
from fds_mlflow.core.evidence.evidence import EventKind, KnownAlerts, Tally
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.judge import Status, judge
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.plan import Guardrail, Metric, Plan

START = datetime(2026, 1, 1, tzinfo=UTC)
ERRORS, FRAUDS, CAUGHT, FALSE_ALERTS = 0.005, 0.01, 0.6, 0.02
"""Per key: errors and frauds; of the frauds caught; of the genuine ones flagged."""


@dataclass(frozen=True)
class Ended:
    """How one rollout went.

    Attributes:
        failed: Whether it was ever failed.
        doubted: Whether labels were found not to compare, before any FAIL.
    """

    failed: bool
    doubted: bool


def margin_free_plan(test: int) -> Plan:
    """Five guardrails without any margin, so that being exactly as good is the edge of each hypothesis."""
    return Plan(
        [10, 25, 50, 100],
        guardrails=[
            Guardrail(Metric.ERROR_RATE, margin=0.0),
            Guardrail(Metric.ALERT_RATE, margin=0.0),
            Guardrail(Metric.MISSED_FRAUD, margin=0.0),
            Guardrail(Metric.FALSE_POSITIVES, margin=0.0),
            Guardrail(Metric.MONEY_LOST, margin=0.0, bound=500.0),
        ],
        label_maturity=timedelta(days=30),
        test=test,
    )


def rollout(
    random: np.random.Generator,
    reviewed: Mapping[Variant, float],
    *,
    test: int,
    looks_per_step: int = 3,
    per_look: int = 6_000,
) -> Ended:
    """One A/A rollout of three steps, judged after every `per_look` requests.

    Blocked transactions have no truth unless somebody reviews the alert; frauds that were missed are always disputed.

    Args:
        random: Source of randomness.
        reviewed: Share of each variant's alerts that are reviewed, which their labels declare.
        test: Which test judges; the first one knows of no declared share.
        looks_per_step: Looks in each step.
        per_look: Requests, each of a new key, from one look to the next.
    """
    plan = margin_free_plan(test)
    tallies: dict[tuple[int, Variant], Tally] = {}
    for step, weight in enumerate(plan.weights[:-1]):
        for _ in range(looks_per_step):
            canary = int(random.binomial(per_look, weight / 10_000))
            for variant, keys in ((Variant.CANARY, canary), (Variant.CHAMPION, per_look - canary)):
                more = _outcomes(random, variant, keys, reviewed[variant], step=step, weight=weight)
                tallies[step, variant] = added(variant, [*filter(None, [tallies.get((step, variant))]), more])
            evidence = counted(plan, START, tallies.values())
            made = judge(evidence, Rollout("R", 1, 2, plan, weight, step, START), detail=False)
            found = {verdict.status for verdict in made.verdicts}
            if found & {Status.FAIL, Status.ERROR}:
                return Ended(Status.FAIL in found, Status.FAIL not in found)
    return Ended(failed=False, doubted=False)


def _outcomes(
    random: np.random.Generator, variant: Variant, keys: int, reviewed: float, *, step: int, weight: int
) -> Tally:
    frauds = int(random.binomial(keys, FRAUDS))
    caught, false = int(random.binomial(frauds, CAUGHT)), int(random.binomial(keys - frauds, FALSE_ALERTS))
    seen, seen_false = int(random.binomial(caught, reviewed)), int(random.binomial(false, reviewed))
    missed = frauds - caught
    losses = np.bincount(np.minimum(random.geometric(0.08, missed), LOSS_BINS - 1), minlength=LOSS_BINS)
    return Tally(
        variant=variant,
        step=step,
        weight=weight,
        requests=keys,
        keys=keys,
        matured=keys,
        matured_requests=keys,
        labelled=seen + seen_false + missed,
        events={
            EventKind.ERROR: int(random.binomial(keys, ERRORS)),
            EventKind.ALERT: caught + false,
            EventKind.MISSED_FRAUD: missed,
            EventKind.FALSE_POSITIVE: seen_false,
        },
        losses=tuple(losses.tolist()),
        matured_alerts=caught + false,
        reviewed_alerts=seen + seen_false,
        false_alerts=seen_false,
        known_alerts={reviewed: KnownAlerts(seen + seen_false, seen + seen_false, seen + seen_false, seen_false)},
    )
