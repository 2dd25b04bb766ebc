"""`fds canary run` and `fds canary tick`: what they print, how they end, and what they tell a shell."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fds_mlflow import Plan
from fds_mlflow.cli.main import main
from fds_mlflow.cli.options import Settings
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.errors import UnavailableError
from tests.support.release import MINUTE, Rates, Release

ERRORS = (Guardrail("error_rate", margin=1.0),)
PLAN = Plan([25, 50, 100], guardrails=ERRORS, min_outcomes=100)
GOOD = {1: Rates(), 2: Rates()}
HARMFUL = {1: Rates(), 2: Rates(error=0.4)}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[Release]:
    """A release that the command line flies."""
    world = Release(dict(GOOD), per_second=8.0)
    monkeypatch.setattr(Settings, "model", lambda *_: world.process())
    yield world
    world.outcomes.close()


def fds(*words: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, [*words, "--no-record"])


def test_a_tick_without_a_rollout_has_nothing_to_do(release: Release) -> None:
    """Cron may call it all the year: exit code 0, and one line."""
    found = fds("canary", "tick", "fraud")
    assert found.exit_code == 0
    assert found.stdout.endswith("fraud: no active rollout\n")


def test_a_run_without_a_rollout_is_refused(release: Release) -> None:
    """Exit code 1, and the message names the fix."""
    found = fds("canary", "run", "fraud")
    assert found.exit_code == 1
    assert "canary start" in found.stderr
    assert found.stdout == ""


def test_a_tick_says_what_it_waits_for(release: Release) -> None:
    """Exit code 0 while evidence is missing; a log line for people, one JSON value for machines."""
    release.start(PLAN)
    found = fds("canary", "tick", "fraud")
    assert found.exit_code == 0
    assert "canary 2 at 25 %: wait" in found.stdout
    assert len(found.stdout.splitlines()) == 1
    value = json.loads(fds("canary", "tick", "fraud", "--json").stdout)
    assert value["recommendation"]["action"] == "wait"
    assert value["rollout"]["weight"] == 2_500
    assert value["applied"] is None


def test_a_tick_that_acts_says_so(release: Release) -> None:
    """An advance is exit code 0, and the line ends with what was done."""
    release.start(PLAN)
    release.street.sleep(MINUTE)
    found = fds("canary", "tick", "fraud")
    assert found.exit_code == 0
    assert found.stdout.endswith("=> canary 2 gets 50 % now\n")


def test_a_tick_that_aborts_tells_the_shell(release: Release) -> None:
    """Exit code 3 once; the next tick finds nothing to do."""
    release.rates = HARMFUL
    release.start(PLAN)
    release.street.sleep(MINUTE)
    assert fds("canary", "tick", "fraud").exit_code == 3
    after = fds("canary", "tick", "fraud")
    assert after.exit_code == 0
    assert "aborted by the judge (autopilot of ann)" in after.stdout


@pytest.mark.slow
def test_a_tick_that_needs_a_person_tells_the_shell(release: Release) -> None:
    """Exit code 4 at a gate."""
    release.start(Plan([25, 50, 100], guardrails=ERRORS, min_outcomes=100, gates=[25]))
    release.street.sleep(MINUTE)
    found = fds("canary", "tick", "fraud")
    assert found.exit_code == 4
    assert "gate" in found.stdout


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_tick_that_cannot_look_is_an_error(
    release: Release, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    """Exit code 1, with what is wrong and the fix, in either form."""
    release.start(PLAN)
    store = release.watched()
    store.fail_before = lambda *_: UnavailableError("the registry is gone", fix="start it")
    monkeypatch.setattr(Settings, "model", lambda *_: release.process(store))
    found = fds("canary", "tick", "fraud", *form)
    assert found.exit_code == 1
    if form:
        error = {"error": "the registry is gone", "fix": "start it", "type": "UnavailableError"}
        assert json.loads(found.stdout)["error"] == error
    else:
        assert "ERROR the registry is gone; fix: start it" in found.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("rates", "code", "last"), [(GOOD, 0, Kind.COMPLETE), (HARMFUL, 3, Kind.ABORT)])
def test_a_run_ends_with_the_rollout(release: Release, rates: dict[int, Rates], code: int, last: Kind) -> None:
    """Exit code 0 when the canary became champion, 3 when it was aborted; one line per look until then."""
    release.rates = rates
    release.start(PLAN)
    found = fds("canary", "run", "fraud", "--interval", "1m")
    assert found.exit_code == code
    assert release.model.history()[0].kind is last
    lines = found.stdout.splitlines()
    assert len(lines) >= 2
    assert "=>" in lines[-1]


def test_a_run_prints_one_json_value_per_look(release: Release) -> None:
    """JSON lines, each a whole value; the last says that it ended."""
    release.rates = HARMFUL
    release.start(PLAN)
    found = [json.loads(row) for row in fds("canary", "run", "fraud", "--json").stdout.splitlines()]
    assert [value["ended"] for value in found] == [False] * (len(found) - 1) + [True]
    assert found[-1]["overall"] == "FAIL"
    assert found[-1]["applied"]["event"]["kind"] == "abort"


@pytest.mark.parametrize("verb", ["tick", "run"])
def test_gauges_go_to_a_file_at_each_look(release: Release, tmp_path: Path, verb: str) -> None:
    """Prometheus is told of the abort although the process has ended, by either verb; a missing folder is refused."""
    release.rates = HARMFUL
    release.start(PLAN)
    release.street.sleep(MINUTE)
    assert fds("canary", verb, "fraud", "--metrics-file", str(tmp_path / "none" / "fds.prom")).exit_code == 1
    assert fds("canary", verb, "fraud", "--metrics-file", str(tmp_path / "fds.prom")).exit_code == 3
    told = (tmp_path / "fds.prom").read_text()
    assert 'fds_rollout_status{model="fraud",status="aborted"} 1.0' in told
    assert 'fds_rollout_verdict{model="fraud",verdict="FAIL"} 1.0' in told


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [_interrupt, lambda: os.kill(os.getpid(), signal.SIGTERM)])
def test_a_run_can_be_stopped(release: Release, stop: Callable[[], None]) -> None:
    """Ctrl-C and a service manager's SIGTERM end it cleanly: exit code 130, and the rollout stays where it is."""
    release.start(PLAN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    release.street.pays = lambda _: stop()
    found = fds("canary", "run", "fraud")
    assert found.exit_code == 130
    assert "stays where it is" in found.stderr
    assert "Traceback" not in found.output
    assert release.model.canary.rollout().weight == 2_500
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_interval_is_a_duration(release: Release) -> None:
    """A number without a unit is refused, with examples of what is meant."""
    found = fds("canary", "run", "fraud", "--interval", "30")
    assert found.exit_code == 1
    assert "30m" in found.stderr
