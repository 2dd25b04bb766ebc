"""Several models in one server, on a real registry: each as if it were alone, whatever becomes of the others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from fds_mlflow import ManagedModel, OutcomeStore, Plan
from fds_mlflow.registry import tags
from fds_mlflow.serving.http.models import address
from tests.serving.host.test_traffic import ROW
from tests.support.fault_proxy import Call, Fault, FaultProxy
from tests.support.served import LIMIT, Served, until
from tests.support.serving_registry import FIRST, HANGS, MODEL, MOODY, RAISES, SECOND, Registry

RETURNS, TEMPER, EMPTY, GONE = "returns & käse 100%", "temper", "empty", "gone"
"""Served as the first model is; raises on demand; has no champion; its champion's files are gone."""

OTHERS = (RETURNS, TEMPER, EMPTY, GONE)


def managed(registry: Registry, name: str) -> ManagedModel:
    """A model as people use it."""
    return ManagedModel(
        name, tracking_uri=registry.truth, registry_uri=registry.truth, actor="tester", outcomes="sqlite://", trust=True
    )


@pytest.fixture
def several(registry: Registry) -> Iterator[Registry]:
    """A registry with the other models, too."""
    client = MlflowClient(registry.truth, registry.truth)
    for name, versions in {RETURNS: (FIRST, SECOND), TEMPER: (MOODY,), EMPTY: (FIRST,), GONE: ()}.items():
        for version in versions:
            copied = client.copy_model_version(f"models:/{MODEL}/{version}", name).version
            client.set_model_version_tag(name, copied, tags.THRESHOLD, "0.5")
    client.create_registered_model(GONE)
    gone = client.create_model_version(GONE, source="s3://nowhere/model", await_creation_for=None).version
    client.set_model_version_tag(GONE, gone, tags.THRESHOLD, "0.5")
    client.set_registered_model_alias(GONE, tags.CHAMPION, gone)
    for name in (RETURNS, TEMPER):
        managed(registry, name).promote(1, reason="first")
    yield registry
    for name in OTHERS:
        with contextlib.suppress(MlflowException):
            client.delete_registered_model(name)


def version(server: Served, name: str, **row: Any) -> int:
    """Which version answers."""
    answer = server.client.post(f"{address(name)}/score", json={**ROW, **row})
    return int(answer.json()["version"]) if answer.status_code == 200 else -answer.status_code


def about(name: str, fault: Fault) -> Callable[[Call], Fault | None]:
    """A fault that only requests about one model meet."""
    return lambda call: fault if call.model == name else None


@pytest.mark.campaign
def test_models_of_one_server_leave_each_other_alone(
    several: Registry, serve: Callable[..., Served], proxy: FaultProxy
) -> None:
    """A model without a champion, without files, that raises or hangs, or whose registry does, costs others nothing."""
    options = ("--workers", "2", "--champion-timeout", f"{TEMPER}=0.5", "--drain", str(10 * LIMIT))
    server = serve("several", *OTHERS, *options).start()
    assert "serving fraud, returns & käse 100%, temper, empty, gone on " in server.said
    for name in (MODEL, RETURNS, TEMPER):
        until(lambda name=name: version(server, name) == 1, f"{name} served")  # type: ignore[misc]
    ready = until(lambda: _refusal(server, "/ready", "not load"), "why one does not load")
    assert f"{EMPTY} has no version to serve: " in ready
    assert "has no champion" in ready
    assert f"{GONE} has no version to serve: " in ready
    assert [server.client.get(path).status_code for path in ("/ping", "/health")] == [200, 200]
    assert version(server, TEMPER, amount=RAISES) == -503
    assert version(server, TEMPER, amount=HANGS) == -503
    assert [version(server, name) for name in (MODEL, RETURNS, EMPTY, GONE)] == [1, 1, -503, -503]

    proxy.choose = about(MODEL, Fault.HOLD)
    until(lambda: proxy.held, "a registry that hangs for the first model")
    managed(several, RETURNS).promote(2, reason="better")
    until(lambda: version(server, RETURNS) == 2, "the second model's switch")
    managed(several, EMPTY).promote(1, reason="first")
    until(lambda: version(server, EMPTY) == 1, "the first version of a model that had none")
    assert version(server, MODEL) == 1
    proxy.choose = lambda _: None
    proxy.release()
    several.model.canary.start(SECOND, plan=Plan([50, 100]))
    until(lambda: server.client.get(f"{address(MODEL)}/health").json()["canary"] == SECOND, "the first model's canary")
    assert server.client.get(f"{address(RETURNS)}/health").json()["canary"] is None

    proxy.choose = about(MODEL, Fault.HOLD)
    until(lambda: proxy.held, "a registry that hangs for the first model")
    assert server.stop() == 0
    with OutcomeStore(server.outcomes) as store:
        assert {name: bool(store.recent(name)) for name in (MODEL, *OTHERS)} == {
            MODEL: True,
            RETURNS: True,
            TEMPER: True,
            EMPTY: True,
            GONE: False,
        }


def _refusal(server: Served, path: str, word: str) -> str | None:
    said = server.client.get(path)
    text = said.json()["message"] if said.status_code == 503 else ""
    return text if word in text else None


@pytest.mark.campaign
def test_a_model_is_one_servers_whatever_else_that_serves(serve: Callable[..., Served], tmp_path: Path) -> None:
    """A second server that shares one model is refused; the first goes on, and what was alone is readable together."""
    alone = serve("alone").ready()
    assert alone.score(**ROW).status_code == 200
    second = serve("second", EMPTY, cache=alone.cache)
    assert second.process.wait(LIMIT) == 1
    assert f"in use by another server: process {alone.process.pid}" in second.said
    assert alone.score(**ROW).status_code == 200
    assert alone.stop() == 0
    together = serve("together", EMPTY, cache=alone.cache).start()
    assert version(together, MODEL) == FIRST
    assert together.client.get("/score").status_code == 404
    assert "preparing version" not in together.said
