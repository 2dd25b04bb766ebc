"""Autopilots beside people: a rollout that waits for an approval, and one that is paused."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.errors import RefusedError
from fds_mlflow.rollouts.tick import Tick
from fds_mlflow.workflows.approved import carry_out
from tests.support.registry_model import MODEL
from tests.support.release import MINUTE, Rates, Release

PLAN = Plan([50, 100], guardrails=(Guardrail("error_rate", margin=1.0),), min_outcomes=100, approval=["complete"])


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.fixture
def release() -> Iterator[Release]:
    """A release in which version 2 is as good as the champion."""
    world = Release({1: Rates(), 2: Rates()}, per_second=20.0)
    yield world
    world.outcomes.close()


def until_held(release: Release) -> Tick:
    """Tick on, minute by minute, until the autopilot waits for a person."""
    pilot = release.autopilot()
    for _ in range(200):
        tick = pilot.tick()
        if tick.recommendation is not None and tick.recommendation.action is Action.HOLD:
            return tick
        release.street.sleep(MINUTE)
    raise AssertionError("it never waited")


def bob(release: Release) -> ManagedModel:
    """A second person."""
    store = release.world.store
    return ManagedModel(MODEL, store=store, clock=release.street, actor="bob", outcomes=release.outcomes)


def test_an_autopilot_asks_once_waits_and_goes_on_once_it_is_approved(release: Release) -> None:
    """A PASS of everything leaves one request, whoever looks how often; the first look after the approval completes."""
    release.start(PLAN)
    tick = until_held(release)
    assert tick.error is None
    assert tick.recommendation is not None
    assert "waits for the approval of a second person" in tick.recommendation.reason
    until_held(release)
    (request,) = release.model.approvals.requests()
    assert request.request.actor == "autopilot of ann"
    with pytest.raises(RefusedError, match="second person"):
        release.model.approvals.approve(request.id)
    bob(release).approvals.approve(request.id)
    last = release.autopilot().tick()
    assert last.applied is not None
    assert last.applied.event is not None
    assert (last.applied.event.kind, last.applied.event.answers) == (Kind.COMPLETE, request.id)


def test_who_approves_may_carry_it_out(release: Release) -> None:
    """The approver does what was asked for, in their own name, for the reason that was given."""
    release.start(PLAN)
    until_held(release)
    (request,) = release.model.approvals.requests()
    model = bob(release)
    model.approvals.approve(request.id)
    event = carry_out(model, request.id).event
    assert event is not None
    assert (event.actor, event.reason, event.answers) == ("bob", request.request.reason, request.id)
    with pytest.raises(RefusedError, match="no request"):
        carry_out(model, request.id)


def test_a_paused_rollout_stays_where_it_is_until_it_goes_on(release: Release) -> None:
    """Hours of good evidence move nothing; its step goes on with the time that it had before."""
    release.start(Plan([25, 50, 100], guardrails=PLAN.guardrails, min_outcomes=100, max_step_time="2h"))
    release.model.canary.pause(reason="a holiday")
    before = release.model.canary.rollout()
    for _ in range(3):
        release.street.sleep(60 * MINUTE)
        tick = release.autopilot().tick()
        assert tick.recommendation is not None
        assert tick.recommendation.action is Action.HOLD
    for act in (release.model.canary.advance, release.model.canary.complete):
        with pytest.raises(RefusedError, match="is paused since"):
            act(reason="now", force=True)
    assert not release.model.canary.pause().changed
    release.model.canary.resume()
    after = release.model.canary.rollout()
    assert (after.weight, after.step, after.paused) == (before.weight, before.step, None)
    assert before.paused is not None
    assert after.since - before.since == release.street.now() - before.paused
    tick = release.autopilot().tick()
    assert tick.applied is not None
    assert [event.kind for event in reversed(release.model.history())][1:] == [
        Kind.START,
        Kind.PAUSE,
        Kind.RESUME,
        Kind.ADVANCE,
    ]


def test_harm_ends_a_paused_rollout(release: Release) -> None:
    """Safety never sleeps: a guardrail that fails aborts, paused or not."""
    release.rates = {1: Rates(), 2: Rates(error=0.5)}
    release.start(PLAN)
    release.model.canary.pause()
    pilot = release.autopilot()
    for _ in range(30):
        release.street.sleep(MINUTE)
        if pilot.tick().ended:
            break
    assert release.model.history()[0].kind is Kind.ABORT
