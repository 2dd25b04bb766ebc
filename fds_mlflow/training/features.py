"""Point-in-time features, computed by DuckDB: in memory, or from file to file.

A feature of a transaction uses what was known at its time and nothing else: transactions up to and including itself,
and labels that had become known by then. Among transactions of equal time the input order decides: each sees itself
and those before it. `fds_mlflow.training.feature_sql` says how.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.training import feature_sql
from fds_mlflow.training.data import Schema, Transactions, digest, period
from fds_mlflow.training.feature_spec import FeatureSpec, Flag, Gap, Window, default_spec, handbook_spec

__all__ = [
    "FeatureSpec",
    "FeatureTable",
    "Flag",
    "Gap",
    "Window",
    "compute",
    "default_spec",
    "handbook_spec",
]


@dataclass(frozen=True)
class FeatureTable:
    """Features of transactions, one row each, in input order.

    Attributes:
        frame: Key columns (``transaction_id``, ``time``, the entity roles, ``label`` and ``label_known_at`` where there
            are any), then the features: float64, or str for the categorical ones.
        features: Names of the features, in the order in which a model takes them.
        categorical: Those of them that are categorical.
        spec: What they were computed from.
        digest: Digest of the transactions.
        source: Where the transactions came from, for people.
        period: First and last time of the transactions (UTC, aware).
    """

    frame: pd.DataFrame
    features: list[str]
    categorical: list[str]
    spec: FeatureSpec
    digest: str
    source: str
    period: tuple[datetime, datetime]

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def x(self) -> pd.DataFrame:
        """The features: rows x features."""
        return self.frame[self.features]

    @property
    def y(self) -> np.ndarray[Any, np.dtype[np.int8]]:
        """The labels, 0 or 1, one per row.

        Raises:
            DataError: The transactions carry none.
        """
        if "label" not in self.frame:
            raise DataError(f"{self.source} has no labels", fix="name the label column under 'label' in the schema")
        return self.frame["label"].to_numpy(dtype=np.int8)

    def where(self, mask: Any) -> FeatureTable:
        """The rows where a boolean mask (one entry per row) is true; digest and period stay those of the whole."""
        return replace(self, frame=self.frame[np.asarray(mask, dtype=bool)].reset_index(drop=True))


def compute(
    transactions: Transactions | pd.DataFrame, spec: FeatureSpec, *, threads: int | None = None
) -> FeatureTable:
    """Compute features in memory.

    Args:
        transactions: Transactions, or a frame in canonical columns.
        spec: The features.
        threads: Threads for DuckDB; all cores by default.

    Returns:
        One row per transaction, in input order.

    Raises:
        ConfigError: The specification needs a column that is not there.
        DataError: There are no rows.
    """
    if isinstance(transactions, Transactions):
        frame, source, schema = transactions.frame, transactions.source, transactions.schema
        mark, span = transactions.digest, transactions.period
    else:
        frame, source, schema = transactions, "the DataFrame", None
        if frame.empty:
            raise DataError(f"{source} has no rows", fix="give at least one transaction")
        mark, span = digest(frame), period(frame["time"])
    kinds = column_kinds(frame, schema, spec)
    spec.check(kinds, where=source)
    values = _window_values(frame, spec, threads)
    columns: dict[str, Any] = {name: frame[name] for name, kind in kinds.items() if kind in ("key", "entity", "label")}
    local = _local_time(frame["time"], spec.time_zone)
    for name in spec.numeric:
        columns[name] = frame[name].astype(np.float64)
    for flag in spec.flags:
        days_or_hours = local.dt.dayofweek >= 5 if flag.flag == "weekend" else local.dt.hour <= 6
        columns[flag.feature] = days_or_hours.astype(np.float64)
    columns |= values
    for name in spec.categorical:
        columns[name] = frame[name]
    table = pd.DataFrame({name: np.asarray(c) if isinstance(c, np.ndarray) else c.array for name, c in columns.items()})
    return FeatureTable(table, spec.names, list(spec.categorical), spec, mark, source, span)


def column_kinds(frame: pd.DataFrame, schema: Schema | None, spec: FeatureSpec) -> dict[str, str]:
    """What each column of a canonical frame is: key, entity, numeric, categorical or label.

    Without a schema, text columns are entities unless the specification takes them as categorical.

    Raises:
        ConfigError: The frame is not in canonical columns.
    """
    missing = [name for name in ("transaction_id", "time", "amount") if name not in frame.columns]
    if missing:
        raise ConfigError(
            f"the frame has no column {', '.join(missing)}",
            fix="give canonical columns: the frame of fds_mlflow.training.data.load(...)",
        )
    kinds = {}
    for name in frame.columns:
        if name in ("transaction_id", "time"):
            kinds[name] = "key"
        elif name in ("label", "label_known_at"):
            kinds[name] = "label"
        elif pd.api.types.is_numeric_dtype(frame[name].dtype):
            kinds[name] = "numeric"
        elif schema is not None:
            kinds[name] = "entity" if name in schema.entities else "categorical"
        else:
            kinds[name] = "categorical" if name in spec.categorical else "entity"
    return kinds


def _local_time(time: pd.Series[pd.Timestamp], zone: str | None) -> pd.Series[pd.Timestamp]:
    return time if zone is None else time.dt.tz_localize("UTC").dt.tz_convert(zone)


def _window_values(
    frame: pd.DataFrame, spec: FeatureSpec, threads: int | None
) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Every window and gap feature as an array in input order."""
    values = {name: np.full(len(frame), default) for name, default in feature_sql.defaults(spec).items()}
    roles = feature_sql.entities(spec)
    if not roles:
        return values
    import duckdb

    with duckdb.connect(":memory:") as connection:
        connection.execute(f"SET threads = {threads or os.cpu_count() or 1}")
        connection.register("given", staged(frame, spec))
        connection.execute(f"CREATE TABLE tx AS {feature_sql.keyed('given')}")
        stride = feature_sql.stride(connection.execute("SELECT max(tie) FROM tx").fetchone()[0])
        for role in roles:
            for names, query in feature_sql.queries(spec, role, "tx", stride):
                found = connection.execute(query).fetchnumpy()
                rows = found["row"]
                for number, name in enumerate(names):
                    values[name][rows] = np.ma.filled(found[f"f{number}"], np.nan)
    return values


def staged(frame: pd.DataFrame, spec: FeatureSpec, first_row: int = 0) -> pa.Table:
    """The columns the queries need: row number, time in microseconds, entities, aggregated columns, labels."""
    columns: dict[str, Any] = {
        "row": pa.array(np.arange(first_row, first_row + len(frame))),
        "ts": pa.array(_micros(frame["time"])),
    }
    for name, column in feature_sql.inputs(spec).items():
        columns[column] = pa.array(frame[name], from_pandas=True)
    if spec.uses_labels:
        columns["label"] = pa.array(frame["label"].to_numpy())
        known = frame["label_known_at"] if "label_known_at" in frame else frame["time"]
        columns["known"] = pa.array(_micros(known), mask=known.isna().to_numpy())
    return pa.table(columns)


def _micros(time: pd.Series[pd.Timestamp]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return time.to_numpy().astype("datetime64[us]").astype(np.int64)
