"""The verbs of data and training: simulate, train, compare, retrain."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fds_mlflow.cli.aliased import AliasedOption
from fds_mlflow.cli.canary import INTERRUPTED
from fds_mlflow.cli.options import (
    COUNT,
    Number,
    Settings,
    algorithm_option,
    as_json_option,
    data_options,
    dry_run_option,
    effort_options,
    features_option,
    model_argument,
    number_argument,
    seed_option,
    show_value,
    split_options,
    trust_option,
)
from fds_mlflow.cli.retraining import loop_options, plan_named
from fds_mlflow.errors import ConfigError
from fds_mlflow.runtime import environment

if TYPE_CHECKING:
    from fds_mlflow.training.search import Search
    from fds_mlflow.workflows.retraining.feedback import Feedback
    from fds_mlflow.workflows.retraining.staging import Policy
    from fds_mlflow.workflows.source import Source

_target_fpr = click.option(
    "--target-fpr", type=Number(), default=0.02, show_default=True, help="False positive rate aimed at."
)


@click.command()
@click.argument("output", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--rows", type=COUNT, default=100_000, show_default=True, help="Transactions to simulate.")
@click.option("--days", type=Number(), default=90.0, show_default=True, help="Length of the period.")
@click.option("--fraud-rate", type=Number(), default=0.01, show_default=True, help="Share of frauds.")
@seed_option
@click.option("--serve", "url", metavar="URL", help="Send them to a server that runs, with their labels, instead.")
@click.option("--rate", default="100/s", show_default=True, help="With --serve: how many to send, such as 50/s.")
@click.option(
    "--label-delay", default="5s", show_default=True, help="With --serve: how long after a transaction its label comes."
)
@click.option("--token", envvar=environment.SERVE_TOKEN, help="With --serve: the server's bearer token.")
@as_json_option
def simulate(
    output: Path | None,
    rows: int,
    days: float,
    fraud_rate: float,
    seed: int,
    url: str | None,
    rate: str,
    label_delay: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Write simulated transactions to OUTPUT (.parquet or .csv), or send them to a server.

    A server is sent raw transactions, up to now, under new ids: it needs a state (`fds serve MODEL --state FOLDER`).
    """
    from fds_mlflow.workflows.source import write_simulation

    if (output is None) == (url is None):
        raise click.UsageError("give either OUTPUT or --serve URL")
    options: dict[str, Any] = {"days": days, "fraud_rate": fraud_rate, "seed": seed}
    if url is not None:
        _send(url, rows, options, rate, label_delay, token, as_json=as_json)
        return
    assert output is not None
    frame = write_simulation(output, rows=rows, **options)
    value = {"output": str(output), "rows": len(frame), "frauds": int(frame["is_fraud"].sum())}
    show_value(as_json, value, lambda: f"{value['rows']:,} transactions, {value['frauds']:,} frauds -> {output}")


def _send(
    url: str, rows: int, options: dict[str, Any], rate: str, label_delay: str, token: str | None, *, as_json: bool
) -> None:
    """Send simulated transactions to a server; what came of it is shown when Ctrl-C ends it, too."""
    import httpx

    from fds_mlflow.cli.output.progress import bar
    from fds_mlflow.core.text.duration import to_duration, to_rate
    from fds_mlflow.runtime.clock import SystemClock
    from fds_mlflow.workflows import traffic

    clock, sent = SystemClock(), traffic.Traffic()
    pace: dict[str, Any] = {"rate": to_rate("--rate", rate), "label_delay": to_duration("--label-delay", label_delay)}
    frame = traffic.simulated(rows, **options, now=clock.now())
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    code = 0
    try:
        with httpx.Client(base_url=url, headers=headers, trust_env=False) as client, bar("Sending") as progress:
            traffic.send(client, frame, sent, **pace, clock=clock, progress=progress)
    except KeyboardInterrupt:
        code = INTERRUPTED
    who = ", ".join(f"{variant} {count:,}" for variant, count in sorted(sent.answered.items(), reverse=True))
    said = f"{sent.frauds:,} frauds, {sent.flagged:,} flagged, {sent.labels:,} labels -> {url}"
    show_value(as_json, sent, lambda: f"{sent.answered.total():,} transactions ({who}), {said}")
    raise SystemExit(code)


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
@effort_options
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
    test_from: datetime | None,
    target_fpr: float,
    seed: int,
    seeds: int | None,
    search: Search | None,
    params: dict[str, object],
    memory_limit: str | None,
    as_json: bool,
) -> None:
    """Train a version of MODEL in an MLflow run and register it."""
    from fds_mlflow.cli.output.progress import stages
    from fds_mlflow.cli.output.trainings import closing, training, warnings_told
    from fds_mlflow.training.pipeline import check_algorithm
    from fds_mlflow.workflows.preparation import prepare
    from fds_mlflow.workflows.quality import reference
    from fds_mlflow.workflows.retraining.retraining import train

    managed = settings.model(model)  # opens the registry: an address that cannot work is said before the data are read
    check_algorithm(algorithm)
    known = reference(managed)
    effort: dict[str, Any] = {"seeds": seeds, "search": search}
    with stages(as_json=as_json) as stage, warnings_told():
        stage("reading the data, computing the features")
        parts = prepare(
            source,
            features=features,
            split=split,
            seed=seed,
            gap=gap,
            test_from=test_from,
            memory_limit=memory_limit,
            reference=known,
        )
        stage(f"training {algorithm} on {len(parts.train):,} rows")
        trained = train(parts, model, algorithm=algorithm, params=params, target_fpr=target_fpr, seed=seed, **effort)
    version = int(trained.version or 0)
    title = f"Version {version} of {model}: {algorithm}, run {trained.run_id}"
    show_value(as_json, trained, lambda: training(title, trained, closing(managed, version)))


@click.command()
@model_argument
@number_argument("baseline")
@number_argument("candidate")
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
    test_from: datetime | None,
    n_boot: int,
    seed: int,
    as_json: bool,
) -> None:
    """Score both versions on the same rows (the test part of the data) and compare them."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.cli.output.progress import stages
    from fds_mlflow.workflows.preparation import prepare_for

    managed = settings.model(model)
    with stages(as_json=as_json) as stage:
        stage("reading the data, computing the features")
        cut: dict[str, Any] = {"split": split, "seed": seed, "gap": gap, "test_from": test_from}
        parts = prepare_for(managed, [baseline, candidate], source, **cut)
        stage(f"scoring {len(parts.test):,} rows by versions {baseline} and {candidate}")
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
@loop_options
@effort_options
@dry_run_option
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
    test_from: datetime | None,
    target_fpr: float,
    seed: int,
    labels: Feedback | None,
    policy: Policy,
    canary: str | None,
    force: bool,
    seeds: int | None,
    search: Search | None,
    as_json: bool,
) -> None:
    """Train by each algorithm, compare the versions with the champion on the same rows, and stage the best.

    One job, from labels to the canary: done once for the same inputs, taken up where it was interrupted, and one at a
    time.
    """
    from fds_mlflow.cli.output.progress import stages
    from fds_mlflow.cli.output.trainings import retraining, warnings_told
    from fds_mlflow.workflows.retraining.retraining import retrain

    managed = settings.model(model)
    with stages(as_json=as_json) as stage, warnings_told():
        made = retrain(
            managed,
            source,
            algorithms=algorithms or None,
            features=features,
            split=split,
            gap=gap,
            test_from=test_from,
            target_fpr=target_fpr,
            seed=seed,
            labels=labels,
            policy=policy,
            canary=plan_named(managed, canary),
            force=force,
            seeds=seeds,
            search=search,
            on_stage=stage,
        )
    show_value(as_json, made, lambda: retraining(made))
