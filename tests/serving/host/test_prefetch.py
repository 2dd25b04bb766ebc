"""What an emergency would go back to is in the version cache before anybody needs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.errors import RefusedError
from fds_mlflow.registry import tags
from fds_mlflow.registry.store import SetVersionTag
from fds_mlflow.serving.disk.version_cache import VersionCache, describe
from fds_mlflow.serving.host.follower import Follower
from tests.support.registry_model import MODEL, World


class Prepares:
    """Prepares versions without MLflow, and may refuse some."""

    def __init__(self, *refused: int) -> None:
        self.asked: list[int] = []
        self.refused = refused

    def __call__(self, version: int, folder: Path) -> None:
        """Prepare one."""
        self.asked.append(version)
        if version in self.refused:
            raise RefusedError("it does not load", fix="register it again")
        describe(folder, {}, compiled=False)


@pytest.fixture
def world() -> World:
    """Versions 1 and 2 have served; 3 is the champion."""
    world = World()
    for version in range(1, 5):
        world.by_hand(SetVersionTag(version, tags.THRESHOLD, "0.5"))
    for version in (1, 2, 3):
        world.do(Kind.PROMOTE, version)
    return world


@pytest.fixture
def follow(world: World, tmp_path: Path) -> Callable[[Prepares], tuple[Follower, VersionCache]]:
    """A follower that has just started, and its version cache."""

    def started(prepares: Prepares) -> tuple[Follower, VersionCache]:
        cache = VersionCache(tmp_path, MODEL, "memory:")
        return Follower(MODEL, world.store, cache, prepares, world.clock), cache

    return started


def settle(follower: Follower) -> None:
    """Let what is being prepared end, and poll once more."""
    for doing in list(follower._preparing.values()):
        doing.exception()
    follower.poll()


def test_the_target_of_an_emergency_is_ready_before_it_is_needed(world: World, follow):
    """A server that has just started fetches the champion, then what `rollback emergency` would go back to."""
    prepares = Prepares()
    follower, cache = follow(prepares)
    follower.poll(wait=True)
    settle(follower)
    assert prepares.asked == [3, 2]
    assert cache.prepared(2, world.store.version(MODEL, 2).identity) is not None
    world.do(Kind.EMERGENCY)
    table = follower.poll()
    assert table is not None
    assert table.routing.champion == 2
    settle(follower)
    assert prepares.asked == [3, 2, 1]


def test_a_target_that_does_not_load_costs_the_champion_nothing(world: World, follow):
    """Where the version to go back to cannot be prepared, the champion serves on and is not called degraded."""
    prepares = Prepares(2)
    follower, _ = follow(prepares)
    follower.poll(wait=True)
    settle(follower)
    table = follower.poll()
    assert table is not None
    assert (table.routing.champion, table.problem, prepares.asked) == (3, None, [3, 2])
