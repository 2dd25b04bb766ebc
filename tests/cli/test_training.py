"""Training from the command line: what was left out is said, and what should not be believed is not put forward."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from fds_mlflow import ManagedModel
from fds_mlflow.cli.main import main

pytestmark = pytest.mark.slow  # each trains: tests/training has the rules in quick

SCHEMA = {"transaction_id": None, "time": None, "amount": "eur", "entities": {"shop": "shop"}, "label": "fraud"}
QUICK = ("--param", "n_estimators=20", "--param", "eta=0.2")


def fds(*words: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, words)


@pytest.fixture
def orders(mlflow_uri: str, tmp_path: Path) -> pd.DataFrame:
    """Orders of a file without a time, in the folder of the test; `closed` is only filled in for frauds."""
    rng = np.random.default_rng(1)
    fraud = (rng.random(1500) < 0.1).astype(int)
    frame = pd.DataFrame({"eur": np.exp(rng.normal(3 + fraud, 1)), "fraud": fraud})
    frame["shop"] = rng.choice(list("abc"), len(frame))
    frame["closed"] = np.where(fraud == 1, rng.random(len(frame)), np.nan)
    return frame


def write(frame: pd.DataFrame, **roles: object) -> tuple[str, ...]:
    """Write rows and schema; the options that name them."""
    frame.to_csv("orders.csv", index=False)
    Path("orders.schema.yaml").write_text(json.dumps({**SCHEMA, **roles}))
    return ("--data", "orders.csv")


@pytest.mark.campaign
def test_a_file_without_a_time_is_trained_on_and_compared(orders: pd.DataFrame) -> None:
    """The parts are drawn at random and this is said; no period is claimed; both algorithms and compare bear it."""
    data = write(orders, categorical=["shop"])
    shown = fds("train", "fraud", *data, *QUICK)
    assert shown.exit_code == 0, shown.output
    assert "the parts are drawn at random" in shown.stdout
    assert [word in shown.stdout for word in ("validation", "frauds", "flagged", "features: 2")] == [True] * 4
    assert "Warning" not in shown.output
    told = json.loads(fds("train", "fraud", "--algorithm", "isolation_forest", *data, "--json").stdout)
    assert told["parts"]["test"]["rows"] == 300
    assert sum(part["frauds"] for part in told["parts"].values()) == sum(orders["fraud"])
    assert told["warnings"] == []
    assert any("names no time" in note for note in told["notes"])
    run = mlflow.get_run(told["run_id"])
    assert "fds.period" not in run.data.tags
    assert not [tag for given in run.inputs.dataset_inputs for tag in given.tags if tag.key == "period"]
    description = mlflow.MlflowClient().get_model_version("fraud", "2").description
    assert "900 transactions (orders.csv)" in description
    compared = fds("compare", "fraud", "1", "2", *data, "--n-boot", "20", "--json")
    assert compared.exit_code == 0, compared.output
    refused = fds("train", "fraud", *data, "--split", "time")
    assert refused.exit_code == 1
    assert "leave --split out" in refused.stderr


@pytest.mark.campaign
def test_a_feature_that_knows_the_label_is_named_and_not_staged(orders: pd.DataFrame) -> None:
    """On standard error, in JSON, in run, version and description; `retrain` says why it stages nothing."""
    data = write(orders, numeric=["closed"])
    made = fds("train", "fraud", *data, *QUICK, "--json")
    assert made.exit_code == 0, made.output
    assert "Warning: lightgbm: feature 'closed' alone tells fraud from genuine" in made.stderr
    told = json.loads(made.stdout)
    assert ["'closed'" in warning for warning in told["warnings"]] == [True]
    client = mlflow.MlflowClient()
    version = client.get_model_version("fraud", str(told["version"]))
    assert json.loads(version.tags["fds.warnings"]) == told["warnings"]
    assert json.loads(client.get_run(told["run_id"]).data.tags["fds.warnings"]) == told["warnings"]
    assert "**Warning:** feature 'closed'" in version.description
    summary = mlflow.artifacts.load_dict(f"runs:/{told['run_id']}/summary.json")
    assert summary == {name: told[name] for name in ("parts", "features", "trees", "warnings", "notes")}
    retrained = json.loads(fds("retrain", "fraud", *data, "--json").stdout)
    assert retrained["staged"] is None
    assert "nothing was staged: feature 'closed'" in retrained["message"]
    assert {view.stage for view in ManagedModel("fraud").overview().versions} == {"None"}


@pytest.mark.campaign
def test_retrain_stages_what_is_sound(orders: pd.DataFrame) -> None:
    """Without the column that leaks the better version is staged; a validation with few frauds would be warned of."""
    made = fds("retrain", "fraud", *write(orders))
    assert made.exit_code == 0, made.output
    assert "is staged, the first candidate" in made.stdout
    assert "Note: the data have no time" in made.stdout
    few = orders[(orders["fraud"] == 0) | (orders.groupby("fraud").cumcount() < 60)]
    warned = fds("train", "fraud", *write(few), *QUICK)
    assert "Warning: lightgbm: validation holds 12 frauds, fewer than 20" in warned.stderr


def test_gaps_and_windows_are_spoken_of(mlflow_uri: str) -> None:
    """With a time, `--gap` sets the gap; rows in it are noted."""
    made = fds("train", "fraud", "--data", "simulator:8000", "--gap", "2d", *QUICK, "--json")
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert mlflow.get_run(told["run_id"]).data.params["split_gap_days"] == "2"
    assert any("in the gaps of 2 d" in note for note in told["notes"])
    wrong = fds("train", "fraud", "--data", "simulator:8000", "--gap", "soon")
    assert (wrong.exit_code, "7d" in wrong.stderr) == (1, True)
