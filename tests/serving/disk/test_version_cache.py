"""A server's own disk: what is there is whole, what is damaged is as good as absent, and nothing else is touched."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.routing.routing import RoutingTable
from fds_mlflow.errors import ConfigError
from fds_mlflow.scoring.served import Served, Table
from fds_mlflow.serving.disk.version_cache import VersionCache, describe
from tests.support.effort import at_most
from tests.support.version_caches import NOW, ROLLOUT, put, table, version_cache

ROLLOUTS = st.builds(
    lambda weight, step: Rollout(ROLLOUT, 1, 2, Plan(), weight, step, NOW),
    st.integers(0, 10_000),
    st.integers(0, len(Plan().steps) - 1),
)
TABLES = st.builds(
    lambda rollout, threshold, problem: Table(
        RoutingTable(1, rollout), (Served(1, "one", threshold), Served(2, "two", 1.0)), NOW, problem
    ),
    st.none() | ROLLOUTS,
    st.floats(0, 1),
    st.none() | st.text(),
)


@at_most(50)
@given(given_table=TABLES)
def test_a_table_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, given_table: Table) -> None:
    """Any table reads back as it was, whatever a problem says."""
    there = VersionCache(tmp_path_factory.getbasetemp() / "tables", "fraud", "memory:")
    there.write_table(given_table)
    assert there.table() == given_table


def test_there_is_nothing_at_first(tmp_path: Path) -> None:
    """An empty version cache has no table, no version, no reason, and has never changed."""
    there = VersionCache(tmp_path, "fraud", "memory:")
    assert (there.table(), there.prepared(1, "one"), there.reason, there.changed, there.woken) == (None,) * 3 + (0, 0)


def test_models_and_registries_do_not_meet(tmp_path: Path) -> None:
    """Models of one name in two registries, and two models of one registry, have caches of their own."""
    caches = [VersionCache(tmp_path, *names) for names in (("fraud", "a"), ("fraud", "b"), ("other", "a"))]
    caches[0].write_table(table())
    assert [one.table() is None for one in caches] == [False, True, True]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"champion": 1, "rollout": "x", "versions": []}', "\x00"])
def test_a_damaged_table_is_none(tmp_path: Path, content: str) -> None:
    """A table that power was lost over does not keep a server from starting: it reads as absent."""
    there = version_cache(tmp_path)
    there.write_table(table())
    (there.folder / "table.json").write_text(content)
    assert there.table() is None
    there.write_table(table())
    assert there.table() == table()


def test_a_damaged_version_is_none_and_may_be_put_again(tmp_path: Path) -> None:
    """A version whose description cannot be parsed is fetched again, and then is there."""
    there = version_cache(tmp_path)
    for content in ("{", '{"inputs": {}}', "[]"):
        assert there.prepared(1, "identity1") is not None
        (there.folder / "version-1-identity1" / "version.json").write_text(content)
        assert there.prepared(1, "identity1") is None
        put(there, 1)
    assert there.prepared(1, "identity1") is not None


def test_a_version_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """While a version is being prepared, and where that fails, it is not there; an older one of it stays."""
    there = version_cache(tmp_path)
    before = sorted(there.folder.glob("version-*"))
    for version in (1, 7):
        with contextlib.suppress(InterruptedError), there.preparing(version, f"identity{version}") as folder:
            describe(folder, {}, compiled=False)
            assert there.prepared(7, "identity7") is None
            raise InterruptedError
    assert there.prepared(1, "identity1") is not None
    assert sorted(there.folder.glob("version-*")) == before


def test_another_version_of_the_same_number_is_another_one(tmp_path: Path) -> None:
    """A number that was given again after its version was deleted does not find the old one."""
    assert version_cache(tmp_path).prepared(1, "another") is None


def test_what_is_not_kept_goes_but_not_what_is_being_prepared(tmp_path: Path) -> None:
    """Tidying removes other versions, and leaves those alone that are being prepared."""
    there = version_cache(tmp_path)
    with there.preparing(3, "identity3") as folder:
        describe(folder, {}, compiled=False)
        there.keep({"identity2"})
    assert there.prepared(1, "identity1") is None
    assert there.prepared(2, "identity2") is not None
    assert there.prepared(3, "identity3") is not None


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A cache that cannot be written is an error that names the option."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made") as caught:
        VersionCache(tmp_path / "file", "fraud", "memory:")
    assert "--cache" in caught.value.fix


def test_readers_notice_a_table(tmp_path: Path) -> None:
    """A new table changes what readers watch, and so does somebody who says that the registry has changed."""
    there = version_cache(tmp_path)
    there.write_table(table())
    first = there.changed
    assert first > 0
    there.write_table(replace(table(), problem="away"))
    assert there.changed >= first
    there.wake()
    assert there.woken > 0
    there.write_reason("no champion")
    assert there.reason == "no champion"
