"""What a training and a retraining say while they run, and at their end."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fds_mlflow.cli.output import progress, tables
from tests.cli.test_main import fds

pytestmark = pytest.mark.slow

DATA = ("--data", "simulator:4000", "--split", "stratified")


def test_a_training_says_what_it_does_and_what_comes_next(mlflow_uri: str) -> None:
    """Each stage as a line where no terminal is; at the end validation beside test, where to look, and the command."""
    first = fds("train", "fraud", *DATA, "--param", "n_estimators=5")
    assert first.exit_code == 0, first.output
    assert "reading the data, computing the features …\ntraining lightgbm on " in first.stderr
    told = " ".join(first.stdout.split())
    assert "┃ metric ┃ validation ┃ test ┃" in told
    assert "val_" not in told
    assert "Next: fds promote fraud 1" in told
    assert f"In MLflow: mlflow server --backend-store-uri {mlflow_uri}" in told
    assert fds("promote", "fraud", "1").exit_code == 0
    second = fds("train", "fraud", *DATA, "--param", "n_estimators=6")
    assert second.exit_code == 0, second.output
    assert "Next: fds compare fraud 1 2, then fds canary start fraud 2" in second.stdout


def test_a_retraining_tells_each_stage_as_it_begins(mlflow_uri: str) -> None:
    """Reading, features, each training, comparing: one line each, on standard error; none for machines."""
    made = fds("retrain", "fraud", *DATA, "--algorithm", "isolation_forest")
    assert made.exit_code == 0, made.output
    told = [line for line in made.stderr.splitlines() if line.endswith(" …")]
    assert told == ["read …", "features …", "train isolation_forest …", "compare …"]
    assert " …\n" not in fds("retrain", "fraud", *DATA, "--algorithm", "isolation_forest", "--json").output


def test_on_a_terminal_the_stage_is_shown_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, and gone at the end."""
    screen = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr(tables, "console", lambda **_: screen)
    with progress.stages(as_json=False) as stage:
        stage("training [red]lightgbm")
    assert isinstance(screen.file, io.StringIO)
    said = screen.file.getvalue()
    assert "training [red]lightgbm …" in said
    assert said.endswith("\x1b[1A\x1b[2K") or "\x1b[?25h" in said
