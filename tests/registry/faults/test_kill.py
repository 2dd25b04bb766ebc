"""`kill -9` in the middle of operations, with other processes going on: nothing is lost, doubled or half-done.

The processes work on several models of one registry at once: while the survivors of one model wait for a dead operation
to die, the others go on. The short parts kill a few; the environment variables KILLS and SERVER_KILLS ask for more.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path
from random import Random

import pytest

from fds_mlflow.runtime.identity import new_id
from tests.support.crowd import WRITES, Crowd
from tests.support.registry_world import register, sqlite
from tests.support.servers import Postgresql, Server

KILLS = int(os.environ.get("KILLS", "4"))
SERVER_KILLS = int(os.environ.get("SERVER_KILLS", "4"))
MODELS = 4


@pytest.fixture
def context() -> ForkServerContext:
    """Forks processes that have MLflow in memory already."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["mlflow", "mlflow.store.model_registry.sqlalchemy_store", __name__])
    return found


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.campaign)])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A registry: a SQLite database, or an MLflow server with two workers on PostgreSQL."""
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("mlflow_on_postgresql")
        return server.url
    database = tmp_path / "kill.db"
    shutil.copyfile(request.getfixturevalue("migrated_database"), database)
    return sqlite(database)


def crowds(context: ForkServerContext, uri: str, folder: Path, number: int) -> list[Crowd]:
    """Crowds, each with a model of its own."""
    made = []
    for place in range(number):
        model = f"fraud {place} {new_id()}"
        register(uri, model)
        made.append(Crowd(context, uri, model, folder))
    return made


def report(figures: Counter[str], record_property: Callable[[str, object], None]) -> None:
    """For the log, and for a JUnit report."""
    print(dict(sorted(figures.items())))
    for name, value in sorted(figures.items()):
        record_property(name, value)


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.timeout(600 + 60 * KILLS)
def test_processes_killed_at_random_moments_lose_nothing(
    registry: str, context: ForkServerContext, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """Each kill leaves a model that others settle and go on with; every answer that was given is true."""
    number = min(MODELS, KILLS)
    shares = [len(range(place, KILLS, number)) for place in range(number)]
    with ThreadPoolExecutor(number) as threads:
        alive = crowds(context, registry, tmp_path, number)
        figures = sum(threads.map(Crowd.lose, alive, shares), Counter())
    assert figures["processes"] == KILLS + number  # the survivors end in the same way
    report(figures, record_property)


@pytest.mark.campaign
@pytest.mark.timeout(600 + 60 * SERVER_KILLS)
def test_servers_killed_at_random_moments_lose_nothing(
    mlflow_on_postgresql: Server,
    postgresql_server: Postgresql,
    context: ForkServerContext,
    tmp_path: Path,
    record_property: pytest.RecordProperty,
) -> None:
    """An MLflow worker, the MLflow server, a PostgreSQL backend, all of PostgreSQL: the processes live through it."""
    random, server = Random(11), mlflow_on_postgresql

    def restart_mlflow() -> None:
        server.kill()
        server.start()

    def restart_postgresql() -> None:
        postgresql_server.crash()
        postgresql_server.start()

    faults = [
        lambda: server.kill_worker(random.randrange(server.workers)),
        lambda: postgresql_server.kill_backend(random.randrange(1_000)),
        restart_mlflow,
        restart_postgresql,
    ]
    alive = crowds(context, server.url, tmp_path, 2)
    everybody = [crowd.join() for crowd in alive for _ in range(2)]
    for number in range(SERVER_KILLS):
        random.choice(everybody).wait_for_writes(random.randint(1, WRITES))
        faults[number % len(faults)]()
    for process in everybody:
        process.wait_for_writes(1)  # it goes on
        process.kill()
    report(sum((crowd.conclude() for crowd in alive), Counter(kills=SERVER_KILLS)), record_property)
