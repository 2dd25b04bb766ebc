"""`mlflow run`: every step of the lifecycle as an entry point, in this environment and in one that uv builds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import yaml

from fds_mlflow import ManagedModel
from tests.support import retraining_world
from tests.support.places import ROOT

MODEL = "fraud"
DATA = {"model": MODEL, "data": "simulator:6000", "split": "stratified"}


def _run(
    entry_point: str, env_manager: str = "local", uri: str = str(ROOT), commit: str | None = None, **parameters: str
) -> mlflow.entities.Run:
    """One `mlflow run` of this project; its MLflow run."""
    submitted = mlflow.projects.run(
        uri,
        entry_point=entry_point,
        version=commit,
        parameters=parameters,
        env_manager=env_manager,
        experiment_name=f"fds/{MODEL}",
        synchronous=True,
    )
    return mlflow.get_run(submitted.run_id)


@pytest.fixture(autouse=True)
def _python_on_path(monkeypatch: pytest.MonkeyPatch, mlflow_uri: str) -> None:
    """The entry points say `python`, and uv is looked up by name: both are beside the running interpreter."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.setenv("FDS_OUTCOMES_URI", f"sqlite:///{Path.cwd() / 'outcomes.db'}")


def test_every_entry_point_has_typed_parameters() -> None:
    """Each parameter of each entry point says its type."""
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    for entry in project["entry_points"].values():
        assert all(parameter["type"] in ("string", "float") for parameter in entry["parameters"].values())


@pytest.mark.campaign
@pytest.mark.slow
def test_a_step_runs_in_the_local_environment() -> None:
    """An entry point works as an `mlflow run`: the run is finished, with its figures and the digest of its data."""
    run = _run("train_lightgbm", **DATA)
    assert run.info.status == "FINISHED"
    assert "average_precision" in run.data.metrics
    assert run.data.tags["fds.digest"]


GIT_URL = "https://git.example/fds-mlflow.git"


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The git repository behind `GIT_URL`, which holds the project as it is here; its tag `v1` is the last commit."""
    origin = tmp_path / "origin"
    origin.mkdir()
    for name in ("fds_mlflow", "plugins"):
        shutil.copytree(ROOT / name, origin / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("MLproject", "conda.yaml", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, origin)
    named = ("-c", "user.name=ann", "-c", "user.email=ann@localhost")
    for words in (["init", "-b", "main"], ["add", "."], ["commit", "-m", "The project"], ["tag", "v1"]):
        subprocess.run(["git", *named, *words], cwd=origin, check=True, capture_output=True)
    # MLflow takes whatever is there on this machine for a folder, and clones nothing: git is told who is meant.
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{origin.as_uri()}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", GIT_URL)
    return origin


@pytest.mark.campaign
def test_the_project_runs_from_a_git_url(origin: Path) -> None:
    """`mlflow run URL` clones the project and runs an entry point from the clone, at a tag as well as at its head."""
    for commit in (None, "v1"):
        run = _run("train_lightgbm", uri=GIT_URL, commit=commit, **DATA)
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.source.name"] == GIT_URL
        head = subprocess.run(["git", "rev-parse", "v1"], cwd=origin, check=True, capture_output=True, text=True)
        assert run.data.tags["mlflow.source.git.commit"] == head.stdout.strip()


@pytest.mark.slow
def test_the_entry_points_are_found_behind_a_git_url(origin: Path) -> None:
    """MLflow clones the project from a git URL and finds its entry points and parameters."""
    from mlflow.projects.utils import fetch_and_validate_project

    clone = Path(fetch_and_validate_project(GIT_URL, "v1", "promote", {"version": "1"}))
    assert clone != origin
    assert (clone / "fds_mlflow" / "__main__.py").is_file()


@pytest.mark.campaign
def test_the_lifecycle_runs_in_the_local_environment() -> None:
    """Training, promotion, a canary and a rollback work as `mlflow run` entry points, one process after another."""
    forest = _run("train_isolation_forest", **DATA)
    boosting = _run("train_lightgbm", **DATA)
    for run in (forest, boosting):
        assert run.info.status == "FINISHED"
        assert "average_precision" in run.data.metrics
        assert run.data.tags["fds.digest"]
    _run("compare", **DATA, baseline="1", candidate="2")
    _run("promote", model=MODEL, version="1", reason="first model")
    _run("canary_start", model=MODEL, version="2", steps="50,100")
    _run("canary_status", model=MODEL)
    _run("canary_advance", model=MODEL)
    _run("canary_complete", model=MODEL, reason="it's good; $(no shell) reads this")
    _run("rollback_emergency", model=MODEL, reason="drill")
    told = [(event.kind.value, event.to_version, event.reason) for event in ManagedModel(MODEL).history()]
    assert told == [
        ("emergency", 1, "drill"),
        ("complete", 2, "it's good; $(no shell) reads this"),
        ("advance", 2, ""),
        ("start", 2, "mlflow run"),
        ("promote", 1, "first model"),
    ]


@pytest.mark.campaign
def test_a_night_is_one_run_and_the_same_night_makes_nothing_twice() -> None:
    """`main` joins the labels of a store, and its run tells what became of them; run again, it says nothing is new."""
    here = Path.cwd()
    retraining_world.write(here)
    store = f"sqlite:///{here / 'outcomes.db'}"
    night = {"model": MODEL, "data": str(here / "transactions.parquet"), "labels": store, "label_maturity": "14d"}
    first = _run("main", **night, stage="always")
    known, used, left = (first.data.metrics[f"labels_{what}"] for what in ("known", "used", "left_out"))
    assert known == used + left > used > 0
    again = _run("main", **night, stage="always")
    assert again.info.status == "FINISHED"
    assert again.data.tags["fds.message"].startswith("nothing is new")
    assert len(ManagedModel(MODEL).overview().versions) == 2


@pytest.mark.campaign
def test_the_retraining_runs_in_an_environment_of_its_own() -> None:
    """`main` trains both algorithms in an environment that uv builds from conda.yaml, and stages the better one."""
    run = _run("main", env_manager="uv", **{**DATA, "data": "simulator:20000"})  # enough frauds to believe a validation
    assert run.info.status == "FINISHED"
    model = ManagedModel(MODEL)
    stages = {view.version: view.stage for view in model.overview().versions}
    assert sorted(stages.values()) == ["None", "Staging"]
    staged = next(version for version, stage in stages.items() if stage == "Staging")
    assert run.data.tags["fds.staged"] == str(staged)
