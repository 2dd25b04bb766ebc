"""The verbs about contexts: which MLflow, outcomes and name a person works with, under names of their own."""

from __future__ import annotations

from typing import Any

import click

from fds_mlflow.cli.contexts import opened
from fds_mlflow.cli.options import as_json_option, show_value
from fds_mlflow.display.redaction import redacted
from fds_mlflow.errors import ConfigError
from fds_mlflow.runtime.contexts import SETTINGS, Contexts


@click.group()
def config() -> None:
    """Contexts: names for an MLflow, its outcomes and an actor, in a file."""


context_argument = click.argument("context")


@config.command("show")
@as_json_option
def show(as_json: bool) -> None:
    """Show the contexts, which is the current one, and where the file is."""
    contexts = opened()
    shown = {name: {key: redacted(value) for key, value in one.items()} for name, one in contexts.settings.items()}
    value = {"path": str(contexts.path), "current": contexts.current, "contexts": shown}

    def told() -> Any:
        from fds_mlflow.cli.output import tables

        rows = [
            ("*" if name == contexts.current else "", name, *(one.get(setting) for setting in SETTINGS))
            for name, one in shown.items()
        ]
        columns = ("current", "context", *(setting.replace("_", " ").replace("uri", "URI") for setting in SETTINGS))
        return tables.table(f"Contexts in {contexts.path}", columns, rows)

    show_value(as_json, value, told)


@config.command("set")
@context_argument
@click.option("--tracking-uri", help="MLflow tracking URI.")
@click.option("--registry-uri", help="MLflow registry URI.")
@click.option("--outcomes", help="Outcome store's SQLAlchemy URL; or kafka://, parquet:.")
@click.option("--actor", help="Who acts, for the history.")
@as_json_option
def set_context(context: str, as_json: bool, **given: str | None) -> None:
    """Write what CONTEXT names, beside what it names already; the first context is the current one."""
    settings = {name: value for name, value in given.items() if value is not None}
    if not settings:
        raise click.UsageError("nothing is given that the context is to name")
    if not context.strip() or not context.isprintable():
        raise ConfigError(f"{context!a} is no name of a context", fix="give it a name of letters, such as prod")
    contexts = opened()
    contexts.set(context, settings)
    _show_done(as_json, contexts, f"{context} is written to {contexts.path}")


@config.command("use")
@context_argument
@as_json_option
def use(context: str, as_json: bool) -> None:
    """Make CONTEXT the one that counts where neither the command line nor the environment says otherwise."""
    contexts = opened()
    contexts.use(context)
    _show_done(as_json, contexts, f"the current context is {context}")


@config.command("delete")
@context_argument
@as_json_option
def delete(context: str, as_json: bool) -> None:
    """Take CONTEXT out of the file."""
    contexts = opened()
    contexts.delete(context)
    _show_done(as_json, contexts, f"{context} is deleted")


def _show_done(as_json: bool, contexts: Contexts, message: str) -> None:
    value = {"path": str(contexts.path), "current": contexts.current, "message": message}
    show_value(as_json, value, lambda: message)
