"""One rollout: its steps, what was asked and said of each check, the evidence as it grew, and its events."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from fds_mlflow.core.lifecycle.decision import decision
from fds_mlflow.core.lifecycle.events import Ending, Event
from fds_mlflow.core.weight import to_percent
from fds_mlflow.errors import FdsError, NotFoundError
from fds_mlflow.rollouts import naming
from fds_mlflow.rollouts.record.run import RolloutRuns
from fds_mlflow.ui import asked, registry
from fds_mlflow.ui.model_page import entry
from fds_mlflow.ui.plots import Plot, Series, plot, thin
from fds_mlflow.ui.render import mlflow_url, page
from fds_mlflow.ui.trial import Trial, trial

if TYPE_CHECKING:
    from flask import Response
    from mlflow.entities import Run


@dataclass(frozen=True)
class Shown:
    """The plots of one check.

    Attributes:
        slug: The check's name.
        evidence: Evidence for FAIL and for PASS, relative to what decides; None where none was recorded.
        rates: Both variants' numbers; None where none were recorded.
    """

    slug: str
    evidence: Plot | None
    rates: Plot | None


def show() -> Response:
    """The page."""
    name, rollout_id = asked.word("name"), asked.word("id", most=100)
    session = registry.readable(name)
    events = naming.about(session.look().history.events, rollout_id)
    done = [event for event in events if event.outcome is Ending.DONE]
    if not done:
        raise NotFoundError(
            f"the history of {name!r} has no rollout {rollout_id!r}", fix="choose one on the model's page"
        )
    about = trial(name, done[-1].rollout)
    if about is None:
        raise NotFoundError(f"event {done[-1].sequence} is about no rollout", fix="choose one on the model's page")
    decided = decision(done[-1])
    return page(
        "rollout.html.j2",
        name=name,
        trial=about,
        decision=decided.name if decided is not None else "",
        entries=[entry(event) for event in reversed(events)],
        weight=_weight(done),
        plots=_plots(name, about),
        run_url=None if about.run is None else _run_url(about),
    )


def _weight(events: list[Event]) -> Plot | None:
    """The canary's share after each event; while it goes on, until now."""
    points = [(event.time, to_percent(naming.weight_after(event.rollout))) for event in events if event.rollout]
    active = events[-1].rollout is not None and events[-1].rollout.active
    if active:
        points.append((max(datetime.now(UTC), points[-1][0]), points[-1][1]))
    return plot("weight", {"canary": points}, unit=" %", step=True)


def _plots(model: str, about: Trial) -> dict[str, Shown]:
    if about.run is None:
        return {}
    scale = {guardrail.metric.value: guardrail.row for guardrail in about.rollout.plan.guardrails}
    found = {}
    for check in about.checks:
        names = [f"{check.slug}/{what}" for what in ("fail_evidence", "pass_evidence", "champion", "canary")]
        values = _series(model, about.run, names)
        row = scale.get(check.slug)
        times = row.scale if row is not None else 1.0
        bad, good, champion, canary = (values[one] for one in names)
        rates = {"champion": _times(champion, times), "canary": _times(canary, times)}
        found[check.slug] = Shown(
            check.slug,
            plot(f"{check.slug}-evidence", {"bad": bad, "good": good}, limits=(1.0,)),
            plot(f"{check.slug}-rates", rates, unit=" %" if times == 100.0 else ""),
        )
    return found


def _series(model: str, run: Run, names: list[str]) -> dict[str, Series]:
    """Metrics of a run; none where tracking does not answer."""
    latest = {metric.key: metric.timestamp for metric in run.data._metric_objs}
    tracking = registry.addresses()[0]
    found: dict[str, Series] = dict.fromkeys(names, ())
    with suppress(FdsError):
        found |= {
            name: _curve(model, tracking, run.info.run_id, name, latest[name]) for name in names if name in latest
        }
    return found


@lru_cache(maxsize=2_048)
def _curve(model: str, tracking: str | None, run_id: str, name: str, _latest: int) -> Series:
    """A metric as it is drawn, kept until it has a later value: a long rollout has thousands, and seldom a new one."""
    return thin(RolloutRuns(model, tracking).curve(run_id, name))


def _times(values: Series, times: float) -> Series:
    return [(moment, times * number) for moment, number in values]


def _run_url(about: Trial) -> str:
    info = about.run.info if about.run is not None else None
    if info is None:
        return ""
    return mlflow_url("experiments", info.experiment_id, "runs", info.run_id, workflowType="machine_learning")
