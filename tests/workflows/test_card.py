"""The card of a registered version: its run's figures, its approval, and its files."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner

from fds_mlflow import ManagedModel
from fds_mlflow.cli.main import main
from fds_mlflow.data.transactions import load
from fds_mlflow.features.defaults import default_features
from fds_mlflow.features.table import compute
from fds_mlflow.simulator import simulate
from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import by_time
from fds_mlflow.workflows import card as cards

pytestmark = pytest.mark.slow  # MLflow gets a run and a version


def test_the_card_of_a_version_has_its_runs_figures_and_its_approval(
    mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every figure is the run's metric; the description has them with intervals; who staged it and why is there.

    The files hold their pictures. A version without recorded facts has a card that says what is unknown.
    """
    monkeypatch.chdir(tmp_path)
    transactions = load(simulate.transactions(6_000, seed=2, fraud_rate=0.06), "simulator")
    made = train(
        by_time(compute(transactions, default_features(transactions)[0])),
        params={"n_estimators": 20},
        model_name="fraud",
    )
    model = ManagedModel("fraud", actor="änn")
    model.stage(1, reason="looks | <b>fine</b>")
    client = mlflow.MlflowClient()
    client.update_registered_model("fraud", description="Flags card-not-present fraud.")

    card = cards.card(model, 1)
    metrics = client.get_run(made.run_id).data.metrics
    assert card.facts.figures
    assert all(one.value == metrics[one.name] for one in card.facts.figures)
    assert {one.name for one in card.facts.figures} == {
        name for name in made.metrics if not name.startswith("val_") and name != "threshold"
    }
    assert {part.name: part.rows for part in card.facts.parts} == {name: one.rows for name, one in made.parts.items()}
    assert {one.by for one in card.facts.segments} >= {"country", "amount", "time"}
    assert set(card.pictures) == set(cards.PLOTS)
    assert [event.actor for event in card.events] == ["änn"]

    description = client.get_model_version("fraud", "1").description
    (precision,) = [one for one in card.facts.figures if one.name == "average_precision"]
    assert f"| Average precision | {precision.value:.3f} | {precision.low:.3f} to {precision.high:.3f} |" in description
    assert len(description) < 5_000

    for name in ("card.html", "card.pdf", "card.md", "card.json"):
        done = CliRunner().invoke(main, ["card", "fraud", "1", "--output", name])
        assert done.exit_code == 0, done.output
    page = Path("card.html").read_text()
    assert page.count("data:image/png;base64,") == len(cards.PLOTS)
    assert "looks | &lt;b&gt;fine&lt;/b&gt;" in page
    assert "Flags card-not-present fraud." in page
    assert Path("card.pdf").read_bytes().startswith(b"%PDF-")
    assert json.loads(Path("card.json").read_text())["threshold"] == made.threshold
    refused = CliRunner().invoke(main, ["card", "fraud", "1", "--output", "card.docx"])
    assert refused.exit_code == 1
    assert "card.html, card.pdf or card.md" in refused.stderr

    view, made_later = model.session.version(1), datetime.now(UTC) + timedelta(hours=1)
    monkeypatch.setattr(model.session, "version", lambda _: replace(view, created=made_later))
    assert cards.card(model, 1, pictures=False).events == (), "what was done to a deleted version of its number"
    monkeypatch.setattr(model.session, "version", lambda _: view)

    monkeypatch.setattr(cards.recorded, "FILE", "none.json")
    earlier = cards.card(model, 1, pictures=False)
    assert not earlier.facts.complete
    assert {one.name: one.value for one in earlier.facts.figures} == {one.name: one.value for one in card.facts.figures}
    assert earlier.facts.parts[0].rows == card.facts.parts[0].rows
