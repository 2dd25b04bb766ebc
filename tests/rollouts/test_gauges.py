"""Gauges of a rollout: what each look found, in a file for Prometheus' node exporter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fds_mlflow import Plan
from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.errors import ConfigError, UnavailableError
from fds_mlflow.rollouts.gauges import RolloutGauges
from fds_mlflow.rollouts.tick import Tick
from tests.support.rollout_ticks import PLAN, ROLLOUT, Trial

PASS, FAIL = Status.PASS, Status.FAIL


class File:
    """The file of a test, and what is in it.

    Attributes:
        path: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "fds.prom"
        self._write = RolloutGauges(self.path)

    def after(self, tick: Tick) -> dict[str, float]:
        """What it says once a look is written: values by name and labels, the model left out."""
        self._write(tick)
        found = {}
        for family in text_string_to_metric_families(self.path.read_text()):
            for sample in family.samples:
                assert sample.labels.pop("model") == "fraud"
                words = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                found[f"{sample.name.removeprefix('fds_rollout_')}{f'{{{words}}}' if words else ''}"] = sample.value
        return found


@pytest.fixture
def file(tmp_path: Path) -> File:
    """Where gauges go."""
    return File(tmp_path)


def test_a_look_tells_where_the_rollout_stands_and_how_far_each_verdict_is(file: File) -> None:
    """Weight, step, time in it, evidence as a share of what decides, and one 1 among each gauge's verdicts."""
    plan = Plan([10, 50, 100], guardrails=PLAN.guardrails, label_maturity="30d", max_step_time="7d")
    trial = Trial(plan).later(90)
    found = file.after(trial.tick(PASS, Status.ERROR, action=Action.HOLD))
    assert found["weight_ratio"] == 0.1
    assert (found["step"], found["step_seconds"], found["step_max_seconds"]) == (1, 90, 7 * 86_400)
    assert (found["paused"], found["status{status=active}"], found["status{status=aborted}"]) == (0, 1, 0)
    assert found[f"info{{canary=4,champion=3,kind=canary,rollout={ROLLOUT}}}"] == 1
    assert found["looked_timestamp_seconds"] == trial.model.session.now().timestamp()
    assert found["check_verdict{check=error_rate,verdict=PASS}"] == 1
    assert found["check_verdict{check=error_rate,verdict=FAIL}"] == 0
    assert found["check_verdict{check=alert_rate,verdict=ERROR}"] == 1
    assert [name for name, value in found.items() if name.startswith("verdict{") and value] == [
        "verdict{verdict=ERROR}"
    ]
    assert [name for name, value in found.items() if name.startswith("action{") and value] == ["action{action=hold}"]
    assert found["evidence_ratio{check=error_rate,verdict=FAIL}"] == pytest.approx(0.5 / 4)
    assert found["evidence_ratio{check=error_rate,verdict=PASS}"] == pytest.approx(-1 / 4)
    assert found["requests{variant=canary}"] == 200
    assert found["labelled_keys{variant=canary}"] == 0


def test_a_pause_stops_the_time_in_the_step(file: File) -> None:
    """The time of a pause counts for nothing, here as for the plan."""
    trial = Trial().later(60)
    trial.run(Request(Kind.PAUSE, now=trial.model.session.now()), "")
    found = file.after(trial.later(3_600).tick())
    assert (found["paused"], found["step_seconds"]) == (1, 60)
    assert "step_max_seconds" not in found


def test_the_end_stays_after_the_rollout(file: File) -> None:
    """The look that ends a rollout leaves its verdict and its ending, and later ones the ending and when it was."""
    trial = Trial().later()
    found = file.after(trial.ending(Kind.ABORT, FAIL))
    assert (found["verdict{verdict=FAIL}"], found["weight_ratio"]) == (1, 0)
    over = file.after(replace(trial.later().over(), last=trial.model.history()[0]))
    for told in (found, over):
        assert (told["status{status=aborted}"], told["status{status=active}"]) == (1, 0)
        assert told["ended_timestamp_seconds"] == over["looked_timestamp_seconds"] - 30
        assert "step_seconds" not in told
        assert "paused" not in told
    assert "verdict{verdict=FAIL}" not in over


def test_a_look_that_could_not_finish_leaves_what_was_known(file: File) -> None:
    """The numbers stay, and so does the time of the look they come from: how old they are can be seen."""
    trial = Trial()
    before = file.after(trial.tick())
    lost = Tick("fraud", trial.later().model.session.now(), error=UnavailableError("gone", fix="wait"))
    assert file.after(lost) == before


def test_without_any_rollout_there_is_only_the_time(file: File) -> None:
    """Cron may look all the year."""
    assert [*file.after(Trial().over())] == ["looked_timestamp_seconds"]


def test_a_file_that_cannot_be_written_stops_no_rollout(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No folder is refused at once, with the command that makes it; a disk that fails later is a warning."""
    with pytest.raises(ConfigError, match="no folder") as refused:
        RolloutGauges(tmp_path / "none" / "fds.prom")
    assert refused.value.fix == f"mkdir -p {tmp_path / 'none'}"
    (tmp_path / "fds.prom").mkdir()
    RolloutGauges(tmp_path / "fds.prom")(Trial().tick())
    assert "could not be written" in caplog.text
