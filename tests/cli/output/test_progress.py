"""Long jobs tell how far they are: a bar on a terminal, a line for each tenth elsewhere, nothing to machines."""

from __future__ import annotations

import pytest

from fds_mlflow.cli.output.progress import parts


def test_a_log_gets_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    """However many parts there are, a pipe or a log file is not filled; standard output stays the answer's."""
    with parts("replaying", as_json=False) as done:
        assert done is not None
        for number in range(1_001):
            done(number, 1_000)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"replaying … {percent} %" for percent in range(0, 101, 10)]


def test_machines_are_told_nothing() -> None:
    """With `--json` there is nobody to tell."""
    with parts("replaying", as_json=True) as done:
        assert done is None
