"""ManagedModel: the verbs of a lifecycle, on the in-memory registry and, where a model must load, on MLflow."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fds_mlflow import ManagedModel, OutcomeStore, Plan
from fds_mlflow.core.comparison import Advice, Change
from fds_mlflow.core.evidence.evidence import EventKind
from fds_mlflow.core.judge.judge import Status
from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.plan.plan import Guardrail, Metric
from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.errors import ConfigError, DataError, NotFoundError, RefusedError, UnservableError
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord
from fds_mlflow.registry import tags
from fds_mlflow.registry.store import DeleteAlias, SetAlias, SetStage, VersionView
from tests.conftest import FakeClock
from tests.support import tiny_models
from tests.support.effort import graded
from tests.support.registry_model import MODEL, Killed, World
from tests.support.registry_world import HookedStore

TINY = {
    "good": (tiny_models.GOOD, tiny_models.EXAMPLE),
    "better": (tiny_models.BETTER, tiny_models.EXAMPLE),
    "raises": (tiny_models.RAISES, tiny_models.EXAMPLE),
    "classes": (tiny_models.CLASSES, tiny_models.EXAMPLE),
    "too high": (tiny_models.TOO_HIGH, tiny_models.EXAMPLE),
    "wide": (tiny_models.GOOD, tiny_models.EXAMPLE.assign(device_age=1.0)),
    "typed": (tiny_models.GOOD, tiny_models.EXAMPLE.assign(hour=["a", "b", "c"])),
    "narrow": (tiny_models.GOOD, tiny_models.EXAMPLE[["amount"]]),
    "without example": (tiny_models.GOOD, None),
}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models on disk, saved once."""
    folder = tmp_path_factory.mktemp("tiny")
    return {name: tiny_models.save(folder, name.replace(" ", "_"), *how) for name, how in TINY.items()}


@pytest.fixture
def world() -> World:
    """A model of six versions in memory."""
    return World()


@pytest.fixture
def memory(world: World) -> ManagedModel:
    """The model in memory, managed."""
    world.store.write_limit = 20.0  # as SQLite's: a dead operation then outlives the longest pause of a waiting one
    return ManagedModel(MODEL, store=world.store, clock=world.clock, actor="ann", outcomes="sqlite://")


@dataclass
class Live:
    """A model on MLflow and what may be registered under it."""

    model: ManagedModel
    saved: dict[str, Path]

    def register(self, *names: str, **more: object) -> list[int]:
        """Register saved models as the next versions."""
        return [tiny_models.register(MODEL, self.saved[name], **more) for name in names]  # type: ignore[arg-type]


@pytest.fixture
def live(mlflow_uri: str, saved: dict[str, Path], fake_clock: FakeClock) -> Iterator[Live]:
    """A model on an MLflow of its own."""
    outcomes = OutcomeStore("sqlite:///outcomes.db")
    yield Live(ManagedModel(MODEL, clock=fake_clock, actor="ann", outcomes=outcomes, trust=True), saved)
    outcomes.close()


# --- stages and history, in memory --------------------------------------------------------------------------


def test_a_candidate_is_staged_and_retired(memory: ManagedModel) -> None:
    """Stage puts a version forward, retire takes it out, and each is said and recorded."""
    assert memory.stage(2, reason="weekly").changed
    assert memory.overview().versions[-2].stage == "Staging"
    assert memory.retire(2, reason="superseded").changed
    assert memory.overview().versions[-2].stage == "Archived"
    assert [(e.kind, e.to_version, e.reason, e.actor) for e in memory.history()] == [
        (Kind.RETIRE, 2, "superseded", "ann"),
        (Kind.STAGE, 2, "weekly", "ann"),
    ]


@pytest.mark.parametrize("verb", ["stage", "retire"])
def test_a_version_that_does_not_exist_is_not_found(memory: ManagedModel, verb: str) -> None:
    """Unknown versions are named, with the ones there are, before anything is written."""
    with pytest.raises(NotFoundError, match="no version 99"):
        getattr(memory, verb)(99)
    assert memory.history() == []


def test_the_overview_shows_champion_rollout_and_versions(world: World, memory: ManagedModel) -> None:
    """At a glance: who serves, who is on trial, whether the history explains it, what hangs."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.START, 2)
    overview = memory.overview()
    assert (overview.name, overview.champion, overview.agrees, overview.pending) == (MODEL, 1, True, ())
    assert overview.rollout is not None
    assert overview.rollout.canary == 2
    assert [version.version for version in overview.versions] == [6, 5, 4, 3, 2, 1]
    world.by_hand(SetAlias(tags.CHAMPION, 5))
    overview = memory.overview()
    assert (overview.champion, overview.rollout, overview.agrees) == (5, None, False)


def test_the_actor_comes_from_argument_then_environment_then_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who acts is never empty."""
    store = World().store
    assert ManagedModel(MODEL, store=store, actor="ann").session.actor == "ann"
    assert "@" in ManagedModel(MODEL, store=store).session.actor
    monkeypatch.setenv("FDS_ACTOR", "ci")
    assert ManagedModel(MODEL, store=store).session.actor == "ci"


def test_pending_operations_are_shown_and_settled(world: World, memory: ManagedModel) -> None:
    """What a dead process left behind is visible at once, and gone after settling."""
    world.do(Kind.PROMOTE, 1)
    with pytest.raises(Killed):
        world.do(Kind.PROMOTE, 2, by=world.process(world.dying(SetStage)), actor="zoe")
    (intent,) = memory.pending()
    assert intent.actor == "zoe"
    memory.settle()
    assert memory.pending() == []
    assert memory.history()[0].actor == "zoe"


# --- the canary, in memory ----------------------------------------------------------------------------------


def test_a_canary_advances_by_plan_or_by_weight(world: World, memory: ManagedModel) -> None:
    """Without a number the next step of the plan, with one that percentage."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.START, 2)
    memory.canary.advance()
    assert world.routing() == (1, 2, 2_500)
    memory.canary.advance(33.33, reason="looks good")
    assert world.routing() == (1, 2, 3_333)
    with pytest.raises(ConfigError, match="not a percentage"):
        memory.canary.advance(101)


def test_an_aborted_canary_leaves_all_traffic_to_the_champion(world: World, memory: ManagedModel) -> None:
    """Abort stops the canary at once; the version stays a candidate and can be tried again."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.START, 2)
    memory.canary.abort(reason="alerts doubled")
    assert world.routing() == (1, None, None)
    assert memory.session.version(2).stage == "Staging"
    world.do(Kind.START, 2)
    assert world.routing() == (1, 2, 1_000)


def test_completing_below_the_last_step_needs_force(world: World, memory: ManagedModel) -> None:
    """A canary at 10 % becomes champion only when a person insists; the history says so."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.START, 2)
    with pytest.raises(RefusedError, match="10 %, below the plan's last step of 50 %"):
        memory.canary.complete()
    memory.canary.complete(force=True, reason="known good")
    assert memory.history()[0].forced
    assert memory.overview().champion == 2


def test_getting_ahead_of_the_plan_needs_force_and_a_reason(world: World, memory: ManagedModel) -> None:
    """A step may be skipped, a gate passed and all traffic sent by who insists and says why; the history tells."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.START, 2, plan=Plan([10, 25, 50, 100], gates=[10]))
    for to, says in ((50, "beyond the plan's next step of 25 %"), (100, "beyond"), (20, "past the gate at 10 %")):
        with pytest.raises(RefusedError, match=says) as refused:
            memory.canary.advance(to, reason="hurry")
        assert "force" in refused.value.fix
    with pytest.raises(RefusedError, match="reason"):
        memory.canary.advance(50, force=True)
    with pytest.raises(RefusedError, match="opening the gate at 10 % needs a reason"):
        memory.canary.advance()
    assert world.routing() == (1, 2, 1_000)
    assert memory.canary.advance(50, reason="known good", force=True).message == "canary 2 gets 50 % now, by force"
    assert memory.history()[0].forced
    with pytest.raises(RefusedError, match="100 % leaves no champion to compare the canary with"):
        memory.canary.advance(100, reason="hurry")
    memory.canary.advance(5, reason="alerts rise")
    assert not memory.history()[0].forced
    memory.canary.advance()
    assert world.routing() == (1, 2, 1_000)


@pytest.mark.parametrize("reason", ["", "   ", "\n", "\u200b"])
def test_no_way_in_takes_an_empty_reason_where_one_is_asked_for(
    world: World, memory: ManagedModel, reason: str
) -> None:
    """Abort, rollback, emergency, forced completion and jumps: refused before anything moves or loads."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.PROMOTE, 3)
    world.do(Kind.START, 2)
    requests = [
        lambda: memory.canary.abort(reason=reason),
        lambda: memory.rollback.emergency(reason=reason, validate=False),
        lambda: memory.rollback.emergency(reason=reason),
        lambda: memory.rollback.to(1, reason=reason),
        lambda: memory.canary.complete(reason=reason, force=True),
        lambda: memory.canary.advance(100, reason=reason, force=True),
        lambda: memory.canary.advance(0, reason=reason),
    ]
    for ask in requests:
        with pytest.raises(RefusedError, match="reason"):
            ask()
    assert world.routing() == (3, 2, 1_000)
    assert len(memory.history()) == 3


def test_histories_with_empty_reasons_stay_readable(world: World, memory: ManagedModel) -> None:
    """What earlier releases recorded without a reason, or as a jump without force, is told as it was."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.START, 2)
    world.do(Kind.ADVANCE, weight=10_000, force=True)
    world.do(Kind.ABORT)
    there = world.store.models[MODEL].tags
    for name, value in there.items():
        if name.startswith("fds.event."):
            there[name] = json.dumps(
                {k: "" if k == "reason" else v for k, v in json.loads(value).items() if k != "forced"}
            )
    assert [(e.kind, e.reason, e.forced) for e in memory.history()] == [
        (kind, "", False) for kind in (Kind.ABORT, Kind.ADVANCE, Kind.START, Kind.PROMOTE)
    ]
    assert world.history.damaged == ()


def test_status_without_a_rollout_is_refused(memory: ManagedModel) -> None:
    """There is nothing to report; the message says how to start."""
    with pytest.raises(RefusedError, match="no active rollout") as error:
        memory.canary.status()
    assert "canary start" in error.value.fix


def _outcome(world: World, number: int, variant: Variant, *, fails: bool = False) -> OutcomeRecord:
    rollout = tags.decode_rollout(world.store.models[MODEL].versions[2].tags[tags.ROLLOUT])
    assert rollout is not None
    return OutcomeRecord(
        model=MODEL,
        key=f"{variant}-{number}",
        assigned=variant,
        served=Variant.CHAMPION if fails else variant,
        version=2 if variant is Variant.CANARY and not fails else 1,
        score=0.1,
        flagged=False,
        latency_ms=1.0,
        time=world.clock.now(),
        rollout_id=rollout.id,
        step=rollout.step,
        weight=rollout.weight,
        error="canary raised" if fails else None,
    )


def test_status_shows_both_variants_of_this_step_and_a_recommendation(world: World, memory: ManagedModel) -> None:
    """Outcomes of this step are counted per variant and judged; after an advance the display restarts."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.START, 2)
    memory.outcomes.record([_outcome(world, n, Variant.CHAMPION) for n in range(1_080)])
    memory.outcomes.record([_outcome(world, n, Variant.CANARY) for n in range(120)])
    status = memory.canary.status()
    assert (status.champion.keys, status.canary.keys) == (1_080, 120)
    assert [verdict.check for verdict in status.verdicts] == ["split", "error_rate", "alert_rate", "score_shift"]
    assert {verdict.status for verdict in status.verdicts} == {Status.PASS, Status.INCONCLUSIVE}
    assert status.recommendation.action is Action.ADVANCE
    memory.canary.advance()
    status = memory.canary.status()
    assert (status.canary.keys, status.recommendation.action) == (0, Action.WAIT)


def test_a_canary_that_errs_too_often_is_to_be_aborted(world: World, memory: ManagedModel) -> None:
    """Errors count against the variant they were assigned to, though the champion answered."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.START, 2)
    memory.outcomes.record([_outcome(world, n, Variant.CHAMPION) for n in range(1_080)])
    memory.outcomes.record([_outcome(world, n, Variant.CANARY, fails=n % 5 == 0) for n in range(120)])
    status = memory.canary.status()
    assert status.canary.events[EventKind.ERROR] == 24
    assert status.recommendation.action is Action.ABORT
    assert "canary 20.00 %" in status.recommendation.reason


def test_missed_fraud_counts_against_the_variant_that_missed_it(world: World, memory: ManagedModel) -> None:
    """Missed frauds whose labels have matured fail a canary, and nothing is judged by labels before that."""
    world.do(Kind.PROMOTE, 1)
    plan = Plan(guardrails=[Guardrail(Metric.MISSED_FRAUD, margin=1.0)], label_maturity="30d")
    memory.session.run(Request(Kind.START, 2, plan=plan, rollout_id="R", now=world.clock.now()), "")
    memory.outcomes.record([_outcome(world, n, Variant.CHAMPION) for n in range(1_080)])
    memory.outcomes.record([_outcome(world, n, Variant.CANARY) for n in range(120)])
    now = world.clock.now()
    missed = [f"canary-{n}" for n in range(20)] + [f"champion-{n}" for n in range(5)]
    memory.outcomes.label([CaseRecord(transaction_id=key, status="confirmed", known_at=now) for key in missed])
    status = memory.canary.status()
    assert "no label has reached its maturity" in status.verdicts[1].reason
    assert status.recommendation.action is Action.WAIT
    assert "0 labels of the canary's keys have matured" in status.recommendation.reason
    world.clock.seconds += 30 * 86_400
    status = memory.canary.status()
    assert (status.verdicts[1].status, status.verdicts[1].canary) == (Status.FAIL, 20 / 120)
    assert status.recommendation.action is Action.ABORT


# --- rollback, in memory ------------------------------------------------------------------------------------


def test_candidates_are_former_champions_with_dates(world: World, memory: ManagedModel) -> None:
    """The latest to step down first, with the times it served, and whether it was itself rolled back from."""
    for version in (1, 2, 3):
        world.do(Kind.PROMOTE, version)
        world.clock.seconds += 3_600
    world.do(Kind.EMERGENCY)
    found = memory.rollback.candidates()
    assert [(c.version, c.withdrawn, c.emergency) for c in found] == [(3, True, False), (1, False, True)]
    start = world.clock.start
    assert (found[1].champion_since, found[1].retired_at) == (start, start + timedelta(hours=1))
    assert (found[0].champion_since, found[0].retired_at) == (start + timedelta(hours=2), start + timedelta(hours=3))


def test_a_deleted_former_champion_is_no_candidate(world: World, memory: ManagedModel) -> None:
    """What a hand deleted cannot be gone back to, and is not offered."""
    for version in (1, 2, 3):
        world.do(Kind.PROMOTE, version)
    world.store.delete_version(MODEL, 2)
    assert [c.version for c in memory.rollback.candidates()] == [1]


def test_an_unchecked_emergency_goes_back_past_a_deleted_version(world: World, memory: ManagedModel) -> None:
    """The latest former champion that still exists is the one to go back to."""
    for version in (1, 2, 3):
        world.do(Kind.PROMOTE, version)
    world.store.delete_version(MODEL, 2)
    memory.rollback.emergency(reason="alerts gone", validate=False)
    assert memory.overview().champion == 1


def test_an_emergency_tells_at_once_that_the_alias_moved(world: World, memory: ManagedModel) -> None:
    """The caller hears of the new champion before anything is recorded."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.PROMOTE, 2)
    heard: list[tuple[int, int]] = []
    memory.rollback.emergency(
        reason="x", validate=False, on_moved=lambda version: heard.append((version, len(world.history.events)))
    )
    assert heard == [(1, 2)]


def test_an_emergency_says_loudly_that_its_target_does_not_load(world: World, memory: ManagedModel) -> None:
    """The alias moves first; where that version cannot serve, the error says so and names the next candidate."""
    for version in (1, 2, 3):
        world.do(Kind.PROMOTE, version)
    moved: list[int] = []
    with pytest.raises(UnservableError, match=r"version 2 is the champion again.* loads:") as error:
        memory.rollback.emergency(reason="x", on_moved=moved.append)
    assert (moved, memory.overview().champion) == ([2], 2)
    assert "version 1: `fds rollback emergency fraud" in error.value.fix
    with pytest.raises(UnservableError) as error:
        memory.rollback.emergency(reason="on")
    assert memory.overview().champion == 1
    assert "promote another version" in error.value.fix


def test_an_emergency_without_validation_still_says_that_its_target_is_not_ready(
    world: World, memory: ManagedModel
) -> None:
    """READY is asked for after the move, whatever else is left out."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.PROMOTE, 2)
    world.store.models[MODEL].versions[1].status = "FAILED_REGISTRATION"
    with pytest.raises(UnservableError, match="FAILED_REGISTRATION, not READY"):
        memory.rollback.emergency(reason="x", validate=False)
    assert memory.overview().champion == 1


def test_an_emergency_validates_first_where_it_is_asked_to(world: World, memory: ManagedModel) -> None:
    """With validate=True a target that does not load is refused, and the champion stays."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.PROMOTE, 2)
    with pytest.raises(RefusedError, match="may not serve: loads:"):
        memory.rollback.emergency(reason="x", validate=True)
    assert memory.overview().champion == 2


def test_an_emergency_asks_nothing_before_its_alias_has_moved(world: World, memory: ManagedModel) -> None:
    """Until the alias has moved no version is looked at: neither whether it is READY, nor what it is."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.PROMOTE, 2)
    asked: list[str] = []

    class Watching(HookedStore):
        def version(self, model: str, version: int) -> VersionView:
            asked.append("version")
            return super().version(model, version)

    model = ManagedModel(MODEL, store=Watching(world.store, lambda *_: None), outcomes="sqlite://", clock=world.clock)
    model.rollback.emergency(reason="x", validate=False, on_moved=lambda version: asked.append(f"moved to {version}"))
    assert asked[0] == "moved to 1"


# --- with models that load, on MLflow -----------------------------------------------------------------------


@pytest.mark.slow
def test_the_whole_story_on_mlflow(live: Live) -> None:
    """Stage, promote, canary, predict, complete, emergency: aliases, stages and history tell the same story."""
    live.register("good", "better")
    model = live.model
    model.stage(1, reason="first")
    model.promote(1, reason="first model")
    model.canary.start(2, plan=Plan([30, 100], min_outcomes=1), reason="better?")
    frame = pd.DataFrame(
        {"transaction_id": [f"TX{n}" for n in range(100)], "amount": np.linspace(0, 1, 100), "hour": 22.0}
    )
    answer = model.router().predict(frame)
    assert set(answer["version"]) == {1, 2}
    share = (answer["variant"] == "canary").mean()
    assert 0.1 < share < 0.5
    status = model.canary.status()
    assert status.champion.keys + status.canary.keys == 100
    model.canary.advance()
    model.canary.complete(reason="proven")
    assert model.overview().champion == 2
    model.rollback.emergency(reason="it was not")
    assert [(e.kind.value, e.from_version, e.to_version) for e in reversed(model.history())] == [
        ("stage", None, 1),
        ("promote", None, 1),
        ("start", 1, 2),
        ("advance", 1, 2),
        ("complete", 1, 2),
        ("emergency", 2, 1),
    ]
    assert {v.version: v.stage for v in model.overview().versions} == {1: "Production", 2: "Archived"}
    assert (model.overview().champion, model.overview().rollout, model.overview().agrees) == (1, None, True)


@pytest.mark.campaign
@pytest.mark.tested(2)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("candidate", "says"),
    graded(
        [
            ("raises", "scores its example: version 2 could not score 3 rows: ZeroDivisionError"),
            ("classes", "no numbers"),
            ("too high", "not one float in"),
            ("wide", "columns that version 1 does not: device_age"),
            ("typed", r"hour \(.*double -> .*string\)"),
        ],
        quick=2,
    ),
)
def test_a_version_that_cannot_serve_gets_no_traffic(live: Live, candidate: str, says: str) -> None:
    """What does not load, score or fit today's callers is refused with the check that failed, and nothing moves."""
    live.register("good", candidate)
    live.model.promote(1)
    for verb in (live.model.promote, live.model.canary.start):
        with pytest.raises(RefusedError, match=says):
            verb(2)
    assert len(live.model.history()) == 1
    assert live.model.overview().champion == 1


@pytest.mark.campaign
@pytest.mark.parametrize("candidate", graded(["narrow", "without example"]))
@pytest.mark.slow
def test_a_version_that_asks_for_less_may_serve(live: Live, candidate: str) -> None:
    """Fewer columns fit every caller; a missing input example is a warning."""
    live.register("good", candidate)
    live.model.promote(1)
    assert live.model.promote(2).changed


@pytest.mark.slow
def test_new_columns_are_allowed_where_a_person_says_so(live: Live) -> None:
    """When the callers send the new columns already, they are no reason to refuse."""
    live.register("good", "wide")
    live.model.promote(1)
    assert live.model.promote(2, allow_new_columns=True).changed


@pytest.mark.slow
@pytest.mark.tested(2)
@pytest.mark.parametrize("threshold", graded([None, "high", "1.5", "nan", "-0.1", ""], quick=2))
def test_a_version_without_a_threshold_may_not_serve(live: Live, threshold: str | None) -> None:
    """The threshold travels with the version; one that is missing or no share is refused with the tag's name."""
    live.register("good", threshold=threshold)
    with pytest.raises(RefusedError, match=r"has (the threshold|no tag fds\.threshold)"):
        live.model.promote(1)


def test_a_version_whose_artifacts_are_gone_may_not_serve(live: Live, tmp_path: Path) -> None:
    """Artifacts that do not load are found before traffic is sent, with version and cause."""
    tiny_models.register(MODEL, tmp_path / "nothing here")
    with pytest.raises(RefusedError, match="the artifacts of version 1 of 'fraud' do not load"):
        live.model.promote(1)


@pytest.mark.slow
def test_a_champion_that_does_not_load_is_no_reason_to_keep_it(live: Live, tmp_path: Path) -> None:
    """Moving away from a broken champion is possible: its signature cannot be compared, which is a warning."""
    tiny_models.register(MODEL, tmp_path / "nothing here")
    live.register("good")
    from mlflow import MlflowClient

    MlflowClient().set_registered_model_alias(MODEL, "champion", "1")
    assert live.model.promote(2).changed


def test_comparing_scores_both_versions_on_the_same_rows(live: Live) -> None:
    """The better of two versions is recommended, each flagging at its own threshold."""
    live.register("good", threshold="0.6")
    live.register("better", threshold="0.6")
    random = np.random.default_rng(1)
    amount, hour = random.uniform(size=2_000), random.uniform(0, 24, size=2_000)
    label = ((hour > 20) & (amount > 0.3)).astype(int)
    data = pd.DataFrame({"amount": amount, "hour": hour, "label": label})
    made = live.model.compare(1, 2, data=data, n_boot=50)
    assert made.advice is Advice.PROMOTE
    assert {d.metric: d.change for d in made.deltas}["precision"] is Change.IMPROVED
    assert live.model.compare(1, 1, data=data, n_boot=20).advice is Advice.KEEP
    with pytest.warns(DeprecationWarning, match="n_boot"):
        assert live.model.compare(1, 2, data=data, rounds=50) == made


@pytest.mark.campaign
@pytest.mark.slow
def test_a_rollout_is_rehearsed_with_both_versions_scores(live: Live) -> None:
    """Before the release, labelled history tells how the plan would go; today's champion is the control."""
    live.register("good", "better")
    with pytest.raises(RefusedError, match="no champion"):
        live.model.canary.rehearse(2, data=tiny_models.EXAMPLE)
    live.model.promote(1)
    rng = np.random.default_rng(3)
    rows = 2_000
    amount = rng.random(rows)
    history = pd.DataFrame(
        {
            "transaction_id": [f"TX{n}" for n in range(rows)],
            "time": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.arange(rows), unit="min"),
            "amount": amount,
            "hour": rng.random(rows) * 24,
            "label": (rng.random(rows) < amount / 10).astype(int),
        }
    )
    plan = Plan([50, 100], guardrails=[Guardrail("error_rate", margin=1.0, negligible=0.05)], min_outcomes=50)
    found = live.model.canary.rehearse(2, data=history, plan=plan, replays=20)
    assert found == live.model.canary.rehearse(2, data=history, plan=plan, champion=1, replays=20)
    assert "champion_score" not in history.columns


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "says"),
    [(None, "no label column"), ([0, 1, 2, 0], "values other than 0 and 1"), ([0, 1, None, 0], "values other than 0")],
)
def test_comparing_needs_labels_that_are_known(live: Live, label: list[object] | None, says: str) -> None:
    """Rows without a known truth cannot be compared on; the message says what the column holds."""
    live.register("good", "better")
    data = pd.DataFrame({"amount": [0.1, 0.9, 0.5, 0.2], "hour": 1.0})
    if label is not None:
        data["label"] = label
    with pytest.raises(DataError, match=says):
        live.model.compare(1, 2, data=data)


@pytest.mark.slow
def test_a_rollback_target_is_validated_with_warnings(live: Live) -> None:
    """Before going back one sees whether the version was champion, loads and scores, and how much worse it measured."""
    live.register("good", metrics={"average_precision": 0.4, "recall": 0.6, "val_recall": 0.1})
    live.register("better", metrics={"average_precision": 0.8, "recall": 0.61})
    live.model.promote(1)
    live.model.promote(2)
    made = live.model.rollback.validate(1)
    assert made.passed
    assert [check.name for check in made.checks][:3] == ["was champion", "loads", "scores its example"]
    (warning,) = made.warnings
    assert "average_precision 0.4000 < 0.8000 of version 2 by more than 10%" in warning
    assert dict(live.model.rollback.candidates()[0].metrics) == {"average_precision": 0.4, "recall": 0.6}
    assert not live.model.rollback.validate(2).checks[0].passed


@pytest.mark.campaign
@pytest.mark.slow
def test_a_version_that_was_rolled_back_from_is_marked(live: Live) -> None:
    """Going forward again to what was just left is possible by name, with a warning."""
    live.register("good", "better")
    live.model.promote(1)
    live.model.promote(2)
    live.model.rollback.to(1, reason="x")
    made = live.model.rollback.validate(2)
    assert made.warnings == ("version 2 was itself rolled back from",)
    assert live.model.rollback.to(2, reason="cleared").changed


@pytest.mark.slow
def test_a_version_never_champion_is_no_rollback_target(live: Live) -> None:
    """A rollback goes back; to something new one promotes."""
    live.register("good", "better")
    live.model.promote(1)
    assert not live.model.rollback.validate(2).passed
    with pytest.raises(RefusedError, match="never champion"):
        live.model.rollback.to(2, reason="x")


@pytest.mark.slow
def test_stage_changes_by_hand_in_mlflow_do_not_matter(live: Live) -> None:
    """Stages mirror the history; aliases alone route."""
    live.register("good", "better")
    live.model.promote(1)
    from mlflow import MlflowClient

    with pytest.warns(FutureWarning):
        MlflowClient().transition_model_version_stage(MODEL, "2", "Production")
    assert live.model.overview().champion == 1
    assert live.model.router(record=False).route("x").version == 1


def test_outcomes_default_to_the_environment(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`FDS_OUTCOMES_URI` says where outcomes go; the store is opened when first needed."""
    monkeypatch.setenv("FDS_OUTCOMES_URI", "sqlite:////nonexistent/folder/outcomes.db")
    model = ManagedModel(MODEL, store=world.store, clock=world.clock)
    world.do(Kind.PROMOTE, 1)
    model.router(record=False).route("x")
    monkeypatch.setenv("FDS_OUTCOMES_URI", f"sqlite:///{tmp_path / 'mine.db'}")
    model.outcomes.counts(MODEL, "R", 0)
    model.outcomes.close()
    assert (tmp_path / "mine.db").is_file()


def test_a_canary_alias_deleted_by_hand_shows_as_no_rollout(world: World, memory: ManagedModel) -> None:
    """The UI's delete button stops a canary; status says so at once."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.START, 2)
    world.by_hand(DeleteAlias(tags.CANARY))
    with pytest.raises(RefusedError, match="no active rollout"):
        memory.canary.status()
