"""What is going on, on standard error: a bar or the stage where that is a terminal, and gone when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from fds_mlflow.cli.output import lines, tables


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


@contextmanager
def parts(title: str, *, as_json: bool) -> Iterator[Callable[[int, int], None] | None]:
    """What to tell how many parts of a long job are done, and of how many: a bar, or a line for each tenth of it.

    Args:
        title: What is being done.
        as_json: The answer is for machines, which are told nothing.
    """
    if as_json:
        yield None
        return
    with bar(title) as shown:
        told = set[int]()

        def done(number: int, of: int) -> None:
            tenth = number * 10 // max(of, 1)
            if shown is not None:
                shown(number / max(of, 1))
            elif tenth not in told:
                told.add(tenth)
                lines.tell(f"{title} … {tenth * 10} %")

        yield done


@contextmanager
def stages(*, as_json: bool) -> Iterator[Callable[[str], None]]:
    """What to tell each stage of a job as it begins: shown while it lasts; one line for each where no terminal is.

    Args:
        as_json: The answer is for machines, which are told nothing.
    """
    console = tables.console(stderr=True)
    if as_json:
        yield lambda _stage: None
        return
    if not console.is_terminal:
        yield lambda stage: lines.tell(f"{stage} …")
        return
    with console.status("") as shown:
        yield lambda stage: shown.update(Text(f"{stage} …"))
