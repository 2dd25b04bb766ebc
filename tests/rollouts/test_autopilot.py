"""The autopilot's small parts: pauses, what fits into an event, and what a tick leaves to be done."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.core.evidence.evidence import Evidence, Terms
from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.plan import Watch
from fds_mlflow.errors import NotFoundError, RefusedError, StaleError, UnavailableError
from fds_mlflow.registry.store import SetAlias
from fds_mlflow.registry.tags import CHAMPION
from fds_mlflow.registry.texts import MAX_REASON
from fds_mlflow.registry.transaction import Result
from fds_mlflow.rollouts.autopilot import KINDS, Autopilot, clipped, pause
from fds_mlflow.rollouts.tick import Tick
from tests.support.registry_model import MODEL
from tests.support.release import MINUTE, Rates, Release

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GONE = UnavailableError("gone", fix="wait")
ERRORS = (Guardrail("error_rate", margin=1.0),)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.fixture
def release() -> Iterator[Release]:
    """A release that errs in no version."""
    world = Release({1: Rates(), 2: Rates()}, per_second=8.0)
    yield world
    world.outcomes.close()


def _applied(kind: Kind) -> Tick:
    return Tick("fraud", NOON, applied=Result(Event(1, "OP", kind, "ann", "", NOON), "done"))


def test_pauses_double_while_ticks_fail_and_have_an_end() -> None:
    """A short outage costs little, a long one does not hammer the server; the interval is back at once."""
    failed, fine = Tick("fraud", NOON, error=GONE), Tick("fraud", NOON)
    assert [pause(failed, 30.0, n) for n in range(1, 7)] == [30, 60, 120, 240, 300, 300]
    assert pause(failed, 30.0, 10_000) == 300
    assert pause(failed, 3_600.0, 9) == 3_600
    assert pause(fine, 30.0, 0) == 30


def test_a_watch_begins_at_once() -> None:
    """After a completion nobody waits; after anything else the interval passes."""
    assert pause(_applied(Kind.COMPLETE), 30.0, 0) == 0
    assert pause(_applied(Kind.ADVANCE), 30.0, 0) == 30


@given(st.text(), st.integers(3, 200))
def test_a_clipped_text_fits_and_says_that_something_is_missing(text: str, limit: int) -> None:
    """Cut between characters, never inside one, and only where it must be."""
    made = clipped(text, limit)
    assert len(made.encode()) <= limit
    assert made == text if len(text.encode()) <= limit else text.startswith(made.removesuffix("…"))
    assert (made == text) == (len(text.encode()) <= limit)


def test_actions_that_move_something_are_operations() -> None:
    """Waiting and holding ask for nothing; every other action has its operation."""
    assert set(KINDS) == set(Action) - {Action.WAIT, Action.HOLD}


def test_reasons_and_actors_fit_into_an_event(release: Release) -> None:
    """However long the actor's name is and however much the verdict has to say, the event is written."""
    long = ManagedModel(
        MODEL, store=release.world.store, clock=release.street, actor="ä" * 100, outcomes=release.outcomes
    )
    plan = Plan([25, 50, 100], guardrails=ERRORS, min_outcomes=10)
    release.start(plan)
    release.street.sleep(MINUTE)
    assert Autopilot(long.session).tick().error is None
    event = release.model.history()[0]
    assert event.kind is Kind.ADVANCE
    assert event.actor.startswith("autopilot of ä")
    assert len(event.reason.encode()) <= MAX_REASON
    assert event.reason.startswith("advance from 25 %")


class Meddling:
    """Evidence during whose counting somebody changes the model, again and again."""

    def __init__(self, release: Release, times: int) -> None:
        self.release, self.times, self.asked = release, times, 0

    def evidence(self, model: str, rollout_id: str, terms: Terms, *, as_of: datetime | None = None) -> Evidence:
        """The store's evidence, and an event that was not there when the tick began."""
        self.asked += 1
        if self.asked <= self.times:
            self.release.world.do(Kind.STAGE if self.asked % 2 else Kind.RETIRE, 5)
        return self.release.outcomes.evidence(model, rollout_id, terms, as_of=as_of)


@pytest.mark.slow
@pytest.mark.parametrize(("times", "acts"), [(0, True), (1, True), (2, True), (3, False)])
def test_a_tick_that_was_got_ahead_of_starts_over(release: Release, times: int, acts: bool) -> None:
    """What was decided by an older history is not applied but decided anew, a few times; then the next tick's turn."""
    release.start(Plan([25, 50, 100], guardrails=ERRORS, min_outcomes=10))
    release.street.sleep(MINUTE)
    source = Meddling(release, times)
    tick = Autopilot(release.process().session, evidence=source).tick()
    assert source.asked == min(times + 1, 3)
    assert tick.evidence is not None
    assert tick.evidence.as_of == tick.time, "labels mature by the model's clock"
    assert (tick.applied is not None) == acts
    assert isinstance(tick.error, StaleError) == (not acts)
    assert release.model.canary.rollout().weight == (5_000 if acts else 2_500)


def test_hooks_hear_of_each_tick_once_and_in_order(release: Release) -> None:
    """Also of one that started over, and of none that a run refused."""
    heard: list[tuple[str, Tick]] = []
    hooks = [lambda tick: heard.append(("first", tick)), lambda tick: heard.append(("second", tick))]
    with pytest.raises(RefusedError):
        release.model.canary.run(record=False, on_tick=hooks)
    assert heard == []
    release.start(Plan([25, 50, 100], guardrails=ERRORS, min_outcomes=10))
    release.street.sleep(MINUTE)
    tick = Autopilot(release.process().session, evidence=Meddling(release, 1), on_tick=hooks).tick()
    assert heard == [("first", tick), ("second", tick)]


def test_a_run_does_not_wait_for_what_no_waiting_mends(release: Release) -> None:
    """A model that does not exist is an error at once, not a loop."""
    typo = ManagedModel("fruad", store=release.world.store, clock=release.street, outcomes=release.outcomes)
    with pytest.raises(NotFoundError, match="fruad"):
        typo.canary.run(record=False)
    assert isinstance(typo.canary.tick(record=False).error, NotFoundError)


def test_what_a_hand_did_is_in_the_history_before_anything_is_judged(release: Release) -> None:
    """A champion moved in the registry ends the rollout: the tick records that and judges nothing."""
    release.start(Plan([25, 50, 100], guardrails=ERRORS))
    release.world.by_hand(SetAlias(CHAMPION, 3))
    tick = release.model.canary.tick(record=False)
    assert (tick.ended, tick.judgement) == (True, None)
    assert tick.last is not None
    assert (tick.last.kind, tick.last.outcome) == (Kind.ADOPT, Ending.DONE)
    release.world.assert_settled()


def test_only_a_plan_with_a_watch_is_watched(release: Release) -> None:
    """Asking for a watch by hand is refused where the plan has none, and where a rollout is active."""
    release.start(Plan([25, 100], watch=Watch("1h", 5)))
    rollout = release.model.canary.rollout()
    with pytest.raises(RefusedError, match="is active at 25 %"):
        release.model.canary.watch(rollout)
    release.model.canary.abort(reason="no")
    release.start(Plan([25, 100]))
    with pytest.raises(RefusedError, match="has no watch"):
        release.model.canary.watch(release.model.canary.rollout())
