"""The verbs of versions: what there is, stages, promotion, routes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from fds_mlflow.cli.options import (
    Settings,
    admission_of,
    admission_options,
    as_json_option,
    dry_run_option,
    model_argument,
    reason_option,
    show_result,
    show_value,
    trust_option,
    version_argument,
)

STAGES = ("None", "Staging", "Production", "Archived")
"""As `Stage` has them, which comes with NumPy: too slow for `--help`."""


@click.command()
@model_argument
@version_argument
@reason_option(required=False)
@trust_option
@dry_run_option
@as_json_option
@click.pass_obj
def stage(settings: Settings, model: str, version: int, reason: str, as_json: bool) -> None:
    """Put VERSION forward as a candidate (stage Staging)."""
    show_result(as_json, settings.model(model).stage(version, reason=reason))


@click.command()
@model_argument
@version_argument
@reason_option(required=False)
@admission_options
@trust_option
@dry_run_option
@as_json_option
@click.pass_obj
def promote(settings: Settings, /, model: str, version: int, reason: str, as_json: bool, **admission: Any) -> None:
    """Make VERSION the champion; the former champion goes to Archived.

    Where labelled rows are at hand, the two are compared offline first.
    """
    managed = settings.model(model)
    show_result(as_json, managed.promote(version, reason=reason, **admission_of(managed, version, admission)))


@click.command()
@model_argument
@version_argument
@reason_option(required=False)
@dry_run_option
@as_json_option
@click.pass_obj
def retire(settings: Settings, model: str, version: int, reason: str, as_json: bool) -> None:
    """Take the candidate VERSION out of the running (stage Archived)."""
    show_result(as_json, settings.model(model).retire(version, reason=reason))


@click.command()
@model_argument
@click.option("--champion", default=None, help="What the alias of the version that serves is called from now on.")
@click.option("--canary", default=None, help="What the alias of the version on trial is called from now on.")
@reason_option(required=False)
@dry_run_option
@as_json_option
@click.pass_obj
def aliases(
    settings: Settings, model: str, champion: str | None, canary: str | None, reason: str, as_json: bool
) -> None:
    """Show what the model's two aliases are called, or call them otherwise (not while a rollout is active)."""
    managed = settings.model(model)
    if champion is None and canary is None:
        names = managed.aliases
        show_value(as_json, names, lambda: f"champion: {names.champion}\ncanary: {names.canary}")
    else:
        show_result(as_json, managed.rename_aliases(champion=champion, canary=canary, reason=reason))


@click.command("list")
@click.option("--alias", default=None, help="Only models that have an alias of this name.")
@click.option("--stage", type=click.Choice(STAGES, case_sensitive=False), help="Only models with a version in it.")
@click.option("--older-than", metavar="DURATION", help="Only models whose champion is older, such as 30d.")
@click.option("--rollout/--no-rollout", default=None, help="Only models with, or without, an active rollout.")
@as_json_option
@click.pass_obj
def list_models(
    settings: Settings,
    alias: str | None,
    stage: str | None,
    older_than: str | None,
    rollout: bool | None,
    as_json: bool,
) -> None:
    """List the registered models with champion, its age, canary and its traffic."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.core.text.duration import describe_duration, to_duration
    from fds_mlflow.lifecycle.listing import listed
    from fds_mlflow.registry.connection import connect

    settings.connect()
    age, now = to_duration("--older-than", older_than) if older_than else None, datetime.now(UTC)
    models = connect(settings.tracking_uri, settings.registry_uri).models()
    found = [
        one
        for one in (listed(name, model) for name, model in models.items())
        if (alias is None or alias in one.aliases)
        and (stage is None or stage in one.stages)
        and (age is None or (one.since is not None and now - one.since > age))
        and (rollout is None or rollout == (one.weight is not None))
    ]

    def table() -> Any:
        columns = ("model", "champion", "for", "canary", "traffic")
        rows = [
            (
                one.model,
                one.champion,
                one.since and describe_duration(now - one.since),
                one.canary,
                one.weight and f"{one.weight:g} %",
            )
            for one in found
        ]
        return tables.table("Registered models", columns, rows, right=columns[1:])

    show_value(as_json, found, table)


@click.command()
@model_argument
@as_json_option
@click.pass_obj
def show(settings: Settings, model: str, as_json: bool) -> None:
    """Show a model's versions with roles, stages and thresholds."""
    from fds_mlflow.cli.output import tables

    overview = settings.model(model).overview()
    show_value(as_json, overview, lambda: tables.overview(overview))


@click.command()
@model_argument
@click.argument("keys", nargs=-1, required=True)
@as_json_option
@click.pass_obj
def route(settings: Settings, model: str, keys: tuple[str, ...], as_json: bool) -> None:
    """Show which variant and version each routing KEY gets right now."""
    from fds_mlflow.cli.output import tables

    router = settings.model(model).router(record=False)
    routes = {key: router.route(key) for key in keys}
    columns = ("key", "bucket", "variant", "version")
    rows = [(key, r.bucket, r.variant.value, r.version) for key, r in routes.items()]
    show_value(as_json, routes, lambda: tables.table("Routes", columns, rows, right=("bucket", "version")))
