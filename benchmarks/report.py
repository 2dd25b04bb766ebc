"""What every benchmark prints: a table for people on standard error, one JSON object last on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def report(title: str, rows: Iterable[Sequence[object]], result: Mapping[str, Any], as_json: bool) -> None:
    """Print a benchmark's result.

    Args:
        title: Title of the table.
        rows: The table's rows; the first one holds the headings.
        result: What the JSON object holds.
        as_json: Whether to print the JSON object.
    """
    from rich.table import Table

    from fds_mlflow.cli.output.tables import console

    headings, *body = [[_text(cell) for cell in row] for row in rows]
    table = Table(title=title, title_justify="left")
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="left" if position == 0 else "right")
    for row in body:
        table.add_row(*row)
    console(stderr=True).print(table)
    if as_json:
        print(json.dumps(result), flush=True)


def _text(cell: object) -> str:
    if isinstance(cell, bool) or cell is None:
        return str(cell)
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
