"""What people install: the wheel holds every file, and where it lies there are the command and MLflow's plugins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.places import ROOT

UV = Path(sys.executable).with_name("uv")

LOOKS = """
import sys
from importlib.metadata import version
import fds_mlflow, fds_mlflow_plugins
for module in (fds_mlflow, fds_mlflow_plugins):
    assert module.__file__.startswith(sys.prefix), f"{module.__file__} is not of this environment"
from mlflow.tracking.context.registry import _run_context_provider_registry as registry
found = [type(one).__module__ for one in registry]
assert "fds_mlflow_plugins.run_context" in found, found
print(version("fds-mlflow"))
"""
"""What is asked of Python in an environment that has the wheel: whose modules these are, and MLflow's plugins."""

RUN = """
import mlflow
from fds_mlflow.workflows import Source, prepare, train
trained = train(prepare(Source("simulator:5000")), "fraud", algorithm="lightgbm", params={"n_estimators": 5})
print(mlflow.get_run(trained.run_id).data.tags["fds.package_version"])
"""
"""A training, whose run has what the plugin adds."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the files as they are here."""
    source = tmp_path_factory.mktemp("source")
    for name in ("fds_mlflow", "plugins"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    made = source / "made"
    subprocess.run([str(UV), "build", "--quiet", "--wheel", "--out-dir", str(made), str(source)], check=True)
    (found,) = made.glob("*.whl")
    return found


def install(wheel: Path, place: Path, *options: str) -> Path:
    """Make an empty environment with the wheel in it; the folder of its programs."""
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}
    for words in (
        ["venv", "--quiet", "--python", sys.executable, str(place)],
        ["pip", "install", "--quiet", "--python", str(place / "bin" / "python"), *options, str(wheel)],
    ):
        subprocess.run([str(UV), *words], check=True, env=environment)
    return place / "bin"


def call(place: Path, program: str, *words: str) -> str:
    """What a program of an environment prints, called from a folder and with a search path that know nothing of us."""
    folder = place.parent / "elsewhere"
    folder.mkdir(exist_ok=True)
    settings = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    command = [str(place / program), *words]
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    """Whoever installs the wheel has every module, template and schema, and the plugins under their own name."""
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [path.relative_to(ROOT) for room in ("fds_mlflow", "plugins") for path in (ROOT / room).rglob("*.*")]
    wanted = {path.as_posix() for path in files if path.suffix != ".pyc"}
    assert shipped == {name.replace("plugins/", "fds_mlflow_plugins/", 1) for name in wanted}
    assert {"fds_mlflow/py.typed", "fds_mlflow/data/schemas/handbook.yaml"} < shipped


@pytest.mark.slow
def test_the_wheel_brings_the_command_and_the_plugins(wheel: Path, tmp_path: Path) -> None:
    """Installed beside what it depends on, it is what `fds` runs and what MLflow loads, without the checkout."""
    programs = install(wheel, tmp_path / "env", "--no-deps")
    here = sysconfig.get_path("purelib")
    there = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env")}))
    (there / "dependencies.pth").write_text(f"{here}\n")
    assert "canary" in call(programs, "fds", "--help")
    assert call(programs, "fds", "--version").strip() == f"fds, version {call(programs, 'python', '-c', LOOKS).strip()}"


@pytest.mark.campaign
def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """With nothing but the wheel and what it asks for, `fds` works, a model trains, its run has our tags."""
    programs = install(wheel, tmp_path / "env")
    version = call(programs, "python", "-c", LOOKS).strip()
    assert call(programs, "fds", "--version").strip() == f"fds, version {version}"
    assert call(programs, "python", "-c", RUN).strip().splitlines()[-1] == version
    assert "fraud" in call(programs, "fds", "list")
