"""A real MLflow server, started once for all who want one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.registry_world import sqlite
from tests.support.servers import Server, running


@pytest.fixture(scope="session")
def mlflow_server(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real MLflow server on SQLite, one for all tests; each test has a model of its own."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(migrated_database, folder / "mlflow.db")
    with running(Server(sqlite(folder / "mlflow.db"), folder)) as server:
        yield server
