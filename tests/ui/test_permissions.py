"""Who asks and what they may do, by each app that signs users in, as each of its releases tells it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from flask import Flask, g
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from fds_mlflow.errors import ConfigError
from fds_mlflow.ui import app, permissions
from fds_mlflow.ui.permissions import BasicAuth, Level, Named, Oidc, Unknown, chosen

RIGHTS = {"READ": 0, "USE": 0, "EDIT": 1, "MANAGE": 2}


def permission(word: str) -> SimpleNamespace:
    """A permission as MLflow has it."""
    rank = RIGHTS.get(word, -1)
    return SimpleNamespace(name=word, can_read=rank >= 0, can_update=rank >= 1, can_delete=rank >= 2)


class Users:
    """The users of a server: admin, and ann who may edit the model `hers`."""

    def get_user(self, name: str) -> SimpleNamespace:
        """One user."""
        return SimpleNamespace(is_admin=name == "admin")

    def get_registered_model_permission(self, model: str, user: str) -> SimpleNamespace:
        """What a user was granted, as releases before the roles keep it."""
        if (model, user) == ("hers", "ann"):
            return SimpleNamespace(permission="EDIT")
        raise MlflowException("no", error_code=RESOURCE_DOES_NOT_EXIST)


@pytest.fixture(params=["by name and user", "by the store"])
def auth(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """MLflow's module for basic-auth, as of 3.14 and later, and as before it."""
    made: Any = ModuleType("mlflow.server.auth")
    made.store, made.BEFORE_REQUEST_VALIDATORS = Users(), {}
    made.auth_config, made.get_permission = SimpleNamespace(default_permission="READ"), permission
    if request.param == "by name and user":
        granted = {("hers", "ann"): "EDIT"}
        made._graphql_get_permission_for_model = lambda model, user: permission(granted.get((model, user), "READ"))
    import mlflow.server

    monkeypatch.setitem(sys.modules, "mlflow.server.auth", made)
    monkeypatch.setattr(mlflow.server, "auth", made, raising=False)
    return made


@contextmanager
def as_user(name: str | None) -> Iterator[None]:
    """A request that an app has let in."""
    with Flask("auth").test_request_context("/fds"):
        if name is not None:
            g.mlflow_authenticated_user = name
        yield


@pytest.mark.usefixtures("auth")
@pytest.mark.parametrize(
    ("user", "model", "level"),
    [
        ("ann", "hers", Level.EDIT),
        ("ann", "theirs", Level.READ),
        ("admin", "theirs", Level.MANAGE),
        (None, "hers", Level.NONE),
    ],
)
def test_basic_auth(user: str | None, model: str, level: Level):
    """What was granted, else the server's default; an administrator may do all, and nobody nothing."""
    with as_user(user):
        assert BasicAuth().user() == user
        assert BasicAuth().level(model) is level


def test_before_mlflow_said_who_is_signed_in():
    """Earlier releases leave the name in the request alone."""
    with Flask("auth").test_request_context("/fds", auth=("ann", "secret")):
        assert BasicAuth().user() == "ann"
        assert "mlflow_authenticated_user" not in g


def test_our_addresses_get_as_far_as_our_own_check(auth: ModuleType, monkeypatch: pytest.MonkeyPatch):
    """Basic-auth refuses what its table lacks: all our addresses are in it, and let whoever is signed in through."""
    monkeypatch.setattr(permissions, "_access", permissions.access())
    made = Flask("ours")
    app.add_pages(made)
    permissions.install("basic-auth", app.paths(made))
    ways: Any = vars(auth)["BEFORE_REQUEST_VALIDATORS"]
    assert {("/fds", "GET"), ("/fds/model", "GET"), ("/ajax-api/fds/action", "POST")} <= ways.keys()
    assert all(check() for check in ways.values())
    assert not [path for path, _ in ways if "<" in path]


def test_oidc(monkeypatch: pytest.MonkeyPatch):
    """The app's own context says who it is, and its own rules what they may do."""
    utils: Any = ModuleType("mlflow_oidc_auth.utils")
    utils.effective_registered_model_permission = lambda model, user: SimpleNamespace(
        permission=permission("MANAGE" if (model, user) == ("hers", "ann") else "NO_PERMISSIONS")
    )
    monkeypatch.setitem(sys.modules, "mlflow_oidc_auth", ModuleType("mlflow_oidc_auth"))
    monkeypatch.setitem(sys.modules, "mlflow_oidc_auth.utils", utils)

    def told(user: str | None, model: str, **more: object) -> tuple[str | None, Level]:
        signed = {} if user is None else {"mlflow_oidc_auth": SimpleNamespace(username=user, **more)}
        with Flask("oidc").test_request_context("/fds", environ_overrides=signed):
            return Oidc().user(), Oidc().level(model)

    assert told("ann", "hers") == ("ann", Level.MANAGE)
    assert told("ann", "theirs") == ("ann", Level.NONE)
    assert told("root", "theirs", is_admin=True) == ("root", Level.MANAGE)
    assert told(None, "hers") == (None, Level.NONE)


def answer(model: str) -> tuple[str, str]:
    """What a team's function says."""
    return "ann", {"hers": "EDIT", "theirs": "READ"}.get(model, "nothing")


def test_another_app_by_a_function_of_the_teams(monkeypatch: pytest.MonkeyPatch):
    """A function tells who asks and what they may do; without one an app that nobody knows lets nobody see anything."""
    monkeypatch.setenv("FDS_PAGE_ACCESS", f"{__name__}:answer")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[answer.__module__])
    made = chosen("somebodys-app")
    assert isinstance(made, Named)
    assert made.user() == "ann"
    assert [made.level(model) for model in ("hers", "theirs", "x")] == [Level.EDIT, Level.READ, Level.NONE]
    monkeypatch.setenv("FDS_PAGE_ACCESS", "no.such:thing")
    with pytest.raises(ConfigError, match="FDS_PAGE_ACCESS"):
        chosen("somebodys-app")
    monkeypatch.delenv("FDS_PAGE_ACCESS")
    unknown = chosen("somebodys-app")
    assert isinstance(unknown, Unknown)
    assert unknown.level("hers") is Level.NONE


@pytest.mark.parametrize("base", ["fds", "not-installed"])
def test_what_cannot_be_built_on_is_refused(base: str):
    """An app that is not installed, or the page itself, stops the server's start with what there is."""
    with pytest.raises(ConfigError, match="no app to build on") as refused:
        app.based_on(base)
    assert "basic-auth" in refused.value.fix


def test_any_app_can_be_the_base(monkeypatch: pytest.MonkeyPatch):
    """A factory is called, and anything else taken as the app that it is."""
    here = [EntryPoint("factory", "tests.x:made", app.GROUP), EntryPoint("object", "tests.x:made", app.GROUP)]
    thing = Flask("theirs")
    monkeypatch.setattr(app, "entry_points", lambda **_: here)
    monkeypatch.setattr(EntryPoint, "load", lambda self: thing if self.name == "object" else lambda: thing)
    assert app.based_on("factory") is thing
    assert app.based_on("object") is thing
    assert app.based_on("") is None
