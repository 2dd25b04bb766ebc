"""A disk that is full under SQLite: operations fail clearly, and nothing is half-done once there is space again."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from fds_mlflow.core.lifecycle.events import Ending, Kind
from fds_mlflow.errors import OutcomeUnknownError, UnavailableError
from fds_mlflow.registry.mlflow_store import MlflowStore
from tests.support.effort import graded
from tests.support.registry_world import AlarmClock, HookedStore, RegistryWorld, before_write, register, sqlite

MODEL = "fraud"


class Disk:
    """Where the database lies, and how to make it full."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """No byte more."""
        with (self.folder / "filler").open("ab", buffering=0) as filler:
            for size in (65_536, 512, 1):
                with suppress(OSError):
                    while True:
                        filler.write(b"x" * size)

    def free(self) -> None:
        """Space again."""
        (self.folder / "filler").unlink()


class PageLimit(Disk):
    """Not a disk: SQLite is told that the database may not grow, which it reports in the same words."""

    limited = False

    def fill(self) -> None:
        """No page more."""
        self.limited = True

    def free(self) -> None:
        """Pages again."""
        self.limited = False

    def on_checkout(self, connection: object, *_: object) -> None:
        """Set the limit on each connection that MLflow uses."""
        limit = 1 if self.limited else 1_000_000  # SQLite takes the present size where the limit is below it
        connection.execute(f"PRAGMA max_page_count = {limit}")  # type: ignore[attr-defined]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not permitted here; the test with a page limit stands in for it")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def page_limit(tmp_path: Path) -> Iterator[Disk]:
    """A database that may not grow."""
    disk = PageLimit(tmp_path)
    event.listen(Engine, "checkout", disk.on_checkout)
    yield disk
    event.remove(Engine, "checkout", disk.on_checkout)


@pytest.fixture(params=["page_limit", pytest.param("small_disk", marks=pytest.mark.slow)])
def disk(request: pytest.FixtureRequest) -> Disk:
    """Both ways to run out of space."""
    found: Disk = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def world(disk: Disk, migrated_database: Path, caplog: pytest.LogCaptureFixture) -> RegistryWorld:
    """A model with a champion on that disk."""
    caplog.set_level(logging.CRITICAL)
    database = disk.folder / "small.db"
    shutil.copyfile(migrated_database, database)
    uri = sqlite(database)
    register(uri, MODEL)
    store = MlflowStore(registry_uri=uri, tracking_uri=uri)
    made = RegistryWorld(MODEL, store, store, AlarmClock())
    made.do(Kind.PROMOTE, 1)
    return made


LONG_REASON = "because " * 100


def _promote(world: RegistryWorld, store: HookedStore | None = None) -> object:
    """A promotion whose intent and event need a page of their own."""
    from fds_mlflow.core.lifecycle.operations import Request

    process = world.process(store)
    return process.run(MODEL, Request(Kind.PROMOTE, 2), actor="ann", reason=LONG_REASON)


def _promote_to_and_fro(world: RegistryWorld) -> None:
    for _ in range(20):  # free pages inside the database may serve a few writes
        _promote(world)
        world.do(Kind.PROMOTE, 1)


@pytest.mark.tested(1)
@pytest.mark.slow
def test_a_full_disk_changes_nothing(world: RegistryWorld, disk: Disk) -> None:
    """An operation on a full disk fails with an error that says so; after it the same operation succeeds."""
    disk.fill()
    before = world.look()
    with pytest.raises((UnavailableError, OutcomeUnknownError), match=r"did not answer.*full"):
        _promote_to_and_fro(world)
    disk.free()
    world.process().settle(MODEL, actor="bob")
    view = world.look()
    assert view.agrees
    assert view.history.events[: len(before.history.events)] == before.history.events
    target = 2 if view.champion_alias == 1 else 1
    world.do(Kind.PROMOTE, target)
    world.assert_settled()


@pytest.mark.slow
@pytest.mark.tested(1)
@pytest.mark.parametrize("number", graded((2, 6, 3, 4, 5), tested=2))
def test_a_disk_that_fills_up_in_the_middle_leaves_what_can_be_settled(
    number: int, world: RegistryWorld, disk: Disk
) -> None:
    """Full from any write of a promotion on: a success or a clear error, and one event that says how it ended."""
    store = HookedStore(world.store, before_write(number, disk.fill))
    said = ""
    try:
        _promote(world, store)
    except (UnavailableError, OutcomeUnknownError) as error:
        said = error.what
    disk.free()
    assert said == "" or "did not answer" in said
    champion = world.look().champion_alias
    world.process().settle(MODEL, actor="bob")
    (told,) = world.events[1:]
    assert (told.kind, told.to_version) == (Kind.PROMOTE, 2)
    assert told.outcome is (Ending.DONE if champion == 2 else Ending.ABANDONED)
    assert world.look().champion_alias == champion
    world.assert_settled()
