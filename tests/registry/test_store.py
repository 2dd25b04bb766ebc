"""One contract for every registry: a server, MLflow on SQLite and its in-memory twin give the same answers."""

from __future__ import annotations

import os
import shutil
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from packaging.version import Version

from fds_mlflow.errors import FdsError, NotFoundError, UnavailableError
from fds_mlflow.registry.beside import BesideStore
from fds_mlflow.registry.connection import connect
from fds_mlflow.registry.memory import MemoryStore
from fds_mlflow.registry.mlflow_store import SQLITE_BUSY, MlflowStore
from fds_mlflow.registry.server_store import ServerStore
from fds_mlflow.registry.store import (
    DeleteAlias,
    DeleteModelTag,
    Describe,
    RegistryStore,
    SetAlias,
    SetModelTag,
    SetStage,
    SetVersionTag,
    Write,
)
from fds_mlflow.runtime.environment import OUTCOMES_URI
from fds_mlflow.runtime.mlflow_client import HTTP_TIMEOUT
from tests.support.limited_registries import TAGLESS, install
from tests.support.servers import Server

MODEL = "fraud"


@dataclass
class Registry:
    """A registry and the hands that can change it past us."""

    store: RegistryStore
    add: Callable[[str], None]
    delete: Callable[[str, int], None]
    dangle: Callable[[str, int], None]
    """Delete a version as servers of MLflow up to 3.16 do, which keep its aliases."""


def _memory() -> Registry:
    store = MemoryStore()

    def dangle(model: str, version: int) -> None:
        store.dangling = True
        store.delete_version(model, version)

    return Registry(store, store.add, store.delete_version, dangle)


def _mlflow(uri: str | None = None, tracking: str | None = None, database: str | None = None) -> Registry:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking or uri, uri)

    def add(model: str) -> None:
        with suppress(MlflowException):  # it is there already
            client.create_registered_model(model)
        client.create_model_version(model, source="s3://nowhere/model")

    def delete(model: str, version: int) -> None:
        client.delete_model_version(model, str(version))

    def dangle(model: str, version: int) -> None:
        left = [alias for alias, at in client.get_registered_model(model).aliases.items() if int(at) == version]
        delete(model, version)
        with (
            closing(sqlite3.connect((database or mlflow.get_registry_uri()).removeprefix("sqlite:///"))) as connection,
            connection,
        ):
            connection.executemany(
                "INSERT OR IGNORE INTO registered_model_aliases (name, alias, version) VALUES (?, ?, ?)",
                [(model, alias, version) for alias in left],
            )

    store = MlflowStore() if uri is None else connect(tracking or uri, uri)
    return Registry(store, add, delete, dangle)


def _server(server: Server) -> Registry:
    from mlflow import MlflowClient

    client = MlflowClient(server.url, server.url)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    return _mlflow(server.url, database=server.backend)


@pytest.fixture(
    params=["memory", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("mlflow", "server", "beside"))]
)
def registry(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Registry:
    """A registry with three READY versions of one model."""
    if request.param == "memory":
        made = _memory()
    elif request.param == "mlflow":
        request.getfixturevalue("mlflow_uri")
        made = _mlflow()
    elif request.param == "beside":
        tracking = request.getfixturevalue("mlflow_uri")
        shutil.copyfile(request.getfixturevalue("migrated_database"), tmp_path / "limited.db")
        install(monkeypatch, tmp_path / "limited.db", stages=True)
        monkeypatch.setenv(OUTCOMES_URI, f"sqlite:///{tmp_path / 'beside.db'}")
        made = _mlflow(f"{TAGLESS}:x", tracking, f"sqlite:///{tmp_path / 'limited.db'}")
        assert isinstance(made.store, BesideStore)
    else:
        made = _server(request.getfixturevalue("mlflow_server"))
        assert isinstance(made.store, ServerStore)
    for _ in range(3):
        made.add(MODEL)
    return made


def test_a_new_model_is_empty(registry: Registry) -> None:
    """A model without a lifecycle has no aliases and no tags, and its versions are READY in no stage."""
    view = registry.store.read(MODEL)
    assert (dict(view.aliases), dict(view.tags)) == ({}, {})
    version = registry.store.version(MODEL, 2)
    assert (version.version, version.ready, version.stage, dict(version.tags)) == (2, True, "None", {})
    assert version.created.tzinfo is not None


def test_versions_come_newest_first(registry: Registry) -> None:
    """All versions of this model and of no other, in falling order."""
    registry.add("fraud2")
    assert [version.version for version in registry.store.versions(MODEL)] == [3, 2, 1]
    registry.delete(MODEL, 2)
    assert [version.version for version in registry.store.versions(MODEL)] == [3, 1]


def test_an_absent_alias_is_none(registry: Registry) -> None:
    """Only a missing alias answers None; it is no error."""
    assert registry.store.by_alias(MODEL, "champion") is None
    registry.store.write(MODEL, SetAlias("champion", 1))
    assert registry.store.by_alias(MODEL, "canary") is None


def test_an_alias_points_moves_and_goes(registry: Registry) -> None:
    """An alias is set, moved and deleted; reading by it returns the version with its tags."""
    registry.store.write(MODEL, SetVersionTag(2, "fds.rollout", "{}"))
    for version in (1, 2):
        registry.store.write(MODEL, SetAlias("champion", version))
        found = registry.store.by_alias(MODEL, "champion")
        assert found is not None
        assert found.version == version
        assert dict(registry.store.read(MODEL).aliases) == {"champion": version}
    assert found is not None
    assert dict(found.tags) == {"fds.rollout": "{}"}
    registry.store.write(MODEL, DeleteAlias("champion"))
    assert registry.store.by_alias(MODEL, "champion") is None
    assert dict(registry.store.read(MODEL).aliases) == {}


@pytest.mark.parametrize(
    "write",
    [
        SetAlias("champion", 1),
        DeleteAlias("champion"),
        SetModelTag("fds.x", "1"),
        DeleteModelTag("fds.x"),
        SetVersionTag(1, "fds.x", "1"),
        SetStage(1, "Staging"),
        Describe("# Who serves"),
        Describe("# What it is", 1),
    ],
    ids=lambda write: type(write).__name__,
)
def test_every_write_can_be_repeated(registry: Registry, write: Write) -> None:
    """Writing the same again, or deleting what is not there, is fine and changes nothing."""
    registry.store.write(MODEL, write)
    before = (registry.store.read(MODEL), registry.store.version(MODEL, 1))
    registry.store.write(MODEL, write)
    assert (registry.store.read(MODEL), registry.store.version(MODEL, 1)) == before


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.read("nobody"),
        lambda store: store.version("nobody", 1),
        lambda store: store.by_alias("nobody", "champion"),
        lambda store: store.write("nobody", SetAlias("champion", 1)),
        lambda store: store.write("nobody", DeleteAlias("champion")),
        lambda store: store.write("nobody", SetModelTag("fds.x", "1")),
        lambda store: store.write("nobody", DeleteModelTag("fds.x")),
        lambda store: store.write("nobody", SetVersionTag(1, "fds.x", "1")),
        lambda store: store.write("nobody", SetStage(1, "Staging")),
        lambda store: store.write("nobody", Describe("")),
        lambda store: store.version(MODEL, 99),
        lambda store: store.write(MODEL, SetAlias("champion", 99)),
        lambda store: store.write(MODEL, SetVersionTag(99, "fds.x", "1")),
        lambda store: store.write(MODEL, SetStage(99, "Staging")),
        lambda store: store.write(MODEL, Describe("", 99)),
    ],
    ids=[
        "read", "version of nobody", "alias of nobody", "set alias of nobody", "delete alias of nobody",
        "set tag of nobody", "delete tag of nobody", "version tag of nobody", "stage of nobody",
        "description of nobody", "version", "set alias", "version tag", "stage", "description",
    ],
)  # fmt: skip
def test_what_does_not_exist_is_not_found(registry: Registry, ask: Callable[[RegistryStore], object]) -> None:
    """A missing model or version is an error of its own, with a fix, in every call."""
    with pytest.raises(NotFoundError) as error:
        ask(registry.store)
    assert error.value.fix


def test_a_deleted_version_takes_its_aliases_along(registry: Registry) -> None:
    """MLflow drops the aliases of a deleted version silently, from 3.17 on; the twin does as it does."""
    registry.store.write(MODEL, SetAlias("champion", 2))
    registry.store.write(MODEL, SetAlias("canary", 3))
    registry.delete(MODEL, 2)
    keeps = isinstance(registry.store, BesideStore) or Version(mlflow.__version__) < Version("3.17")
    if isinstance(registry.store, MemoryStore) or not keeps:
        assert dict(registry.store.read(MODEL).aliases) == {"canary": 3}
    assert registry.store.by_alias(MODEL, "champion") is None
    with pytest.raises(NotFoundError):
        registry.store.version(MODEL, 2)


def test_an_alias_that_is_left_of_a_deleted_version_is_absent(registry: Registry) -> None:
    """Servers up to 3.16 keep it: it points nowhere, and can be deleted or moved."""
    registry.store.write(MODEL, SetAlias("champion", 2))
    registry.store.write(MODEL, SetAlias("canary", 2))
    registry.dangle(MODEL, 2)
    assert dict(registry.store.read(MODEL).aliases) == {"champion": 2, "canary": 2}
    assert registry.store.by_alias(MODEL, "champion") is None
    with pytest.raises(NotFoundError):
        registry.store.by_alias("fraud3", "champion")
    registry.store.write(MODEL, DeleteAlias("canary"))
    registry.store.write(MODEL, SetAlias("champion", 1))
    assert dict(registry.store.read(MODEL).aliases) == {"champion": 1}


def test_a_stage_moves_one_version_alone(registry: Registry) -> None:
    """Two versions may be in Staging; moving one leaves the others where they are."""
    for version in (1, 2):
        registry.store.write(MODEL, SetStage(version, "Staging"))
    registry.store.write(MODEL, SetStage(2, "Production"))
    assert [v.stage for v in registry.store.versions(MODEL)] == ["None", "Production", "Staging"]


def test_descriptions_keep_their_text(registry: Registry) -> None:
    """The model's and a version's description return what was written, to 5,000 characters, and no other's changes."""
    assert (registry.store.read(MODEL).description, registry.store.version(MODEL, 1).description) == ("", "")
    whole = ("| Größe | 顧客 🂡 |\n\n" * 500)[:5_000].rstrip() + "."
    registry.store.write(MODEL, Describe(whole))
    registry.store.write(MODEL, Describe(whole[::-1], 1))
    assert registry.store.read(MODEL).description == whole
    assert [registry.store.version(MODEL, number).description for number in (1, 2)] == [whole[::-1], ""]


@pytest.mark.parametrize(
    "value", ["", "1", "x" * 4_900, "Größe 顧客 🂡", '{"a":"line\\nbreak"}', "line\nbreak\ttab", " x "]
)
def test_tags_keep_their_value(registry: Registry, value: str) -> None:
    """Model and version tags return exactly what was written, and deleting one leaves the others."""
    registry.store.write(MODEL, SetModelTag("fds.event.00000001.X", value))
    registry.store.write(MODEL, SetModelTag("other", "stays"))
    registry.store.write(MODEL, SetVersionTag(1, "fds.rollout", value))
    assert registry.store.read(MODEL).tags["fds.event.00000001.X"] == value
    assert registry.store.version(MODEL, 1).tags["fds.rollout"] == value
    registry.store.write(MODEL, DeleteModelTag("fds.event.00000001.X"))
    assert dict(registry.store.read(MODEL).tags) == {"other": "stays"}


def test_a_model_may_have_an_apostrophe_in_its_name(mlflow_uri: str) -> None:
    """A model called "ann's" shows its versions like any other."""
    registry = _mlflow()
    registry.add("ann's")
    assert [version.version for version in registry.store.versions("ann's")] == [1]


@pytest.mark.parametrize("uri", ["bogus://x", "file:///dev/null/mlruns"])
def test_an_address_that_cannot_be_a_registry_is_an_error_of_ours(uri: str) -> None:
    """A misspelt scheme, or files where none can be, are refused with a fix, not with a traceback."""
    with pytest.raises(FdsError):
        MlflowStore(uri, uri)


@pytest.mark.slow
def test_a_stage_write_says_nothing_of_deprecation(mlflow_uri: str) -> None:
    """MLflow's deprecation warning of stages is silenced at the call, also under -W error."""
    registry = _mlflow()
    registry.add(MODEL)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        registry.store.write(MODEL, SetStage(1, "Staging"))


def test_models_lists_every_model_with_its_aliases(mlflow_uri: str) -> None:
    """The list shows all registered models in order of name."""
    registry = _mlflow()
    for name in ("b", "a", "c"):
        registry.add(name)
    registry.store.write("b", SetAlias("champion", 1))
    assert isinstance(registry.store, MlflowStore)
    listed = [(name, dict(model.aliases)) for name, model in registry.store.models().items()]
    assert listed == [("a", {}), ("b", {"champion": 1}), ("c", {})]


def test_a_write_may_block_as_long_as_sqlite_waits(mlflow_uri: str) -> None:
    """The store knows its backend's longest write, from which the life of an intent follows."""
    assert MlflowStore().write_limit == SQLITE_BUSY
    assert MlflowStore("http://127.0.0.1:1").write_limit == HTTP_TIMEOUT


def test_settings_of_mlflow_are_put_back(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short timeouts hold during a call only; what was set before is there again, also after an error."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    store = MlflowStore()
    with pytest.raises(NotFoundError):
        store.read("nobody")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


STORES: dict[str, Callable[[str], RegistryStore]] = {"ours": ServerStore, "MLflow's": lambda uri: MlflowStore(uri, uri)}
"""Both ways to ask a server."""


@pytest.mark.parametrize("way", STORES)
@pytest.mark.parametrize("ask", ["read", "version", "by_alias", "versions", "write"])
def test_a_server_that_is_not_there_is_unavailable(ask: str, way: str, mlflow_uri: str) -> None:
    """A refused connection is answered at once, with the address, without MLflow's minutes of retries."""
    store = STORES[way]("http://ann:hunter2@127.0.0.1:1")
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: store.read(MODEL),
        "version": lambda: store.version(MODEL, 1),
        "by_alias": lambda: store.by_alias(MODEL, "champion"),
        "versions": lambda: store.versions(MODEL),
        "write": lambda: store.write(MODEL, SetAlias("champion", 1)),
    }
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1") as error:
        calls[ask]()
    assert error.value.fix


@pytest.mark.parametrize("way", STORES)
def test_a_password_in_the_address_is_not_shown(way: str, mlflow_uri: str) -> None:
    """Credentials in a tracking URI stay out of the messages, and so out of logs."""
    store = STORES[way]("http://ann:hunter2@127.0.0.1:1")
    with pytest.raises(UnavailableError) as error:
        store.read(MODEL)
    assert "hunter2" not in str(error.value)
