"""A rollout in plain words: what was decided, what it did, who decided, and what nobody knows, in both languages."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from string import Formatter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fds_mlflow.core.lifecycle.decision import Decision
from fds_mlflow.core.lifecycle.events import Kind, RolloutStatus
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.display.document import html, markdown
from fds_mlflow.display.languages import LANGUAGES
from fds_mlflow.rollouts.report import messages, plain
from fds_mlflow.rollouts.report.effect import Effect
from fds_mlflow.rollouts.report.report import render
from fds_mlflow.rollouts.report.summary import RolloutSummary, VersionFacts
from fds_mlflow.rollouts.report.words import frauds
from tests.rollouts.report.test_decision import ENDINGS, Ending, told
from tests.rollouts.report.test_report import Page
from tests.support.effort import graded
from tests.support.rollout_ticks import SMALL, Trial

HOSTILE = "<script>alert(1)</script> | [x](http://evil) `a` {new} \u202e\x1b \n# title"

NUMBERS = {
    "requests": (81_211, 10_034),
    "keys": (70_000, 9_000),
    "errors": (12, 1),
    "alerts": (1_600, 214),
    "matured": (60_000, 8_000),
    "labelled": (59_000, 7_600),
    "due_requests": (61_000, 8_100),
    "frauds_caught": (300, 41),
    "frauds_missed": (80, 9),
    "false_positives": (113, 12),
    "losses_known": (75, 8),
    "money_missed": (40_200.5, 3_999),
    "money_caught": (150_000, 20_111.2),
}
"""The champion's and the canary's."""


def counted(story: RolloutSummary, *without: str) -> RolloutSummary:
    """A story with numbers of both versions, all but some."""
    truths = {
        f"rollout/{variant}_{name}": float(value)
        for name, values in NUMBERS.items()
        for variant, value in zip(("champion", "canary"), values, strict=True)
        if name not in without
    }
    return replace(story, truths=truths)


def stopped(plan: object = None) -> RolloutSummary:
    """A story of a trial that the judge stopped."""
    trial = Trial() if plan is None else Trial(SMALL)
    trial.later(60).ending(Kind.ABORT, Status.PASS, Status.FAIL, reason="4 % against 2 %")
    return told(trial)


def words(story: RolloutSummary, language: str = "en") -> str:
    """What the page says."""
    return Page(html(plain.document(story, language))).text


# --- the catalogue --------------------------------------------------------------------------------------------------


def test_every_message_has_every_language_with_the_same_values() -> None:
    """No message lacks a language, or leaves out a number in one of them."""
    for key, texts in messages.MESSAGES.items():
        assert len(texts) == len(LANGUAGES), key
        named = [sorted({field for _, field, _, _ in Formatter().parse(one) if field}) for one in texts]
        assert named[0] == named[1], key
        assert re.search("[가-힣]", texts[1]) or not re.search("[A-Za-z]", texts[1]), key


def test_no_word_of_statistics_or_of_our_own_is_used() -> None:
    """Who reads it has heard of payments, customers, frauds and money."""
    terms = "guardrail|p-value|e-process|canary|champion|verdict|interval|significan|false positive|rollout|judge|bayes"
    found = {key for key, (english, _) in messages.MESSAGES.items() if re.search(terms, english, re.IGNORECASE)}
    assert found == set()
    strange = "가드레일|카나리|챔피언|판정|유의|오탐|롤아웃|변형"
    assert {key for key, (_, korean) in messages.MESSAGES.items() if re.search(strange, korean)} == set()


def test_korean_particles_fit_the_words_before_them() -> None:
    """No message needs a particle that depends on a name or a number: it follows a word that is known."""
    wrong = re.compile(r"\}(?:은|는|이|가|을|를|와|과|으로|로)(?![가-힣])|\([은이을과]\)|[은이을과]\([는가를와]\)")
    for key, (_, korean) in messages.MESSAGES.items():
        known = korean.replace("{model}", messages.MESSAGES["model.new"][1]) if key.startswith("unknown.") else korean
        assert not wrong.search(known), key


def test_every_decision_check_and_answer_has_words() -> None:
    """Whatever a trial can come to is said in a sentence and in a few words."""
    for decision in Decision:
        assert f"short.{decision.name}" in messages.MESSAGES
        assert f"tried.{decision.name}" in messages.MESSAGES or decision is Decision.WATCHED
    assert {f"check.{metric}" for metric in Metric} <= messages.MESSAGES.keys()
    assert {f"status.{status}" for status in Status} <= messages.MESSAGES.keys()


# --- decisions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", graded(ENDINGS, quick=4))
def test_each_end_of_a_rollout_is_told_in_a_sentence_of_its_own(name: str) -> None:
    """The page begins with what was decided; who, when and why follow, in both languages."""
    ending: Ending = ENDINGS[name]
    trial = Trial(ending.plan, is_watch=ending.plan.watch is not None)
    ending.end(trial.later(60))
    story = told(trial)
    part = "watched" if story.rollout.is_watch else "tried"
    for language in LANGUAGES:
        page = plain.document(story, language)
        template = messages.MESSAGES[f"{part}.{ending.decision.name}"][LANGUAGES.index(language)]
        assert re.fullmatch(re.sub(r"\\\{\w+\\\}", r"[\\d.]+", re.escape(template)), page.lead), page.lead
        said = words(story, language)
        assert plain.actor(story.last, partial(messages.text, language)) in said
        assert plain.clock(story.last.time) in said
        assert messages.text(language, f"short.{ending.decision.name}") in said


def test_roles_are_turned_in_a_watch() -> None:
    """There the champion is the new model, and the control the old one; the numbers go with them."""
    trial = Trial(ENDINGS["a watch runs out"].plan, is_watch=True)
    story = counted(told(trial))
    assert plain.document(story, "en").title == "fraud: version 3 being watched"
    assert "The new model decided 81,211 payments, the old model 10,034." in words(story)


def test_an_automatic_end_names_the_checks_in_plain_words() -> None:
    """The judge's own sentence, full of its terms, stands in the report for specialists."""
    said = words(stopped())
    assert "Reason: worse than allowed: Payments stopped" in said
    assert "4 % against 2 %" not in said


def test_a_part_of_the_traffic_is_named() -> None:
    """A check that failed in one segment says in which, however its name was kept."""
    say = partial(messages.text, "en")
    assert plain._check("error_rate in country KR", say) == (
        "Payments without an answer (in a part of the payments: country KR)"
    )
    assert plain._check("missed_fraud", say) == "Frauds let through"
    assert plain._check("of_a_later_release", say) == "of_a_later_release"


# --- numbers --------------------------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_the_technical_report() -> None:
    """Every count and amount that the one page tells, the other one tells."""
    story = counted(stopped())
    technical, said = " ".join(frauds(story)) + Page(render(story)).text, words(story)
    for name in ("requests", "keys", "frauds_caught", "frauds_missed", "false_positives", "matured", "labelled"):
        for value in NUMBERS[name]:
            assert f"{value:,.0f}" in said, name
            assert f"{value:,.0f}" in technical, name
    for value in ("40,200.50", "3,999.00", "150,000.00", "20,111.20"):
        assert value in said
        assert value in technical


def test_what_the_old_model_would_have_done_is_told_with_how_far_chance_goes() -> None:
    """Of as many payments, in round numbers; the ends leave out one case in twenty."""
    said = words(counted(stopped()))
    assert (
        "Of 8,100 payments that the new model decided long enough ago, 12 are known to have been wrongly stopped. With"
        " the old model it would have been about 15 of as many (could be between 8 and 24)."
    ) in said
    assert "about 5,338.10. A few large frauds decide such an amount" in said


@given(st.integers(0, 400), st.integers(1, 10_000), st.integers(1, 10_000))
@example(1, 59, 1)
@example(0, 1, 10_000)
def test_the_ends_hold_what_is_between_them(count: int, its: int, ours: int) -> None:
    """The likely number lies between the ends, and more of it moves both up."""

    def number(of: int) -> Callable[[str], float | None]:
        found = {"champion_frauds_missed": of, "champion_due_requests": its, "canary_due_requests": ours}
        return lambda name: found.get(name.removeprefix("rollout/"))

    one, more = (Effect(number(of)).would("frauds_missed") for of in (count, count + 1))
    assert one is not None
    assert more is not None
    assert one.low is not None
    assert one.high is not None
    assert one.low <= one.about <= one.high
    assert (one.about, one.low, one.high) <= (more.about, more.low, more.high)


# --- what is not known ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_not_known_is_said(language: str) -> None:
    """Labels that lack, amounts that lack, numbers that an older release did not record, decisions on no label."""
    say = partial(messages.text, language)
    model = say("model.new")
    said = words(counted(stopped()), language)
    assert say("unknown.labels", model=model, due="8,000", missing="400") in said
    assert say("unknown.amounts", model=model, count="9", missing="1") in said
    assert said.count(say("unknown.no_label")) == 2
    older = words(counted(stopped(), "due_requests", "alerts", "errors", "losses_known"), language)
    assert say("unknown.older") in older
    assert say("would.unknown") in older
    assert say("unknown.amounts_all", model=model) in older
    assert say("unknown.record") in words(stopped(), language)
    assert say("unknown.not_asked") in words(stopped(SMALL), language)
    unlooked = words(counted(stopped(), "frauds_caught", "frauds_missed"), language)
    assert say("unknown.caught", model=model) in unlooked
    assert say("unknown.missed", model=model) in unlooked


def test_zero_is_not_unknown() -> None:
    """A number that somebody looked for and found to be none is none; one that nobody looked for is not known."""
    rows = dict(re.findall(r"\| ([^|]*) \| ([^|]*) \| [^|]* \|\n", markdown(plain.document(stopped(), "en"))))
    assert rows["Wrongly stopped"] == "not known"
    story = counted(stopped())
    none = replace(story, truths={**story.truths, "rollout/canary_false_positives": 0.0})
    rows = dict(re.findall(r"\| ([^|]*) \| ([^|]*) \| [^|]* \|\n", markdown(plain.document(none, "en"))))
    assert rows["Wrongly stopped"] == "0"


def test_who_moved_an_alias_is_not_made_up() -> None:
    """Of an out-of-band change it is said who noticed it, and that nobody knows who made it."""
    trial = Trial(SMALL)
    ENDINGS["overtaken"].end(trial.later(60))
    said = words(told(trial))
    assert "Noticed on" in said
    assert "Who made the change is not recorded, only who noticed it." in said


def test_what_an_older_release_decided_is_not_guessed() -> None:
    """Without a basis the page says that the evidence was not recorded."""
    trial = Trial(SMALL)
    ENDINGS["by hand, nobody looked"].end(trial.later(60))
    story = told(trial)
    older = replace(story, events=(*story.events[:-1], replace(story.last, basis=None)))
    assert "Whether the checks had found it good enough was not recorded." in words(older)
    assert "On what the decision rests was not recorded" in words(older)


# --- hostile words and links ----------------------------------------------------------------------------------------


def hostile() -> RolloutSummary:
    """A story in which whatever people can write is an attack."""
    story = counted(stopped())
    events = tuple(replace(event, actor=HOSTILE, reason=HOSTILE) for event in story.events)
    last = replace(events[-1], kind=Kind.ABORT, rollout=story.rollout.ended(RolloutStatus.ABORTED), basis=None)
    facts = {number: VersionFacts(number, HOSTILE, HOSTILE, HOSTILE, description=HOSTILE) for number in (3, 4)}
    links = {name: f"http://host/#/models/{name}" for name in ("run", "report", "summary", "model", 3, 4)}
    return replace(story, model=HOSTILE, events=(*events[:-1], last), versions=facts, run_id=HOSTILE, links=links)


@pytest.mark.parametrize("language", LANGUAGES)
def test_hostile_names_reasons_and_descriptions_are_text(language: str) -> None:
    """In HTML nothing becomes an element or is fetched; in Markdown no link, heading or column."""
    page = html(plain.document(hostile(), language))
    found = Page(page)
    assert "<script" not in page
    assert "\u202e" not in page
    assert (found.tags["script"], found.tags["link"], found.tags["img"]) == (0, 0, 0)
    assert {link for link in found.links if not link.startswith("http://host/#/models/")} == set()
    assert "url(" not in page
    lines = markdown(plain.document(hostile(), language)).splitlines()
    assert sum(line.startswith("#") for line in lines) == 1 + len(plain.document(hostile(), language).sections)
    assert not any(re.search(r"(?<!\\)<script|(?<!\\)\]\(http://evil", line) for line in lines)
    tables = [line for line in lines if line.startswith("|") and "script" in line]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} <= {3, 4, 5}


def test_both_reports_lead_to_each_other_and_to_mlflow() -> None:
    """From the plain page to report, run, versions and model; from the report to the plain page in each language."""
    story = counted(stopped())
    names: list[str | int] = ["run", "report", "summary.html", "summary.ko.html", "model", 3, 4]
    links: dict[str | int, str | None] = {name: f"http://host/{name}" for name in names}
    story = replace(story, run_id="0f3c", links=links)
    ours = Page(html(plain.document(story, "en"))).links
    assert set(ours) == {f"http://host/{name}" for name in ("run", "report", "model", 3, 4)}
    theirs = [link for link in Page(render(story)).links if link.startswith("http")]
    assert set(theirs) == {f"http://host/{name}" for name in names if name != "report"}
    unserved = Page(html(plain.document(replace(story, links={}), "en")))
    assert unserved.links == []
    assert "run 0f3c" in unserved.text
