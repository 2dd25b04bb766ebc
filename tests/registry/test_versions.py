"""Clients and servers with MLflow of different versions, from the environments that `make matrix` builds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pytest
from packaging.version import Version

from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import by_time
from tests.support.places import ROOT
from tests.support.served import Served
from tests.support.servers import Server, running
from tests.support.tables import table

HERE = Path(sys.executable)
ROWS = ("oldest", "middle")


def _python(row: str) -> Path:
    """The interpreter of a row of the matrix, or a skip that says how to get it."""
    python = ROOT / ".matrix" / row / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"no environment of that row: make matrix, or .ci/matrix {row}")
    return python


@pytest.mark.campaign
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("serves", ["that", "this"])
def test_clients_and_servers_need_not_be_of_one_version(row: str, serves: str, tmp_path: Path) -> None:
    """Every operation works from a client of one MLflow on a server of another, and what such a server leaves of a
    deleted canary is found by the doctor and takes no traffic; `fds serve` follows it.
    """
    other = _python(row)
    server, client = (other, HERE) if serves == "that" else (HERE, other)
    (tmp_path / "client").mkdir()
    with running(Server(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path, python=server)) as at:
        keeps_aliases = Version(httpx.get(f"{at.url}/version").text) < Version("3.17")
        said = _told(client, at.url, tmp_path / "client")
        served = Served(tmp_path / "serve", at.url, tmp_path / "cache", python=client)
        try:
            answer = served.ready().score(transaction_id="T1", amount=0.25, hour=1.0).json()
        finally:
            served.kill()
    assert said["healthy"] == []
    left = "the alias canary points at version 3, which does not exist"
    assert (left in said["left"]) == keeps_aliases
    assert said["routed"] == [1]
    assert said["events"] == ["promote", "start", "advance", "complete", "emergency", "start", "adopt", "start"]
    assert said["found"] == ["the history names versions that do not exist any more: 3"]
    assert said["models"][0]["model"] == "fraud"
    assert answer["score"] == 0.25


def _told(python: Path, url: str, folder: Path) -> dict[str, Any]:
    """What a client saw, by its own MLflow."""
    done = subprocess.run(
        [python, "-m", "tests.support.other_client", url, "fraud", folder],
        cwd=ROOT,
        env={**os.environ, "MLFLOW_TRACKING_URI": url, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


_SCORE = """
import json, sys
import mlflow, pandas
rows = pandas.read_parquet(sys.argv[2])
print(json.dumps(mlflow.pyfunc.load_model(sys.argv[1]).predict(rows).tolist()))
"""


@pytest.mark.campaign
@pytest.mark.parametrize("algorithm", ["lightgbm", "isolation_forest"])
@pytest.mark.parametrize("row", ROWS)
def test_what_is_trained_here_scores_in_an_older_environment(
    row: str, algorithm: str, mlflow_uri: str, tmp_path: Path
) -> None:
    """The older MLflow, pandas and scikit-learn load it, and give the same scores but for a processor's last digit."""
    split = by_time(table(categorical=True))
    trained = train(split, algorithm=algorithm, params={"n_estimators": 20})
    folder = mlflow.artifacts.download_artifacts(trained.model_uri, dst_path=str(tmp_path / "model"))
    split.test.x.astype(dict.fromkeys(split.test.categorical, object)).to_parquet(tmp_path / "rows.parquet")
    done = subprocess.run(
        [_python(row), "-c", _SCORE, folder, tmp_path / "rows.parquet"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    here = mlflow.pyfunc.load_model(folder).predict(split.test.x)
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(here.tolist(), rel=1e-12)
