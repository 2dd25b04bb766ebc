"""Drift of a version from its training: as a verdict with an exit code, as a run, and of what was served."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from fds_mlflow import ManagedModel
from fds_mlflow.cli.main import main
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.data.transactions import load
from fds_mlflow.errors import NotFoundError
from fds_mlflow.features import profile
from fds_mlflow.features.spec import FeatureSpec, Window
from fds_mlflow.features.table import compute
from fds_mlflow.outcomes.records import Vector
from fds_mlflow.simulator import simulate
from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import by_time
from fds_mlflow.workflows.drifting.drift import drift
from fds_mlflow.workflows.source import Source
from tests.support.samples import outcome

pytestmark = pytest.mark.slow  # MLflow gets a run and a version

SPEC = FeatureSpec(
    numeric=("amount", "account_age_days"),
    categorical=("country",),
    windows=(Window(entity="card", aggregate="count", windows=("7d",)),),
)


@pytest.fixture
def raw(tmp_path: Path) -> pd.DataFrame:
    """Ninety days of transactions, of which version 1 learned the first sixty."""
    return simulate.transactions(12_000, seed=4, fraud_rate=0.05)


@pytest.fixture
def model(raw: pd.DataFrame, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ManagedModel:
    """Version 1 is champion."""
    monkeypatch.chdir(tmp_path)
    old = raw[raw["time"] < raw["time"].min() + pd.Timedelta(days=60)]
    train(by_time(compute(load(old, "simulator"), SPEC)), params={"n_estimators": 10}, model_name="fraud")
    managed = ManagedModel("fraud", outcomes=f"sqlite:///{tmp_path}/outcomes.db")
    managed.promote(1)
    return managed


def write(frame: pd.DataFrame) -> str:
    """A file of transactions."""
    frame.to_parquet("new.parquet")
    return "new.parquet"


def newest(frame: pd.DataFrame, **changes: Any) -> pd.DataFrame:
    """The same transactions, those of the last twenty days changed."""
    new = frame["time"] > frame["time"].max() - pd.Timedelta(days=20)
    return frame.assign(**{name: frame[name].where(~new, change(frame[name])) for name, change in changes.items()})


def fds(*words: str) -> Result:
    """A call of the command line."""
    return CliRunner().invoke(main, list(words))


def test_what_has_not_changed_is_no_reason_and_what_has_is_named(model: ManagedModel, raw: pd.DataFrame) -> None:
    """Exit code 0, and 3 with the column's name and both numbers; the run has metrics, the table and the plot."""
    import mlflow

    same = fds("drift", "fraud", "--data", write(raw), "--schema", "simulator", "--since", "20d", "--json")
    assert same.exit_code == 0, same.output
    assert json.loads(same.stdout)["status"] == "PASS"
    shifted = write(newest(raw, amount=lambda one: one * 4, country=lambda _: "Zürich | *x*"))
    found = fds("drift", "fraud", "--data", shifted, "--schema", "simulator", "--since", "20d", "--json")
    assert found.exit_code == 3, found.output
    value = json.loads(found.stdout)
    named = [one["name"] for one in value["changes"] if one["status"] == "FAIL"]
    assert {"amount", "country"} <= set(named)
    assert named.index("amount") < 4
    assert "card_count_7d" not in named
    assert value["rows"] == int((raw["time"] > raw["time"].max() - pd.Timedelta(days=20)).sum())
    run = mlflow.get_run(value["run_id"])
    assert run.data.tags["fds.drift"] == "FAIL"
    assert run.data.metrics["drifted"] == len(named)
    assert run.data.metrics["stability_index/amount"] == next(
        one["effect"] for one in value["changes"] if one["name"] == "amount"
    )
    files = {item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert {"drift.json", "plots"} <= files
    assert r"Zürich \| \*x\*" in run.data.tags["mlflow.note.content"]


def test_few_rows_are_never_a_silent_ok(model: ManagedModel, raw: pd.DataFrame) -> None:
    """Exit code 4 for a hundred rows; the sentence says that they are too few."""
    last = raw.sort_values("time")["time"].iloc[-100]
    data = write(raw[raw["time"] >= last])
    found = fds("drift", "fraud", "--data", data, "--schema", "simulator", "--since", "30d")
    assert found.exit_code == 4, found.output
    assert "NODATA: the rows are too few to tell" in found.output


def test_windows_that_reach_back_before_the_data_are_no_drift(model: ManagedModel, raw: pd.DataFrame) -> None:
    """New transactions without those before them: what rests on windows has no answer, and a note says so."""
    last = raw["time"].max() - pd.Timedelta(days=3)
    found = drift(model, Source(write(raw[raw["time"] > last]), "simulator"), since=timedelta(days=3))
    assert found.status is Status.NODATA
    assert {one.name for one in found.changes if "reach back" in one.reason} == {
        "card_count_7d", "score", "flagged rate"
    }  # fmt: skip
    assert any("give older transactions as well" in note for note in found.notes)


def test_a_rise_of_fraud_is_seen_in_mature_labels(model: ManagedModel, raw: pd.DataFrame) -> None:
    """Rows whose labels cannot be known yet do not count as genuine: the rate is that of the newest mature ones."""
    (rate,) = [one for one in drift(model, Source(write(raw), "simulator")).changes if one.name == "fraud rate"]
    assert rate.status is not Status.FAIL
    end = raw["time"].max()
    old = (raw["time"] > end - pd.Timedelta(days=45)) & (raw["time"] < end - pd.Timedelta(days=10))
    more = raw["is_fraud"].where(~(old & (np.arange(len(raw)) % 3 == 0)), 1)
    known = raw["label_known_at"].fillna(raw["time"] + pd.Timedelta(days=1))
    found = drift(model, Source(write(raw.assign(is_fraud=more, label_known_at=known)), "simulator"))
    assert "fraud rate" in [one.name for one in found.drifted]


def test_data_without_labels_are_compared_where_no_feature_needs_them(model: ManagedModel, raw: pd.DataFrame) -> None:
    """New transactions have no labels yet: inputs and scores are compared all the same."""
    found = drift(model, Source(write(raw.drop(columns=["is_fraud", "fraud_type", "label_known_at"]))))
    assert found.status is Status.PASS
    assert "fraud rate" not in [one.name for one in found.changes]
    assert {"score", "flagged rate"} <= {one.name for one in found.changes}


def test_what_was_served_is_compared_without_data(model: ManagedModel, raw: pd.DataFrame) -> None:
    """Recorded vectors are the rows; degraded ones are left out, and without any the fix is named."""
    with pytest.raises(NotFoundError, match="vector-sample"):
        drift(model)
    table = compute(load(raw, "simulator"), SPEC)
    rows = table.x.tail(1_000).to_dict("records")
    now = model.session.now()

    def record(degraded: bool, factor: float) -> None:
        model.outcomes.record(
            [
                outcome(
                    rollout_id=None,
                    weight=0,
                    version=1,
                    time=now,
                    degraded=degraded,
                    key=f"{degraded}{factor}{place}",
                    vector=Vector({**row, "amount": row["amount"] * factor}, None, None),
                )
                for place, row in enumerate(rows)
            ]
        )

    record(False, 1.0)
    record(True, 50.0)
    found = drift(model)
    assert (found.status, found.rows, found.source) == (Status.PASS, 1_000, "outcomes:fraud")
    assert any("labels_mature" in note for note in found.notes)
    record(False, 30.0)
    assert "amount" in [one.name for one in drift(model).drifted]


def test_an_earlier_version_is_compared_by_the_test_rows_of_its_run(
    model: ManagedModel, raw: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a profile the logged test rows stand for the training, which is said; without either the fix is named."""
    monkeypatch.setattr(profile, "read", lambda _: None)
    shifted = Source(write(newest(raw, amount=lambda one: one * 4)), "simulator")
    found = drift(model, shifted, since=timedelta(days=20))
    assert "amount" in [one.name for one in found.drifted]
    assert any("test rows of its run stand for it" in note for note in found.notes)
    from fds_mlflow.workflows.drifting import drift as module

    monkeypatch.setattr(module, "read_test_set", lambda *_: None)
    with pytest.raises(NotFoundError, match="no profile"):
        drift(model, Source(write(raw), "simulator"))


def test_what_cannot_be_compared_is_refused_with_its_fix(model: ManagedModel, raw: pd.DataFrame) -> None:
    """A limit of 0, another model's outcomes, a model without a champion."""
    for words, said in (
        (["--limit", "0"], "the limit of 0"),
        (["--data", "outcomes:other"], "is not what 'fraud' was served"),
        (["--since", "soon"], "--since"),
    ):
        result = fds("drift", "fraud", *words)
        assert result.exit_code in (1, 2)
        assert said in result.stderr
