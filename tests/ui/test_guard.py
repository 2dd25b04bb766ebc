"""What a hand may do through MLflow's own doors where the page runs in its server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from mlflow.server import handlers

from fds_mlflow import ManagedModel
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.registry import tags
from fds_mlflow.runtime.identity import new_id
from fds_mlflow.ui import guard
from tests.support.page import House, People

PLACES = ("/api/2.0", "/ajax-api/2.0")
ALIAS = "/mlflow/registered-models/alias"


@pytest.fixture
def mlflow(house: House, people: People, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """MLflow's own registry endpoints over the house, guarded."""
    monkeypatch.setattr(handlers, "_model_registry_store", None)
    monkeypatch.setattr(handlers, "_tracking_store", None)
    made = Flask("guarded")
    for path, handler, methods in handlers.get_endpoints():
        if "registered-models" in path or "model-versions" in path:
            made.add_url_rule(path, handler.__name__, handler, methods=methods)
    guard.install(made)
    return made.test_client()


def require(house: House, *approvals: str) -> None:
    """The model's policy asks for approvals."""
    ManagedModel("fraud", tracking_uri=house.uri, registry_uri=house.uri, actor="ann").approvals.require(approvals)


def two_champions(house: House) -> None:
    """Version 1 served, version 2 serves."""
    house.register("fraud", 4)
    house.do("fraud", Kind.PROMOTE, 1)
    house.do("fraud", Kind.PROMOTE, 2)


@contextmanager
def unchanged(house: House, model: str = "fraud") -> Iterator[None]:
    """Nothing of the model changes meanwhile."""
    before = house.store.read(model), house.store.versions(model)
    yield
    assert (house.store.read(model), house.store.versions(model)) == before


def sent(client: FlaskClient, method: str, path: str, body: dict[str, str], form: str) -> Any:
    """A request whose body is JSON, or what a page's form sends, which MLflow itself does not take."""
    return client.open(path, method=method, **{form: body})


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", ["json", "data"])
def test_a_bare_move_is_refused_where_the_policy_asks_for_approvals(
    mlflow: FlaskClient, house: House, place: str, form: str
):
    """No spelling of the address or of the body moves or deletes the alias of what serves."""
    two_champions(house)
    require(house, "promote")
    with unchanged(house):
        body = {"name": "fraud", "alias": "champion", "version": "3"}
        answer = sent(mlflow, "POST", place + ALIAS, body, form)
        refused = 409 if form == "json" else 400
        assert answer.status_code == refused, answer.text
        assert form != "json" or "asks for approvals. Fix: do it by name" in answer.text
        del body["version"]
        assert sent(mlflow, "DELETE", place + ALIAS, body, form).status_code == refused
        body = {"name": "fraud", "alias": "canary", "version": "3"}
        assert sent(mlflow, "POST", place + ALIAS, body, form).status_code == refused


def test_a_policy_and_its_approvals_are_not_edited_by_hand(mlflow: FlaskClient, house: House):
    """Tags that hold the policy, the history or a rollout's weight stay, where the policy asks for approvals."""
    rollout = house.rollout()
    require(house, "gate")
    name = next(tag for tag in house.store.read("fraud").tags if tag.startswith("fds.event"))
    place = "/api/2.0/mlflow"
    with unchanged(house):
        for key in ("fds.policy", name):
            body = {"name": "fraud", "key": key}
            assert mlflow.delete(f"{place}/registered-models/delete-tag", json=body).status_code == 409
            assert mlflow.post(f"{place}/registered-models/set-tag", json={**body, "value": "x"}).status_code == 409
        body = {"name": "fraud", "version": str(rollout.canary), "key": "fds.rollout"}
        assert mlflow.post(f"{place}/model-versions/set-tag", json={**body, "value": "x"}).status_code == 409
        assert mlflow.delete(f"{place}/model-versions/delete-tag", json=body).status_code == 409
    assert (
        mlflow.post(
            f"{place}/registered-models/set-tag", json={"name": "fraud", "key": "team", "value": "x"}
        ).status_code
        == 200
    )


def test_a_bare_move_is_recorded_with_its_user(mlflow: FlaskClient, house: House, people: People):
    """Without such a policy the move passes, and the history says at once who made it."""
    two_champions(house)
    people.name = "berta"
    answer = mlflow.post("/api/2.0" + ALIAS, json={"name": "fraud", "alias": "champion", "version": "3"})
    assert answer.status_code == 200
    event = house.transactions.look("fraud").history.events[-1]
    assert (event.kind, event.from_version, event.to_version) == (Kind.ADOPT, 2, 3)
    assert event.actor.startswith("berta")
    assert event.signed_in
    assert house.transactions.look("fraud").agrees


@pytest.mark.parametrize("version", ["1", "2"])
def test_what_serves_is_not_deleted(mlflow: FlaskClient, house: House, version: str):
    """Neither the champion, nor the version an emergency would go back to, nor the model itself; others are."""
    two_champions(house)
    place = "/api/2.0/mlflow"
    with unchanged(house):
        answer = mlflow.delete(f"{place}/model-versions/delete", json={"name": "fraud", "version": version})
        assert answer.status_code == 409
        assert mlflow.delete(f"{place}/registered-models/delete", json={"name": "fraud"}).status_code == 409
    assert mlflow.delete(f"{place}/model-versions/delete", json={"name": "fraud", "version": "4"}).status_code == 200


def test_the_canary_of_a_rollout_is_not_deleted(mlflow: FlaskClient, house: House):
    """Who is on trial stays until the rollout has ended."""
    house.rollout()
    with unchanged(house):
        body = {"name": "fraud", "version": "2"}
        answer = mlflow.delete("/ajax-api/2.0/mlflow/model-versions/delete", json=body)
        assert answer.status_code == 409
        assert "abort its rollout first" in answer.text


def test_models_of_others_are_left_alone(mlflow: FlaskClient, house: House):
    """A model without a history of ours is MLflow's business alone: nothing is refused, nothing recorded."""
    house.register("theirs")
    assert (
        mlflow.post("/api/2.0" + ALIAS, json={"name": "theirs", "alias": "champion", "version": "1"}).status_code == 200
    )
    assert (
        mlflow.delete("/api/2.0/mlflow/model-versions/delete", json={"name": "theirs", "version": "1"}).status_code
        == 200
    )
    assert dict(house.store.read("theirs").tags) == {}
    assert (
        mlflow.post("/api/2.0" + ALIAS, json={"name": "nobody", "alias": "champion", "version": "1"}).status_code == 404
    )


def test_our_own_operations_pass(mlflow: FlaskClient, house: House, monkeypatch: pytest.MonkeyPatch):
    """The write of an operation that says in an intent what it does goes through, policy or not, and is not doubled."""
    from fds_mlflow.registry import mlflow_store
    from fds_mlflow.registry.store import SetAlias

    two_champions(house)
    require(house, "promote")
    plain = mlflow_store.MlflowStore._write
    codes = []

    def by_rest(store: mlflow_store.MlflowStore, model: str, write: object) -> None:
        if isinstance(write, SetAlias):
            body = {"name": model, "alias": str(write.alias), "version": str(write.version)}
            codes.append(mlflow.post("/api/2.0" + ALIAS, json=body).status_code)
        else:
            plain(store, model, write)  # type: ignore[arg-type]

    monkeypatch.setattr(mlflow_store.MlflowStore, "_write", by_rest)
    house.do("fraud", Kind.ROLLBACK, 1)
    assert codes == [200]
    assert house.alias("fraud") == 1
    assert [event.kind for event in house.transactions.look("fraud").history.events][-2:] == [
        Kind.POLICY,
        Kind.ROLLBACK,
    ]


@pytest.mark.parametrize("spelled", [" 3", "+3", "3 ", "0_3", "03"])
def test_a_version_is_read_as_mlflow_reads_it(mlflow: FlaskClient, house: House, spelled: str):
    """No spelling of a number that MLflow takes is another version, or none, to the guard."""
    two_champions(house)
    require(house, "start", "promote")
    with unchanged(house):
        for alias in ("champion", "canary"):
            body = {"name": "fraud", "alias": alias, "version": spelled}
            assert mlflow.post("/api/2.0" + ALIAS, json=body).status_code == 409
        serves = {"name": "fraud", "version": spelled.replace("3", "2")}
        assert mlflow.delete("/api/2.0/mlflow/model-versions/delete", json=serves).status_code == 409


def test_no_detour_moves_what_serves(mlflow: FlaskClient, house: House):
    """Neither other names for the aliases nor another name for the model is a way past the policy."""
    two_champions(house)
    require(house, "promote")
    names = {"name": "fraud", "key": "fds.aliases", "value": '{"champion":"prod","canary":"trial"}'}
    renamed = {"name": "fraud", "new_name": "elsewhere"}
    with unchanged(house):
        assert mlflow.post("/api/2.0/mlflow/registered-models/set-tag", json=names).status_code == 409
        assert mlflow.post("/api/2.0/mlflow/registered-models/rename", json=renamed).status_code == 409


def test_what_a_dead_process_left_opens_no_door(mlflow: FlaskClient, house: House):
    """With an operation of ours in flight, dead or alive, no hand deletes the policy or the event that set it."""
    two_champions(house)
    require(house, "promote")
    view = house.transactions.look("fraud")
    event = next(name for name, event in view.history.loose.items() if event.kind is Kind.POLICY)
    intent = tags.Intent(new_id(), "ann", view.found, None, view.history.events[-1].time)
    house.client.set_registered_model_tag("fraud", tags.intent_name(intent.id), tags.encode_intent(intent))
    assert house.transactions.look("fraud").history.intents
    with unchanged(house):
        for key in (event, "fds.policy"):
            body = {"name": "fraud", "key": key}
            assert mlflow.delete("/api/2.0/mlflow/registered-models/delete-tag", json=body).status_code == 409
            body["value"] = "{}"
            assert mlflow.post("/api/2.0/mlflow/registered-models/set-tag", json=body).status_code == 409
