"""What one guardrail costs: requests and days until it passes a good canary and fails a harmful one, and the harm done.

The price is found by asking the judge itself about the counts that are to be expected after so many requests. So it is
about the mean over many rollouts, and single ones take less or more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from fds_mlflow.core.judge.judge import Status
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric, Row
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.statistics.search import smallest
from fds_mlflow.core.weight import FULL
from fds_mlflow.rollouts.plan.expected import Assumptions, Question, Seen
from fds_mlflow.rollouts.plan.exposure import Course, Exposure, exposure

DEAREST = 2**36
"""Canary requests beyond which a price is called endless."""


@dataclass(frozen=True)
class Price:
    """What one guardrail costs.

    Attributes:
        metric: Its metric.
        rate: The champion's rate that is assumed; None for scores.
        passes: Canary requests until a canary like the champion passes, at the last step below 100 %; None for never.
        pass_days: How many days these take, label maturity included; None for never, or without traffic.
        harm: How much worse the harmful canary is: its ratio, or its difference.
        fails: Canary requests that the judge must have seen until it fails, at the first step; None for never.
        fail_days: How many days these take there, label maturity included.
        required: Whether completion waits for its PASS.
        row: How its values and harms read.
        exposure: What the harmful canary gets along the plan's steps until it is stopped; None if it never is, or
            without traffic.
    """

    metric: Metric
    rate: float | None
    passes: int | None
    pass_days: float | None
    harm: float
    fails: int | None
    fail_days: float | None
    required: bool
    row: Row
    exposure: Exposure | None = None


def price_of(
    plan: Plan, guardrail: Guardrail, assumed: Assumptions, good: Course | None, reviewed: float = 1.0
) -> Price:
    """What a guardrail of a plan costs.

    Args:
        plan: The plan.
        guardrail: One of its guardrails.
        assumed: What is assumed of the traffic.
        good: How the rollout of a canary like the champion goes; None to leave the exposure out.
        reviewed: Share of the alerts that get a label, in [0, 1].
    """
    compared = [weight for weight in plan.weights if 0 < weight < FULL]
    first, last = (compared[0], compared[-1]) if compared else (FULL, FULL)
    harm = assumed.harmful(guardrail)
    passes = _until(Question.of(plan, guardrail, assumed, reviewed=reviewed), last, Status.PASS)
    fails = _until(Question.of(plan, guardrail, assumed, harm, reviewed), first, Status.FAIL)

    def days(requests: int | None, weight: int) -> float | None:
        if requests is None or assumed.traffic is None:
            return None
        wait = plan.label_maturity if guardrail.metric.needs_labels else None
        return requests / (assumed.traffic * weight / FULL) / 86_400 + (wait or timedelta(0)) / timedelta(days=1)

    unrated = guardrail.metric is Metric.SCORE_SHIFT or guardrail.quantile is not None
    return Price(
        metric=guardrail.metric,
        rate=None if unrated else assumed.rates[guardrail.metric],
        passes=passes,
        pass_days=days(passes, last),
        harm=harm,
        fails=fails,
        fail_days=days(fails, first),
        required=guardrail.required,
        row=guardrail.row,
        exposure=None if good is None else exposure(good, guardrail, assumed, reviewed),
    )


def _until(question: Question, weight: int, status: Status) -> int | None:
    """Canary requests until the judge says so of the counts to be expected."""

    def reached(requests: int) -> bool:
        return question.answer([Seen(0, weight, requests, requests)]) is status

    return smallest(reached, most=DEAREST, start=32, precision=0.01)
