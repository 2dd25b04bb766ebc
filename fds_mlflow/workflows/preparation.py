"""From a source to its three parts: features computed, cut into train, validation and test."""

from __future__ import annotations

from fds_mlflow.errors import ConfigError
from fds_mlflow.features.spec import default_spec
from fds_mlflow.features.table import FeatureTable, compute
from fds_mlflow.training.split import Split, by_time, stratified
from fds_mlflow.workflows.source import Source


def prepare(source: Source, *, split: str = "time", seed: int = 42) -> Split:
    """Read, compute features and cut into train, validation and test."""
    transactions = source.read(seed=seed)
    table = compute(transactions, default_spec(transactions.schema))
    return cut(table, split=split, seed=seed)


def cut(table: FeatureTable, *, split: str = "time", seed: int = 42) -> Split:
    """Cut a feature table by time, or stratified by label.

    Raises:
        ConfigError: The split is neither.
    """
    if split == "time":
        return by_time(table)
    if split == "stratified":
        return stratified(table, seed=seed)
    raise ConfigError(f"the split {split!r} is unknown", fix="choose time or stratified")
