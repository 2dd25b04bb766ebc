"""The verb that scores a batch: many rows at once, on this machine or on Spark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fds_mlflow.cli.options import VERSION, Settings, as_json_option, model_argument, show_value, trust_option

if TYPE_CHECKING:
    from fds_mlflow.workflows.batch.batch import Scored


@click.command()
@model_argument
@click.option(
    "--input",
    "source",
    required=True,
    help="Parquet or text file, or folder of those: rows with the features, or raw transactions.",
)
@click.option("--output", required=True, help="Parquet file to write; with Spark a folder of them.")
@click.option("--version", type=VERSION, default=None, help="Score by this version.")
@click.option("--alias", default=None, help="Score by the version of this alias, such as champion.")
@click.option("--rollout", is_flag=True, help="Score each row by the version that its key is routed to.")
@click.option(
    "--engine",
    type=click.Choice(["local", "spark"]),
    default="local",
    show_default=True,
    help="Where: in this process, or on Spark.",
)
@click.option("--key", default="transaction_id", show_default=True, help="Column of the routing key.")
@click.option(
    "--transaction", default=None, help="Column that labels are joined on.  [default: transaction_id, else the key]"
)
@click.option("--record", is_flag=True, help="Write an outcome for each row to the outcome store, once.")
@trust_option
@as_json_option
@click.pass_obj
def score(
    settings: Settings,
    model: str,
    source: str,
    output: str,
    version: int | None,
    alias: str | None,
    rollout: bool,
    engine: Literal["local", "spark"],
    key: str,
    transaction: str | None,
    record: bool,
    as_json: bool,
) -> None:
    """Score a file's rows into Parquet, by one version of MODEL or by the split of its rollout.

    Raw transactions have the columns of the schema that the version declares; their features are computed from the
    file's own rows. The output appears when it is complete. With --record, what is scored by the split is evidence for
    the rollout, as requests are; what is scored by one version is recorded outside of it, and is none.
    """
    from fds_mlflow.cli.output.progress import bar
    from fds_mlflow.workflows.batch import batch
    from fds_mlflow.workflows.batch.versions import Choice

    if [version is not None, alias is not None, rollout].count(True) != 1:
        raise click.UsageError("give one of --version, --alias and --rollout: which version scores a row")
    with bar("Scoring") as progress:
        done = batch.score(
            settings.model(model),
            Path(source) if engine == "local" else source,
            output,
            choice=Choice(version, alias),
            key=key,
            transaction=transaction,
            record=record,
            engine=engine,
            progress=progress,
        )
    show_value(as_json, done, lambda: _shown(done))


def _shown(done: Scored) -> str:
    by = ", ".join(f"{rows:,} by version {version}" for version, rows in done.by_version.items())
    said = [f"{done.rows:,} rows scored ({by}), {done.flagged:,} of them flagged: {done.output}"]
    if done.failed:
        said.append(f"Warning: the canary could not score {done.failed:,} of its rows; the champion did")
    if done.recorded is not None:
        said.append(f"{done.recorded:,} outcomes recorded, {done.rows - done.recorded - done.refused:,} there already")
    if done.refused:
        said.append(f"Warning: the store refused {done.refused:,} outcomes; the log says why")
    return "\n".join(said)
