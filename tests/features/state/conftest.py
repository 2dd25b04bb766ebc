"""Every store that a state may be kept in: what is promised of the state is tried with each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.memory import MemoryStore
from fds_mlflow.features.state.opening import opened
from fds_mlflow.features.state.state import State

REMOTE = tuple(pytest.param(name, marks=pytest.mark.slow) for name in ("redis", "postgresql"))
"""Those that are far away: what is written is compared first with what was looked at."""
SHARED = ("lmdb", *REMOTE)
"""Those that several processes share."""


@dataclass
class Kind:
    """A kind of store: a state for each folder of a test.

    Attributes:
        name: Of the kind.
        part: How its namespaces begin.
        server: What it is kept in, where that is one.
    """

    name: str
    part: str
    server: Any = None
    _namespaces: dict[Path, str] = field(default_factory=dict)

    def address(self, folder: Path) -> str:
        """Where the state of a folder is."""
        if self.name == "lmdb":
            return str(folder)
        namespace = self._namespaces.setdefault(folder, f"{self.part}{len(self._namespaces)}")
        if self.name == "redis":
            return str(self.server.url(namespace))
        return f"{self.server.url}&namespace={namespace}"

    @contextmanager
    def __call__(self, layout: Layout, folder: Path) -> Iterator[State]:
        """A state, let go of in the end."""
        store = MemoryStore() if self.name == "memory" else opened(self.address(folder))
        with closing(State(store, layout)) as state:
            yield state


def _kind(request: pytest.FixtureRequest) -> Kind:
    servers = {"redis": "redis_server", "postgresql": "postgresql_server"}
    name = request.param
    server = request.getfixturevalue(servers[name]) if name in servers else None
    return Kind(name, str(request.fixturename), server)


@pytest.fixture(scope="session", params=("memory", *SHARED))
def store(request: pytest.FixtureRequest) -> Kind:
    """Each kind of store."""
    return _kind(request)


@pytest.fixture(scope="session", params=SHARED)
def shared(request: pytest.FixtureRequest) -> Kind:
    """Each kind of store that several processes share."""
    return _kind(request)


@pytest.fixture(scope="session", params=REMOTE)
def remote(request: pytest.FixtureRequest) -> Kind:
    """Each kind of store that is far away."""
    return _kind(request)
