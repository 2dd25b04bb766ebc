"""Raw transactions one at a time, against the table that a training computes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fds_mlflow.data.schema import Schema
from fds_mlflow.data.single import Single
from fds_mlflow.data.transactions import load
from fds_mlflow.features.spec import Expression, FeatureSpec, Flag, Gap, Window
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.memory import MemoryStore
from fds_mlflow.features.state.state import State
from fds_mlflow.features.table import compute
from fds_mlflow.features.vector import Vector, arriving
from fds_mlflow.simulator import simulate

SPEC = FeatureSpec(
    numeric=("amount", "account_age_days"),
    flags=(Flag(flag="weekend"), Flag(flag="night")),
    windows=(
        Window(entity="card", aggregate="count", windows=("1h", "7d")),
        Window(entity="card", aggregate="mean", windows=("30d",)),
        Window(entity="merchant", aggregate="distinct", of="customer", windows=("7d",)),
    ),
    gaps=(Gap(entity="card"),),
    expressions=(
        Expression(name="to_mean", of="amount / card_mean_amount_30d"),
        Expression(name="surprise", of="log(to_mean) + weekend - failed_login_attempts"),
    ),
    categorical=("country", "payment_method"),
    hidden=("card_mean_amount_30d",),
    time_zone="Asia/Seoul",
)


@pytest.mark.slow
def test_a_raw_transaction_gets_the_row_that_training_computes() -> None:
    """Numbers, flags of the zone, windows, gaps, expressions and categories: all of a row, in the model's order."""
    raw = simulate.transactions(1_500, seed=7)
    transactions = load(raw, "simulator")
    schema: Schema = transactions.schema
    table = compute(transactions, SPEC)
    layout = Layout.of([SPEC])
    state, reader, vector = State(MemoryStore(), layout), Single(schema), Vector(SPEC, layout)
    sent = raw.assign(time=raw["time"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")).to_dict("records")
    for row, wanted in zip(sent, table.x.to_dict("records"), strict=True):
        values = reader.read(row)
        found: dict[str, Any] = state.arrive(arriving(schema, values), lambda a, v=values: vector.features(v, a))  # type: ignore[misc]
        assert list(found) == table.features
        for name, value in wanted.items():
            if isinstance(value, str):
                assert found[name] == value
            else:
                assert found[name] == pytest.approx(value, rel=1e-9, nan_ok=True), name
    assert any(math.isnan(row["card_gap"]) for row in table.x.to_dict("records"))
