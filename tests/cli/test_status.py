"""`fds canary status`: where a rollout stands, how the last one ended, and waiting for the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fds_mlflow.registry.mlflow_store import MlflowStore
from tests.cli.test_main import answer, fds, fraud, saved

__all__ = ["fraud", "saved"]

pytestmark = pytest.mark.slow


@pytest.fixture
def under_way(fraud: MlflowStore, tmp_path: Path) -> MlflowStore:
    """Version 2 is the canary of version 1."""
    (tmp_path / "plan.yaml").write_text("steps: [10, 100]\nbake_time: 24h\nmax_step_time: 7d\n")
    answer("promote", "fraud", "1")
    answer("canary", "start", "fraud", "2", "--plan", str(tmp_path / "plan.yaml"))
    return fraud


def test_a_status_says_how_long_and_what_is_missing(under_way: MlflowStore) -> None:
    """The time in the step, what is left of it, and the recommendation with its reason."""
    said = " ".join(fds("canary", "status", "fraud").output.split())
    assert "in this step for" in said
    assert "bakes for another" in said
    assert "left" in said
    advice = answer("canary", "status", "fraud")["recommendation"]
    assert f"recommendation: {advice['reason']}"[:60] in said


def test_without_a_rollout_the_last_one_is_told(under_way: MlflowStore) -> None:
    """It is refused as ever, and says how the last one ended, who ended it and why."""
    answer("canary", "abort", "fraud", "--reason", "it blocks everybody")
    told = fds("canary", "status", "fraud")
    assert told.exit_code == 1
    ended = "no active rollout; the last one, of version 2: aborted by hand (ann): it blocks everybody"
    assert ended in told.stderr
    assert ended in json.loads(fds("canary", "status", "fraud", "--json").stdout)["error"]


@pytest.mark.parametrize("how", ["--wait", "--watch"])
def test_the_exit_code_says_how_it_ended(under_way: MlflowStore, how: str) -> None:
    """4 while it goes on and the time is over, 3 for an abort, 0 for a canary that became champion."""
    over = fds("canary", "status", "fraud", how, "--timeout", "0s", "--json")
    assert over.exit_code == 4
    assert json.loads(over.stdout)["ended"] is False
    assert "the rollout goes on" in over.stderr
    answer("canary", "abort", "fraud", "--reason", "harm")
    assert fds("canary", "status", "fraud", how).exit_code == 3
    answer("canary", "start", "fraud", "2")
    answer("canary", "complete", "fraud", "--force", "--reason", "now")
    ended = fds("canary", "status", "fraud", how)
    assert ended.exit_code == 0
    assert "of version 2: forced (ann): now" in ended.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [(["--timeout", "1h"], "--watch or --wait"), (["--wait", "--watch"], "exclude each other")],
)
def test_options_that_need_one_another_say_so(mlflow_uri: str, options: list[str], says: str) -> None:
    """Usage that makes no sense is refused before a registry is asked."""
    found = fds("canary", "status", "fraud", *options)
    assert found.exit_code == 2
    assert says in found.stderr
