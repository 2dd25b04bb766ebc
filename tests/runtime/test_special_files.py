"""Files that are none: a device has no end and a pipe waits, so each door refuses them before it opens them."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fds_mlflow.cli.main import main
from fds_mlflow.data import readers
from fds_mlflow.data.inference import infer
from fds_mlflow.data.schema import Schema
from fds_mlflow.data.transactions import load
from fds_mlflow.errors import FdsError
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.outcomes.label_file import import_labels
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.rollouts.plan.file import load_plan
from fds_mlflow.runtime import text_file
from fds_mlflow.workflows.adoption import rows

PLAIN = {"transaction_id": None, "time": None, "amount": "a"}
DOORS: dict[str, tuple[tuple[str, ...], Callable[[Path], Any]]] = {
    "plan": ((".yaml",), load_plan),
    "schema": ((".yaml",), Schema.load),
    "features": ((".yaml",), FeatureSpec.load),
    "labels": ((".csv", ".parquet"), lambda path: import_labels(OutcomeStore("sqlite://"), path)),
    "data": ((".csv", ".parquet", ".xlsx", ".csv.gz"), lambda path: load(path, PLAIN)),
    "inference": ((".csv", ".parquet"), lambda path: infer(str(path), None, labelled=False)),
    "adopted rows": ((".csv", ".parquet"), lambda path: rows.read([str(path)])),
    "column names": ((".csv", ".parquet"), readers.column_names),
}
CASES = [(door, ending) for door, (endings, _) in DOORS.items() for ending in endings]


@pytest.mark.parametrize("kind", ["device", "pipe"])
@pytest.mark.tested(50)
@pytest.mark.parametrize(("door", "ending"), CASES)
def test_what_is_no_file_is_refused_unopened(door: str, ending: str, kind: str, tmp_path: Path) -> None:
    """`/dev/zero` and a pipe that nobody writes to are refused at once, whatever is read and whatever its name says."""
    path = tmp_path / f"it{ending}"
    path.symlink_to("/dev/zero") if kind == "device" else os.mkfifo(path)
    with pytest.raises(FdsError, match="a device, a pipe or a socket") as error:
        DOORS[door][1](path)
    assert str(path) in error.value.what
    assert error.value.fix


def test_the_command_line_refuses_them_too(tmp_path: Path) -> None:
    """Where a verb opens the file itself: a history to import, and one to rehearse on."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "plan.yaml").write_text("steps: [10, 100]")
    rehearse = ["canary", "rehearse", "--plan", str(tmp_path / "plan.yaml"), "--data"]
    for words in (
        ["history", "import", "fraud"],
        rehearse,
        ["plan", "check"],
    ):
        for path in ("/dev/zero", str(tmp_path / "pipe")):
            told = CliRunner().invoke(main, ["--tracking-uri", f"sqlite:///{tmp_path}/m.db", *words, path])
            assert told.exit_code == 1, told.output
            assert "a device, a pipe or a socket" in told.stderr
            assert "Fix: " in told.stderr


def test_a_folder_is_read_without_what_is_no_file(tmp_path: Path) -> None:
    """A pipe beside the files of a folder is passed over."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "a.csv").write_text("a\n1\n")
    assert len(load(tmp_path, PLAIN)) == 1


@pytest.mark.parametrize("kind", ["plan", "labels", "data"])
def test_a_small_file_that_unpacks_to_much_is_refused(kind: str, tmp_path: Path) -> None:
    """A line without an end, packed into few bytes, is refused by its length and fills no memory."""
    path = tmp_path / ("it.yaml" if kind == "plan" else "it.csv.gz")
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write({"labels": b"transaction_id,status,known_at\n", "data": b"b,a\n"}.get(kind, b""))
        for _ in range(40):
            file.write(b"1" * 2**20)
    with pytest.raises(FdsError, match=r"more than 1,048,576 characters|8,388,608 characters|cannot read") as error:
        DOORS[kind][1](path)
    assert error.value.fix


def test_lines_are_bounded(tmp_path: Path) -> None:
    """A line that is too long is named by its number."""
    path = tmp_path / "it.txt"
    path.write_text(f"a\n{'b' * text_file.LONGEST_LINE}\n")
    with text_file.opened(path) as file, pytest.raises(FdsError, match="line 2 of it"):
        list(text_file.lines(file, "it"))
