"""`fds retrain` on the command line: what it takes, what it prints, and where it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fds_mlflow import ManagedModel
from fds_mlflow.cli.main import main
from tests.support import retraining_world as world

LOOP = ["--labels", "outcomes", "--label-maturity", "14d", "--stage", "always"]


def fds(*words: str) -> tuple[int, str]:
    """The exit code and all that was printed."""
    done = CliRunner().invoke(main, [*words])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--label-maturity", "30d"], "say how the labels of --labels are taken"),
        (["--unreported", "left-out", "--labels", "data"], "say how the labels of --labels are taken"),
        (["--labels", "outcomes", "--label-maturity", "soon"], "--label-maturity"),
        (["--labels", "parquet:here"], "is no database"),
        (["--canary", "last"], "no rollout of 'fraud' has a plan to go by yet"),
        (["--canary", "nowhere.yaml"], "nowhere.yaml"),
        (["--stage", "sometimes"], "never"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_trained(words: list[str], said: str, mlflow_uri: str) -> None:
    """A wish that cannot be met names the option, and leaves no version behind."""
    assert mlflow_uri
    world.ManagedModel("fraud")
    import mlflow

    mlflow.MlflowClient().create_registered_model("fraud")
    code, told = fds("retrain", "fraud", "--data", "simulator:500", *words)
    assert code in (1, 2)
    assert said in " ".join(told.split())
    assert ManagedModel("fraud").session.versions() == []


@pytest.mark.slow
def test_the_account_is_printed_and_told_to_machines(mlflow_uri: str, tmp_path: Path) -> None:
    """People read that labels known are those used and those left out; machines the same, and that nothing is new."""
    assert mlflow_uri
    world.write(tmp_path)
    words = ["--outcomes", "sqlite:///outcomes.db", "retrain", "fraud", "--data", "transactions.parquet", *LOOP]
    words += ["--algorithm", world.ALGORITHMS[0]]
    code, told = fds(*words)
    assert code == 0, told
    flat = " ".join(told.split())
    known = len(world.model().outcomes.all_cases())
    assert f"{known} labels known = " in flat
    assert "is staged, the first candidate" in flat
    code, told = fds(*words, "--json")
    assert code == 0, told
    value = json.loads(told)
    account = value["account"]
    assert value["repeated"] is True
    assert account["labels"] == known == account["used"] + sum(account["left_out"].values())
    assert len(ManagedModel("fraud").session.versions()) == 1
