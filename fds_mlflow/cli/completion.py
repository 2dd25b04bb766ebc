"""What a shell offers at the TAB key beside verbs and options: names of models, and their versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from fds_mlflow.cli.contexts import settled
from fds_mlflow.errors import FdsError

if TYPE_CHECKING:
    from fds_mlflow.registry.store import ListedStore

MOST = 200
"""Names that are offered at once."""


def models(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Registered models whose name goes on from what is typed; none where the registry does not answer."""
    try:
        found = sorted(name for name in _registry(ctx).models() if name.startswith(incomplete))
    except FdsError:
        return []
    return [CompletionItem(name) for name in found[:MOST]]


def versions(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Versions of the model that is typed already, the newest first, each with its role and stage."""
    model = ctx.params.get("model")
    if not isinstance(model, str):
        return []
    try:
        registry = _registry(ctx)
        roles = {version: alias for alias, version in registry.read(model).aliases.items()}
        found = [view for view in registry.versions(model) if str(view.version).startswith(incomplete)]
    except FdsError:
        return []
    return [CompletionItem(str(v.version), help=roles.get(v.version, v.stage)) for v in found[:MOST]]


def _registry(ctx: click.Context) -> ListedStore:
    from fds_mlflow.registry.connection import connect

    said = settled(ctx.find_root())
    return connect(said["tracking_uri"], said["registry_uri"])
