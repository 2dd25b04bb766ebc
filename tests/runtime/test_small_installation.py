"""Where only mlflow-skinny and the documented packages are installed: operating and routing, and clear errors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.registry.connection import connect
from fds_mlflow.registry.transaction import Transactions
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.runtime.identity import new_id
from tests.support.registry_model import World
from tests.support.registry_world import register
from tests.support.servers import Server, running

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"^pip install (mlflow-skinny .*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the programs of an environment that has what the documentation lists, and no more."""
    folder = tmp_path_factory.mktemp("small")
    listed = COMMAND.search((ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8"))
    assert listed is not None
    source = folder / "source"
    for name in ("fds_mlflow", "plugins"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(ROOT / name, source / name)
    uv, python = Path(sys.executable).with_name("uv"), folder / "env" / "bin" / "python"
    calls = (
        (uv, "venv", "--python", sys.executable, folder / "env"),
        (uv, "pip", "install", "--python", python, *listed[1].split()),
        (uv, "pip", "install", "--python", python, "--no-deps", source),
    )
    for call in calls:
        subprocess.run([*map(str, call)], check=True, capture_output=True, env={**os.environ, "UV_SYSTEM_CERTS": "1"})
    return python.parent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose model `fraud` has champion 2, former champion 1 and canary 3."""
    folder = tmp_path_factory.mktemp("server")
    with running(Server(f"sqlite:///{folder / 'mlflow.db'}", folder)) as server:
        register(server.url, "fraud")
        process = Transactions(connect(server.url, server.url), SystemClock(), new_id)
        for kind, version in ((Kind.PROMOTE, 1), (Kind.PROMOTE, 2), (Kind.START, 3)):
            process.run("fraud", World().request(kind, version), actor="ann", reason="set up")
        yield server


@pytest.mark.campaign
def test_operating_and_routing_need_the_documented_packages_only(small: Path, server: Server, tmp_path: Path) -> None:
    """Every verb that the documentation names works there, an emergency included; others name what is missing."""

    def fds(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            [str(small / "fds"), "--tracking-uri", server.url, *words],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "fraud" in fds("list")
    for verb in ("show", "history", "aliases"):
        fds(verb, "fraud")
    assert "fds.threshold" in fds("doctor", "fraud", code=1)
    assert "champion" in fds("route", "fraud", "TX1")
    routed = "from fds_mlflow import ManagedModel; print(ManagedModel('fraud').router(record=False).route('TX1'))"
    variables = {"MLFLOW_TRACKING_URI": server.url, "HOME": str(tmp_path)}
    told = subprocess.run([small / "python", "-c", routed], check=True, capture_output=True, text=True, env=variables)
    assert "version=" in told.stdout
    fds("canary", "advance", "fraud")
    fds("canary", "abort", "fraud", "--reason", "enough")
    fds("stage", "fraud", "4")
    fds("retire", "fraud", "4")
    assert "'pandas', which is not installed" in fds("promote", "fraud", "4", code=1)
    assert "not installed" in fds("train", "fraud", code=1)
    said = fds("rollback", "emergency", "fraud", "--reason", "alarm", code=1)
    assert "champion is version 1 from now on" in said
    assert "cannot be tried here" in said
