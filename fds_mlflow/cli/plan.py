"""The verbs of a plan: check, template."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fds_mlflow.cli.options import Number, as_json_option, show_value
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
@click.option("--rate", "rates", multiple=True, help="Rate of one metric: error_rate=0.001. Repeatable.")
@as_json_option
def plan_check(
    file: Path, traffic: str | None, event_rate: float | None, rates: tuple[str, ...], as_json: bool
) -> None:
    """Explain the plan in FILE: what it asks, and how many requests and days it takes until it can answer."""
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
