"""Absent is never zero: what nobody could see is shown as unknown, everywhere."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fds_mlflow import Plan
from fds_mlflow.cli.output import live, tables
from fds_mlflow.cli.output.plain import plain
from fds_mlflow.core.evidence.evidence import EventKind, Evidence, Tally, Terms
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.judge import judge
from fds_mlflow.core.judge.labels import known
from fds_mlflow.core.lifecycle.controller import next_step
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.text.numbers import UNKNOWN
from fds_mlflow.lifecycle.reports import CanaryStatus
from fds_mlflow.outcomes.summary import VariantCounts
from fds_mlflow.rollouts import naming
from fds_mlflow.rollouts.report.words import frauds
from fds_mlflow.rollouts.tick import Tick
from tests.rollouts.report.test_report import again
from tests.support.rollout_ticks import PLAN as FAST_AND_SLOW
from tests.support.rollout_ticks import Trial

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LABELS = Plan(
    [10, 100],
    guardrails=[
        Guardrail(Metric.MISSED_FRAUD, margin=0.5),
        Guardrail(Metric.FALSE_POSITIVES, margin=0.5),
        Guardrail(Metric.ALERT_PRECISION, margin=0.1),
        Guardrail(Metric.MONEY_LOST, margin=0.5, bound=100.0),
    ],
    label_maturity="30d",
)
NO_LABELS = Plan([10, 100])


def tally(variant: Variant = Variant.CANARY, **changes: object) -> Tally:
    """A thousand keys of one request each, of which 900 are old enough for a label, and nothing else."""
    made = Tally(variant=variant, step=0, weight=1_000, requests=1_000, keys=1_000, matured=900, matured_alerts=20)
    made = replace(made, **changes)  # type: ignore[arg-type]
    return replace(made, matured_requests=made.matured, passed_genuine=max(0, made.labelled - made.reviewed_alerts))


@pytest.mark.parametrize(
    ("changes", "missed", "false"),
    [
        ({"matured": 0, "matured_alerts": 0}, None, None),
        ({}, None, None),
        ({"matured_alerts": 0}, None, None),
        ({"labelled": 20, "reviewed_alerts": 20}, None, 0),
        ({"labelled": 50}, 0, None),
        ({"labelled": 50, "reviewed_alerts": 20}, 0, 0),
        ({"labelled": 50, "matured_alerts": 0}, 0, 0),
        ({"labelled": 3, "events": {EventKind.MISSED_FRAUD: 3}}, 3, None),
    ],
)
def test_what_no_label_could_show_is_unknown(changes: dict[str, object], missed: int | None, false: int | None) -> None:
    """Missed frauds show where what was not flagged has labels, false positives where alerts are reviewed."""
    found = tally(**changes)
    assert known(found, EventKind.MISSED_FRAUD, LABELS.terms) == missed
    assert known(found, EventKind.FALSE_POSITIVE, LABELS.terms) == false


@given(
    st.sampled_from(EventKind),
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)),
    st.integers(0, 3),
    st.one_of(st.none(), st.just(10.0)),
)
def test_an_event_that_was_seen_is_always_counted(
    kind: EventKind, counts: tuple[int, int, int], events: int, bound: float | None
) -> None:
    """Unknown is only a zero that nobody could have seen to be another number."""
    requests, labelled, reviewed = counts
    happened = {kind: events} if events else {}
    made = tally(requests=requests, labelled=labelled, reviewed_alerts=reviewed, events=happened)
    found = known(made, kind, Terms(latency_bound=bound))
    assert found == events or (found is None and not events)
    if kind in (EventKind.MISSED_FRAUD, EventKind.FALSE_POSITIVE) and not labelled and not reviewed and not events:
        assert found is None


def evidence(plan: Plan, **changes: object) -> Evidence:
    """Both variants alike."""
    return Evidence(terms=plan.terms, as_of=NOON, tallies=tuple(tally(variant, **changes) for variant in Variant))


def status(plan: Plan, **changes: object) -> CanaryStatus:
    """Where a rollout stands."""
    rollout = Rollout("R", 3, 4, plan, 1_000, 0, NOON)
    found = evidence(plan, **changes)
    judgement = judge(found, rollout)
    champion, canary = found.tallies
    return CanaryStatus(rollout, champion, canary, judgement.verdicts, next_step(rollout, judgement, NOON))


def shown(what: object, width: int = 80) -> str:
    """As a terminal shows it."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("plan", [LABELS, NO_LABELS])
def test_tables_show_a_dash_where_nobody_looked(plan: Plan) -> None:
    """`fds canary status`: missed and false positives are no zeros without a label."""
    made = tables.canary_status(status(plan), NOON)
    cells = {str(column.header): [str(cell) for cell in column.cells] for column in made.columns}
    assert cells["missed"] == cells["false positives"] == [UNKNOWN] * 2
    looked = tables.canary_status(status(plan, labelled=50, reviewed_alerts=20), NOON)
    assert [[str(cell) for cell in column.cells] for column in looked.columns][-2:] == [["0", "0"]] * 2


def test_json_has_the_weight_before_any_outcome_has_told_it() -> None:
    """A rollout at 10 % whose canary nobody has asked is at 10 %, not at 0."""
    found = plain(status(NO_LABELS, weight=0, requests=0, keys=0, matured=0, matured_alerts=0))
    assert (found["champion"]["weight"], found["canary"]["weight"]) == (1_000, 1_000)


def test_json_says_null_where_nobody_looked() -> None:
    """Not 0: a machine that adds it up must see that there is nothing."""
    found = plain(status(NO_LABELS, matured=0, matured_alerts=0))
    for variant in ("champion", "canary"):
        values = found[variant]
        assert values["events"] == {
            "error": 0,
            "alert": 0,
            "slow": None,
            "missed_fraud": None,
            "false_positive": None,
        }
        for name in ("matured", "labelled", "matured_alerts", "reviewed_alerts", "false_alerts"):
            assert values[name] is None, name
    counts = plain(VariantCounts(variant=Variant.CANARY, requests=5, keys=5, matured=5))
    assert counts["false_negatives"] is counts["false_positives"] is None


def test_verdicts_and_run_metrics_have_no_number_where_nobody_looked() -> None:
    """The reason shows a dash, the metric is not logged; with labels both are there."""
    for changes, there in (({}, False), ({"labelled": 50, "reviewed_alerts": 20, "matured_alerts": 20}, True)):
        rollout = Rollout("R", 3, 4, LABELS, 1_000, 0, NOON)
        found = evidence(LABELS, **changes)
        judgement = judge(found, rollout)
        tick = Tick("fraud", NOON, rollout, found, judgement, next_step(rollout, judgement, NOON))
        metrics = naming.metrics(tick)
        for name in ("missed_fraud", "false_positives", "alert_precision", "money_lost"):
            assert (f"{name}/canary" in metrics) == (f"{name}/champion" in metrics) == there, name
        assert ("rollout/canary_frauds_missed" in metrics) == there
        assert ("rollout/canary_frauds_caught" in metrics) == there
        assert "rollout/canary_money_missed" not in metrics
        missed = next(v for v in judgement.verdicts if v.check == "missed_fraud")
        assert (f"canary {UNKNOWN} of 900" in missed.reason) != there


def test_money_of_frauds_without_an_amount_is_unknown() -> None:
    """Three missed frauds whose loss nobody knows took no known money, which is not none."""
    found = evidence(LABELS, labelled=50, events={EventKind.MISSED_FRAUD: 3})
    lost = judge(found, Rollout("R", 3, 4, LABELS, 1_000, 0, NOON)).verdicts[-1]
    assert (lost.check, lost.canary, lost.champion) == ("money_lost", None, None)


def test_the_live_view_shows_a_dash_where_nobody_looked() -> None:
    """And shares among the keys whose labels are due where somebody did."""
    rollout = Rollout("R", 3, 4, LABELS, 1_000, 0, NOON)
    blind = live.numbers(rollout, evidence(LABELS))
    cells = {str(column.header): [str(cell) for cell in column.cells] for column in blind.columns}
    assert cells["missed"] == cells["false positives"] == [UNKNOWN] * 2
    seeing = live.numbers(rollout, evidence(LABELS, labelled=50, events={EventKind.MISSED_FRAUD: 9}))
    assert [str(cell) for cell in seeing.columns[6].cells] == ["1.00 %"] * 2
    assert "0.00 %" not in shown(live.guardrails(status(LABELS).verdicts[1:], wide=False))


def test_the_report_says_why_nothing_is_known_of_frauds() -> None:
    """Each reason has its words; none of them is a zero."""
    trial = Trial(FAST_AND_SLOW)
    said = frauds(again(trial, {}, {}))
    assert said == [
        "How many frauds were caught or missed, and the money they took, is not known:"
        " no label has been seen that reached its age of 30d."
    ]
    due = replace(again(trial, {}, {}), truths={"rollout/canary_matured": 90.0, "rollout/canary_labelled": 0.0})
    assert "none of 90 keys whose labels are due after 30d has one" in frauds(due)[0]
    assert "the plan names no age" in frauds(again(Trial(NO_LABELS), {}, {}))[0]
    older = replace(again(trial, {}, {}), series={"missed_fraud/coverage": [(NOON, 0.5)]})
    assert "an older release recorded their rates" in frauds(older)[0]


def test_frauds_and_money_are_told_in_words() -> None:
    """Caught, missed, what they took, as far as it is known, and false alarms, for both versions."""
    values = {"matured": 900, "labelled": 800, "frauds_caught": 12, "frauds_missed": 3, "false_positives": 1}
    values |= {"losses_known": 2, "money_missed": 1_020.5, "money_caught": 4_300}
    truths = {f"rollout/canary_{name}": float(value) for name, value in values.items()}
    truths |= {"rollout/champion_matured": 8_000.0, "rollout/champion_labelled": 7_000.0}
    truths |= {"rollout/champion_frauds_missed": 0.0}
    assert frauds(replace(again(Trial(FAST_AND_SLOW), {}, {}), truths=truths)) == [
        "Canary 4: of 900 keys whose labels are due, the truth of 800 is known; it caught 12 frauds, for which labels"
        " name 4,300.00; it missed 3 frauds, which took 1,020.50 (2 with a known amount); 1 false alarm.",
        "Champion 3: of 8,000 keys whose labels are due, the truth of 7,000 is known; how many frauds it caught is not"
        " known, since none of its alerts was reviewed; it missed 0 frauds.",
    ]
