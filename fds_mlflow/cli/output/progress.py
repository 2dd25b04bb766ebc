"""A bar for what takes long: on standard error, where that is a terminal, and gone when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fds_mlflow.cli.output import tables


@contextmanager
def bar(title: str) -> Iterator[Callable[[float], None] | None]:
    """What to tell the share that is done, from 0 to 1; None where nobody would see it.

    The bar appears with the first share and goes with the last one, or with the context.
    """
    console = tables.console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()),
        *(TimeElapsedColumn(), TimeRemainingColumn()),
    )
    shown = Progress(*columns, console=console, transient=True)
    task = shown.add_task(title, total=1.0)

    def told(share: float) -> None:
        if share < 1.0:
            shown.start()
        shown.update(task, completed=share)
        if share >= 1.0:
            shown.stop()

    try:
        yield told
    finally:
        shown.stop()
