"""A trained version brings the codes of its reasons along."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fds_mlflow import ManagedModel
from fds_mlflow.data.schema import Schema
from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import by_time
from tests.support.tables import table

SCHEMA = Schema.of(
    transaction_id="id",
    time="time",
    amount="amount",
    reasons={"amount": {"code": "V01", "text": "an unusual amount"}, "veloc*": {"code": "V02"}, "nosie": {"code": "V"}},
)


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_uri")
def test_a_version_tells_its_reasons_by_the_codes_of_its_schema():
    """Whoever loads the version tells its reasons by the schema's codes, whose misspelled names training has noted."""
    split = by_time(replace(table(), schema=SCHEMA))
    trained = train(split, params={"n_estimators": 20}, model_name="fraud")
    assert trained.version is not None
    assert "reasons of the schema fit no feature: nosie" in trained.notes
    told = ManagedModel("fraud").scorer(trained.version).reasons(table().x.head(1), "all")[0].reasons
    assert {(one.feature, one.code, one.text) for one in told} == {
        ("amount", "V01", "an unusual amount"),
        ("velocity_1h", "V02", "velocity_1h"),
        ("noise", "noise", "noise"),
    }
