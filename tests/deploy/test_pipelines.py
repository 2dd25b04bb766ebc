"""The examples of pipelines are what their tools take, and do in order what the page about them says."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import click
import pytest
import yaml

from fds_mlflow import ManagedModel
from fds_mlflow.workflows import Source, prepare, train
from fds_mlflow.workflows.source import write_simulation
from tests.cli.test_fixes import command_of
from tests.support.places import ROOT

FOLDER = ROOT / "examples" / "pipelines"
ORDER = ["retrain", "canary rehearse", "canary start", "canary status", "canary report"]


def texts(path: Path) -> list[str]:
    """The texts of a file that may have commands; what is filled in later is a 1."""
    if path.suffix == ".yml":
        steps = yaml.safe_load(path.read_text())["jobs"]["release"]["steps"]
        return [re.sub(r"\$\{\{.*?\}\}", "1", step["run"]) for step in steps if "run" in step]
    nodes = list(ast.walk(ast.parse(path.read_text())))
    joined = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    found = [
        "".join(str(getattr(part, "value", "")) if isinstance(part, ast.Constant) else "1" for part in node.values)
        for node in nodes
        if isinstance(node, ast.JoinedStr)
    ]
    return found + [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in joined
    ]


def commands(path: Path) -> list[list[str]]:
    """Each call of `fds` in a file, in words, as far as the shell leaves them to it."""
    calls = [call for text in texts(path) for call in re.findall(r"(?:^|; |&& )(fds [^;|&>\n]*)", text, re.MULTILINE)]
    return [shlex.split(call)[1:] for call in calls]


@pytest.mark.parametrize("name", ["github_actions.yml", "airflow_dag.py"])
def test_every_command_is_one_of_ours(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line takes each call as it stands, and there is one for each step."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.yaml").touch()
    found = commands(FOLDER / name)
    assert {" ".join(words[: 1 if words[0] == "retrain" else 2]) for words in found} == set(ORDER)
    for words in found:
        try:
            command_of(words)
        except click.UsageError as error:
            pytest.fail(f"fds {shlex.join(words)}: {error.format_message()}")


@pytest.mark.slow
def test_the_workflow_is_one_of_githubs() -> None:
    """GitHub's own schema has every key of the workflow."""
    pytest.importorskip("check_jsonschema")
    checked = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*checked, FOLDER / "github_actions.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_dag_is_one_of_airflow_3() -> None:
    """Ruff's rules for Airflow find nothing that Airflow 3 has no more, or calls otherwise."""
    program = Path(sys.executable).with_name("ruff")
    rules = [program, "check", "--isolated", "--preview", "--select", "AIR"]
    done = subprocess.run([*rules, FOLDER / "airflow_dag.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# --- the tools are not installed: what the examples take of them, as far as a run in order needs it -------------------


class Failed(Exception):  # noqa: N818 - as Dagster and Prefect call it
    """A run that fails."""

    def __init__(self, message: str, **_: object) -> None:
        super().__init__(message)


def failed(message: str) -> None:
    """Prefect's state of a run that fails."""
    raise Failed(message)


def nothing(*_: object, **__: object) -> None:
    """What a run in order does not need."""


def prefect(step: Any) -> dict[str, dict[str, Any]]:
    """Prefect, by module."""
    states = {"Completed": nothing, "Failed": failed, "State": None}
    return {"prefect": {"task": step, "flow": lambda **_: lambda flow: flow}, "prefect.states": states}


def dagster(step: Any) -> dict[str, dict[str, Any]]:
    """Dagster, by module."""
    same = {"job": lambda job: job, "Output": lambda value: value, "MetadataValue": SimpleNamespace(path=str)}
    settings = dict.fromkeys(("Out", "RetryPolicy", "ScheduleDefinition", "Definitions"), nothing)
    return {"dagster": {"op": step, "Failure": Failed, **same, **settings}}


def loaded(path: Path, tool: Any, finish: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The names of an example on a stand-in of its tool; `taken` are its steps. Before it waits, `finish` is called."""
    taken: list[str] = []

    def step(function: Any = None, **_: Any) -> Any:
        def called(*args: Any) -> Any:
            taken.append(function.__name__)
            if function.__name__ == "ended":
                finish()
            made = function(*args)
            return next(made) if inspect.isgenerator(made) else made

        return step if function is None else called

    for name, attributes in tool(step).items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    names: dict[str, Any] = {"__name__": "example", "taken": taken}
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), names)
    return names


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("name", "tool", "job", "aborted"),
    [("prefect_flow.py", prefect, "release", False), ("dagster_job.py", dagster, "release_fraud", True)],
)
def test_a_night_leads_from_the_data_to_the_report(  # noqa: PLR0917 - parameters and fixtures
    name: str, tool: Any, job: str, aborted: bool, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps come in order on a real registry; an aborted canary fails the run, and is reported all the same."""
    monkeypatch.setenv("FDS_OUTCOMES_URI", f"sqlite:///{tmp_path / 'outcomes.db'}")
    data, plan, report = (tmp_path / name for name in ("transactions.parquet", "plan.yaml", "report.html"))
    write_simulation(data, rows=8_000, days=90, fraud_rate=0.03, seed=42)
    plan.write_text("steps: [10, 100]\nguardrails:\n  error_rate: {limit: 0.05}\n")
    model = ManagedModel("fraud")
    model.promote(int(train(prepare(Source(str(data))), "fraud", algorithm="isolation_forest").version or 0))

    def finish() -> None:
        _ = model.canary.abort(reason="harm") if aborted else model.canary.complete(reason="shown", force=True)

    example = loaded(FOLDER / name, tool, finish, monkeypatch)
    example.update(DATA=Source(str(data)), PLAN=plan, REPORT=report)
    with pytest.raises(Failed, match="aborted") if aborted else nullcontext():
        example[job]()
    assert example["taken"] == ["retrained", "rehearsed", "started", "ended", "reported"]
    assert model.overview().champion == (1 if aborted else 2)
    assert "nightly release" in report.read_text(encoding="utf-8")
