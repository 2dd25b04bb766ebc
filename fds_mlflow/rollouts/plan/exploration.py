"""What it costs to let a random share of the alerts pass, so that their truth shows, and what that buys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.errors import ConfigError
from fds_mlflow.rollouts.plan.expected import Assumptions
from fds_mlflow.rollouts.plan.exposure import Course
from fds_mlflow.rollouts.plan.price import Price, price_of


@dataclass(frozen=True)
class Decision:
    """How soon a guardrail decides that needs labels of alerts.

    Attributes:
        metric: Its metric.
        explored: Its price where only alerts that are let pass get a label.
        reviewed: Its price where every alert gets one.
    """

    metric: Metric
    explored: Price
    reviewed: Price


@dataclass(frozen=True)
class Exploration:
    """What letting some alerts pass costs a day, both variants together, and what it buys.

    Attributes:
        percent: Of the alerts that are let pass.
        cap: Amount of money above which none is; None for no cap.
        alerts: Alerts a day.
        passed: Alerts a day that are let pass; with a cap at most so many.
        frauds: Frauds among them.
        money: What these take: each the mean loss, but no more than the cap.
        decisions: One per guardrail that needs labels of alerts: without exploration, or reviews, none ever decides.
    """

    percent: float
    cap: float | None
    alerts: float
    passed: float
    frauds: float
    money: float
    decisions: tuple[Decision, ...]


def explore_price(
    plan: Plan,
    assumed: Assumptions,
    good: Course | None,
    prices: Sequence[Price],
    *,
    explore: float,
    cap: float | None = None,
) -> Exploration:
    """What exploration costs and buys.

    Args:
        plan: The plan.
        assumed: What is assumed of the traffic.
        good: How the rollout of a canary like the champion goes.
        prices: The plan's where every request gets a label, one per guardrail.
        explore: Percentage of the alerts that are let pass.
        cap: Amount of money above which none is; None for no cap.

    Raises:
        ConfigError: There is no traffic, or a value is out of range.
    """
    if assumed.traffic is None:
        raise ConfigError(
            "exploration is priced by the day, and no traffic is given", fix="add --traffic, such as 50/s"
        )
    if not 0 < explore <= 100:
        raise ConfigError(f"explore is {explore!r}, not a percentage above 0", fix="give one such as 0.5")
    if cap is not None and not 0 < cap < float("inf"):
        raise ConfigError(f"the cap is {cap!r}", fix="give an amount of money above 0")
    share = explore / 100
    alerts = assumed.traffic * 86_400 * assumed.rates[Metric.ALERT_RATE]
    frauds = alerts * share * assumed.rates[Metric.ALERT_PRECISION]
    return Exploration(
        percent=explore,
        cap=cap,
        alerts=alerts,
        passed=alerts * share,
        frauds=frauds,
        money=frauds * min(assumed.loss, cap or assumed.loss),
        decisions=tuple(
            Decision(guardrail.metric, price_of(plan, guardrail, assumed, good, share), price)
            for guardrail, price in zip(plan.guardrails, prices, strict=True)
            if asks_alerts(guardrail)
        ),
    )


def asks_alerts(guardrail: Guardrail) -> bool:
    """Whether it needs the truth of alerts: of its own, or of those that the other version raised."""
    return guardrail.metric.row.among_alerts or (guardrail.metric.needs_labels and bool(guardrail.paired))
