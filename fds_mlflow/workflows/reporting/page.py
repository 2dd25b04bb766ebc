"""The report of a period as a document: everything added up, each model at a glance, then one by one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from fds_mlflow.core.lifecycle.decision import Decision
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.text.duration import describe_duration
from fds_mlflow.core.text.numbers import money
from fds_mlflow.display.document import Block, Document, Link, Section, Table
from fds_mlflow.rollouts.report.plain import Say, actor, clock, count, lasting, reason
from fds_mlflow.workflows.reporting.messages import text
from fds_mlflow.workflows.reporting.period import SPARED, Change, ModelPeriod, Totals, Trial

if TYPE_CHECKING:
    from fds_mlflow.workflows.reporting.report import Report

OVER = (Decision.PASSED, Decision.WITHOUT_PASS, Decision.BY_HAND, Decision.FORCED)
"""Decisions by which the version on trial became champion."""

_KINDS = (Kind.COMPLETE, Kind.PROMOTE, Kind.EMERGENCY, Kind.ROLLBACK, Kind.ADOPT)
"""Ways in which a version becomes champion."""


def document(report: Report, language: str) -> Document:
    """The report as a document.

    Args:
        report: The report.
        language: One of `LANGUAGES`.
    """
    say, found = partial(text, language), report.totals
    made = clock(report.made)
    sections = [Section(say("totals"), list(_totals(found, say, language)))]
    if report.models:
        sections.append(Section(say("glance"), [_glance(report, say)]))
    sections += [Section(model.model, list(_model(model, say, language))) for model in report.models]
    notes = [say("reading.trial"), say("reading.now", time=made), say("reading.spared"), say("reading.gone")]
    counts = {"over": sum(found.decisions.get(each, 0) for each in OVER), "stopped": found.stopped}
    return Document(
        title=say("title", since=f"{report.since:%Y-%m-%d}", until=f"{report.until:%Y-%m-%d}"),
        subtitle=say("made", time=made),
        lead=say("lead", models=found.models, trials=found.trials, **counts),
        sections=[*sections, Section(say("reading"), [notes])],
        language=language,
    )


def _totals(found: Totals, say: Say, language: str) -> Iterator[Block]:
    rows = [(say("total.models"), count(found.models)), (say("total.trained"), count(found.trained))]
    rows.append((say("total.trials"), count(found.trials)))
    rows += [
        (say("total.of_them", what=say(f"short.{each.name}")), count(found.decisions[each]))
        for each in Decision
        if each in found.decisions
    ]
    rows.append((say("total.changes"), count(found.changes)))
    rows += [(say("total.of_them", what=say(f"kind.{kind}")), count(found.kinds.get(kind, 0))) for kind in _KINDS]
    rows += [(say("total.due"), count(found.due)), (say("total.labelled"), count(found.labelled))]
    rows.append((say("total.seconds"), _lasted(found.seconds, say, language)))
    yield Table((say("column.what"), say("column.number")), rows)
    if found.stopped > found.unknown:
        yield say("stopped", count=count(found.stopped - found.unknown))
        yield [_spared(what, found.spared[what], say) for what in SPARED if what in found.spared]
    if found.unknown:
        yield say("stopped.unknown", count=count(found.unknown))
    if found.unrecorded:
        yield say("unrecorded", count=count(found.unrecorded))


def _spared(what: str, more: float, say: Say) -> str:
    return say(f"spared.{what}", more=money(more) if what == "money_missed" else count(more))


def _glance(report: Report, say: Say) -> Table:
    columns = ("model", "serves", "since", "trained", "trials", "changes")
    rows = [
        (
            Link(each.model, each.link),
            *_serving(each, say),
            *(count(len(found)) for found in (each.trained, each.trials, each.changes)),
        )
        for each in report.models
    ]
    return Table(tuple(say(f"column.{column}") for column in columns), rows, text=True)


def _serving(each: ModelPeriod, say: Say) -> tuple[str, str]:
    if each.champion is None:
        return say("nobody"), ""
    since = say("since.unknown") if each.since is None else clock(each.since)
    return say("serves", version=each.champion), since


def _model(each: ModelPeriod, say: Say, language: str) -> Iterator[Block]:
    if not (each.trained or each.trials or each.changes):
        yield say("nothing")
        return
    if each.trained:
        yield say("model.trained", versions=", ".join(map(str, each.trained)))
    if each.trials:
        columns = ("trial", "ended", "how", "who", "why", "truths")
        yield say("trials")
        rows = [_trial(trial, say) for trial in each.trials]
        yield Table(tuple(say(f"column.{column}") for column in columns), rows, text=True)
        for trial in each.trials:
            spared = ", ".join(_spared(what, more, say) for what, more in trial.spared.items())
            if spared:
                yield say("model.spared", new=trial.rollout.canary, what=spared)
    if each.changes:
        columns = ("time", "version", "how", "who", "why", "took")
        yield say("changes")
        changes = [_change(change, say, language) for change in each.changes]
        yield Table(tuple(say(f"column.{column}") for column in columns), changes, text=True)


def _trial(trial: Trial, say: Say) -> tuple[str, ...]:
    rollout, last = trial.rollout, trial.last
    versions = (rollout.champion, rollout.canary) if rollout.is_watch else (rollout.canary, rollout.champion)
    name = say("watch" if rollout.is_watch else "trial", new=versions[0], old=versions[1])
    how = say(f"short.{trial.decision.name}")
    if rollout.active:
        return Link(name, trial.link), "", how, "", "", _truths(trial, say)
    return Link(name, trial.link), clock(last.time), how, actor(last, say), reason(last, say), _truths(trial, say)


def _truths(trial: Trial, say: Say) -> str:
    if trial.metrics is None:
        return say("truths.unrecorded")
    due, labelled = ((trial.effect.new(what) or 0) + (trial.effect.old(what) or 0) for what in ("matured", "labelled"))
    return say("truths", due=count(due), labelled=count(labelled))


def _change(change: Change, say: Say, language: str) -> tuple[str, ...]:
    event = change.event
    how = say(f"kind.{event.kind}") if change.decision is None else say(f"short.{change.decision.name}")
    version = say("nobody") if event.to_version is None else str(event.to_version)
    took = say("took.again") if change.again else _lasted(change.seconds, say, language)
    return clock(event.time), version, how, actor(event, say), reason(event, say), took


def _lasted(seconds: float | None, say: Say, language: str) -> str:
    if seconds is None:
        return say("took.unknown")
    return lasting(describe_duration(timedelta(seconds=seconds)), language)
