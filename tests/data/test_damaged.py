"""Sources that hold what their form has no place for: refused where they are read, by column, row and fix."""

from __future__ import annotations

import sqlite3
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from fds_mlflow.cli.main import main
from fds_mlflow.data import workbook
from fds_mlflow.data.inference import infer
from fds_mlflow.data.schema import Schema
from fds_mlflow.data.transactions import load
from fds_mlflow.errors import ConfigError, DataError, FdsError
from fds_mlflow.runtime.yaml_file import parse_yaml
from fds_mlflow.workflows.source import recognise
from tests.support.refusals import taken_or_refused

ROLES = {"transaction_id": "id", "time": None, "amount": "a"}


def test_text_that_is_none_is_found_in_parquet(tmp_path: Path) -> None:
    """Arrow hands on text that is no UTF-8 unseen; it is refused with its column before anything is computed."""
    ids = pa.array([b"T1", b"T\xff"]).view(pa.string())
    parquet.write_table(pa.table({"id": ids, "a": [1.0, 2.0]}), tmp_path / "it.parquet")
    with pytest.raises(DataError, match=r"column 'id' of .* is damaged in rows 1 to 2") as error:
        load(tmp_path / "it.parquet", ROLES)
    assert "UTF-8" in error.value.fix


@pytest.mark.parametrize("value", [5, "no date", "2026-02-30", "0001-01-01 99:99:99"])
def test_a_value_of_another_type_is_found_in_a_database(value: object, tmp_path: Path) -> None:
    """SQLite keeps a number or a word in a column of dates: an error of ours, with the way round it."""
    with sqlite3.connect(tmp_path / "it.db") as made:
        made.execute("CREATE TABLE t (id TEXT, a REAL, day DATETIME)")
        made.execute("INSERT INTO t VALUES ('T1', 1.5, ?)", [value])
    made.close()
    with pytest.raises(DataError) as error:
        load(f"sqlite:///{tmp_path / 'it.db'}", {**ROLES, "time": "day"}, table="t")
    assert error.value.fix


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a byte of it is unpacked, by what it says itself."""
    monkeypatch.setattr(workbook, "LARGEST", 10**6)
    with zipfile.ZipFile(tmp_path / "it.xlsx", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("xl/worksheets/sheet1.xml", b" " * (10**6 + 1))
    with pytest.raises(DataError, match="unpacks to 1,000,001 bytes, more than 1,000,000"):
        load(tmp_path / "it.xlsx", ROLES)


@pytest.mark.tested(20)
@pytest.mark.parametrize(
    ("written", "zone"),
    [
        *(("0001-01-01T00:00:00+14:00", None), ("9999-12-31T23:59:59-14:00", None), ("2026-02-30", None)),
        *(("2026-03-29T02:30:00", "Europe/Berlin"), ("0001-01-01T00:00:00", "Asia/Tokyo"), ("soon", None)),
    ],
)
def test_a_time_counts_from_a_moment_that_is_there(written: str, zone: str | None) -> None:
    """An origin beyond the calendar, or in an hour that a zone's clocks skipped, is refused with the schema."""
    with pytest.raises(ConfigError, match="'time_origin' is"):
        Schema.of(**{**ROLES, "time": "t", "time_unit": "s", "time_origin": written, "time_zone": zone})


def test_a_history_to_rehearse_on_has_each_column_once(tmp_path: Path) -> None:
    """Of two columns of one name neither is taken in silence."""
    (tmp_path / "plan.yaml").write_text("steps: [10, 100]")
    (tmp_path / "it.csv").write_text("champion_score,canary_score,canary_score\n0.1,0.2,0.9\n")
    words = ["canary", "rehearse", "--plan", str(tmp_path / "plan.yaml"), "--data", str(tmp_path / "it.csv")]
    told = CliRunner().invoke(main, words)
    assert told.exit_code == 1
    assert "two columns named 'canary_score'" in told.stderr


@pytest.mark.parametrize("place", [b"amount_in_eur", b"pandas"])
def test_a_name_that_is_no_text_is_refused(place: bytes, tmp_path: Path) -> None:
    """Parquet's own notes may hold bytes that are no UTF-8, in a column's name or beside: an error with the fix."""
    path = tmp_path / "it.parquet"
    frame = pd.DataFrame({"id": ["T1"], "amount_in_eur": [1.0]})
    frame.to_parquet(path)
    path.write_bytes(path.read_bytes().replace(place, b"\xce" * len(place)))
    with pytest.raises(FdsError) as error:
        load(path, ROLES)
    assert error.value.fix
    taken_or_refused(lambda: infer(str(path), None, labelled=False))


@pytest.mark.parametrize("name", ["\u202e", "a\u2066b", "zero\u200bwidth", "\x1b[31m"])
def test_an_inferred_schema_is_written_out(name: str, tmp_path: Path) -> None:
    """A column's name that acts on a terminal stands escaped in the schema, and is the same when it is read."""
    columns = {
        "id": [f"T{row}" for row in range(9)],
        "amount": [1.5 * row for row in range(9)],
        name: [0.1, 0.2, 0.4] * 3,
    }
    pd.DataFrame(columns).to_csv(tmp_path / "it.csv", index=False)
    found = infer(str(tmp_path / "it.csv"), None, labelled=False)
    assert found.yaml().replace("\n", "").isprintable()
    assert parse_yaml(found.yaml(), "it", fix="none") == found.values
    assert name in found.values["numeric"]


@pytest.mark.parametrize("words", ["data describe", "schema infer", "train m --data", "retrain m --data"])
def test_an_empty_name_is_not_the_current_folder(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--data "$FILE"` with nothing in it is refused; `.` is the folder, with the schema that lies beside it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("it.csv").write_text("id,amount\nT1,1.5\n")
    told = CliRunner().invoke(main, [*words.split(), ""])
    assert told.exit_code in (1, 2)
    assert "Fix: " in told.stderr
    assert "no source" in told.stderr or "empty" in told.stderr
    (tmp_path / "here.schema.yaml").write_text("transaction_id: id\ntime: null\namount: amount\n")
    assert Path(recognise(".")) == tmp_path / "here.schema.yaml"
