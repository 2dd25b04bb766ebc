"""What hands do to a registry past us: routing follows at once, the next operation records it, the doctor explains it.

Everything runs on MLflow with SQLite, through MLflow's own client, as its UI would. `docs/out-of-band.md` is the table
of what these tests show.
"""

from __future__ import annotations

import base64
import json
import logging
import shutil
import sqlite3
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from packaging.version import Version

from fds_mlflow import ManagedModel
from fds_mlflow.core.lifecycle.events import Ending, Event, Kind, RolloutStatus
from fds_mlflow.core.lifecycle.state import fold
from fds_mlflow.errors import NotFoundError, OutcomeUnknownError, RefusedError, UnavailableError
from fds_mlflow.registry import tags
from fds_mlflow.registry.doctor import Severity
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.registry.store import Write
from fds_mlflow.serving.router import Router
from tests.conftest import FakeClock
from tests.support import tiny_models
from tests.support.effort import graded
from tests.support.places import pointing_at
from tests.support.registry_world import HookedStore

MODEL = "fraud"

pytestmark = pytest.mark.slow  # a real MLflow each; test_doctor.py has hands on a registry in memory
Routing = tuple[int, int | None, int | None]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that loads at once."""
    return tiny_models.save(tmp_path_factory.mktemp("tiny"), "good", tiny_models.GOOD)


@dataclass
class Hands:
    """A model in a rollout, a router that follows it, and MLflow's client to change it past us.

    Version 1 is a former champion, 2 the champion, 3 the canary at 10 %, 4 a version nothing has been done with.
    """

    model: ManagedModel
    router: Router
    client: MlflowClient
    clock: FakeClock
    uri: str

    def routing(self) -> Routing:
        """What the router does after its next look: champion, canary, weight."""
        table = self.router.refresh()
        return table.champion, table.rollout and table.rollout.canary, table.rollout and table.rollout.weight

    def fresh_router(self) -> Router:
        """A router of a replica that starts now."""
        return person(self.uri, self.clock).router(record=False)

    def doctor(self) -> list[tuple[Severity, str]]:
        """What the doctor says."""
        return [(finding.severity, finding.what) for finding in self.model.doctor()]

    def new_events(self) -> list[Event]:
        """What was recorded since the rollout began."""
        return list(reversed(self.model.history()))[3:]

    def told(self) -> list[tuple[Kind, int | None, int | None]]:
        """Kind, from and to of what was recorded since the rollout began."""
        return [(e.kind, e.from_version, e.to_version) for e in self.new_events()]

    def move(self, alias: str, version: int) -> None:
        """A hand moves an alias."""
        self.client.set_registered_model_alias(MODEL, alias, str(version))

    def assert_agrees(self, left: tuple[str, ...] = ()) -> None:
        """History and registry agree again; the doctor has nothing to say but what only a person can mend."""
        view = self.model.session.look()
        assert view.agrees
        assert view.history.intents == ()
        assert [e.sequence for e in view.history.events] == list(range(1, len(view.history.events) + 1))
        assert [what for _, what in self.doctor() if not any(part in what for part in left)] == []


def person(uri: str, clock: FakeClock, actor: str = "ann", store: HookedStore | None = None) -> ManagedModel:
    """Somebody with a process of their own."""
    return ManagedModel(
        MODEL, tracking_uri=uri, registry_uri=uri, outcomes="sqlite://", actor=actor, clock=clock, store=store
    )


@pytest.fixture(scope="module")
def _rollout_database(tiny_model: Path, migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rollout under way, made once; every test works on a copy."""
    database = tmp_path_factory.mktemp("rollout") / "mlflow.db"
    shutil.copyfile(migrated_database, database)
    uri = f"sqlite:///{database}"
    with pointing_at(uri):
        for _ in range(4):
            tiny_models.register(MODEL, tiny_model)
        model = person(uri, FakeClock())
        model.promote(1, reason="first")
        model.promote(2, reason="better")
        model.canary.start(3, reason="try")
    return database


@pytest.fixture
def hands(mlflow_uri: str, _rollout_database: Path) -> Hands:
    """A rollout under way."""
    shutil.copyfile(_rollout_database, mlflow_uri.removeprefix("sqlite:///"))
    clock = FakeClock()
    model = person(mlflow_uri, clock)
    there = Hands(model, model.router(record=False), MlflowClient(), clock, mlflow_uri)
    assert there.routing() == (2, 3, 1_000)
    return there


def _set_status(hands: Hands, version: int, status: str) -> None:
    """What MLflow itself writes while a version is being registered."""
    with sqlite3.connect(hands.uri.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE model_versions SET status = ? WHERE version = ?", (status, version))
    connection.close()


# --- aliases --------------------------------------------------------------------------------------------------


@pytest.mark.campaign
@pytest.mark.slow
def test_champion_moved(hands: Hands) -> None:
    """A champion moved in the UI serves at once, the rollout stops, and the next operation records both."""
    hands.move("champion", 4)
    assert hands.routing() == (4, None, None)
    says = hands.doctor()
    assert says[0] == (Severity.DANGER, "the canary alias points at version 3 without taking traffic")
    assert any("champion is 4 where the history says 2" in what for _, what in says)
    hands.model.promote(1, reason="next")
    assert hands.told() == [(Kind.ADOPT, 2, 4), (Kind.PROMOTE, 4, 1)]
    adopted = hands.new_events()[0]
    assert adopted.reason.startswith("changed outside: champion is 4 where the history says 2")
    assert adopted.rollout is not None
    assert adopted.rollout.status is RolloutStatus.OVERTAKEN
    assert hands.routing() == (1, None, None)
    hands.assert_agrees()


def test_champion_moved_to_the_canary(hands: Hands) -> None:
    """Completing by hand works: the canary's version serves all, and the rollout is recorded as overtaken."""
    hands.move("champion", 3)
    assert hands.routing() == (3, None, None)
    hands.model.settle()
    assert hands.told() == [(Kind.ADOPT, 2, 3)]
    assert fold(hands.model.session.look().history.events).former == (1, 2)
    hands.assert_agrees()


@pytest.mark.campaign
def test_champion_moved_away_and_back(hands: Hands) -> None:
    """Moved back before anybody operated, the rollout simply goes on; after an operation it does not wake up."""
    hands.move("champion", 4)
    assert hands.routing() == (4, None, None)
    hands.move("champion", 2)
    assert hands.routing() == (2, 3, 1_000)
    hands.assert_agrees()
    hands.move("champion", 4)
    hands.model.settle()
    hands.move("champion", 2)
    assert hands.routing() == (2, None, None)


def test_champion_deleted(hands: Hands) -> None:
    """Without a champion a running router keeps its table and says so, a fresh one refuses; an emergency goes back."""
    hands.client.delete_registered_model_alias(MODEL, "champion")
    assert hands.routing() == (2, 3, 1_000)
    assert hands.router.degraded == "model 'fraud' has no champion"
    with pytest.raises(UnavailableError, match="no champion"):
        _ = hands.fresh_router().table
    assert (Severity.DANGER, "no version has the champion alias") in hands.doctor()
    hands.model.rollback.emergency(reason="nobody serves")
    assert hands.told() == [(Kind.ADOPT, 2, None), (Kind.EMERGENCY, None, 2)]
    assert hands.routing() == (2, None, None)
    assert hands.router.degraded is None
    hands.assert_agrees()


def test_champion_not_ready(hands: Hands) -> None:
    """An alias moved to a version that is still being registered changes nothing for requests."""
    hands.client.create_model_version(MODEL, source="s3://nowhere", await_creation_for=None)
    _set_status(hands, 5, "PENDING_REGISTRATION")
    hands.move("champion", 5)
    assert hands.routing() == (2, 3, 1_000)
    assert hands.router.degraded == "model 'fraud' has a champion that is PENDING_REGISTRATION"
    assert (Severity.DANGER, "the champion is version 5, which is PENDING_REGISTRATION") in hands.doctor()
    hands.model.promote(4, reason="next")
    assert hands.routing() == (4, None, None)
    hands.assert_agrees()


def test_canary_deleted(hands: Hands) -> None:
    """A canary alias deleted in the UI stops the canary at once; the rollout is recorded as overtaken."""
    hands.client.delete_registered_model_alias(MODEL, "canary")
    assert hands.routing() == (2, None, None)
    assert any("no canary takes traffic where the history says canary 3 takes 10 %" in w for _, w in hands.doctor())
    with pytest.raises(RefusedError, match="no active rollout"):
        hands.model.canary.advance()
    assert hands.told() == [(Kind.ADOPT, 2, 2)]
    hands.assert_agrees()
    hands.move("canary", 3)
    assert hands.routing() == (2, None, None)


@pytest.mark.tested(1)
@pytest.mark.parametrize("version", graded([1, 2, 4]), ids=["former champion", "champion", "untried"])
def test_canary_moved(version: int, hands: Hands) -> None:
    """A canary alias moved to a version without a rollout of its own gives that version no traffic."""
    hands.move("canary", version)
    assert hands.routing() == (2, None, None)
    assert any(f"the canary alias points at version {version} without taking traffic" in w for _, w in hands.doctor())
    hands.model.settle()
    assert hands.told() == [(Kind.ADOPT, 2, 2)]
    assert "canary" not in hands.client.get_registered_model(MODEL).aliases
    hands.model.canary.start(4, reason="again")
    assert hands.routing() == (2, 4, 1_000)
    hands.assert_agrees()


def test_aliases_before_us(mlflow_uri: str, tiny_model: Path) -> None:
    """A model whose champion was always moved by hand is taken over as it is."""
    for _ in range(2):
        tiny_models.register(MODEL, tiny_model)
    MlflowClient().set_registered_model_alias(MODEL, "champion", "1")
    model = person(mlflow_uri, FakeClock())
    model.promote(2, reason="first with us")
    told = [(e.kind, e.from_version, e.to_version) for e in reversed(model.history())]
    assert told == [(Kind.ADOPT, None, 1), (Kind.PROMOTE, 1, 2)]
    assert model.doctor() == []


# --- versions and models --------------------------------------------------------------------------------------


def test_canary_version_deleted(hands: Hands) -> None:
    """A canary's version deleted mid-rollout takes its traffic along; the champion gets all at once."""
    hands.client.delete_model_version(MODEL, "3")
    assert hands.routing() == (2, None, None)
    with pytest.raises(RefusedError, match="no active rollout"):
        hands.model.canary.complete(reason="late", force=True)
    assert hands.told() == [(Kind.ADOPT, 2, 2)]
    assert hands.doctor() == [(Severity.NOTE, "the history names versions that do not exist any more: 3")]
    hands.model.canary.start(4, reason="again")
    assert hands.routing() == (2, 4, 1_000)


def test_champion_version_deleted(hands: Hands) -> None:
    """A champion's version deleted mid-rollout: running routers keep it, and an emergency finds one that exists."""
    hands.client.delete_model_version(MODEL, "2")
    assert hands.routing() == (2, 3, 1_000)
    assert hands.router.degraded == "model 'fraud' has no champion"
    hands.model.rollback.emergency(reason="nobody serves")
    noticed = [(Kind.ADOPT, 2, None), (Kind.EMERGENCY, None, 1)]
    assert hands.told() == (noticed if Version(mlflow.__version__) >= Version("3.17") else [(Kind.EMERGENCY, 2, 1)])
    assert hands.routing() == (1, None, None)
    assert hands.router.degraded is None
    hands.assert_agrees(left=("do not exist any more: 2",))


def test_rollback_target_deleted(hands: Hands) -> None:
    """An emergency whose only target was deleted says so, and changes nothing."""
    hands.client.delete_model_version(MODEL, "1")
    with pytest.raises(RefusedError, match="no former champion"):
        hands.model.rollback.emergency(reason="go back")
    with pytest.raises(NotFoundError, match="1"):
        hands.model.rollback.to(1, reason="go back")
    assert hands.routing() == (2, 3, 1_000)
    assert hands.told() == []


def test_model_deleted(hands: Hands) -> None:
    """A deleted model: running routers go on and say so; every verb says that it does not exist, and makes nothing."""
    hands.client.delete_registered_model(MODEL)
    assert hands.routing() == (2, 3, 1_000)
    assert hands.router.degraded is not None
    assert "does not know it" in hands.router.degraded
    with pytest.raises(UnavailableError):
        _ = hands.fresh_router().table
    verbs: list[Callable[[], object]] = [
        lambda: hands.model.promote(4),
        hands.model.canary.advance,
        lambda: hands.model.canary.abort(reason="stop"),
        lambda: hands.model.rollback.emergency(reason="go back"),
        hands.model.history,
        hands.model.doctor,
        hands.model.settle,
    ]
    for verb in verbs:
        with pytest.raises(NotFoundError, match="fraud"):
            verb()
    assert hands.client.search_registered_models() == []


def test_model_renamed(hands: Hands) -> None:
    """A renamed model keeps history, aliases and rollout under its new name; the old name serves on from memory."""
    hands.client.rename_registered_model(MODEL, "fraud-eu")
    assert hands.routing() == (2, 3, 1_000)
    assert hands.router.degraded is not None
    with pytest.raises(NotFoundError, match="fraud"):
        hands.model.canary.advance()
    renamed = ManagedModel("fraud-eu", outcomes="sqlite://", actor="ann", clock=hands.clock)
    assert renamed.doctor() == []
    assert [e.kind for e in renamed.history()] == [Kind.START, Kind.PROMOTE, Kind.PROMOTE]
    table = renamed.router(record=False).table
    assert table.rollout is not None
    assert (table.champion, table.rollout.canary) == (2, 3)
    renamed.canary.complete(reason="good", force=True)
    assert renamed.doctor() == []


GONE: dict[str, Callable[[MlflowClient], object]] = {
    "deleted": lambda client: client.delete_registered_model(MODEL),
    "renamed": lambda client: client.rename_registered_model(MODEL, "fraud-eu"),
}


@pytest.mark.parametrize("gone", GONE)
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(1, id="intent", marks=pytest.mark.campaign),
        pytest.param(2, id="champion", marks=pytest.mark.slow),
        pytest.param(4, id="tidying", marks=pytest.mark.campaign),
        pytest.param(7, id="event", marks=pytest.mark.campaign),
    ],
)
def test_model_gone_in_the_middle_of_an_operation(number: int, gone: str, hands: Hands) -> None:
    """A model that goes away before any write of an operation ends in a clear error; under a new name it is settled."""

    def vanish(count: int, _write: Write) -> None:
        if count == number:
            GONE[gone](hands.client)

    store = HookedStore(MlflowStore(), vanish)
    with pytest.raises((NotFoundError, OutcomeUnknownError), match=r"fraud|interrupted"):
        person(hands.uri, hands.clock, store=store).canary.complete(reason="good", force=True)
    if gone == "renamed":
        renamed = ManagedModel("fraud-eu", outcomes="sqlite://", actor="bob", clock=hands.clock)
        renamed.settle()
        assert renamed.pending() == []
        assert renamed.doctor() == []
        kinds = [(e.kind, e.outcome) for e in renamed.history()[:-3]]
        outcome = Ending.DONE if number > 2 else Ending.ABANDONED
        assert kinds == ([] if number == 1 else [(Kind.COMPLETE, outcome)])


# --- stages ---------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("archive", graded([False, True]), ids=["alone", "archiving the others"])
def test_stage_changed(archive: bool, hands: Hands) -> None:
    """A stage moved in the UI routes nothing; the doctor names it, and its repair puts the stages back."""
    hands.client.transition_model_version_stage(MODEL, "1", "Production", archive_existing_versions=archive)
    assert hands.routing() == (2, 3, 1_000)
    what = "version 1 is in stage Production where the history says Archived"
    assert (Severity.NOTE, what) in hands.doctor()
    assert all(severity is Severity.NOTE for severity, _ in hands.doctor())
    assert hands.model.doctor(fix=True) == []
    stages = {v.version: v.stage for v in MlflowStore().versions(MODEL)}
    assert stages == {1: "Archived", 2: "Production", 3: "Staging", 4: "None"}
    assert hands.told() == []


@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_stage_of_the_canary_changed(hands: Hands) -> None:
    """A canary archived by hand stays a canary; the next operation on it sets its stage."""
    hands.client.transition_model_version_stage(MODEL, "3", "Archived")
    assert hands.routing() == (2, 3, 1_000)
    hands.model.canary.advance(reason="go on")
    assert hands.routing() == (2, 3, 2_500)
    assert hands.client.get_model_version(MODEL, "3").current_stage == "Staging"
    hands.assert_agrees()


# --- tags -----------------------------------------------------------------------------------------------------


def _rollout_tag(hands: Hands) -> str:
    return str(hands.client.get_model_version(MODEL, "3").tags[tags.ROLLOUT])


def _event_name(hands: Hands, sequence: int) -> str:
    return next(n for n in hands.client.get_registered_model(MODEL).tags if n.startswith(f"fds.event.{sequence:08d}"))


NONSENSE = ["", "None", "[]", "{", "{}", "NaN", "[" * 500]


@pytest.mark.tested(1)
@pytest.mark.parametrize("value", graded(NONSENSE))
def test_rollout_tag_nonsense(value: str, hands: Hands) -> None:
    """A rollout tag that cannot be parsed makes the canary inert; it is recorded, and a new rollout fixes it."""
    hands.client.set_model_version_tag(MODEL, "3", tags.ROLLOUT, value)
    assert hands.routing() == (2, None, None)
    assert hands.router.degraded is None
    assert (Severity.WARNING, "the rollout tag of version 3 cannot be parsed") in hands.doctor()
    hands.model.settle()
    assert hands.told() == [(Kind.ADOPT, 2, 2)]
    hands.model.canary.start(3, reason="again")
    assert hands.routing() == (2, 3, 1_000)
    hands.assert_agrees()


FIELDS: dict[str, list[object]] = {
    "weight": [-1, 10_001, 10.5, "10", None],
    "champion": [None, "two", []],
    "canary": [None, {}],
    "status": ["paused", None],
    "since": ["yesterday", 5, "2026-01-01T00:00:00"],
    "plan": [None, [], {"steps": [200]}, {"steps": []}],
}


@pytest.mark.campaign
@pytest.mark.parametrize("field", graded(FIELDS))
def test_rollout_tag_with_a_wrong_field(field: str, hands: Hands) -> None:
    """A rollout tag with one wrong field is as good as none: no traffic, and no error for requests."""
    good = json.loads(_rollout_tag(hands))
    for value in FIELDS[field]:
        hands.client.set_model_version_tag(MODEL, "3", tags.ROLLOUT, json.dumps({**good, field: value}))
        assert hands.routing() == (2, None, None), value
        assert hands.router.degraded is None


def test_rollout_weight_changed(hands: Hands) -> None:
    """A valid weight set by hand is followed at once, and recorded as such."""
    changed = {**json.loads(_rollout_tag(hands)), "weight": 7_500}
    hands.client.set_model_version_tag(MODEL, "3", tags.ROLLOUT, json.dumps(changed))
    assert hands.routing() == (2, 3, 7_500)
    assert any("canary 3 takes 75 % where the history says canary 3 takes 10 %" in what for _, what in hands.doctor())
    hands.model.canary.advance(reason="go on")
    assert hands.told() == [(Kind.ADOPT, 2, 2), (Kind.ADVANCE, 2, 3)]
    assert hands.routing() == (2, 3, 10_000)
    hands.assert_agrees()


def test_rollout_plan_changed(hands: Hands) -> None:
    """A plan edited in the live rollout's tag judges nobody: it is called an out-of-band change with the difference,
    and the next operation puts the history's plan back.
    """
    tag = json.loads(_rollout_tag(hands))
    plan = {**tag["plan"], "alpha": 0.5, "min_outcomes": 1, "control": True}
    hands.client.set_model_version_tag(MODEL, "3", tags.ROLLOUT, json.dumps({**tag, "plan": plan}))
    before = hands.model.canary.rollout()
    assert (before.plan.alpha, before.plan.min_outcomes, before.is_watch) == (0.05, 100, False)
    status = hands.model.canary.status()
    assert status.rollout.plan == before.plan
    said = "alpha 0.5 where the history says its default; control True where the history says its default"
    assert said in status.warnings[0]
    assert any(said in what for _, what in hands.doctor())
    hands.model.canary.advance(reason="go on")
    assert hands.told() == [(Kind.ADOPT, 2, 2), (Kind.ADVANCE, 2, 3)]
    assert said in hands.model.history()[1].reason
    assert "alpha" not in json.loads(_rollout_tag(hands))["plan"]
    hands.assert_agrees()


def test_rollout_facts_beside_the_weight_changed(hands: Hands) -> None:
    """What was changed in a rollout's tag is said by name, also where the weight is as it was."""
    changed = {**json.loads(_rollout_tag(hands)), "step": 2}
    hands.client.set_model_version_tag(MODEL, "3", tags.ROLLOUT, json.dumps(changed))
    said = "canary 3 takes 10 % (step 2) where the history says canary 3 takes 10 % (step 0)"
    assert any(said in what for _, what in hands.doctor())


def test_an_emergency_says_that_nobody_promoted_its_target(hands: Hands) -> None:
    """A former champion that an out-of-band change had made one is said to be that."""
    hands.model.canary.abort(reason="make room")
    hands.client.set_registered_model_alias(MODEL, "champion", "4")
    hands.model.promote(3, reason="better")
    result = hands.model.rollback.emergency(reason="worse", validate=False)
    assert result.event is not None
    assert result.event.to_version == 4
    assert result.warnings == ("version 4 had become champion by an out-of-band change: no operation promoted it",)


@pytest.mark.tested(1)
@pytest.mark.parametrize("value", graded(["{", "", "[]"]))
def test_event_tag_nonsense(value: str, hands: Hands) -> None:
    """An event made unreadable does not count; it is named, left alone, and what it explained is adopted."""
    name = _event_name(hands, 3)
    hands.client.set_registered_model_tag(MODEL, name, value)
    assert hands.routing() == (2, 3, 1_000)
    assert (Severity.WARNING, f"the tag {name} cannot be parsed") in hands.doctor()
    hands.model.canary.advance(reason="go on")
    assert hands.routing() == (2, 3, 2_500)
    view = hands.model.session.look()
    assert view.agrees
    assert name in view.history.damaged


def test_event_tag_deleted(hands: Hands) -> None:
    """A deleted event leaves a gap that the doctor names, and no operation fails."""
    hands.client.delete_registered_model_tag(MODEL, _event_name(hands, 2))
    assert hands.routing() == (2, 3, 1_000)
    assert (Severity.WARNING, "1 events are missing from the history: 2") in hands.doctor()
    hands.model.canary.complete(reason="good", force=True)
    assert hands.routing() == (3, None, None)
    assert hands.model.session.look().agrees


@pytest.mark.tested(1)
@pytest.mark.parametrize("value", graded(["{", "", "[]"]))
def test_intent_tag_nonsense(value: str, hands: Hands) -> None:
    """A tag that is named as an operation in flight and reads as none blocks nobody, is named, and can be put aside."""
    name = tags.intent_name("0" * 26)
    hands.client.set_registered_model_tag(MODEL, name, value)
    assert (Severity.WARNING, f"the operation in flight in the tag {name} cannot be parsed") in hands.doctor()
    hands.model.canary.advance(reason="go on")
    assert hands.told() == [(Kind.ADVANCE, 2, 3)]
    assert hands.clock.seconds < 1.0
    assert hands.model.doctor(fix=True) == []
    there = hands.client.get_registered_model(MODEL).tags
    assert name not in there
    assert there[tags.kept_name(name, value)] == value


def test_intent_deleted_in_the_middle(hands: Hands) -> None:
    """Who loses their intent before the decisive write stops there, and the champion stays."""

    def delete(count: int, _write: Write) -> None:
        if count == 2:
            for intent in hands.model.pending():
                hands.client.delete_registered_model_tag(MODEL, tags.intent_name(intent.id))

    # The hook comes after the check of one's intent: the champion's write goes through, the next one does not.
    store = HookedStore(MlflowStore(), delete)
    with pytest.raises(OutcomeUnknownError, match="was taken over"):
        person(hands.uri, hands.clock, store=store).canary.complete(reason="good", force=True)
    hands.model.settle()
    assert hands.routing() == (3, None, None)
    assert hands.told() == [(Kind.ADOPT, 2, 3)]
    hands.assert_agrees()


def test_threshold_nonsense(hands: Hands) -> None:
    """A threshold made unreadable by hand: no version that cannot flag anything becomes champion or canary."""
    hands.client.set_model_version_tag(MODEL, "4", tags.THRESHOLD, "a lot")
    hands.model.canary.abort(reason="make room")
    for verb in (hands.model.promote, hands.model.canary.start):
        with pytest.raises(RefusedError, match="threshold 'a lot'"):
            verb(4, reason="try")
    assert hands.routing() == (2, None, None)


def test_threshold_nonsense_of_the_champion(hands: Hands) -> None:
    """The doctor calls a champion dangerous whose threshold a hand has made unreadable."""
    hands.client.set_model_version_tag(MODEL, "2", tags.THRESHOLD, "a lot")
    assert [severity for severity, _ in hands.doctor()] == [Severity.DANGER]


HOSTILE = {
    "deeply nested": lambda _: "[" * 50_000,
    "infinite step": lambda tag: json.dumps({**tag, "step": float("inf")}).replace("Infinity", "1e999"),
    "infinite champion": lambda tag: json.dumps({**tag, "champion": float("inf")}),
    "lone surrogate": lambda tag: json.dumps({**tag, "id": "\ud800"}),
    "beginning of time": lambda tag: json.dumps({**tag, "since": "0001-01-01T00:00:00+23:00"}),
}


@pytest.mark.tested(1)
@pytest.mark.parametrize("name", HOSTILE)
def test_rollout_tag_hostile(name: str, hands: Hands) -> None:
    """Whatever a rollout tag holds, requests are answered and operations go on."""
    hands.client.set_model_version_tag(MODEL, "3", tags.ROLLOUT, HOSTILE[name](json.loads(_rollout_tag(hands))))
    assert hands.routing() == (2, None, None)
    hands.router.route("TX1")
    hands.model.settle()
    hands.model.doctor()


NESTED = "[" * 4_000
NO_EVENT_FOUND = '{"actor":"x","time":"2026-01-01T00:00:00+00:00","found":{"champion":1,"canary":1,"last":[]}}'


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (f"fds.event.00000009.{'0' * 26}", NESTED),
        ("fds.events.00000009-00000009", base64.b85encode(zlib.compress(NESTED.encode())).decode()),
        (f"fds.intent.{'0' * 26}", NO_EVENT_FOUND),
    ],
    ids=["event", "pack", "intent"],
)
def test_model_tag_hostile(name: str, value: str, hands: Hands) -> None:
    """Whatever a tag of the model holds, operations go on, and the doctor names it."""
    hands.client.set_registered_model_tag(MODEL, name, value)
    assert any(name in what for _, what in hands.doctor())
    hands.model.canary.advance(reason="go on")


def test_event_with_the_last_number(hands: Hands) -> None:
    """An event forged with the highest number leaves a gap that is named; operations after it are recorded."""
    last = hands.model.history()[0]
    hands.client.set_registered_model_tag(
        MODEL, *tags.event_tag(replace(last, sequence=99_999_999, operation="0" * 26))
    )

    def endless(count: int, _write: Write) -> None:
        assert count < 60, "an operation that never ends"

    model = person(hands.uri, hands.clock, store=HookedStore(MlflowStore(), endless))
    model.canary.advance(reason="go on")
    model.canary.complete(reason="good", force=True)
    assert hands.routing() == (3, None, None)
    assert [e.kind for e in hands.model.history()[:2]] == [Kind.COMPLETE, Kind.ADVANCE]


# --- clocks ---------------------------------------------------------------------------------------------------


def test_clock_that_jumps_back(hands: Hands) -> None:
    """The order of events is their sequence: a clock set back by a year changes nothing but the times shown."""
    hands.clock.start -= timedelta(days=365)
    hands.model.canary.advance(reason="go on")
    hands.model.canary.complete(reason="good", force=True)
    events = hands.model.session.look().history.events
    assert [e.sequence for e in events] == [1, 2, 3, 4, 5]
    assert events[3].time < events[2].time
    assert hands.routing() == (3, None, None)
    assert [c.version for c in hands.model.rollback.candidates()] == [2, 1]
    hands.model.rollback.emergency(reason="go back")
    assert hands.routing() == (2, None, None)
    hands.assert_agrees()


@pytest.mark.campaign
def test_clock_that_jumps_back_does_not_keep_a_dead_operation_alive(hands: Hands) -> None:
    """Whether an operation is dead is told by a monotonic clock: the time of day it names does not count."""

    def die(count: int, _write: Write) -> None:
        if count == 3:
            raise KeyboardInterrupt

    later = FakeClock()
    later.start += timedelta(days=3_650)
    with pytest.raises(KeyboardInterrupt):
        person(hands.uri, later, "zoe", HookedStore(MlflowStore(), die)).canary.complete(reason="good", force=True)
    assert [intent.actor for intent in hands.model.pending()] == ["zoe"]
    hands.model.settle()
    assert hands.clock.seconds >= 45.0
    assert hands.told() == [(Kind.COMPLETE, 2, 3)]
    hands.assert_agrees()


def test_two_time_zones(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    """People in Auckland and in Los Angeles write one history, in UTC, and read the same of it."""
    seen = []
    for zone, name in (("Pacific/Auckland", "ann"), ("America/Los_Angeles", "bob")):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        model = ManagedModel(MODEL, outcomes="sqlite://", actor=name)  # by the machine's clock
        model.canary.advance(reason=f"from {zone}")
        seen.append([event.time for event in model.history()])
    monkeypatch.delenv("TZ")
    time.tzset()
    assert seen[1][1:] == seen[0]
    bob, ann = hands.model.history()[:2]
    assert (bob.actor, ann.actor) == ("bob", "ann")
    assert timedelta(0) < bob.time - ann.time < timedelta(hours=1)
    assert bob.time.utcoffset() == ann.time.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - bob.time) < timedelta(hours=1)
    hands.assert_agrees()


class _Auckland(FakeClock):
    """A clock that tells local time, aware of its zone."""

    def now(self) -> datetime:
        return super().now().astimezone(timezone(timedelta(hours=13)))


def test_local_times_are_written_in_utc(hands: Hands) -> None:
    """A clock that tells the time of another zone writes the same instants."""
    person(hands.uri, _Auckland()).canary.advance(reason="go on")
    (event,) = hands.new_events()
    assert event.time == datetime(2026, 1, 1, tzinfo=UTC)
    value = hands.client.get_registered_model(MODEL).tags[_event_name(hands, 4)]
    assert "2026-01-01T00:00:00.000000+00:00" in value
