"""The page in a real MLflow server: beside its own UI and API, and behind its sign-in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from fds_mlflow.core.lifecycle.events import Kind
from tests.support.page import House, fields, shown
from tests.support.servers import Server, basic_auth, running

pytestmark = pytest.mark.slow

ADMIN = ("admin", "a-password-of-sixteen")
READER, EDITOR = ("reader", "a-password-of-reader"), ("editor", "a-password-of-editor")


@pytest.fixture
def database(migrated_database: Path, tmp_path: Path) -> str:
    """A database of an MLflow with a rollout under way."""
    shutil.copyfile(migrated_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    House(uri).rollout()
    return uri


def form(client: httpx.Client, action: str) -> dict[str, str]:
    """The form of an action's page."""
    return fields(client.get(f"/fds/action?name=fraud&do={action}").text)


def test_beside_mlflows_own(database: str, tmp_path: Path):
    """The page answers below `--static-prefix` beside MLflow's UI; no other site acts on it; the guard holds."""
    server = Server(database, tmp_path, options=("--app-name", "fds"), prefix="/mlflow")
    with running(server), httpx.Client(base_url=server.url) as client:
        assert "Canary 2 gets 10 %" in shown(client.get("/fds/model?name=fraud").text)
        assert client.get("/fds/page.css").headers["content-type"].startswith("text/css")
        assert client.get("/health").text == "OK"
        sent = {**form(client, "advance"), "actor": "berta"}
        foreign = {"Origin": "https://elsewhere.example"}
        assert client.post("/ajax-api/fds/action", data=sent, headers=foreign).status_code == 403
        assert client.post("/ajax-api/fds/action", data=sent).status_code == 303
        assert "Canary 2 gets 25 %" in shown(client.get("/fds/model?name=fraud").text)
        with pytest.raises(MlflowException, match="version 1 is the champion"):
            MlflowClient(server.url, server.url).delete_model_version("fraud", "1")
        MlflowClient(server.url, server.url).set_registered_model_alias("fraud", "champion", "3")
        assert [event.kind for event in House(database).transactions.look("fraud").history.events][-1] is Kind.ADOPT


@pytest.fixture
def signed(database: str, tmp_path: Path) -> Iterator[Server]:
    """A server where an administrator, an editor of the model and a reader sign in."""
    with basic_auth(database, tmp_path, page=True) as (server, _):
        with httpx.Client(base_url=server.url, auth=ADMIN) as admin:
            for user, password in (READER, EDITOR):
                made = {"username": user, "password": password}
                admin.post("/api/2.0/mlflow/users/create", json=made).raise_for_status()
            grant = {"username": "editor", "resource_type": "registered_model", "resource_id": "fraud"}
            admin.post(
                "/api/3.0/mlflow/users/permissions/grant", json={**grant, "permission": "EDIT"}
            ).raise_for_status()
        yield server


def test_behind_basic_auth(signed: Server, database: str):
    """Nobody gets in unsigned; a reader looks; an editor advances in their own name, and takes no alias off."""
    assert httpx.get(f"{signed.url}/fds").status_code == 401
    assert httpx.post(f"{signed.url}/ajax-api/fds/action", data={}).status_code == 401
    with httpx.Client(base_url=signed.url, auth=READER) as reader:
        assert "Signed in as reader" in shown(reader.get("/fds/model?name=fraud").text)
        page = reader.get("/fds/action?name=fraud&do=advance").text
        assert "it needs the permission EDIT" in shown(page)
    with httpx.Client(base_url=signed.url, auth=EDITOR) as editor:
        sent = form(editor, "advance")
        with httpx.Client(base_url=signed.url, auth=READER) as reader:
            assert reader.post("/ajax-api/fds/action", data=sent).status_code == 403
        assert editor.post("/ajax-api/fds/action", data=sent).status_code == 303
        assert "it needs the permission MANAGE" in shown(editor.get("/fds/action?name=fraud&do=abort").text)
    event = House(database).transactions.look("fraud").history.events[-1]
    assert (event.kind, event.actor, event.signed_in) == (Kind.ADVANCE, "editor", True)
