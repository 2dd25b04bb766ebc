"""The verbs of a plan: check, template."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fds_mlflow.cli.options import Number, NumberRange, as_json_option, show_value
from fds_mlflow.cli.output import lines
from fds_mlflow.errors import ConfigError

if TYPE_CHECKING:
    from fds_mlflow.core.plan.metric import Metric


@click.group()
def plan() -> None:
    """Rollout plans: what one means and costs, and a template."""


@plan.command("template")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), default=None, help="A new file to write to."
)
def plan_template(output: Path | None) -> None:
    """Print a plan in which every key is explained. As it stands it is the default plan."""
    from fds_mlflow.errors import RefusedError
    from fds_mlflow.rollouts.plan.template import TEMPLATE

    if output is None:
        click.echo(TEMPLATE, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise RefusedError(f"{output} is there already", fix="name another file, or remove it") from None
    lines.say(f"written to {output}")


@plan.command("check")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--traffic", default=None, help="Requests of both variants, such as 50/s, 2000/m or 1e6/d.")
@click.option("--event-rate", type=Number(), default=None, help="Rate that is assumed for every kind of event.")
@click.option(
    "--rate",
    "rates",
    multiple=True,
    help="The champion's rate of one metric: error_rate=0.001; score_shift=0.01 is the mean score. Repeatable.",
)
@click.option(
    "--fraud-rate", type=Number(), default=None, help="Share of frauds; those missed and caught, if not given."
)
@click.option("--loss", type=Number(), default=None, help="Money that a missed fraud takes; 110, if not given.")
@click.option("--alert-cost", type=Number(), default=None, help="Money that one alert takes; else it is not priced.")
@click.option("--harm", type=Number(), default=None, help="Harm of a harmful canary, in boundaries; 2, if not given.")
@click.option(
    "--explore",
    type=NumberRange(0, 100, min_open=True),
    default=None,
    help="Also price letting that percentage of the alerts pass.",
)
@click.option("--explore-cap", type=Number(), default=None, help="Amount of money above which no alert is let pass.")
@as_json_option
def plan_check(
    file: Path,
    traffic: str | None,
    event_rate: float | None,
    rates: tuple[str, ...],
    as_json: bool,
    **given: float | None,
) -> None:
    """Explain the plan in FILE: what it asks, what it cannot see, and how many requests and days it takes.

    For each guardrail it tells what a canary like the champion takes to pass and, given the traffic, what a harmful
    one is given until it is stopped: requests, days, missed frauds or other events, money.
    """
    from fds_mlflow.cli.output import plans
    from fds_mlflow.core.plan.metric import Metric
    from fds_mlflow.rollouts.plan.cost import RATES, check_plan
    from fds_mlflow.rollouts.plan.file import load_plan

    assumed: dict[Metric, float] = {}
    if event_rate is not None:
        assumed = {metric: event_rate for metric in RATES if metric is not Metric.ALERT_PRECISION}
    found = check_plan(
        load_plan(file),
        traffic=None if traffic is None else _traffic(traffic),
        rates={**assumed, **_rates(rates)},
        **{name: value for name, value in given.items() if value is not None},
    )
    show_value(as_json, found, lambda: plans.plan_check(found))


def _traffic(given: str) -> float:
    from fds_mlflow.core.text.duration import to_rate

    try:
        return to_rate("--traffic", given)
    except ConfigError as error:
        raise click.BadParameter(f"{error.what}: {error.fix}", param_hint="--traffic") from None


def _rates(given: tuple[str, ...]) -> dict[Metric, float]:
    from fds_mlflow.core.plan.metric import Metric
    from fds_mlflow.core.text.checks import to_enum

    made: dict[Metric, float] = {}
    for pair in given:
        name, _, value = pair.partition("=")
        metric = to_enum(Metric, "the rate's metric", name)
        if metric in made:
            raise click.BadParameter(f"{name} is given twice", param_hint="--rate")
        try:
            made[metric] = float(value)
        except ValueError:
            raise click.BadParameter(f"{pair!r} is not metric=rate", param_hint="--rate") from None
    return made
