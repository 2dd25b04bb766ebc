"""The verbs of data and training: simulate, train, compare, retrain."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fds_mlflow.cli.options import (
    COUNT,
    VERSION,
    AliasedOption,
    Number,
    Settings,
    algorithm_option,
    as_json_option,
    data_options,
    features_option,
    model_argument,
    seed_option,
    show_value,
    split_options,
    trust_option,
)
from fds_mlflow.errors import ConfigError

if TYPE_CHECKING:
    from fds_mlflow.workflows.source import Source

_target_fpr = click.option(
    "--target-fpr", type=Number(), default=0.02, show_default=True, help="False positive rate aimed at."
)


@click.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--rows", type=COUNT, default=100_000, show_default=True, help="Transactions to simulate.")
@click.option("--days", type=Number(), default=90.0, show_default=True, help="Length of the period.")
@click.option("--fraud-rate", type=Number(), default=0.01, show_default=True, help="Share of frauds.")
@seed_option
@as_json_option
def simulate(output: Path, rows: int, days: float, fraud_rate: float, seed: int, as_json: bool) -> None:
    """Write simulated transactions to OUTPUT (.parquet or .csv)."""
    from fds_mlflow.workflows.source import write_simulation

    frame = write_simulation(output, rows=rows, days=days, fraud_rate=fraud_rate, seed=seed)
    value = {"output": str(output), "rows": len(frame), "frauds": int(frame["is_fraud"].sum())}
    show_value(as_json, value, lambda: f"{value['rows']:,} transactions, {value['frauds']:,} frauds -> {output}")


def _parameters(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> dict[str, object]:
    from fds_mlflow.training.parameters import from_pairs

    try:
        return from_pairs(given)
    except ConfigError as error:
        raise click.BadParameter(f"{error.what}: {error.fix}") from None


@click.command()
@model_argument
@algorithm_option(
    default="lightgbm",
    show_default=True,
    help="With labels to learn from, by what stands apart, or a function of your own.",
)
@data_options()
@features_option("all that the data allow")
@split_options
@_target_fpr
@seed_option
@click.option(
    "--param",
    "params",
    multiple=True,
    callback=_parameters,
    help="Parameter of the algorithm: name=value, the value as JSON or text. Repeatable.",
)
@click.option(
    "--memory-limit",
    help="Compute the features of a file within so much memory, such as 4GB, and train from the disk.",
)
@as_json_option
@click.pass_obj
def train(
    settings: Settings,
    model: str,
    algorithm: str,
    source: Source,
    features: str | None,
    split: str | None,
    gap: timedelta | None,
    target_fpr: float,
    seed: int,
    params: dict[str, object],
    memory_limit: str | None,
    as_json: bool,
) -> None:
    """Train a version of MODEL in an MLflow run and register it."""
    from fds_mlflow.cli.output.trainings import training, warnings_told
    from fds_mlflow.training.pipeline import check_algorithm
    from fds_mlflow.workflows.preparation import prepare
    from fds_mlflow.workflows.retraining import train

    settings.model(model)  # opens the registry: an address that cannot work is said before the data are read
    check_algorithm(algorithm)
    parts = prepare(source, features=features, split=split, seed=seed, gap=gap, memory_limit=memory_limit)
    with warnings_told():
        trained = train(parts, model, algorithm=algorithm, params=params, target_fpr=target_fpr, seed=seed)
    title = f"Version {trained.version} of {model}: {algorithm}, run {trained.run_id}"
    show_value(as_json, trained, lambda: training(title, trained))


@click.command()
@model_argument
@click.argument("baseline", type=VERSION)
@click.argument("candidate", type=VERSION)
@data_options()
@split_options
@click.option(
    "--n-boot",
    cls=AliasedOption,
    old="--rounds",
    type=COUNT,
    default=500,
    show_default=True,
    help="Bootstrap samples of the intervals.",
)
@seed_option
@trust_option
@as_json_option
@click.pass_obj
def compare(
    settings: Settings,
    model: str,
    baseline: int,
    candidate: int,
    source: Source,
    split: str | None,
    gap: timedelta | None,
    n_boot: int,
    seed: int,
    as_json: bool,
) -> None:
    """Score both versions on the same rows (the test part of the data) and compare them."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.workflows.preparation import prepare_for

    managed = settings.model(model)
    parts = prepare_for(managed, [baseline, candidate], source, split=split, seed=seed, gap=gap)
    made = managed.compare(baseline, candidate, data=parts.test, n_boot=n_boot, seed=seed)
    show_value(as_json, made, lambda: tables.comparison(made, f"version {baseline}", f"version {candidate}"))


@click.command()
@model_argument
@algorithm_option("algorithms", multiple=True, help="Train by this; repeatable. By default by both of ours.")
@data_options()
@features_option("those of the champion, else all that the data allow")
@split_options
@_target_fpr
@seed_option
@as_json_option
@click.pass_obj
def retrain(
    settings: Settings,
    model: str,
    algorithms: tuple[str, ...],
    source: Source,
    features: str | None,
    split: str | None,
    gap: timedelta | None,
    target_fpr: float,
    seed: int,
    as_json: bool,
) -> None:
    """Train by each algorithm, compare the versions with the champion on the same rows, and stage the best."""
    from fds_mlflow.cli.output.trainings import retraining, warnings_told
    from fds_mlflow.workflows.retraining import retrain

    managed = settings.model(model)
    with warnings_told():
        made = retrain(
            managed,
            source,
            algorithms=algorithms or None,
            features=features,
            split=split,
            gap=gap,
            target_fpr=target_fpr,
            seed=seed,
        )
    show_value(as_json, made, lambda: retraining(made))
