"""From a source to its three parts: features computed, cut into train, validation and test."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from fds_mlflow.data.transactions import Transactions
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.defaults import default_features
from fds_mlflow.features.table import FeatureTable, compute
from fds_mlflow.training.split import Split, at_random, by_time, has_time, stratified
from fds_mlflow.workflows.source import Source


def prepare(
    source: Source,
    *,
    split: str | None = None,
    seed: int = 42,
    gap: timedelta | None = None,
    every_feature: bool = False,
) -> Split:
    """Read, compute features and cut into train, validation and test.

    Args:
        source: Where the transactions come from.
        split: How to cut, as `cut` takes it.
        seed: Seed of everything random.
        gap: As `cut` takes it.
        every_feature: As `featurised` takes it.

    Returns:
        The parts; their notes say what was left out on the way.

    Raises:
        ConfigError: The split is unknown, or cannot be made of these data.
        DataError: The data do not fit the schema, or leave a part without fraud.
    """
    return cut(featurised(source.read(seed=seed), every_feature=every_feature), split=split, seed=seed, gap=gap)


def featurised(transactions: Transactions, *, every_feature: bool = False) -> FeatureTable:
    """The default features of transactions; the table's notes say which there could not be.

    Args:
        transactions: The transactions.
        every_feature: Take all that the schema allows, also over what is empty in these rows: versions that were
            trained on other rows may need them.

    Raises:
        ConfigError: Every feature is taken, and the labels of these rows serve none of those over labels.
    """
    spec, notes = default_features(transactions.schema if every_feature else transactions)
    table = compute(transactions, spec)
    return replace(table, notes=(*table.notes, *notes))


def cut(table: FeatureTable, *, split: str | None = None, seed: int = 42, gap: timedelta | None = None) -> Split:
    """Cut a feature table by time, or stratified by label.

    Args:
        table: The features.
        split: `time` or `stratified`; by default by time where there is one, else at random, stratified by the labels
            where there are any.
        seed: Seed of a random cut.
        gap: Time left out before validation and before test, so that labels are known by then; by default the label
            delay of the data.

    Raises:
        ConfigError: The split is neither, the data have no time to cut by, or a gap is given to a random cut.
        DataError: A part would be left without rows, without fraud or without genuine transactions.
    """
    if split not in (None, "time", "stratified"):
        raise ConfigError(f"the split {split!r} is unknown", fix="choose time or stratified")
    if split == "time" or (split is None and has_time(table)):
        return by_time(table, gap=gap)
    if gap is not None:
        raise ConfigError("a random cut has no gap", fix="leave --gap out, or split by time (--split time)")
    if split == "stratified":
        return stratified(table, seed=seed)
    labelled = "label" in table.frame.columns
    made = stratified(table, seed=seed) if labelled else at_random(table, seed=seed)
    how = " with the same share of fraud in each" if labelled else ""
    return replace(made, notes=(*made.notes, f"the data have no time: the parts are drawn at random{how}"))
