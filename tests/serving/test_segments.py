"""The segment in each outcome: the same by a server and a router, alone and in a batch, whatever the column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from fds_mlflow.scoring.requests.formats import formats
from fds_mlflow.scoring.requests.rows import Batch, Piece
from tests.support.both_ways import BothWays

WAYS = [(way, together) for way in ("engine", "router") for together in (False, True)]
CHANNELS = {"column": "channel", "values": ["web", "shop"]}
BANDS = {"column": "amount", "edges": [50, 500]}
COUNTRIES = {"column": "country", "values": ["KR", "NA", 7]}


def rows(column: str, values: list[Any]) -> list[dict[str, Any]]:
    """Requests with these values in a column; what is left out is not sent."""
    plain = {"amount": 20.0, "hour": 3.0, "channel": "web"}
    return [
        {"transaction_id": f"TX{n}", **plain, **({} if value is msgspec.UNSET else {column: value})}
        for n, value in enumerate(values)
    ]


@pytest.mark.parametrize(("way", "together"), WAYS)
@pytest.mark.parametrize(
    ("segments", "values", "expected"),
    [
        (CHANNELS, ["web", "shop", "?", None], ["web", "shop", "other", "other"]),
        (BANDS, [20.0, 50.0, 499.5, 500.0, None], ["below 50", "50 to 500", "50 to 500", "from 500", "other"]),
        (COUNTRIES, ["KR", "NA", 7, 7.0, "DE", None, True], ["KR", "NA", "7", "7", "other", "other", "other"]),
        (COUNTRIES, [msgspec.UNSET] * 3, ["other"] * 3),
    ],
    ids=["text", "bands", "no model's column", "not sent"],
)
def test_outcomes_have_the_segment_of_the_plan(
    tmp_path: Path, way: str, segments: dict[str, Any], values: list[Any], expected: list[str], *, together: bool
) -> None:
    """Each outcome of a rollout has its segment by the request's column, "other" where that has nothing named."""
    there = BothWays(tmp_path, plan={"segments": segments})
    _, kept = getattr(there, f"by_{way}")(rows(segments["column"], values), together=together)
    assert [one[7] for one in kept] == expected
    assert [one[0] for one in kept] == [f"TX{n}" for n in range(len(values))]


@pytest.mark.parametrize(("way", "together"), WAYS)
@pytest.mark.parametrize("weight", [None, 5_000])
def test_without_segments_in_a_plan_there_is_none(
    tmp_path: Path, way: str, weight: int | None, *, together: bool
) -> None:
    """Outside a rollout, and in one whose plan names no segments, outcomes have none."""
    _, kept = getattr(BothWays(tmp_path, weight=weight), f"by_{way}")(rows("channel", ["web"] * 9), together=together)
    assert {one[7] for one in kept} == {None}


@pytest.mark.parametrize("column", ["transaction_id", "hour"])
def test_segments_of_the_keys_column_and_of_other_types(tmp_path: Path, column: str) -> None:
    """The column may be the routing key's own, and of any type that NumPy or pandas has."""
    there = BothWays(tmp_path, plan={"segments": {"column": column, "values": ["TX1", 3]}})
    given = rows("hour", [3.0, 3.0])
    expected = ["other", "TX1"] if column == "transaction_id" else ["3", "3"]
    for way, together in WAYS:
        _, kept = getattr(there, f"by_{way}")(given, together=together)
        assert [one[7] for one in kept] == expected
    router = there.router()
    for kind in (np.float32, np.int64, "Int64", "category"):
        there.kept.clear()
        frame = pd.DataFrame(given).astype({"hour": kind})
        router.predict(frame)
        router.score({**given[1], "hour": frame["hour"].to_numpy()[0]})
        assert sorted(str(one.segment) for one in there.kept) == sorted([*expected, expected[1]])


def test_every_format_of_a_request_has_the_same_segment(tmp_path: Path) -> None:
    """JSON of all kinds and CSV: a column that no version has is read beside the others, and Namibia is a country."""
    there = BothWays(tmp_path, plan={"segments": COUNTRIES})
    state = there.engine.state
    assert state is not None
    read = formats(state, limit=10)
    columns = ["transaction_id", "country", "channel", "hour", "amount"]
    data = [["TX1", "NA", "web", 3.0, 20.0], ["TX2", "DE", "web", 3.0, 20.0]]
    records = [dict(zip(columns, row, strict=True)) for row in data]
    csv = "\n".join([",".join(columns), *(",".join(map(str, row)) for row in data)])
    for called in (
        read.invocation(msgspec.json.encode({"dataframe_split": {"columns": columns, "data": data}})),
        read.invocation(msgspec.json.encode({"dataframe_records": records})),
        read.invocation(msgspec.json.encode({"dataframe_records": [{**row, "amount": "20.0"} for row in records]})),
        read.text(csv.encode()),
    ):
        assert [state.segment(row) for row in called.rows] == ["NA", "other"]
        assert called.keys == ["TX1", "TX2"]
        assert list(map(state.champion_score, called.rows)) == [0.1, 0.1]
        assert list(map(state.canary_score, called.rows)) == [0.2, 0.2]


@pytest.mark.parametrize(
    "data", [pd.DataFrame({"country": ["KR"]}), [{"country": "KR"}], {"country": np.array(["KR"])}]
)
def test_rows_that_mlflow_reads_have_a_segment_too(tmp_path: Path, data: Any) -> None:
    """A row of a frame, of a list or of arrays by name is looked up by its column as any other."""
    state = BothWays(tmp_path, plan={"segments": COUNTRIES}).engine.state
    assert state is not None
    assert state.segment(Piece(Batch(data), 0)) == "KR"
    assert state.segment(Piece(Batch([{"amount": 1.0}]), 0)) == "other"
