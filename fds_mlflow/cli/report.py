"""The verb that makes a rollout's report again, from its tracking run and the history."""

from __future__ import annotations

from pathlib import Path

import click

from fds_mlflow.cli.options import Settings, as_json_option, model_argument, show_value
from fds_mlflow.display.characters import file_name


@click.command("report")
@model_argument
@click.option("--rollout", default=None, help="Its id; the latest rollout if not given.")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="HTML file; `rollout-ID.html` here if not given.",
)
@click.option("--record", is_flag=True, help="Also bring the tracking runs of all rollouts up to date.")
@as_json_option
@click.pass_obj
def canary_report(
    settings: Settings, model: str, rollout: str | None, output: Path | None, record: bool, as_json: bool
) -> None:
    """Write the report of a rollout, ended or not: what was decided, by whom, why, and all numbers.

    One HTML page that needs no network. With --record, rollouts that no autopilot looked at get a tracking run, and
    runs of rollouts that have ended are closed.
    """
    from fds_mlflow.rollouts.record.recorder import RolloutRecorder
    from fds_mlflow.rollouts.report import report

    recorder = RolloutRecorder(settings.model(model).session)
    touched = recorder.catch_up() if record else []
    story = recorder.story(rollout)
    path = output or Path(f"rollout-{file_name(story.rollout.id)}.html")
    path.write_text(report.render(story), encoding="utf-8")
    said = report.summary(story)
    value = {
        "rollout": story.rollout.id,
        "status": story.rollout.status.value,
        "decision": story.decision.value,
        "summary": said,
        "file": str(path),
        "recorded": touched,
    }
    show_value(as_json, value, lambda: f"{said}\n\nThe report is in {path}")
