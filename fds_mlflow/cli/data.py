"""The verb of data: describe."""

from __future__ import annotations

import click

from fds_mlflow.cli.options import as_json_option, show_value


@click.group()
def data() -> None:
    """Data: what a source of transactions holds."""


@data.command()
@click.argument("file")
@click.option("--schema", default=None, help="Schema: a YAML file, or simulator, sample, handbook or ulb.")
@click.option("--label", default=None, help="The column that tells the frauds, where there is no schema.")
@click.option("--table", default=None, help="Table to read, where FILE is a database URL.")
@click.option("--query", default=None, help="Query to read, where FILE is a database URL.")
@as_json_option
def describe(
    file: str, schema: str | None, label: str | None, table: str | None, query: str | None, as_json: bool
) -> None:
    """Profile FILE: rows, period, fraud over time, gaps, duplicates, entities, and the features it allows.

    Without --schema it is read by NAME.schema.yaml beside it, by a shipped schema that fits, or by what
    `fds schema infer` would say.
    """
    from fds_mlflow.cli.output import profiles
    from fds_mlflow.cli.output.progress import bar
    from fds_mlflow.workflows import profile
    from fds_mlflow.workflows.source import Source

    with bar("Reading") as progress:
        source, inferred = Source(file, schema, table, query, progress).described(label)
        found = profile.of(source)
    by = "an inferred schema" if inferred is not None else f"the schema {source.schema or 'simulator'}"
    show_value(as_json, {**profiles.plain(found), "schema": by}, lambda: profiles.shown(found, by, inferred))
