"""The scorer contract in an environment that has the model's own requirements and nothing of this project."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pytest

from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import by_time
from tests.support.effort import graded
from tests.support.tables import table

_SCORE = """
import importlib.util, json, sys
assert importlib.util.find_spec("fds_mlflow") is None, "the environment is not bare"
import mlflow, pandas
frame = pandas.read_parquet("rows.parquet")
print(json.dumps(mlflow.pyfunc.load_model(sys.argv[1]).predict(frame).tolist()))
"""


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("algorithm", "categorical"),
    graded([("lightgbm", False), ("lightgbm", True), ("isolation_forest", True)], quick=0, tested=1),
    ids=["booster", "lightgbm-pipeline", "isolation-forest"],
)
def test_loads_and_scores_with_its_own_requirements_only(
    mlflow_uri: str, tmp_path: Path, algorithm: str, categorical: bool
):
    """In a virtual environment made from the model's requirements.txt it scores as it did here."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not Path(uv).is_file():
        pytest.skip("uv is not installed")
    split = by_time(table(categorical=categorical))
    trained = train(split, algorithm=algorithm, params={"n_estimators": 20})
    folder = Path(mlflow.artifacts.download_artifacts(trained.model_uri, dst_path=str(tmp_path / "model")))
    with tempfile.TemporaryDirectory() as elsewhere:
        bare = Path(elsewhere)
        split.test.x.to_parquet(bare / "rows.parquet")
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, bare / "venv"], check=True)
        python = bare / "venv" / "bin" / "python"
        install = [uv, "pip", "install", "-q", "--python", python, "-r", folder / "requirements.txt"]
        subprocess.run(install, check=True)
        answer = subprocess.run(
            [python, "-I", "-W", "ignore", "-c", _SCORE, str(folder)],
            cwd=bare,
            capture_output=True,
            text=True,
            check=False,
        )
    assert answer.returncode == 0, answer.stderr
    here = mlflow.pyfunc.load_model(trained.model_uri).predict(split.test.x)
    np.testing.assert_allclose(json.loads(answer.stdout), here, rtol=1e-12)
