"""The verbs of the history: show, export, import, doctor, settle."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import click

from fds_mlflow.cli.options import (
    Settings,
    as_json_option,
    dry_run_option,
    model_argument,
    show_done,
    show_value,
)


class _History(click.Group):
    """`history MODEL` is short for `history show MODEL`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


@click.group(cls=_History)
def history() -> None:
    """Show, export or import a model's history. `history MODEL` shows it."""


@history.command("show")
@model_argument
@as_json_option
@click.pass_obj
def history_show(settings: Settings, model: str, as_json: bool) -> None:
    """Show who did what to the model, when and why, the newest first; operations that hang are shown too."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.cli.output.plain import plain
    from fds_mlflow.registry.seals import is_verified

    managed = settings.model(model)
    events, pending = managed.history(), managed.pending()
    verified = {event.operation: is_verified(event, model) for event in events}
    told = [{**plain(event), "verified": verified[event.operation]} for event in events]
    show_value(as_json, {"events": told, "pending": pending}, lambda: tables.events(events, pending, verified))


@history.command("export")
@model_argument
@click.argument("output", type=click.File("w", encoding="utf-8"))
@click.pass_obj
def history_export(settings: Settings, model: str, output: IO[str]) -> None:
    """Write the model's history to OUTPUT (- for standard output) as JSON lines."""
    output.writelines(f"{line}\n" for line in settings.model(model).export_history())


@history.command("import")
@model_argument
@click.argument("source", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@dry_run_option
@as_json_option
@click.pass_obj
def history_import(settings: Settings, model: str, source: Path, as_json: bool) -> None:
    """Take over a history that was exported elsewhere: events, stages, aliases and an active rollout."""
    from fds_mlflow.runtime import text_file

    piped = str(source) == "-"
    with click.open_file("-", encoding="utf-8") if piped else text_file.opened(source) as file:
        managed = settings.model(model)
        state = managed.import_history(text_file.lines(file, str(source)))
    value = {"events": state.sequence, "champion": state.champion, "canary": state.canary}
    message = f"{state.sequence} events taken over; champion is version {state.champion}"
    show_done(as_json, managed.preview(), value, message)


@click.command()
@model_argument
@click.option("--fix", is_flag=True, help="Repair what can be repaired; what is left is shown.")
@dry_run_option
@as_json_option
@click.pass_obj
def doctor(settings: Settings, model: str, fix: bool, as_json: bool) -> None:
    """Find and explain what in the registry the history does not. Exit code 1 while anything is found."""
    from rich.console import Group

    from fds_mlflow.cli.output import tables
    from fds_mlflow.registry import dry_run

    managed = settings.model(model)
    findings = managed.doctor(fix=fix)
    preview = managed.preview()
    if preview is None:
        show_value(as_json, findings, lambda: tables.findings(findings))
    else:
        told = {"dry_run": preview, "findings": findings}
        show_value(as_json, told, lambda: Group("\n".join(dry_run.told(preview)), tables.findings(findings)))
    if findings:
        raise SystemExit(1)


@click.command()
@model_argument
@dry_run_option
@as_json_option
@click.pass_obj
def settle(settings: Settings, model: str, as_json: bool) -> None:
    """Settle operations whose process died, and take out-of-band changes into the history."""
    managed = settings.model(model)
    managed.settle()
    message = "nothing is left in flight, and the history explains the aliases"
    show_done(as_json, managed.preview(), {"settled": True}, message)
