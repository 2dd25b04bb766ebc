"""T126: the retraining pipeline, from transactions to a registered and promoted version."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.artifacts import download_artifacts
from sqlalchemy import select
from sqlalchemy.orm import Session

from fds_mlflow import ManagedModel, OutcomeStore
from fds_mlflow.core.comparison import METRICS, Change
from fds_mlflow.features.table import FeatureTable
from fds_mlflow.outcomes.records import CaseRecord
from fds_mlflow.outcomes.tables import FraudCase
from fds_mlflow.training import pipeline
from fds_mlflow.training.split import Split, stratified

from .conftest import MODEL, Setup

RATES = ("accuracy", "precision", "recall", "f1")


def _stage(uri: str, version: int) -> str:
    return str(mlflow.MlflowClient(uri, uri).get_model_version(MODEL, str(version)).current_stage)


def _files(model_uri: str) -> set[str]:
    return {path.name for path in Path(download_artifacts(model_uri)).rglob("*") if path.is_file()}


def _check_reload(trained: pipeline.Trained, rows: pd.DataFrame) -> np.ndarray:
    """Load the model twice; both copies must give the same scores, in [0, 1]."""
    first = mlflow.pyfunc.load_model(trained.model_uri).predict(rows)
    second = mlflow.pyfunc.load_model(f"models:/{MODEL}/{trained.version}").predict(rows)
    assert np.array_equal(first, second)
    assert ((np.asarray(first) >= 0) & (np.asarray(first) <= 1)).all()
    return np.asarray(first)


class TestIsolationForestPipeline:
    """Features, preprocessing, training, prediction, evaluation, saving and loading."""

    @pytest.mark.slow
    def test_isolation_forest_training(
        self,
        sync_db_session: Session,
        sample_training_data: pd.DataFrame,
        sample_features: FeatureTable,
        mlflow_uri: str,
    ) -> None:
        """An Isolation Forest trains on the sample, flags more than 10 % of it, and reloads to the same scores."""
        assert (len(sample_training_data), int(sample_training_data["is_fraud"].sum())) == (1_000, 200)
        assert {"amount", "velocity_1h", "is_foreign_ip", "failed_login_attempts"} <= set(sample_features.features)
        assert not sample_features.frame["amount"].isna().any()
        assert sync_db_session.scalars(select(FraudCase)).all() == []

        split = stratified(sample_features)
        trained = pipeline.train(
            split, algorithm="isolation_forest", target_fpr=0.15, model_name=MODEL, params={"n_estimators": 50}
        )

        assert all(0 <= trained.metrics[name] <= 1 for name in RATES)
        scores = _check_reload(trained, split.test.x)
        assert (scores >= trained.threshold).mean() > 0.10
        assert "MLmodel" in _files(trained.model_uri)
        assert mlflow.get_run(trained.run_id).info.status == "FINISHED"


class TestLightGBMPipeline:
    """Features, preprocessing, splits, early stopping, evaluation, importance, saving and loading."""

    @pytest.mark.slow
    def test_lightgbm_training(
        self,
        sync_outcomes: OutcomeStore,
        sync_db_session: Session,
        sample_features: FeatureTable,
        mlflow_uri: str,
    ) -> None:
        """LightGBM stops early, reports metrics in [0, 1] and importances, and reloads to the same scores."""
        split = stratified(sample_features, (0.6, 0.2, 0.2))
        shares = {name: len(part.frame) for name, part in split.parts.items()}
        assert shares == {"train": 600, "validation": 200, "test": 200}
        assert {name: int(part.y.sum()) for name, part in split.parts.items()} == {
            "train": 120,
            "validation": 40,
            "test": 40,
        }

        most = 500
        trained = pipeline.train(
            split, algorithm="lightgbm", model_name=MODEL, params={"n_estimators": most, "early_stopping_rounds": 20}
        )

        run = mlflow.get_run(trained.run_id)
        assert 0 < int(run.data.params["best_iteration"]) < most, "early stopping never fired"
        assert all(0 <= trained.metrics[name] <= 1 for name in RATES)
        assert trained.metrics["roc_auc"] > 0.7
        scores = _check_reload(trained, split.test.x)
        assert len(scores) == 200
        artifacts = {item.path for item in mlflow.MlflowClient().list_artifacts(trained.run_id)}
        assert any("importance" in path for path in artifacts) or "plots" in artifacts

        today = split.test.frame["time"].max().tz_localize("UTC")
        known = [
            CaseRecord(transaction_id=number, status="confirmed" if fraud else "genuine", known_at=today)
            for number, fraud in zip(split.test.frame["transaction_id"], split.test.y, strict=True)
        ]
        assert sync_outcomes.label(known) == 200
        confirmed = select(FraudCase).where(FraudCase.status == "confirmed")
        assert len(sync_db_session.scalars(confirmed).all()) == 40

    @pytest.mark.slow
    def test_train_test_ratio_is_80_to_20(self, sample_features: FeatureTable) -> None:
        """The stratified split cuts the sample 80:20 exactly, with the same share of fraud on both sides."""
        split = stratified(sample_features, (0.7, 0.1, 0.2))
        learning = len(split.train.frame) + len(split.validation.frame)
        assert (learning, len(split.test.frame)) == (800, 200)
        assert int(split.test.y.sum()) == 40


class TestVersionManagementIntegration:
    """Registration, staging, production, comparison."""

    def test_model_registration_and_versioning(
        self, async_db_session: object, setup_models: Setup, sample_split: Split
    ) -> None:
        """A registered version goes from staging to production, its predecessor is archived, and two are compared."""
        model, uri = setup_models.model, setup_models.uri
        assert [v.version for v in model.overview().versions] == [4, 3, 2, 1]
        assert (_stage(uri, 1), _stage(uri, 2), _stage(uri, 3)) == ("Production", "Staging", "None")

        comparison = model.compare(1, 2, data=sample_split.test, n_boot=100)
        assert tuple(delta.metric for delta in comparison.deltas) == METRICS
        assert all(delta.low <= delta.difference <= delta.high for delta in comparison.deltas)
        assert comparison.deltas[-1].change is Change.IMPROVED, "LightGBM beats the forest on labelled data"

        result = model.promote(2, reason=comparison.reason)
        assert result.changed
        assert (_stage(uri, 1), _stage(uri, 2)) == ("Archived", "Production")
        client = mlflow.MlflowClient(uri, uri)
        assert client.get_model_version_by_alias(MODEL, "champion").version in (2, "2")
        event = model.history()[0]
        assert (event.kind, event.from_version, event.to_version) == ("promote", 1, 2)


class TestEndToEndTrainingPipeline:
    """Data, training, evaluation, deployment."""

    @pytest.mark.slow
    def test_complete_training_workflow(
        self, async_db_session: object, sync_outcomes: OutcomeStore, sample_split: Split, mlflow_uri: str
    ) -> None:
        """Both algorithms are trained and compared on the same rows, and the better one serves by alias."""
        forest = pipeline.train(sample_split, algorithm="isolation_forest", model_name=MODEL)
        boosting = pipeline.train(sample_split, algorithm="lightgbm", model_name=MODEL)
        assert (forest.version, boosting.version) == (1, 2)

        model = ManagedModel(MODEL, outcomes=sync_outcomes, actor="tester")
        comparison = model.compare(1, 2, data=sample_split.test, n_boot=100)
        best = max((forest, boosting), key=lambda trained: trained.metrics["average_precision"])
        assert best.version is not None
        model.stage(best.version, reason="best of two")
        model.promote(best.version, reason=comparison.reason)

        scores = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion").predict(sample_split.test.x)
        assert np.array_equal(scores, mlflow.pyfunc.load_model(best.model_uri).predict(sample_split.test.x))
        served = model.router().predict(sample_split.test.frame)
        assert np.allclose(served["score"], np.asarray(scores).ravel())
        assert (served["flagged"] == (served["score"] >= best.threshold)).all()
