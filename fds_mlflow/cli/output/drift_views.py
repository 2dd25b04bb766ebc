"""Drift, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from fds_mlflow.cli.output.tables import table
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.core.text.numbers import percent

if TYPE_CHECKING:
    from fds_mlflow.workflows.drifting.drift import Drift

_SHOWN = 25
_COLUMNS = ("quantity", "training", "now", "missing", "effect", "limit", "status")
_COLOURS = {Status.PASS: "green", Status.FAIL: "red", Status.NODATA: "yellow"}


def shown(found: Drift) -> RenderableType:
    """The verdict, its reason, and what has moved farthest."""
    span = "" if found.first is None else f", {found.first:%Y-%m-%d %H:%M} to {found.last:%Y-%m-%d %H:%M} UTC"
    rows = []
    for one in found.changes[:_SHOWN]:
        missing = "" if one.missing is None else percent(one.missing[1])
        effect = "" if one.effect is None else f"{one.effect:.3g}"
        rows.append((one.name, one.before, one.now, missing, effect, f"{one.limit:.3g}", one.status))
    left = len(found.changes) - len(rows)
    title = f"Version {found.version} of {found.model}: {found.rows:,} rows of {found.source}{span}"
    return Group(
        table(title, _COLUMNS, rows, right=_COLUMNS[1:6]),
        *([Text(f"{left:,} more have moved less; drift.json of the run has them.", style="dim")] if left else []),
        Text(f"Compared with {found.reference}; the run is {found.run_id}.", style="dim"),
        *(Text(f"Note: {note}.", style="dim") for note in found.notes),
        Text(f"{found.status.value}: {found.reason}.", style=_COLOURS[found.status]),
    )
