"""The verb of drift."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fds_mlflow.cli.options import (
    VERSION,
    Number,
    Settings,
    as_json_option,
    data_options,
    model_argument,
    show_value,
    trust_option,
)

if TYPE_CHECKING:
    from fds_mlflow.workflows.source import Source

DRIFTED, TOO_FEW = 3, 4
"""Exit codes: a reason to train again; too few rows to tell."""


@click.command()
@model_argument
@click.option("--version", type=VERSION, default=None, help="The version.  [default: the champion]")
@data_options("", "New transactions, and those before them; outcomes:MODEL, as without it, for what was served.")
@click.option("--since", default=None, help="Compare the newest so long, such as 7d.  [default: all with full windows]")
@click.option(
    "--limit", type=Number(), default=0.25, show_default=True, help="Population stability index that is a drift."
)
@trust_option
@as_json_option
@click.pass_context
def drift(
    ctx: click.Context,
    model: str,
    version: int | None,
    source: Source | None,
    since: str | None,
    limit: float,
    as_json: bool,
) -> None:
    """Whether inputs, scores and the fraud rate have drifted from the training of MODEL: a reason to train again.

    The exit code is 0 where nothing has, 3 where something has, 4 where the rows are too few to tell. Table, plot and
    metrics are in an MLflow run of the model.
    """
    from fds_mlflow.cli.output import drift_views
    from fds_mlflow.core.lifecycle.verdict import Status
    from fds_mlflow.core.text.duration import to_duration
    from fds_mlflow.workflows.drifting.drift import drift as compared

    settings: Settings = ctx.obj
    back = None if since is None else to_duration("--since", since)
    found = compared(settings.model(model), source, version=version, since=back, limit=limit)
    show_value(as_json, found, lambda: drift_views.shown(found))
    if found.status is not Status.PASS:
        ctx.exit(DRIFTED if found.status is Status.FAIL else TOO_FEW)
