"""The checks of a batch before it trains anything: what is broken stops with a fix, what is odd is said."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fds_mlflow.data.transactions import Schema
from fds_mlflow.errors import DataError
from fds_mlflow.features import profile
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.table import FeatureTable
from fds_mlflow.workflows.quality import check, checked

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ROWS = 6_000
SPEC = FeatureSpec(numeric=("amount", "items"), categorical=("country",))
SCHEMA = Schema.of(
    transaction_id="id",
    time="time",
    amount="amount",
    entities={"card": "card"},
    label="label",
    numeric=["items"],
    categorical=["country"],
)


def batch(seed: int = 0, **changes: Any) -> FeatureTable:
    """Sixty days of a hundred rows each, two in a hundred of them fraud."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "transaction_id": [f"T{number}" for number in range(ROWS)],
            "time": pd.date_range("2026-03-01", periods=ROWS, freq="864s"),
            "card": random.integers(0, 500, ROWS).astype(str),
            "label": (random.random(ROWS) < 0.02).astype(np.int8),
            "amount": random.lognormal(4, 1, ROWS),
            "items": random.integers(1, 9, ROWS).astype(np.float64),
            "country": random.choice(["IT", "DE", "FR"], ROWS),
        }
    )
    frame = frame.assign(**changes)
    return FeatureTable(frame, SPEC.names, ["country"], SPEC, "", "the batch", None, (), SCHEMA)


TRAINED = profile.of(batch(), whole=True)


def found(table: FeatureTable) -> tuple[list[str], tuple[str, ...]]:
    """What is broken, and what is odd."""
    made = check(table, TRAINED, now=NOW)
    return [one.sentence("in it") for one in made.problems], made.warnings


def test_a_batch_like_the_training_is_quiet() -> None:
    """Over twenty seeds nothing is said, with a champion's profile and without one."""
    for seed in range(20):
        assert found(batch(seed)) == ([], ())
        assert check(batch(seed), now=NOW).warnings == ()


RANDOM = np.random.default_rng(9)
BASE = batch(9).frame
TWICE = {
    name: np.tile(BASE[name].to_numpy()[: ROWS // 2], 2) for name in ("time", "card", "amount", "items", "country")
}
STARTS = [np.datetime64("2026-03-01"), np.datetime64("2026-04-23")]
FEWER = np.concatenate(
    [
        start + (np.arange(rows) * (86_400e6 * days / rows)).astype("m8[us]")
        for start, days, rows in zip(STARTS, (53, 8), (5_840, 160), strict=True)
    ]
)


def test_rows_whose_amounts_nobody_sees_are_not_said_to_be_there_twice() -> None:
    """Where times are days and the features leave the amount out, a card's purchases of one day are no copies."""
    spec = FeatureSpec(numeric=("items",), categorical=("country",))
    days = {"time": BASE["time"].dt.floor("D"), "card": "C1", "items": 1.0, "country": "IT"}
    table = FeatureTable(batch(9, **days).frame, spec.names, ["country"], spec, "", "the batch", None, (), SCHEMA)
    made = check(table, now=NOW)
    assert not list(made.problems)
    assert not [warning for warning in made.warnings if "say the same" in warning]


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "years ahead": (
        {"time": BASE["time"].where(BASE.index != 5, pd.Timestamp("2062-03-01"))},
        "1 moments more than a year ahead",
    ),
    "twice": (TWICE, "3,000 rows that say the same"),
    "a column that is gone": ({"items": np.nan}, "'items' has no value in 100.00 % of rows, and none in 0.00 %"),
    "labels that did not arrive": (
        {"label": (np.arange(ROWS) % 3_000 == 0).astype(np.int8)},
        "a factor of ten",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_stops_with_its_fix(name: str) -> None:
    """Wrong times, a file that is there twice, a column or labels that did not come: each is named."""
    changes, said = BROKEN[name]
    table = batch(9, **changes)
    problems, _ = found(table)
    assert len(problems) == 1
    assert said in problems[0]
    with pytest.raises(DataError) as raised:
        checked(table, TRAINED, now=NOW)
    assert raised.value.fix


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "future": ({"time": BASE["time"] + pd.Timedelta(days=60)}, "rows lie in the future, up to 2026-06-28"),
    "hole": (
        {"time": BASE["time"] + pd.to_timedelta(np.where(np.arange(ROWS) < 3_000, -5, 0), unit="D")},
        "1 times without any transaction; the longest is from 2026-03-25 23:00 to 2026-03-31 00:00",
    ),
    "missing": ({"amount": BASE["amount"].where(RANDOM.random(ROWS) > 0.4)}, "amount is missing in"),
    "constant": ({"items": 3.0}, "items is 3 in every row"),
    "one country": ({"country": "IT"}, "country is 'IT' in every row"),
    "new countries": ({"country": BASE["country"].replace("IT", "XX")}, "country has values in"),
    "ids": ({"country": [f"C{number}" for number in range(ROWS)]}, "country has 6,000 different values"),
    "negative": ({"amount": BASE["amount"] * np.where(RANDOM.random(ROWS) < 0.05, -1, 1)}, "amount is negative in"),
    "cents": ({"amount": BASE["amount"] * 100}, "see to its unit"),
    "outlier": ({"amount": BASE["amount"].where(BASE.index != 7, 1e9)}, "amount goes up to 1e+09"),
    "frauds": ({"label": (RANDOM.random(ROWS) < 0.1).astype(np.int8)}, "of rows are frauds"),
    "fewer": ({"time": FEWER}, "the last 7 days have 20 rows a day, those before 110: are some missing?"),
    "fewer than ever": (
        {"time": BASE["time"].iloc[0] + (BASE["time"] - BASE["time"].iloc[0]) * 3 - pd.Timedelta(days=90)},
        "there are 33 rows a day",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_said_and_stays_with_the_version(name: str) -> None:
    """Each oddity is a note of the table, which the run and the version keep; nothing is stopped."""
    changes, said = ODD[name]
    notes = checked(batch(9, **changes), TRAINED, now=NOW).notes
    assert [note for note in notes if said in note], notes


def test_all_that_is_broken_is_said_at_once() -> None:
    """Two broken things are two fixes in one message."""
    table = batch(9, items=np.nan, label=(np.arange(ROWS) % 3_000 == 0).astype(np.int8))
    with pytest.raises(DataError, match=r"2 things do not fit in the batch:(.|\n)*'items'(.|\n)*a factor of ten"):
        checked(table, TRAINED, now=NOW)
