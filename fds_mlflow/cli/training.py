"""The verbs of data and training: simulate, train, compare, retrain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fds_mlflow.cli.options import (
    COUNT,
    AliasedOption,
    Settings,
    as_json_option,
    data_options,
    model_argument,
    seed_option,
    show_value,
)

if TYPE_CHECKING:
    from fds_mlflow.workflows.source import Source

_split = click.option(
    "--split",
    type=click.Choice(["time", "stratified"]),
    default="time",
    show_default=True,
    help="Cut by time, or at random with the same share of fraud in each part.",
)


_target_fpr = click.option("--target-fpr", default=0.02, show_default=True, help="False positive rate aimed at.")


@click.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--rows", type=COUNT, default=100_000, show_default=True, help="Transactions to simulate.")
@click.option("--days", default=90.0, show_default=True, help="Length of the period.")
@click.option("--fraud-rate", default=0.01, show_default=True, help="Share of frauds.")
@seed_option
@as_json_option
def simulate(output: Path, rows: int, days: float, fraud_rate: float, seed: int, as_json: bool) -> None:
    """Write simulated transactions to OUTPUT (.parquet or .csv)."""
    from fds_mlflow.workflows.source import write_simulation

    frame = write_simulation(output, rows=rows, days=days, fraud_rate=fraud_rate, seed=seed)
    value = {"output": str(output), "rows": len(frame), "frauds": int(frame["is_fraud"].sum())}
    show_value(as_json, value, lambda: f"{value['rows']:,} transactions, {value['frauds']:,} frauds -> {output}")


@click.command()
@model_argument
@click.option(
    "--algorithm",
    type=click.Choice(["lightgbm", "isolation_forest"]),
    default="lightgbm",
    show_default=True,
    help="With labels to learn from, or by what stands apart.",
)
@data_options()
@_split
@_target_fpr
@seed_option
@click.option("--param", "params", multiple=True, help="Parameter of the algorithm: name=value. Repeatable.")
@as_json_option
@click.pass_obj
def train(
    settings: Settings,
    model: str,
    algorithm: str,
    source: Source,
    split: str,
    target_fpr: float,
    seed: int,
    params: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train a version of MODEL in an MLflow run and register it."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.workflows.preparation import prepare
    from fds_mlflow.workflows.retraining import train

    given = _parameters(params)
    settings.model(model)  # opens the registry: an address that cannot work is said before the data are read
    parts = prepare(source, split=split, seed=seed)
    trained = train(parts, model, algorithm=algorithm, params=given, target_fpr=target_fpr, seed=seed)
    rows = sorted(trained.metrics.items())
    title = f"Version {trained.version} of {model}: {algorithm}, run {trained.run_id}"
    show_value(as_json, trained, lambda: tables.table(title, ("metric", "value"), rows, right=("value",)))


def _parameters(given: tuple[str, ...]) -> dict[str, Any]:
    """`name=value` pairs; values read as JSON where they are JSON, else as text."""
    made: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not name=value", param_hint="--param")
        try:
            made[name] = json.loads(value)
        except json.JSONDecodeError:
            made[name] = value
    return made


@click.command()
@model_argument
@click.argument("baseline", type=click.IntRange(min=1))
@click.argument("candidate", type=click.IntRange(min=1))
@data_options()
@_split
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
@as_json_option
@click.pass_obj
def compare(
    settings: Settings,
    model: str,
    baseline: int,
    candidate: int,
    source: Source,
    split: str,
    n_boot: int,
    seed: int,
    as_json: bool,
) -> None:
    """Score both versions on the same rows (the test part of the data) and compare them."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.workflows.preparation import prepare

    managed = settings.model(model)
    parts = prepare(source, split=split, seed=seed)
    made = managed.compare(baseline, candidate, data=parts.test, n_boot=n_boot, seed=seed)
    show_value(as_json, made, lambda: tables.comparison(made, f"version {baseline}", f"version {candidate}"))


@click.command()
@model_argument
@data_options()
@_split
@_target_fpr
@seed_option
@as_json_option
@click.pass_obj
def retrain(
    settings: Settings,
    model: str,
    source: Source,
    split: str,
    target_fpr: float,
    seed: int,
    as_json: bool,
) -> None:
    """Train both algorithms, compare them with the champion on the same rows, and stage the best."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.workflows.retraining import retrain

    managed = settings.model(model)
    made = retrain(managed, source, split=split, target_fpr=target_fpr, seed=seed)
    columns = ("version", "algorithm", "average precision", "recall", "FPR")
    rows = [
        (
            t.version,
            name,
            t.metrics.get("average_precision"),
            t.metrics.get("recall"),
            t.metrics.get("false_positive_rate"),
        )
        for name, t in made.trained.items()
    ]
    show_value(as_json, made, lambda: tables.table(made.message, columns, rows, right=columns[2:]))
