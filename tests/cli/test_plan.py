"""`fds plan check`: what a plan costs, for people and for machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from fds_mlflow.cli.main import main
from fds_mlflow.cli.output import plans
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.rollouts.plan.cost import PlanCheck, check_plan

PLAN = """\
steps: [10, 50, 100]
label_maturity: 30d
guardrails:
  error_rate: {margin: 1.0}
  missed_fraud: {margin: 0.5}
  false_positives: {margin: 0.5}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A plan that needs labels."""
    (tmp_path / "plan.yaml").write_text(PLAN)
    return str(tmp_path / "plan.yaml")


def test_machines_get_the_exposure_and_the_exploration_of_every_guardrail(file: str) -> None:
    """Requests, days, events and money until the FAIL, what was assumed, and what exploration costs and buys."""
    options = ["--traffic", "50/s", "--loss", "200", "--alert-cost", "5", "--harm", "3", "--fraud-rate", "0.02"]
    told = CliRunner().invoke(
        main, ["plan", "check", file, *options, "--explore", "1", "--explore-cap", "50", "--json"]
    )
    found = json.loads(told.stdout)
    errors, missed, false = found["prices"]
    assert (errors["harm"], missed["harm"], false["harm"]) == (6, 4.5, 4.5)
    assert (errors["exposure"]["events"], errors["exposure"]["money"]) == ("errors", None)
    for price, each in ((missed, 200), (false, 5)):
        assert price["exposure"]["failed"]
        assert price["exposure"]["days"] > 30
        assert price["exposure"]["money"] == pytest.approx(each * price["exposure"]["extra"])
    assert missed["exposure"]["extra"] == pytest.approx(missed["exposure"]["requests"] * 0.002 * 3.5, rel=0.001)
    assert found["assumed"]["fraud_rate"] == 0.02
    assert found["completion_days"] > 30
    assert any("less than a day" in warning for warning in found["warnings"])
    explored = found["exploration"]
    assert explored["money"] == pytest.approx(explored["frauds"] * 50)
    assert [decision["metric"] for decision in explored["decisions"]] == ["false_positives"]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (["--harm", "0.5"], 1),
        (["--loss", "-1"], 1),
        (["--fraud-rate", "0.0001"], 1),
        (["--explore", "0.5"], 1),
        (["--explore", "0"], 2),
        (["--explore", "101"], 2),
    ],
)
def test_what_cannot_be_priced_is_refused(file: str, wrong: list[str], code: int) -> None:
    """A value out of range, and exploration without any traffic, are named with the fix."""
    told = CliRunner().invoke(main, ["plan", "check", file, *wrong])
    assert told.exit_code == code
    assert "Traceback" not in told.output + told.stderr


def shown(found: PlanCheck, width: int) -> list[str]:
    """The lines that a terminal of this width shows."""
    console = Console(width=width, highlight=False, record=True, force_terminal=False)
    with console.capture() as captured:
        console.print(plans.plan_check(found))
    return captured.get().splitlines()


@pytest.mark.parametrize("traffic", [None, 50.0])
def test_a_terminal_of_80_columns_holds_it(traffic: float | None) -> None:
    """No number of any table is broken, and warnings stand out."""
    guardrails = [Guardrail(Metric.MISSED_FRAUD, margin=0.5), Guardrail(Metric.FALSE_POSITIVES, margin=0.5)]
    plan = Plan(guardrails=guardrails, label_maturity="30d", advance_unlabelled=True)
    found = check_plan(plan, traffic=traffic, explore=None if traffic is None else 0.5)
    lines = shown(found, 80)
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if "│ missed_fraud" in line]
    assert len(rows) == 2
    exposure = found.prices[0].exposure
    if exposure is None:
        assert f"{found.prices[0].fails:,}" in rows[1]
    else:
        assert exposure.extra is not None
        assert exposure.money is not None
        for number in (exposure.requests, exposure.extra, exposure.money):
            assert f"{number:,.0f}" in rows[1]
        assert any("Exploration lets 432 of 86,400 alerts a day pass" in line for line in lines)
    assert sum(line.startswith("WARNING: ") for line in lines) == len(found.warnings) > 0
