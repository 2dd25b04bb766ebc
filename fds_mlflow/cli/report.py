"""The verbs that make reports from histories and tracking runs: of one rollout, and of a period over models."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from fds_mlflow.cli import completion
from fds_mlflow.cli.options import F, Settings, as_json_option, model_argument, show_value
from fds_mlflow.display.characters import file_name
from fds_mlflow.display.languages import LANGUAGES
from fds_mlflow.runtime import streams


def language_option(told: str) -> Callable[[F], F]:
    """`--lang`: the command gets it as `language`."""
    return click.option(
        "--lang", "language", type=click.Choice(LANGUAGES), default=LANGUAGES[0], show_default=True, help=told
    )


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
@click.option(
    "--for",
    "reader",
    type=click.Choice(["specialist", "manager"]),
    default="specialist",
    show_default=True,
    help="All numbers, or one page in plain words.",
)
@language_option("Language of the page for a manager.")
@click.option(
    "--record", is_flag=True, help="Also bring the tracking runs of all rollouts, and this report there, up to date."
)
@as_json_option
@click.pass_obj
def canary_report(
    settings: Settings,
    model: str,
    rollout: str | None,
    output: Path | None,
    reader: str,
    language: str,
    record: bool,
    as_json: bool,
) -> None:
    """Write the report of a rollout, ended or not: what was decided, by whom, why, and all numbers.

    One HTML page that needs no network. With --record, rollouts that no autopilot looked at get a tracking run, and
    runs of rollouts that have ended are closed.
    """
    from fds_mlflow.display.document import html
    from fds_mlflow.rollouts.record.recorder import RolloutRecorder
    from fds_mlflow.rollouts.report import plain, report

    recorder = RolloutRecorder(settings.model(model).session)
    touched = recorder.catch_up() if record else []
    story = recorder.story(rollout)
    if record and not story.rollout.active:
        recorder.keep(story)
    path = output or Path(f"rollout-{file_name(story.rollout.id)}.html")
    page = html(plain.document(story, language)) if reader == "manager" else report.render(story)
    path.write_text(page, encoding="utf-8")
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


@click.command("report")
@click.option("--since", default="90d", show_default=True, help="Begin: so long ago, such as 90d, or a day (UTC).")
@click.option("--until", default=None, help="End, likewise; now if not given.")
@click.option(
    "--model", "models", multiple=True, shell_complete=completion.models, help="Only this model; may be repeated."
)
@click.option(
    "--format", "form", type=click.Choice(["html", "markdown"]), help="By the ending of --output, if not given."
)
@language_option("Language of the report.")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="File to write, .html or .md; Markdown on the terminal if not given.",
)
@as_json_option
@click.pass_obj
def period_report(
    settings: Settings,
    since: str,
    until: str | None,
    models: tuple[str, ...],
    form: str | None,
    language: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Write what happened to the models in a period, in plain words: champions, trainings, rollouts, ways back.

    Who decided what, when and why, what was stopped automatically and what that spared, as far as the histories and
    the rollouts' runs tell; what they do not is said to be unknown.
    """
    from fds_mlflow.display.document import markdown
    from fds_mlflow.workflows.reporting.page import document
    from fds_mlflow.workflows.reporting.report import report, values, written

    if form == "html" and output is None:
        raise click.UsageError("--format html needs --output: a page is no text for a terminal")
    now = datetime.now(UTC)
    end = None if until is None else _moment("--until", until, now)
    names = models or _all(settings)
    made = report([settings.model(name) for name in names], since=_moment("--since", since, now), until=end)
    if output is not None:
        written(made, output, language, form=form)
    value = {**values(made), "file": None if output is None else str(output)}
    if as_json or output is not None:
        show_value(as_json, value, lambda: f"The report is in {output}")
    else:
        streams.say_text(markdown(document(made, language)))


def _all(settings: Settings) -> list[str]:
    """Names of the registered models that have a history here, or a champion."""
    from fds_mlflow.lifecycle.listing import is_managed
    from fds_mlflow.registry.connection import connect

    settings.connect()
    found = connect(settings.tracking_uri, settings.registry_uri).models()
    return [name for name, model in found.items() if is_managed(model)]


def _moment(option: str, text: str, now: datetime) -> datetime:
    """A moment from a text such as 90d, 2026-01-01 or 2026-01-01T12:00."""
    from fds_mlflow.core.text.duration import parse_duration

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - parse_duration(text)
        except ValueError:
            raise click.BadParameter(
                f"{text!r} is neither a duration such as 90d nor a day such as 2026-01-01", param_hint=option
            ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
