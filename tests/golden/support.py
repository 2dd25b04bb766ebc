"""Where the golden files are, and how what they hold becomes a registry in memory, an outcome store, a server's folder.

What these tests need of the package beyond its public names is imported here and nowhere else.
"""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from fds_mlflow import ManagedModel
from fds_mlflow.cli import main
from fds_mlflow.cli.options import Settings as CommandLine
from fds_mlflow.data.transactions import load as load_transactions
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.table import compute
from fds_mlflow.registry.memory import MemoryModel, MemoryStore, MemoryVersion
from fds_mlflow.rollouts.plan.file import load_plan
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.serving.disk.spool import Spool
from fds_mlflow.serving.disk.version_cache import VersionCache
from fds_mlflow.serving.host.recorder import OutcomeRecorder as Recorder
from fds_mlflow.serving.worker.settings import ServerSettings as Settings
from tests.conftest import FakeClock

__all__ = [
    "FILES",
    "HERE",
    "MODEL",
    "MODELS",
    "CommandLine",
    "FeatureSpec",
    "Loaded",
    "MemoryStore",
    "Recorder",
    "Registry",
    "compute",
    "fds",
    "lacking",
    "load_plan",
    "load_transactions",
    "main",
    "outcome_store",
    "postgresql_store",
    "read",
    "registry",
    "server_folder",
]  # fmt: skip

HERE = Path(__file__).parent
FILES = HERE / "files"
MODELS = sorted(path.stem for path in (HERE / "models").glob("*.json"))
MODEL = "fraud"


@dataclass
class Registry:
    """A registry as an earlier commit left it, a minute later.

    Attributes:
        golden: The file: what was written, and what its writer knew of it.
        store: The registry.
        model: The model in it, as a process started today sees it.
    """

    golden: Mapping[str, Any]
    store: MemoryStore
    model: ManagedModel

    @property
    def events(self) -> list[dict[str, Any]]:
        """The history as the model tells it today."""
        return [json.loads(line) for line in self.model.export_history()]


def registry(name: str, *, outcomes: str = "sqlite://", now: datetime | None = None) -> Registry:
    """The registry of a golden file, a minute after it was written or at another time, with an outcome store."""
    golden = read(HERE / "registry" / f"{name}.json")
    store = MemoryStore()
    store.write_limit = 20.0  # as SQLite's: a dead operation is outwaited within one call
    versions = {int(number): MemoryVersion(**version) for number, version in golden["versions"].items()}
    store.models[MODEL] = MemoryModel(dict(golden["aliases"]), dict(golden["tags"]), versions)
    clock = FakeClock()
    clock.seconds = ((now or datetime.fromisoformat(golden["now"])) - clock.now()).total_seconds() + 60.0
    return Registry(golden, store, ManagedModel(MODEL, store=store, clock=clock, actor="eve", outcomes=outcomes))


def read(path: Path) -> Any:
    """The JSON of a golden file."""
    return json.loads(path.read_text(encoding="utf-8"))


def fds(*words: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, words)


def lacking(expected: Any, actual: Any, path: str = "") -> list[str]:
    """What is expected and not there, or is otherwise; more than is expected may be there."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return [
            lack
            for key, value in expected.items()
            for lack in (lacking(value, actual[key], f"{path}.{key}") if key in actual else [f"{path}.{key} is gone"])
        ]
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        return [
            lack
            for place, (one, other) in enumerate(zip(expected, actual, strict=True))
            for lack in lacking(one, other, f"{path}[{place}]")
        ]
    # The order in which a database adds is its own, and shows in a sum's last digit.
    if isinstance(expected, float) and isinstance(actual, float) and math.isclose(expected, actual, rel_tol=1e-12):
        return []
    return [] if expected == actual else [f"{path} is {actual!r} instead of {expected!r}"]


def outcome_store(schema: str, path: Path) -> str:
    """URL of a SQLite file as an earlier commit left it."""
    with sqlite3.connect(path) as connection:
        connection.executescript((HERE / "outcomes" / f"{schema}.sql").read_text(encoding="utf-8"))
    connection.close()
    return f"sqlite:///{path}"


def postgresql_store(schema: str, url: str) -> str:
    """URL of an empty PostgreSQL database, once it holds what an earlier commit left in one."""
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute((HERE / "outcomes" / f"{schema}.postgresql.sql").read_bytes())
    return url


def server_folder(folder: Path, name: str = "server") -> tuple[VersionCache, Spool]:
    """What a server of an earlier commit left on its disk, as one that starts on it today finds it."""
    settings = Settings(MODEL, "memory:", folder / "cache")
    shutil.copytree(HERE / name / "cache", settings.cache)
    return settings.version_cache(), settings.spool()
