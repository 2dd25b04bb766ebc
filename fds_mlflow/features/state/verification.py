"""Whether the online engine gives what the batch gives: a history is replayed, transaction by transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from fds_mlflow.data.transactions import Transactions
from fds_mlflow.features import meaning
from fds_mlflow.features.engines.memory import windows
from fds_mlflow.features.engines.online import Online
from fds_mlflow.features.engines.staging import column_kinds, known_labels, micros, past
from fds_mlflow.features.spec import AMOUNT_AGGREGATES, FeatureSpec, genuine_labels
from fds_mlflow.features.state.state import Arriving, State

TOLERANCE = 1e-9
"""How far sums, means and deviations may be from the batch's, as a share of them."""

_BLOCK = 10_000


@dataclass(frozen=True)
class Verified:
    """What a replay found.

    Attributes:
        rows: Transactions that were replayed.
        mismatched: Those of them of which any feature differs: counts, flags and risks at all, sums, means and
            deviations by more than `TOLERANCE`.
        features: The features that differ in any row.
        max_rel_diff: The largest relative difference of any value.
    """

    rows: int
    mismatched: int
    features: tuple[str, ...]
    max_rel_diff: float


def check(transactions: Transactions, spec: FeatureSpec) -> None:
    """See to it that transactions have what features need.

    Raises:
        ConfigError: They do not.
    """
    spec.check(column_kinds(transactions.frame, transactions.schema, spec), where=transactions.source)
    genuine, genuine_known = genuine_labels(transactions.frame)
    timed = transactions.period is not None
    spec.check_rows(timed=timed, genuine=genuine, genuine_known=genuine_known, where=transactions.source)


def exact(spec: FeatureSpec) -> set[str]:
    """The features that are the same to the last digit by every engine: what is counted, and what is copied."""
    counted = {
        name
        for item in spec.windows
        if item.aggregate not in AMOUNT_AGGREGATES
        for name in map(item.feature, item.windows)
    }
    return counted | set(spec.numeric) | {flag.feature for flag in spec.flags}


def verify(
    state: State, transactions: Transactions, spec: FeatureSpec, progress: Callable[[float], None] | None = None
) -> Verified:
    """Replay a history through the online engine, in the order of its times, and compare with the batch.

    Labels come when they became known. What an empty state would be told it is told here: give one that holds nothing.

    Args:
        state: Is filled.
        transactions: The history.
        spec: The features.
        progress: Is told the share that was replayed, from 0 to 1.

    Raises:
        ConfigError: The state does not keep what the features need.
    """
    frame = transactions.frame
    order = micros(frame["time"]).argsort(kind="stable")
    batch = windows(past(frame, spec), spec)
    names = list(batch)
    equal = exact(spec)
    engine = Online(spec, state.layout)
    worst, wrong, differing = 0.0, 0, set[str]()
    replay = replayed(state, frame.iloc[order].reset_index(drop=True), spec, list(transactions.schema.entities))
    for start in range(0, len(frame), _BLOCK):
        rows = order[start : start + _BLOCK]
        found = np.empty((len(rows), len(names)))
        for place in range(len(rows)):
            arriving = next(replay)
            values = state.arrive(arriving, partial(engine.features, arriving.time))
            found[place] = [values[name] for name in names]
        wanted = np.column_stack([batch[name][rows] for name in names]) if names else found
        differing_by = apart(found, wanted)
        bad = differing_by > np.array([0.0 if name in equal else TOLERANCE for name in names])
        wrong += int(bad.any(axis=1).sum())
        worst = max(worst, float(differing_by.max(initial=0.0)))
        differing |= {names[column] for column in np.flatnonzero(bad.any(axis=0))}
        if progress is not None:
            progress((start + len(rows)) / len(frame))
    return Verified(len(frame), wrong, tuple(sorted(differing)), worst)


def replayed(state: State, frame: pd.DataFrame, spec: FeatureSpec, roles: list[str]) -> Iterator[Arriving]:
    """A history's transactions as they arrive; before each, the state is told the labels that have become known.

    Args:
        state: Is told the labels.
        frame: Canonical columns, ordered by time.
        spec: Says whether any feature looks at labels.
        roles: The entity roles.
    """
    times, ids = micros(frame["time"]).tolist(), frame["transaction_id"].tolist()
    entities: list[list[Any]] = [frame[role].astype(object).where(frame[role].notna(), None).tolist() for role in roles]
    columns = [name for name in frame.columns if name != "label" and pd.api.types.is_float_dtype(frame[name].dtype)]
    numbers = [frame[name].tolist() for name in columns]
    labels = _labels(frame) if spec.uses_labels else []
    told = 0
    for row, (ident, time) in enumerate(zip(ids, times, strict=True)):
        while told < len(labels) and labels[told][0] <= time:
            known, of, fraud = labels[told]
            if of >= row:  # known in the moment of its own transaction, which is still to come
                break
            state.label(ids[of], fraud=fraud, known=known)
            told += 1
        yield Arriving(
            ident,
            time,
            {role: values[row] for role, values in zip(roles, entities, strict=True)},
            {name: values[row] for name, values in zip(columns, numbers, strict=True)},
        )


def _labels(frame: pd.DataFrame) -> list[tuple[int, int, bool]]:
    """When each label became known, its row, and what it says; in the order in which they come."""
    label, known = known_labels(frame)
    rows = np.flatnonzero(known != meaning.NEVER)
    rows = rows[np.lexsort((rows, np.maximum(known[rows], micros(frame["time"])[rows])))]
    return list(zip(known[rows].tolist(), rows.tolist(), (label[rows] == 1).tolist(), strict=True))


def apart(found: meaning.Floats, wanted: meaning.Floats) -> meaning.Floats:
    """Relative differences; none between two missing values, infinite where one is missing."""
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.abs(found - wanted) / np.abs(wanted)
    return np.where(same, 0.0, np.where(np.isnan(relative), np.inf, relative))
