"""The shipped schemas read the published data sets they are for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fds_mlflow.data.transactions import load
from fds_mlflow.features.table import compute, default_spec
from tests.support.places import DATA

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the published data sets are not in {DATA}"),
]


@pytest.mark.slow
def test_the_handbook_schema_reads_the_handbook() -> None:
    """718,601 transactions, 0.9 % fraud, each label known seven days later."""
    found = load(DATA / "handbook" / "raw_2018-06-01_2018-08-14.parquet", "handbook")
    assert len(found) == 718_601
    assert found.frame["label"].mean() == pytest.approx(0.009, abs=0.0005)
    assert found.frame["customer"].nunique() == 4_968
    delay = found.frame["label_known_at"] - found.frame["time"]
    assert delay.dt.days.eq(7).all()
    assert found.period == (
        datetime(2018, 6, 1, 0, 1, 11, tzinfo=UTC),
        datetime(2018, 8, 14, 23, 59, 43, tzinfo=UTC),
    )


def test_the_ulb_schema_reads_the_card_transactions() -> None:
    """All 492 frauds and 28 components, and features although there are neither ids nor entities."""
    found = load(DATA / "ulb" / "creditcard_492fraud_1230genuine.csv.gz", "ulb")
    assert len(found) == 1_722
    assert found.frame["label"].sum() == 492
    table = compute(found, default_spec(found.schema))
    assert [f"V{i}" for i in range(1, 29)] == table.features[1:29]
    assert not table.x.isna().any(axis=None)
