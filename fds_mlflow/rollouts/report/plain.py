"""A rollout on one page, for people who know no statistics: what was tried, what it did, who decided, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from fds_mlflow.core.lifecycle.decision import AUTOPILOT, BY_HAND, by_judge, ended
from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.text.duration import describe_duration
from fds_mlflow.core.text.numbers import money
from fds_mlflow.core.weight import to_percent
from fds_mlflow.display.document import Block, Document, Link, Section, Table, Warn
from fds_mlflow.rollouts.report.effect import Effect
from fds_mlflow.rollouts.report.messages import MESSAGES, text
from fds_mlflow.rollouts.report.summary import RolloutSummary, VersionFacts
from fds_mlflow.rollouts.report.words import alarm

Say = Callable[..., str]
"""A message in the reader's language: `say(key, **values)`."""

_ROWS = (
    *("requests", "keys", "errors", "alerts", "matured", "labelled"),
    *("frauds_caught", "frauds_missed", "false_positives", "money_caught", "money_missed"),
)
_UNITS = {"d": "일", "h": "시간", "min": "분", "s": "초"}


def document(story: RolloutSummary, language: str) -> Document:
    """The page.

    Args:
        story: What is known about the rollout.
        language: One of `LANGUAGES`.
    """
    say = partial(text, language)
    effect = Effect(story.latest, story.rollout.is_watch)
    made = (
        (say("what"), _what(story, say)),
        (say("effect"), _effect(story, effect, say)),
        (say("who"), _who(story, say, language)),
        (say("checks"), _checks(story, say)),
        (say("unknowns"), _unknowns(story, effect, say, language)),
        (say("numbers"), _numbers(effect, say)),
        (say("reading"), [[say(f"reading.{one}") for one in ("once", "chance", "money", "truth")]]),
        (say("more"), [_links(story, say)]),
    )
    kind = "watch" if story.rollout.is_watch else "trial"
    return Document(
        title=say(f"{kind}.title", model=story.model, new=_new(story)),
        subtitle=say("as_of", time=clock(story.made)),
        lead=sentence(story, say),
        sections=[Section(title, list(blocks)) for title, blocks in made],
        language=language,
    )


def _new(story: RolloutSummary) -> int:
    return story.rollout.champion if story.rollout.is_watch else story.rollout.canary


def _old(story: RolloutSummary) -> int:
    return story.rollout.canary if story.rollout.is_watch else story.rollout.champion


def sentence(story: RolloutSummary, say: Say) -> str:
    """What was decided, in one sentence."""
    key = f"{'watched' if story.rollout.is_watch else 'tried'}.{story.decision.name}"
    return say(
        key if key in MESSAGES else f"tried.{story.decision.name}",
        new=_new(story),
        old=_old(story),
        share=f"{to_percent(story.rollout.weight):g}",
        back=story.last.to_version,
    )


def _what(story: RolloutSummary, say: Say) -> Iterator[Block]:
    facts = [story.versions.get(number, VersionFacts(number)) for number in (_new(story), _old(story))]
    shown = ("version", "algorithm", "data", "period", "description")
    titles = ("version", "algorithm", "learned", "period", "description")
    rows = [
        (say(title), *(str(getattr(each, name)) for each in facts)) for name, title in zip(shown, titles, strict=True)
    ]
    yield Table(("", say("column.new"), say("column.old")), rows, text=True)
    weights = [to_percent(event.rollout.weight) for event in story.done if event.rollout is not None]
    key = "kept" if story.rollout.is_watch else "reached"
    yield say(key, first=f"{weights[0]:g}", most=f"{max(weights):g}")


def _effect(story: RolloutSummary, effect: Effect, say: Say) -> Iterator[Block]:
    if alarm(story):
        yield Warn(say("unknown.no_label"))
    new, old = effect.new("requests"), effect.old("requests")
    if new is None or old is None:
        yield say("effect.no_traffic")
    else:
        yield say("effect.decided", new=count(new), old=count(old))
    shown = ("false_positives", "frauds_missed", "frauds_caught", "alerts", "errors")
    compared = [_compared(effect, what, say) for what in shown if effect.new(what) is not None]
    if compared:
        yield compared
    yield from _money(effect, say)


def _compared(effect: Effect, what: str, say: Say) -> str:
    number, among, would = effect.new(what), effect.among(what), effect.would(what)
    if among is None:
        said = say("effect.among_unknown", what=say(f"row.{what}"), new=count(number or 0))
    else:
        said = say(f"effect.{what}", among=count(among), new=count(number or 0))
    if would is None or would.low is None or would.high is None:
        return f"{said} {say('would.unknown')}"
    ends = {"low": count(would.low), "high": count(would.high)}
    return f"{said} {say('would.count', about=count(would.about), **ends)}"


def _money(effect: Effect, say: Say) -> Iterator[str]:
    lost, would, caught = effect.new("money_missed"), effect.would("money_missed"), effect.new("money_caught")
    if lost is not None:
        after = f" {say('money.would', about=money(would.about))}" if would is not None else ""
        yield f"{say('money.missed', new=money(lost))}{after}"
    if caught is not None:
        yield say("money.caught", new=money(caught))


def _numbers(effect: Effect, say: Say) -> Iterator[Block]:
    def shown(what: str, value: float | None) -> str:
        if value is None:
            return say("unknown")
        return money(value) if what.startswith("money") else count(value)

    rows = [(say(f"row.{what}"), shown(what, effect.new(what)), shown(what, effect.old(what))) for what in _ROWS]
    yield Table(("", say("column.new"), say("column.old")), rows)


def _checks(story: RolloutSummary, say: Say) -> Iterator[Block]:
    if not story.statuses:
        yield say("checks.none")
        return
    rows = [(_check(name, say), say(f"status.{status}")) for name, status in story.statuses.items()]
    yield Table((say("column.check"), say("column.answer")), rows, text=True)


def _check(name: str, say: Say) -> str:
    """The name of a check in plain words; one of a part of the traffic begins as that of the whole."""
    metric = next((metric for metric in ("split", *Metric) if name.startswith(metric)), None)
    if metric is None:
        return name
    part = name.removeprefix(metric).replace("_in_", "", 1).removeprefix(" in ")
    return say("check.part", check=say(f"check.{metric}"), part=part) if part else say(f"check.{metric}")


def _who(story: RolloutSummary, say: Say, language: str) -> Iterator[Block]:
    first, last = story.first, story.last
    yield f"{say('started', time=clock(first.time), who=actor(first, say))} {_why(first, say)}"
    if story.ended is not None:
        key = "by.judge" if by_judge(last) else "by.person" if is_named(last) else "by.nobody"
        after = lasting(describe_duration(last.time - first.time), language)
        yield f"{say(key, time=clock(last.time), who=actor(last, say), after=after)} {_why(last, say)}"
        basis = last.basis
        if basis is not None and basis.keys is not None and basis.labelled is not None:
            yield say("basis", keys=count(basis.keys), labels=count(basis.labelled))
    rows = [(clock(event.time), _event(event, say), actor(event, say), reason(event, say)) for event in story.events]
    columns = ("column.time", "column.event", "column.who", "column.why")
    yield Table(tuple(say(column) for column in columns), rows, text=True)


def reason(event: Event, say: Say) -> str:
    """Why it was done: what a person wrote; of what was done automatically, the checks that were worse than allowed."""
    if not by_judge(event):
        return event.reason
    statuses = event.basis.statuses if event.basis is not None else {}
    worse = [_check(name, say) for name, status in statuses.items() if status is Status.FAIL]
    return say("why.checks", checks=", ".join(worse)) if worse else say("why.plan")


def _why(event: Event, say: Say) -> str:
    found = reason(event, say)
    return say("why", reason=found) if found else say("no_why")


def is_named(event: Event) -> bool:
    """Whether it is known who did it: of a change past the usual way often only who noticed it is."""
    return event.kind is not Kind.ADOPT or BY_HAND in event.actor


def actor(event: Event, say: Say) -> str:
    """Who did it, or noticed it."""
    made, _, _ = event.actor.partition(f" for {BY_HAND}")
    return say("autopilot", who=made.removeprefix(AUTOPILOT)) if made.startswith(AUTOPILOT) else made


def _event(event: Event, say: Say) -> str:
    decided = ended(event)
    share = f"{to_percent(event.rollout.weight):g}" if event.rollout is not None else ""
    key = f"event.{event.kind}" if f"event.{event.kind}" in MESSAGES else "event.other"
    said = say(f"short.{decided.name}") if decided is not None else say(key, share=share)
    if event.forced and decided is None:
        said = say("event.forced", event=said)
    return said if event.outcome is Ending.DONE else say("event.not_done", event=said)


def _unknowns(story: RolloutSummary, effect: Effect, say: Say, language: str) -> Iterator[Block]:
    found = [*_of_decision(story, say), *_of_labels(story, effect, say, language)]
    if not story.series and effect.new("requests") is None:
        found.append(say("unknown.record"))
    elif effect.new("labelled") is not None and effect.new("due_requests") is None:
        found.append(say("unknown.older"))
    if alarm(story):
        found.insert(0, say("unknown.no_label"))
    yield found or [say("unknown.nothing")]


def _of_decision(story: RolloutSummary, say: Say) -> Iterator[str]:
    if story.ended is None:
        return
    if not is_named(story.last):
        yield say("unknown.who")
    elif story.last.basis is None:
        yield say("unknown.evidence")
    elif story.last.basis.overall is None:
        yield say("unknown.not_asked_judge")


def _of_labels(story: RolloutSummary, effect: Effect, say: Say, language: str) -> Iterator[str]:
    maturity = story.rollout.plan.label_maturity
    if maturity is None:
        yield say("unknown.not_asked")
        return
    if not effect.new("matured") and not effect.old("matured"):
        yield say("unknown.not_due", age=lasting(describe_duration(maturity), language))
        return
    for number, model in ((effect.new, say("model.new")), (effect.old, say("model.old"))):
        due, labelled = number("matured") or 0, number("labelled") or 0
        if due > labelled:
            yield say("unknown.labels", model=model, due=count(due), missing=count(due - labelled))
        yield from _of_frauds(number, model, say)


def _of_frauds(number: Callable[[str], float | None], model: str, say: Say) -> Iterator[str]:
    missed, amounts = number("frauds_missed"), number("losses_known") or 0
    if number("frauds_caught") is None:
        yield say("unknown.caught", model=model)
    if missed is None:
        yield say("unknown.missed", model=model)
    elif missed and (not amounts or number("money_missed") is None):
        yield say("unknown.amounts_all", model=model)
    elif missed > amounts:
        yield say("unknown.amounts", model=model, count=count(missed), missing=count(missed - amounts))


def _links(story: RolloutSummary, say: Say) -> list[str]:
    new, old = _new(story), _old(story)
    found: list[str] = [Link(say("link.report"), story.links["report"])] if story.links.get("report") else []
    found.append(Link(say("link.run", run=story.run_id), story.links.get("run")) if story.run_id else say("link.none"))
    found.append(Link(say("link.new", version=new), story.links.get(new)))
    found.append(Link(say("link.old", version=old), story.links.get(old)))
    return [*found, Link(say("link.model", model=story.model), story.links.get("model"))]


def lasting(duration: str, language: str) -> str:
    """A duration as `describe_duration` writes it, in a language."""
    words = duration.split()
    if language == "en":
        return duration
    return " ".join(f"{number}{_UNITS[unit]}" for number, unit in zip(words[::2], words[1::2], strict=True))


def clock(moment: object) -> str:
    """A moment, for people."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def count(number: float) -> str:
    """A count, for people."""
    return f"{number:,.0f}"
