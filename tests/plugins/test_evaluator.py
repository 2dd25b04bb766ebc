"""MLflow's evaluator `fds`: whatever scores fraud is measured, and logged, as our own trainings are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from fds_mlflow_plugins.evaluator import FraudEvaluator
from mlflow.data.evaluation_dataset import EvaluationDataset
from mlflow.exceptions import MlflowException
from mlflow.models import EvaluationResult, evaluate

from fds_mlflow.training import evaluation
from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import by_time
from tests.support.tables import table

N = 400

HOSTILE = "\x1b[31m<b>"


def rows(**more: Any) -> pd.DataFrame:
    """Transactions of customers over some days, with labels that the score tells apart for the most part."""
    random = np.random.default_rng(7)
    fraud = (random.random(N) < 0.1).astype(int)
    score = np.clip(random.normal(0.25 + 0.4 * fraud, 0.15), 0, 1)
    made = {
        "amount": random.lognormal(3, 1, N),
        "customer": random.integers(0, 60, N),
        "time": pd.Timestamp("2026-03-01") + pd.to_timedelta(np.sort(random.uniform(0, 5, N)), unit="D"),
        "channel": random.choice(["web", "shop", HOSTILE], N),
        "score": score,
        "label": fraud,
    }
    return pd.DataFrame({**made, **more})


def measured(data: Any, model: Any = None, *, config: dict[str, Any] | None = None, **more: Any) -> EvaluationResult:
    """What MLflow says after an evaluation in a run of its own, or in the active one."""
    given = {"targets": "label", "predictions": None if model is not None else "score", **more}
    return evaluate(model, data, model_type="fraud", evaluators="fds", evaluator_config=config, **given)


def refused(data: Any, config: dict[str, Any], says: str, *, model: Any = None, **more: Any) -> None:
    """The evaluator refuses what MLflow hands to it, with MLflow's code for a wrong value and a fix."""
    given = {"targets": "label", "predictions": "score" if model is None else None, **more}
    column = given["predictions"]
    dataset = EvaluationDataset(data, targets=given["targets"], predictions=None if model is not None else column)
    with pytest.raises(MlflowException, match=says) as error:
        FraudEvaluator().evaluate(
            dataset=dataset, run_id="", evaluator_config=config, model=model, predictions=column if model else None
        )
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"
    assert "\nFix: " in error.value.message


def test_a_column_of_scores_is_measured_as_a_training_is(mlflow_uri: str, tmp_path: Path) -> None:
    """Metrics have the names and values of a training's, money and calibration come beside them, tables have intervals
    and segments, hostile names are text, and all of it is in the run.
    """
    data = rows()
    with mlflow.start_run() as run:
        found = measured(data, config={"threshold": 0.5, "review_cost": 1.0})
    y, score = data["label"].to_numpy(), data["score"].to_numpy()
    expected = evaluation.metrics(y, score, 0.5, customer=data["customer"], time=data["time"])
    assert {name: found.metrics[name] for name in expected} == pytest.approx(expected)
    assert {"calibration_error", *expected, "money_lost", "money_recall", "savings"} == found.metrics.keys()
    logged = mlflow.get_run(run.info.run_id).data
    assert logged.metrics == pytest.approx(found.metrics)
    assert logged.tags["fds.evaluation.threshold"] == "given"
    assert "fds.package_version" in logged.tags
    assert {"figures", "segments", "calibration"} <= found.tables.keys()
    assert set(found.tables["segments"]["by"]) == {"channel", "amount", "time"}
    assert HOSTILE in set(found.tables["segments"]["segment"])
    plots = [item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id, "plots")]
    assert plots == [f"plots/{name}.png" for name in ("calibration", "precision_recall", "roc", "score_distribution")]
    found.save(tmp_path / "kept")
    assert EvaluationResult.load(tmp_path / "kept").artifacts.keys() == found.artifacts.keys()


def test_an_evaluation_again_replaces_its_tables(mlflow_uri: str) -> None:
    """A second evaluation in a run has its own figures; a prefix keeps both. A function, and a frame with a named
    column, are models.
    """
    data, answer = rows(), pd.DataFrame({"other": 1 - rows()["score"], "risk": rows()["score"]})
    with mlflow.start_run():
        first = measured(data, config={"threshold": 0.5})
        before = first.tables["figures"]["value"].tolist()
        again = measured(data, lambda _: answer, predictions="risk", config={"threshold": 0.9})
        after = again.tables["figures"]["value"].tolist()
        assert len(after) == len(before)
        assert after != before
        plain = measured(
            data[["amount"]].to_numpy(),
            lambda _: np.stack([1 - data["score"], data["score"]], axis=1),
            targets=data["label"].to_numpy(),
            feature_names=["amount"],
            config={"threshold": 0.5, "metric_prefix": "val_"},
        )
        assert plain.metrics["val_recall"] == first.metrics["recall"]
        assert {"val_figures", "val_money_lost"} <= {*plain.tables, *plain.metrics}


@pytest.mark.slow
def test_somebody_elses_run_is_comparable_with_ours(mlflow_uri: str) -> None:
    """Evaluated on the test part, the model of a training has the very figures that the training logged, at its own
    threshold; a model of other code gets figures of the same names.
    """
    from sklearn.linear_model import LogisticRegression

    split = by_time(table())
    trained = train(split, params={"n_estimators": 10})
    test = split.test
    data = test.x.assign(label=test.y, customer=test.frame["customer"], time=test.frame["time"])
    with mlflow.start_run() as run:
        ours = measured(data, trained.model_uri)
    shared = {name: value for name, value in trained.metrics.items() if not name.startswith("val_")}
    assert {name: ours.metrics[name] for name in shared} == pytest.approx(shared)
    assert mlflow.get_run(run.info.run_id).data.tags["fds.evaluation.threshold"] == "of the logged model"
    fitted = LogisticRegression().fit(split.train.x.fillna(0), split.train.y)
    names = list(split.train.features)
    theirs = measured(data, lambda given: fitted.predict_proba(given[names].fillna(0)), config={"target_fpr": 0.02})
    assert theirs.metrics.keys() == ours.metrics.keys()
    assert theirs.metrics["false_positive_rate"] <= 0.02


UNMEASURABLE: tuple[tuple[pd.DataFrame, dict[str, Any], str], ...] = (
    (rows(label=np.nan), {}, "400 of 400 labels are neither 0 nor 1"),
    (rows(label="fraud"), {}, "neither 0 nor 1"),
    (rows(label=0), {}, "0 of 400 rows are fraud"),
    (rows(score=np.nan), {}, "scores such as nan"),
    (rows(score=1.5), {}, "scores such as 1.5"),
    (rows(score=1), {}, "which are classes"),
    (rows(score="high"), {}, "no numbers"),
    (rows(amount=-1.0), {}, "amounts are negative"),
    (rows(time="yesterday?"), {}, "times cannot be read"),
    (rows(time=5), {}, "times are numbers"),
    (rows(), {"customer": "card"}, "no columns 'card'"),
    (rows(), {"segments": ["country\x1b[2J"]}, r"no columns 'country\\x1b\[2J'"),
    (rows(), {"treshold": 0.5}, "evaluator_config has 'treshold'"),
    (rows(), {"threshold": 2}, "the threshold is 2"),
    (rows(), {"threshold": "0.5"}, "threshold is '0.5'"),
    (rows(), {"target_fpr": 1}, "target false positive rate is 1"),
    (rows(), {"review_cost": -1}, "a review costs -1"),
    (rows().drop(columns="amount"), {"review_cost": 1}, "amounts are not known"),
    (rows(), {"metric_prefix": "../"}, "metric_prefix is"),
    (rows(), {"seed": -1}, "seed"),
)


def test_what_cannot_be_measured_is_said_with_its_fix() -> None:
    """Rows, scores and settings that are none are MLflow's error for a wrong value, before anything is logged."""
    for data, config, says in UNMEASURABLE:
        refused(data, config, says)
    refused(rows(), {}, "no labels", targets=None)
    refused(rows(), {}, "neither a model nor a column of scores", predictions=None)
    for answer, says in (
        (lambda _: 1 / 0, "ZeroDivisionError"),
        (lambda _: np.ones(3), r"\(3,\) values for 400 rows"),
        (lambda _: pd.DataFrame({"risk": np.full(N, 0.5)}), "no column 'score'"),
    ):
        refused(rows(), {}, says, model=SimpleNamespace(predict=answer), predictions="score")


def test_nobody_is_evaluated_who_did_not_ask() -> None:
    """Evaluations of classifiers go on as before, unless their configuration asks for ours as well."""
    asks = FraudEvaluator().can_evaluate
    assert not asks(model_type="classifier", evaluator_config={})
    assert not asks(model_type=None, evaluator_config=None)
    assert asks(model_type="fraud", evaluator_config=None)
    assert asks(model_type="classifier", evaluator_config={"fraud": True})


def test_loading_the_evaluator_is_light() -> None:
    """MLflow loads it while it is being imported: it brings nothing of ours, nor NumPy, with it."""
    code = (
        "import sys, fds_mlflow_plugins.evaluator\n"
        "sys.exit(any(name.split('.')[0] in ('fds_mlflow', 'mlflow', 'numpy') for name in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_mlflow_lists_it() -> None:
    """Installed, MLflow knows the evaluator by its name."""
    from mlflow.models.evaluation.base import list_evaluators

    assert "fds" in list_evaluators()
