"""What people read of a training: what it rests on, how it scores, what was left out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from fds_mlflow.cli.output import lines, tables

if TYPE_CHECKING:
    from fds_mlflow.training.pipeline import Trained
    from fds_mlflow.workflows.retraining import Retrained


def training(title: str, trained: Trained) -> Group:
    """One version: its parts, its figures, and what was left out."""
    parts = [(name, part.rows, part.frauds, part.flagged) for name, part in trained.parts.items()]
    figures = sorted(trained.metrics.items())
    columns = ("part", "rows", "frauds", "flagged")
    rests_on = f"Trees: {trained.trees:,}, features: {len(trained.features)}"
    return Group(
        tables.table(rests_on, columns, parts, right=columns[1:]),
        tables.table(title, ("metric", "value"), figures, right=("value",)),
        *_sentences(trained),
    )


def retraining(made: Retrained) -> Group:
    """Both versions beside each other, and what was left out."""
    columns = ("version", "algorithm", "trees", "average precision", "recall", "FPR")
    names = ("average_precision", "recall", "false_positive_rate")
    rows = [
        (each.version, name, each.trees, *(each.metrics.get(figure) for figure in names))
        for name, each in made.trained.items()
    ]
    parts = [
        (name, part.rows, part.frauds, *(each.parts[name].flagged for each in made.trained.values()))
        for name, part in next(iter(made.trained.values())).parts.items()
    ]
    flagged = tuple(f"flagged by {name}" for name in made.trained)
    return Group(
        tables.table("Parts", ("part", "rows", "frauds", *flagged), parts, right=("rows", "frauds", *flagged)),
        tables.table(made.message, columns, rows, right=columns[2:]),
        *_sentences(*made.trained.values()),
    )


def _sentences(*trained: Trained) -> list[RenderableType]:
    """The notes of all, each once; warnings were told when they were found."""
    notes = dict.fromkeys(note for each in trained for note in each.notes)
    return [Text(f"Note: {note}.", style="dim") for note in notes]


@contextmanager
def warnings_told() -> Iterator[None]:
    """Tell a training's warnings on standard error as they are found, before anything is registered."""
    handler = _Told()
    log = logging.getLogger("fds_mlflow.training")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Told(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        lines.tell(f"Warning: {record.getMessage()}.", colour="yellow")
