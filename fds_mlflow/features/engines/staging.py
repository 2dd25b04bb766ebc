"""What the engines need of a canonical frame, in memory and stretch by stretch alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from fds_mlflow.data.coded import Codes
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.features import meaning
from fds_mlflow.features.kernel import Past
from fds_mlflow.features.meaning import Ints
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
        if name in ("transaction_id", "time", "arrived_at"):
            kinds[name] = "key"
        elif name in ("label", "label_known_at", "label_propensity"):
            kinds[name] = "label"
        elif pd.api.types.is_numeric_dtype(frame[name].dtype):
            kinds[name] = "numeric"
        elif schema is not None:
            kinds[name] = "entity" if name in schema.entities else "categorical"
        else:
            own = name in spec.categorical and name not in meaning.roles(spec)
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


def framed(rows: pa.RecordBatch | pa.Table, columns: Mapping[str, str]) -> pd.DataFrame:
    """Columns of Arrow's rows under their canonical names.

    Args:
        rows: The rows.
        columns: Canonical name -> its column in them.
    """
    found: pd.DataFrame = rows.select(list(columns.values())).rename_columns(list(columns)).to_pandas()
    return found


def past(frame: pd.DataFrame, spec: FeatureSpec, codes: Callable[[str], Codes] | None = None) -> Past:
    """What the kernel needs of a canonical frame.

    Args:
        frame: The frame.
        spec: The features.
        codes: Gives the numbers of an entity role, where they are known; otherwise they are made here.

    Raises:
        DataError: Some transactions have no time.
    """
    timeless = int(frame["time"].isna().sum())
    if timeless:
        raise DataError(
            f"{timeless:,} of {len(frame):,} transactions have no time",
            fix="fill in the times, or leave those rows out",
        )
    roles = dict.fromkeys([*meaning.roles(spec), *meaning.counted(spec)])
    label, known = known_labels(frame) if spec.uses_labels else (np.empty(0, np.int64), np.empty(0, np.int64))
    return Past(
        micros(frame["time"]),
        {role: codes(role) if codes is not None else _codes(frame[role]) for role in roles},
        {name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in meaning.aggregated(spec)},
        label,
        known,
        micros(frame["arrived_at"].fillna(frame["time"])) if "arrived_at" in frame else None,
    )


def _codes(column: pd.Series[Any]) -> Codes:
    """Numbers that stand for the values of any kind of column, -1 where there is none."""
    found: Codes = pd.factorize(column)[0]
    return found


def known_labels(frame: pd.DataFrame) -> tuple[Ints, Ints]:
    """Labels, and when they became known: with their transactions where the frame does not say."""
    moment = frame["label_known_at"] if "label_known_at" in frame else frame["time"]
    unknown = moment.isna().to_numpy() | frame["label"].isna().to_numpy()
    label = frame["label"].to_numpy(dtype=np.int64, na_value=0)
    return label, np.where(unknown, meaning.NEVER, micros(moment))


def row_times(frame: pd.DataFrame, spec: FeatureSpec) -> tuple[Ints, Ints]:
    """When each row takes place, and the last time that it enters a window: then, or when its label becomes usable."""
    time = micros(frame["time"])
    if not spec.uses_labels:
        return time, time
    known = known_labels(frame)[1]
    return time, np.where(known == meaning.NEVER, time, meaning.moments(time, known, spec.label_delay))


def micros(time: pd.Series[pd.Timestamp]) -> Ints:
    """Times as microseconds since 1970, int64."""
    found: Ints = time.to_numpy().astype("datetime64[us]").astype(np.int64)
    return found
