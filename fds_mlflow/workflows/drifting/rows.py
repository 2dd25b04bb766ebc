"""The rows that are held against a version's training: transactions of a source, or what it was served."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fds_mlflow.core.text.duration import describe_duration, parse_duration
from fds_mlflow.data import readers
from fds_mlflow.data.frames import code_column
from fds_mlflow.data.schema import Schema
from fds_mlflow.data.single import LABELS
from fds_mlflow.data.transactions import as_schema, period
from fds_mlflow.errors import ConfigError, DataError, NotFoundError, RefusedError
from fds_mlflow.features.declaration import Declared
from fds_mlflow.features.explanation import longest
from fds_mlflow.features.profile import Profile, settled
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.state.verification import check
from fds_mlflow.features.table import FeatureTable, computed
from fds_mlflow.model import ManagedModel
from fds_mlflow.workflows import served_rows
from fds_mlflow.workflows.source import Source, recognise

_FULL = timedelta(hours=1)


@dataclass(frozen=True)
class Rows:
    """What is held against the training.

    Attributes:
        features: Features of the rows, one column each.
        source: Where they come from, for people.
        period: First and last time, UTC; None without times.
        labels: Matured labels, 0 or 1, and for how many transactions each stands; None where there are none.
        notes: What was left out, a sentence each.
        cold: Features whose windows reach back before the data begin, and so say nothing.
    """

    features: pd.DataFrame
    source: str
    period: tuple[datetime, datetime] | None
    labels: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None
    notes: tuple[str, ...] = ()
    cold: frozenset[str] = frozenset()


def of_source(source: Source, declared: Declared, since: timedelta | None) -> Rows:
    """Rows of a file or a database, their features computed as a version declares them.

    Args:
        source: The transactions, and those before them that windows look back at.
        declared: The features and the schema.
        since: Of the newest so long; None for all whose windows are full, and of few the newest third.

    Raises:
        ConfigError: The features need what the data do not have.
        DataError: The data do not fit the schema.
    """
    transactions = _read_by(source, declared).read()
    check(transactions, declared.spec)
    frame, spec = transactions.frame.reset_index(drop=True), declared.spec
    values = computed(frame, spec, transactions.codes)
    kept = _kept(frame, spec, since)
    cold = _cold(frame, kept, spec)
    back = longest(spec)
    notes = transactions.notes
    if cold and back is not None:
        notes += (
            f"the features look back {describe_duration(back)}, further than the data: {len(cold)} of them, and the"
            " scores, are not compared; give older transactions as well, and say with --since which are new",
        )
    found = pd.DataFrame({name: pd.Series(np.asarray(values[name]))[kept] for name in spec.names}, copy=False)
    rows = frame.loc[kept]
    labels = _matured(frame, transactions.schema, kept, since)
    return Rows(found.reset_index(drop=True), transactions.source, period(rows["time"]), labels, notes, cold)


def _read_by(source: Source, declared: Declared) -> Source:
    """The source, read by the declared schema; without labels where it has none and no feature looks at any."""
    source = source.read_by(declared.schema)
    if declared.spec.uses_labels or source.data.startswith("simulator:") or readers.is_url(source.data):
        return source
    schema = as_schema(source.schema or recognise(source.data))
    if schema.label is None or schema.label in readers.column_names(Path(source.data)):
        return source
    said = schema.model_dump(mode="json", exclude_defaults=True)
    return replace(source, schema=Schema.of(**{name: value for name, value in said.items() if name not in LABELS}))


def _kept(frame: pd.DataFrame, spec: FeatureSpec, since: timedelta | None) -> np.ndarray[Any, Any]:
    time = frame["time"]
    if since is not None:
        if not time.notna().any():
            raise ConfigError("the data have no time to go back from", fix="leave out --since")
        return np.asarray(time > time.max() - since)
    keys = frame[[name for name in ("time", "label_known_at") if name in frame]]
    return settled([FeatureTable(keys, [], [], spec, "", "", None)])[0]


def _cold(frame: pd.DataFrame, kept: np.ndarray[Any, Any], spec: FeatureSpec) -> frozenset[str]:
    """Features whose windows look back before the data begin, and what is computed from features where any does."""
    time = frame["time"]
    if not time[kept].notna().any():
        return frozenset()
    there = (time[kept].min() - time.min()).to_pytimedelta() + _FULL
    windows = {item.feature(window): parse_duration(window) for item in spec.windows for window in item.windows}
    found = {name for name, back in windows.items() if back > there}
    return frozenset(found | {item.name for item in spec.expressions} if found else ())


def _matured(
    frame: pd.DataFrame, schema: Schema, kept: np.ndarray[Any, Any], since: timedelta | None
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """Labels of the newest rows that are as old as nine in ten labels take, or as `labels_mature` says."""
    if "label" not in frame:
        return None
    time, age = frame["time"], timedelta(0)
    if "label_known_at" in frame:
        delays = (frame["label_known_at"] - time).dropna()
        age = timedelta(seconds=float(delays.dt.total_seconds().quantile(0.9))) if len(delays) else age
    if schema.labels_mature is not None:
        age = max(age, parse_duration(schema.labels_mature))
    chosen = kept
    if time.notna().any():
        end = time.max() - age
        chosen = (time <= end).to_numpy() & (kept if since is None else (time > end - since).to_numpy())
    found = frame[chosen & frame["label"].notna().to_numpy()]
    weight = 1 / found["label_propensity"].to_numpy() if "label_propensity" in found else np.ones(len(found))
    return found["label"].to_numpy(dtype=np.float64), weight


def served(
    model: ManagedModel, version: int, declared: Declared | None, profile: Profile, since: timedelta | None
) -> Rows:
    """What was recorded of a version's requests, without what was computed without the state.

    Args:
        model: The model.
        version: Its version.
        declared: What the version declares.
        profile: Of its training.
        since: Scored within so long; None for ever.

    Raises:
        NotFoundError: Nothing was recorded.
    """
    begin = None if since is None else model.session.now() - since
    kept = [one for one in model.outcomes.vectors(model.name, version=version, since=begin) if not one.degraded]
    if not kept:
        raise NotFoundError(
            f"no features of version {version} of {model.name!r} were recorded{'' if since is None else ' since then'}",
            fix="serve with --vector-sample, or give the transactions: --data FILE",
        )
    columns: dict[str, Any] = {}
    for name in (*profile.numbers, *profile.categories):
        values = [one.vector.features.get(name) for one in kept]
        if name in profile.categories:
            columns[name] = code_column(pd.Series(values, dtype=object, name=name))
        else:
            columns[name] = np.array([np.nan if one is None else one for one in values], dtype=np.float64)
    labels, notes = _labels_served(model, declared, since)
    span = kept[0].time, kept[-1].time
    return Rows(pd.DataFrame(columns), f"outcomes:{model.name}", span, labels, notes)


def _labels_served(
    model: ManagedModel, declared: Declared | None, since: timedelta | None
) -> tuple[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None, tuple[str, ...]]:
    """The mature labels of what was served; silence counts as genuine only where the schema says from when on."""
    if declared is None or declared.schema.labels_mature is None:
        return None, ("the fraud rate is not looked at: the version's schema gives no labels_mature",)
    try:
        table, _ = served_rows.rows(model, model.session.now())
    except (DataError, RefusedError) as error:
        return None, (f"the fraud rate is not looked at: {error.what}",)
    time = table.frame["time"]
    chosen = np.ones(len(table), dtype=np.bool_) if since is None else (time > time.max() - since).to_numpy()
    weight = np.ones(len(table)) if table.weight is None else table.weight
    return (table.y[chosen].astype(np.float64), weight[chosen]), ()
