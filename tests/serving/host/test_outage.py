"""A registry that is away, servers that have never seen it, replicas that do not know each other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.registry import tags
from tests.serving.host.test_traffic import ROW
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.served import Served, until
from tests.support.serving_registry import FIRST, MODEL, SECOND, Registry

Serve = Callable[..., Served]


@pytest.mark.campaign
def test_replicas_route_alike_and_outlive_the_registry(
    serve: Serve, server: Served, registry: Registry, proxy: FaultProxy
) -> None:
    """Replicas send each key the same way, also one that starts while the registry is away; all say what is wrong."""
    registry.model.canary.start(SECOND, plan=Plan([25, 100]))
    rollout = registry.model.canary.rollout()
    second = serve("second", "--no-record")
    second.ready()
    for replica in (server, second):
        until(lambda replica=replica: replica.health()["rollout"] == rollout.id, "the rollout")  # type: ignore[misc]
    proxy.down()
    third = serve("third", "--no-record", cache=_copied(second)).ready()
    keys = [f"K{number}" for number in range(1_000)]
    expected = _routed(registry, keys)
    assert 150 < sum(variant == "canary" for variant, _ in expected) < 350
    for replica in (server, second, third):
        assert _answered(replica, keys) == expected
    for replica in (server, second, third):
        said = until(lambda replica=replica: _degraded(replica), "the reason")  # type: ignore[misc]
        assert "did not answer" in said["problem"]
        assert said["registry_age_seconds"] > 0
        assert replica.metric(f'fds_degraded{{model="{MODEL}"}}') == 1
    proxy.up()
    registry.model.canary.advance()
    for replica in (server, second, third):
        until(
            lambda replica=replica: (replica.health()["status"], replica.health()["weight_percent"]) == ("ok", 100),  # type: ignore[misc]
            "the registry again",
        )
        assert replica.metric(f'fds_degraded{{model="{MODEL}"}}') == 0


def _copied(served: Served) -> Path:
    """The cache of a server, for another one to start from: as if that had been restarted."""
    target = served.folder / "copy"
    shutil.copytree(served.cache, target, ignore=shutil.ignore_patterns("*.new", "metrics"))
    return target


def _routed(registry: Registry, keys: list[str]) -> list[tuple[str, int]]:
    router = registry.model.router(record=False)
    return [(str(route.variant), route.version) for route in map(router.route, keys)]


def _answered(served: Served, keys: list[str]) -> list[tuple[str, int]]:
    rows = [{**ROW, "transaction_id": key} for key in keys]
    sent = served.client.post("/invocations", json={"dataframe_records": rows}).json()["details"]
    assert [one["key"] for one in sent] == keys
    return [(one["variant"], one["version"]) for one in sent]


def _degraded(served: Served) -> dict[str, object] | None:
    said = served.health()
    return said if said["status"] == "degraded" else None


@pytest.mark.campaign
def test_a_server_without_a_champion_says_so_and_serves_the_first_one(registry: Registry, tmp_path: Path) -> None:
    """A server may start before there is a model: it says what is missing, and serves what is then promoted."""
    client, name = MlflowClient(registry.truth, registry.truth), "fresh fraud"
    fresh = Served(tmp_path / "fresh", registry.uri, tmp_path / "cache", "--no-record", model=name)
    try:
        fresh.start()
        assert until(lambda: _reason(fresh, "does not know it"), "that there is no such model")
        version = client.copy_model_version(f"models:/{MODEL}/{FIRST}", name).version
        client.set_model_version_tag(name, version, tags.THRESHOLD, "0.5")
        assert until(lambda: _reason(fresh, "has no champion"), "that there is no champion")
        ManagedModel(name, tracking_uri=registry.truth, registry_uri=registry.truth, actor="tester").promote(1)
        assert until(lambda: fresh.score(**ROW).status_code == 200, "the first champion")
        assert fresh.health()["status"] == "ok"
        fresh.process.terminate()
        assert fresh.process.wait(30) == 0
    finally:
        fresh.kill()


def _reason(served: Served, word: str) -> str | None:
    """Why it serves nothing, where that holds a word: the same for a transaction, for health and for liveness."""
    sent = [served.score(**ROW), served.client.get("/health"), served.client.get("/ping")]
    assert {one.status_code for one in sent} == {503}
    said = sent[0].json()["message"]
    return said if word in said else None


@pytest.mark.campaign
def test_a_server_stops_although_a_version_is_being_fetched(
    registry: Registry, proxy: FaultProxy, tmp_path: Path
) -> None:
    """Told to stop while the registry hangs, a server ends at once and leaves no process behind."""
    proxy.choose = lambda call: Fault.HOLD if "get-download-uri" in call.endpoint else None
    served = Served(tmp_path / "stopped", registry.uri, tmp_path / "cache", "--no-record")
    try:
        until(lambda: proxy.held, "a version that is being fetched")
        preparing = served.children
        assert preparing
        assert served.stop() == 0
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in preparing), "no process")
    finally:
        served.kill()
