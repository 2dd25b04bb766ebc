"""What was served beside the batch and the training, for people and for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from fds_mlflow.cli.output.tables import table

if TYPE_CHECKING:
    from fds_mlflow.workflows.skew import History, Skew

_COLUMNS = ("feature", "drift", "rows", "differ", "largest", "relative")


def plain(found: Skew) -> dict[str, Any]:
    """One version, in JSON's types."""
    history = found.history
    return {
        "version": found.version,
        "vectors": found.vectors,
        "degraded": found.degraded,
        "first": found.first,
        "last": found.last,
        "trained_on": found.trained_on,
        "note": found.note,
        "history": None
        if history is None
        else {
            name: getattr(history, name)
            for name in ("compared", "mismatched", "absent", "computed_elsewhere", "late", "unseen")
        },
        "features": features(found),
    }


def features(found: Skew) -> list[dict[str, Any]]:
    """Each feature: what drifts most first, and before it what differs."""
    apart = {} if found.history is None else {one.feature: one for one in found.history.features}
    rows = []
    for name in dict.fromkeys((*apart, *found.drift)):
        one = apart.get(name)
        rows.append(
            {
                "feature": name,
                "drift": found.drift.get(name),
                "rows": None if one is None else one.rows,
                "differ": None if one is None else one.differ,
                "largest": None if one is None else one.largest,
                "relative": one.relative if one is not None and one.relative and isfinite(one.relative) else None,
            }
        )
    return sorted(rows, key=lambda row: (-(row["differ"] or 0), -(row["drift"] or 0.0), row["feature"]))


def shown(found: Sequence[Skew]) -> RenderableType:
    """All of them, for people."""
    return Group(*(part for one in found for part in _version(one)))


def _version(found: Skew) -> Iterator[RenderableType]:
    span = f"{found.first:%Y-%m-%d %H:%M} to {found.last:%Y-%m-%d %H:%M} UTC"
    degraded = f", {found.degraded:,} more were degraded" if found.degraded else ""
    yield Text(f"version {found.version}: features of {found.vectors:,} transactions, {span}{degraded}")
    if found.note:
        yield Text(f"nothing is compared with its training: {found.note}")
    else:
        yield Text(f"drift: from the {found.trained_on:,} rows that it was trained on, 0 to 1")
    if found.history is not None:
        yield from _history(found.history)
    rows = [[one[name] for name in _COLUMNS] for one in features(found)]
    yield table(f"Features of version {found.version}", _COLUMNS, rows, right=_COLUMNS[1:])


def _history(history: History) -> Iterator[RenderableType]:
    differ = f"{history.mismatched:,} of {history.compared:,} compared with the batch differ"
    yield Text(differ, style="red" if history.mismatched else "green")
    if history.absent:
        yield Text(f"{history.absent:,} are not in the history")
    if history.late or history.unseen:
        yield Text(
            f"of the history in that time {history.late:,} transactions were scored after a later one, and"
            f" {history.unseen:,} have no outcome: what was served did not see them in time"
        )
