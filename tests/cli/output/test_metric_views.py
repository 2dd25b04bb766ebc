"""How each metric reads: the same value in every view, money as money, shares as percentages, scores as they are."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fds_mlflow.cli.output import live, plans, tables
from fds_mlflow.core.judge.harm import boundaries
from fds_mlflow.core.judge.judge import judge
from fds_mlflow.core.lifecycle.controller import Action, next_step
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import ROWS, Form, Metric
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.text.numbers import money
from fds_mlflow.lifecycle.reports import CanaryStatus
from fds_mlflow.rollouts import naming
from fds_mlflow.rollouts.plan.cost import check_plan
from fds_mlflow.rollouts.rehearsal.rehearsal import Catch, Rehearsal
from fds_mlflow.rollouts.report.report import asks, sections
from fds_mlflow.rollouts.tick import Tick
from tests.rollouts.report.test_report import again
from tests.support.rollout_ticks import Trial
from tests.support.trials import FINE, NOON, evidence, guardrail, rollout

VALUES = {Form.SHARE: (0.304, "30.40 %"), Form.SCORE: (0.0419, "0.0419"), Form.MONEY: (1_234.5, "1,234.50")}
"""A value of each form, and how it reads."""

TAIL = r"(?! ?[%\d])"


def shown(what: object) -> str:
    """As a wide terminal shows it."""
    console = Console(file=io.StringIO(), width=250, color_system=None)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def ticked(metric: Metric) -> tuple[Tick, str]:
    """A look at a rollout with one guardrail, whose verdict found the form's value; and how that reads."""
    value, text = VALUES[metric.row.form]
    one = guardrail(metric)
    plan = Plan([10, 50], guardrails=[one], label_maturity="30d")
    at, found = rollout(plan), evidence(plan, FINE[metric])
    made = judge(found, at)
    verdicts = [replace(v, champion=value, canary=value) if v.guardrail else v for v in made.verdicts]
    made = replace(made, verdicts=tuple(verdicts))
    return Tick("fraud", NOON, at, found, made, next_step(at, made, NOON)), text


@pytest.mark.tested(3)
@pytest.mark.slow
@pytest.mark.parametrize("metric", Metric)
def test_a_value_reads_the_same_in_every_view(metric: Metric) -> None:
    """The judge's sentence, status, live view, notes, notifications and the report say one value in one way."""
    tick, text = ticked(metric)
    assert tick.judgement is not None
    assert tick.rollout is not None
    assert tick.evidence is not None
    assert tick.recommendation is not None
    value, _ = VALUES[metric.row.form]
    assert metric.describe(value) == text
    assert f"{text} " in shown(live.guardrails(tick.judgement.verdicts))
    assert f"{text} " in shown(live.guardrails(tick.judgement.verdicts, wide=False))

    verdict = judge(tick.evidence, tick.rollout).verdicts[1]  # whose sentence has its own numbers
    assert verdict.canary is not None
    sentence = metric.describe(verdict.canary, approximate=verdict.approximate)
    assert re.search(rf"canary {re.escape(sentence)} of [\d,]+, champion", verdict.reason), verdict.reason
    assert verdict.reason.startswith(f"{metric.words}: ")
    assert f" {metric.row.among};" in verdict.reason
    champion, canary = tick.evidence.tallies
    status = CanaryStatus(tick.rollout, champion, canary, tick.judgement.verdicts, tick.recommendation)
    notes = naming.tags(tick, naming.LastReported())[naming.NOTE]
    told = naming.changed(naming.LastReported(), tick)
    for view in (shown(tables.canary_status(status, tick.time)), notes, str(told and told.data)):
        assert f"canary {sentence} of " in " ".join(view.split()), view

    series = {f"{metric}/{side}": [(NOON, value)] for side in ("champion", "canary")}
    series |= {f"{metric}/interval_{end}": [(NOON, 1.25)] for end in ("low", "high")}
    trial = Trial(Plan([10, 50], guardrails=[guardrail(metric)], label_maturity="30d"))
    (section,) = sections(again(trial, series, {}))
    assert (section.title, section.champion, section.canary) == (ROWS[metric].title, text, text)
    rates, interval = section.plots
    assert f"champion from {text} to {text}; canary from {text} to {text}" in rates
    assert f">{metric.row.unit}</text>" in rates
    assert ("canary / champion" in interval) == metric.relative
    assert section.interval == metric.row.describe_range(1.25, 1.25)


@pytest.mark.slow
@pytest.mark.parametrize("metric", Metric)
def test_a_harm_reads_the_same_in_every_view(metric: Metric) -> None:
    """What is tolerated, and what is looked for, is so many times the champion's, or a plain difference, everywhere."""
    one = guardrail(metric)
    plan = Plan([10, 50], guardrails=[one], label_maturity="30d")
    found = check_plan(plan)
    (price,) = found.prices
    table = shown(plans.plan_check(found))
    assert re.search(rf" {re.escape(metric.describe_harm(price.harm))}{TAIL}", table)
    for boundary, _ in boundaries(one):
        assert metric.describe_harm(boundary) in found.words[1]
    assert metric.describe_harm(boundaries(one)[0][0] if metric.relative else one.margin or 0) in asks(one)
    if metric.row.bound:
        assert one.bound is not None
        assert metric.row.describe_bound(one.bound) in found.words[1]
        assert metric.row.describe_bound(one.bound) in asks(one)
    if one.limit is not None:
        assert metric.describe(one.limit) in found.words[1]
        assert metric.describe(one.limit) in asks(one)
    never = replace(price, fails=None)
    assert metric.describe_harm(never.harm).endswith(" times") == metric.relative


@pytest.mark.parametrize(
    ("one", "text", "says"),
    [
        (Guardrail(Metric.LATENCY, margin=0.5, quantile=0.99, negligible=2, limit=500), "p99 41 ms", "1.5 times"),
        (Guardrail(Metric.LATENCY, margin=0.5, quantile=0.999), "p99.9 41 ms", "1.5 times"),
        (Guardrail(Metric.SCORE_SHIFT, margin=0.5, quantile=0.99), "p99 0.41", "0.667 times"),
    ],
)
def test_a_quantile_reads_the_same_in_every_view(one: Guardrail, text: str, says: str) -> None:
    """Milliseconds as such, scores as they are, both by their quantile, and what is tolerated in times."""
    value = 0.41 if one.metric is Metric.SCORE_SHIFT else 41.0
    plan = Plan([10, 50], guardrails=[one])
    firsts = {"latency_firsts": {90: 4_900, 91: 100}, "score_firsts": {40: 4_900, 50: 100}}
    tallies = [replace(each, **firsts) for each in FINE[one.metric]]
    made = judge(evidence(plan, tallies), rollout(plan)).verdicts[1]
    assert re.search(rf"canary {one.row.column} [\d.]+", made.reason)
    for wide in (True, False):
        assert f"{text} " in shown(live.guardrails([replace(made, champion=value, canary=value)], wide=wide))
    assert "times" in shown(live.guardrails([made]))
    series = {f"{one.metric}/{side}": [(NOON, value)] for side in ("champion", "canary")}
    series |= {f"{one.metric}/interval_{end}": [(NOON, 1.25)] for end in ("low", "high")}
    (section,) = sections(again(Trial(plan), series, {}))
    assert (section.title, section.champion, section.canary) == (one.row.title, text, text)
    rates, interval = section.plots
    assert f"champion from {text} to {text}" in rates
    assert f">{one.row.unit}</text>" in rates
    assert "canary / champion" in interval
    assert section.interval == "1.25 to 1.25 times"
    assert says in section.asks
    found = check_plan(plan)
    assert says in found.words[1]
    assert f" {one.row.column}" in found.words[1]
    assert found.prices[0].passes
    assert found.prices[0].fails
    if one.limit is not None:
        assert "below p99 500 ms whatever" in section.asks
        assert "unless below p99 2 ms or above p99 500 ms" in found.words[1]


def test_a_rehearsal_s_money_reads_as_money() -> None:
    """Means over the replays have their cents; the regressions read as harms do."""
    catch = Catch(Metric.MONEY_LOST, {1.5: 0.5, 2.0: 0.95}, 2.0, 1_000, 3.0, 1_234.5)
    made = Rehearsal(
        plan=Plan(),
        replays=200,
        rows=5_000,
        days=3.0,
        fraud_rate=0.01,
        alert_rates=(0.02, 0.03),
        outcomes={Action.COMPLETE: 1.0},
        causes={},
        days_to_end=2.0,
        lost=(1_234.5, 0.0123),
        false_abort=0.0,
        false_abort_error=0.0,
        completes=1.0,
        steps=(),
        catches=(catch,),
        left_out=(),
    )
    text = shown(plans.rehearsal(made))
    assert "take 1,234.50 on average" in text
    assert "0.012." in text
    assert "1.5 times: 50%, 2 times: 95%" in text
    assert " 1,234.50 " in text


def test_every_metric_has_its_row() -> None:
    """One row a metric, in the order of the metrics, with titles and columns of their own."""
    assert list(ROWS) == list(Metric)
    for name in ("title", "column"):
        assert len({getattr(row, name) for row in ROWS.values()}) == len(Metric)
    assert all(row.kind is None or row.form is Form.SHARE for row in ROWS.values())
    assert all(("{}" in row.bounded) == (row.bound is not None) for row in ROWS.values())


@given(st.floats(1e-9, 1e12))
def test_money_never_loses_what_it_is_about(amount: float) -> None:
    """Two decimals, or two digits where there is less: no exponent, no percent sign, and never a zero for something."""
    text = money(amount)
    assert re.fullmatch(r"[\d,]+\.\d{2,}", text)
    assert float(text.replace(",", "")) == pytest.approx(amount, rel=0.06, abs=0.005 if amount >= 0.1 else 0)


def test_a_side_is_asked_for_as_it_is_judged() -> None:
    """A guardrail that only a lower rate harms asks for at least, not for at most."""
    assert asks(Guardrail("alert_rate", margin=0.5, side="lower")) == "at least 0.667 times the champion's."  # type: ignore[arg-type]
