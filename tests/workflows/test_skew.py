"""Skew: what was served beside what the batch gives for the same transactions, and beside the training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from fds_mlflow import ManagedModel, OutcomeStore, Plan
from fds_mlflow.cli.main import main
from fds_mlflow.data.transactions import load
from fds_mlflow.errors import NotFoundError
from fds_mlflow.features import profile
from fds_mlflow.features.spec import Expression, FeatureSpec, Gap, Window
from fds_mlflow.features.table import compute
from fds_mlflow.outcomes.records import Vector
from fds_mlflow.rollouts.record.recorder import RolloutRecorder
from fds_mlflow.rollouts.report.report import render
from fds_mlflow.serving.router import Router
from fds_mlflow.simulator import simulate
from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import stratified
from fds_mlflow.workflows import feature_state
from fds_mlflow.workflows.skew import skew
from fds_mlflow.workflows.source import Source
from tests.support.samples import NOON, outcome
from tests.support.served import Served, until

SPEC = FeatureSpec(
    numeric=("amount",),
    categorical=("country",),
    windows=(
        Window(entity="card", aggregate="count", windows=("1h", "7d")),
        Window(entity="card", aggregate="mean", windows=("7d",)),
        Window(entity="merchant", aggregate="count", windows=("7d",)),
    ),
    gaps=(Gap(entity="card"),),
    expressions=(Expression(name="to_mean", of="amount / card_mean_amount_7d"),),
)
ROWS = 600

pytestmark = pytest.mark.slow  # MLflow gets a run and a version


@dataclass
class World:
    """A model whose champion was served raw transactions."""

    model: ManagedModel
    uri: str
    folder: Path
    raw: pd.DataFrame

    @property
    def data(self) -> Source:
        """All transactions, as a file."""
        return Source(str(self.folder / "history.parquet"), "simulator")

    def serve(self, places: list[int]) -> None:
        """Score transactions in this order, and keep all of their features."""
        with self.router() as router:
            for place in places:
                row = self.raw.iloc[place].drop(["is_fraud", "label_known_at"]).to_dict()
                row = {name: None if pd.isna(value) else value for name, value in row.items()}
                router.score({**row, "time": row["time"].isoformat()})

    def router(self) -> Router:
        """Keeps the features of everything."""
        return self.model.router(state=self.folder / "state", vector_sample=100)


@pytest.fixture
def world(mlflow_uri: str, tmp_path: Path) -> Iterator[World]:
    """Version 1 is champion."""
    raw = simulate.transactions(ROWS, seed=4, fraud_rate=0.1)
    raw.to_parquet(tmp_path / "history.parquet")
    with OutcomeStore(f"sqlite:///{tmp_path}/outcomes.db") as outcomes:
        model = ManagedModel("fraud", outcomes=outcomes)
        table = compute(load(raw, "simulator"), SPEC)
        train(stratified(table), params={"n_estimators": 5}, model_name="fraud")
        model.promote(1)
        feature_state.load(tmp_path / "state", [SPEC], None, complete=True)  # nothing came before: no row is cold
        yield World(model, mlflow_uri, tmp_path, raw)


def test_what_is_served_in_order_is_what_the_batch_gives(world: World) -> None:
    """Every feature of every transaction is the batch's; nothing drifts far from the training on the same rows."""
    world.serve(list(range(ROWS)))
    (found,) = skew(world.model, source=world.data)
    assert found.history is not None
    assert (found.version, found.vectors, found.history.compared, found.history.mismatched) == (1, ROWS, ROWS, 0)
    assert [(one.feature, one.rows, one.differ) for one in found.history.features] == [
        (name, ROWS, 0) for name in SPEC.names
    ]
    assert (found.history.late, found.history.unseen, found.history.absent, found.degraded) == (0, 0, 0, 0)
    assert found.drift.keys() == set(SPEC.names)
    assert max(found.drift.values()) < 0.2
    assert not found.differs


def test_late_and_unseen_transactions_are_counted_and_explain_what_differs(world: World) -> None:
    """What was scored too late, or never, is told by its number beside the features that it makes differ."""
    late, unseen, absent = 100, 200, 300
    order = [place for place in range(ROWS) if place not in (late, unseen)]
    order.insert(400, late)
    world.serve(order)
    world.raw.drop(index=absent).to_parquet(world.folder / "history.parquet")
    (found,) = skew(world.model, source=world.data)
    assert found.history is not None
    assert (found.history.late, found.history.unseen, found.history.absent) == (1, 1, 1)
    assert found.history.compared == ROWS - 2
    batch = compute(load(world.raw.drop(index=absent), "simulator"), SPEC).frame.set_index("transaction_id")
    kept = {one.transaction_id: one.vector.features for one in world.model.outcomes.vectors("fraud")}
    differ = {one.feature: one.differ for one in found.history.features}
    for name in ("card_count_1h", "card_count_7d", "merchant_count_7d"):
        wrong = sum(kept[key][name] != batch.loc[key, name] for key in kept if key in batch.index)
        assert differ[name] == wrong
    assert differ["merchant_count_7d"] > 0
    assert differ["amount"] == differ["country"] == 0


def test_the_verb_tells_it_as_a_table_and_as_json(world: World) -> None:
    """`fds features skew` ends with 0 where nothing differs and with 1 where anything does, and names the feature."""
    world.serve(list(range(50)))
    words = ["--tracking-uri", world.uri, "--outcomes", world.model.outcomes.url, "features", "skew", "fraud"]
    data = ["--data", str(world.folder / "history.parquet"), "--schema", "simulator"]
    alone = CliRunner().invoke(main, [*words, "--json"])
    assert alone.exit_code == 0, alone.output
    (told,) = json.loads(alone.stdout)
    assert (told["vectors"], told["history"], len(told["features"])) == (50, None, len(SPEC.names))
    fine = CliRunner().invoke(main, [*words, *data])
    assert fine.exit_code == 0, fine.output
    assert "0 of 50 compared with the batch differ" in fine.output
    kept = world.model.outcomes.vectors("fraud")[0]
    features = {**kept.vector.features, "card_count_1h": 99.0}
    wrong = outcome(transaction_id=kept.transaction_id, rollout_id=None, vector=Vector(features, {}, "x"))
    world.model.outcomes.record([wrong, replace(wrong, request_id="R9", degraded=True)])
    bad = CliRunner().invoke(main, [*words, *data, "--json"])
    assert bad.exit_code == 1
    (told,) = json.loads(bad.stdout)
    assert (told["vectors"], told["degraded"], told["history"]["mismatched"]) == (51, 1, 1)
    first: dict[str, Any] = told["features"][0]
    assert (first["feature"], first["differ"], first["rows"]) == ("card_count_1h", 1, 51)
    assert first["largest"] == 98.0


def test_a_version_from_before_profiles_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is compared with the batch, and told to be trained again for the rest; without vectors there is an error."""
    with pytest.raises(NotFoundError, match="no features"):
        skew(world.model)
    world.model.outcomes.record([outcome(vector=Vector({"amount": 1.0}), time=NOON)])
    monkeypatch.setattr(profile, "read", lambda _: None)
    (found,) = skew(world.model)
    assert (found.trained_on, found.drift) == (None, {})
    assert "before profiles" in found.note


def test_the_report_of_a_rollout_knows_how_far_features_drifted(world: World) -> None:
    """What was recorded since the rollout began is held against the training of both versions."""
    world.serve(list(range(20)))
    train(stratified(compute(load(world.raw, "simulator"), SPEC)), params={"n_estimators": 3}, model_name="fraud")
    world.model.canary.start(2, plan=Plan([50, 100]), force=True, reason="to see")
    story = RolloutRecorder(world.model.session).story
    assert story().drift == {}
    world.serve(list(range(20, 120)))
    told = story()
    assert told.drift.keys() == {1, 2}
    assert all(drift.keys() == set(SPEC.names) for drift in told.drift.values())
    assert 'id="drift"' in render(told)


@pytest.mark.campaign
def test_what_a_server_was_sent_is_what_the_batch_gives(world: World) -> None:
    """Over HTTP, raw: nothing differs from the batch, and every outcome has its vector, and the reasons it told."""
    options = ("--state", str(world.folder / "state"), "--vector-sample", "100")
    store = world.model.outcomes
    server = Served(world.folder / "server", world.uri, world.folder / "cache", *options, outcomes=store.url)
    try:
        server.ready()
        for place in range(60):
            row = world.raw.iloc[place].drop(["is_fraud", "label_known_at"]).to_dict()
            row = {name: None if pd.isna(value) else value for name, value in row.items()}
            body = {**row, "time": row["time"].isoformat(), "not_of_the_schema": "x"}
            answer = server.client.post("/score?reasons=2", json=body)
            assert answer.status_code == 200, answer.text
            again = server.client.post("/score", json=body)
            assert again.json()["score"] == answer.json()["score"]
        until(lambda: len(store.recent("fraud", limit=200)) == 120, "all outcomes are stored")
    finally:
        server.kill()
    (found,) = skew(world.model, source=world.data)
    assert found.history is not None
    assert (found.vectors, found.history.compared, found.history.mismatched) == (120, 120, 0)
    records = store.recent("fraud", limit=200)
    assert sum(one.reasons is not None for one in records) == 60
    assert len({(one.transaction_id, one.inputs_digest) for one in records}) == 60  # sent again, it is the same
    assert all("not_of_the_schema" not in (one.vector.raw or {}) for one in store.vectors("fraud"))
