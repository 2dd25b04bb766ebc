"""Rows of Arrow's have the scores that the same values have one by one."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.errors import DataError
from fds_mlflow.scoring import arrow
from fds_mlflow.scoring.columns import cell, from_text
from fds_mlflow.scoring.compiled import Column, CompiledModel
from fds_mlflow.scoring.loaded import Loaded
from tests.support.version_caches import stump

INPUTS = {"amount": "double", "small": "float", "count": "long", "few": "integer", "new": "boolean", "shop": "string"}


def loaded(**more: Any) -> Loaded:
    """A version of every plain type, `shop` a code of it."""
    columns = [
        Column(name, "ordinal", codes={"7": 1, "x": 2}, other=-1) if kind == "string" else Column(name)
        for name, kind in INPUTS.items()
    ]
    compiled = CompiledModel(columns, range(len(columns)), stump(0.1, 0.9, len(columns)))
    return Loaded(1, INPUTS, 0.5, 1.0, codes=["shop"], compiled=compiled, folder=Path(), **more)


def batch(**columns: Any) -> pa.RecordBatch:
    """Three rows."""
    base: dict[str, Any] = {
        "amount": pa.array([1.0, None, 250.0]),
        "small": pa.array([0.1, float("nan"), 2.0], pa.float32()),
        "count": pa.array([1, 2, 2**60]),
        "few": pa.array([1, 2, 3], pa.int32()),
        "new": pa.array([True, False, True]),
        "shop": pa.array(["7", None, "y"]),
    }
    return pa.RecordBatch.from_pydict({**base, **columns})


@pytest.mark.parametrize(
    "column",
    [
        {},
        {"amount": pa.array([1, None, 250])},
        {"amount": pa.array([Decimal("1.5"), None, Decimal("250.25")])},
        {"amount": pa.array(["1.5", None, "2e2"])},
        {"amount": pa.array([True, False, None])},
        {"count": pa.array([1.0, 2.0, 3.0])},
        {"count": pa.array(["1", "2", "3"])},
        {"few": pa.array([1, 2, 3], pa.uint8())},
        {"new": pa.array([0, 1, 1])},
        {"shop": pa.array([7.0, None, 8.5])},
        {"shop": pa.array(["7.0", "", "x"]).dictionary_encode()},
        {"shop": pa.array([7, None, 8])},
        {"shop": pa.array([True, None, False])},
        {"shop": pa.array([None, None, None])},
    ],
)
def test_columns_are_read_as_their_values_are(column: dict[str, pa.Array]) -> None:
    """However a file has them, columns become what `/score` makes of each value, and so do the scores."""
    version, rows = loaded(), batch(**column)
    found = arrow.columns(version, rows)
    kinds = {name: "code" if name == "shop" else kind for name, kind in INPUTS.items()}
    each = [[cell(row[name], kind) for name, kind in kinds.items()] for row in rows.to_pylist()]
    for name, wanted in version._columns([version.values(row) for row in each]).items():
        array = found[name]
        assert array is not None
        np.testing.assert_array_equal(array, wanted)
        assert array.dtype == wanted.dtype
    assert (arrow.scores(version, rows) == version.rows(each)).all()


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"count": pa.array([1, None, 3])}, "null is no whole number of 64 bits"),
        ({"count": pa.array([1, 2.5, 3])}, "2.5 is no whole number"),
        ({"few": pa.array([1, 2, 2**40])}, "1099511627776 is no whole number of 32 bits"),
        ({"new": pa.array([True, None, True])}, "null is neither true nor false"),
        ({"amount": pa.array(["NA", "1", "2"])}, "no number"),
        ({"amount": pa.array([[1.0], None, [2.0]])}, "no number"),
        ({"shop": pa.array([2.0**60, 1.0, 2.0])}, "too large to be exact"),
    ],
)
def test_what_does_not_fit_is_refused(column: dict[str, pa.Array], said: str) -> None:
    """Nothing is cut off or made up; the message names the column."""
    with pytest.raises(DataError, match=f"'{next(iter(column))}'.*{said}"):
        arrow.scores(loaded(), batch(**column))


@given(
    st.lists(
        st.one_of(st.sampled_from(["", "NA", "nan", "1", "-2.5", "1e5", "inf", "+3"]), st.floats().map(str)), min_size=1
    )
)
def test_fields_of_text_are_read_as_a_server_reads_csv(fields: list[str]) -> None:
    """What stands for no value is a gap; numbers are those that Python reads."""
    rows = pa.RecordBatch.from_arrays([pa.array(fields)], ["amount"])
    version = Loaded(
        1, {"amount": "double"}, 0.5, 1.0, compiled=CompiledModel([Column("amount")], [0], stump(0.1, 0.9, 1))
    )
    wanted = [cell(from_text(field, "double"), "double") for field in fields]
    found = arrow.columns(version, rows, text=True)["amount"]
    np.testing.assert_array_equal(found, [np.nan if one is None else one for one in wanted])


def test_a_column_that_may_be_left_out_is_a_gap() -> None:
    """One that may not is named."""
    rows = batch().drop_columns(["amount"])
    assert (arrow.scores(loaded(optional=["amount"]), rows) == 0.1).all()
    with pytest.raises(DataError, match="needs columns that the rows do not have: amount"):
        arrow.scores(loaded(), rows)


def test_gaps_are_listed_as_none() -> None:
    """The digest of what was scored has null for them."""
    found = arrow.columns(loaded(), batch())
    assert arrow.listed(found["amount"], 3) == [1.0, None, 250.0]
    assert arrow.listed(found["shop"], 3) == ["7", None, "y"]
    assert arrow.listed(None, 2) == [None, None]
