"""Fixtures of the specification: two database sessions, the sample, and models to work with."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from fds_mlflow import ManagedModel, OutcomeStore
from fds_mlflow.data.transactions import load
from fds_mlflow.features.defaults import default_spec
from fds_mlflow.features.table import FeatureTable, compute
from fds_mlflow.outcomes.aio import AsyncOutcomeStore
from fds_mlflow.simulator import simulate
from fds_mlflow.training import pipeline
from fds_mlflow.training.split import Split, stratified
from tests.conftest import one_at_a_time
from tests.support.places import pointing_at

MODEL = "fraud"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is an integration test; the quick run trains once and leaves out the four versions."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)
            if "trained_registry" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.slow)


@pytest.fixture
def sync_outcomes() -> Iterator[OutcomeStore]:
    """The outcome store on SQLite in memory, synchronous."""
    with OutcomeStore("sqlite://") as store:
        yield store


@pytest.fixture
def sync_db_session(sync_outcomes: OutcomeStore) -> Iterator[Session]:
    """A synchronous database session; the schema is there."""
    with sync_outcomes.session() as session:
        yield session


@pytest.fixture
async def async_outcomes() -> AsyncIterator[AsyncOutcomeStore]:
    """The outcome store on SQLite in memory, asynchronous."""
    store = AsyncOutcomeStore("sqlite://")
    yield store
    await store.close()


@pytest.fixture
async def async_db_session(async_outcomes: AsyncOutcomeStore) -> AsyncIterator[AsyncSession]:
    """An asynchronous database session; the schema is there."""
    await async_outcomes.recent(MODEL)  # opens the store, which creates the schema
    async with async_outcomes.session() as session:
        yield session


@pytest.fixture(scope="session")
def sample_training_data() -> pd.DataFrame:
    """The specification's sample: 1,000 transactions, 800 genuine and 200 fraudulent."""
    return simulate.sample()


@pytest.fixture(scope="session")
def sample_features(sample_training_data: pd.DataFrame) -> FeatureTable:
    """The sample's features."""
    transactions = load(sample_training_data, "sample")
    return compute(transactions, default_spec(transactions.schema))


@pytest.fixture(scope="session")
def sample_split(sample_features: FeatureTable) -> Split:
    """The sample, cut stratified into 60 % training, 20 % validation and 20 % test."""
    return stratified(sample_features, (0.6, 0.2, 0.2))


@pytest.fixture(scope="session")
def trained_registry(shared_folder: Path, migrated_database: Path, sample_split: Split) -> Path:
    """A SQLite registry with four versions: an Isolation Forest, champion, and a LightGBM as 2, staged, 3 and 4.

    It is made once for all processes; every test works on a copy of the database, and reads the artifacts in place.
    """
    folder = shared_folder / "trained"
    with one_at_a_time(shared_folder / "trained.lock"):
        if not (folder / "ready").exists():
            folder.mkdir()
            shutil.copyfile(migrated_database, folder / "mlflow.db")
            with pointing_at(f"sqlite:///{folder / 'mlflow.db'}") as uri:
                _train_and_stage(uri, folder, sample_split)
            (folder / "ready").touch()
    return folder


def _train_and_stage(uri: str, folder: Path, split: Split) -> None:
    mlflow.create_experiment(f"fds/{MODEL}", artifact_location=(folder / "artifacts").as_uri())
    pipeline.train(split, algorithm="isolation_forest", model_name=MODEL)
    params = {"n_estimators": 60, "num_leaves": 4}
    boosted = pipeline.train(split, algorithm="lightgbm", params=params, model_name=MODEL)
    client = mlflow.MlflowClient()
    known = dict(client.get_model_version(MODEL, str(boosted.version)).tags)
    for _ in range(2):  # nothing here tells later versions apart by their scores
        client.create_model_version(MODEL, source=boosted.model_uri, run_id=boosted.run_id, tags=known)
    with OutcomeStore("sqlite://") as outcomes:
        model = ManagedModel(MODEL, tracking_uri=uri, registry_uri=uri, outcomes=outcomes, actor="tester")
        model.promote(1, reason="first production model")
        model.stage(2, reason="candidate")


@dataclass(frozen=True)
class Setup:
    """A registry with a production and a staging model."""

    model: ManagedModel
    production: int
    staging: int
    uri: str


@pytest.fixture
def setup_models(trained_registry: Path, tmp_path: Path, sync_outcomes: OutcomeStore) -> Setup:
    """Version 1 in production, version 2 in staging, versions 3 and 4 registered."""
    copy = tmp_path / "mlflow.db"
    shutil.copyfile(trained_registry / "mlflow.db", copy)
    uri = f"sqlite:///{copy}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    model = ManagedModel(MODEL, tracking_uri=uri, registry_uri=uri, outcomes=sync_outcomes, actor="tester")
    return Setup(model, production=1, staging=2, uri=uri)
