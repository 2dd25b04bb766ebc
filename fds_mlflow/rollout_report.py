"""The report of a rollout: one HTML page that needs no network, from the history and the rollout's run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fds_mlflow import rollout_metrics as naming
from fds_mlflow import rollout_plots as plots
from fds_mlflow.core.events import Event, Kind, Outcome, Rollout, RolloutStatus
from fds_mlflow.core.harm import boundaries
from fds_mlflow.core.plan import Guardrail, Metric, to_percent
from fds_mlflow.core.sequential import Side
from fds_mlflow.core.verdict import SEVERITY, Status
from fds_mlflow.rollout_plots import Series

if TYPE_CHECKING:
    from jinja2 import Environment

_ABSOLUTE = (Metric.SCORE_SHIFT, Metric.MONEY_LOST)
"""Metrics whose two numbers are no shares."""

_NAMES = {
    Metric.ERROR_RATE: "Errors",
    Metric.ALERT_RATE: "Alerts",
    Metric.LATENCY: "Slow requests",
    Metric.SCORE_SHIFT: "Score shift",
    Metric.MISSED_FRAUD: "Missed fraud",
    Metric.FALSE_POSITIVES: "False positives",
    Metric.ALERT_PRECISION: "Precision of alerts",
    Metric.MONEY_LOST: "Money lost",
}


@dataclass(frozen=True)
class Story:
    """What is known about one rollout.

    Attributes:
        model: Registered model.
        rollout: The rollout as it was last.
        events: The events about it, in order, those that did not take effect included.
        series: What was measured over time, by name of the metric; empty where no tick was recorded.
        tags: Tags of its tracking run; empty where there is none.
        made: When this was put together, UTC.
    """

    model: str
    rollout: Rollout
    events: tuple[Event, ...]
    series: Mapping[str, Series]
    tags: Mapping[str, str]
    made: datetime

    @property
    def first(self) -> Event:
        """The event that began it."""
        return self.done[0]

    @property
    def last(self) -> Event:
        """The last event that took effect."""
        return self.done[-1]

    @cached_property
    def done(self) -> tuple[Event, ...]:
        """The events that took effect."""
        return tuple(event for event in self.events if event.outcome is Outcome.DONE)

    @property
    def ended(self) -> datetime | None:
        """When it ended; None while it is under way."""
        return None if self.rollout.active else self.last.time


@dataclass(frozen=True)
class Step:
    """One step of a rollout as it went.

    Attributes:
        number: From 1.
        weight: Percent of the traffic.
        began: When, UTC.
        lasted: How long.
        actor: Who began it.
        reason: Why.
    """

    number: int
    weight: float
    began: datetime
    lasted: timedelta
    actor: str
    reason: str


@dataclass(frozen=True)
class Section:
    """What the report says about one check.

    Attributes:
        name: As metrics and tags name it.
        title: As people name it.
        asks: What the plan asks.
        status: The verdict; empty where none was recorded.
        reason: Its sentence.
        champion: The champion's number, as text.
        canary: The canary's number, as text.
        interval: Of their ratio or difference, as text.
        fail: Evidence for FAIL, percent of the threshold, as text.
        passes: Evidence for PASS, percent of the threshold, as text.
        coverage: Share of matured keys whose truth is known, as text.
        plots: SVG elements.
    """

    name: str
    title: str
    asks: str
    status: str
    reason: str
    champion: str
    canary: str
    interval: str
    fail: str
    passes: str
    coverage: str
    plots: tuple[str, ...]


def build(
    model: str, events: Sequence[Event], series: Mapping[str, Series], tags: Mapping[str, str], made: datetime
) -> Story:
    """Put together what is known about a rollout.

    Args:
        model: Registered model.
        events: The events about one rollout, in order; at least one took effect.
        series: Metrics of its tracking run over time.
        tags: Tags of its tracking run.
        made: Now, UTC.
    """
    rollout = [e.rollout for e in events if e.outcome is Outcome.DONE and e.rollout is not None][-1]
    return Story(model, rollout, tuple(events), series, tags, made)


def summary(story: Story) -> str:
    """What was decided, by whom and why, in a few sentences."""
    return " ".join(sentences(story))


def sentences(story: Story) -> list[str]:
    """The sentences of the summary."""
    first, last, rollout = story.first, story.last, story.rollout
    about = f": {_stop(first.reason)}" if first.reason else "."
    found = [_outcome(story)]
    if story.ended is not None:
        why = f": {_stop(last.reason)}" if last.reason else ", without a reason given."
        found.append(f"Decided by {last.actor} on {clock(last.time)}, {lasting(last.time - first.time)} in{why}")
    found.append(f"Started by {first.actor} on {clock(first.time)} at {to_percent(rollout.plan.weights[0]):g} %{about}")
    statuses = _statuses(story)
    if statuses:
        by_status = {s: [name for name, status in statuses.items() if status == s] for s in reversed(SEVERITY)}
        said = "; ".join(f"{status}: {', '.join(names)}" for status, names in by_status.items() if names)
        found.append(f"Verdicts {'so far' if rollout.active else 'at the end'}: {said}.")
    else:
        found.append("No tick of an autopilot was recorded, so there are no verdicts here.")
    if rollout.active and naming.RECOMMENDATION in story.tags:
        found.append(f"Recommendation: {_stop(story.tags[naming.RECOMMENDATION])}")
    return found


def _outcome(story: Story) -> str:
    rollout, last = story.rollout, story.last
    canary, champion, weight = rollout.canary, rollout.champion, f"{to_percent(rollout.weight):g} %"
    if rollout.plan.control:
        return {
            RolloutStatus.ACTIVE: f"Champion {champion} is watched: version {canary} keeps {weight} as its control.",
            RolloutStatus.ABORTED: f"The watch of champion {champion} against its control {canary} is over.",
            RolloutStatus.ROLLED_BACK: f"Champion {champion} was rolled back; version {last.to_version} serves.",
        }.get(rollout.status, f"The watch of champion {champion} ended: {rollout.status}.")
    return {
        RolloutStatus.ACTIVE: f"Version {canary} is on trial against champion {champion}, at {weight} of the traffic.",
        RolloutStatus.COMPLETED: f"Version {canary} passed its trial and replaced version {champion} as champion.",
        RolloutStatus.ABORTED: f"Version {canary} was stopped at {weight}; version {champion} stays champion.",
        RolloutStatus.ROLLED_BACK: f"A rollback to version {last.to_version} ended the trial of version {canary}.",
        RolloutStatus.OVERTAKEN: f"A hand in the registry ended the trial of version {canary} against {champion}.",
    }.get(rollout.status, f"The trial of version {canary} against {champion} ended: {rollout.status}.")


def _statuses(story: Story) -> dict[str, Status]:
    known = naming.Known.decode(story.tags.get(naming.KNOWN))
    return {name: Status(status) for name, status in known.statuses.items()}


def steps(story: Story) -> list[Step]:
    """The steps as they went, each until the next one or the end."""
    moved = [e for e in story.done if e.kind in (Kind.START, Kind.ADVANCE) and e.rollout is not None]
    ends = [*(event.time for event in moved[1:]), story.ended or story.made]
    return [
        Step(e.rollout.step + 1, to_percent(e.rollout.weight), e.time, end - e.time, e.actor, e.reason)
        for e, end in zip(moved, ends, strict=True)
        if e.rollout is not None
    ]


def sections(story: Story) -> list[Section]:
    """One section per check: the plan's guardrails, after whatever else was judged (such as the split itself)."""
    guardrails = {guardrail.metric.value: guardrail for guardrail in story.rollout.plan.guardrails}
    others = [name for name in _statuses(story) if name not in guardrails]
    return [_section(story, name, guardrails.get(name)) for name in (*others, *guardrails)]


def _section(story: Story, name: str, guardrail: Guardrail | None) -> Section:
    status, _, reason = story.tags.get(f"{naming.VERDICT}.{name}", "").partition(": ")
    metric = guardrail.metric if guardrail else None
    percent = metric not in _ABSOLUTE
    low, high = (_last(story, f"{name}/interval_{end}") for end in ("low", "high"))
    known = low is not None or high is not None
    times = " times" if guardrail and guardrail.relative else ""
    return Section(
        name=name,
        title=_NAMES[metric] if metric else name.replace("_", " ").capitalize(),
        asks=asks(guardrail) if guardrail else "That the traffic was split as the weights say.",
        status=status,
        reason=reason,
        champion=_number(_last(story, f"{name}/champion"), percent=percent),
        canary=_number(_last(story, f"{name}/canary"), percent=percent),
        interval=f"{_number(low)} to {_number(high, unknown='∞')}{times}" if known else "-",
        fail=_number(_last(story, f"{name}/fail_evidence"), percent=True, digits=0),
        passes=_number(_last(story, f"{name}/pass_evidence"), percent=True, digits=0),
        coverage=_number(_last(story, f"{name}/coverage"), percent=True, digits=1),
        plots=_plots(story, name, guardrail, percent=percent),
    )


def asks(guardrail: Guardrail) -> str:
    """What a guardrail asks of the canary, in words."""
    found = []
    margin, both = guardrail.margin, guardrail.harms is Side.BOTH
    if margin is not None and guardrail.relative:
        least = f" and at least {1 / (1 + margin):.3g} times" if both else ""
        found.append(f"at most {1 + margin:.4g} times{least} the champion's")
    elif margin is not None:
        direction = {Side.BOTH: "away from", Side.LOWER: "below", Side.HIGHER: "above"}[guardrail.harms]
        found.append(f"at most {margin:.4g} {direction} the champion's")
    if guardrail.limit is not None:
        found.append(f"below {100 * guardrail.limit:.4g} % whatever the champion does")
    if guardrail.negligible is not None:
        found.append(f"and harmless in any case below {100 * guardrail.negligible:.4g} %")
    if guardrail.bound is not None:
        slow = f"slow is above {guardrail.bound:g} ms"
        found.append(slow if guardrail.metric is Metric.LATENCY else f"one loss counts up to {guardrail.bound:g}")
    return f"{', '.join(found)}{'' if guardrail.required else ' (not required)'}."


def _plots(story: Story, name: str, guardrail: Guardrail | None, *, percent: bool) -> tuple[str, ...]:
    values = {end: story.series.get(f"{name}/{end}", ()) for end in _ENDS}
    watch = story.rollout.plan.control
    found = []
    if guardrail is not None and (values["champion"] or values["canary"]):
        called = ("champion", "control" if watch else "canary")
        both = values["champion"], values["canary"]
        found.append(plots.rates(f"{name}-rates", *both, percent=percent, limit=guardrail.limit, called=called))
    if guardrail is not None and (values["interval_low"] or values["interval_high"]):
        called = ("champion", "control") if watch else ("canary", "champion")
        ends = values["interval_low"], values["interval_high"], values["estimate"]
        limits = [boundary for boundary, _ in boundaries(guardrail)]
        relative = guardrail.relative
        found.append(plots.interval(f"{name}-interval", *ends, limits, relative=relative, called=called))
    if values["fail_evidence"] or values["pass_evidence"]:
        found.append(plots.evidence(f"{name}-evidence", values["fail_evidence"], values["pass_evidence"]))
    return tuple(found)


_ENDS = ("champion", "canary", "interval_low", "interval_high", "estimate", "fail_evidence", "pass_evidence")


def render(story: Story) -> str:
    """The report as one HTML page: nothing in it is fetched from anywhere, and it works without JavaScript."""
    marks = [(event.time, event.kind.value) for event in story.done]
    weights = story.series.get(naming.WEIGHT) or _weights(story)
    context: dict[str, Any] = {
        "story": story,
        "title": f"{naming.run_name(story.rollout).capitalize()} of {story.model}",
        "sentences": sentences(story),
        "steps": steps(story),
        "second": "control" if story.rollout.plan.control else "canary",
        "sections": sections(story),
        "weight_plot": plots.weight("weight", weights, marks),
        "traffic": _traffic(story),
        "parameters": _without(naming.parameters(story.model, story.rollout), "plan"),
    }
    return _environment().get_template("rollout.html.j2").render(context)


def _weights(story: Story) -> Series:
    """The weight over time by the events alone, for a rollout whose ticks nobody recorded."""
    found = [(e.time, to_percent(naming.weight_after(e.rollout))) for e in story.done if e.rollout is not None]
    return found if not story.rollout.active else [*found, (story.made, found[-1][1])]


def _traffic(story: Story) -> list[tuple[str, str, str]]:
    """Requests and distinct keys, by variant."""
    rows = []
    for variant in ("champion", "canary"):
        requests, keys = (_last(story, f"rollout/{variant}_{what}") for what in ("requests", "keys"))
        if requests is not None and keys is not None:
            rows.append((variant, f"{requests:,.0f}", f"{keys:,.0f}"))
    return rows


def _without(values: Mapping[str, str], name: str) -> dict[str, str]:
    return {each: value for each, value in values.items() if each != name}


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("fds_mlflow"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"clock": clock, "lasting": lasting}
    return made


def clock(time: datetime) -> str:
    """A moment, for people."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def lasting(duration: timedelta) -> str:
    """A duration, for people: its two largest units."""
    seconds = max(0, round(duration.total_seconds()))
    parts = [(seconds // 86_400, "d"), (seconds // 3_600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def _stop(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _last(story: Story, name: str) -> float | None:
    values = story.series.get(name)
    return values[-1][1] if values else None


def _number(value: float | None, *, percent: bool = False, digits: int | None = None, unknown: str = "-") -> str:
    if value is None:
        return unknown
    shown = 100 * value if percent else value
    text = f"{shown:.4g}" if digits is None else f"{shown:.{digits}f}"
    return f"{text} %" if percent else text
