"""From a source to its three parts: features computed, cut into train, validation and test."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import combinations
from pathlib import Path

from fds_mlflow.data import readers
from fds_mlflow.data.transactions import Transactions, as_schema
from fds_mlflow.errors import ConfigError, RefusedError
from fds_mlflow.features.conflicts import conflicts
from fds_mlflow.features.defaults import default_features
from fds_mlflow.features.mapped import compute_mapped
from fds_mlflow.features.profile import Profile
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.table import FeatureTable, compute
from fds_mlflow.model import ManagedModel
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.training.split import Split, at_random, by_time, has_time, stratified
from fds_mlflow.workflows import served_rows
from fds_mlflow.workflows.account import Origins
from fds_mlflow.workflows.quality import checked
from fds_mlflow.workflows.source import Source, recognise

DEFAULT = "default"
"""What names the default features of a schema, where others would be taken."""

Features = FeatureSpec | str | Path
"""A specification, its YAML file, the name of a shipped one, or `default`."""


def prepare(
    source: Source,
    *,
    features: Features | None = None,
    split: str | None = None,
    seed: int = 42,
    gap: timedelta | None = None,
    test_from: datetime | None = None,
    every_feature: bool = False,
    memory_limit: str | None = None,
    reference: Profile | None = None,
) -> Split:
    """Read, compute features, look at the batch, and cut into train, validation and test.

    Args:
        source: Where the transactions come from.
        features: The features: a specification, its YAML file, or the name of a shipped one; by default, and as
            `default`, those that the schema allows.
        split: How to cut, as `cut` takes it.
        seed: Seed of everything random.
        gap: As `cut` takes it.
        test_from: As `cut` takes it.
        every_feature: As `featurised` takes it.
        memory_limit: Compute the features of a file within so much memory, such as `4GB`, and train from the disk: for
            what does not fit into memory. The temporary folder (`TMPDIR`) needs some two kilobytes for each row.
        reference: The profile of the champion's training, which the batch is held against; None where there is none.

    Returns:
        The parts; their notes say what was left out on the way.

    Raises:
        ConfigError: The specification or the split is unknown, or cannot be made of these data.
        DataError: The data do not fit the schema, are broken, or leave a part without fraud.
    """
    if memory_limit is not None:
        table = on_disk(source, specification(features), memory_limit)
    elif source.served is not None:
        table = as_served(source, features)
    else:
        spec = specification(features)  # before the data are read
        table = featurised(source.read(seed=seed), spec, every_feature=every_feature)
    return cut(checked(table, reference), split=split, seed=seed, gap=gap, test_from=test_from)


def prepare_for(
    model: ManagedModel,
    versions: Sequence[int],
    source: Source,
    *,
    split: str | None = None,
    seed: int = 42,
    gap: timedelta | None = None,
    test_from: datetime | None = None,
) -> Split:
    """The parts of a source with what each of some versions takes, to compare them on; arguments as for `prepare`.

    Raises:
        ConfigError: As for `featurised_for`, or the split cannot be made of these data.
        DataError: The data do not fit the schema, or leave a part without fraud.
    """
    if source.served is not None:
        return cut(as_served_for(model, versions, source), split=split, seed=seed, gap=gap, test_from=test_from)
    return cut(
        featurised_for(model, versions, source.read(seed=seed)), split=split, seed=seed, gap=gap, test_from=test_from
    )


def as_served(source: Source, features: Features | None = None) -> FeatureTable:
    """The rows of `outcomes:MODEL`: features as they were served, with labels; notes account for every label.

    Raises:
        ConfigError: Other features are asked for, or no model is named.
        RefusedError: The model has no champion, or that declares no features.
        DataError: No label has recorded features.
    """
    return served(source, features, SystemClock().now(), None)[0]


def served(
    source: Source, features: Features | None, now: datetime, maturity: timedelta | None, *, silence: bool = True
) -> tuple[FeatureTable, Origins]:
    """The same as of a moment, and where each label comes from; errors as for `as_served`.

    Args:
        source: `outcomes:MODEL`.
        features: None: they are those that were served.
        now: As of when labels are known, timezone-aware.
        maturity: As `served_rows.told` takes it.
        silence: Likewise.
    """
    if features is not None:
        raise ConfigError(
            f"{source.data} has the features that were served, and no others can be computed from it",
            fix="leave --features out, or give a file or a database",
        )
    if not source.served or source.schema or source.table or source.query:
        raise ConfigError(
            f"{source.data} names no model, or a schema, table or query is given beside it",
            fix="write outcomes:MODEL alone",
        )
    model = source.model or ManagedModel(source.served)
    return served_rows.told(model, now, maturity=maturity, silence=silence)


def as_served_for(model: ManagedModel, versions: Sequence[int], source: Source) -> FeatureTable:
    """The same for versions that take just those features.

    Raises:
        RefusedError: One of them declares others.
    """
    table = as_served(source)
    for version in versions:
        declared = model.declared(version)
        if (
            declared is None
            or not set(declared.spec.names) <= set(table.features)
            or conflicts(declared.spec, table.spec)
        ):
            raise RefusedError(
                f"version {version} takes other features than those that were served",
                fix="compare on a file or a database, from which they can be computed",
            )
    return table


def specification(features: Features | None) -> FeatureSpec | None:
    """The specification that is meant; None for the default features.

    Raises:
        ConfigError: There is none of that name, or it is not valid.
    """
    if features is None or features == DEFAULT:
        return None
    return features if isinstance(features, FeatureSpec) else FeatureSpec.load(features)


def featurised(
    transactions: Transactions, spec: FeatureSpec | None = None, *, every_feature: bool = False
) -> FeatureTable:
    """The features of transactions, by default those that the schema allows; notes say which are none.

    Args:
        transactions: The transactions.
        spec: The features; None for the default ones.
        every_feature: Of the default ones take all that the schema allows, also over what is empty in these rows:
            versions that were trained on other rows may need them.

    Raises:
        ConfigError: The features need what the schema or these rows do not have.
    """
    if spec is not None:
        return _saying_what_is_empty(compute(transactions, spec))
    spec, notes = default_features(transactions.schema if every_feature else transactions)
    table = compute(transactions, spec)
    return replace(table, notes=(*table.notes, *notes))


def _saying_what_is_empty(table: FeatureTable) -> FeatureTable:
    empty = [name for name in table.features if table.frame[name].isna().all()]
    says = tuple(f"the feature {name!r} is missing in every row: it says nothing" for name in empty)
    return replace(table, notes=(*table.notes, *says))


def on_disk(source: Source, spec: FeatureSpec | None, memory_limit: str) -> FeatureTable:
    """The features of a file's transactions, on disk; by default those that its schema allows.

    Args:
        source: A file, or a folder of files.
        spec: The features; None for the default ones.
        memory_limit: As `compute_file` takes it.

    Raises:
        ConfigError: The source is no file, the limit is none, or the features need what the schema or these rows do
            not have.
        DataError: The data do not fit the schema.
    """
    if source.served is not None or source.data.startswith("simulator:") or readers.is_url(source.data):
        raise ConfigError(
            f"{source.data} is no file, and only files are read within a limit of memory",
            fix="write its rows to a Parquet file, or leave --memory-limit out",
        )
    schema = as_schema(source.schema or recognise(source.data))
    spec, notes = (spec, ()) if spec is not None else default_features(schema)
    table: FeatureTable = compute_mapped(
        source.data, schema, spec, tempfile.gettempdir(), memory_limit=memory_limit, progress=source.progress
    )
    table = _saying_what_is_empty(table)
    return replace(table, notes=(*table.notes, *notes))


def featurised_for(model: ManagedModel, versions: Sequence[int], transactions: Transactions) -> FeatureTable:
    """The features that versions take, as each declares them; the default ones for those that declare nothing.

    Args:
        model: The model.
        versions: Which of its versions.
        transactions: The transactions.

    Raises:
        ConfigError: A version needs what the schema or these rows do not have, its declaration is broken, or two mean
            different things by one name.
        RefusedError: A version's files cannot be fetched.
    """
    declared = [model.declared(version) for version in versions]
    specs = dict.fromkeys(None if found is None else found.spec for found in declared)
    return widened(*(featurised(transactions, spec, every_feature=True) for spec in specs))


def widened(*tables: FeatureTable) -> FeatureTable:
    """The first of several tables of the same transactions, with the others' columns; its features stay its own.

    Raises:
        ConfigError: Two have a feature of one name that means different things.
    """
    for one, two in combinations(tables, 2):
        different = conflicts(one.spec, two.spec)
        if different:
            raise ConfigError(
                f"the versions mean different things by the feature {different[0]!r}, so no table has both",
                fix="give the feature of one of them another name",
            )
    first = tables[0]
    more = {name: table.frame[name] for table in tables for name in table.features if name not in first.frame.columns}
    return replace(first, frame=first.frame.assign(**more))


def cut(
    table: FeatureTable,
    *,
    split: str | None = None,
    seed: int = 42,
    gap: timedelta | None = None,
    test_from: datetime | None = None,
) -> Split:
    """Cut a feature table by time, or stratified by label.

    Args:
        table: The features.
        split: `time` or `stratified`; by default by time where there is one, else at random, stratified by the labels
            where there are any.
        seed: Seed of a random cut.
        gap: Time left out before validation and before test, so that labels are known by then; by default the label
            delay of the data.
        test_from: Beginning of the test part (UTC where no zone is given); by default its share of the rows.

    Raises:
        ConfigError: The split is neither, the data have no time to cut by, or a gap or a beginning is given to a random
            cut.
        DataError: A part would be left without rows, without fraud or without genuine transactions.
    """
    if split not in (None, "time", "stratified"):
        raise ConfigError(f"the split {split!r} is unknown", fix="choose time or stratified")
    if split == "time" or (split is None and has_time(table)):
        return by_time(table, gap=gap, test_from=test_from)
    if test_from is not None:
        raise ConfigError(
            "a random cut has no beginning of the test", fix="leave --test-from out, or split by time (--split time)"
        )
    if gap is not None:
        raise ConfigError("a random cut has no gap", fix="leave --gap out, or split by time (--split time)")
    if split == "stratified":
        return stratified(table, seed=seed)
    labelled = "label" in table.frame.columns
    made = stratified(table, seed=seed) if labelled else at_random(table, seed=seed)
    how = " with the same share of fraud in each" if labelled else ""
    return replace(made, notes=(*made.notes, f"the data have no time: the parts are drawn at random{how}"))
