"""The dashboard and the alert rules ask for what servers and rollouts tell, and the rules fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from fds_mlflow import Plan
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.rollouts.gauges import RolloutGauges
from fds_mlflow.serving.http.app import App
from fds_mlflow.serving.inputs import sample
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.support.places import ROOT
from tests.support.rollout_ticks import PLAN, Trial
from tests.support.version_caches import table, version_cache

DASHBOARD = ROOT / "docs" / "grafana.json"
RULES = ROOT / "docs" / "alerts.yaml"
RUNBOOK = ROOT / "docs" / "runbook.md"
CASES = ROOT / "tests" / "docs" / "alerts.yaml"


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[str]:
    """The queries of the dashboard."""
    return [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]


def unknown(queries: list[str], told: str) -> set[str]:
    """Which metrics of some queries are in none of these answers of a server, and which labels and values."""
    families = list(text_string_to_metric_families(told))
    samples = [sample for family in families for sample in family.samples]
    names = {sample.name for sample in samples}
    labels = {(name, value) for sample in samples for name, value in sample.labels.items()}
    text = " ".join(queries)
    missing = set(re.findall(r"fds_\w+", text)) - names
    grouped = {label for group in re.findall(r"(?:by|on) \(([^)]*)\)", text) for label in group.split(", ")}
    missing |= grouped - {name for name, _ in labels} - {"instance"}  # which Prometheus adds
    for name, value in re.findall(r'(\w+)=~?"([^"]*)"', text):
        told_values = [known for label, known in labels if label == name]
        if not value.startswith("$") and not any(re.fullmatch(value, known) for known in told_values):
            missing.add(f"{name}={value}")
    return missing


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Everything that a server with all that may be watched, and looks at rollouts, tell Prometheus."""
    folder = tmp_path_factory.mktemp("told")
    version_cache(folder).write_table(table(weight=2_500))
    explore = Exploration.of("fraud", 1.0, cap=None, column=None, per_day=None, recorded=True)
    settings = ServerSettings(
        "fraud", "memory:", folder, state=str(folder / "state"), explore=explore, sample=sample(100)
    )
    app = App(settings)
    app.worker.follow()
    settings.version_cache().write_drift({2: {"amount": 0.1}})
    app.worker.metrics.scored("champion", 1, 0.001)
    app.worker.metrics.scored("canary", 2, 0.001)
    for path, status in (("/score", 200), ("/score", 503)):
        app.worker.metrics.responded(path, status)
    app.worker.metrics.degraded["cold"] = 1
    answers = [app.worker.exposition().decode()]
    app.worker.stop()
    trial = Trial(Plan([10, 100], guardrails=PLAN.guardrails, label_maturity="30d", max_step_time="7d"))
    for tick in (trial.tick(), trial.ending(Kind.ABORT)):
        RolloutGauges(folder / "fds.prom")(tick)
        answers.append((folder / "fds.prom").read_text())
    return "\n".join(answers)


def test_every_panel_asks_for_what_is_told(told: str) -> None:
    """Each metric, label and value of the dashboard's queries is among what a server and a rollout tell."""
    assert unknown(panels(), told) == set()
    assert all('model="$model"' in query for query in panels())
    assert unknown(["sum by (pod) (fds_lost{verdict='x',verdict=\"MAYBE\"})"], told) == {
        "fds_lost",
        "pod",
        "verdict=MAYBE",
    }


def test_every_rule_asks_for_what_is_told(told: str) -> None:
    """So does each alert: none of them is silent because nothing has its metric."""
    assert unknown([rule["expr"] for rule in rules()], told) == set()


def test_every_alert_says_what_it_is_and_how_urgent() -> None:
    """One summary, one description, and a severity that says whether somebody is woken."""
    for rule in rules():
        assert rule["alert"].startswith("Fds")
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert {"summary", "description", "runbook_url"} == rule["annotations"].keys()
    assert len({rule["alert"] for rule in rules()}) == len(rules())


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    """The rules' own unit tests leave none out, and have cases in which none fires."""
    cases = yaml.safe_load(CASES.read_text())["tests"]
    expected = [
        sample["labels"]
        for case in cases
        for query in case.get("promql_expr_test", ())
        for sample in query["exp_samples"]
    ]
    assert {re.sub(r'.*"(\w+)".*', r"\1", labels) for labels in expected} == {rule["alert"] for rule in rules()}
    assert sum(query["exp_samples"] == [] for case in cases for query in case.get("promql_expr_test", ())) >= 3


def test_every_alert_has_its_section_in_the_runbook() -> None:
    """The address of each alert leads to a section that says all of it, and no section is of an alert that is gone."""
    text = RUNBOOK.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert [*sections] == sorted(sections, key=[rule["alert"] for rule in rules()].index)
    for rule in rules():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
        said = re.findall(r"^- \*\*(\w+)\*\*: ", sections.pop(rule["alert"]), re.MULTILINE)
        assert said == ["Means", "Customers", "Look", "Do", "Undo", "Wake"]
    assert sections == {}


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Prometheus' own tool, or a skip with the reason."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (apt-get install prometheus)")
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_prometheus_takes_the_rules_and_fires_them() -> None:
    """Its own checker finds no fault, and each alert fires in its case and in no other."""
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules())} rules found" in checked.stdout
    tested = promtool("test", "rules", CASES)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_rule_that_never_fires_is_found(tmp_path: Path) -> None:
    """A threshold out of reach fails the rules' unit tests."""
    spoiled = RULES.read_text().replace("fds_degraded) == 1", "fds_degraded) == 2")
    assert spoiled != RULES.read_text()
    (tmp_path / "rules.yaml").write_text(spoiled)
    cases = yaml.safe_load(CASES.read_text())
    only = [case for case in cases["tests"] if case["name"] == "a server that says so"]
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump({**cases, "rule_files": ["rules.yaml"], "tests": only}))
    assert promtool("test", "rules", tmp_path / "cases.yaml").returncode != 0
