"""Who asks, and what they may do with a model: the one place that knows how MLflow's apps sign users in.

Nobody is authenticated here a second time, which would hash their password once more: the app below has done it, and
left the name where it is read here. An app that nobody has taught us about lets nobody see or do anything.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any, Protocol

from fds_mlflow.errors import ConfigError
from fds_mlflow.runtime import environment

BASIC_AUTH, OIDC = "basic-auth", "oidc-auth"


class Level(IntEnum):
    """What somebody may do with a model, as MLflow's permissions have it; each includes those before it."""

    NONE = 0
    READ = 1
    EDIT = 2
    MANAGE = 3


class Access(Protocol):
    """What is asked of whoever signs users in; called while a request is answered."""

    def user(self) -> str | None:
        """Who is signed in; None where nobody signs in."""
        ...

    def level(self, model: str) -> Level:
        """What they may do with a registered model."""
        ...


class Open:
    """A server without users: everybody may do everything, as through MLflow's own pages there."""

    def user(self) -> str | None:
        """Nobody signs in."""
        return None

    def level(self, model: str) -> Level:  # noqa: ARG002 - the same for all
        """Everything."""
        return Level.MANAGE


class BasicAuth:
    """MLflow's own app `basic-auth`, of every release from 3.10 on."""

    def user(self) -> str | None:
        """Whom the app has signed in: from 3.14 on it says so, before it was in the request alone."""
        from flask import g, request

        named = getattr(g, "mlflow_authenticated_user", None)
        return named or (request.authorization.username if request.authorization else None)

    def level(self, model: str) -> Level:
        """Their permission on the model, or the server's default one; an administrator's is MANAGE."""
        from flask import g
        from mlflow.server import auth

        user = self.user()
        if user is None:
            return Level.NONE
        if "fds_admin" not in g:  # asked once a request: a list asks for each model
            g.fds_admin = auth.store.get_user(user).is_admin
        if g.fds_admin:
            return Level.MANAGE
        by_name = getattr(auth, "_graphql_get_permission_for_model", None)
        return _level(by_name(model, user) if by_name is not None else _stored(auth, model, user))


class Oidc:
    """The app `oidc-auth` of the package mlflow-oidc-auth."""

    def user(self) -> str | None:
        """Whom the app has signed in, as it hands it on to MLflow's part of the server."""
        from flask import request

        context = request.environ.get("mlflow_oidc_auth")
        return getattr(context, "username", None)

    def level(self, model: str) -> Level:
        """Their permission on the model by the app's own rules."""
        from flask import request

        user, context = self.user(), request.environ.get("mlflow_oidc_auth")
        if user is None:
            return Level.NONE
        if getattr(context, "is_admin", False):
            return Level.MANAGE
        found = importlib.import_module("mlflow_oidc_auth.utils").effective_registered_model_permission(model, user)
        return _level(found.permission)


class Named:
    """Another app, whose permissions a function of the team's own tells.

    Args:
        where: `module:function`; it is called with the model's name, and answers the user's name and READ, EDIT or
            MANAGE, or another word for nothing.

    Raises:
        ConfigError: There is no such function.
    """

    def __init__(self, where: str) -> None:
        module, _, function = where.partition(":")
        try:
            self._ask: Callable[[str], tuple[str, str]] = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"{environment.PAGE_ACCESS} names {where!r}, which cannot be imported: {error}",
                fix="name a function as module:function, which is told a model and answers (user, permission)",
            ) from error

    def user(self) -> str | None:
        """As the function says."""
        return self._ask("")[0]

    def level(self, model: str) -> Level:
        """As the function says."""
        word = self._ask(model)[1]
        return Level[word] if word in Level.__members__ else Level.NONE


class Unknown:
    """An app whose permissions nobody tells."""

    def user(self) -> str | None:
        """It cannot be told."""
        return None

    def level(self, model: str) -> Level:  # noqa: ARG002 - the same for all
        """Nothing."""
        return Level.NONE


_access: Access = Open()


def access() -> Access:
    """Who is asked in this server."""
    return _access


def chosen(base: str) -> Access:
    """Who is asked where the page is composed with an app.

    Raises:
        ConfigError: The environment names a function that is not there.
    """
    named = environment.setting(environment.PAGE_ACCESS)
    if named:
        return Named(named)
    known: dict[str, Callable[[], Access]] = {"": Open, BASIC_AUTH: BasicAuth, OIDC: Oidc}
    return known.get(base, Unknown)()


def install(base: str, paths: Iterable[tuple[str, str]]) -> None:
    """Ask from now on whoever signs users in, and let signed-in users through to our own check.

    Args:
        base: The app that the page is composed with; empty for MLflow's plain one.
        paths: Path and method of every page: basic-auth refuses what is not in its table.
    """
    global _access  # noqa: PLW0603 - one server a process
    _access = chosen(base)
    if base == BASIC_AUTH:
        from mlflow.server import auth

        auth.BEFORE_REQUEST_VALIDATORS.update(dict.fromkeys(paths, _signed_in))


def _signed_in() -> bool:
    """Whoever is signed in gets as far as the view, which asks for the model."""
    return True


def _stored(auth: Any, model: str, user: str) -> Any:
    """The permission on a model as releases before the roles of 3.14 keep it."""
    from mlflow.exceptions import MlflowException

    try:
        word = auth.store.get_registered_model_permission(model, user).permission
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        word = auth.auth_config.default_permission
    return auth.get_permission(word)


def _level(permission: Any) -> Level:
    if permission.can_delete:
        return Level.MANAGE
    if permission.can_update:
        return Level.EDIT
    return Level.READ if permission.can_read else Level.NONE
