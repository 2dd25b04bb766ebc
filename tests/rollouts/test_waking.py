"""An autopilot's pause ends when the registry's webhook comes, and by nothing else that is sent to it."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature as mlflow_signature

from fds_mlflow.errors import ConfigError
from fds_mlflow.registry.webhooks import PATH, url_of
from fds_mlflow.rollouts.waking import LONGEST, Waking
from tests.support.servers import free_port

BODY = '{"entity": "model_version_alias", "action": "created"}'


@pytest.fixture
def address() -> str:
    """Where nobody listens yet."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def waking(mlflow_uri: str, address: str) -> Iterator[Waking]:
    """Listens, beside a registry that is a database and sends nothing."""
    with Waking(address) as made:
        yield made


def sent(address: str, secret: str, *, moment: float = 0.0, delivery: str = "d1", body: str = BODY) -> int:
    """What is answered to a webhook that is signed as MLflow signs."""
    at = str(int(time.time() + moment))
    headers = {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": at,
        "X-MLflow-Signature": mlflow_signature(secret, delivery, at, BODY),
    }
    return httpx.post(f"{address}{PATH}", content=body, headers=headers).status_code


def announced(address: str, length: str) -> int:
    """What is answered to a webhook that is said to be so long."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Length", length.encode())
    connection.endheaders()
    with contextlib.closing(connection):
        return connection.getresponse().status


def woken(waking: Waking) -> bool:
    """Whether the pause that begins now ends at once."""
    ended = waking._woken.is_set()
    waking._woken.clear()
    return ended


def test_a_webhook_ends_the_pause(waking: Waking, address: str) -> None:
    """Who waits for an hour goes on as soon as the registry says that something has changed."""
    waiting = threading.Thread(target=waking.wait, args=(3_600.0,), daemon=True)
    waiting.start()
    assert sent(address, waking._secret) == 200
    waiting.join(60)
    assert not waiting.is_alive()
    assert not woken(waking)


def test_nothing_else_does(waking: Waking, address: str) -> None:
    """What is forged, changed, old, of tomorrow, sent again, too long or elsewhere is refused, and wakes nobody."""
    secret = waking._secret
    assert sent(address, "guessed") == 401
    assert sent(address, secret, body=BODY.replace("created", "deleted")) == 401
    assert sent(address, secret, moment=-400) == 401
    assert sent(address, secret, moment=400) == 401
    assert httpx.post(f"{address}{PATH}", content=BODY).status_code == 401
    assert [announced(address, length) for length in (str(LONGEST + 1), "-1", "²", "")] == [413] * 4
    assert httpx.post(f"{address}/elsewhere", content=BODY).status_code == 404
    assert httpx.get(f"{address}{PATH}").status_code == 501
    assert not woken(waking)
    assert [sent(address, secret), woken(waking)] == [200, True]
    assert [sent(address, secret), woken(waking)] == [409, False]
    assert [sent(address, secret, delivery="d2"), woken(waking)] == [200, True]


def test_a_registry_without_webhooks_is_polled(waking: Waking) -> None:
    """A database sends none: that is said, and a pause lasts as long as it lasts."""
    waking._subscription._asking.join(60)
    assert waking._subscription.problem == "it is a database, which sends none"
    waking.wait(0.0)


def test_an_address_that_cannot_be_listened_on_is_said(waking: Waking, address: str) -> None:
    """One that is taken, or that is none, is refused before anything begins."""
    with pytest.raises(ConfigError, match="cannot be listened on"):
        Waking(address)
    for url in ("127.0.0.1:5002", "ftp://h:1", "http://", "http://h:0", f"{address}/hook", f"{address}?x=1"):
        with pytest.raises(ConfigError, match="no address"):
            Waking(url)
    for more in ({"listen": "127.0.0.1"}, {"listen": ":5002"}, {"listen": "h:x"}, {}):
        with pytest.raises(ConfigError, match="no place to listen"):
            Waking("https://scoring.example.com", **more)
    Waking("https://scoring.example.com", listen=f"127.0.0.1:{free_port()}")._server.server_close()
    assert url_of("https://scoring.example.com/") == f"https://scoring.example.com{PATH}"
