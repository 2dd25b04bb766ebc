"""The verb of schemas: infer."""

from __future__ import annotations

import click

from fds_mlflow.cli.options import as_json_option
from fds_mlflow.runtime import streams


@click.group()
def schema() -> None:
    """Schemas: which column of a source plays which role."""


@schema.command()
@click.argument("file")
@click.option("--label", default=None, help="The column that tells the frauds; nothing is asked then.")
@click.option("--no-label", is_flag=True, help="There is none: only an isolation forest can be trained.")
@click.option("--table", default=None, help="Table to read, where FILE is a database URL.")
@click.option("--query", default=None, help="Query to read, where FILE is a database URL.")
@click.option("--sheet", default=None, help="Sheet to read, where FILE is a workbook; its first by default.")
@as_json_option
def infer(
    file: str,
    label: str | None,
    no_label: bool,
    table: str | None,
    query: str | None,
    sheet: str | None,
    as_json: bool,
) -> None:
    """Write the schema of FILE, with the evidence as comments: fds schema infer shop.csv > shop.schema.yaml.

    FILE is a text file (also compressed), a Parquet file, a workbook, a folder of such files, or a SQLAlchemy URL.
    """
    from fds_mlflow.cli.output.progress import bar
    from fds_mlflow.data import inference

    if no_label and label is not None:
        raise click.UsageError("--label and --no-label contradict each other")
    options = {"table": table, "query": query, "sheet": sheet}
    with bar("Reading") as progress:
        found = inference.infer(file, label, labelled=not no_label, progress=progress, **options)
    if as_json:
        streams.say(found.plain())
        return
    streams.say_text(found.yaml())
