"""The registry's own webhooks shorten the wait for a change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest
from mlflow import MlflowClient

from fds_mlflow.registry.webhooks import EVENTS, PATH, Subscription
from fds_mlflow.rollouts.waking import Waking
from tests.support.served import Served, until
from tests.support.servers import free_port
from tests.support.serving_registry import FIRST, SECOND, Registry

SECRET = "both know it"


def urls() -> list[str]:
    """Where the registry sends webhooks."""
    return [webhook.url for webhook in MlflowClient().list_webhooks()]


@pytest.mark.campaign
def test_a_webhook_of_mlflow_replaces_the_wait(serve: Callable[..., Served], registry: Registry) -> None:
    """A server that reads the aliases once an hour serves a promoted version as soon as MLflow says that they moved."""
    server = serve("hooked", "--poll", "3600", "--webhook-secret", SECRET).ready()
    assert server.health()["champion"] == FIRST
    client = MlflowClient()
    url = f"{server.url}/registry-webhook"
    webhook = client.create_webhook("replica", url, ["model_version_alias.created"], secret=SECRET)
    try:
        registry.model.promote(SECOND, reason="a better one")
        until(lambda: server.health()["champion"] == SECOND, "the promoted version")
    finally:
        client.delete_webhook(webhook.webhook_id)


@pytest.mark.slow
def test_a_server_asks_for_the_webhooks_itself(serve: Callable[..., Served], registry: Registry) -> None:
    """Given the address by which MLflow reaches it, a server that polls once an hour serves a promoted version at once,
    with a secret that nobody was told; when it has stopped, MLflow sends nothing there any more.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = serve("asking", "--poll", "3600", "--port", str(port), "--webhook-url", url).ready()
    until(lambda: f"{url}{PATH}" in urls(), "the webhook in the registry")
    registry.model.promote(SECOND, reason="a better one")
    until(lambda: server.health()["champion"] == SECOND, "the promoted version")
    server.stop()
    assert f"{url}{PATH}" not in urls()


@pytest.mark.slow
def test_an_autopilot_asks_for_them_too(registry: Registry) -> None:
    """Whoever waits for an hour goes on when the champion moves, and leaves no webhook behind."""
    url = f"http://127.0.0.1:{free_port()}"
    with Waking(url) as waking:
        until(lambda: f"{url}{PATH}" in urls(), "the webhook in the registry")
        waiting = threading.Thread(target=waking.wait, args=(3_600.0,), daemon=True)
        waiting.start()
        registry.model.promote(SECOND, reason="a better one")
        waiting.join(60)
        assert not waiting.is_alive()
    assert f"{url}{PATH}" not in urls()


@pytest.mark.slow
def test_one_webhook_is_kept_whoever_was_there_before(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """What a killed process left is taken over, with its secret and its events; doubles go, and others' stay."""
    client, url = MlflowClient(), f"http://127.0.0.1:{free_port()}"
    others = client.create_webhook("others", "http://127.0.0.1:9/hook", ["registered_model.created"])
    for number in (1, 2):
        client.create_webhook(f"left-{number}", f"{url}{PATH}", ["registered_model.created"], status="DISABLED")
    try:
        with caplog.at_level(logging.INFO), Subscription(url, SECRET) as subscription:
            subscription._asking.join(60)
            assert subscription.problem is None
            (kept,) = [webhook for webhook in client.list_webhooks() if webhook.url == f"{url}{PATH}"]
            assert kept.status.is_active()
            assert {f"{event.entity.value}.{event.action.value}" for event in kept.events} == set(EVENTS)
        assert SECRET not in caplog.text
        assert f"{url}{PATH}" not in urls()
        assert others.url in urls()
    finally:
        client.delete_webhook(others.webhook_id)
