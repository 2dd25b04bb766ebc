"""Labels from files, and the verbs of the command line about outcomes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from fds_mlflow.cli.main import main
from fds_mlflow.core.evidence.evidence import Terms
from fds_mlflow.errors import DataError, NotFoundError
from fds_mlflow.outcomes.label_file import import_labels
from fds_mlflow.outcomes.records import CaseRecord, CaseStatus
from fds_mlflow.outcomes.store import OutcomeStore
from tests.support.samples import NOON, outcome

CSV = """transaction_id,status,known_at,loss_amount,fraud_type
TX1,confirmed,2026-03-08T12:00:00+01:00,99.5,card
TX2,genuine,2026-03-08T12:00:00Z,,
"""


def _written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "labels.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_csv_file(memory: OutcomeStore, tmp_path: Path) -> None:
    """A CSV file's rows become labels, empty fields are not known, and loading it again changes nothing."""
    file = _written(tmp_path, CSV)
    assert import_labels(memory, file) == (2, 2)
    assert import_labels(memory, file) == (2, 0)
    assert memory.cases(["TX1", "TX2"])["TX1"] == CaseRecord(
        transaction_id="TX1",
        status=CaseStatus.CONFIRMED,
        known_at=datetime(2026, 3, 8, 11, tzinfo=UTC),
        loss_amount=99.5,
        fraud_type="card",
    )
    assert memory.cases(["TX2"])["TX2"].loss_amount is None


def test_a_parquet_file(memory: OutcomeStore, tmp_path: Path) -> None:
    """A Parquet file's rows become the same labels, with times and amounts of their own types."""
    frame = pd.DataFrame({"transaction_id": ["TX1"], "status": ["confirmed"], "known_at": [pd.Timestamp(NOON)]})
    frame["loss_amount"] = [1.5]
    frame.to_parquet(tmp_path / "labels.parquet")
    assert import_labels(memory, tmp_path / "labels.parquet") == (1, 1)
    found = memory.cases(["TX1"])["TX1"]
    assert (found.known_at, found.loss_amount) == (NOON, 1.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("transaction_id,status\nTX1,confirmed\n", "lacks known_at"),
        (CSV.replace("fraud_type", "kind"), "unknown columns 'kind'"),
        (CSV.replace(",", ";"), "has ';' between its columns"),
        (CSV.replace("genuine", "innocent"), "line 3: status is 'innocent'"),
        (CSV.replace("Z,,", ",,"), "line 3: known_at .* time zone"),
        (CSV.replace("99.5", "much"), "loss_amount is 'much'"),
        (CSV.replace("2026-03-08T12:00:00Z", "Sunday"), "known_at is 'Sunday'"),
        (CSV + "TX3,genuine\n", "line 4"),
        (CSV + "TX3,genuine,2026-03-08T12:00:00Z,1,card,more\n", "line 4"),
        ("", "no line of column names"),
        (CSV + 'TX3,genuine,2026-03-08T12:00:00Z,1,"card\n', "line 4 .* never closed"),
        (
            CSV + 'TX3,genuine,2026-03-08T12:00:00Z,1,"card\nTX4,genuine,2026-03-08T12:00:00Z,1,card"\n',
            "line 5 .* quote",
        ),
        (CSV + 'TX3",genuine,2026-03-08T12:00:00Z,1,card\n', "line 4 .* quote"),
        (CSV.replace("2026-03-08T12:00:00Z", "0001-01-01T00:00:00+14:00"), "line 3: known_at is .* no time in UTC"),
        (CSV + 'TX3,"genuine"ly,2026-03-08T12:00:00Z,1,card\n', "line 4"),
        (CSV.replace("loss_amount", "status"), "two columns named 'status'"),
        (CSV.replace("TX2", ""), "line 3: transaction_id"),
        (CSV.replace("TX2", "x" * 256), "line 3: transaction_id has 256 characters"),
    ],
)
def test_a_file_that_is_wrong(memory: OutcomeStore, tmp_path: Path, text: str, what: str) -> None:
    """A wrong column or value is refused with its place, and nothing of its batch is stored."""
    with pytest.raises(DataError, match=what):
        import_labels(memory, _written(tmp_path, text))
    assert memory.cases(["TX1"]) == {}


@pytest.mark.parametrize("name", ["known_at", "occurred_at", "reported_at", "resolved_at"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_no_label_is_of_the_future(memory: OutcomeStore, tmp_path: Path, fake_clock: Any, name: str, kind: str) -> None:
    """A day ahead is taken for a clock that differs; more is a mistake, refused with its row and the way out."""
    day, hour = timedelta(days=1), timedelta(hours=1)
    for ahead in (day, day + hour, timedelta(days=365_000)):
        moment = fake_clock.now() + ahead
        row = {"transaction_id": "TX1", "status": "confirmed", "known_at": fake_clock.now() + day} | {name: moment}
        if kind == "csv":
            file = _written(tmp_path, f"{','.join(row)}\n{','.join(map(str, row.values()))}\n")
        else:
            file = tmp_path / "labels.parquet"
            parquet.write_table(pa.Table.from_pylist([row]), file)
        if ahead == day:
            assert import_labels(memory, file, clock=fake_clock) == (1, 1)
            continue
        with pytest.raises(DataError, match=rf"(line 2|row 1): {name} is .* more than a day after now") as error:
            import_labels(memory, file, clock=fake_clock)
        assert "check the year" in error.value.fix


ROW: dict[str, Any] = {"transaction_id": "TX1", "status": "confirmed", "known_at": NOON}

UNREADABLE = {
    "no UTF-8": ("fraud_type", pa.array([b"\xff"]).view(pa.string()), "row 1: fraud_type cannot be read"),
    "a time after all": ("reported_at", pa.array([2**62]).cast(pa.timestamp("us", "UTC")), "row 1: reported_at"),
    "a time of no year": ("reported_at", pa.array([2**62]).cast(pa.timestamp("ms", "UTC")), "row 1: reported_at"),
    "a date after all": ("reported_at", pa.array([2**30], pa.int32()).view(pa.date32()), "row 1: reported_at"),
    "a date": ("reported_at", pa.array([1], pa.int32()).view(pa.date32()), "row 1: reported_at .* no time zone"),
    "a column twice": ("transaction_id", pa.array(["TX2"]), "two columns named 'transaction_id'"),
    "an unknown column": ("kind", pa.array(["card"]), "unknown columns 'kind'"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNREADABLE)
def test_a_parquet_file_that_is_wrong(memory: OutcomeStore, tmp_path: Path, name: str) -> None:
    """What Python has no value for, and a column that is there twice, is refused with its place."""
    column, values, what = UNREADABLE[name]
    table = pa.Table.from_pylist([ROW]).append_column(column, values)
    parquet.write_table(table, tmp_path / "labels.parquet")
    with pytest.raises(DataError, match=what):
        import_labels(memory, tmp_path / "labels.parquet")
    assert memory.cases(["TX1", "TX2"]) == {}


@pytest.mark.parametrize("index", [None, "row", "transaction_id"])
def test_a_frame_that_was_filtered(memory: OutcomeStore, tmp_path: Path, index: str | None) -> None:
    """The index that pandas writes along is no column, unless it is one of a label's."""
    frame = pd.DataFrame([ROW, ROW | {"transaction_id": "TX2"}, ROW | {"transaction_id": "TX3"}])
    frame = frame.set_index(index) if index in frame else frame.rename_axis(index)
    frame.iloc[[0, 2]].to_parquet(tmp_path / "labels.parquet")
    assert import_labels(memory, tmp_path / "labels.parquet") == (2, 2)
    assert memory.cases(["TX1", "TX2", "TX3"]).keys() == {"TX1", "TX3"}


def test_no_parquet_and_no_file(memory: OutcomeStore, tmp_path: Path) -> None:
    """A file that is not there, or is something else, is said to be so."""
    with pytest.raises(NotFoundError, match="nowhere"):
        import_labels(memory, tmp_path / "nowhere.csv")
    file = tmp_path / "labels.parquet"
    file.write_text(CSV)
    with pytest.raises(DataError, match="no Parquet file"):
        import_labels(memory, file)


def _run(url: str, *arguments: str) -> Any:
    result = CliRunner().invoke(main, ["--outcomes", url, *arguments, "--json"], catch_exceptions=False)
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.slow
def test_the_verbs(tmp_path: Path) -> None:
    """Labels are imported, the store is looked at and pruned from the command line; errors say what and the fix."""
    url = f"sqlite:///{tmp_path}/o.db"
    with OutcomeStore(url) as store:
        store.record([outcome(), outcome(rollout_id="S")])
        store.evidence("fraud", "R", Terms(), as_of=NOON)
    assert _run(url, "label", "import", str(_written(tmp_path, CSV))) == (0, {"rows": 2, "changed": 2})
    code, (stats,) = _run(url, "outcomes", "stats")
    assert (code, stats["model"], stats["outcomes"], stats["counted"]) == (0, "fraud", 2, 1)
    code, pruned = _run(url, "outcomes", "prune", "fraud", "--older-than", "1h", "--uncounted")
    assert (code, pruned["deleted"]) == (0, 1)  # the newest row of each table stays, and the label of an outcome
    code, refused = _run(url, "outcomes", "prune", "fraud", "--older-than", "soon")
    assert code == 1
    assert "--older-than" in refused["error"]
    people = CliRunner().invoke(main, ["--outcomes", url, "outcomes", "stats"])
    assert "fraud" in people.stdout
