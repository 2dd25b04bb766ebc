"""Single lines for people: whatever they quote, neither a terminal nor a reader is misled."""

from __future__ import annotations

import click

from fds_mlflow.display.characters import paragraph
from fds_mlflow.display.redaction import redacted
from fds_mlflow.runtime import streams


def shown(text: str) -> str:
    """A text for people, without secrets; what follows its first line is indented, so that it looks like no other."""
    return paragraph(redacted(text))


def say(text: str) -> None:
    """Print a line where answers go."""
    click.echo(shown(text), file=streams.answers())


def tell(text: str, *, colour: str | None = None) -> None:
    """Print a line on standard error."""
    click.secho(shown(text), fg=colour, file=streams.errors())
