"""What holds keys, scores, labels or models on a disk is its owner's alone, whatever the umask."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fds_mlflow.outcomes.aio import AsyncOutcomeStore
from fds_mlflow.outcomes.records import CaseRecord
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.runtime import owned
from fds_mlflow.serving.disk.spool import Label, Spool
from fds_mlflow.serving.disk.version_cache import VersionCache, describe, model_folder
from fds_mlflow.serving.host.ownership import Ownership
from fds_mlflow.serving.worker.metrics import Metrics
from tests.support.version_caches import table

KNOWN = CaseRecord(transaction_id="T1", status="genuine", known_at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture(params=[0o000, 0o022])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """A umask of the process."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """What in a folder somebody else may touch."""
    found = [folder, *folder.rglob("*")]
    return [f"{each}: {stat.filemode(each.stat().st_mode)}" for each in found if each.stat().st_mode & 0o077]


def test_a_servers_folder(tmp_path: Path, umask: int) -> None:
    """Versions, the table, what waits for the store, counts and locks, those of libraries' making included."""
    cache = VersionCache(tmp_path / "a" / "cache", "fraud", "http://registry")
    with cache.preparing(1, "x") as folder:
        model_folder(folder).mkdir()
        (model_folder(folder) / "model.txt").write_text("as a library writes it")
        describe(folder, {"amount": "double"}, compiled=False)
    cache.write_table(table())
    cache.write_reason("none")
    cache.wake()
    spool = Spool(cache.folder / "spool")
    spool.put([Label(transaction_id="T1", status="genuine", known_at="2026-01-01T00:00:00+00:00")], durable=True)
    spool.refuse(next(spool.waiting()))
    Metrics(fallbacks=1).flush(cache.folder / "metrics")
    Ownership(cache.folder).release()
    assert len(list((tmp_path / "a").rglob("*"))) > 12
    assert open_to_others(tmp_path / "a") == []


def test_a_folder_of_an_earlier_release(tmp_path: Path) -> None:
    """A cache that others could read is closed to them at the next start."""
    root = tmp_path / "cache"
    made = VersionCache(root, "fraud", "http://registry").folder
    made.chmod(0o755)
    assert VersionCache(root, "fraud", "http://registry").folder == made
    assert open_to_others(made) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", ["sqlite:///{}/o.db", "sqlite:///file:{}/o.db?uri=true", "sqlite+aiosqlite:///{}/o.db"]
)
def test_tables_in_files(tmp_path: Path, umask: int, form: str) -> None:
    """The outcome store's file is its owner's alone, and so are those that SQLite keeps beside it while it is open."""
    url = form.format(tmp_path)
    if "aiosqlite" in url:

        async def used() -> None:
            async with AsyncOutcomeStore(url) as asynchronous:
                await asynchronous.label([KNOWN])

        asyncio.run(used())
    store = OutcomeStore(url)
    store.label([KNOWN])
    with store.engine.connect() as connection:
        connection.exec_driver_sql("SELECT name FROM sqlite_master").all()
        there = {path.name for path in tmp_path.iterdir()}
        assert {"o.db", "o.db-wal", "o.db-shm"} <= there
        assert not [path for path in tmp_path.iterdir() if path.stat().st_mode & 0o077]


@pytest.mark.slow
def test_a_file_that_is_there_keeps_its_rights(tmp_path: Path) -> None:
    """Who gave a group the tables on purpose keeps it so: only what is made is closed."""
    file = tmp_path / "o.db"
    file.touch()
    file.chmod(0o660)
    OutcomeStore(f"sqlite:///{file}").label([KNOWN])
    assert stat.S_IMODE(file.stat().st_mode) == 0o660


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Closing a folder changes nothing that lies elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("x")
    elsewhere.chmod(0o644)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(elsewhere)
    owned.tighten(tmp_path / "in")
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o644
