"""What the rollouts of a quarter may spend of alpha is declared in the plan, spent, shown, and never exceeded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fds_mlflow import Plan
from fds_mlflow.core.lifecycle.budget import alpha_spent, within_budget
from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.errors import ConfigError, RefusedError
from tests.support.release import Rates, Release

PLAN = Plan(alpha_budget=0.1)
MAY = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def release() -> Iterator[Release]:
    """A release whose rollouts all begin in one quarter."""
    world = Release({1: Rates(), 2: Rates()}, per_second=0.0)
    yield world
    world.outcomes.close()


def started(release: Release) -> Event:
    """A rollout that began and was aborted."""
    release.start(PLAN)
    event = release.model.history()[0]
    release.model.canary.abort(reason="enough")
    return event


def test_a_quarter_spends_what_its_rollouts_ask_for(release: Release) -> None:
    """Two rollouts at 5 % fill a budget of 10 %; the third is refused, and says what to do."""
    events = [started(release) for _ in range(2)]
    now = release.street.now()
    assert alpha_spent(events, now) == pytest.approx(0.1)
    assert within_budget(PLAN, events[:1], now).startswith("0.1 of the 0.1 that the quarter's rollouts")
    with pytest.raises(RefusedError, match=r"0\.1 of the 0\.1 .* asks for 0\.05"):
        within_budget(PLAN, events, now)
    with pytest.raises(RefusedError, match="the plan asks for"):
        release.model.canary.start(2, plan=PLAN, reason="again")
    assert release.model.session.look().rollout is None, "nothing was begun"


def test_other_quarters_watches_and_what_never_began_cost_nothing(release: Release) -> None:
    """A budget is of one calendar quarter, of rollouts that took traffic."""
    event = replace(started(release), time=MAY)
    assert event.rollout is not None
    watch = replace(event, rollout=replace(event.rollout, is_watch=True))
    others = [watch, replace(event, outcome=Ending.ABANDONED), replace(event, kind=Kind.ABORT)]
    assert alpha_spent([event, *others], MAY) == pytest.approx(0.05)
    assert alpha_spent([event], datetime(2026, 6, 30, 23, tzinfo=UTC)) == pytest.approx(0.05)
    assert alpha_spent([event], datetime(2026, 7, 1, tzinfo=UTC)) == 0
    assert alpha_spent([event], datetime(2027, 5, 1, tzinfo=UTC)) == 0
    assert within_budget(Plan(), [event] * 100, MAY) == ""


@pytest.mark.parametrize("budget", [0.01, 1.5, True, "much", float("nan")])
def test_a_budget_holds_at_least_one_rollout(budget: object) -> None:
    """Less than the plan's own alpha, or no number, is refused."""
    with pytest.raises(ConfigError, match="alpha_budget"):
        Plan(alpha_budget=budget)  # type: ignore[arg-type]
