"""What a model's rollouts of one quarter may spend of alpha together: many careful tests add up to a careless one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.errors import RefusedError


def alpha_spent(events: Iterable[Event], now: datetime) -> float:
    """What the rollouts that began in the calendar quarter of `now`, UTC, may have spent; watches are not counted."""
    quarter = now.year, (now.month - 1) // 3
    return sum(
        event.rollout.plan.alpha
        for event in events
        if event.kind is Kind.START
        and event.outcome is Ending.DONE
        and event.rollout is not None
        and not event.rollout.is_watch
        and (event.time.year, (event.time.month - 1) // 3) == quarter
    )


def within_budget(plan: Plan, events: Iterable[Event], now: datetime) -> str:
    """How much of its quarter's alpha is spent once a plan has begun, in words; empty where it declares no budget.

    Raises:
        RefusedError: It would be more than the plan allows.
    """
    if plan.alpha_budget is None:
        return ""
    spent = alpha_spent(events, now)
    said = f"{spent:g} of the {plan.alpha_budget:g} that the quarter's rollouts may spend of alpha"
    if round(spent + plan.alpha, 9) > plan.alpha_budget:
        raise RefusedError(
            f"{said} is spent, and the plan asks for {plan.alpha:g}",
            fix="wait for the next quarter, lower the plan's alpha, or raise its alpha_budget and say why",
        )
    return f"{spent + plan.alpha:g}{said.removeprefix(f'{spent:g}')} is spent"
