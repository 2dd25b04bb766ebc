"""A rollout in sentences: what was decided, by whom and on what evidence; then frauds and money."""

from __future__ import annotations

from datetime import datetime

from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.lifecycle.decision import Decision, by_judge, who
from fds_mlflow.core.lifecycle.events import Basis, Event, Kind
from fds_mlflow.core.lifecycle.verdict import SEVERITY
from fds_mlflow.core.text.duration import describe_duration, from_duration
from fds_mlflow.core.text.numbers import money
from fds_mlflow.core.weight import to_percent
from fds_mlflow.rollouts import naming
from fds_mlflow.rollouts.report.summary import RolloutSummary


def summary(story: RolloutSummary) -> str:
    """What was decided, by whom, why and on what evidence, in a few sentences."""
    return " ".join(filter(None, [*sentences(story), alarm(story), *verdicts(story)]))


def sentences(story: RolloutSummary) -> list[str]:
    """The decision, first; then who decided, when, why and on what evidence, and how it began."""
    first, rollout = story.first, story.rollout
    about = f": {stop(first.reason)}" if first.reason else "."
    found = [_decision(story)]
    if story.ended is not None:
        found += [_decided(story), *_evidence(story)]
    found.append(f"Started by {first.actor} on {clock(first.time)} at {to_percent(rollout.plan.weights[0]):g} %{about}")
    return found + [_forced(event) for event in story.done if event.forced and event.kind in (Kind.START, Kind.ADVANCE)]


def verdicts(story: RolloutSummary) -> list[str]:
    """What the judge said of each check, and what it recommends."""
    found = []
    if story.statuses:
        by_status = {s: [name for name, status in story.statuses.items() if status == s] for s in reversed(SEVERITY)}
        said = "; ".join(f"{status}: {', '.join(names)}" for status, names in by_status.items() if names)
        asked = story.last.basis is not None and story.last.basis.statuses
        when = "so far" if story.rollout.active else "at the end" if asked else "at the last look"
        found.append(f"Verdicts {when}: {said}.")
    else:
        found.append("No tick of an autopilot was recorded, so there are no verdicts here.")
    if story.rollout.active and naming.RECOMMENDATION in story.tags:
        found.append(f"Recommendation: {stop(story.tags[naming.RECOMMENDATION].partition(': ')[2])}")
    return found


def alarm(story: RolloutSummary) -> str:
    """The warning that a decision rests on no label; empty where it rests on some, or none was taken yet."""
    if story.ended is None or _labelled(story):
        return ""
    return (
        "No label was looked at: whether frauds were missed, or customers stopped without cause, was not known when"
        " this was decided."
    )


def frauds(story: RolloutSummary) -> list[str]:
    """Frauds and money, caught or missed, in words, one sentence or two a version; or why nobody knows."""
    rollout = story.rollout
    watch = rollout.is_watch
    roles = [(Variant.CANARY, "Control" if watch else "Canary", rollout.canary)]
    roles.append((Variant.CHAMPION, "Champion", rollout.champion))
    if not any(story.latest(f"rollout/{variant}_labelled") for variant, _, _ in roles):
        return [f"How many frauds were caught or missed, and the money they took, is not known: {_why(story)}."]
    return [_variant(story, variant, f"{role} {version}") for variant, role, version in roles]


def _variant(story: RolloutSummary, variant: Variant, name: str) -> str:
    def value(what: str) -> float | None:
        return story.latest(f"rollout/{variant}_{what}")

    due, labelled = value("matured"), value("labelled")
    if not due or not labelled:
        return f"{name}: none of {due or 0:,.0f} keys whose labels are due has one, so nothing is known of its frauds."
    caught, missed, false = value("frauds_caught"), value("frauds_missed"), value("false_positives")
    said = "how many frauds it caught is not known, since none of its alerts was reviewed"
    if caught is not None:
        said = f"it caught {_counted(caught, 'fraud')}{_worth(value('money_caught'))}"
    passed = "how many it missed is not known, since nothing that it did not flag has a label"
    if missed is not None:
        passed = f"it missed {_counted(missed, 'fraud')}{_took(missed, value('losses_known'), value('money_missed'))}"
    wrong = "" if false is None else f"; {_counted(false, 'false alarm')}"
    known = f"of {_counted(due, 'key')} whose labels are due, the truth of {labelled:,.0f} is known"
    return f"{name}: {known}; {said}; {passed}{wrong}."


def _counted(count: float, one: str) -> str:
    return f"{count:,.0f} {one if count == 1 else f'{one}s'}"


def _worth(amount: float | None) -> str:
    return "" if amount is None else f", for which labels name {money(amount)}"


def _took(missed: float, known: float | None, amount: float | None) -> str:
    if not missed:
        return ""
    if not known or amount is None:
        return ", and how much money they took is not known"
    return f", which took {money(amount)}" + (f" ({known:,.0f} with a known amount)" if known < missed else "")


def _why(story: RolloutSummary) -> str:
    if any(name.endswith("/coverage") and values and values[-1][1] for name, values in story.series.items()):
        return "an older release recorded their rates, which stand below, and not their numbers"
    if story.rollout.plan.label_maturity is None:
        return "the plan names no age at which labels are taken, so none was looked at"
    due = [story.latest(f"rollout/{variant}_matured") for variant in Variant]
    age = from_duration(story.rollout.plan.label_maturity)
    if any(due):
        return f"none of {sum(number or 0 for number in due):,.0f} keys whose labels are due after {age} has one"
    return f"no label has been seen that reached its age of {age}"


def _decision(story: RolloutSummary) -> str:
    rollout, last = story.rollout, story.last
    canary, champion, weight = rollout.canary, rollout.champion, f"{to_percent(rollout.weight):g} %"
    hand = "" if by_judge(last) else ", by hand after a PASS"
    if rollout.is_watch:
        replaced = f"version {canary}, its control, replaced it as champion"
        completed = (Decision.WITHOUT_PASS, Decision.BY_HAND, Decision.FORCED)
        return {
            Decision.PASSED: f"The control of champion {champion} passed: {replaced}{hand}.",
            **{each: f"The watch of champion {champion} ended: {each}: {replaced}." for each in completed},
            Decision.UNDER_WAY: f"Champion {champion} is watched: version {canary} keeps {weight} as its control.",
            Decision.WATCHED: f"The watch of champion {champion} against its control {canary} is over.",
            Decision.STOPPED: f"The watch of champion {champion} against its control {canary} was ended by hand.",
            Decision.REVERTED: f"The judge rolled champion {champion} back; version {last.to_version} serves.",
            Decision.ROLLED_BACK: f"Champion {champion} was rolled back by hand; version {last.to_version} serves.",
            Decision.OVERTAKEN: f"An out-of-band change ended the watch of champion {champion}.",
        }.get(story.decision, f"The watch of champion {champion} ended: {story.decision}.")
    return {
        Decision.UNDER_WAY: f"Version {canary} is on trial against champion {champion}, at {weight} of the traffic.",
        Decision.PASSED: f"Version {canary} passed its trial and replaced version {champion} as champion{hand}.",
        Decision.WITHOUT_PASS: (
            f"Version {canary} was completed by hand without a PASS: it replaced version {champion} as champion."
        ),
        Decision.BY_HAND: (
            f"Version {canary} was completed by hand, with no PASS on record: it replaced champion {champion}."
        ),
        Decision.FORCED: f"Version {canary} was forced: by hand it replaced version {champion} as champion.",
        Decision.FAILED: (
            f"Version {canary} was aborted by the judge at {weight}, as harmful; version {champion} stays champion."
        ),
        Decision.UNDECIDED: (
            f"Version {canary} was aborted undecided at {weight}, as its plan says; version {champion} stays champion."
        ),
        Decision.STOPPED: f"Version {canary} was aborted by hand at {weight}; version {champion} stays champion.",
        Decision.REVERTED: f"The judge rolled back to version {last.to_version}, which ended the trial of {canary}.",
        Decision.ROLLED_BACK: (f"A rollback by hand to version {last.to_version} ended the trial of version {canary}."),
        Decision.OVERTAKEN: (
            f"Overtaken: an out-of-band change ended the trial of version {canary} against {champion}."
        ),
    }.get(story.decision, f"The trial of version {canary} against {champion} ended: {story.decision}.")


def _decided(story: RolloutSummary) -> str:
    """Who, when and why; of an out-of-band change only who noticed it is known."""
    first, last = story.first, story.last
    verb = "Noticed" if last.kind is Kind.ADOPT else "Decided"
    why = f": {stop(last.reason)}" if last.reason else ", without a reason given."
    told = f"{verb} by {last.actor} on {clock(last.time)}, {describe_duration(last.time - first.time)} in{why}"
    return told + (" Who did it, the registry does not keep." if last.kind is Kind.ADOPT else "")


def _evidence(story: RolloutSummary) -> list[str]:
    basis = story.last.basis
    if story.last.kind is Kind.ADOPT:
        return []
    if basis is None:
        return ["The history does not say on what evidence: an older release wrote it."]
    if basis.overall is None or basis.keys is None:
        return ["Nobody asked the judge when it was decided."]
    labels = f"{basis.labelled:,} labels" if basis.labelled else "no label"
    said = f"The judge said {basis.overall} then, by {basis.keys:,} keys that had met the canary and {labels}."
    return [said]


def _labelled(story: RolloutSummary) -> bool:
    """Whether the decision rests on any label; by the run's coverage where the event does not say."""
    basis = story.last.basis or Basis()
    if basis.labelled is not None:
        return basis.labelled > 0
    return any(name.endswith("/coverage") and values and values[-1][1] > 0 for name, values in story.series.items())


def _forced(event: Event) -> str:
    weight = f" to {to_percent(event.rollout.weight):g} %" if event.rollout else ""
    what = "Started although clearly worse offline" if event.kind is Kind.START else f"Forced{weight}"
    return f"{what} by {who(event)} on {clock(event.time)}{f': {stop(event.reason)}' if event.reason else '.'}"


def clock(time: datetime) -> str:
    """A moment, for people."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def stop(text: str) -> str:
    """A text that ends as a sentence does."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
