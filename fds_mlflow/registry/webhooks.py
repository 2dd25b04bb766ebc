"""The registry's own webhooks, which it sends to an address of ours while somebody listens there."""

from __future__ import annotations

import hashlib
import logging
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fds_mlflow.errors import ConfigError, FdsError, UnavailableError
from fds_mlflow.runtime import mlflow_client
from fds_mlflow.runtime.identity import new_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

PATH = "/registry-webhook"
"""Where we take them."""

EVENTS = (
    "model_version_alias.created",
    "model_version_alias.deleted",
    "model_version_tag.set",
    "model_version_tag.deleted",
)
"""What changes routing: the aliases, and the rollout in its version's tag. MLflow has none for tags of models."""

AGAIN_SECONDS = 60.0
"""How long until a registry that did not answer is asked again to send them."""


class Subscription:
    """A webhook in the registry for as long as the block runs; polling goes on without, and nothing waits for it.

    What was left behind by a process that was killed is taken over by the next one at the same address.

    Args:
        url: Address by which the registry reaches us, without the path.
        secret: With which the registry signs.
        tracking_uri: None for the one MLflow resolves.
        registry_uri: None for the one MLflow resolves.

    Attributes:
        problem: Why the registry sends none; None when it does, or has not been asked yet.

    Raises:
        ConfigError: The URL is none.
    """

    def __init__(
        self, url: str, secret: str, *, tracking_uri: str | None = None, registry_uri: str | None = None
    ) -> None:
        self.problem: str | None = None
        self._url = url_of(url)
        self._secret = secret
        self._uris = tracking_uri, registry_uri
        self._id: str | None = None
        self._mine = new_id()
        self._leaving = threading.Event()
        self._asking = threading.Thread(target=self._ask, name="webhook", daemon=True)

    def __enter__(self) -> Subscription:
        self._asking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._asking.join(2 * mlflow_client.HTTP_TIMEOUT)
        try:
            self._remove()
        except FdsError as error:
            log.warning("the webhook to %s stays in the registry: %s", self._url, error.what)

    def _ask(self) -> None:
        """Ask the registry until it has said yes or no."""
        while not self._leaving.is_set():
            try:
                self._ensure()
            except FdsError as error:
                if error.what != self.problem:
                    log.warning("the registry sends no webhooks to %s, polling goes on: %s", self._url, error.what)
                self.problem = error.what
                if not isinstance(error, UnavailableError):
                    return
                self._leaving.wait(AGAIN_SECONDS)
            else:
                self.problem = None
                return

    def _ensure(self) -> None:
        """Have one webhook to our address, with our secret.

        Raises:
            FdsError: The registry has none, refuses or does not answer.
        """
        client = mlflow_client.client(*self._uris)
        address = str(client._registry_uri)
        if not mlflow_client.is_server(address):
            raise ConfigError("it is a database, which sends none", fix="name an MLflow server, or leave the URL out")
        told: dict[str, Any] = {"events": list(EVENTS), "secret": self._secret, "status": "ACTIVE"}
        told["description"] = f"Wakes what follows the aliases; removed when that stops ({self._mine})."
        with mlflow_client.answered(address, "webhooks"):
            first, *others = [one.webhook_id for one in _all(client) if one.url == self._url] or [None]
            if first is None:
                name = f"fds-{hashlib.sha256(self._url.encode()).hexdigest()[:12]}"
                first = client.create_webhook(name, self._url, **told).webhook_id
            else:
                client.update_webhook(first, **told)
            self._id = first
            for one in others:
                client.delete_webhook(one)
        log.info("the registry sends webhooks to %s", self._url)

    def _remove(self) -> None:
        if self._id is not None:
            client = mlflow_client.client(*self._uris)
            with mlflow_client.answered(str(client._registry_uri), "webhooks"):
                if self._mine in str(client.get_webhook(self._id).description):
                    client.delete_webhook(self._id)  # else whoever follows at this address has taken it over


def _all(client: MlflowClient) -> list[Any]:
    found, page = [], client.list_webhooks()
    found += page
    while page.token:
        page = client.list_webhooks(page_token=page.token)
        found += page
    return found


def url_of(url: str) -> str:
    """The whole address of an address without the path.

    Raises:
        ConfigError: It is none, or has a path.
    """
    if not mlflow_client.is_server(url) or urlsplit(url).path not in ("", "/") or urlsplit(url).query:
        raise ConfigError(
            f"the webhooks' URL {url!r} is no address",
            fix="give scheme, host and port by which the registry reaches this process: http://10.0.0.7:5001",
        )
    return url.rstrip("/") + PATH
