"""What the options of the whole command line are, once the contexts of `fds config` have had their say."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from fds_mlflow.runtime import environment
from fds_mlflow.runtime.contexts import SETTINGS, Contexts


def opened() -> Contexts:
    """The contexts of this user."""
    return Contexts(Path(environment.setting(environment.CONFIG) or Path(click.get_app_dir("fds"), "config.toml")))


def settled(ctx: click.Context) -> dict[str, str | None]:
    """The options by name: `SETTINGS`.

    What stands on the command line counts first, then a context that is named there, then the environment, at last the
    context that the environment or the file names.

    Args:
        ctx: Of the whole command line.

    Raises:
        ConfigError: The file of contexts says what is not understood.
        NotFoundError: There is no context of that name.
    """
    given = {name: ctx.params.get(name) for name in SETTINGS}
    contexts = opened()
    name = ctx.params.get("context") or contexts.current
    if name is None:
        return given
    source = ctx.get_parameter_source
    stronger = {ParameterSource.COMMANDLINE}
    if source("context") is not ParameterSource.COMMANDLINE:
        stronger.add(ParameterSource.ENVIRONMENT)
    context = contexts.require(name)
    if "tracking_uri" in context:  # the environment's registry would be another MLflow's
        context = {"registry_uri": context["tracking_uri"], **context}
    return {**given, **{key: value for key, value in context.items() if source(key) not in stronger}}
