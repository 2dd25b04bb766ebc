"""How a rollout reads as a tracking run: names and values of its parameters, metrics and tags."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fds_mlflow.core.evidence.arms import added
from fds_mlflow.core.evidence.evidence import EventKind, Evidence
from fds_mlflow.core.judge.labels import caught, known
from fds_mlflow.core.lifecycle.events import Ending, Event, Rollout, RolloutStatus
from fds_mlflow.core.lifecycle.verdict import Judgement, Status, Verdict
from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.core.text.duration import from_duration
from fds_mlflow.core.weight import FULL, to_percent
from fds_mlflow.display.characters import markdown
from fds_mlflow.lifecycle.descriptions import REPORT, cell, model_link, reports, version_link
from fds_mlflow.notifications.notification import Notification
from fds_mlflow.registry.tags import VERDICT

if TYPE_CHECKING:
    from fds_mlflow.rollouts.tick import Tick

ROLLOUT_ID = "fds.rollout_id"
"""Tag by which the run of a rollout is found again."""

STATUS = "fds.status"
DECISION = "fds.decision"
"""Tag of a run whose rollout has ended: what was decided, a `core.decision.Decision`."""

LOST = "fds.ticks_lost"
"""Tag of a run that some ticks are missing from: how many."""

RECOMMENDATION = "fds.recommendation"
KNOWN = "mlflow.fds.known"
"""Tag with the statuses of the last tick that was logged, for whoever logs the next one; MLflow's pages do not show it.

Earlier releases called it `fds.known`.
"""

NOTE = "mlflow.note.content"
"""MLflow's own tag for a run's description."""

WEIGHT = "rollout/weight"
"""Metric with the canary's share of the traffic, percent."""

MAX_TAG = 4_900
"""Characters of a tag: MLflow takes 8,000 bytes, and a reason in another alphabet takes more than one byte each."""


def experiment(model: str) -> str:
    """Name of the experiment that holds a model's rollouts."""
    return f"fds/rollouts/{model}"


def run_name(rollout: Rollout) -> str:
    """Name of a rollout's run."""
    what = "watch of" if rollout.is_watch else "canary"
    tried, against = (rollout.champion, rollout.canary) if rollout.is_watch else (rollout.canary, rollout.champion)
    return f"{what} {tried} vs {against}"


def parameters(model: str, rollout: Rollout) -> dict[str, str]:
    """The rollout's plan, one parameter per value that a person may want to filter or compare by, and the whole."""
    plan = rollout.plan
    found: dict[str, Any] = {
        "model": model,
        "champion": rollout.champion,
        "canary": rollout.canary,
        "plan": json.dumps(rollout.plan_values(), separators=(",", ":"), ensure_ascii=False),
        "plan.steps": ", ".join(f"{step:g}" for step in plan.steps),
    }
    for name in ("alpha", "min_outcomes", "bake_time", "max_step_time", "undecided", "label_maturity"):
        value = getattr(plan, name)
        found[f"plan.{name}"] = from_duration(value) if isinstance(value, timedelta) else value
    for guardrail in plan.guardrails:
        values = guardrail.to_dict()
        found[f"guardrail.{guardrail.metric}"] = ", ".join(f"{name} {value}" for name, value in values.items())
    return {name: str(value) for name, value in found.items() if value is not None}


def metrics(tick: Tick) -> dict[str, float]:
    """Both variants' rates, interval ends, evidence and weight at one tick; what is unknown or unbounded is left out.

    Evidence is relative to the threshold: at 1 the guardrail is decided.
    """
    found: dict[str, float | int | None] = {}
    if tick.rollout is not None:
        found |= {WEIGHT: to_percent(tick.rollout.weight), "rollout/step": tick.rollout.step + 1}
    if tick.evidence is not None:
        found |= counted(tick.evidence)
    for verdict in tick.judgement.verdicts if tick.judgement is not None else ():
        name = slug(verdict)
        numbers = {"champion": verdict.champion, "canary": verdict.canary, "estimate": verdict.estimate}
        if not verdict.approximate:  # a mean, or nothing: a curve cannot say "about"
            found |= {f"{name}/{what}": value for what, value in numbers.items()}
        found |= {
            f"{name}/interval_low": verdict.interval.low if verdict.interval else None,
            f"{name}/interval_high": verdict.interval.high if verdict.interval else None,
            f"{name}/fail_evidence": share(verdict.fail_evidence, verdict.threshold),
            f"{name}/pass_evidence": share(verdict.pass_evidence, verdict.threshold),
            f"{name}/requests_to_go": verdict.requests_to_go,
            f"{name}/coverage": verdict.coverage,
        }
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def counted(evidence: Evidence) -> dict[str, float | None]:
    """Traffic of the whole rollout and what labels say of it, by variant; None where nobody looked."""
    return _traffic(evidence) | truths(evidence)


def _traffic(evidence: Evidence) -> dict[str, float | None]:
    """Requests and distinct keys of the whole rollout, and the keys that had an error or an alert, by variant."""
    found: dict[str, float | None] = {}
    for variant in Variant:
        whole = added(variant, [tally for tally in evidence.tallies if tally.variant is variant])
        found |= {f"rollout/{variant}_requests": whole.requests, f"rollout/{variant}_keys": whole.keys}
        for name, kind in (("errors", EventKind.ERROR), ("alerts", EventKind.ALERT)):
            found[f"rollout/{variant}_{name}"] = known(whole, kind, evidence.terms)
    return found


def truths(evidence: Evidence) -> dict[str, float | None]:
    """What labels say of each variant in the whole rollout: keys, frauds and money; None where nobody looked."""
    found: dict[str, float | None] = {}
    for variant in Variant:
        whole = added(variant, [tally for tally in evidence.tallies if tally.variant is variant])
        values: dict[str, float | None] = {
            "matured": whole.matured or None,
            "due_requests": whole.matured_requests or None,
            "labelled": whole.labelled if whole.matured else None,
            "frauds_caught": caught(whole),
            "frauds_missed": known(whole, EventKind.MISSED_FRAUD, evidence.terms),
            "false_positives": known(whole, EventKind.FALSE_POSITIVE, evidence.terms),
            "losses_known": sum(whole.losses) or None,
            "money_missed": sum(whole.loss_sums) if whole.loss_sums else None,
            "money_caught": whole.caught_money,
        }
        found |= {f"rollout/{variant}_{name}": value for name, value in values.items()}
    return found


def share(evidence: float | None, threshold: float | None) -> float | None:
    """Evidence as a share of what it takes to decide; None where either is unknown."""
    return evidence / threshold if evidence is not None and threshold else None


def slug(verdict: Verdict) -> str:
    """The name under which a verdict's numbers are logged; MLflow's charts are grouped by it."""
    if verdict.guardrail is not None and verdict.segment is None:
        return verdict.guardrail.metric.value
    return re.sub(r"\W+", "_", verdict.check).strip("_").lower()


@dataclass(frozen=True)
class LastReported:
    """What was last reported of a rollout.

    Attributes:
        number: How often something had changed by then.
        action: What the controller would have done.
        statuses: Status by the verdict's name; what is not there counts as NODATA.
        logged: Time of the last tick that was logged, UTC; None before the first.
        later: What a later release has written beside these, to be written again as it was.
    """

    number: int = 0
    action: str = "wait"
    statuses: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    logged: datetime | None = None
    later: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def encode(self) -> str:
        """As the tag holds it."""
        values = {**self.later, "number": self.number, "action": self.action, "statuses": dict(self.statuses)}
        if self.logged is not None:
            values["logged"] = self.logged.isoformat()
        return json.dumps(values)

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> LastReported:
        """Read it from a run's tags; nothing is known where there is none or it cannot be parsed."""
        try:
            values = json.loads(tags.get(KNOWN) or tags.get(KNOWN.removeprefix("mlflow."), ""))
            statuses = {str(name): Status(status).value for name, status in values["statuses"].items()}
            logged = datetime.fromisoformat(values["logged"]).astimezone(UTC) if "logged" in values else None
            later = {key: values[key] for key in values.keys() - {"number", "action", "statuses", "logged"}}
            return cls(int(values["number"]), str(values["action"]), statuses, logged, later)
        except (ValueError, LookupError, TypeError, AttributeError):
            return cls()

    def after(self, tick: Tick) -> LastReported:
        """What is known after a tick; the number grows where something changed."""
        if tick.judgement is None:
            return self
        statuses = {slug(verdict): verdict.status.value for verdict in tick.judgement.verdicts}
        action = tick.recommendation.action.value if tick.recommendation is not None else self.action
        changed = action != self.action or any(_changes(self, tick.judgement))
        statuses = {**self.statuses, **statuses}
        return replace(self, number=self.number + changed, action=action, statuses=statuses)


def _changes(known: LastReported, judgement: Judgement) -> Iterator[Verdict]:
    for verdict in judgement.verdicts:
        if verdict.status.value != known.statuses.get(slug(verdict), Status.NODATA.value):
            yield verdict


def changed(known: LastReported, tick: Tick) -> Notification | None:
    """What is to be notified of a tick: verdicts that changed, or another recommendation; None where nothing did.

    The id counts the changes of the rollout, so that two autopilots that see the same change tell it under one id.
    """
    now = known.after(tick)
    if now.number == known.number or tick.rollout is None or tick.judgement is None or tick.recommendation is None:
        return None
    overall = tick.judgement.overall
    data = {
        "rollout": tick.rollout.id,
        "champion": tick.rollout.champion,
        "canary": tick.rollout.canary,
        "weight": to_percent(tick.rollout.weight),
        "overall": {"status": overall.status.value, "check": overall.check, "reason": overall.reason},
        "changes": [
            {
                "check": verdict.check,
                "from": known.statuses.get(slug(verdict), Status.NODATA.value),
                "to": verdict.status.value,
                "reason": verdict.reason,
            }
            for verdict in _changes(known, tick.judgement)
        ],
        "recommendation": {
            "from": known.action,
            "to": tick.recommendation.action.value,
            "reason": tick.recommendation.reason,
        },
    }
    return Notification(f"{tick.rollout.id}-{now.number}", "rollout.verdict", tick.time, tick.model, data)


def overall(judgement: Judgement) -> str:
    """What the judge says in all, for people."""
    return f"{judgement.overall.status}: {judgement.overall.reason}"[:MAX_TAG]


def tags(tick: Tick, known: LastReported) -> dict[str, str]:
    """Verdicts and recommendation as tags, and what is known after the tick; the description says it all in words."""
    found = {KNOWN: known.encode()}
    if tick.judgement is not None:
        found[VERDICT] = overall(tick.judgement)
        found |= {f"{VERDICT}.{slug(v)}": f"{v.status}: {v.reason}" for v in tick.judgement.verdicts}
    if tick.recommendation is not None:
        found[RECOMMENDATION] = f"{tick.recommendation.action}: {tick.recommendation.reason}"
    found[NOTE] = _note(tick)
    return {name: value[:MAX_TAG] for name, value in found.items()}


def _note(tick: Tick) -> str:
    """What MLflow shows as the run's description, in its Markdown."""
    rollout, judgement, decided = tick.rollout, tick.judgement, tick.recommendation
    lines = [f"As of {tick.time:%Y-%m-%d %H:%M:%S} UTC."]
    if rollout is not None:
        steps = f"step {rollout.step + 1} of {len(rollout.plan.weights)}"
        traffic = f"**{to_percent(rollout.weight):g} %** of the traffic, {steps}."
        lines = [f"{headed(tick.model, rollout)}: {traffic} {lines[0]}"]
    if decided is not None:
        opening, bracket, verdict = cell(decided.reason).partition(" (")
        lines += ["", f"**{opening}**{bracket}{verdict}"]
    if judgement is not None:
        lines += ["", "| check | verdict | why |", "|---|---|---|"]
        lines += [f"| {slug(v)} | **{v.status}** | {cell(v.reason)} |" for v in judgement.verdicts]
    return "\n".join(lines)


def headed(model: str, rollout: Rollout) -> str:
    """What a rollout tries against what, with links to the model's and the versions' pages."""
    tried, against = version_link(model, rollout.canary), version_link(model, rollout.champion)
    return f"{model_link(model)}: version {tried} against {against}"


def closing_note(model: str, rollout: Rollout, place: str, said: str) -> str:
    """What MLflow shows as the description of a run whose rollout has ended.

    Args:
        model: Registered model.
        rollout: The rollout.
        place: Of the run, as `run_link` takes it.
        said: Its summary.
    """
    return f"{headed(model, rollout)}. {reports(place)}\n\n{markdown(said)}"


def experiment_note(model: str) -> str:
    """Description of the experiment that holds a model's rollouts."""
    return (
        f"Rollouts of {model_link(model)}, one run each: the curves of champion and canary, the verdicts with their"
        f" reasons, and once it has ended `{REPORT}`. A rollout that was aborted is a run that finished: `{DECISION}`"
        " says what was decided."
    )


def run_status(tags: Mapping[str, str]) -> str:
    """MLflow's status of a run whose rollout has ended: whether the record is whole, whatever was decided.

    Args:
        tags: Of the run.
    """
    return "FAILED" if LOST in tags else "FINISHED"


def weight_after(rollout: Rollout) -> int:
    """The canary's weight after an event: who replaced the champion gets all, who was stopped none."""
    if rollout.active:
        return rollout.weight
    return FULL if rollout.status is RolloutStatus.COMPLETED else 0


def about(events: Sequence[Event], rollout_id: str) -> tuple[Event, ...]:
    """The events of a history that are about one rollout, in order, those that did not take effect included."""
    return tuple(event for event in events if event.rollout is not None and event.rollout.id == rollout_id)


def rollouts(events: Sequence[Event]) -> dict[str, Rollout]:
    """The rollouts of a history, by id, as they were after the last event that took effect, the oldest first."""
    return {e.rollout.id: e.rollout for e in events if e.rollout is not None and e.outcome is Ending.DONE}
