"""What the command line and `mlflow run` do with data: read, cut, train, retrain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from fds_mlflow.core.comparison import Advice, Comparison
from fds_mlflow.errors import ConfigError, DataError, NotFoundError
from fds_mlflow.features.table import FeatureTable
from fds_mlflow.model import ManagedModel
from fds_mlflow.runtime import mlflow_client
from fds_mlflow.training import pipeline
from fds_mlflow.training.split import Split
from fds_mlflow.workflows.preparation import DEFAULT, Features, as_served, cut, featurised, specification, widened
from fds_mlflow.workflows.source import Source


def train(
    parts: Split,
    model: str,
    *,
    algorithm: str = "lightgbm",
    params: Mapping[str, Any] | None = None,
    target_fpr: float = 0.02,
    seed: int = 42,
) -> pipeline.Trained:
    """Train a version and register it under the model's name."""
    return pipeline.train(parts, algorithm=algorithm, params=params, target_fpr=target_fpr, seed=seed, model_name=model)


@dataclass(frozen=True)
class Retrained:
    """What a retraining led to.

    Attributes:
        trained: The new versions by algorithm.
        champion: The champion they were compared with.
        comparison: The best of them against the champion, on the same rows; None without a champion.
        staged: The version put forward; None where the champion stays the best, or every version has warnings.
        message: One sentence for people.
    """

    trained: Mapping[str, pipeline.Trained]
    champion: int | None
    comparison: Comparison | None
    staged: int | None
    message: str


def retrain(
    model: ManagedModel,
    source: Source,
    *,
    algorithms: Sequence[str] | None = None,
    features: Features | None = None,
    split: str | None = None,
    gap: timedelta | None = None,
    target_fpr: float = 0.02,
    seed: int = 42,
) -> Retrained:
    """Train by each algorithm, compare the best version with the champion on the same rows, and stage it if it is best.

    The best of them is chosen on validation; the test rows only serve the comparison. A version with warnings is
    not staged.

    Args:
        model: The model to train versions of.
        source: Where the transactions come from; without a schema of its own, read by the one that the champion
            declares.
        algorithms: As `train` takes them; None for both of ours.
        features: As `prepare` takes them; None for those that the champion declares, and where there is no champion or
            it declares nothing, the default ones.
        split: `time` or `stratified`; by default by time where there is one.
        gap: Time left out before validation and test; by default the label delay of the data.
        target_fpr: The threshold flags at most this share of the genuine validation rows.
        seed: Seed of everything random.

    Raises:
        ConfigError: The features cannot be computed from these data, or another argument is not valid.
        DataError: The data do not fit the schema, or leave a part without fraud.
    """
    import mlflow

    for name in algorithms or ():
        pipeline.check_algorithm(name)  # before the data are read
    parts = cut(_featurised(model, source, features, seed), split=split, seed=seed, gap=gap)
    run = mlflow.active_run()
    with (
        mlflow_client.tracking(f"retraining of {model.name!r}"),
        mlflow.start_run(
            experiment_id=pipeline.experiment_id(f"fds/{model.name}", given=None) if run is None else None,
            run_name="retrain",
            nested=run is not None,
        ),
    ):
        made = {
            name: train(parts, model.name, algorithm=name, target_fpr=target_fpr, seed=seed)
            for name in dict.fromkeys(pipeline.ALGORITHMS if algorithms is None else algorithms)
        }
        retrained = _put_forward(model, parts, made, seed)
        mlflow.set_tags({"fds.staged": str(retrained.staged), "fds.message": retrained.message})
        if retrained.comparison is not None:
            mlflow.log_metrics({f"difference_{d.metric}": d.difference for d in retrained.comparison.deltas})
    return retrained


def _featurised(model: ManagedModel, source: Source, features: Features | None, seed: int) -> FeatureTable:
    """The features of a retraining; those that the champion takes are columns too, so that it can be compared."""
    if source.served is not None:
        return as_served(source, features)
    spec = specification(features)
    try:
        champion = model.overview().champion
    except NotFoundError:  # this is its first training
        champion = None
    declared = None if champion is None else model.declared(champion)
    if declared is None:
        return featurised(source.read(seed=seed), spec)
    source = source.read_by(declared.schema)
    transactions = source.read(seed=seed)
    table = None if features is None else featurised(transactions, spec)
    try:
        theirs = featurised(transactions, declared.spec)
    except ConfigError as error:
        if table is not None:
            note = f"champion {champion} cannot be compared on these rows: {error.what}"
            return replace(table, notes=(*table.notes, note))
        raise ConfigError(
            f"the features that champion {champion} declares cannot be computed: {error.what}",
            fix=f"{error.fix}; or train on others: --features FILE, or --features {DEFAULT} for those the data allow",
        ) from None
    if table is not None:
        return widened(table, theirs)
    what = "the schema and the features" if source.schema is declared.schema else "the features"
    return replace(theirs, notes=(*theirs.notes, f"{what} are those that champion {champion} declares"))


def _put_forward(model: ManagedModel, parts: Split, made: Mapping[str, pipeline.Trained], seed: int) -> Retrained:
    champion = model.overview().champion
    sound = {name: each for name, each in made.items() if not each.warnings}
    if not sound:
        reasons = dict.fromkeys(warning for each in made.values() for warning in each.warnings)
        return Retrained(made, champion, None, None, f"nothing was staged: {'; '.join(reasons)}")
    name, best = max(sound.items(), key=lambda item: item[1].metrics.get("val_average_precision", 0.0))
    if best.version is None:
        raise AssertionError("a training under a model's name registers a version")
    comparison = None
    against = ", the first candidate"
    if champion is not None:
        try:
            comparison = model.compare(champion, best.version, data=parts.test, seed=seed)
        except DataError as error:  # it was trained on columns that are empty now
            message = f"nothing was staged: champion {champion} cannot be compared on these rows: {error.what}"
            return Retrained(made, champion, None, None, message)
        if comparison.advice is Advice.KEEP:
            message = f"champion {champion} stays the best; nothing was staged: {comparison.reason}"
            return Retrained(made, champion, comparison, None, message)
        against = f" against champion {champion}: {comparison.reason}"
    message = f"version {best.version} ({name}) is staged{against}"
    model.stage(best.version, reason=f"retraining: {message}"[:900])
    return Retrained(made, champion, comparison, best.version, message)
