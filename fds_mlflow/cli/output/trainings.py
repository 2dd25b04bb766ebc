"""What people read of a training: what it rests on, how it scores, what was left out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from fds_mlflow.cli.output import lines, tables
from fds_mlflow.display.redaction import redacted
from fds_mlflow.lifecycle.descriptions import version_place

if TYPE_CHECKING:
    from fds_mlflow.model import ManagedModel
    from fds_mlflow.training.pipeline import Trained
    from fds_mlflow.workflows.account import Account
    from fds_mlflow.workflows.retraining.retraining import Retrained


def training(title: str, trained: Trained, closing: Sequence[str] = ()) -> Group:
    """One version: its parts, its figures on validation and test, what was left out, and what may come next.

    Args:
        title: What was trained.
        trained: The version.
        closing: Where to look at it, and the next command.
    """
    parts = [(name, part.rows, part.frauds, part.flagged) for name, part in trained.parts.items()]
    columns = ("part", "rows", "frauds", "flagged")
    rests_on = f"Trees: {trained.trees:,}, features: {len(trained.features)}"
    of_test = sorted(name for name in trained.metrics if not name.startswith("val_"))
    figures = [(name, trained.metrics.get(f"val_{name}"), trained.metrics[name]) for name in of_test]
    return Group(
        tables.table(rests_on, columns, parts, right=columns[1:]),
        tables.table(title, ("metric", "validation", "test"), figures, right=("validation", "test")),
        *_sentences(trained),
        *(Text(sentence) for sentence in closing),
    )


def closing(model: ManagedModel, version: int) -> list[str]:
    """Where a new version is to be seen, and the command that comes next."""
    import mlflow

    place = model.session.shown(version_place(model.name, version))
    if place is None:
        place = f"mlflow server --backend-store-uri {redacted(str(mlflow.get_tracking_uri()))}"
    champion = model.overview().champion
    following = f"fds promote {model.name} {version}"
    if champion is not None:
        following = f"fds compare {model.name} {champion} {version}, then fds canary start {model.name} {version}"
    return [f"In MLflow: {place}", f"Next: {following}"]


def retraining(made: Retrained) -> Group:
    """The versions beside each other, what became of the labels, why it was staged or not, and what was left out."""
    columns = ("version", "algorithm", "trees", "average precision", "recall", "FPR")
    names = ("average_precision", "recall", "false_positive_rate")
    rows = [
        (each.version, name, each.trees, *(each.metrics.get(figure) for figure in names))
        for name, each in made.trained.items()
    ]
    shown: list[RenderableType] = [] if made.repeated or not made.trained else [_parts(made)]
    if made.account is not None:
        shown.append(_labels(made.account))
    shown.append(tables.table(made.message, columns, rows, right=columns[2:]))
    shown += [Text(f"Asked: {reason}.") for reason in made.reasons]
    if made.canary:
        shown.append(Text(f"Canary: {made.canary}."))
    if made.taken_up and not made.repeated:
        shown.append(Text(f"There already: version {', '.join(map(str, made.taken_up))}."))
    took = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in made.seconds.items())
    return Group(*shown, *_sentences(*made.trained.values()), Text(f"Took: {took}.", style="dim"))


def _parts(made: Retrained) -> RenderableType:
    parts = [
        (name, part.rows, part.frauds, *(each.parts[name].flagged for each in made.trained.values()))
        for name, part in next(iter(made.trained.values())).parts.items()
    ]
    flagged = tuple(f"flagged by {name}" for name in made.trained)
    return tables.table("Parts", ("part", "rows", "frauds", *flagged), parts, right=("rows", "frauds", *flagged))


def _labels(account: Account) -> RenderableType:
    told = account.table
    lines = [line for line in zip(*told.values(), strict=True) if line[-1]]
    left_out = sum(account.left_out.values())
    title = f"{account.labels:,} labels known = {account.used:,} used + {left_out:,} left out"
    return tables.table(title, tuple(told), lines, right=("count",))


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
