"""Features on the disk are those in memory, for whoever looks at a table, cuts it, or trains on it."""

from __future__ import annotations

import contextlib
import gc
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.data.transactions import load
from fds_mlflow.features import mapped
from fds_mlflow.features.mapped import MappedTable, compute_mapped
from fds_mlflow.features.table import FeatureTable, compute, default_spec
from fds_mlflow.simulator import simulate
from tests.support.effort import at_most

ROWS = 1_500


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[MappedTable, FeatureTable]:
    """The same features on the disk and in memory."""
    folder = tmp_path_factory.mktemp("mapped")
    frame = simulate.transactions(ROWS, seed=5, fraud_rate=0.05)
    frame.to_parquet(folder / "in.parquet")
    transactions = load(folder / "in.parquet", "simulator")
    spec = default_spec(transactions.schema)
    return compute_mapped(folder / "in.parquet", "simulator", spec, folder), compute(transactions, spec)


def test_features_on_the_disk_are_those_in_memory(tables: tuple[MappedTable, FeatureTable]) -> None:
    """All that trains and measures looks at is equal: features, labels, times, digest, period."""
    mapped, table = tables
    pd.testing.assert_frame_equal(mapped.x, table.x, check_dtype=False)  # pandas 2 has two dtypes of texts
    keys = ["time", "label", "customer"]
    pd.testing.assert_frame_equal(mapped.frame[keys], table.frame[keys], check_dtype=False)
    assert (mapped.y == table.y).all()
    assert (mapped.digest, mapped.period, mapped.spec, mapped.schema) == (
        table.digest,
        table.period,
        table.spec,
        table.schema,
    )


@at_most(60)
@given(st.lists(st.booleans(), min_size=ROWS, max_size=ROWS) | st.tuples(st.integers(0, ROWS), st.integers(0, ROWS)))
def test_any_rows_of_it_are_those_rows(
    tables: tuple[MappedTable, FeatureTable], chosen: list[bool] | tuple[int, int]
) -> None:
    """A part has its rows in their order, whether they follow each other or not, and a part of a part as well."""
    mask = np.zeros(ROWS, dtype=bool)
    if isinstance(chosen, tuple):
        mask[chosen[0] : chosen[1]] = True
    else:
        mask[:] = chosen
    part, wanted = (table.where(mask) for table in tables)
    again = np.arange(int(mask.sum())) % 3 == 1
    for one, other in ((part, wanted), (part.where(again), wanted.where(again))):
        pd.testing.assert_frame_equal(one.x, other.x, check_dtype=False)
        assert (one.y == other.y).all()


@pytest.mark.parametrize("rows", [0, 1, ROWS])
def test_a_matrix_is_that_of_the_rows(
    tables: tuple[MappedTable, FeatureTable], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a transformation makes of all rows it makes of them a stretch at a time."""
    monkeypatch.setattr("fds_mlflow.features.mapped._BLOCK", 400)
    numeric = [name for name in tables[1].features if name not in tables[1].categorical]
    mask = np.arange(ROWS) < rows
    found, wanted = (table.where(mask).matrix(lambda frame: frame[numeric].to_numpy()) for table in tables)
    assert found.shape == wanted.shape
    assert np.array_equal(found, wanted, equal_nan=True)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the blocks of a file without a name")
def test_its_room_is_taken_before_it_is_filled(tmp_path: Path) -> None:
    """A disk that is too full says so at once; a page that finds no room later would kill the process."""
    made, sizes = mapped._array(tmp_path, 1_000, 1_000), []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(link.readlink()).startswith(str(tmp_path)):
                sizes.append(link.stat().st_blocks * 512)
    assert len(sizes) == 1
    assert sizes[0] >= made.nbytes == 8_000_000


def test_nothing_is_left_on_the_disk(tmp_path: Path) -> None:
    """The files have no names, so that nothing stays behind however a process ends."""
    frame = simulate.transactions(300, seed=5)
    frame.to_parquet(tmp_path / "in.parquet")
    (tmp_path / "work").mkdir()
    table = compute_mapped(
        tmp_path / "in.parquet", "simulator", default_spec(load(frame, "simulator").schema), tmp_path / "work"
    )
    part = table.where(np.arange(300) % 2 == 0)
    assert part.x["amount"].sum() > 0
    assert list((tmp_path / "work").iterdir()) == []
    del part, table
    gc.collect()
