"""Feature tables for the tests: small, seeded, with as much signal as a test needs."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd

from fds_mlflow.features.table import FeatureSpec, FeatureTable
from fds_mlflow.runtime.text_column import text_column


def table(
    rows: int = 4000,
    *,
    seed: int = 1,
    categorical: bool = False,
    labelled: bool = True,
    fraud_share: float = 0.08,
    days: int = 30,
    delay_days: float | None = None,
) -> FeatureTable:
    """Transactions over some days; frauds are larger, faster and, where asked, of another channel."""
    rng = np.random.default_rng(seed)
    fraud = rng.random(rows) < fraud_share
    start = np.datetime64("2026-01-01T00:00:00", "us")
    time = np.sort(start + rng.integers(0, days * 86_400_000_000, rows).astype("timedelta64[us]"))
    frame = pd.DataFrame(
        {
            "transaction_id": [f"T{index:06d}" for index in range(rows)],
            "time": time,
            "customer": [f"C{number}" for number in rng.integers(0, rows // 10, rows)],
        }
    )
    if labelled:
        frame["label"] = fraud.astype(np.int8)
        if delay_days is not None:
            frame["label_known_at"] = frame["time"] + pd.Timedelta(days=delay_days)
    frame["amount"] = np.exp(rng.normal(3 + 1.2 * fraud, 1))
    frame["velocity_1h"] = rng.poisson(1 + 2.5 * fraud).astype(np.float64)
    frame["noise"] = rng.normal(size=rows)
    frame.loc[rng.random(rows) < 0.05, "noise"] = np.nan
    features = ["amount", "velocity_1h", "noise"]
    if categorical:
        channel = np.where(rng.random(rows) < 0.3 + 0.4 * fraud, "web", "shop")
        frame["channel"] = text_column(channel)
        features.append("channel")
    numeric = tuple(name for name in features if name != "channel")
    return FeatureTable(
        frame=frame,
        features=features,
        categorical=["channel"] if categorical else [],
        spec=FeatureSpec(numeric=numeric, categorical=("channel",) if categorical else ()),
        digest=f"{seed:032x}",
        source="the tests",
        period=(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 31, tzinfo=UTC)),
    )
