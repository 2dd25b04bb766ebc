"""The verb that rehearses a rollout on labelled history."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fds_mlflow.cli.options import VERSION, Number, Settings, as_json_option, seed_option, show_value, trust_option

if TYPE_CHECKING:
    import pandas as pd


@click.command("rehearse")
@click.option("--plan", "plan_file", required=True, type=click.Path(dir_okay=False, path_type=Path), help="YAML file.")
@click.option("--data", required=True, help="CSV or Parquet file of labelled history, in order of time.")
@click.option("--model", default=None, help="Score the history with versions of this model; else it holds scores.")
@click.option("--version", type=VERSION, default=None, help="The canary, with --model.")
@click.option("--champion", type=VERSION, default=None, help="The champion; today's without.")
@click.option("--schema", default=None, help="Schema of the history, with --model.")
@click.option("--scores", default="champion_score,canary_score", show_default=True, help="Columns of the two scores.")
@click.option("--thresholds", default="0.5,0.5", show_default=True, help="The two thresholds, with --scores.")
@click.option("--key", default="transaction_id", show_default=True, help="Column of the routing key.")
@click.option("--time", "time_column", default="time", show_default=True, help="Column of the time.")
@click.option("--label", default="label", show_default=True, help="Column of the label; empty where nobody knows.")
@click.option("--amount", default="amount", show_default=True, help='Column of money at risk; "" for none.')
@click.option(
    "--replays", type=click.IntRange(20, 100_000), default=200, show_default=True, help="Rollouts per question."
)
@click.option(
    "--error-rate",
    type=Number(),
    default=0.001,
    show_default=True,
    help="Share of requests that fail with either version.",
)
@seed_option
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Write the plot here (PNG)."
)
@trust_option
@as_json_option
@click.pass_obj
def canary_rehearse(
    settings: Settings,
    plan_file: Path,
    data: str,
    model: str | None,
    version: int | None,
    champion: int | None,
    schema: str | None,
    scores: str,
    thresholds: str,
    key: str,
    time_column: str,
    label: str,
    amount: str,
    replays: int,
    error_rate: float,
    seed: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Replay labelled history through a plan, before the release.

    Tells how long each step would take at this traffic, the chance of a false abort, the smallest regression that
    would be caught and after how many requests, and the money at risk.
    """
    from fds_mlflow.cli.output import plans
    from fds_mlflow.cli.output.progress import parts, stages
    from fds_mlflow.rollouts.plan.file import load_plan
    from fds_mlflow.rollouts.rehearsal.rehearsal import Columns, rehearse

    plan = load_plan(plan_file)
    names = _pair(scores, "--scores")
    limits = _numbers(thresholds)
    if model is not None:
        if version is None:
            raise click.UsageError("--model needs --version: which of its versions is the canary")
        with stages(as_json=as_json) as told:
            told("reading the data, computing the features and both versions' scores")
            history, limits = _scored(settings, model, (champion, version), data, schema)
        names = ("champion_score", "canary_score")
    else:
        history = _read(data)
    columns = Columns(names[0], names[1], key, time_column, label, amount or None)
    with parts("replaying", as_json=as_json) as progress:
        found = rehearse(
            history,
            plan,
            limits,
            columns=columns,
            replays=replays,
            error_rate=error_rate,
            seed=seed,
            progress=progress,
        )
    if plot is not None:
        from fds_mlflow.rollouts.rehearsal.plot import draw

        draw(found, Path(data).name).savefig(plot, dpi=150)
    show_value(as_json, found, lambda: plans.rehearsal(found))


def _pair(text: str, option: str) -> tuple[str, str]:
    first, comma, second = text.partition(",")
    if not comma or not first or not second:
        raise click.BadParameter(f"{text!r} is no pair such as a,b", param_hint=option)
    return first.strip(), second.strip()


def _numbers(text: str) -> tuple[float, float]:
    pair = _pair(text, "--thresholds")
    try:
        return float(pair[0]), float(pair[1])
    except ValueError:
        raise click.BadParameter(f"{text!r} holds no numbers", param_hint="--thresholds") from None


def _read(data: str) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    from fds_mlflow.data import readers
    from fds_mlflow.errors import DataError
    from fds_mlflow.runtime import text_file

    path = Path(data)
    names = readers.column_names(path)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{data} has two columns named {twice!r}", fix="rename one of them")
    try:
        if text_file.is_parquet(path):
            frame: pd.DataFrame = pa.concat_tables(readers.every_column(path)).to_pandas()
            return frame
        with text_file.opened(path) as file:
            return pd.read_csv(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{data} cannot be read: {error}", fix="name a CSV or Parquet file") from error


def _scored(
    settings: Settings, name: str, versions: tuple[int | None, int], data: str, schema: str | None
) -> tuple[pd.DataFrame, tuple[float, float]]:
    """The history with both versions' scores, and their thresholds."""
    from fds_mlflow.errors import ConfigError, RefusedError
    from fds_mlflow.scoring.earlier import score_table
    from fds_mlflow.workflows.preparation import featurised_for
    from fds_mlflow.workflows.source import Source

    model = settings.model(name)
    champion = versions[0] or model.overview().champion
    if champion is None:
        raise RefusedError("there is no champion to rehearse against", fix="name one with --champion")
    transactions = Source(data, schema).read()
    if transactions.period is None:
        raise ConfigError(
            f"{data} has no time, and a rehearsal plays transactions in their order",
            fix="name the column under 'time' in the schema",
        )
    frame = featurised_for(model, [champion, versions[1]], transactions).frame
    frame = frame.sort_values("time", kind="stable", ignore_index=True)
    scorers = model.scorer(champion), model.scorer(versions[1])
    scored = {f"{role}_score": score_table(s, frame) for role, s in zip(("champion", "canary"), scorers, strict=True)}
    return frame.assign(**scored), (scorers[0].threshold, scorers[1].threshold)
