"""What the feature engine needs of a canonical frame, in memory and stretch by stretch alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.engines import duckdb_sql
from fds_mlflow.features.spec import FeatureSpec


def column_kinds(frame: pd.DataFrame, schema: Schema | None, spec: FeatureSpec) -> dict[str, str]:
    """What each column of a canonical frame is: key, entity, numeric, categorical or label.

    Without a schema, text columns are entities unless the specification takes them as categorical.

    Raises:
        ConfigError: The frame is not in canonical columns.
    """
    missing = [name for name in ("transaction_id", "time", "amount") if name not in frame.columns]
    if missing not in ([], ["amount"]):  # there are transactions without an amount
        raise ConfigError(
            f"the frame has no column {', '.join(missing)}",
            fix="give canonical columns: the frame of fds_mlflow.data.transactions.load(...)",
        )
    kinds = {}
    for name in frame.columns:
        if name in ("transaction_id", "time"):
            kinds[name] = "key"
        elif name in ("label", "label_known_at", "label_propensity"):
            kinds[name] = "label"
        elif pd.api.types.is_numeric_dtype(frame[name].dtype):
            kinds[name] = "numeric"
        elif schema is not None:
            kinds[name] = "entity" if name in schema.entities else "categorical"
        else:
            own = name in spec.categorical and name not in duckdb_sql.entities(spec)
            kinds[name] = "categorical" if own else "entity"
    return kinds


def keys(kinds: dict[str, str]) -> list[str]:
    """The columns that go before the features: ids, times, entities and labels, in the frame's order."""
    return [name for name, kind in kinds.items() if kind in ("key", "entity", "label")]


def plain_features(frame: pd.DataFrame, spec: FeatureSpec) -> dict[str, pd.Series[Any]]:
    """What needs no other row: numeric columns, also of expressions, and flags (float64), categorical columns (str)."""
    local = frame["time"]
    if spec.time_zone is not None:
        local = local.dt.tz_localize("UTC").dt.tz_convert(spec.time_zone)
    found: dict[str, pd.Series[Any]] = {name: frame[name].astype(np.float64) for name in (*spec.numeric, *spec.inputs)}
    for flag in spec.flags:
        true = local.dt.day_of_week >= 5 if flag.flag == "weekend" else local.dt.hour <= 6
        found[flag.feature] = true.astype(np.float64)
    return found | {name: frame[name] for name in spec.categorical}


def staged(frame: pd.DataFrame, spec: FeatureSpec, first_row: int = 0) -> pa.Table:
    """The columns the queries need: row number, time in microseconds, entities, aggregated columns, labels."""
    columns: dict[str, Any] = {
        "row": pa.array(np.arange(first_row, first_row + len(frame))),
        "ts": pa.array(_micros(frame["time"])),
    }
    for name, column in duckdb_sql.inputs(spec).items():
        columns[column] = pa.array(frame[name], from_pandas=True)
    if spec.uses_labels:
        columns["label"] = pa.array(frame["label"], from_pandas=True)
        known = frame["label_known_at"] if "label_known_at" in frame else frame["time"]
        columns["known"] = pa.array(_micros(known), mask=known.isna().to_numpy())
    return pa.table(columns)


def _micros(time: pd.Series[pd.Timestamp]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return time.to_numpy().astype("datetime64[us]").astype(np.int64)
