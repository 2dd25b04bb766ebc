"""The page as an app of MLflow's server: composed with any other app, such as the one that signs users in."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from fds_mlflow.errors import ConfigError
from fds_mlflow.runtime import environment
from fds_mlflow.ui import action_page, comparison_page, model_page, models_page, rollback_page, rollout_page
from fds_mlflow.ui.render import PREFIX, WRITE_PREFIX, answered, static

if TYPE_CHECKING:
    from flask import Flask

GROUP = "mlflow.app"
"""MLflow's own group of entry points for apps."""

NAME = "fds"

PAGES: dict[str, Callable[[], Any]] = {
    "": models_page.show,
    "/model": model_page.show,
    "/rollout": rollout_page.show,
    "/compare": comparison_page.show,
    "/rollback": rollback_page.show,
    "/action": action_page.preview,
}
"""What is read, by path below `/fds`. No path has a parameter: MLflow's permission table matches exactly."""

FILES = {"/page.css": "text/css", "/page.js": "text/javascript"}


def create_app() -> Any:
    """The app for `mlflow server --app-name fds`.

    `FDS_BASE_APP` names the app it is composed with, such as `basic-auth`; without it, it is MLflow's plain one.

    Raises:
        ConfigError: The environment names an app that is not installed, or this one itself.
    """
    from mlflow.server import app

    from fds_mlflow.ui import guard, permissions

    base = environment.setting(environment.BASE_APP)
    add_pages(app)
    composed = based_on(base)
    permissions.install(base, paths(app))
    guard.install(app)
    return served(app if composed is None else composed)


def add_pages(app: Flask) -> None:
    """Register every page and the one address that changes things: before MLflow's app is made of it."""
    from mlflow.server.handlers import _add_static_prefix

    for path, view in PAGES.items():
        _add(app, _add_static_prefix(f"{PREFIX}{path}"), f"fds{path}", answered(view), "GET")
    for path, kind in FILES.items():
        _add(app, _add_static_prefix(f"{PREFIX}{path}"), f"fds{path}", static(path.lstrip("/"), kind), "GET")
    # Below /ajax-api/, MLflow's own check refuses what another site's page sends.
    _add(app, _add_static_prefix(f"{WRITE_PREFIX}/action"), "fds/act", answered(action_page.act), "POST")


def _add(app: Flask, rule: str, endpoint: str, view: Callable[[], Any], method: str) -> None:
    if endpoint not in app.view_functions:  # the app is MLflow's one for the process, and may be composed again
        app.add_url_rule(rule, endpoint, view, methods=[method])


def paths(app: Flask) -> list[tuple[str, str]]:
    """Path and method of everything that is ours."""
    found = []
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith(NAME):
            found += [(rule.rule, method) for method in sorted(rule.methods or ())]
    return found


def based_on(base: str) -> Any:
    """What the named app makes of MLflow's; None where none is named.

    Raises:
        ConfigError: It is not installed, or is this one.
    """
    if not base:
        return None
    found = {point.name: point for point in entry_points(group=GROUP)}
    if base == NAME or base not in found:
        others = ", ".join(sorted(found.keys() - {NAME})) or "none"
        raise ConfigError(
            f"{environment.BASE_APP} names {base!r}, which is no app to build on",
            fix=f"name one that is installed ({others}), or leave it out for MLflow's plain app",
        )
    made = found[base].load()
    return made() if inspect.isfunction(made) else made


def served(app: Any) -> Any:
    """The app in the form in which the server at hand runs it: uvicorn wants another one than the rest."""
    from flask import Flask
    from mlflow.environment_variables import _MLFLOW_SGI_NAME

    if isinstance(app, Flask) and _MLFLOW_SGI_NAME.get() == "uvicorn":
        from mlflow.server.fastapi_app import create_fastapi_app

        return create_fastapi_app(app)
    return app
