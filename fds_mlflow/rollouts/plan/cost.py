"""A plan explained: what it means, what each guardrail costs, and what it cannot see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.rollouts.plan.expected import HARM, LOSS, RATES, Assumptions
from fds_mlflow.rollouts.plan.exploration import Exploration, explore_price
from fds_mlflow.rollouts.plan.exposure import DAY, good_course
from fds_mlflow.rollouts.plan.price import Price, price_of
from fds_mlflow.rollouts.plan.warnings import warnings_of
from fds_mlflow.rollouts.plan.words import words_of

__all__ = ["HARM", "LOSS", "RATES", "PlanCheck", "Price", "check_plan"]


@dataclass(frozen=True)
class PlanCheck:
    """A plan explained.

    Attributes:
        plan: The plan.
        words: What it means, one sentence each.
        prices: One per guardrail.
        warnings: What can never happen, or not in the given time, and what goes on unseen.
        assumed: What is assumed of the traffic.
        completion_days: How long a canary like the champion takes to its completion; None if it never completes by
            itself, or without traffic.
        exploration: What letting some alerts pass costs, and buys; None where nobody asks.
    """

    plan: Plan
    words: tuple[str, ...]
    prices: tuple[Price, ...]
    warnings: tuple[str, ...]
    assumed: Assumptions
    completion_days: float | None = None
    exploration: Exploration | None = None


def check_plan(
    plan: Plan,
    *,
    traffic: float | None = None,
    rates: Mapping[Metric, float] | None = None,
    fraud_rate: float | None = None,
    loss: float = LOSS,
    alert_cost: float | None = None,
    harm: float = HARM,
    explore: float | None = None,
    explore_cap: float | None = None,
) -> PlanCheck:
    """Explain a plan.

    Args:
        plan: The plan.
        traffic: Requests per second, both variants together; None to leave days and exposure out.
        rates: The champion's rates, where they are known; `RATES` for the others.
        fraud_rate: Share of the requests that are frauds; None for those that the champion misses and catches.
        loss: Money that a missed fraud takes on average.
        alert_cost: Money that one alert takes; None to leave it out.
        harm: How far beyond its boundary the harmful canary lies, as a multiple of the boundary; a total failure is
            as harmful as it gets.
        explore: Percentage of the alerts that are let pass, so that their truth shows; None to leave it out.
        explore_cap: Amount of money above which none is; None for no cap.

    Raises:
        ConfigError: A value is out of range.
    """
    assumed = Assumptions(traffic, rates or {}, fraud_rate, loss, alert_cost, harm)
    good = good_course(plan, assumed)
    prices = tuple(price_of(plan, guardrail, assumed, good) for guardrail in plan.guardrails)
    return PlanCheck(
        plan=plan,
        words=tuple(words_of(plan)),
        prices=prices,
        warnings=tuple(warnings_of(plan, prices, assumed, good)),
        assumed=assumed,
        completion_days=good.end / DAY if good and good.end is not None and good.ending is Action.COMPLETE else None,
        exploration=None
        if explore is None
        else explore_price(plan, assumed, good, prices, explore=explore, cap=explore_cap),
    )
