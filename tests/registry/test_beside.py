"""Registries that cannot hold our tags: the same operations, with a database beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.lifecycle.state import fold
from fds_mlflow.errors import ConfigError, UnavailableError
from fds_mlflow.registry.aliases import AliasReader
from fds_mlflow.registry.connection import connect
from fds_mlflow.registry.history import read_history
from fds_mlflow.registry.store import ListedStore, SetModelTag, SetVersionTag
from fds_mlflow.registry.transaction import Transactions
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.runtime.environment import OUTCOMES_URI
from fds_mlflow.runtime.identity import new_id
from tests.support.limited_registries import TAGLESS, UNITY_CATALOG, install
from tests.support.registry_model import Killed, World
from tests.support.registry_world import AlarmClock, HookedStore, before_write, register

MODEL = "fraud"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, migrated_database: Path) -> None:
    """MLflow knows registries that can do less."""
    shutil.copyfile(migrated_database, tmp_path / "limited.db")
    install(monkeypatch, tmp_path / "limited.db")


@pytest.fixture(params=[TAGLESS, UNITY_CATALOG])
def limited(
    request: pytest.FixtureRequest, installed: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mlflow_uri: str
) -> ListedStore:
    """A registry with four versions that can do less than MLflow's own, and a database beside it."""
    monkeypatch.setenv(OUTCOMES_URI, f"sqlite:///{tmp_path / 'beside.db'}")
    uri = f"{request.param}:x"
    register(uri, MODEL, versions=4, tracking=mlflow_uri)
    return connect(mlflow_uri, uri)


def _do(store: ListedStore, kind: Kind, version: int | None = None, **more: object) -> None:
    process = Transactions(store, SystemClock(), new_id)
    request = World().request(kind, version, **more)
    process.run(MODEL, request, actor="ann", reason="because", take_over=kind is Kind.EMERGENCY)


@pytest.mark.slow
@pytest.mark.tested(2)
def test_the_whole_story_on_a_registry_that_can_do_less(limited: ListedStore) -> None:
    """Without stages, with few or no tags and perhaps no aliases: every operation, routing, history and emergency."""
    for kind, version in ((Kind.PROMOTE, 1), (Kind.PROMOTE, 2), (Kind.START, 3), (Kind.ADVANCE, None)):
        _do(limited, kind, version)
    routing = AliasReader(limited, MODEL).read().routing
    assert routing.rollout is not None
    assert (routing.champion, routing.rollout.canary, routing.rollout.weight) == (2, 3, 2_500)
    _do(limited, Kind.COMPLETE, force=True)
    _do(limited, Kind.EMERGENCY)
    assert AliasReader(limited, MODEL).read().routing.champion == 2
    history = read_history(limited.read(MODEL).tags)
    assert [event.sequence for event in history.events] == [1, 2, 3, 4, 5, 6]
    assert (history.intents, fold(history.events).champion) == ((), 2)
    assert list(limited.models()) == [MODEL]
    long = "x" * 4_900
    limited.write(MODEL, SetVersionTag(1, "fds.schema", long))
    assert limited.version(MODEL, 1).tags["fds.schema"] == long


@pytest.mark.slow
@pytest.mark.tested(2)
@pytest.mark.parametrize("number", [2, 3, 4])
def test_an_operation_that_dies_there_is_settled_as_anywhere(number: int, limited: ListedStore) -> None:
    """Killed before any write: the next operation finishes what had been decided, or writes it off."""
    _do(limited, Kind.PROMOTE, 1)

    def die() -> None:
        raise Killed

    process = Transactions(HookedStore(limited, before_write(number, die)), SystemClock(), new_id)
    with pytest.raises(Killed):
        process.run(MODEL, World().request(Kind.PROMOTE, 2), actor="zoe", reason="dies")
    clock = AlarmClock()
    next_one = Transactions(limited, clock, new_id)
    champion = next_one.look(MODEL).champion_alias
    clock.sleep(next_one.lifetime)
    view = next_one.settle(MODEL, actor="bob")
    assert view.history.intents == ()
    assert view.state.champion == view.champion_alias == champion == (1 if number == 2 else 2)


def test_a_registry_without_tags_needs_a_database_that_all_share(
    installed: None, monkeypatch: pytest.MonkeyPatch, mlflow_uri: str
) -> None:
    """Without one the error says how to name it; one in memory is refused."""
    monkeypatch.delenv(OUTCOMES_URI, raising=False)
    with pytest.raises(ConfigError, match="cannot hold the tags") as error:
        connect(mlflow_uri, f"{TAGLESS}:x")
    assert OUTCOMES_URI in error.value.fix
    with pytest.raises(ConfigError, match="nobody shares"):
        connect(mlflow_uri, f"{TAGLESS}:x", database="sqlite://")


def test_a_database_that_goes_away_is_unavailable_and_named(installed: None, tmp_path: Path, mlflow_uri: str) -> None:
    """When the database beside is gone, the error names it without a password, and nothing is half done."""
    folder = tmp_path / "beside"
    folder.mkdir()
    uri = f"{TAGLESS}:x"
    register(uri, MODEL, versions=1, tracking=mlflow_uri)
    store = connect(mlflow_uri, uri, database=f"sqlite:///{folder / 'tags.db'}")
    (folder / "tags.db").write_text("this is no database " * 100)
    with pytest.raises(UnavailableError, match=r"tags\.db"):
        store.write(MODEL, SetModelTag("fds.kept.x", "1"))
