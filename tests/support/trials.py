"""Evidence made by hand for the judge's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fds_mlflow.core.evidence.bins import LOSS_BINS, SCORE_BINS
from fds_mlflow.core.evidence.evidence import EventKind, Evidence, Tally
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.core.weight import to_basis_points

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CHAMPION, CANARY = Variant.CHAMPION, Variant.CANARY


def tally(
    variant: Variant, keys: int, *, step: int = 0, percent: float = 10, score: float = 0.1, **counts: Any
) -> Tally:
    """Outcomes of distinct keys, all with the same score; events by their name, other counts by theirs."""
    scores = [0] * SCORE_BINS
    scores[int(score * SCORE_BINS)] = keys
    events = {kind: counts.pop(kind.value) for kind in EventKind if kind.value in counts}
    loss = counts.pop("loss_bin", 10)
    losses = [0] * LOSS_BINS
    losses[loss] = events.get(EventKind.MISSED_FRAUD, 0)
    return Tally(
        variant=variant,
        step=step,
        weight=to_basis_points(percent),
        **{
            "requests": keys,
            "matured_requests": counts.get("matured", 0),
            "keys": keys,
            "events": events,
            "scores": tuple(scores),
            "losses": tuple(losses),
            **counts,
        },
    )


def labelled(
    variant: Variant, keys: int, *, alerts: int, reviewed: int, false: int, missed: int, **counts: Any
) -> Tally:
    """Outcomes whose labels have matured: alerts that were reviewed, and frauds that were missed and disputed."""
    genuine = counts.pop("genuine", 0)
    return tally(
        variant,
        keys,
        alert=alerts,
        missed_fraud=missed,
        false_positive=false,
        matured=keys,
        labelled=reviewed + missed + genuine,
        passed_genuine=genuine,
        matured_alerts=alerts,
        reviewed_alerts=reviewed,
        false_alerts=false,
        **counts,
    )


def evidence(plan: Plan, tallies: Sequence[Tally], pairs: Mapping[EventKind, Pairs] | None = None) -> Evidence:
    """Evidence on the plan's own terms."""
    return Evidence(terms=plan.terms, as_of=NOON, tallies=tuple(tallies), pairs=pairs or {})


def rollout(plan: Plan, *, step: int = 0, percent: float | None = None, is_watch: bool = False) -> Rollout:
    """A rollout at a step of its plan, or at another weight."""
    weight = plan.weights[step] if percent is None else to_basis_points(percent)
    return Rollout("R", 1, 2, plan, weight, step, NOON, is_watch=is_watch)


def guardrail(metric: Metric, **options: Any) -> Guardrail:
    """A guardrail with a margin that fits its metric."""
    margin = {Metric.SCORE_SHIFT: 0.05, Metric.ALERT_PRECISION: 0.25, Metric.MONEY_LOST: 1.5}.get(metric, 1.0)
    bound = {Metric.LATENCY: 50.0, Metric.MONEY_LOST: 50.0}.get(metric)
    return Guardrail(metric, margin=margin, bound=bound, **options)


FINE = {
    Metric.ERROR_RATE: (tally(CHAMPION, 90_000, error=900), tally(CANARY, 10_000, error=100)),
    Metric.ALERT_RATE: (tally(CHAMPION, 90_000, alert=900), tally(CANARY, 10_000, alert=100)),
    Metric.LATENCY: (tally(CHAMPION, 90_000, slow=900), tally(CANARY, 10_000, slow=100)),
    Metric.SCORE_SHIFT: (tally(CHAMPION, 90_000), tally(CANARY, 10_000)),
    Metric.MISSED_FRAUD: (
        labelled(CHAMPION, 90_000, alerts=900, reviewed=900, false=450, missed=900),
        labelled(CANARY, 10_000, alerts=100, reviewed=100, false=50, missed=100),
    ),
}
FINE[Metric.FALSE_POSITIVES] = FINE[Metric.ALERT_PRECISION] = FINE[Metric.MONEY_LOST] = FINE[Metric.MISSED_FRAUD]
"""A champion and a canary like it, by metric, with enough evidence to say so."""
