"""The verbs of a plan: check, template."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fds_mlflow.cli_options import as_json_option, show_value

if TYPE_CHECKING:
    from fds_mlflow.core.guardrail import Metric

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
_TRAFFIC = re.compile(r"([0-9]+(?:\.[0-9]+)?)/(s|min|h|d)")


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
    from fds_mlflow.plan_file import TEMPLATE

    if output is None:
        click.echo(TEMPLATE, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise RefusedError(f"{output} is there already", fix="name another file, or remove it") from None
    click.echo(f"written to {output}")


@plan.command("check")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--traffic", default=None, help="Requests of both variants, such as 50/s, 2000/min or 100000/d.")
@click.option("--event-rate", type=float, default=None, help="Rate that is assumed for every kind of event.")
@click.option("--rate", "rates", multiple=True, help="Rate of one metric: error_rate=0.001. Repeatable.")
@as_json_option
def plan_check(
    file: Path, traffic: str | None, event_rate: float | None, rates: tuple[str, ...], as_json: bool
) -> None:
    """Explain the plan in FILE: what it asks, and how many requests and days it takes until it can answer."""
    from fds_mlflow import plan_render
    from fds_mlflow.core.guardrail import Metric
    from fds_mlflow.plan_check import RATES, check_plan
    from fds_mlflow.plan_file import load_plan

    assumed: dict[Metric, float] = {}
    if event_rate is not None:
        assumed = {metric: event_rate for metric in RATES if metric is not Metric.ALERT_PRECISION}
    found = check_plan(load_plan(file), traffic=_per_second(traffic), rates={**assumed, **_rates(rates)})
    show_value(as_json, found, lambda: plan_render.plan_check(found))


def _per_second(text: str | None) -> float | None:
    if text is None:
        return None
    found = _TRAFFIC.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no rate such as 50/s", param_hint="--traffic")
    return float(found[1]) / _SECONDS[found[2]]


def _rates(given: tuple[str, ...]) -> dict[Metric, float]:
    from fds_mlflow.core.guardrail import Metric
    from fds_mlflow.core.settings import to_enum

    made = {}
    for pair in given:
        name, _, value = pair.partition("=")
        try:
            made[to_enum(Metric, "the rate's metric", name)] = float(value)
        except ValueError:
            raise click.BadParameter(f"{pair!r} is not metric=rate", param_hint="--rate") from None
    return made
