"""The registry's own webhooks shorten the wait for a change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mlflow import MlflowClient

from tests.support.served import Served, until
from tests.support.serving_registry import FIRST, SECOND, Registry

SECRET = "both know it"


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
