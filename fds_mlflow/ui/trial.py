"""A rollout as the pages show it: its steps, and what the autopilot last said of each check."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.text.duration import describe_duration
from fds_mlflow.core.weight import to_percent
from fds_mlflow.errors import UnavailableError
from fds_mlflow.registry import tags
from fds_mlflow.rollouts import naming
from fds_mlflow.rollouts.record.run import RolloutRuns
from fds_mlflow.rollouts.report.report import asks
from fds_mlflow.ui import registry

if TYPE_CHECKING:
    from mlflow.entities import Run


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """One step of a plan.

    Attributes:
        weight: Percent of the traffic.
        place: `done`, `now` or `ahead`.
        gated: A person has to open it before the next one.
    """

    weight: float
    place: str
    gated: bool


@dataclass(frozen=True)
class Check:
    """One check of a rollout.

    Attributes:
        slug: As metrics and tags name it.
        title: As people name it.
        asks: What the plan asks of it.
        status: The verdict at the last look; "" where none was recorded.
        reason: Its sentence.
    """

    slug: str
    title: str
    asks: str
    status: str
    reason: str


@dataclass(frozen=True)
class Trial:
    """A rollout, as the pages show it.

    Attributes:
        rollout: The rollout.
        weight: Percent of the traffic.
        steps: The plan's.
        checks: What else was judged, such as the split, then the plan's guardrails.
        verdict: Status of all together; "" where no autopilot looked.
        verdict_reason: Its sentence.
        recommendation: What the autopilot would do, and why; "" where none looked.
        bake: How long each step lasts at least; "" where the plan does not say.
        run: Its tracking run; None where there is none.
    """

    rollout: Rollout
    weight: float
    steps: tuple[Step, ...]
    checks: tuple[Check, ...]
    verdict: str
    verdict_reason: str
    recommendation: str
    bake: str
    run: Run | None


def trial(model: str, rollout: Rollout | None) -> Trial | None:
    """What the pages show of a rollout; None where there is none."""
    if rollout is None:
        return None
    run = _run(model, rollout.id)
    said = dict(run.data.tags) if run is not None else {}
    verdict, _, reason = said.get(tags.VERDICT, "").partition(": ")
    return Trial(
        rollout=rollout,
        weight=to_percent(naming.weight_after(rollout)),
        steps=tuple(_step(rollout, weight) for weight in rollout.plan.weights),
        checks=tuple(_checks(rollout, said)),
        verdict=verdict,
        verdict_reason=reason,
        recommendation=said.get(naming.RECOMMENDATION, "").partition(": ")[2],
        bake=describe_duration(rollout.plan.bake_time) if rollout.plan.bake_time else "",
        run=run,
    )


def _run(model: str, rollout_id: str) -> Run | None:
    """The rollout's tracking run; None where there is none, or where tracking does not answer: the rest is shown."""
    try:
        return RolloutRuns(model, registry.addresses()[0]).read(rollout_id)
    except UnavailableError as error:
        log.warning("the run of rollout %s could not be read: %s", rollout_id, error.what)
        return None


def _step(rollout: Rollout, weight: int) -> Step:
    now = rollout.active and weight == rollout.weight
    place = "now" if now else "done" if weight <= rollout.weight else "ahead"
    return Step(to_percent(weight), place, weight in rollout.plan.gated)


def _checks(rollout: Rollout, said: dict[str, str]) -> list[Check]:
    guardrails = {guardrail.metric.value: guardrail for guardrail in rollout.plan.guardrails}
    prefix = f"{tags.VERDICT}."
    judged = [name.removeprefix(prefix) for name in said if name.startswith(prefix)]
    found = []
    for slug in (*sorted(name for name in judged if name not in guardrails), *guardrails):
        status, _, reason = said.get(prefix + slug, "").partition(": ")
        guardrail = guardrails.get(slug)
        title = slug.replace("_", " ").capitalize() if guardrail is None else guardrail.row.title
        found.append(Check(slug, title, "" if guardrail is None else asks(guardrail), status, reason))
    return found
