"""The verb that takes on a model which is there already."""

from __future__ import annotations

import click

from fds_mlflow.cli.options import (
    Number,
    Settings,
    as_json_option,
    dry_run_option,
    model_argument,
    reason_option,
    show_done,
    trust_option,
    with_warnings,
)


@click.command()
@model_argument
@click.argument("source")
@click.option(
    "--data", "files", multiple=True, help="Rows of the model's own columns, and the label: file or folder. Repeatable."
)
@click.option("--label", default=None, help="The data's label; by default `label`, or what is named like one.")
@click.option("--positive-class", default=None, help="Class or column that means fraud; by default what says so.")
@click.option("--threshold", type=Number(), default=None, help="Score from which a transaction is flagged.")
@click.option(
    "--target-fpr",
    type=Number(),
    default=None,
    help="False positive rate to choose the threshold for; 0.02 with --data.",
)
@reason_option(required=False)
@trust_option
@dry_run_option
@as_json_option
@click.pass_obj
def adopt(
    settings: Settings,
    model: str,
    source: str,
    files: tuple[str, ...],
    label: str | None,
    positive_class: str | None,
    threshold: float | None,
    target_fpr: float | None,
    reason: str,
    as_json: bool,
) -> None:
    """Make a model that is there already a candidate of MODEL.

    SOURCE is a version's number, a run's id, an address that MLflow loads a model from, or a folder. The model stays
    as it is: tags say how its answers become scores, or a new version wraps a copy of it.
    """
    from fds_mlflow.workflows.adoption.adoption import adopt
    from fds_mlflow.workflows.adoption.rows import read

    if threshold is not None and target_fpr is not None:
        raise click.UsageError("--threshold and --target-fpr both say where to flag: give one")
    managed = settings.model(model)
    made = adopt(
        managed,
        source,
        data=read(files) if files else None,
        label=label,
        positive_class=positive_class,
        threshold=threshold,
        target_fpr=target_fpr,
        reason=reason,
    )
    show_done(as_json, managed.preview(), made, with_warnings(made.message, made.warnings))
