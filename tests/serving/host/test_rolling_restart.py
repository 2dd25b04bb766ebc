"""Three replicas behind the proxy of `deploy/`, restarted one after the other while requests come."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from fds_mlflow import OutcomeStore, Plan
from tests.serving.host.test_traffic import ROW, routes
from tests.support.places import ROOT
from tests.support.served import Crowd, Served, client_id, until
from tests.support.servers import free_port
from tests.support.serving_registry import MODEL, SECOND, Registry

Serve = Callable[..., Served]

COMPOSE = ROOT / "deploy" / "compose"
LEAVE, COME_BACK = re.findall(r'^ *proxy "(.+)"$', (COMPOSE / "restart").read_text(), re.MULTILINE)
"""What the proxy is told before a replica is stopped, and when it is there again."""


@contextmanager
def proxied(folder: Path, ports: list[int]) -> Iterator[tuple[str, Callable[[str, int], None]]]:
    """The proxy of the Compose file before replicas at these ports: its address, and what tells it something."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        pytest.skip("HAProxy is not installed")
    port, told = free_port(), free_port()
    text = (COMPOSE / "haproxy.cfg").read_text().replace("bind :8080", f"bind 127.0.0.1:{port}")
    text = text.replace("127.0.0.1:9999", f"127.0.0.1:{told}")
    for number, each in enumerate(ports, 1):
        text = text.replace(f"fds-{number}:5001", f"127.0.0.1:{each}")
    (folder / "haproxy.cfg").write_text(text)
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-db", "-f", str(folder / "haproxy.cfg")], stdout=log, stderr=subprocess.STDOUT
        )

    def tell(command: str, number: int) -> None:
        with socket.create_connection(("127.0.0.1", told), timeout=10) as connection:
            connection.sendall(command.replace("$replica", f"fds-{number + 1}").encode() + b"\n")
            assert connection.recv(1_000).strip() == b""

    try:
        yield f"http://127.0.0.1:{port}", tell
    finally:
        process.kill()
        process.wait()


@pytest.mark.campaign
@pytest.mark.slow
def test_a_rolling_restart_fails_no_request(serve: Serve, registry: Registry, tmp_path: Path) -> None:
    """While each replica is restarted all requests are answered, by the variant of their key, with one outcome each."""
    registry.model.canary.start(SECOND, plan=Plan([25, 100]))
    version = routes(registry)
    outcomes = f"sqlite:///{tmp_path / 'outcomes.db'}"
    ports = [free_port() for _ in range(3)]

    def started(number: int, cache: Path | None = None) -> Served:
        # The last --port counts.
        replica = serve(f"replica{number}", "--port", str(ports[number]), outcomes=outcomes, cache=cache).ready()
        until(lambda: replica.health()["canary"] == SECOND, "the rollout")
        return replica

    replicas = [started(number) for number in range(3)]
    with proxied(tmp_path, ports) as (url, tell):
        until(lambda: httpx.get(f"{url}/ping").status_code == 200, "the proxy")
        assert httpx.get(f"{url}/metrics").status_code == 404
        crowd = Crowd(url, ROW)
        with crowd.sending(2):
            for number, replica in enumerate(replicas):
                crowd.more(100)
                tell(LEAVE, number)
                assert replica.stop() == 0
                crowd.more(100)
                replicas[number] = started(number, replica.cache)
                tell(COME_BACK, number)
            crowd.more(100)
    assert Counter(one.status for one in crowd.sent) == {200: len(crowd.sent)}
    assert {one.key for one in crowd.sent if one.answer["version"] != version(one.key)} == set()
    for replica in replicas:
        assert replica.stop() == 0
    with OutcomeStore(outcomes) as store:
        stored = Counter(client_id(one.request_id) for one in store.recent(MODEL, limit=100_000))
    assert stored == Counter(f"R{one.key}" for one in crowd.sent)
