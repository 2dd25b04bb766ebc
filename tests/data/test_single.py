"""One transaction at a time, against what a source of that one row gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.data.schema import Schema
from fds_mlflow.data.single import Single
from fds_mlflow.data.transactions import load
from fds_mlflow.errors import DataError

SCHEMA = Schema.of(
    transaction_id="id",
    time="t",
    amount="eur",
    entities={"customer": "cust", "device": "dev"},
    label="y",
    label_known_at="k",
    numeric=["items"],
    categorical=["country"],
    missing=["?"],
    decimal=",",
)
ROW: dict[str, Any] = {
    "id": "T1",
    "t": "2026-03-01T12:30:00.25Z",
    "eur": 12.5,
    "cust": "C1",
    "dev": None,
    "items": 3,
    "country": "NA",
    "y": 1,
}

CODES = (
    st.sampled_from(["C1", "", "007", "101.0", "TRUE", "?", " a ", "-0", "ü", "\ud800", "é\udfff"])
    | st.integers(-5, 2**40)
    | st.booleans()
    | st.none()
)
NUMBERS = (
    st.floats(-1e6, 1e6)
    | st.integers(-(2**60), 2**60)
    | st.sampled_from(["12,5", " 7 ", "?", "x", "", True, -0.0, math.inf, math.nan, "\ud800", 2**64, 10**40, 10**400])
    | st.none()
)
TIMES = st.sampled_from(
    [
        "2026-03-01T12:30:00.25Z",
        "2026-03-01 12:30:00",
        "2026-03-01T12:30:00+05:30",
        "2026-03-01",
        "2026-03-29T02:30:00",
        "2026-10-25T02:30:00",
        "1850-01-01T00:00:00",
        "2026-02-30T00:00:00",
        "2026-03-01T12:30:00.1234567",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "\ud800",
        10**40,
        "soon",
        "",
        "?",
        7,
    ]
)


def usual(schema: Schema, row: dict[str, Any]) -> dict[str, Any] | str:
    """What a DataFrame of this one row gives, or how it is refused."""
    unlabelled = schema.model_copy(update={"label": None, "label_known_at": None})
    frame = pd.DataFrame({name: pd.Series([row[name]], dtype=object) for name in unlabelled.columns()})
    try:
        one = load(frame, unlabelled).frame.iloc[0]
    except DataError as error:
        return error.what
    found: dict[str, Any] = {name: None if pd.isna(value) else value for name, value in one.items()}
    found["time"] = int(np.datetime64(found["time"], "us").astype("int64"))
    return found | {name: math.nan for name in ("amount", "items") if found[name] is None}


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
@given(data=st.data())
def test_one_transaction_is_what_a_source_of_that_row_gives(zone: str | None, data: st.DataObject) -> None:
    """Codes, numbers and times of a request mean what they mean in a file, or are refused in its words."""
    schema = SCHEMA.model_copy(update={"time_zone": zone})
    drawn = {name: data.draw(values) for name, values in (("t", TIMES), ("eur", NUMBERS), ("items", NUMBERS))}
    agree(schema, {**ROW, **drawn, **{name: data.draw(CODES) for name in ("id", "cust", "dev", "country")}})


@pytest.mark.parametrize("column", ["id", "t", "eur", "cust", "items", "country"])
def test_what_no_file_holds_is_refused_in_the_words_of_a_source(column: str) -> None:
    """Half a character, a time without a year in UTC and numbers of any length, beside values of every road."""
    times = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")
    for value in ("\ud800", "é\udfff", *times, 2**64, 10**40, 10**400):
        agree(SCHEMA, {**ROW, column: value})
        agree(SCHEMA, {**ROW, "items": "3", column: value})


def agree(schema: Schema, row: dict[str, Any]) -> None:
    """A request and a source say the same of a row."""
    wanted = usual(schema, row)
    if isinstance(wanted, str):
        with pytest.raises(DataError) as told:
            Single(schema).read(row)
        assert told.value.what.replace("the transaction", "the DataFrame") == wanted
        return
    found = Single(schema).read(row)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name] == value or (math.isnan(found[name]) and math.isnan(value)), name
        assert isinstance(found[name], type(value)) or name in ("amount", "items")


def test_a_transaction_needs_the_columns_of_its_schema_and_no_labels() -> None:
    """What is not known yet is not asked for; a column that is left out is named, one that is null is missing."""
    found = Single(SCHEMA).read({name: value for name, value in ROW.items() if name != "y"})
    assert found == {
        "transaction_id": "T1",
        "time": 1_772_368_200_250_000,
        "amount": 12.5,
        "customer": "C1",
        "device": None,
        "items": 3.0,
        "country": "NA",
    }
    late = Schema.of(**{**SCHEMA.model_dump(), "arrived_at": "seen"})
    assert Single(late).columns == Single(SCHEMA).columns
    with pytest.raises(DataError, match="lacks the column cust, dev") as told:
        Single(SCHEMA).read({name: value for name, value in ROW.items() if name not in ("cust", "dev")})
    assert "null" in told.value.fix


def test_times_of_several_columns_and_rows_without_ids_are_read() -> None:
    """A date and a time of day are joined as in a file; where rows have no id the caller gives one."""
    schema = Schema.of(transaction_id=None, time=["day", "clock"], time_format="%d.%m.%Y %H:%M", amount="eur")
    found = Single(schema).read({"day": "01.03.2026", "clock": "12:30", "eur": "7"})
    assert found == {"time": 1_772_368_200_000_000, "amount": 7.0}


@pytest.mark.parametrize("value", [["D1"], {"id": "D1"}])
def test_lists_and_objects_are_no_codes(value: Any) -> None:
    """They are refused with their column: another client's spelling of them would be another entity."""
    with pytest.raises(DataError, match="'dev' holds a list or an object"):
        Single(SCHEMA).read({**ROW, "dev": value})
