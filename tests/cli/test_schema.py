"""What the command line says of an unknown file: its schema, its profile, and how far the reading is."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fds_mlflow.cli import demo, main
from fds_mlflow.cli.output.progress import bar
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError
from tests.support.places import ROOT
from tests.support.street_files import dollars, european, hours, wide


def test_the_schema_is_all_of_standard_output(tmp_path: Path) -> None:
    """What is redirected into a file is the schema, in UTF-8, and nothing else."""
    source, _ = european(tmp_path, 300)
    done = CliRunner(charset="latin-1").invoke(main, ["schema", "infer", source])
    assert done.exit_code == 0, done.output
    path = tmp_path / "schema.yaml"
    path.write_bytes(done.stdout_bytes)
    assert Schema.load(path).entities["merchant"] == "Händler"


def test_the_schema_for_machines_is_one_value(tmp_path: Path) -> None:
    """`--json` gives the keys, the evidence, what was left out and what is unknown."""
    source, _ = dollars(tmp_path, 300)
    done = CliRunner().invoke(main, ["schema", "infer", source, "--json"])
    answer = json.loads(done.stdout)
    assert Schema.of(**answer["schema"]).label == "Is Fraud?"
    assert {"evidence", "left_out", "unknown", "rows", "sampled", "source", "schema"} == set(answer)


def test_a_profile_for_machines_is_one_value(tmp_path: Path) -> None:
    """`--json` gives the profile's numbers, and where the schema came from."""
    source, _ = dollars(tmp_path, 300)
    answer = json.loads(CliRunner().invoke(main, ["data", "describe", source, "--json"]).stdout)
    assert answer["rows"] == 300
    assert answer["schema"] == "an inferred schema"
    assert answer["frauds"] == sum(span["frauds"] for span in answer["spans"])


@pytest.mark.slow
def test_a_profile_of_many_columns_stays_short(tmp_path: Path) -> None:
    """Of hundreds of columns with gaps the worst are listed, and the others counted."""
    source, _ = wide(tmp_path, 150)
    shown = CliRunner().invoke(main, ["data", "describe", source]).stdout
    assert "more columns have gaps" in shown
    assert len(shown.splitlines()) < 90


def test_a_simulation_is_described_too() -> None:
    """`simulator:ROWS` is a source like any other."""
    answer = json.loads(CliRunner().invoke(main, ["data", "describe", "simulator:500", "--json"]).stdout)
    assert answer["rows"] == 500


def test_the_demo_names_the_candidates_before_it_begins(tmp_path: Path) -> None:
    """Without a label the demo refuses, names what it may be, and leaves no folder behind."""
    source, _ = hours(tmp_path, 300)
    with pytest.raises(ConfigError) as error:
        demo.run(tmp_path / "demo", data=source)
    assert "--label 'isFraud' or --label 'isFlaggedFraud'" in error.value.fix
    assert not (tmp_path / "demo").exists()


def test_a_label_without_data_is_wrong_usage() -> None:
    """`--label` describes `--data`."""
    done = CliRunner().invoke(main, ["demo", "--label", "x"])
    assert done.exit_code == 2
    assert "--data" in done.output


def test_make_passes_on_what_it_is_given() -> None:
    """`make demo DATA=... LABEL=...` takes names with spaces and question marks."""
    command = [
        "make",
        "--no-print-directory",
        "-n",
        "-o",
        ".venv/.ready",
        "demo",
        "DATA=my file.csv",
        "LABEL=Is Fraud?",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    last = done.stdout.strip().splitlines()[-1]
    assert shlex.split(last)[-4:] == ["--data", "my file.csv", "--label", "Is Fraud?"]


class _Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_a_bar_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar appears with the first share and is gone with the last; it stands on standard error."""
    screen = _Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with bar("Reading") as told:
        assert told is not None
        assert screen.getvalue() == ""
        told(0.25)
        told(1.0)
        drawn = screen.getvalue()
        told(0.5)  # a second reading, as of a file that was looked at first
        told(1.0)
        again = screen.getvalue().removeprefix(drawn)
    assert "Reading" in drawn
    assert "Reading" in again
    assert screen.getvalue() == drawn + again


def test_who_is_no_terminal_sees_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log gets nothing."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with bar("Reading") as told:
        assert told is None
