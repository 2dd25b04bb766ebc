"""Databases to test on: SQLite in memory and on file, and a PostgreSQL of our own where it is installed."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fds_mlflow.outcomes.store import OutcomeStore

_POSTGRES_USER = "postgres"


def _postgres_binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    installed = shutil.which("initdb")
    return Path(installed).parent if installed else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The socket folder of a PostgreSQL server that lives as long as the tests, or a skip with the reason."""
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's server is not installed (apt-get install postgresql)")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("the Python package psycopg is not installed")
    import psycopg

    # PostgreSQL refuses to run as root.
    user = _POSTGRES_USER if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="fds-pg-"))
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
        user=user,
        cwd=folder,
    )
    control = [binaries / "pg_ctl", "-D", data, "-w"]
    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c timezone=America/New_York"
    subprocess.run(
        [*control, "-l", folder / "log", "-o", options, "start"], check=True, capture_output=True, user=user, cwd=folder
    )
    try:
        with psycopg.connect(host=str(folder), user="postgres", dbname="postgres") as connection:
            connection.execute("SELECT 1")
        yield str(folder)
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, user=user, cwd=folder)
        shutil.rmtree(folder)


_schemas = itertools.count()


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The URL of an empty PostgreSQL schema: what is in the other schemas is not on its path."""
    import psycopg

    name = f"test_{next(_schemas)}"
    with psycopg.connect(host=postgres_server, user="postgres", dbname="postgres") as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"postgresql://postgres:unused@/postgres?host={postgres_server}&options=-csearch_path%3D{name}"


@pytest.fixture(params=["file", "postgresql"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database that several connections and processes can open."""
    if request.param == "file":
        return f"sqlite:///{tmp_path}/outcomes.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(params=["memory", "file", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "memory":
        return "sqlite://"
    if request.param == "file":
        return f"sqlite:///{tmp_path}/outcomes.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def store(url: str) -> Iterator[OutcomeStore]:
    """A store on an empty database."""
    with OutcomeStore(url) as opened:
        yield opened


@pytest.fixture
def memory() -> Iterator[OutcomeStore]:
    """A store in memory, for what has nothing to do with the database."""
    with OutcomeStore("sqlite://") as opened:
        yield opened
