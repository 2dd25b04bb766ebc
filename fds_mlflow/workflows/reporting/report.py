"""A report of a period over models and their rollouts: gathered, as a document, as plain values, and as a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fds_mlflow.core.lifecycle.decision import decision, who
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.errors import ConfigError
from fds_mlflow.lifecycle.descriptions import artifact_place, model_place, run_place, summary_file
from fds_mlflow.registry.tags import VERDICT
from fds_mlflow.rollouts.record.run import RolloutRuns, place_of
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.workflows.reporting.period import Change, Fold, ModelPeriod, Totals, Trial, totals

if TYPE_CHECKING:
    from mlflow.entities import Run

    from fds_mlflow.lifecycle.session import Session
    from fds_mlflow.model import ManagedModel

FORMATS = {".html": "html", ".htm": "html", ".md": "markdown"}
"""What a report is written as, by the ending of its file."""


@dataclass(frozen=True)
class Report:
    """What happened to models in a period.

    Attributes:
        since: Its begin, UTC.
        until: Its end, UTC; what happened at this moment is not in it.
        made: When the report was made, UTC: labels are as known then.
        models: One per model, in order of name.
    """

    since: datetime
    until: datetime
    made: datetime
    models: tuple[ModelPeriod, ...]

    @cached_property
    def totals(self) -> Totals:
        """Everything added up."""
        return totals(self.models)


def report(models: Iterable[ManagedModel], *, since: datetime, until: datetime | None = None) -> Report:
    """Tell what happened to models in a period: champions, trainings, rollouts with their decisions, ways back.

    Args:
        models: The models.
        since: Begin of the period, with a timezone.
        until: Its end, with a timezone; None for now.

    Raises:
        ConfigError: The period ends before it begins, or a time has no timezone.
        NotFoundError: There is no such model.
        UnavailableError: Registry or tracking did not answer.
    """
    given = sorted(models, key=lambda model: model.name)
    made = given[0].session.now() if given else SystemClock().now()
    end = until or made
    if since.tzinfo is None or end.tzinfo is None:
        raise ConfigError("a time of the period has no timezone", fix="give it one, such as datetime(..., tzinfo=UTC)")
    if since >= end:
        raise ConfigError(f"the period from {since:%Y-%m-%d %H:%M} on ends before it begins", fix="begin earlier")
    return Report(since, end, made, tuple(_model(model.session, since, end, end >= made) for model in given))


def _model(session: Session, since: datetime, until: datetime, is_now: bool) -> ModelPeriod:
    view, versions = session.look(), session.versions()
    found = Fold(since, until, {each.version: each.created for each in versions}).over(view.history.events)
    champion = view.champion_alias if is_now else found.champion
    told = list(found.told())
    runs = RolloutRuns(session.name, session.tracking_uri).all() if told else {}
    return ModelPeriod(
        session.name,
        champion,
        found.came if champion is not None and champion == found.champion else None,
        tuple(sorted(each.version for each in versions if since <= each.created < until)),
        tuple(_trial(session, Trial(first, last), runs) for first, last in told),
        tuple(found.changes),
        session.shown(model_place(session.name)),
    )


def _trial(session: Session, trial: Trial, runs: dict[str, Run]) -> Trial:
    """A rollout with what its run holds, where it has one."""
    run = runs.get(trial.rollout.id)
    said = "" if run is None else run.data.tags.get(VERDICT, "").partition(":")[0]
    decided = decision(trial.last, Status(said) if said in set(Status) else None)
    trial = replace(trial, decision=decided or trial.decision)
    if run is None:
        return trial
    place = place_of(run)
    shown = run_place(place) if trial.rollout.active else artifact_place(place, summary_file("en"))
    link = session.shown(shown, tracked=True)
    return replace(trial, metrics=dict(run.data.metrics), run_id=run.info.run_id, link=link)


def written(report: Report, path: Path, language: str = "en", *, form: str | None = None) -> None:
    """Write a report to a file.

    Args:
        report: The report.
        path: The file.
        language: "en" or "ko".
        form: "html" or "markdown"; None for what the file's ending says.

    Raises:
        ConfigError: Nobody says as what, and the file ends in neither .html nor .md.
    """
    from fds_mlflow.display import document
    from fds_mlflow.workflows.reporting.page import document as of

    form = form or FORMATS.get(path.suffix.lower())
    if form is None:
        raise ConfigError(
            f"{path} ends in none of {', '.join(FORMATS)}", fix="name it report.html or report.md, or give the format"
        )
    write = document.html if form == "html" else document.markdown
    path.write_text(write(of(report, language)), encoding="utf-8")


def values(report: Report) -> dict[str, Any]:
    """The report as plain values, for JSON."""
    return {
        "since": report.since,
        "until": report.until,
        "made": report.made,
        "totals": report.totals,
        "models": [
            {
                "model": each.model,
                "champion": each.champion,
                "since": each.since,
                "trained": each.trained,
                "rollouts": [_of_trial(trial) for trial in each.trials],
                "changes": [_of_change(change) for change in each.changes],
            }
            for each in report.models
        ],
    }


def _of_trial(trial: Trial) -> dict[str, Any]:
    rollout, effect = trial.rollout, trial.effect
    counts = {
        name: {"canary": new, "champion": old} if not rollout.is_watch else {"canary": old, "champion": new}
        for name in ("matured", "labelled")
        for new, old in ((effect.new(name), effect.old(name)),)
    }
    return {
        "id": rollout.id,
        "canary": rollout.canary,
        "champion": rollout.champion,
        "is_watch": rollout.is_watch,
        "started": trial.first.time,
        "started_by": trial.first.actor,
        "decision": trial.decision,
        "ended": None if rollout.active else trial.last.time,
        "ended_by": None if rollout.active else who(trial.last),
        "reason": trial.last.reason,
        "run_id": trial.run_id or None,
        "link": trial.link,
        "spared": trial.spared,
        **counts,
    }


def _of_change(change: Change) -> dict[str, Any]:
    event = change.event
    return {
        "version": event.to_version,
        "time": event.time,
        "kind": event.kind,
        "by": who(event),
        "reason": event.reason,
        "decision": change.decision,
        "seconds_from_training": change.seconds,
    }
