"""Databases to test on: SQLite in memory and on file, and a PostgreSQL of our own where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fds_mlflow.outcomes.store import OutcomeStore

POSTGRESQL = pytest.param("postgresql", marks=(pytest.mark.slow, pytest.mark.xdist_group("faults")))
"""Tests of one process of a run, like all that ask for the server by name."""


@pytest.fixture(params=["file", POSTGRESQL])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database that several connections and processes can open."""
    if request.param == "file":
        return f"sqlite:///{tmp_path}/outcomes.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(
    params=[
        "memory",
        POSTGRESQL,
        pytest.param("file", marks=pytest.mark.campaign),  # like in memory, but for the locks, for which see shared_url
    ]
)
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
