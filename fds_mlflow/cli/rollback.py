"""The ways back: emergency, to, candidates, validate."""

from __future__ import annotations

import click

from fds_mlflow.cli.options import (
    Settings,
    as_json_option,
    dry_run_option,
    model_argument,
    reason_option,
    show_result,
    show_value,
    trust_option,
    version_argument,
)
from fds_mlflow.cli.output import lines


@click.group()
def rollback() -> None:
    """Go back to a former champion. This moves the champion; `canary abort` only stops a canary."""


@rollback.command("emergency")
@model_argument
@reason_option(required=True)
@click.option(
    "--validate/--no-validate",
    default=None,
    help="Load the target before the alias moves, or not at all; by default afterwards.",
)
@trust_option
@dry_run_option
@as_json_option
@click.pass_obj
def rollback_emergency(settings: Settings, model: str, reason: str, validate: bool | None, as_json: bool) -> None:
    """Move the champion to the latest former champion now, past operations in flight.

    Then load that version; where it cannot serve, the exit code is 1 and the message names the next candidate.
    """

    def moved(version: int) -> None:
        if not settings.dry_run:
            lines.tell(f"champion is version {version} from now on; recording it")

    managed = settings.model(model)
    result = managed.rollback.emergency(reason=reason, validate=validate, on_moved=moved)
    show_result(as_json, result)


@rollback.command("to")
@model_argument
@version_argument
@reason_option(required=True)
@trust_option
@dry_run_option
@as_json_option
@click.pass_obj
def rollback_to(settings: Settings, model: str, version: int, reason: str, as_json: bool) -> None:
    """Move the champion to the given former champion VERSION."""
    show_result(as_json, settings.model(model).rollback.to(version, reason=reason))


@rollback.command("candidates")
@model_argument
@as_json_option
@click.pass_obj
def rollback_candidates(settings: Settings, model: str, as_json: bool) -> None:
    """List former champions, the latest to step down first, with metrics and dates."""
    from fds_mlflow.cli.output import tables

    found = settings.model(model).rollback.candidates()
    show_value(as_json, found, lambda: tables.candidates(found))


@rollback.command("validate")
@model_argument
@version_argument
@trust_option
@as_json_option
@click.pass_obj
def rollback_validate(settings: Settings, model: str, version: int, as_json: bool) -> None:
    """Check whether the model can be rolled back to VERSION, and warn where it is clearly worse."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.cli.output.plain import plain

    made = settings.model(model).rollback.validate(version)
    show_value(as_json, {"passed": made.passed, **plain(made)}, lambda: tables.validation(made))
    if not made.passed:
        raise SystemExit(1)
