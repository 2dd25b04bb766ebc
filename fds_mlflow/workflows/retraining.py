"""What the command line and `mlflow run` do with data: read, cut, train, retrain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fds_mlflow.core.comparison import Advice, Comparison
from fds_mlflow.errors import DataError
from fds_mlflow.model import ManagedModel
from fds_mlflow.runtime import mlflow_client
from fds_mlflow.training import pipeline
from fds_mlflow.training.split import Split
from fds_mlflow.workflows.preparation import prepare
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
        source: Where the transactions come from.
        algorithms: As `train` takes them; None for both of ours.
        split: `time` or `stratified`; by default by time where there is one.
        gap: Time left out before validation and test; by default the label delay of the data.
        target_fpr: The threshold flags at most this share of the genuine validation rows.
        seed: Seed of everything random.
    """
    import mlflow

    for name in algorithms or ():
        pipeline.check_algorithm(name)  # before the data are read
    parts = prepare(source, split=split, seed=seed, gap=gap)
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
