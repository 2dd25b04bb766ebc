"""Plans as files: a template that is the default plan, and a check that says what a plan means and costs."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from fds_mlflow.cli.main import main
from fds_mlflow.core.plan.default import DEFAULT_PLAN
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.errors import ConfigError
from fds_mlflow.rollouts.plan.cost import RATES, check_plan
from fds_mlflow.rollouts.plan.file import load_plan, parse_plan
from fds_mlflow.rollouts.plan.template import TEMPLATE


def test_the_template_is_the_default_plan() -> None:
    """What the template shows as defaults are the defaults."""
    assert parse_plan(TEMPLATE) == DEFAULT_PLAN
    assert parse_plan("{}") == Plan()


def test_every_key_of_the_template_can_be_used_by_deleting_its_mark() -> None:
    """With all options in force the template is a valid plan that uses every key and metric there is."""
    text = re.sub(r"(?m)^#(?=(  )?\w+:)", "", TEMPLATE)
    plan = parse_plan(text)
    assert {guardrail.metric for guardrail in plan.guardrails} == set(Metric)
    assert plan.label_maturity == timedelta(days=30)
    assert plan.watch is not None
    known = {"steps", "guardrails", *Plan.__init__.__kwdefaults__}
    assert set(yaml.safe_load(text)) == known


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("alpha: 0.1\nalpha: 0.2", "alpha twice"),
        ("guardrails:\n  error_rate: {margin: 1, margin: 2}", "margin twice"),
        ("guardrails:\n  latency: {margin: 1, bound: 5}\n  latency: {margin: 2, bound: 5}", "latency twice"),
        ("watch: {duration: 7d, control: 5, control: 6}", "control twice"),
        ("watch: {duration: 7d, control: 5}\nwatch: {duration: 7d, control: 6}", "watch twice"),
        ("control: true", "unknown keys: control"),
        ("steps: [5]\nwatch: {duration: 7d, control: 5}\ncontrol: true", "unknown keys: control"),
        ("alpha: [", "not? YAML"),
        ("- 10\n- 50", "not a mapping"),
        ("stepz: [10]", "unknown keys: stepz"),
        ("guardrails:\n  error_rate:", "not a mapping"),
        ("? [a, b]\n: 1", "not? YAML"),
        ("", "is empty"),
        ("# steps: [10]\n", "is empty"),
        ("---\n...\n", "is empty"),
        ("steps: [1:30, 100]", "'1:30' is not a percentage"),
        ("steps: [1_0, 100]", "'1_0' is not a percentage"),
        ("steps: [.nan, 100]", "not a percentage"),
        ("guardrails:\n  error_rate: {margin: .inf}", "margin is inf"),
        ("guardrails:\n  error_rate: {margin: 1, required: no}", "required is 'no'"),
        ("min_outcomes: " + "9" * 5_001, "line 1 has a number of 5,001 digits"),
        ("min_outcomes: 0x" + "f" * 5_001, "line 1 has a number of 5,003 digits"),
        ("bake_time: 2026-02-30", "'2026-02-30', not a duration"),
        ("bake_time: 200000w", "not a duration"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(text: str, says: str, tmp_path: Path) -> None:
    """Broken YAML, a key given twice and an unknown key are errors of ours, with the fix."""
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_plan(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_plan(tmp_path / "elsewhere.yaml")


def test_a_check_prices_every_margin() -> None:
    """A wider margin, and a higher rate, make a PASS cheaper; twice the traffic halves the days."""
    narrow, wide = (
        check_plan(Plan(guardrails=[Guardrail(Metric.ERROR_RATE, margin=margin)]), traffic=10).prices[0]
        for margin in (0.25, 0.5)
    )
    assert narrow.passes is not None
    assert wide.passes is not None
    assert narrow.passes > 2 * wide.passes
    often = check_plan(
        Plan(guardrails=[Guardrail(Metric.ERROR_RATE, margin=0.5)]), traffic=20, rates={Metric.ERROR_RATE: 0.01}
    ).prices[0]
    assert often.passes is not None
    assert often.passes < wide.passes / 5
    assert wide.pass_days == pytest.approx(wide.passes / (10 * 0.5) / 86_400)
    assert often.pass_days == pytest.approx(often.passes / (20 * 0.5) / 86_400)


@pytest.mark.slow
@pytest.mark.parametrize("metric", Metric)
def test_every_metric_has_a_price(metric: Metric) -> None:
    """Each guardrail says after how many requests a good canary passes and a harmful one fails."""
    margin = 0.1 if metric in (Metric.SCORE_SHIFT, Metric.ALERT_PRECISION) else 0.5
    bound = {Metric.LATENCY: 50.0, Metric.MONEY_LOST: 500.0}.get(metric)
    plan = Plan(guardrails=[Guardrail(metric, margin=margin, bound=bound)], label_maturity="30d")
    (price,) = check_plan(plan, traffic=50).prices
    assert price.passes is not None
    assert price.fails is not None
    assert price.rate == RATES.get(metric)
    assert price.pass_days is not None
    assert (price.pass_days > 30) == metric.needs_labels


@pytest.mark.parametrize(
    ("plan", "warns"),
    [
        (Plan([100]), "no step below 100 %"),
        (Plan(guardrails=[Guardrail(Metric.ERROR_RATE, margin=0.0)]), "error_rate never passes"),
        (Plan(guardrails=[Guardrail(Metric.ERROR_RATE, margin=0.1)], max_canary_keys=1_000), "1,000 keys may meet"),
        (Plan(guardrails=[Guardrail(Metric.ERROR_RATE, margin=0.1)], max_step_time="1h"), "all steps together last"),
        (
            Plan(
                guardrails=[Guardrail(Metric.MISSED_FRAUD, margin=1.0)],
                label_maturity="30d",
                max_step_time="7d",
            ),
            "cannot pass in the first step",
        ),
    ],
)
def test_what_can_never_pass_is_warned_of(plan: Plan, warns: str) -> None:
    """A plan that cannot come to an end by itself says so before it starts."""
    assert any(warns in warning for warning in check_plan(plan, traffic=50).warnings)


@pytest.mark.slow
def test_the_words_say_what_the_plan_says() -> None:
    """Alpha, its extras, gates, times, the blast radius and the watch are all told."""
    text = re.sub(r"(?m)^#(?=(  )?\w+:)", "", TEMPLATE).replace("gates: []", "gates: [25]")
    words = " ".join(check_plan(parse_plan(text)).words)
    for part in (
        "10, 25, 50 %",
        "5.00 %",
        "0.50 %",
        "At 25 %",
        "after 7d in one step",
        "100,000 keys",
        "keeps 5 % for 7d",
    ):
        assert part in words, part


def test_the_command_line_checks_and_starts_from_a_file(tmp_path: Path) -> None:
    """`plan template` prints what `plan check` takes; traffic and rates are refused when they are none."""
    runner = CliRunner()
    printed = runner.invoke(main, ["plan", "template"])
    assert printed.output == TEMPLATE
    file = tmp_path / "plan.yaml"
    assert runner.invoke(main, ["plan", "template", "--output", str(file)]).exit_code == 0
    assert file.read_text() == TEMPLATE
    assert runner.invoke(main, ["plan", "template", "--output", str(file)]).exit_code == 1
    checked = runner.invoke(main, ["plan", "check", str(file), "--traffic", "100000/d", "--rate", "error_rate=0.01"])
    assert checked.exit_code == 0, checked.output
    assert "error_rate" in checked.output
    for wrong in (["--traffic", "fast"], ["--rate", "error_rate"], ["--rate", "error_rate=x"]):
        assert runner.invoke(main, ["plan", "check", str(file), *wrong]).exit_code == 2
    for refused in (["--rate", "eror_rate=0.1"], ["--event-rate", "1.5"]):
        assert runner.invoke(main, ["plan", "check", str(file), *refused]).exit_code == 1
    both = runner.invoke(main, ["canary", "start", "fraud", "2", "--plan", str(file), "--steps", "5"])
    assert both.exit_code == 2
    assert "exclude each other" in both.output
