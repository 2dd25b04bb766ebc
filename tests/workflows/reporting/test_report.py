"""The report of a period: what happened to models, added up, in plain words, in two languages and two formats."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Formatter

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow import ManagedModel
from fds_mlflow.cli.main import main
from fds_mlflow.core.lifecycle.decision import Decision
from fds_mlflow.core.lifecycle.events import Basis, Ending, Event, Kind, Rollout, RolloutStatus
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.core.text.duration import describe_duration
from fds_mlflow.display.document import html, markdown
from fds_mlflow.display.languages import LANGUAGES
from fds_mlflow.errors import ConfigError
from fds_mlflow.registry.store import SetAlias
from fds_mlflow.rollouts.record.run import RolloutRuns
from fds_mlflow.workflows.reporting.messages import MESSAGES
from fds_mlflow.workflows.reporting.page import document
from fds_mlflow.workflows.reporting.period import Change, Fold, ModelPeriod, Trial, totals
from fds_mlflow.workflows.reporting.report import Report, _trial, report, values, written
from tests.rollouts.report.test_plain import HOSTILE, NUMBERS
from tests.rollouts.report.test_report import Page
from tests.support.page import House
from tests.support.rollout_ticks import PLAN, ROLLOUT, SMALL
from tests.support.rollout_ticks import Trial as InMemory

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
METRICS = {
    f"rollout/{variant}_{name}": float(value)
    for name, both in NUMBERS.items()
    for variant, value in zip(("champion", "canary"), both, strict=True)
}


def event(sequence: int, kind: Kind, version: int | None = None, *, day: float = 0.0, **more: object) -> Event:
    """Something that happened on a day of 2026."""
    given = {"actor": "ann", "reason": "because", "to_version": version, **more}
    return Event(sequence, f"{sequence:026d}", kind, time=START + day * DAY, **given)  # type: ignore[arg-type]


def rollout(status: RolloutStatus = RolloutStatus.ACTIVE, identity: str = ROLLOUT) -> Rollout:
    """Version 2 against version 1."""
    return Rollout(identity, 1, 2, PLAN, 1_000, 0, START, status)


FAILED = Basis(judged=True, overall=Status.FAIL, statuses={"alert_rate": Status.FAIL}, keys=500, labelled=40)


def harmful(identity: str = ROLLOUT, *, day: float = 10.0, metrics: dict[str, float] | None = None) -> Trial:
    """A rollout that was stopped as harmful."""
    first = event(2, Kind.START, 2, day=day - 1, rollout=rollout(identity=identity))
    last = event(3, Kind.ABORT, 2, day=day, rollout=rollout(RolloutStatus.ABORTED, identity), basis=FAILED)
    return Trial(first, last, metrics, decision=Decision.FAILED)


def told(*models: ModelPeriod) -> Report:
    """A report of the first quarter."""
    return Report(START, START + 90 * DAY, START + 91 * DAY, models)


# --- one pass over a history ----------------------------------------------------------------------------------------


def test_a_period_has_what_began_before_it_and_ended_in_it() -> None:
    """A rollout belongs to the period in which it ended, whenever it began, and to no other one."""
    active, over = rollout(), rollout(RolloutStatus.COMPLETED)
    events = [
        event(1, Kind.PROMOTE, 1, day=1),
        event(2, Kind.START, 2, day=20, rollout=active),
        event(3, Kind.COMPLETE, 2, day=40, rollout=over),
    ]
    first = Fold(START, START + 30 * DAY).over(events)
    assert [last.rollout.active for _, last in first.told() if last.rollout] == [True]
    assert (first.champion, first.came, len(first.changes)) == (1, START + DAY, 1)
    second = Fold(START + 30 * DAY, START + 60 * DAY).over(events)
    assert [(one.kind, last.kind) for one, last in second.told()] == [(Kind.START, Kind.COMPLETE)]
    assert (second.champion, [change.event.kind for change in second.changes]) == (2, [Kind.COMPLETE])
    third = Fold(START + 60 * DAY, START + 90 * DAY).over(events)
    assert (list(third.told()), third.changes, third.champion, third.came) == ([], [], 2, START + 40 * DAY)


def test_the_time_from_training_is_that_of_the_first_championship() -> None:
    """A version that comes back was trained long ago; of one that is gone, or that a clock denies, nothing is known."""
    events = [
        event(1, Kind.PROMOTE, 1, day=5),
        event(2, Kind.PROMOTE, 2, day=8),
        event(3, Kind.EMERGENCY, 1, day=9),
        event(4, Kind.PROMOTE, 3, day=10),
        event(5, Kind.PROMOTE, 4, day=11),
    ]
    created = {1: START + 2 * DAY, 2: START + 7 * DAY, 3: START + 20 * DAY}
    found = Fold(START, START + 90 * DAY, created).over(events)
    assert [change.seconds for change in found.changes] == [3 * 86_400, 86_400, None, None, None]
    assert [change.again for change in found.changes] == [False, False, True, False, False]


def test_what_did_not_take_effect_counts_for_nothing() -> None:
    """An abandoned promotion is no change of the champion."""
    events = [event(1, Kind.PROMOTE, 1, day=5, outcome=Ending.ABANDONED), event(2, Kind.STAGE, 2, day=6)]
    found = Fold(START, START + 90 * DAY).over(events)
    assert (found.champion, found.changes, found.rollouts) == (None, [], {})


def test_thousands_of_events_are_gone_through_once() -> None:
    """Each event of a long history is read one time, in order."""
    read = 0

    def history() -> object:
        nonlocal read
        for number in range(1, 20_001):
            read += 1
            yield event(number, Kind.PROMOTE, number % 7 + 1, day=number / 300)

    found = Fold(START, START + 90 * DAY).over(history())  # type: ignore[arg-type]
    assert read == 20_000
    assert len(found.changes) == 20_000


# --- totals ---------------------------------------------------------------------------------------------------------

ENDS = st.sampled_from([status for status in RolloutStatus if status is not RolloutStatus.ACTIVE])
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from([Kind.PROMOTE, Kind.EMERGENCY, Kind.ROLLBACK, Kind.ADOPT, Kind.STAGE, Kind.START, Kind.ABORT]),
        st.integers(1, 5),
        st.floats(0, 120, allow_nan=False),
        ENDS,
        st.booleans(),
        st.sampled_from(list(Ending)),
    ),
    max_size=40,
)


def generated(operations: list[tuple[Kind, int, float, RolloutStatus, bool, Ending]]) -> list[Event]:
    """A history: rollouts that begin and end in any way, and champions that come and go."""
    events: list[Event] = []
    active: Rollout | None = None
    for number, (kind, version, day, status, judged, outcome) in enumerate(operations, 1):
        more: dict[str, object] = {"outcome": outcome, "from_version": version % 5 + 1}
        if kind is Kind.START:
            more["rollout"] = active = rollout(identity=f"{number:026d}")
        elif kind is Kind.ABORT and active is not None:
            more |= {"rollout": active.ended(status), "basis": replace(FAILED, judged=judged)}
            active = None
        events.append(event(number, kind, version, day=day, **more))
    return events


@given(st.lists(OPERATIONS, max_size=4), st.floats(0, 60), st.floats(61, 130))
def test_totals_add_up(histories: list[list[object]], since: float, until: float) -> None:
    """Decisions add up to rollouts, kinds to changes, models to the whole, and two periods to both together."""

    def of(begin: float, end: float) -> list[ModelPeriod]:
        made = []
        for number, operations in enumerate(histories):
            found = Fold(START + begin * DAY, START + end * DAY).over(generated(operations))  # type: ignore[arg-type]
            trials = [
                replace(harmful(), first=first, last=last, metrics=METRICS if number % 2 else None)
                for first, last in found.told()
            ]
            made.append(ModelPeriod(f"m{number}", None, None, (number,), tuple(trials), changes=tuple(found.changes)))
        return made

    models = of(since, until)
    whole = totals(models)
    assert sum(whole.decisions.values()) == whole.trials == sum(len(model.trials) for model in models)
    assert sum(whole.kinds.values()) == whole.changes
    assert whole.unrecorded <= whole.trials
    assert whole.labelled <= whole.due
    each = [totals([model]) for model in models]
    for name in ("models", "trained", "trials", "changes", "unrecorded", "due", "labelled", "stopped", "unknown"):
        assert getattr(whole, name) == sum(getattr(one, name) for one in each), name
    spared: Counter[str] = Counter()
    for one in each:
        spared.update(one.spared)
    assert whole.spared == pytest.approx(dict(spared))
    middle = (since + until) / 2
    halves = totals(of(since, middle)).changes + totals(of(middle, until)).changes
    assert halves == whole.changes


def test_a_median_is_of_what_is_known() -> None:
    """Changes whose time from training is not known do not count in it; where none is known there is none."""
    changes = [Change(event(1, Kind.PROMOTE, 1), None, seconds) for seconds in (60.0, None, 120.0, 600.0)]
    assert totals([ModelPeriod("m", 1, None, changes=tuple(changes))]).seconds == 120.0
    assert totals([ModelPeriod("m", 1, None)]).seconds is None


# --- what a stop spared ---------------------------------------------------------------------------------------------


def test_what_a_stop_spared_is_what_the_new_model_did_worse_on_all_payments_of_the_trial() -> None:
    """The difference of both models on the payments that the old one decided; what was no worse is left out."""
    metrics = {
        "rollout/canary_requests": 1_000.0,
        "rollout/champion_requests": 9_000.0,
        "rollout/canary_errors": 30.0,
        "rollout/champion_errors": 90.0,
        "rollout/canary_due_requests": 500.0,
        "rollout/champion_due_requests": 4_500.0,
        "rollout/canary_frauds_missed": 1.0,
        "rollout/champion_frauds_missed": 18.0,
        "rollout/canary_money_missed": 3_000.0,
        "rollout/champion_money_missed": 20_000.0,
    }
    trial = harmful(metrics=metrics)
    assert trial.spared == {"errors": 30 * 9 - 90, "money_missed": 3_000 * 9 - 20_000}
    assert replace(trial, decision=Decision.STOPPED).spared == {}
    found = totals([ModelPeriod("m", 1, None, trials=(trial, harmful("0" * 26)))])
    assert (found.stopped, found.unknown, found.unrecorded) == (2, 1, 1)
    said = Page(html(document(told(ModelPeriod("m", 1, None, trials=(trial, harmful("0" * 26)))), "en"))).text
    assert "Stopped automatically as harmful: 1. Had these models decided all payments of their trials" in said
    assert "180 more payments without an answer" in said
    assert "7,000.00 more money taken by frauds" in said
    assert "Stopped automatically as harmful, and what that spared is not known: 1." in said


# --- words ----------------------------------------------------------------------------------------------------------


def test_every_message_has_every_language_with_the_same_values() -> None:
    """No message lacks a language or a number, and no particle depends on a word that is not known."""
    particles = re.compile(r"\}(?:은|는|이|가|을|를|와|과|으로|로)(?![가-힣])")
    for key, texts in MESSAGES.items():
        assert len(texts) == len(LANGUAGES), key
        named = [sorted({field for _, field, _, _ in Formatter().parse(one) if field}) for one in texts]
        assert named[0] == named[1], key
        assert key.startswith("unknown.") or not particles.search(texts[1]), key


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("decision", Decision)
def test_each_decision_is_told_in_plain_words(decision: Decision, language: str) -> None:
    """In the totals and in the model's own table."""
    trial = replace(harmful(metrics=METRICS), decision=decision)
    said = markdown(document(told(ModelPeriod("m", 1, START, trials=(trial,))), language))
    short = MESSAGES[f"short.{decision.name}"][LANGUAGES.index(language)]
    assert len(re.findall(re.escape(f"{short} |"), said)) == 2


def test_a_period_without_anything_says_so() -> None:
    """A model at rest is told to be at rest; without any model the report still stands."""
    assert "Nothing happened in this period." in markdown(document(told(ModelPeriod("m", None, None)), "en"))
    assert "Models: 0. Trials: 0" in markdown(document(told(), "en"))


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    """A champion that a hand made, a rollout without a run, a time that cannot be told."""
    changes = (Change(event(1, Kind.ADOPT, 1), None, None),)
    said = markdown(document(told(ModelPeriod("m", 1, None, (), (harmful(),), changes)), "en"))
    assert "not recorded: changed past the usual way" in said
    assert "| not recorded |" in said
    assert "| not known |" in said
    assert "Trials that nobody recorded, so that their payments and truths are not known: 1." in said


@pytest.mark.parametrize("language", LANGUAGES)
def test_hostile_names_and_reasons_are_text(language: str) -> None:
    """Names of models and people and their reasons are no element, link, heading or column, in either format."""
    first = event(2, Kind.START, 2, rollout=rollout(), actor=HOSTILE, reason=HOSTILE)
    last = event(3, Kind.ABORT, 2, rollout=rollout(RolloutStatus.ABORTED), actor=HOSTILE, reason=HOSTILE)
    trial = Trial(first, last, METRICS, link="http://host/#/experiments/1", decision=Decision.STOPPED)
    changes = (Change(event(4, Kind.PROMOTE, 2, actor=HOSTILE, reason=HOSTILE), None, 60.0),)
    model = ModelPeriod(HOSTILE, 2, START, (2,), (trial,), changes, "http://host/#/models/x")
    page = html(document(told(model), language))
    assert "<script" not in page
    assert "\u202e" not in page
    assert {link for link in Page(page).links if not link.startswith("http://host/#/")} == set()
    lines = markdown(document(told(model), language)).splitlines()
    assert sum(line.startswith("#") for line in lines) == 5
    assert not any(re.search(r"(?<!\\)<script|(?<!\\)\]\(http://evil", line) for line in lines)
    tables = [line for line in lines if line.startswith("|") and "script" in line]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {7}


# --- from a registry ------------------------------------------------------------------------------------------------


def test_a_period_ends_after_it_begins_and_knows_its_timezone() -> None:
    """Anything else is refused, before any registry is asked."""
    model = InMemory(SMALL).model
    with pytest.raises(ConfigError, match="before it begins"):
        report([model], since=START + 9_000 * DAY)
    with pytest.raises(ConfigError, match="timezone"):
        report([model], since=datetime(2025, 1, 1))  # noqa: DTZ001 - what is refused


def test_a_hand_is_told_from_the_history(mlflow_uri: str) -> None:
    """A champion that the history does not explain serves, and nobody knows since when."""
    trial = InMemory(SMALL, tracking_uri=mlflow_uri)
    known = report([trial.later(60).model], since=START - DAY)
    assert (known.models[0].champion, known.models[0].since) == (3, START)
    trial.world.by_hand(SetAlias("champion", 6))
    found = report([trial.model], since=START - DAY)
    assert (found.models[0].champion, found.models[0].since) == (6, None)


@pytest.fixture
def house(mlflow_uri: str) -> House:
    """A registry with two models: one with a recorded rollout that a person stopped, and an emergency."""
    made = House(mlflow_uri)
    started = made.rollout("fraud")
    made.judged("fraud", started)
    made.do("fraud", Kind.ABORT, reason="customers complain | <b>loudly</b>", actor="bob")
    made.do("fraud", Kind.PROMOTE, 3, reason="better", actor="carl")
    made.do("fraud", Kind.EMERGENCY, reason="on fire", actor="dora")
    made.register("returns", 1)
    made.do("returns", Kind.PROMOTE, 1)
    made.client.create_registered_model("none of ours")
    return made


def fds(*words: str) -> Result:
    """A command."""
    return CliRunner().invoke(main, list(words), catch_exceptions=False)


@pytest.mark.slow
def test_the_verb_tells_all_models_in_every_form(house: House, tmp_path: Path) -> None:
    """`fds report`: on the terminal, as HTML and Markdown files, as JSON; of all models, or of those that are named."""
    said = fds("report", "--since", "1d").stdout
    assert "| fraud | version 1 | " in said
    assert "stopped by a person" in said
    assert "emergency: an earlier model brought back" in said
    assert r"customers complain \| \<b>loudly\</b>" in said
    assert "none of ours" not in said
    for name, begins in (("r.html", "<!DOCTYPE html>"), ("r.md", "# 모델과 시험 현황")):
        path = tmp_path / name
        done = fds("report", "--since", "1d", "--lang", "ko", "-o", str(path))
        assert (done.exit_code, path.read_text(encoding="utf-8").startswith(begins)) == (0, True)
        assert "긴급 복귀" in path.read_text(encoding="utf-8")
    other = tmp_path / "report.txt"
    assert fds("report", "-o", str(other)).exit_code == 1
    assert fds("report", "-o", str(other), "--format", "markdown").exit_code == 0
    answer = json.loads(fds("report", "--since", "1d", "--model", "fraud", "--json").stdout)
    assert [model["model"] for model in answer["models"]] == ["fraud"]
    assert answer["totals"]["decisions"] == {"aborted by hand": 1}
    assert answer["totals"]["kinds"] == {"promote": 2, "emergency": 1}
    (trial,) = answer["models"][0]["rollouts"]
    assert (trial["ended_by"], trial["decision"], trial["run_id"] is None) == ("bob", "aborted by hand", False)
    assert answer["models"][0]["changes"][0]["seconds_from_training"] is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--since", "soon"), "neither a duration such as 90d nor a day"),
        (("--format", "html"), "--format html needs --output"),
        (("--since", "1d", "--until", "2d"), "before it begins"),
        (("--model", "nobody"), "nobody"),
    ],
)
def test_a_call_that_means_nothing_is_refused(house: House, words: tuple[str, ...], said: str) -> None:
    """With what is wrong, and no report."""
    done = fds("report", *words)
    assert done.exit_code in (1, 2)
    assert said in done.stderr


@pytest.mark.slow
def test_a_period_that_is_over_is_told_as_of_its_end(house: House) -> None:
    """What happened later is not in it: neither champions nor rollouts nor versions."""
    end = datetime.now(UTC) - timedelta(days=1)
    made = report([ManagedModel("fraud")], since=end - timedelta(days=30), until=end)
    assert made.models[0] == ModelPeriod("fraud", None, None)


@pytest.mark.slow
def test_a_verdict_that_only_the_run_holds_counts(house: House) -> None:
    """A completion of an older release is a pass where its run says so, as on the rollout's own page."""
    started = house.rollout("older")
    house.judged("older", started)
    runs = RolloutRuns("older").all()
    runs[started.id].data.tags["fds.verdict"] = "PASS: all is well"
    session = ManagedModel("older").session
    last = event(3, Kind.COMPLETE, 2, rollout=started.ended(RolloutStatus.COMPLETED))
    assert _trial(session, Trial(last, last), runs).decision is Decision.PASSED
    assert _trial(session, Trial(last, last), {}).decision is Decision.BY_HAND
    assert _trial(session, Trial(last, replace(last, basis=Basis())), runs).decision is Decision.WITHOUT_PASS


def test_values_are_plain() -> None:
    """JSON has the names of the package, and what is not known as null."""
    found = values(told(ModelPeriod("m", 1, None, (), (harmful(),))))
    (trial,) = found["models"][0]["rollouts"]
    assert (trial["decision"], trial["run_id"], trial["matured"]) == (
        "aborted by the judge",
        None,
        {"canary": None, "champion": None},
    )


def test_durations_read_in_both_languages() -> None:
    """Every unit that a duration is written in has its Korean word."""
    from fds_mlflow.rollouts.report.plain import lasting

    for seconds, korean in ((0, "0초"), (61, "1분 1초"), (3_600, "1시간"), (90_000, "1일 1시간")):
        said = describe_duration(timedelta(seconds=seconds))
        assert (lasting(said, "en"), lasting(said, "ko")) == (said, korean)


def test_a_file_is_written_as_its_name_says(tmp_path: Path) -> None:
    """HTML and Markdown by the ending; another ending needs a format."""
    check: dict[str, Callable[[str], bool]] = {
        "a.html": lambda text: text.startswith("<!DOCTYPE html>"),
        "a.md": lambda text: text.startswith("# "),
    }
    for name, is_right in check.items():
        written(told(), tmp_path / name)
        assert is_right((tmp_path / name).read_text(encoding="utf-8"))
    with pytest.raises(ConfigError):
        written(told(), tmp_path / "a.txt")
