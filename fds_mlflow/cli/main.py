"""The command line: each verb parses, calls and prints; `cli.errors` maps errors to exit codes.

Exit codes: 0 done, 1 refused (the message names the fix), 2 wrong usage; `drift` has 3 and 4 of its own.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from fds_mlflow.cli.adoption import adopt
from fds_mlflow.cli.approvals import approve, policy, reject, requests
from fds_mlflow.cli.canary import canary
from fds_mlflow.cli.card import card
from fds_mlflow.cli.config import config
from fds_mlflow.cli.contexts import settled
from fds_mlflow.cli.data import data
from fds_mlflow.cli.drift import drift
from fds_mlflow.cli.errors import Edge
from fds_mlflow.cli.features import features
from fds_mlflow.cli.help import describe
from fds_mlflow.cli.history import doctor, history, settle
from fds_mlflow.cli.notify import notify
from fds_mlflow.cli.options import (
    COUNT,
    Settings,
    algorithm_option,
    seed_option,
)
from fds_mlflow.cli.outcomes import label, outcomes
from fds_mlflow.cli.plan import plan
from fds_mlflow.cli.rehearse import canary_rehearse
from fds_mlflow.cli.report import canary_report, period_report
from fds_mlflow.cli.rollback import rollback
from fds_mlflow.cli.schema import schema
from fds_mlflow.cli.score import score
from fds_mlflow.cli.serve import serve
from fds_mlflow.cli.training import compare, retrain, simulate, train
from fds_mlflow.cli.versions import aliases, list_models, promote, retire, route, show, stage
from fds_mlflow.runtime import environment
from fds_mlflow.runtime.contexts import SETTINGS


@click.group(cls=Edge, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--context", envvar=environment.CONTEXT, help="A name of fds config for the options below at once.")
@click.option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI; MLflow's default if unset.")
@click.option("--registry-uri", envvar="MLFLOW_REGISTRY_URI", help="MLflow registry URI; the tracking URI if unset.")
@click.option(
    "--outcomes", envvar=environment.OUTCOMES_URI, help="Outcome store's SQLAlchemy URL; or kafka://, parquet:."
)
@click.option("--actor", envvar=environment.ACTOR, help="Who acts, for the history; user@host if unset.")
@click.version_option(package_name="fds-mlflow")
@click.pass_context
def main(ctx: click.Context, /, **_: str | None) -> None:
    """Progressive delivery for fraud models, on nothing but MLflow."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each small file we look at
    ctx.obj = Settings(**(dict.fromkeys(SETTINGS) if ctx.invoked_subcommand == config.name else settled(ctx)))


canary.add_command(canary_report)
canary.add_command(canary_rehearse)
for verb in (
    *(adopt, stage, promote, retire, aliases, list_models, show, card, route, period_report),
    *(history, doctor, settle),
    *(canary, plan, rollback),
    *(policy, requests, approve, reject),
    *(schema, data, features, simulate, train, compare, retrain, drift),
    *(label, outcomes, notify, score, serve, config),
):
    main.add_command(verb)


@main.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="demo-output",
    show_default=True,
    help="Folder for everything it makes; an earlier demo's is replaced.",
)
@click.option("--data", default=None, help="Your own file or folder instead of simulated transactions.")
@click.option("--schema", default=None, help="Its schema: a YAML file, or simulator, sample, handbook or ulb.")
@click.option("--label", default=None, help="Its column that tells the frauds; the schema is inferred then.")
@click.option("--rows", type=COUNT, default=60_000, show_default=True, help="Transactions to simulate.")
@algorithm_option(default="lightgbm", show_default=True, help="Of the versions that are tried as canaries.")
@seed_option
def demo(
    output: Path, data: str | None, schema: str | None, label: str | None, rows: int, algorithm: str, seed: int
) -> None:
    """Tell the whole story: train, compare, promote, a good and a harmful canary, a rollback."""
    from fds_mlflow.cli.demo import run

    if label is not None and data is None:
        raise click.UsageError("--label describes --data, which is missing")
    run(output, data=data, schema=schema, label=label, rows=rows, seed=seed, algorithm=algorithm)


describe(main)
