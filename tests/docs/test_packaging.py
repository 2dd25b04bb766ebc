"""What is shipped agrees with itself: dependencies, lock, entry points, names, and no trace of a machine."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import fds_mlflow
from fds_mlflow.cli.main import main
from tests.support.places import ROOT


@cache
def project() -> dict[str, Any]:
    """`pyproject.toml`."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def tracked() -> list[Path]:
    """Every file that git knows; a copy without git has none to look at."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def normal(requirement: str) -> str:
    """A requirement's name as packages are compared by (PEP 503), without extras and version."""
    name = re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def test_conda_and_pyproject_name_the_same_dependencies() -> None:
    """`mlflow run` builds the environment that `pip install` builds."""
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text(encoding="utf-8"))
    (pip,) = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    assert pip == project()["project"]["dependencies"]
    assert f"python{project()['project']['requires-python']}" in conda["dependencies"]
    assert conda["name"] == project()["project"]["name"]


def test_the_page_of_versions_shows_the_ranges_that_are_declared() -> None:
    """Whoever reads which versions are taken reads what pip will take."""
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| \S+ \| `([^`]+)` \|", page, re.MULTILINE)
    assert set(shown) <= set(project()["project"]["dependencies"])
    assert {normal(one) for one in shown} >= {"mlflow", "pandas", "numpy", "scikit-learn"}


def locked() -> dict[str, str]:
    """Names and versions of the lock file."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^ ;\\]+)", text, re.MULTILINE)
    return {normal(name): version for name, version in pins}


def test_the_lock_file_pins_every_dependency() -> None:
    """Every dependency, of the package and of its development, has one exact version with hashes."""
    wanted = [*project()["project"]["dependencies"], *project()["project"]["optional-dependencies"]["dev"]]
    missing = {normal(requirement) for requirement in wanted} - set(locked()) - {normal(project()["project"]["name"])}
    assert missing == set()
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / "requirements.lock").read_text(encoding="utf-8"))
    pinned = [block for block in blocks if re.match(r"[A-Za-z0-9_.-]+(\[.*?\])?==", block)]
    assert [block.split(" ")[0] for block in pinned if "--hash=sha256:" not in block] == []
    assert len(pinned) >= len(wanted)


def test_the_lock_file_satisfies_the_bounds() -> None:
    """The pinned versions lie within what pyproject asks for, so that both ways of installing work."""
    from packaging.requirements import Requirement

    pins = locked()
    for text in project()["project"]["dependencies"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[normal(requirement.name)]), text


FORBIDDEN = {
    "a registry's host": re.compile(r"(?<![\w.])(?:pypi\.org|files\.pythonhosted\.org|index-url|extra-index-url)"),
    "an absolute path of a machine": re.compile(r"(?<![\w.])/(?:home|Users|root|work|opt/venv)/[\w.-]+"),
}
MAY = {
    Path("Makefile"): {"a registry's host"},  # the very switch that keeps the host out of the lock file
    Path("tests/docs/test_packaging.py"): set(FORBIDDEN),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_carries_a_trace_of_a_machine(what: str) -> None:
    """Nobody's index, home folder or checkout stands in what is published."""
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        if what not in MAY.get(path.relative_to(ROOT), set())
        for match in FORBIDDEN[what].finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def test_no_run_data_is_tracked() -> None:
    """Runs, artifacts and databases of a try-out stay out of the repository."""
    unwanted = ("mlruns", "mlartifacts", "demo-output", ".venv")
    names = [path.relative_to(ROOT) for path in tracked()]
    assert [name for name in names if set(name.parts) & set(unwanted) or name.suffix in (".db", ".pkl")] == []


@pytest.mark.parametrize("name", fds_mlflow.__all__)
def test_public_names_are_there(name: str) -> None:
    """What `__all__` lists can be imported, has a docstring, and says where it lives."""
    thing = getattr(fds_mlflow, name)
    assert thing.__doc__
    assert thing.__module__.startswith("fds_mlflow.")


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A typo fails as it does with any module."""
    with pytest.raises(AttributeError, match="ManagedModle"):
        _ = fds_mlflow.ManagedModle


def test_console_script_and_plugins_resolve() -> None:
    """Each entry point of the metadata names something that is there."""
    groups = {"scripts": project()["project"]["scripts"], **project()["project"]["entry-points"]}
    for group in groups.values():
        for target in group.values():
            module, _, name = target.partition(":")
            thing = importlib.import_module(module)
            assert not name or callable(getattr(thing, name)), target


def entry_points() -> dict[str, Any]:
    """Those of `MLproject`."""
    points: dict[str, Any] = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"]
    return points


SAMPLE = {"version": "1", "baseline": "1", "candidate": "2", "reason": "because", "model": "fraud"}


@pytest.mark.parametrize("name", entry_points())
def test_every_entry_point_calls_a_command_that_is_there(name: str) -> None:
    """`mlflow run -e NAME` leads to a command with exactly these arguments and options, and every parameter is used."""
    point = entry_points()[name]
    parameters = point["parameters"]
    command: str = point["command"]
    assert set(re.findall(r"\{(\w+)\}", command)) == set(parameters)
    values = {key: str(how.get("default", SAMPLE.get(key, ""))) for key, how in parameters.items()}
    words = shlex.split(command.format(**{key: shlex.quote(value) for key, value in values.items()}))
    assert words[:3] == ["python", "-m", "fds_mlflow"]
    words = words[3:]
    found: click.Command = main
    with click.Context(main) as context:
        while isinstance(found, click.Group):
            following = found.get_command(context, words[0])
            assert following is not None, words
            found, words = following, words[1:]
        found.make_context(found.name, list(words), parent=context)


def test_mlflow_reads_the_project() -> None:
    """MLflow itself finds the entry points and the environment."""
    from mlflow.projects.utils import load_project

    read = load_project(str(ROOT))
    assert read.name == project()["project"]["name"]
    for name in entry_points():
        assert read.get_entry_point(name).name == name
