"""Clients and servers with MLflow of different versions, from the environments that `make matrix` builds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging.version import Version

from tests.support.places import ROOT
from tests.support.served import Served
from tests.support.servers import Server, running

HERE = Path(sys.executable)
ROWS = ("oldest", "middle")


@pytest.mark.campaign
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("serves", ["that", "this"])
def test_clients_and_servers_need_not_be_of_one_version(row: str, serves: str, tmp_path: Path) -> None:
    """Every operation works from a client of one MLflow on a server of another, and what such a server leaves of a
    deleted canary is found by the doctor and takes no traffic; `fds serve` follows it.
    """
    other = ROOT / ".matrix" / row / "bin" / "python"
    if not other.is_file():
        pytest.skip(f"no environment of that row: make matrix, or .ci/matrix {row}")
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
