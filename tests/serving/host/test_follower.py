"""Following the aliases: a version serves when it is ready, and what serves is never lost to one that is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.errors import RefusedError, UnavailableError
from fds_mlflow.registry import tags
from fds_mlflow.registry.memory import MemoryStore
from fds_mlflow.registry.store import DeleteAlias, ModelView, SetAlias, VersionView
from fds_mlflow.registry.transaction import Transactions
from fds_mlflow.runtime.identity import new_id
from fds_mlflow.serving.disk.version_cache import VersionCache, describe
from fds_mlflow.serving.host.follower import KEPT, TRY_AGAIN, Follower
from tests.conftest import FakeClock
from tests.support.registry_world import request

MODEL = "fraud"


class World:
    """A registry in memory, a version cache, and a way to prepare versions that the test holds up or breaks."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.store = Away()
        self.store.add(MODEL, versions=8)
        for version in self.store.models[MODEL].versions.values():
            version.tags[tags.THRESHOLD] = "0.5"
        self.cache = VersionCache(folder, MODEL, "memory:")
        self.prepared: list[int] = []
        self.broken: set[int] = set()
        self.gates: dict[int, threading.Event] = {}
        self.follower = Follower(MODEL, self.store, self.cache, self.prepare, clock)
        self.people = Transactions(self.store, clock, new_id)

    def prepare(self, version: int, folder: Path) -> None:
        """As a server prepares a version, in no time unless a gate is there."""
        self.prepared.append(version)
        if version in self.gates:
            assert self.gates[version].wait(30)
        if version in self.broken:
            raise RefusedError(f"version {version} is broken", fix="mend it")
        describe(folder, {"amount": "double"}, compiled=False)

    def champion(self, version: int) -> None:
        """Move the champion by hand."""
        self.store.write(MODEL, SetAlias(tags.CHAMPION, version))

    def do(self, kind: Kind, version: int | None = None) -> None:
        """An operation as people do it."""
        self.people.run(MODEL, request(kind, version, self.clock), actor="ann", reason="because")

    def serving(self, *, wait: bool = True) -> tuple[int, int | None, str | None]:
        """Champion, canary and problem of the table after a poll."""
        table = self.follower.poll(wait=wait)
        assert table is not None
        rollout = table.routing.rollout
        return table.routing.champion, rollout.canary if rollout else None, table.problem

    def until_served(self, version: int) -> None:
        """Poll until a version is champion of the table."""
        for _ in range(3_000):
            if self.serving(wait=False)[0] == version:
                return
            threading.Event().wait(0.01)
        raise AssertionError(f"version {version} never served")


class Away(MemoryStore):
    """A registry that can be away."""

    away = False

    def by_alias(self, model: str, alias: str) -> VersionView | None:
        """As in memory, or nothing answers."""
        if self.away:
            raise UnavailableError("the registry did not answer", fix="wait")
        return super().by_alias(model, alias)

    def read(self, model: str) -> ModelView:
        """As in memory, or nothing answers."""
        if self.away:
            raise UnavailableError("the registry did not answer", fix="wait")
        return super().read(model)


@pytest.fixture
def world(tmp_path: Path, fake_clock: FakeClock) -> Iterator[World]:
    """Eight versions, no champion."""
    made = World(tmp_path, fake_clock)
    yield made
    for gate in made.gates.values():
        gate.set()
    made.follower.close()


def test_without_a_champion_there_is_no_table_but_a_reason(world: World) -> None:
    """Before the first champion nothing is served, and the version cache says why; the first one then is."""
    assert world.follower.poll() is None
    assert "no champion" in (world.cache.reason or "")
    world.champion(1)
    assert world.serving() == (1, None, None)


def test_the_table_follows_a_release(world: World) -> None:
    """Promotion, rollout, more weight, abort and completion are in the table after the next poll."""
    world.do(Kind.PROMOTE, 1)
    assert world.serving() == (1, None, None)
    world.do(Kind.START, 2)
    assert world.serving() == (1, 2, None)
    before = world.cache.table()
    world.do(Kind.ADVANCE)
    after = world.follower.poll(wait=True)
    assert before is not None
    assert after is not None
    weights = [table.routing.rollout.weight for table in (before, after) if table.routing.rollout is not None]
    assert weights == sorted(set(weights))
    assert len(weights) == 2
    assert world.cache.table() == after
    world.do(Kind.ABORT)
    assert world.serving() == (1, None, None)
    world.do(Kind.START, 3)
    world.do(Kind.COMPLETE)
    assert world.serving() == (3, None, None)


def test_a_version_serves_when_it_is_ready_and_not_before(world: World) -> None:
    """While a new champion is prepared the old one serves, and the table says what it waits for."""
    world.champion(1)
    world.serving()
    world.gates[2] = threading.Event()
    world.champion(2)
    assert world.serving(wait=False)[:2] == (1, None)
    assert "version 2 is being prepared" in (world.serving(wait=False)[2] or "")
    world.gates[2].set()
    world.until_served(2)
    assert world.prepared.count(2) == 1


def test_a_champion_that_cannot_be_prepared_replaces_nothing(world: World) -> None:
    """A broken champion leaves the old one in service; it is tried again after a while, and serves once mended."""
    world.champion(1)
    world.serving()
    world.broken.add(2)
    world.champion(2)
    for _ in range(3):
        assert world.serving() == (1, None, "version 2 is broken")
    assert world.prepared.count(2) == 1
    world.broken.clear()
    world.clock.seconds += TRY_AGAIN
    assert world.serving() == (2, None, None)


def test_a_canary_that_cannot_be_prepared_is_told_and_routed_to(world: World) -> None:
    """A broken canary stays in the routing, so that its share counts against it, and the table says why."""
    world.do(Kind.PROMOTE, 1)
    world.broken.add(2)
    world.do(Kind.START, 2)
    champion, canary, problem = world.serving()
    assert (champion, canary) == (1, 2)
    assert problem == "the canary, version 2, cannot serve: version 2 is broken"


@pytest.mark.parametrize("threshold", [None, "much", "1.5"])
def test_a_version_without_a_threshold_replaces_nothing(world: World, threshold: str | None) -> None:
    """A champion whose threshold is missing or no number in [0, 1] leaves the old one in service."""
    world.champion(1)
    world.serving()
    given = world.store.models[MODEL].versions[2].tags
    given.pop(tags.THRESHOLD)
    if threshold is not None:
        given[tags.THRESHOLD] = threshold
    world.champion(2)
    champion, _, problem = world.serving()
    assert champion == 1
    assert (f"no tag {tags.THRESHOLD}" if threshold is None else repr(threshold)) in (problem or "")


def _dangle(store: MemoryStore, version: int) -> None:
    store.dangling = True
    store.delete_version(MODEL, version)


def test_a_deleted_canary_takes_no_traffic_though_its_alias_is_left(world: World) -> None:
    """Servers of MLflow up to 3.16 keep the alias; the champion answers all, as with later ones, without a problem."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.START, 2)
    assert world.serving()[:2] == (1, 2)
    _dangle(world.store, 2)
    assert world.serving() == (1, None, None)


Fault = Callable[[World], Any]
FAULTS: dict[str, Fault] = {
    "the registry is away": lambda world: setattr(world.store, "away", True),
    "the champion is gone": lambda world: world.store.write(MODEL, DeleteAlias(tags.CHAMPION)),
    "the version is deleted": lambda world: world.store.delete_version(MODEL, 1),
    "the version is deleted, its alias left": lambda world: _dangle(world.store, 1),
    "the model is deleted": lambda world: world.store.models.clear(),
    "it is not ready": lambda world: setattr(world.store.models[MODEL].versions[1], "status", "PENDING"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_the_registry_says_or_not_the_last_table_stays(world: World, name: str) -> None:
    """The last good table stays in force with its time and a problem, also for a server that starts meanwhile."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.START, 2)
    world.serving()
    good = world.cache.table()
    assert good is not None
    world.clock.seconds += 60
    FAULTS[name](world)
    assert world.serving()[:2] == (1, 2)
    again = Follower(MODEL, world.store, world.cache, world.prepare, world.clock).poll(wait=True)
    assert again is not None
    assert (again.routing, again.versions, again.read_at) == (good.routing, good.versions, good.read_at)
    assert again.problem


def test_the_registry_comes_back(world: World) -> None:
    """Once the registry answers again the table is fresh and without a problem."""
    world.champion(1)
    world.serving()
    world.store.away = True
    assert world.serving()[2] == "the registry did not answer"
    world.store.away = False
    world.clock.seconds += 5
    assert world.serving() == (1, None, None)
    table = world.cache.table()
    assert table is not None
    assert table.read_at == world.clock.now()


def test_a_disk_that_takes_nothing_is_a_problem_and_no_crash(world: World) -> None:
    """Where a version does not fit on the disk the old one serves, and the table says so."""
    world.champion(1)
    world.serving()
    place = world.cache.folder / f"version-2-{world.store.version(MODEL, 2).identity}"
    place.write_text("in the way")
    world.champion(2)
    champion, _, problem = world.serving()
    assert champion == 1
    assert "could not be put into the cache" in (problem or "")


def test_what_an_emergency_goes_back_to_is_ready(world: World) -> None:
    """The version that an emergency would restore is prepared without being asked, also after a start from nothing."""
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.PROMOTE, 2)
    world.serving()
    for _ in range(3_000):
        if 1 in world.prepared and world.cache.prepared(1, world.store.version(MODEL, 1).identity):
            break
        world.follower.poll()
        threading.Event().wait(0.01)
    world.prepared.clear()
    world.do(Kind.EMERGENCY)
    assert world.serving(wait=False) == (1, None, None)
    assert world.prepared == []


def test_the_version_cache_keeps_what_served_lately(world: World) -> None:
    """The disk keeps the last versions that served, and not every one there ever was."""
    for version in range(1, 8):
        world.champion(version)
        world.serving()
    there = [
        version
        for version in range(1, 8)
        if world.cache.prepared(version, world.store.version(MODEL, version).identity)
    ]
    assert there == list(range(8 - KEPT, 8))
