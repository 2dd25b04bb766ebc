"""`kill -9` before each write of what repairs a model or moves its history: asking again finishes it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from fds_mlflow import ManagedModel
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.registry import tags
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.registry.store import RegistryStore
from fds_mlflow.runtime.identity import new_id
from tests.conftest import FakeClock
from tests.support.registry_world import QUICK, AlarmClock, HookedStore, RegistryWorld, before_write, register, sqlite

pytestmark = pytest.mark.campaign

MODEL = "fraud"
Routing = tuple[int | None, int | None, int | None]


def person(store: RegistryStore, actor: str) -> ManagedModel:
    """Somebody with a process of their own; waiting costs them no time."""
    return ManagedModel(MODEL, store=store, clock=FakeClock(), actor=actor, outcomes="sqlite://")


def quick(uri: str) -> MlflowStore:
    """A registry on SQLite."""
    store = MlflowStore(registry_uri=uri, tracking_uri=uri)
    store.write_limit = QUICK
    return store


def _die(uri: str, number: int, act: Callable[[ManagedModel], object]) -> None:
    """What the victim does: act, and end itself before the write with that number."""
    store = HookedStore(quick(uri), before_write(number, lambda: os.kill(os.getpid(), signal.SIGKILL)))
    act(person(store, "zoe"))


class Deaths:
    """Kills processes at one write after the other, each on a SQLite database of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["mlflow", "mlflow.store.model_registry.sqlalchemy_store", __name__])

    def world(self, template: Path) -> RegistryWorld:
        """The model of a copy of a database."""
        database = self.folder / f"{new_id()}.db"
        shutil.copyfile(template, database)
        store = quick(sqlite(database))
        return RegistryWorld(MODEL, store, store, AlarmClock())

    def at(self, number: int, world: RegistryWorld, act: Callable[[ManagedModel], object]) -> bool:
        """Let a process act on the model until its write with that number; whether it got so far."""
        process = self.context.Process(target=_die, args=(world.truth.uri, number, act))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode != 0


@pytest.fixture
def deaths(tmp_path: Path) -> Deaths:
    """A place for them."""
    return Deaths(tmp_path)


@pytest.fixture
def fresh(tmp_path: Path, migrated_database: Path) -> Path:
    """A database with a model that has versions and no history."""
    database = tmp_path / "fresh.db"
    shutil.copyfile(migrated_database, database)
    register(sqlite(database), MODEL)
    return database


@pytest.fixture
def in_a_rollout(deaths: Deaths, fresh: Path) -> RegistryWorld:
    """Champion 2, former champion 1, canary 3 at 10 %."""
    world = deaths.world(fresh)
    for kind, version in ((Kind.PROMOTE, 1), (Kind.PROMOTE, 2), (Kind.START, 3)):
        world.do(kind, version)
    return world


def routing(world: RegistryWorld) -> Routing:
    """Who serves, by the routing rule."""
    view = world.look()
    return view.champion_alias, view.rollout and view.rollout.canary, view.rollout and view.rollout.weight


def findings(model: ManagedModel, *, fix: bool = False) -> list[str]:
    """What the doctor says, but for the thresholds that these versions never had."""
    return [finding.what for finding in model.doctor(fix=fix) if tags.THRESHOLD not in finding.what]


class Import:
    """Take over a history; a class, since a closure cannot be sent to another process."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def __call__(self, model: ManagedModel) -> None:
        """Import it."""
        model.import_history(self.lines)


def test_an_import_that_was_killed_is_finished_by_asking_again(
    deaths: Deaths, fresh: Path, in_a_rollout: RegistryWorld
) -> None:
    """Killed before any of its writes it serves nobody wrongly, and a second import completes it."""
    take_over = Import(person(in_a_rollout.truth, "ann").export_history())
    events = in_a_rollout.events
    number, died = 0, True
    while died:
        number += 1
        other = deaths.world(fresh)
        died = deaths.at(number, other, take_over)
        assert routing(other) in ((None, None, None), (2, 3, 1_000))
        take_over(person(other.truth, "bob"))
        assert routing(other) == (2, 3, 1_000)
        assert other.events == events
        other.assert_settled()
    assert number > 10


def make_a_mess(world: RegistryWorld) -> Path:
    """Everything that a repair has to do with: adopt, put stages and rollouts right, put nonsense aside; the file."""
    client = MlflowClient(world.truth.uri, world.truth.uri)
    rollout = client.get_model_version(MODEL, "3").tags[tags.ROLLOUT]
    client.set_model_version_tag(MODEL, "4", tags.ROLLOUT, rollout)
    client.set_registered_model_alias(MODEL, tags.CHAMPION, "4")
    client.set_registered_model_tag(MODEL, tags.intent_name("0" * 26), "?")
    client.transition_model_version_stage(MODEL, "1", "Production")
    return Path(world.truth.uri.removeprefix("sqlite:///"))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_repair_that_was_killed_is_finished_by_asking_again(deaths: Deaths, in_a_rollout: RegistryWorld) -> None:
    """Killed before any of its writes it changes no routing and loses no event, and a second repair completes it."""
    before = in_a_rollout.events
    template = make_a_mess(in_a_rollout)
    number, died = 0, True
    while died:
        number += 1
        world = deaths.world(template)
        died = deaths.at(number, world, repair)
        assert routing(world) == (4, None, None)
        assert findings(person(world.truth, "bob"), fix=True) == []
        assert routing(world) == (4, None, None)
        assert world.events[: len(before)] == before
        assert [(e.kind, e.from_version, e.to_version) for e in world.events[len(before) :]] == [(Kind.ADOPT, 2, 4)]
        world.assert_settled()
        there = world.truth.read(MODEL).tags
        assert there[tags.kept_name(tags.intent_name("0" * 26), "?")] == "?"
    assert number > 10


def repair(model: ManagedModel) -> None:
    """`doctor --fix`."""
    model.doctor(fix=True)
