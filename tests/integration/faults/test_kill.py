"""`kill -9` in the middle of operations, with another process going on: nothing is lost, doubled or half-done."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from random import Random

import pytest

from fds_mlflow.clock import SystemClock
from fds_mlflow.core.events import Outcome
from fds_mlflow.lifecycle import new_id
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.registry.transaction import Transactions
from tests.integration.faults.registry_world import assert_settled, register, sqlite
from tests.integration.faults.victim import LIFETIME, MODEL, operate

KILLS = int(os.environ.get("KILLS", "10"))


class Running:
    """A process that operates, and the pipe that tells of its writes."""

    def __init__(self, context: ForkServerContext, uri: str, folder: Path, name: str, seed: int) -> None:
        reader, writer = context.Pipe(duplex=False)
        self.name = name
        self.journal = folder / name
        self.process: ForkServerProcess = context.Process(
            target=_operate, args=(uri, name, seed, self.journal, writer), daemon=True
        )
        self.process.start()
        writer.close()
        self._reader = reader

    def wait_for_writes(self, number: int) -> None:
        """Until it has begun so many writes more."""
        while number > 0:
            number -= len(os.read(self._reader.fileno(), number))

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.join()
        self._reader.close()

    def lines(self) -> list[str]:
        """What it was told."""
        return self.journal.read_text().splitlines() if self.journal.exists() else []


def _operate(uri: str, name: str, seed: int, journal: Path, writer: object) -> None:
    operate(uri, name, seed, journal, writer.fileno())  # type: ignore[attr-defined]


@pytest.fixture
def migrated(_migrated_database: Path) -> Path:
    """An MLflow database with its tables."""
    return _migrated_database


@pytest.mark.slow
@pytest.mark.timeout(60 + 30 * KILLS)
def test_processes_killed_at_random_moments_lose_nothing(
    tmp_path: Path, migrated: Path, record_property: pytest.RecordProperty
) -> None:
    """Each kill leaves a registry that others settle and go on with; every reported success is recorded, once.

    Ten kills; the environment variable KILLS asks for more.
    """
    database = tmp_path / "kill.db"
    shutil.copyfile(migrated, database)
    uri = sqlite(database)
    register(uri, MODEL)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow", "tests.integration.faults.victim"])
    random = Random(7)
    survivor = Running(context, uri, tmp_path, "survivor", 0)
    everybody = [survivor]
    for number in range(1, KILLS + 1):
        victim = Running(context, uri, tmp_path, f"victim {number}", number)
        everybody.append(victim)
        victim.wait_for_writes(random.randint(1, 25))
        victim.kill()
    survivor.kill()

    store = MlflowStore(registry_uri=uri, tracking_uri=uri)
    truth = Transactions(store, SystemClock(), new_id, time_to_live=LIFETIME)
    left = len(truth.look(MODEL).history.intents)
    truth.settle(MODEL, actor="afterwards")
    view = truth.look(MODEL)
    assert_settled(view, store.versions(MODEL))
    lines = [line for process in everybody for line in process.lines()]
    done = {line.removeprefix("done ") for line in lines if line.startswith("done ")}
    recorded = {event.operation: event.outcome for event in view.history.events}
    assert {operation: recorded.get(operation) for operation in done} == dict.fromkeys(done, Outcome.DONE)
    assert [line for line in lines if line.startswith("error")] == []
    outcomes = [event.outcome for event in view.history.events]
    figures = {
        "kills": KILLS + 1,
        "events": len(outcomes),
        "reported": len(done),
        "unknown": lines.count("unknown"),
        "abandoned": outcomes.count(Outcome.ABANDONED),
        "overtaken": outcomes.count(Outcome.OVERTAKEN),
        "left": left,
    }
    print(figures)
    for name, value in figures.items():
        record_property(name, value)
