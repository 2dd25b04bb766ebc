"""The verbs of versions: what there is, stages, promotion, routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fds_mlflow.cli.options import (
    Settings,
    admission_of,
    admission_options,
    as_json_option,
    model_argument,
    reason_option,
    show_result,
    show_value,
    trust_option,
    version_argument,
)

if TYPE_CHECKING:
    from fds_mlflow.registry.store import ModelView


@click.command()
@model_argument
@version_argument
@reason_option(required=False)
@trust_option
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
@as_json_option
@click.pass_obj
def list_models(settings: Settings, as_json: bool) -> None:
    """List the registered models with champion and canary."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.registry import alias_names
    from fds_mlflow.registry.connection import connect

    def served(model: ModelView) -> tuple[int | None, int | None]:
        names = alias_names.decode(model.tags)
        return model.aliases.get(names.champion), model.aliases.get(names.canary)

    settings.connect()
    found = connect(settings.tracking_uri, settings.registry_uri).models()
    columns = ("model", "champion", "canary")
    rows = [(name, *served(model)) for name, model in found.items()]
    value = [dict(zip(columns, row, strict=True)) for row in rows]
    show_value(as_json, value, lambda: tables.table("Registered models", columns, rows, right=columns[1:]))


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
