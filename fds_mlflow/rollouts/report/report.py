"""The report of a rollout: one HTML page that needs no network, from the history and the rollout's run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any

from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.harm import boundaries
from fds_mlflow.core.lifecycle.decision import done
from fds_mlflow.core.lifecycle.events import Event
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.statistics.sequential import Side
from fds_mlflow.core.text.duration import describe_duration
from fds_mlflow.core.text.numbers import UNKNOWN, percent
from fds_mlflow.core.weight import to_percent
from fds_mlflow.display.characters import printable
from fds_mlflow.display.languages import LANGUAGES
from fds_mlflow.display.templates import environment
from fds_mlflow.lifecycle.descriptions import PLAIN_WORDS, summary_file
from fds_mlflow.registry.tags import VERDICT
from fds_mlflow.rollouts import naming
from fds_mlflow.rollouts.report import plots, words
from fds_mlflow.rollouts.report.plots import Series
from fds_mlflow.rollouts.report.summary import RolloutSummary, VersionFacts, build
from fds_mlflow.rollouts.report.words import summary

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["RolloutSummary", "Section", "Step", "asks", "build", "render", "sections", "steps", "summary"]


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


def steps(story: RolloutSummary) -> list[Step]:
    """The steps as they went, each until the next one or the end."""
    moved = [e for e in story.done if e.rollout is not None and e.rollout.active]
    ends = [*(event.time for event in moved[1:]), story.ended or story.made]
    return [
        Step(e.rollout.step + 1, to_percent(e.rollout.weight), e.time, end - e.time, e.actor, e.reason)
        for e, end in zip(moved, ends, strict=True)
        if e.rollout is not None
    ]


def sections(story: RolloutSummary) -> list[Section]:
    """One section per check: the plan's guardrails, after whatever else was judged (such as the split itself)."""
    guardrails = {guardrail.metric.value: guardrail for guardrail in story.rollout.plan.guardrails}
    others = [name for name in story.statuses if name not in guardrails]
    return [_section(story, name, guardrails.get(name)) for name in (*others, *guardrails)]


def _section(story: RolloutSummary, name: str, guardrail: Guardrail | None) -> Section:
    status, _, reason = story.tags.get(f"{VERDICT}.{name}", "").partition(": ")
    decided = story.statuses.get(name, status)
    reason = reason if decided == status else ""  # the run's sentence is of an earlier look
    champion, canary = (story.latest(f"{name}/{variant}") for variant in Variant)
    describe = guardrail.row.describe if guardrail else _share
    return Section(
        name=name,
        title=guardrail.row.title if guardrail else name.replace("_", " ").capitalize(),
        asks=asks(guardrail) if guardrail else "That the traffic was split as the weights say.",
        status=decided,
        reason=reason,
        champion=describe(champion),
        canary=describe(canary),
        interval=_interval(story, guardrail) if guardrail else UNKNOWN,
        fail=_evidence(story.latest(f"{name}/fail_evidence")),
        passes=_evidence(story.latest(f"{name}/pass_evidence")),
        coverage=_share(story.latest(f"{name}/coverage")),
        plots=_plots(story, name, guardrail),
    )


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else percent(value)


def _evidence(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0%}".replace("%", " %")


def _interval(story: RolloutSummary, guardrail: Guardrail) -> str:
    """The last interval; an end that was not logged has none."""
    low, high = (story.latest(f"{guardrail.metric}/interval_{end}") for end in ("low", "high"))
    if low is None and high is None:
        return UNKNOWN
    return guardrail.row.describe_range(-inf if low is None else low, inf if high is None else high)


def asks(guardrail: Guardrail) -> str:
    """What a guardrail asks of the canary, in words."""
    found = []
    row, margin = guardrail.row, guardrail.margin
    if margin is not None and guardrail.relative:
        limits = [f"at {'most' if above else 'least'} {row.describe_harm(b)}" for b, above in boundaries(guardrail)]
        found.append(f"{' and '.join(limits)} the champion's")
    elif margin is not None:
        direction = {Side.BOTH: "away from", Side.LOWER: "below", Side.HIGHER: "above"}[guardrail.harms]
        found.append(f"at most {row.describe_harm(margin)} {direction} the champion's")
    if guardrail.limit is not None:
        found.append(f"below {row.describe(guardrail.limit)} whatever the champion does")
    if guardrail.negligible is not None:
        found.append(f"and harmless in any case below {row.describe(guardrail.negligible)}")
    if row.bounded:
        found.append(row.describe_bound(guardrail.bound))
    return f"{', '.join(found)}{'' if guardrail.required else ' (not required)'}."


def _plots(story: RolloutSummary, name: str, guardrail: Guardrail | None) -> tuple[str, ...]:
    values = {end: story.series.get(f"{name}/{end}", ()) for end in _ENDS}
    watch = story.rollout.is_watch
    found = []
    if guardrail is not None and (values["champion"] or values["canary"]):
        called = ("champion", "control" if watch else "canary")
        both = values["champion"], values["canary"]
        found.append(plots.rates(f"{name}-rates", *both, row=guardrail.row, limit=guardrail.limit, called=called))
    if guardrail is not None and (values["interval_low"] or values["interval_high"]):
        called = ("champion", "control") if watch else ("canary", "champion")
        ends = values["interval_low"], values["interval_high"], values["estimate"]
        limits = [boundary for boundary, _ in boundaries(guardrail)]
        found.append(plots.interval(f"{name}-interval", *ends, limits, row=guardrail.row, called=called))
    if values["fail_evidence"] or values["pass_evidence"]:
        found.append(plots.evidence(f"{name}-evidence", values["fail_evidence"], values["pass_evidence"]))
    return tuple(found)


_ENDS = ("champion", "canary", "interval_low", "interval_high", "estimate", "fail_evidence", "pass_evidence")


def render(story: RolloutSummary) -> str:
    """The report as one HTML page: nothing in it is fetched from anywhere, and it works without JavaScript."""
    weights = _weights(story)
    marks = [(time, event.kind.shown) for event, (time, _) in zip(_about_weight(story), weights, strict=False)]
    context: dict[str, Any] = {
        "story": story,
        "title": f"{naming.run_name(story.rollout).capitalize()} of {story.model}",
        "decision": story.decision,
        "links": _links(story),
        "sentences": words.sentences(story),
        "alarm": words.alarm(story),
        "versions": _versions(story),
        "frauds": words.frauds(story),
        "verdicts": words.verdicts(story),
        "steps": steps(story),
        "second": "control" if story.rollout.is_watch else "canary",
        "sections": sections(story),
        "drift_plot": _drift(story),
        "weight_plot": plots.weight("weight", weights, marks),
        "traffic": _traffic(story),
        "parameters": _without(naming.parameters(story.model, story.rollout), "plan"),
    }
    return printable(_environment().get_template("rollout.html.j2").render(context), keep="\n\t")


def _links(story: RolloutSummary) -> list[tuple[str, str]]:
    """What MLflow shows of it, where there is a server."""
    rollout = story.rollout
    of: dict[str | int, str] = dict(zip(map(summary_file, LANGUAGES), PLAIN_WORDS, strict=True))
    of |= {"run": f"run {story.run_id}", "model": story.model}
    of |= {number: f"version {number}" for number in (rollout.canary, rollout.champion)}
    return [(words, address) for name, words in of.items() if (address := story.links.get(name))]


def _about_weight(story: RolloutSummary) -> list[Event]:
    return [event for event in story.done if event.rollout is not None]


def _weights(story: RolloutSummary) -> Series:
    """The weight after every event of the history, which knows each step, as no tick does.

    The order is the history's: times are of several clocks, and never go back here.
    """
    found: list[tuple[datetime, float]] = []
    for event in _about_weight(story):
        time = max(event.time, found[-1][0]) if found else event.time
        found.append((time, to_percent(naming.weight_after(event.rollout)) if event.rollout else 0.0))
    return [*found, (max(story.made, found[-1][0]), found[-1][1])] if story.rollout.active else found


def _versions(story: RolloutSummary) -> list[tuple[str, VersionFacts]]:
    """Both versions by their part: the one on trial first."""
    rollout = story.rollout
    parts = (("control" if rollout.is_watch else "canary", rollout.canary), ("champion", rollout.champion))
    return [(part, story.versions.get(number, VersionFacts(number))) for part, number in parts]


def _drift(story: RolloutSummary) -> str:
    """The plot of the features' drift; empty where nothing was recorded."""
    second = "control" if story.rollout.is_watch else "canary"
    parts = ((second, story.rollout.canary), ("champion", story.rollout.champion))
    known = [(f"{part} (version {number})", story.drift[number]) for part, number in parts if story.drift.get(number)]
    return plots.drift("drift", known) if known else ""


def _traffic(story: RolloutSummary) -> list[tuple[str, str, str]]:
    """Requests and distinct keys, by variant."""
    rows = []
    for variant in ("champion", "canary"):
        requests, keys = (story.latest(f"rollout/{variant}_{what}") for what in ("requests", "keys"))
        if requests is not None and keys is not None:
            rows.append((variant, f"{requests:,.0f}", f"{keys:,.0f}"))
    return rows


def _without(values: Mapping[str, str], name: str) -> dict[str, str]:
    return {each: value for each, value in values.items() if each != name}


def _environment() -> Environment:
    made = environment("fds_mlflow.rollouts.report")
    made.filters |= {"clock": words.clock, "lasting": describe_duration, "done": done}
    return made
