"""A rollout that somebody looks at, or waits for, while another one carries it through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.core.evidence.evidence import Evidence
from fds_mlflow.core.lifecycle.events import Kind, RolloutStatus
from fds_mlflow.core.plan.plan import Watch
from fds_mlflow.errors import NotFoundError, UnavailableError
from fds_mlflow.rollouts import observation
from fds_mlflow.rollouts.tick import Tick
from tests.support.release import MINUTE, Rates, Release

PLAN = Plan([25, 100])


@pytest.fixture
def release() -> Iterator[Release]:
    """A release that errs in no version."""
    world = Release({1: Rates(), 2: Rates()}, per_second=1.0)
    yield world
    world.outcomes.close()


def test_whoever_waits_is_told_how_it_ended(release: Release) -> None:
    """It ends when somebody else ends it, with the event that did; nothing is written by waiting."""
    release.start(PLAN)
    looks: list[Tick] = []

    def meanwhile(tick: Tick) -> None:
        looks.append(tick)
        if len(looks) == 3:
            release.model.canary.abort(reason="it blocks everybody")

    began = len(release.model.history())
    tick = release.model.canary.wait(interval=MINUTE, on_tick=[meanwhile])
    assert [look.ended for look in looks] == [False, False, False, True]
    assert looks[0].recommendation is not None
    assert tick.last is not None
    assert (tick.last.kind, tick.last.reason) == (Kind.ABORT, "it blocks everybody")
    assert len(release.model.history()) == began + 1


def test_nobody_waits_longer_than_the_timeout(release: Release) -> None:
    """The rollout goes on, and the last look says where it stands."""
    release.start(PLAN)
    began = release.street.now()
    tick = release.model.canary.wait(timeout=100.0, interval=30.0)
    assert (release.street.now() - began).total_seconds() == 100.0
    assert not tick.ended
    assert tick.rollout is not None


def test_the_watch_that_follows_is_not_waited_for(release: Release) -> None:
    """The rollout that was under way has ended, also where the next one has begun."""
    release.start(Plan([25, 100], watch=Watch("7d", control=5)))

    def meanwhile(tick: Tick) -> None:
        if not tick.ended:
            release.model.canary.complete(reason="enough", force=True)
            release.model.canary.tick(record=False)

    tick = release.model.canary.wait(on_tick=[meanwhile])
    assert release.model.overview().rollout is not None
    assert tick.last is not None
    assert tick.last.rollout is not None
    assert (tick.last.rollout.status, tick.last.rollout.is_watch) == (RolloutStatus.COMPLETED, False)


def test_an_outage_is_waited_out(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is away for a look ends nothing; a model that is not there is said at once."""
    release.start(PLAN)
    evidence, asked = release.outcomes.evidence, []

    def away(*args: Any, **more: Any) -> Evidence:
        asked.append(args)
        if len(asked) == 2:
            raise UnavailableError("gone", fix="wait")
        return evidence(*args, **more)

    monkeypatch.setattr(release.outcomes, "evidence", away)
    ticks: list[Tick] = []
    release.model.canary.wait(timeout=60.0, interval=30.0, on_tick=[ticks.append])
    assert [tick.error is None for tick in ticks] == [True, False, True]
    missing = ManagedModel("none", store=release.world.store, clock=release.street, outcomes=release.outcomes)
    with pytest.raises(NotFoundError):
        observation.awaited(missing.session)


def test_the_last_rollout_is_remembered(release: Release) -> None:
    """Before the first one there is none, under way it is the active one, and afterwards its last event is told."""
    canary = release.model.canary
    assert canary.last() is None
    release.start(PLAN)
    assert canary.last() is None
    canary.abort(reason="harm")
    last = canary.last()
    assert last is not None
    assert (last.kind, last.reason) == (Kind.ABORT, "harm")
    assert canary.wait().last == last
