"""The tour's unattended rollout, as a reader does it on a fresh machine: a server, simulated traffic, the autopilot."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.model import ManagedModel
from tests.docs.conftest import Demo
from tests.docs.test_alerts import rules, unknown
from tests.docs.test_blocks import BLOCKS, enter
from tests.support.places import ROOT
from tests.support.served import until
from tests.support.servers import free_port

STEPS = ("fds canary start", "fds features load", "fds serve", "fds simulate --serve", "fds canary run")


def tour() -> dict[str, list[str]]:
    """The words of the README's commands, by their beginnings, in its order."""
    lines = [line for block in BLOCKS if block.page == ROOT / "README.md" for line in block.text.splitlines()]
    found = [(step, shlex.split(line, comments=True)) for line in lines for step in STEPS if line.startswith(step)]
    assert [step for step, _ in found] == [*STEPS]
    return dict(found)


def _interrupted(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has ended, after Ctrl-C: again and again, since Python may be where it hears none."""
    with suppress(subprocess.TimeoutExpired):
        process.send_signal(signal.SIGINT)
        process.wait(5)
    return process.poll() is not None


class Reader:
    """Somebody who follows the tour, and only changes the port.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.words = tour()
        self.url = f"http://127.0.0.1:{free_port()}"

    def command(self, step: str) -> list[str]:
        """A command of the tour."""
        words = [word.replace("http://127.0.0.1:5001", self.url) for word in self.words[step]]
        more = ["--port", self.url.rpartition(":")[2], "--cache", "cache"] if step == "fds serve" else []
        return [sys.executable, "-m", "fds_mlflow", *words[1:], *more]

    def does(self, step: str) -> str:
        """Run a command to its end; what it says."""
        done = subprocess.run(
            self.command(step), cwd=self.folder, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def has(self, step: str) -> Iterator[Path]:
        """Run a command in a terminal of its own, until Ctrl-C; what it says is in a file."""
        said = self.folder / f"{step.replace(' ', '-')}.log"
        with said.open("wb") as log:
            process = subprocess.Popen(self.command(step), cwd=self.folder, stdout=log, stderr=log)
        try:
            yield said
            assert process.poll() is None, said.read_text()
        finally:
            until(lambda: _interrupted(process), "the end after Ctrl-C", limit=180)

    def healthy(self) -> bool:
        """Whether the server serves champion and canary."""
        answer = httpx.get(f"{self.url}/health", trust_env=False)
        return answer.status_code == 200 and answer.json()["canary_loaded"] is True

    def metrics(self) -> str:
        """What the server tells Prometheus."""
        return httpx.get(f"{self.url}/metrics", trust_env=False).text


@pytest.mark.campaign
def test_the_tour_s_rollout_ends_by_itself(demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the README's own commands the judge passes the canary; Ctrl-C before that leaves the rollout as it is."""
    demo.copy("trained", tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    enter(tmp_path, monkeypatch)
    reader, model = Reader(tmp_path), ManagedModel("fraud")
    reader.does("fds canary start")
    reader.does("fds features load")
    with ExitStack() as terminals:
        terminals.enter_context(reader.has("fds serve"))
        until(reader.healthy, "champion and canary", limit=180)
        sending = terminals.enter_context(reader.has("fds simulate --serve"))
        until(lambda: 'variant="canary"' in reader.metrics(), "traffic", limit=180)
        with reader.has("fds canary run") as said:
            until(lambda: "canary 2 at" in said.read_text(), "a look", limit=180)
        assert "nobody judges it" in said.read_text()
        assert model.canary.rollout().canary == 2
        assert "the canary, version 2, is the champion now" in reader.does("fds canary run")
        told = reader.metrics()
    newest = model.history()[0]
    assert (newest.kind, newest.forced, newest.actor.startswith("autopilot of")) == (Kind.COMPLETE, False, True)
    assert "labels ->" in sending.read_text()
    assert not unknown([rule["expr"] for rule in rules()], told) & SERVING


SERVING = frozenset(
    f"fds_{name}"
    for name in (
        *("champion_version", "weight_percent", "degraded", "registry_age_seconds", "responses_total"),
        *("scoring_seconds_bucket", "scoring_seconds_count", "canary_fallbacks_total"),
        *("outcomes_spooled_bytes", "outcomes_dropped_total", "state_answers", "state_missed_total"),
    )
)
"""Metrics of the rules that a server with a state has from its first minute on."""
