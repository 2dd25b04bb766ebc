"""Whether the online engine gives what the batch gives: a history is replayed, transaction by transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fds_mlflow.data.transactions import Transactions
from fds_mlflow.features import meaning
from fds_mlflow.features.engines.memory import windows
from fds_mlflow.features.engines.online import Online
from fds_mlflow.features.engines.replay import replayed
from fds_mlflow.features.engines.staging import column_kinds, past
from fds_mlflow.features.kernel import Past
from fds_mlflow.features.spec import AMOUNT_AGGREGATES, FeatureSpec, genuine_labels
from fds_mlflow.features.state import bulk
from fds_mlflow.features.state.state import State

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
    state: State,
    transactions: Transactions,
    spec: FeatureSpec,
    progress: Callable[[float], None] | None = None,
    *,
    loaded: int = 0,
) -> Verified:
    """Replay a history through the online engine, in the order of arrival, and compare with the batch.

    Labels come when they became known. What an empty state would be told it is told here: give one that holds nothing.

    Args:
        state: Is filled.
        transactions: The history.
        spec: The features.
        progress: Is told the share that was replayed, from 0 to 1.
        loaded: So many of the first are filled into the state in bulk, as a warm start does it, instead of one by one;
            they are not compared.

    Raises:
        ConfigError: The state does not keep what the features need.
    """
    given = past(transactions.frame, spec)
    order = given.arrival.argsort(kind="stable")
    equal = exact(spec)
    engine = Online(spec, state.layout)
    worst, wrong, differing = 0.0, 0, set[str]()
    names, batch = _filed(windows(given, spec), order)
    arriving_in_order = given.taken(order)
    if loaded:
        bulk.load(state, _history(arriving_in_order, loaded), complete=True)
    replay = replayed(state, arriving_in_order, loaded)
    for start in range(loaded, len(order), _BLOCK):
        wanted = batch[:, start : start + _BLOCK].T
        found = np.empty(wanted.shape)
        for place in range(len(found)):
            arriving = next(replay)
            values = state.arrive(arriving, partial(engine.features, arriving.time))
            found[place] = [values[name] for name in names]
        differing_by = apart(found, wanted)
        bad = differing_by > np.array([0.0 if name in equal else TOLERANCE for name in names])
        wrong += int(bad.any(axis=1).sum())
        worst = max(worst, float(differing_by.max(initial=0.0)))
        differing |= {names[column] for column in np.flatnonzero(bad.any(axis=0))}
        if progress is not None:
            progress((start + len(found)) / len(order))
    return Verified(len(order) - loaded, wrong, tuple(sorted(differing)), worst)


def _history(past: Past, rows: int) -> pd.DataFrame:
    """The first transactions in canonical columns, as `replayed` names them, with the labels known by their end."""
    known = past.known[:rows] if len(past.known) else np.full(rows, meaning.NEVER)
    there = known <= past.arrival[rows - 1]
    return pd.DataFrame(
        {
            "transaction_id": np.arange(rows).astype(str),
            "time": past.time[:rows].astype("datetime64[us]"),
            **{role: _named(codes[:rows]) for role, codes in past.codes.items()},
            **{name: values[:rows] for name, values in past.columns.items()},
            "label": past.label[:rows] if len(past.label) else 0,
            "label_known_at": np.where(there, known, np.iinfo(np.int64).min).astype("datetime64[us]"),
        }
    )


def _named(codes: npt.NDArray[np.integer[Any]]) -> pd.Series[Any]:
    return pd.Series(codes).astype(str).where(codes >= 0, None)


def _filed(batch: dict[str, meaning.Floats], order: meaning.Ints) -> tuple[list[str], meaning.Floats]:
    """The features' names, and their values in an order, shape (features, rows): a file, as memory is the state's."""
    names = list(batch)
    if not names:  # nothing to map
        return names, np.empty((0, len(order)))
    with TemporaryFile(prefix="fds-verify-") as file:
        filed = np.memmap(file, np.float64, "w+", shape=(len(names), len(order)))
        for place, name in enumerate(names):
            filed[place] = batch.pop(name)[order]
    return names, filed


def apart(found: meaning.Floats, wanted: meaning.Floats) -> meaning.Floats:
    """Relative differences; none between two missing values, infinite where one is missing."""
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.abs(found - wanted) / np.abs(wanted)
    return np.where(same, 0.0, np.where(np.isnan(relative), np.inf, relative))
