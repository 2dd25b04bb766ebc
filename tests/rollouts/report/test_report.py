"""The report of a rollout: words first, both numbers of every guardrail, and a page that needs nothing but itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from fds_mlflow import Plan
from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.lifecycle.events import Ending, Kind, RolloutStatus
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Watch
from fds_mlflow.registry import tags
from fds_mlflow.registry.store import SetAlias, SetVersionTag, VersionView
from fds_mlflow.rollouts import naming
from fds_mlflow.rollouts.report import plots
from fds_mlflow.rollouts.report.report import RolloutSummary, asks, build, render, sections, steps, summary
from fds_mlflow.rollouts.report.summary import VersionFacts, version_facts
from tests.support.effort import graded
from tests.support.registry_model import MODEL
from tests.support.rollout_ticks import ROLLOUT, SMALL, Trial

START = datetime(2026, 1, 1, tzinfo=UTC)


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect tags, ids and addresses."""
        self.tags[tag] += 1
        self._open.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids[value] += 1
            if name in {"src", "href", "xlink:href", "srcset", "action", "data"} and value:
                self.links.append(value)

    def handle_data(self, data: str) -> None:
        """Collect words that are shown."""
        if not self._open or self._open[-1] not in {"style", "script"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        """Everything that is shown, with single spaces."""
        return " ".join(" ".join(self.words).split())


def told(trial: Trial, *statuses: Status, action: Action = Action.WAIT, ticks: int = 3) -> RolloutSummary:
    """A story of a trial whose ticks were recorded."""
    rows: dict[str, list[tuple[datetime, float]]] = {}
    known, said = naming.LastReported(), {}
    for _ in range(ticks):
        tick = trial.later(3_600).tick(*statuses, action=action, reason="2.1 % against 2 %")
        known = known.after(tick)
        said = naming.tags(tick, known)
        for name, value in naming.metrics(tick).items():
            rows.setdefault(name, []).append((tick.time, value))
    return again(trial, rows, said)


def again(trial: Trial, series: dict[str, list[tuple[datetime, float]]], said: dict[str, str]) -> RolloutSummary:
    """The story as the history has it now."""
    events = naming.about(trial.model.session.look().history.events, ROLLOUT)
    return build(MODEL, events, series, said, trial.model.session.now())


# --- words ---------------------------------------------------------------------------------------------------------


def test_an_active_rollout_is_summed_up_with_its_recommendation() -> None:
    """Who is on trial against whom, at what share, since when and why, the verdicts so far, what comes next."""
    assert summary(told(Trial(), Status.PASS)) == (
        "Version 4 is on trial against champion 3, at 10 % of the traffic. "
        "Started by ann on 2026-01-01 00:00:00 UTC at 10 %: weekly retrain. "
        "Verdicts so far: INCONCLUSIVE: alert_rate, score_shift, missed_fraud; PASS: split, error_rate. "
        "Recommendation: wait at 10 %: 2.1 % against 2 %."
    )


def test_an_ended_rollout_says_what_was_decided_by_whom_when_and_why() -> None:
    """Completion, abort and rollback each read as a sentence of their own."""
    trial = Trial(SMALL)
    story = told(trial, Status.PASS, Status.FAIL)
    trial.later(60).ending(Kind.ABORT, Status.PASS, Status.FAIL, reason="alerts 4 % against 2 %")
    ended = again(trial, dict(story.series), dict(story.tags))  # type: ignore[arg-type]
    said = summary(ended)
    assert said.startswith(
        "Version 4 was aborted by the judge at 10 %, as harmful; version 3 stays champion."
        " Decided by autopilot of ann on"
    )
    assert "3 h 1 min in: alerts 4 % against 2 %." in said
    assert "Verdicts at the end: FAIL: alert_rate; PASS: split, error_rate." in said
    assert "Recommendation" not in said


@pytest.mark.parametrize(
    ("kind", "opening"),
    [
        (Kind.COMPLETE, "Version 4 passed its trial and replaced version 3 as champion."),
        (Kind.ABORT, "Version 4 was aborted undecided at 10 %, as its plan says; version 3 stays champion."),
    ],
)
def test_each_end_has_its_own_words(kind: Kind, opening: str) -> None:
    """The first sentence is the decision."""
    trial = Trial(SMALL)
    trial.ending(kind, *([Status.PASS] * 2 if kind is Kind.COMPLETE else []))
    assert summary(again(trial, {}, {})).startswith(opening)


def test_a_hand_or_an_emergency_that_ended_a_rollout_is_named() -> None:
    """What came from outside the plan is said to have come from there."""
    trial = Trial(SMALL)
    trial.world.by_hand(SetAlias("champion", 6))
    trial.model.settle()
    assert summary(again(trial, {}, {})).startswith(
        "Overtaken: an out-of-band change ended the trial of version 4 against 3. Noticed by ann on"
    )
    *before, last = again(trial, {}, {}).events
    rolled = replace(last, kind=Kind.ROLLBACK, rollout=last.rollout.ended(RolloutStatus.ROLLED_BACK))  # type: ignore[union-attr]
    back = build(MODEL, [*before, rolled], {}, {}, trial.model.session.now())
    assert summary(back).startswith("A rollback by hand to version 6 ended the trial of version 4.")


@pytest.mark.slow
def test_a_watch_is_told_from_the_champion_s_side() -> None:
    """In a watch the roles are turned: the champion is judged, the former champion is its control."""
    plan = Plan([5], guardrails=SMALL.guardrails, watch=Watch("7d", 5))
    trial = Trial(plan, is_watch=True)
    assert summary(told(trial)).startswith("Champion 3 is watched: version 4 keeps 5 % as its control.")
    page = Page(render(told(trial)))
    assert "Watch of 3 vs 4 of fraud" in page.text
    assert "champion / control" in page.text
    trial.ending(Kind.ABORT, reason="watch ended")
    assert summary(again(trial, {}, {})).startswith("The watch of champion 3 against its control 4 is over.")


@pytest.mark.slow
def test_a_rollout_nobody_recorded_says_so() -> None:
    """Without a tracking run the history still gives steps, events and the decision."""
    trial = Trial(SMALL)
    trial.later(60).run(Request(Kind.ADVANCE, now=trial.model.session.now()), "by hand")
    page = Page(render(again(trial, {}, {})))
    assert "No tick of an autopilot was recorded, so there are no verdicts here." in page.text
    assert "by hand" in page.text
    assert page.tags["svg"] == 1  # the traffic


@pytest.mark.parametrize(
    ("guardrail", "words"),
    [
        (Guardrail("error_rate", margin=1.0), "at most 2 times the champion's."),
        (Guardrail("alert_rate", margin=0.5), "at most 1.5 times and at least 0.667 times the champion's."),
        (Guardrail("score_shift", margin=0.05), "at most 0.05 away from the champion's."),
        (Guardrail("alert_precision", margin=0.1, required=False), "at most 0.1 below the champion's (not required)."),
        (Guardrail("error_rate", limit=0.02), "below 2.00 % whatever the champion does."),
        (
            Guardrail("latency", margin=0.5, bound=50),
            "at most 1.5 times the champion's, slow is above 50 ms.",
        ),
        (
            Guardrail("money_lost", margin=0.2, bound=900),
            "at most 1.2 times the champion's, one loss counts up to 900.00.",
        ),
        (
            Guardrail("error_rate", margin=1.0, negligible=0.002),
            "at most 2 times the champion's, and harmless in any case below 0.20 %.",
        ),
    ],
)
def test_what_a_guardrail_asks_is_said_in_words(guardrail: Guardrail, words: str) -> None:
    """Margin, direction, limit, bound: no reader has to know the plan's keys."""
    assert asks(guardrail) == words


# --- tables --------------------------------------------------------------------------------------------------------


def test_steps_have_their_share_time_actor_and_reason() -> None:
    """Each step lasts until the next one, the last until the end or now."""
    trial = Trial(SMALL)
    trial.later(60).run(Request(Kind.ADVANCE, now=trial.model.session.now()), "step 1 passed", actor="autopilot of ann")
    trial.later(90).run(Request(Kind.ABORT), "enough")
    trial.later(500)
    found = steps(again(trial, {}, {}))
    assert [(s.number, s.weight, s.lasted.total_seconds(), s.actor, s.reason) for s in found] == [
        (1, 10.0, 60.0, "ann", "weekly retrain"),
        (2, 50.0, 90.0, "autopilot of ann", "step 1 passed"),
    ]


@pytest.mark.slow
def test_every_guardrail_shows_both_numbers_interval_evidence_and_verdict() -> None:
    """Rates in percent, scores as they are; evidence as a share of what decides; an open end is infinite."""
    found = {section.name: section for section in sections(told(Trial(), Status.PASS, Status.FAIL))}
    assert list(found) == ["split", "error_rate", "alert_rate", "score_shift", "missed_fraud"]
    error, alert, score = found["error_rate"], found["alert_rate"], found["score_shift"]
    assert (error.status, error.champion, error.canary) == ("PASS", "1.00 %", "2.00 %")
    assert (error.interval, error.fail, error.passes) == ("0.5 to ∞ times", "12 %", "-25 %")
    assert (alert.status, alert.reason) == ("FAIL", "alert_rate: 2.1 % against 2 %")
    assert (score.champion, score.canary, score.interval) == ("0.04", "0.08", "2 to 12")
    assert found["missed_fraud"].coverage == "75.00 %"
    assert [len(section.plots) for section in found.values()] == [0, 3, 3, 3, 3]


@pytest.mark.slow
def test_events_that_did_not_take_effect_are_shown_and_decide_nothing() -> None:
    """An abandoned abort is in the table of events; the rollout goes on."""
    trial = Trial(SMALL)
    story = told(trial)
    last = story.events[-1]
    tried = replace(
        last,
        sequence=last.sequence + 1,
        operation="0" * 26,
        kind=Kind.ABORT,
        outcome=Ending.ABANDONED,
        rollout=story.rollout.ended(RolloutStatus.ABORTED),
        reason="died on the way",
    )
    story = build(MODEL, (*story.events, tried), story.series, story.tags, story.made)
    assert story.rollout.active
    assert "abort (abandoned)" in Page(render(story)).text


# --- the page ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def html() -> str:
    """A report with everything in it."""
    trial = Trial()
    story = told(trial, Status.PASS, Status.FAIL)
    trial.run(Request(Kind.ADVANCE, now=trial.model.session.now()), "<script>alert(1)</script> & 'more'")
    return render(again(trial, dict(story.series), dict(story.tags)))  # type: ignore[arg-type]


def test_the_page_needs_nothing_but_itself(html: str) -> None:
    """No script, no address outside the page, nothing to fetch: it opens from a mail, in ten years, without network."""
    page = Page(html)
    assert page.tags["script"] == 0
    assert page.tags["link"] == 0
    assert [link for link in page.links if not link.startswith("#")] == []
    assert not re.search(r"url\((?!#)|@import", html)


def test_ids_are_unique_and_every_reference_leads_somewhere(html: str) -> None:
    """Seventeen plots on one page do not mix up their clip paths, nor titles their labels."""
    page = Page(html)
    assert [name for name, count in page.ids.items() if count > 1] == []
    referred = {link[1:] for link in page.links} | set(re.findall(r"url\(#([^)]+)\)", html))
    labels = {name for names in re.findall(r'aria-labelledby="([^"]+)"', html) for name in names.split()}
    assert (referred | labels) - set(page.ids) == set()


def test_what_people_wrote_is_shown_as_they_wrote_it(html: str) -> None:
    """A reason is text, never markup."""
    assert "<script>alert(1)</script> & 'more'" in Page(html).text
    assert "<script" not in html


def test_plots_follow_light_and_dark_and_have_words(html: str) -> None:
    """Colours are the page's variables, and every plot has a title and a description for who cannot see it."""
    assert "prefers-color-scheme: dark" in html
    page = Page(html)
    assert page.tags["svg"] == 13
    assert page.tags["title"] == 1 + 13
    assert page.tags["desc"] == 13
    assert not re.search(r"#01020[3-7]", html)
    assert "var(--canary)" in html
    assert "champion from 1.00 % to 1.00 %; canary from 2.00 % to 2.00 %" in page.text


@pytest.mark.slow
def test_the_same_rollout_makes_the_same_page() -> None:
    """Made again from the same facts, the report is the same to the byte."""
    one, other = (render(told(Trial(SMALL))) for _ in range(2))
    assert one == other


# --- plots at their edges ------------------------------------------------------------------------------------------


def line(*values: float, apart: float = 60.0) -> Sequence[tuple[datetime, float]]:
    """A metric at even distances."""
    return [(START + timedelta(seconds=apart * place), value) for place, value in enumerate(values)]


@pytest.mark.parametrize("count", graded([1, 0, 2, 5_000]))
def test_plots_take_nothing_one_point_and_thousands(count: int) -> None:
    """A rollout at its first tick has a report too, and a long one stays a page that opens."""
    values = line(*(0.01 + place * 1e-6 for place in range(count)))
    for svg in (
        plots.weight("w", values, [(START, "start")]),
        plots.rates("r", values, values, row=Metric.ERROR_RATE.row, limit=0.1),
        plots.interval("i", values, values, values, [0.5, 2.0], row=Metric.ALERT_RATE.row),
        plots.interval("j", values, (), values, [-0.05, 0.05], row=Metric.SCORE_SHIFT.row),
        plots.evidence("e", values, ()),
    ):
        assert svg.startswith('<svg role="img"')
        assert len(svg) < 60_000


def points(svg: str, colour: str) -> int:
    """Points that are marked in a colour, the legend's left out."""
    return len(re.findall(rf'^     <use .*style="fill: var\(--{colour}\); stroke: var', svg, re.MULTILINE))


@pytest.mark.tested(4)
@pytest.mark.parametrize("seconds", graded([0.4, 0.0, 5.0, 90.0]))
@pytest.mark.parametrize("count", graded([2, 1, 5]))
def test_short_rollouts_have_points_on_an_axis_of_their_own_length(seconds: float, count: int) -> None:
    """A trial of five seconds, or of one look, shows what was seen: no empty chart, and no years around it."""
    values = line(*[0.01] * count, apart=seconds)
    charts = {
        "champion": [plots.rates("r", values, (), row=Metric.ERROR_RATE.row)],
        "canary": [
            plots.weight("w", values, []),
            plots.interval("i", values, values, values, [0.5], row=Metric.SCORE_SHIFT.row),
        ],
        "limit": [plots.evidence("e", values, ())],
    }
    seen = count if seconds else 1
    for colour, svgs in charts.items():
        for svg in svgs:
            assert points(svg, colour) >= seen
            assert not re.search(r">(19|20)[0-9]{2}(-[A-Z][a-z]{2})?<", svg)  # a tick of a year, or of a month


@pytest.mark.parametrize("apart", graded([0.01, 3_600.0]))
@pytest.mark.slow
def test_the_chart_of_steps_shows_every_step_of_the_history(apart: float) -> None:
    """Ticks come every half minute; steps by hand in one second, or many, are all there."""
    weights = [100 * step for step in range(11, 101)]
    trial = Trial(Plan([10, 100], guardrails=SMALL.guardrails))
    for weight in weights:
        trial.later(apart).run(Request(Kind.ADVANCE, weight=weight, now=trial.model.session.now(), force=True), "on")
    ticks = {naming.WEIGHT: [(START, 10.0), (trial.model.session.now(), 100.0)]}
    html = render(again(trial, ticks, {}))
    (figure,) = re.findall(r'<svg role="img" aria-labelledby="weight-title.*?</svg>', html, re.DOTALL)
    path = max(re.findall(r'<path d="([^"]*)"[^>]*stroke: var\(--canary\)', figure), key=len)
    heights = {line.split()[2] for line in path.strip().splitlines()}
    assert len(heights) == 1 + len(weights)
    assert len(steps(again(trial, ticks, {}))) == 1 + len(weights)


def test_steps_at_one_moment_are_several_steps() -> None:
    """Two clocks, or one that stands, make no step disappear."""
    assert points(plots.weight("w", [(START, 10.0), (START, 25.0), (START, 100.0)], []), "canary") == 3


def test_a_step_that_a_hand_in_the_registry_made_is_a_step() -> None:
    """A weight that somebody wrote into the canary's tag was in force, and is shown."""
    trial = Trial(SMALL)
    changed = tags.encode_rollout(replace(trial.rollout, weight=3_000))
    trial.later(60).world.by_hand(SetVersionTag(4, tags.ROLLOUT, changed))
    trial.model.settle()
    assert [step.weight for step in steps(again(trial, {}, {}))] == [10.0, 30.0]


def test_the_report_says_what_the_versions_are_before_any_statistic() -> None:
    """Algorithm, data, period, threshold and test metrics of both; a version that is gone says so."""
    found = VersionView(
        version=4,
        status="READY",
        stage="Staging",
        tags={
            "fds.algorithm": "lightgbm",
            "fds.digest": "9c1d02a3b4c5d6e7",
            "fds.source": "payments.parquet",
            "fds.period": "2026-01-01T00:00:00/2026-03-01T12:00:00",
            "fds.threshold": "0.21340482010624377",
        },
        run_id="r",
        source="models:/m-1",
        created=START,
        description="lightgbm, 120 trees\nmore",
    )
    facts = version_facts(found, {"average_precision": 0.73123, "recall": 0.7, "split_rows": 9.0})
    trial = Trial(SMALL)
    story = build(MODEL, again(trial, {}, {}).events, {}, {}, START, versions=[facts, VersionFacts(3)])
    text = Page(render(story)).text
    for words in (
        "Canary 4 lightgbm payments.parquet, digest 9c1d02a3b4c5 2026-01-01 to 2026-03-01 0.213405",
        "average precision 0.7312, recall 0.7 lightgbm, 120 trees",
        "no longer in the registry",
        "Period of the data",
    ):
        assert words in text
    assert text.index("Versions") < text.index("Frauds and money") < text.index("Verdicts")


def test_events_are_told_as_the_history_tells_them() -> None:
    """A step with its weight, and an end with what was decided."""
    trial = Trial(SMALL)
    trial.run(Request(Kind.ADVANCE, weight=3_000, now=trial.model.session.now()), "go on")
    trial.ending(Kind.COMPLETE, *[Status.PASS] * 2)
    text = Page(render(again(trial, {}, {}))).text
    for words in ("start 10 % ann", "advance 30 % ann", "complete (passed) autopilot of ann"):
        assert words in text


def test_a_verdict_without_a_sentence_is_still_a_verdict() -> None:
    """Beside a badge the report never says that no verdict was recorded."""
    trial = Trial(SMALL)
    assert render(again(trial, {}, {})).count("No verdict was recorded.") == len(SMALL.guardrails)
    trial.ending(Kind.ABORT, *[Status.NODATA] * len(SMALL.guardrails))
    story = again(trial, {}, {})
    judged = [section for section in sections(story) if section.status]
    assert judged
    assert render(story).count("No verdict was recorded.") == len(sections(story)) - len(judged)


def test_an_interval_of_infinite_or_tiny_ends_stays_readable() -> None:
    """The axis shows the boundary and the latest interval, whatever the first looks said."""
    svg = plots.interval("i", line(1e-300, 0.9), line(1e300, 1.4), line(1.0, 1.1), [1.5], row=Metric.ERROR_RATE.row)
    assert "at the end from 0.9 to 1.4; tolerated: 1.5" in svg
    assert ">2x<" in svg.replace(" ", "")


def test_every_metric_has_a_name_for_people() -> None:
    """A guardrail of any metric can be reported."""
    for metric in Metric:
        options = {"bound": 100.0} if metric in {Metric.LATENCY, Metric.MONEY_LOST} else {}
        plan = Plan([10, 100], guardrails=[Guardrail(metric, margin=0.1, **options)], label_maturity="1d")
        section = sections(again(Trial(plan), {}, {}))[0]
        assert section.title
        assert (section.status, section.champion, section.interval) == ("", "–", "–")  # noqa: RUF001


def test_the_drift_of_features_is_drawn_where_any_was_recorded() -> None:
    """Features that drifted most are shown for both versions, with words for who cannot see it; else nothing is."""
    story = told(Trial(SMALL))
    assert 'id="drift"' not in render(story)
    names = [f"feature_{place}" for place in range(30)]
    drift = {4: {name: place / 30 for place, name in enumerate(names)}, 3: {"feature_0": 0.99, "only": 0.5}}
    page = Page(render(replace(story, drift=drift)))
    assert [name for name, count in page.ids.items() if count > 1] == []
    assert "The largest, from 0 to 1: feature_0 0.99; feature_29 0.97" in page.text
    assert "canary (version 4)" in page.text
    assert "champion (version 3)" in page.text
    assert "feature_28" in page.text
    assert "feature_1" not in page.text.split("Events")[0].split()
