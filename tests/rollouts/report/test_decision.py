"""Every way a rollout can end, and what is said of it everywhere: the decision, by whom, on what evidence."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from fds_mlflow import Plan
from fds_mlflow.cli.output import tables
from fds_mlflow.cli.output.plain import plain
from fds_mlflow.core.lifecycle.decision import Decision, decision, decisions, who
from fds_mlflow.core.lifecycle.events import Basis, Event, Kind
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.core.plan.plan import Watch
from fds_mlflow.notifications.notification import of_event
from fds_mlflow.registry import records, tags
from fds_mlflow.registry.store import SetAlias
from fds_mlflow.registry.transaction import said
from fds_mlflow.rollouts import naming
from fds_mlflow.rollouts.report.report import RolloutSummary, build
from fds_mlflow.rollouts.report.report import render as page
from fds_mlflow.rollouts.report.words import alarm, summary
from tests.support.effort import graded
from tests.support.registry_model import MODEL
from tests.support.release import MINUTE, Rates, Release
from tests.support.rollout_ticks import ROLLOUT, SMALL, Trial

WATCH = Plan([5], guardrails=SMALL.guardrails, watch=Watch("7d", 5))
PASSED = [Status.PASS] * 2


def hand(kind: Kind, basis: Basis | None = None, *, force: bool = False) -> Callable[[Trial], None]:
    """A person's operation, at the plan's last step unless it is forced."""

    def end(trial: Trial) -> None:
        if kind is Kind.COMPLETE and not force:
            trial.run(
                Request(Kind.ADVANCE, weight=10_000, now=trial.model.session.now(), force=True), "hurry", actor="bob"
            )
        trial.run(Request(kind, force=force, basis=basis or Basis()), "I say so", actor="bob")

    return end


def judge(kind: Kind, *statuses: Status) -> Callable[[Trial], None]:
    """An autopilot's operation."""
    return lambda trial: void(trial.ending(kind, *statuses))


def void(_: object) -> None:
    """Nothing."""


def earlier(then: Callable[[Trial], None]) -> Callable[[Trial], None]:
    """With a former champion to go back to."""

    def end(trial: Trial) -> None:
        trial.run(Request(Kind.ABORT), "again")
        trial.run(Request(Kind.PROMOTE, 5), "next")
        request = Request(Kind.START, 4, plan=SMALL, rollout_id=ROLLOUT[:-1] + "9", now=trial.model.session.now())
        trial.run(request, "once more")
        then(trial)

    return end


def moved(trial: Trial) -> None:
    """A hand moves the champion's alias in MLflow; the next operation notices."""
    trial.world.by_hand(SetAlias("champion", 6))
    trial.model.settle()


@dataclass(frozen=True)
class Ending:
    """A way to end, what it is called, what it is called where an older release wrote it, and its words."""

    end: Callable[[Trial], None]
    decision: Decision
    older: Decision
    words: str
    plan: Plan = SMALL
    actor: str = "bob"


AUTO = "autopilot of ann"
LOOKED = Basis(overall=Status.PASS, statuses={"error_rate": Status.PASS}, keys=500, labelled=0)
ENDINGS = {
    "the judge's PASS": Ending(
        judge(Kind.COMPLETE, *PASSED), Decision.PASSED, Decision.PASSED, "passed its trial", actor=AUTO
    ),
    "by hand, nobody looked": Ending(
        hand(Kind.COMPLETE), Decision.WITHOUT_PASS, Decision.BY_HAND, "completed by hand without a PASS"
    ),
    "by hand, undecided": Ending(
        hand(Kind.COMPLETE, replace(LOOKED, overall=Status.NODATA)),
        Decision.WITHOUT_PASS,
        Decision.BY_HAND,
        "completed by hand without a PASS",
    ),
    "by hand, after a PASS": Ending(
        hand(Kind.COMPLETE, LOOKED), Decision.PASSED, Decision.BY_HAND, "passed its trial and replaced version 3"
    ),
    "forced": Ending(hand(Kind.COMPLETE, force=True), Decision.FORCED, Decision.FORCED, "was forced"),
    "forced past a PASS": Ending(
        hand(Kind.COMPLETE, LOOKED, force=True), Decision.FORCED, Decision.FORCED, "was forced"
    ),
    "the judge's FAIL": Ending(
        judge(Kind.ABORT, Status.PASS, Status.FAIL),
        Decision.FAILED,
        Decision.UNDECIDED,
        "aborted by the judge",
        actor=AUTO,
    ),
    "out of time": Ending(
        judge(Kind.ABORT, Status.PASS), Decision.UNDECIDED, Decision.UNDECIDED, "aborted undecided", actor=AUTO
    ),
    "aborted by hand": Ending(hand(Kind.ABORT), Decision.STOPPED, Decision.STOPPED, "aborted by hand"),
    "emergency by hand": Ending(
        earlier(hand(Kind.EMERGENCY)), Decision.ROLLED_BACK, Decision.ROLLED_BACK, "A rollback by hand to version 3"
    ),
    "overtaken": Ending(moved, Decision.OVERTAKEN, Decision.OVERTAKEN, "Overtaken: an out-of-band change", actor="ann"),
    "a watch runs out": Ending(
        judge(Kind.ABORT), Decision.WATCHED, Decision.WATCHED, "The watch of champion 3", WATCH, AUTO
    ),
    "a watch's control, nobody looked": Ending(
        hand(Kind.COMPLETE, force=True),
        Decision.WITHOUT_PASS,
        Decision.BY_HAND,
        "version 4, its control, replaced it",
        WATCH,
    ),
    "a watch's control, after a PASS": Ending(
        hand(Kind.COMPLETE, LOOKED, force=True),
        Decision.PASSED,
        Decision.BY_HAND,
        "version 4, its control, replaced it",
        WATCH,
    ),
    "a watch ended by hand": Ending(hand(Kind.ABORT), Decision.STOPPED, Decision.STOPPED, "was ended by hand", WATCH),
}


@pytest.fixture(params=graded(ENDINGS, quick=4))
def ending(request: pytest.FixtureRequest) -> Ending:
    """Each way to end."""
    return ENDINGS[request.param]


@pytest.fixture
def ended(ending: Ending) -> Trial:
    """A rollout that ended so."""
    trial = Trial(ending.plan, is_watch=ending.plan is WATCH)
    ending.end(trial.later(60))
    return trial


def told(trial: Trial) -> RolloutSummary:
    """The last rollout of a model, by its history alone."""
    events = trial.model.session.look().history.events
    return build(MODEL, naming.about(events, list(naming.rollouts(events))[-1]), {}, {}, trial.model.session.now())


def test_every_end_is_called_what_it_was(ending: Ending, ended: Trial) -> None:
    """Passed, by hand, forced, by the judge, overtaken: never what the end state suggests; and who did it."""
    last = told(ended).last
    assert (decision(last), last.actor) == (ending.decision, ending.actor)
    assert records.import_line(json.loads(json.dumps(records.export_line(last)))) == last


@pytest.mark.slow
def test_the_report_begins_with_the_decision_and_warns_of_no_label(ending: Ending, ended: Trial) -> None:
    """The first sentence says it, the page's badge too, and no decision without labels goes without a warning."""
    story = told(ended)
    first = summary(story).partition(". ")[0]
    assert ending.words in first
    assert ("passed" in first) == (ending.decision is Decision.PASSED)
    html = page(story)
    assert f'class="badge {ending.decision.name}">{ending.decision}</span>' in html
    assert f'<p class="alarm" role="note">{alarm(story)}</p>' in html
    assert alarm(story) in summary(story)


def test_registry_history_overview_and_receivers_say_it(ending: Ending, ended: Trial) -> None:
    """The version's page in MLflow, `fds history`, `fds show`, JSON and notifications say the same word."""
    story = told(ended)
    value = json.loads(ended.model.session.version(4).tags[tags.ROLLOUT])
    assert (value["decision"], value["by"]) == (ending.decision, who(story.last))
    assert list(value)[:2] == ["decision", "by"]
    cells = list(tables.events(ended.model.history()).columns[3].cells)
    assert f"{story.last.kind.shown} ({ending.decision})" in [str(cell) for cell in cells]
    assert of_event(MODEL, story.last).data["decision"] == ending.decision
    assert plain(story.last)["decision"] == ending.decision
    if ending.plan is not WATCH:
        assert ended.model.overview().decisions == {4: ending.decision}


def test_ends_that_older_releases_wrote_are_read_without_guessing(ending: Ending, ended: Trial) -> None:
    """They kept no basis: the judge is known by its name, and a person's completion is no pass."""
    assert decision(replace(told(ended).last, basis=None)) is ending.older


@pytest.mark.parametrize(
    ("reason", "last", "found"),
    [
        ("abort at 10 %: the champion stays (FAIL: error rate: 4 %)", None, Decision.FAILED),
        ("abort at 10 %: the champion stays: 2d in this step (INCONCLUSIVE: so far)", Status.FAIL, Decision.UNDECIDED),
        ("", Status.FAIL, Decision.FAILED),
    ],
)
def test_an_older_autopilot_s_reason_tells_its_verdict(reason: str, last: Status | None, found: Decision) -> None:
    """The reason of an autopilot names the verdict; else what its run said at last counts."""
    trial = Trial(SMALL)
    trial.ending(Kind.ABORT)
    assert decision(replace(told(trial).last, basis=None, reason=reason), last) is found


def test_what_the_run_said_at_last_tells_an_older_completion_by_hand(ended: Trial, ending: Ending) -> None:
    """A PASS that the run holds makes it a pass; anything else does not."""
    story = told(ended)
    older = replace(story, events=(*story.events[:-1], replace(story.last, basis=None)))
    if ending.older is Decision.BY_HAND:
        assert replace(older, tags={naming.VERDICT: "PASS: all is well"}).decision is Decision.PASSED
        assert replace(older, tags={naming.VERDICT: "NODATA: nothing"}).decision is Decision.WITHOUT_PASS


def test_a_label_that_was_looked_at_needs_no_warning() -> None:
    """The warning is about decisions on no label; where the event does not say, the run's coverage does."""
    trial = Trial(SMALL)
    hand(Kind.COMPLETE, replace(LOOKED, labelled=12))(trial)
    story = told(trial)
    assert alarm(story) == ""
    assert "by 500 keys that had met the canary and 12 labels" in summary(story)
    stopped = Trial(SMALL)
    hand(Kind.ABORT)(stopped)
    seen = {"missed_fraud/coverage": [(stopped.model.session.now(), 0.5)]}
    assert alarm(told(stopped))
    assert alarm(replace(told(stopped), series=seen)) == ""


def test_a_rollout_under_way_is_no_decision_yet() -> None:
    """Nothing is warned of, and nothing called decided, before the end."""
    trial = Trial(SMALL)
    assert told(trial).decision is Decision.UNDER_WAY
    assert alarm(told(trial)) == ""
    assert decisions(trial.model.session.look().history.events) == {}
    assert "decision" not in of_event(MODEL, told(trial).last).data


def test_steps_that_were_forced_are_told() -> None:
    """A canary that was pushed through says so, whoever completed it."""
    trial = Trial(SMALL)
    hand(Kind.COMPLETE)(trial)
    assert "Forced to 100 % by bob on 2026-01-01 00:00:00 UTC: hurry." in summary(told(trial))


def test_a_start_that_was_forced_is_told() -> None:
    """A canary that was started although it is clearly worse offline says so in the summary."""
    trial = Trial(SMALL)
    story = told(trial)
    forced = replace(story, events=(replace(story.first, forced=True), *story.events[1:]))
    assert "Started although clearly worse offline by ann on" in summary(forced)
    assert "offline" not in summary(story)


def test_a_forced_completion_says_so_once() -> None:
    """The message of an operation names the force one time."""
    trial = Trial(SMALL)
    hand(Kind.COMPLETE, force=True)(trial)
    assert said(told(trial).last) == "the canary, version 4, is the champion now (forced)"


# --- the role of a version ------------------------------------------------------------------------------------------


def roles(trial: Trial) -> dict[str, str]:
    """What `fds show` says of each version."""
    columns = tables.overview(trial.model.overview()).columns
    return {str(version): str(role) for version, role in zip(columns[0].cells, columns[1].cells, strict=True)}


def test_a_champion_has_the_decision_that_made_it_one_and_no_other() -> None:
    """A promotion past a failed trial is no failed championship; a completion is what it was."""
    trial = Trial(SMALL)
    judge(Kind.ABORT, Status.FAIL)(trial)
    assert roles(trial)["4"] == "last trial: aborted by the judge"
    trial.run(Request(Kind.PROMOTE, 4), "I know better")
    assert roles(trial)["4"] == "champion; last trial: aborted by the judge"
    passed = Trial(SMALL)
    judge(Kind.COMPLETE, *PASSED)(passed)
    assert roles(passed)["4"] == "champion (passed)"


def test_a_version_that_was_rolled_back_from_is_called_so() -> None:
    """Having passed once is not what counts of a version that was taken out of service."""
    trial = Trial(SMALL)
    judge(Kind.COMPLETE, *PASSED)(trial)
    trial.run(Request(Kind.EMERGENCY), "it is on fire")
    assert (roles(trial)["3"], roles(trial)["4"]) == ("champion", "rolled back from")
    trial.run(Request(Kind.PROMOTE, 4), "mended")
    assert roles(trial)["4"] == "champion; last trial: passed"


# --- who decided, from real operations ------------------------------------------------------------------------------


@pytest.fixture
def release() -> Release:
    """Two versions alike, and a rollout under way."""
    made = Release({1: Rates(), 2: Rates()}, per_second=8.0)
    made.start(SMALL)
    return made


def last_event(made: Release) -> Event:
    """What happened last."""
    return made.model.history()[0]


def test_a_person_s_completion_keeps_what_the_judge_said_of_it(release: Release) -> None:
    """Pushed to the end without traffic: NODATA, no keys, no labels; a history that says so, not that it passed."""
    model = release.model
    release.world.do(Kind.ADVANCE, weight=5_000)
    model.canary.complete(reason="the boss wants it")
    event = last_event(release)
    assert event.basis is not None
    assert (event.basis.judged, event.basis.overall) == (False, Status.NODATA)
    assert (event.basis.keys, event.basis.labelled) == (0, 0)
    assert decision(event) is Decision.WITHOUT_PASS
    release.outcomes.close()


@pytest.mark.parametrize("jump", [False, True])
def test_a_person_who_forced_a_step_has_forced_the_completion(release: Release, jump: bool) -> None:
    """A jump ahead of the plan and a completion right after it are no passed trial, whatever the judge says."""
    said_pass = Basis(overall=Status.PASS, keys=500, labelled=0)
    canary = release.model.canary
    canary._basis = lambda: said_pass  # type: ignore[method-assign]
    if jump:
        canary.advance(100, force=True, reason="hurry")
    else:
        release.world.do(Kind.ADVANCE, weight=5_000)
    canary.complete()
    event = last_event(release)
    assert decision(event) is (Decision.FORCED if jump else Decision.PASSED)
    assert records.import_line(json.loads(json.dumps(records.export_line(event)))) == event
    value = json.loads(release.model.session.version(2).tags[tags.ROLLOUT])
    assert value["decision"] == decision(event)
    assert not event.forced
    release.outcomes.close()


def test_the_autopilot_s_decisions_name_the_judge_and_its_verdicts(release: Release) -> None:
    """Every step and the end, with the statuses they rest on."""
    release.rates = {1: Rates(), 2: Rates(error=0.5)}
    release.street.sleep(10 * MINUTE)
    release.autopilot().run(interval=MINUTE)
    event = last_event(release)
    assert decision(event) is Decision.FAILED
    assert event.basis is not None
    assert event.basis.statuses["error_rate"] is Status.FAIL
    assert event.basis.judged
    release.outcomes.close()


def test_a_name_alone_makes_nobody_the_judge() -> None:
    """A person who calls himself an autopilot still completes by hand."""
    trial = Trial(SMALL)
    trial.run(Request(Kind.ADVANCE, weight=10_000, now=trial.model.session.now(), force=True), "hurry")
    trial.run(Request(Kind.COMPLETE), "fine", actor="autopilot of bob")
    assert told(trial).decision is Decision.WITHOUT_PASS


def test_a_judge_that_cannot_be_asked_stops_nobody(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an outcome store a person still completes; the history says that nobody asked."""
    from fds_mlflow.errors import UnavailableError

    def gone(*_: object, **__: object) -> None:
        raise UnavailableError("the database is gone", fix="wait")

    monkeypatch.setattr(release.outcomes, "evidence", gone)
    release.model.canary.complete(reason="fine", force=True)
    assert last_event(release).basis == Basis()
    release.outcomes.close()


def test_what_happened_travels_between_processes() -> None:
    """An event can be sent to another process and is the same there, with what it rests on or nothing."""
    trial = Trial()
    trial.run(Request(Kind.ABORT, basis=LOOKED), "enough", actor="bob")
    events = trial.model.history()
    assert [event.basis for event in events[:2]] == [LOOKED, None]
    assert pickle.loads(pickle.dumps(events)) == events
