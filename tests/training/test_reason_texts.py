"""A trained version brings the codes of its reasons along."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fds_mlflow import ManagedModel
from fds_mlflow.data.schema import Schema
from fds_mlflow.registry.connection import connect
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.serving.disk.version_cache import VersionCache
from fds_mlflow.serving.host.prepare import prepare
from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import by_time
from tests.support.tables import table

SCHEMA = Schema.of(
    transaction_id="id",
    time="time",
    amount="amount",
    reasons={"amount": {"code": "V01", "text": "an unusual amount"}, "veloc*": {"code": "V02"}, "nosie": {"code": "V"}},
)


CALLED = {
    ("amount", "V01", "an unusual amount"),
    ("velocity_1h", "V02", "velocity_1h"),
    ("noise", "noise", "noise"),
}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["lightgbm", "isolation_forest"])
def test_a_version_tells_its_reasons_by_the_codes_of_its_schema(algorithm: str, mlflow_uri: str, tmp_path: Path):
    """Whoever loads a version, or serves it, tells its reasons alike, by the codes of the schema it learned from."""
    split = by_time(replace(table(), schema=SCHEMA))
    trained = train(split, algorithm=algorithm, params={"n_estimators": 20}, model_name="fraud")
    assert trained.version is not None
    assert "reasons of the schema fit no feature: nosie" in trained.notes
    rows = split.test.x.head(3)
    explanations = ManagedModel("fraud").scorer(trained.version).reasons(rows, "all")
    for one in explanations:
        assert {(reason.feature, reason.code, reason.text) for reason in one.reasons} == CALLED
    cache = VersionCache(tmp_path / "cache", "fraud", mlflow_uri)
    with cache.preparing(trained.version, "identity") as folder:
        prepare(connect(), "fraud", trained.version, folder)
    prepared = cache.prepared(trained.version, "identity")
    assert prepared is not None
    served = Loaded.load(prepared, trained.threshold, 1.0).reasons(list(rows.itertuples(index=False)), "all")
    assert served == explanations
