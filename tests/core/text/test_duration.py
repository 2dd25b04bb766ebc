"""Durations and rates: one grammar, wherever one is written."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.cli.main import main
from fds_mlflow.core.text.duration import describe_duration, from_duration, parse_duration, to_duration, to_rate
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.spec import Window

DAY = 86_400


@given(st.integers(0, 10**9))
def test_what_is_written_reads_the_same(seconds: int) -> None:
    """A duration written into a plan, a tag or a message can be given back."""
    span = timedelta(seconds=seconds)
    assert to_duration("it", from_duration(span)) == parse_duration(from_duration(span)) == span


@pytest.mark.parametrize("text", ["", "1h 30m", "30m1h", "h", "1.5h", "-1h", "1H", "90", "9" * 5_000 + "d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With how to write one, never as another time."""
    with pytest.raises(ValueError, match="1h30m"):
        parse_duration(text)
    with pytest.raises(ConfigError) as refused:
        to_duration("the bake time", text)
    assert "1h30m" in refused.value.fix


def test_schemas_and_features_take_what_plans_take() -> None:
    """`1h30m` is a label's delay and a window as well as a bake time."""
    roles = {"transaction_id": "id", "time": "t", "amount": "a", "label": "y", "label_delay": "1h30m"}
    assert Schema.model_validate(roles).label_delay == "1h30m"
    window = Window.model_validate({"entity": "customer_id", "windows": ["1h30m"], "aggregate": "count"})
    assert window.feature(window.windows[0]) == "customer_id_count_1h30m"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3_600, "1 h"),
        (3_605, "1 h"),
        (90_000, "1 d 1 h"),
        (DAY, "1 d"),
        (400 * DAY, "400 d"),
    ],
)
def test_durations_are_said_by_their_two_largest_units(seconds: float, words: str) -> None:
    """As people say them, in every view alike."""
    assert describe_duration(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("50/s", 50),
        ("2000/m", 2_000 / 60),
        ("2000/min", 2_000 / 60),
        ("36/h", 0.01),
        ("1e6/d", 1e6 / DAY),
        ("0.5/s", 0.5),
    ],
)
def test_rates_are_read_by_the_units_of_durations(text: str, rate: float) -> None:
    """A rate is written by the unit it is known in."""
    assert to_rate("--traffic", text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "50", "/s", "-1/s", "0/s", "5/y", "x/s", "1e999/s", "nan/s", 50])
def test_what_is_no_rate_is_refused(text: object) -> None:
    """With how to write one."""
    with pytest.raises(ConfigError) as refused:
        to_rate("--traffic", text)
    assert "2000/m" in refused.value.fix


def test_the_command_line_reads_a_rate_by_the_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fds plan check --traffic 2000/m` is understood as `2000/min` was."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    assert runner.invoke(main, ["plan", "template", "--output", "plan.yaml"]).exit_code == 0
    check = ["plan", "check", "plan.yaml", "--traffic"]
    said = {runner.invoke(main, [*check, rate]).output for rate in ("2000/m", "2000/min")}
    assert len(said) == 1
    assert "days" in said.pop()
