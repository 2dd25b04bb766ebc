"""Files for schedulers start one and the same retraining, by a command line that the program takes."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fds_mlflow.cli.main import main
from fds_mlflow.runtime import environment
from tests.support.places import ROOT

FOLDER = ROOT / "deploy" / "retraining"


def _cron() -> str:
    lines = (FOLDER / "crontab").read_text().splitlines()
    (job,) = [line for line in lines if re.match(r"[\d*]", line)]
    assert re.match(r"17 2 \* \* \*  fds  ", job), "a minute, an hour, each day, as a user"
    return job.rpartition("&& ")[2]


def _systemd() -> str:
    (line,) = re.findall(r"^ExecStart=(.+)$", (FOLDER / "fds-retrain.service").read_text(), re.MULTILINE)
    return str(line)


def _airflow() -> str:
    tree = ast.parse((FOLDER / "airflow_dag.py").read_text())
    (call,) = [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "bash_command"]
    return str(ast.literal_eval(call.value))


def _github() -> Any:
    return yaml.safe_load((FOLDER / "github.yaml").read_text())


COMMANDS = {
    "cron": _cron(),
    "systemd": _systemd(),
    "airflow": _airflow(),
    "github": _github()["jobs"]["retrain"]["steps"][0]["run"].partition(" > ")[0],
}


@pytest.mark.parametrize("scheduler", COMMANDS)
def test_every_scheduler_starts_the_same_job(scheduler: str) -> None:
    """What it starts the program understands, and it is the night's job: labels of the store, a policy, the canary."""
    program, verb, *words = shlex.split(COMMANDS[scheduler])
    assert (program, verb) == ("/opt/fds/bin/fds", "retrain")
    options = main.commands["retrain"].make_context("retrain", words).params
    assert (options["model"], options["labels"], options["label_maturity"]) == ("fraud", "outcomes", "30d")
    assert (options["min_labels"], options["canary"], options["when"]) == (200, "last", "if-better")
    assert Path(options["data"]).name == "transactions.parquet"


def test_addresses_are_given_by_variables_that_the_program_reads() -> None:
    """The files name MLflow and the store by variables; none has a password that counts."""
    known = {"MLFLOW_TRACKING_URI", *(v for v in vars(environment).values() if isinstance(v, str) and v[:4] == "FDS_")}
    names = set(re.findall(r"^#?([A-Z_]+)=", (FOLDER / "retrain.env").read_text(), re.MULTILINE))
    assert {"MLFLOW_TRACKING_URI", "FDS_OUTCOMES_URI"} <= names <= known
    assert set(_github()["jobs"]["retrain"]["steps"][0]["env"]) <= known
    job = _github()["jobs"]["retrain"]
    assert job["timeout-minutes"] == 180
    assert _github()["concurrency"]["cancel-in-progress"] is False, "whoever waits goes on, nobody is killed"


@pytest.mark.slow
def test_systemd_takes_the_unit_and_the_timer(tmp_path: Path) -> None:
    """Both have keys that systemd knows, and the timer's night is a time."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    for name in ("fds-retrain.service", "fds-retrain.timer"):
        text = (FOLDER / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/fds/bin/fds", sys.executable))
    units = [str(tmp_path / name) for name in ("fds-retrain.service", "fds-retrain.timer")]
    done = subprocess.run([analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
