"""One server on a folder: who comes second is told so, and a process that ends, however it does, leaves it free."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from fds_mlflow.errors import ConfigError
from fds_mlflow.serving.host.ownership import PATIENCE_SECONDS, Ownership
from tests.support.version_caches import put, table, version_cache

SPAWN = multiprocessing.get_context("spawn")


def impatient(folder: Path) -> Ownership:
    """Ask for a folder, with no time to wait."""
    return Ownership(folder, monotonic=itertools.count(step=PATIENCE_SECONDS).__next__)


def hold(folder: Path, theirs: Connection) -> None:
    """Own a folder until there is a message: in a process of its own."""
    Ownership(folder)
    theirs.send("owned")
    theirs.recv()


def share(_: Ownership, theirs: Connection) -> None:
    """Be a worker of the owner until there is a message."""
    theirs.send("shared")
    theirs.recv()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder."""
    return tmp_path


def test_a_folder_has_one_owner(folder: Path) -> None:
    """The second one is told the folder, the owner's process and what to do; once released it is free."""
    first = Ownership(folder)
    with pytest.raises(ConfigError) as refused:
        impatient(folder)
    assert str(folder) in refused.value.what
    assert f"process {os.getpid()} on " in refused.value.what
    assert "--cache" in refused.value.fix
    first.release()
    for _ in range(2):
        impatient(folder).release()


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_the_folder_free(folder: Path) -> None:
    """Nobody has to remove anything after a `kill -9`."""
    ours, theirs = SPAWN.Pipe()
    owner = SPAWN.Process(target=hold, args=(folder, theirs))
    owner.start()
    assert ours.recv() == "owned"
    with pytest.raises(ConfigError, match=f"process {owner.pid} "):
        impatient(folder)
    owner.kill()
    owner.join()
    impatient(folder).release()


@pytest.mark.slow
def test_a_folder_stays_owned_until_the_last_worker_has_ended(folder: Path) -> None:
    """What the workers of a killed server still put down is not mixed with the next server's."""
    ours, theirs = SPAWN.Pipe()
    owner = Ownership(folder)
    worker = SPAWN.Process(target=share, args=(owner, theirs))
    worker.start()
    assert ours.recv() == "shared"
    owner.release()  # as if it had been killed
    with pytest.raises(ConfigError):
        impatient(folder)
    worker.kill()
    worker.join()
    impatient(folder).release()


def test_a_copied_folder_is_free(folder: Path) -> None:
    """A copy of a folder in use is another folder, whatever the file of the owner says."""
    there = folder / "there"
    there.mkdir()
    Ownership(there)
    impatient(Path(shutil.copytree(there, folder / "copy"))).release()


def test_a_folder_that_cannot_be_locked_is_refused(folder: Path) -> None:
    """Where the owner's file cannot be written, the message names the folder and the option."""
    (folder / "owner").mkdir()
    with pytest.raises(ConfigError, match="cannot be locked") as refused:
        Ownership(folder)
    assert "--cache" in refused.value.fix


def test_the_owner_begins_with_a_tidy_folder(folder: Path) -> None:
    """Earlier counts and what killed processes left half done are gone; the table and the versions stay."""
    there = version_cache(folder)
    there.write_table(table())
    put(there, 3)
    before = sorted(path for path in there.folder.rglob("*"))
    for name in ("metrics/7.json", "metrics/7.new", "table.7", "reason.7", "version-4-identity4.7/model/x"):
        (there.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (there.folder / name).write_text("{}")
    there.tidy()
    assert sorted(path for path in there.folder.rglob("*") if path.name != "metrics") == before
    assert there.table() == table()
