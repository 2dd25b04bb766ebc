"""Training on more than fits into memory: the same versions, from the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fds_mlflow import ManagedModel
from fds_mlflow.cli import main
from fds_mlflow.errors import ConfigError
from fds_mlflow.simulator import simulate
from fds_mlflow.workflows import Source, prepare, train

ROWS = 4_000


@pytest.fixture
def file(mlflow_uri: str, tmp_path: Path) -> Path:
    """Transactions beside an empty registry."""
    assert mlflow_uri
    simulate.transactions(ROWS, seed=3, fraud_rate=0.05).to_parquet(tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["lightgbm", "isolation_forest"])
def test_a_training_within_a_limit_of_memory_is_the_same_training(file: Path, algorithm: str) -> None:
    """Model, threshold, figures, parts, notes and what it declares are those of the training in memory."""
    params: dict[str, Any] = {"n_estimators": 20}
    made = [
        train(prepare(Source(str(file)), memory_limit=limit), "fraud", algorithm=algorithm, params=params)
        for limit in (None, "500MB")
    ]
    same = [replace(one, run_id="", model_uri="", version=None) for one in made]
    assert same[0] == same[1]
    model = ManagedModel("fraud")
    assert model.declared(1) == model.declared(2)


@pytest.mark.parametrize("data", ["simulator:500", "outcomes:fraud", "sqlite:///shop.db"])
def test_only_files_are_read_within_a_limit(data: str) -> None:
    """Any other source is refused, with what to do."""
    with pytest.raises(ConfigError, match="no file") as refused:
        prepare(Source(data), memory_limit="1GB")
    assert "--memory-limit" in refused.value.fix


@pytest.mark.slow
def test_the_command_line_takes_a_limit(file: Path) -> None:
    """`fds train --memory-limit` registers a version; a limit that is none is refused with how to write one."""
    command = ["train", "fraud", "--data", str(file), "--param", "n_estimators=5", "--memory-limit"]
    assert CliRunner().invoke(main, [*command, "500MB"], catch_exceptions=False).exit_code == 0
    assert ManagedModel("fraud").declared(1) is not None
    refused = CliRunner().invoke(main, [*command, "lots"])
    assert refused.exit_code != 0
    assert "2GB" in refused.output
