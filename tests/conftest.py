"""What every test may ask for: an MLflow of its own, and a clock that only moves when told."""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from fds_mlflow.display import redaction
from fds_mlflow.runtime.environment import CONFIG
from tests.support.places import ARTIFACT_ROOT, artifacts_in
from tests.support.redis_server import RedisServer, no_redis, running_redis
from tests.support.servers import WEBHOOKS, Postgresql, Server, no_postgresql, postgresql, running
from tests.support.spark import no_spark, running_spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# What is trained here is small, and the processes of a run share the cores: LightGBM's threads would only wait for each
# other, spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest.register_assert_rewrite("tests.support.crowd", "tests.support.registry_world")
# Python writes no bytecode where it was told so; rewriting the assertions of all tests at each start costs ten seconds,
# and compiling the package one more in each process that a test starts.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A busy machine is no fault of the code. A check of a change tries the same examples each time; people, ever new ones.
# `make test` takes the profile `tested`, `make test-all` that of campaigns.
for _profile, _examples in (("quick", 10), ("tested", 25), ("campaign", 60)):
    settings.register_profile(_profile, deadline=None, derandomize="CI" in os.environ, max_examples=_examples)
settings.load_profile("quick")

_SERVERS = {
    "mlflow_with_webhooks": "serving",
    "way_to_mlflow": "serving",
    "mlflow_server": "faults",
    "mlflow_on_postgresql": "faults",
    "postgresql_server": "faults",
    "postgres_url": "faults",
    "redis_server": "stores",
    "spark_session": "spark",
}
"""Fixtures that start a server, and the group of tests whose members share it: one process of a run takes a group."""

_QUICK_CASES, _TESTED_CASES = 4, 6
"""So many cases of a test are in the quick run and in `make test`, unless the test's marker `tested` says otherwise."""


class FakeClock:
    """A clock that stands still until somebody sleeps or moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.start = datetime(2026, 1, 1, tzinfo=UTC)
        self.slept: list[float] = []

    def now(self) -> datetime:
        """The time for people."""
        return self.start + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.slept.append(seconds)
        self.seconds += seconds


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who asks for a server is slow, and so is a campaign, and of a test's cases what comes after the first four.

    `-m "not slow"` leaves them out: it proves each promise once.
    """
    met: Counter[str] = Counter()
    for item in items:
        test = item.nodeid.partition("[")[0]
        met[test] += 1
        tested = item.get_closest_marker("tested")
        if met[test] > (tested.args[0] if tested is not None else _TESTED_CASES):
            item.add_marker(pytest.mark.campaign)
        groups = {_SERVERS[name] for name in getattr(item, "fixturenames", ()) if name in _SERVERS}
        if item.get_closest_marker("spark"):
            groups.add("spark")
        if groups or met[test] > _QUICK_CASES or item.get_closest_marker("campaign"):
            item.add_marker(pytest.mark.slow)
        # What a file trains or starts for its tests, one process trains or starts.
        together = "integration" if item.get_closest_marker("integration") else test.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(max(groups, default=together)))


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that only moves when somebody sleeps or adds to `seconds`."""
    return FakeClock()


@pytest.fixture(autouse=True)
def _log_forgets() -> Iterator[None]:
    """Leave the package's log as the test found it: a search through thousands of refusals turns it off."""
    log = logging.getLogger("fds_mlflow")
    level = log.level
    yield
    log.setLevel(level)


@pytest.fixture(autouse=True)
def _redaction_forgets() -> None:
    """Let no secret of one test be hidden in another one's texts."""
    redaction._known.clear()
    redaction._values = None


@pytest.fixture(autouse=True)
def _code_runs_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load what is code, or has no digest, in this process: each time another one would cost seconds.

    That it runs in a process of its own is shown by the tests that are marked `apart`.
    """
    if request.node.get_closest_marker("apart") is None:
        from fds_mlflow.scoring import apart

        def loaded(folder: str, score: str | None = None) -> object:
            from fds_mlflow.scoring.scorer import opened

            return opened(folder, score)

        monkeypatch.setattr(apart, "loaded", loaded)
        monkeypatch.setattr(apart, "probe", lambda _folder, _digest: None)


@pytest.fixture
def without_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody find a Spark that another test has imported: MLflow would ask it for the address of the registry."""
    monkeypatch.delitem(sys.modules, "pyspark", raising=False)


@pytest.fixture(autouse=True)
def _mlflow_forgets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Leave MLflow's global state (URIs, active run and experiment, environment) as the test found it.

    Nor does a test see the contexts of whoever runs it.
    """
    before = {name: value for name, value in os.environ.items() if _is_setting(name)}
    for name in before:
        del os.environ[name]
    os.environ[CONFIG] = str(tmp_path_factory.getbasetemp() / f"contexts-{next(_numbers)}.toml")
    yield
    if "mlflow" in sys.modules:
        _reset_mlflow()
    for name in [name for name in os.environ if _is_setting(name)]:
        del os.environ[name]
    os.environ.update(before)


def _is_setting(name: str) -> bool:
    return name.startswith(("MLFLOW_", "_MLFLOW_", "FDS_"))


def _reset_mlflow() -> None:
    import mlflow
    from mlflow.tracking import fluent
    from mlflow.tracking._model_registry import utils as registry
    from mlflow.tracking._tracking_service import utils as tracking

    while mlflow.active_run() is not None:
        mlflow.end_run()
    if tracking._tracking_uri is not None:
        mlflow.set_tracking_uri(None)
    registry._registry_uri = None
    fluent._active_experiment_id = None
    _close_databases()


def _close_databases() -> None:
    """Close what MLflow keeps open of every database it ever saw: some thousand files by the end of a run."""
    for name in ("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"):
        engines = getattr(getattr(sys.modules.get(name), "SqlAlchemyStore", None), "_engine_map", {})
        while engines:
            engines.popitem()[1].dispose()


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> Path:
    """A folder that all processes of this run of the tests share: for what is dear to make and is only read."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / f"shared-{testrun_uid}"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Let one process in at a time: the first makes what the others then find."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def migrated_database(shared_folder: Path) -> Path:
    """An empty MLflow database with its tables: making one takes seconds, copying it takes none."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database, unfinished = shared_folder / "mlflow.db", shared_folder / "unfinished.db"
    with one_at_a_time(shared_folder / "mlflow.lock"):
        if not database.exists():
            store = SqlAlchemyStore(f"sqlite:///{unfinished}", (shared_folder / "artifacts").as_uri())
            store._dispose_engine()
            unfinished.rename(database)
    return database


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Postgresql]:
    """A PostgreSQL server, one for all tests of a process, or a skip with the reason."""
    reason = no_postgresql()
    if reason is not None:
        pytest.skip(reason)
    with postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis, one for all tests of a process, or a skip with the reason."""
    reason = no_redis()
    if reason is not None:
        pytest.skip(reason)
    with running_redis() as server:
        yield server


@pytest.fixture
def spark(spark_session: SparkSession) -> Iterator[SparkSession]:
    """A Spark session on this machine that forgets a test's tables and views, or a skip with the reason."""
    yield spark_session
    for table in spark_session.catalog.listTables():
        spark_session.sql(f"drop {'view' if table.isTemporary else 'table'} {table.name}")


@pytest.fixture(scope="session")
def spark_session() -> Iterator[SparkSession]:
    """A Spark session on this machine, one for all tests of a process, or a skip with the reason."""
    reason = no_spark()
    if reason is not None:
        pytest.skip(reason)
    with running_spark() as session:
        yield session


@pytest.fixture(scope="session")
def mlflow_with_webhooks(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An MLflow server on SQLite that may send webhooks to loopback, one for all tests of a process."""
    folder = tmp_path_factory.mktemp("webhooks")
    shutil.copyfile(migrated_database, folder / "mlflow.db")
    with running(Server(f"sqlite:///{folder / 'mlflow.db'}", folder, settings=WEBHOOKS)) as server:
        yield server


@pytest.fixture
def mlflow_uri(migrated_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh MLflow on SQLite, set as tracking and registry URI; the test runs in its own folder.

    Artifacts go to `artifacts` in that folder, whichever experiment they belong to.
    """
    import mlflow

    monkeypatch.setenv(ARTIFACT_ROOT, artifacts_in(tmp_path, migrated_database))
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return uri


@pytest.fixture
def postgres_url(postgresql_server: Postgresql) -> str:
    """The URL of an empty PostgreSQL schema: what is in the other schemas is not on its path."""
    return postgresql_server.schema(f"test_{next(_numbers)}")


_numbers = itertools.count()
