"""Point-in-time features: in memory, or from file to file.

A feature of a transaction uses what was known at its time and nothing else: transactions up to and including itself,
and labels that had become known by then. `fds_mlflow.features.meaning` says it in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from fds_mlflow.data.coded import Codes
from fds_mlflow.data.transactions import Schema, Transactions, digest, period
from fds_mlflow.errors import DataError
from fds_mlflow.features import meaning
from fds_mlflow.features.defaults import default_spec
from fds_mlflow.features.engines.file import FeatureFile, compute_file
from fds_mlflow.features.engines.memory import windows
from fds_mlflow.features.engines.staging import column_kinds, keys, past, plain_features
from fds_mlflow.features.expressions import extended
from fds_mlflow.features.meaning import Floats
from fds_mlflow.features.spec import FeatureSpec, Flag, Gap, Window, genuine_labels, handbook_spec

__all__ = [
    "FeatureFile",
    "FeatureSpec",
    "FeatureTable",
    "Flag",
    "Gap",
    "Window",
    "compute",
    "compute_file",
    "default_spec",
    "handbook_spec",
]


@dataclass(frozen=True)
class FeatureTable:
    """Features of transactions, one row each, in input order.

    Attributes:
        frame: Key columns (``transaction_id``, ``time``, ``arrived_at`` where it is known, the entity roles,
            ``label``, ``label_known_at`` and ``label_propensity`` where there are any), then the features: float64, or
            str for the categorical ones.
        features: Names of the features, in the order in which a model takes them.
        categorical: Those of them that are categorical.
        spec: What they were computed from.
        digest: Digest of the transactions.
        source: Where the transactions came from, for people.
        period: First and last time of the transactions (UTC, aware); None without a time.
        notes: What was left out, a sentence each.
        schema: The transactions' schema; None where they were a bare frame.
    """

    frame: pd.DataFrame
    features: list[str]
    categorical: list[str]
    spec: FeatureSpec
    digest: str
    source: str
    period: tuple[datetime, datetime] | None
    notes: tuple[str, ...] = ()
    schema: Schema | None = None

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def x(self) -> pd.DataFrame:
        """The features: rows x features."""
        return self.frame[self.features]

    @property
    def xy(self) -> pd.DataFrame:
        """The features, then ``label``: rows x (features + 1)."""
        label = pd.Series(self.y, index=self.frame.index, name="label")
        return pd.concat([self.x, label], axis=1)  # pandas warns of an assignment to hundreds of columns

    @property
    def y(self) -> np.ndarray[Any, np.dtype[np.int8]]:
        """The labels, 0 or 1, one per row.

        Raises:
            DataError: The transactions carry none.
        """
        if "label" not in self.frame:
            raise DataError(f"{self.source} has no labels", fix="name the label column under 'label' in the schema")
        return self.frame["label"].to_numpy(dtype=np.int8)

    @property
    def weight(self) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """For how many transactions each row stands: the inverse of the chance with which it got its label.

        None where every label came by itself. Source: Horvitz, Thompson, *A Generalization of Sampling Without
        Replacement From a Finite Universe*, JASA 47, 1952.
        """
        if "label_propensity" not in self.frame:
            return None
        return 1 / self.frame["label_propensity"].to_numpy(dtype=np.float64)

    def matrix(self, transform: Callable[[pd.DataFrame], Floats]) -> Floats:
        """What a transformation that looks at one row at a time makes of the features: rows x columns, float64."""
        return transform(self.x)

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
        threads: So many entity roles are computed at once; as many as there are cores by default.

    Returns:
        One row per transaction that has a label, or every transaction where there are no labels, in input order.

    Raises:
        ConfigError: The specification needs a column that is not there, or what the rows do not hold: a time, labels of
            genuine transactions that become known.
        DataError: There are no rows.
    """
    known = transactions if isinstance(transactions, Transactions) else None
    frame = transactions.frame if isinstance(transactions, Transactions) else transactions
    source = known.source if known is not None else "the DataFrame"
    kinds = column_kinds(frame, known.schema if known is not None else None, spec)
    if frame.empty:
        raise DataError(f"{source} has no rows", fix="give at least one transaction")
    spec.check(kinds, where=source)
    mark, span = (known.digest, known.period) if known is not None else (digest(frame), period(frame["time"]))
    # A bare frame may be a few rows to score, whose labels say nothing yet.
    genuine, genuine_known = genuine_labels(frame) if known is not None else (0, 0)
    spec.check_rows(timed=span is not None, genuine=genuine, genuine_known=genuine_known, where=source)
    codes = known.codes if known is not None else None
    values = computed(frame, spec, codes, threads)
    frame = frame.reset_index(drop=True)
    columns: dict[str, Any] = {name: frame[name] for name in keys(kinds)}
    columns |= {name: values[name] for name in spec.names}
    table = pd.DataFrame(columns, copy=False)  # a copy of a million rows' features would be half a gigabyte
    notes, schema = (known.notes, known.schema) if known is not None else ((), None)
    made = FeatureTable(table, spec.names, list(spec.categorical), spec, mark, source, span, notes, schema)
    if "label" not in table or not table["label"].isna().any():
        return made
    made = made.where(table["label"].notna())  # they were the past of others
    return replace(made, frame=made.frame.assign(label=made.frame["label"].astype(np.int8)))


def computed(
    frame: pd.DataFrame,
    spec: FeatureSpec,
    codes: Callable[[str], Codes] | None = None,
    threads: int | None = None,
) -> Mapping[str, Any]:
    """The features of every row of a canonical frame that fits the specification, by name; others may be among them.

    Args:
        frame: Canonical columns.
        spec: The features.
        codes: Gives the numbers of an entity role, where they are known.
        threads: As for `compute`.
    """
    found = windows(past(frame, spec, codes), spec, threads) if meaning.roles(spec) else {}
    return extended({**found, **plain_features(frame.reset_index(drop=True), spec)}, spec.nodes)
