"""What a web page in somebody's browser can do to a server: nothing, unless it is allowed to."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from fds_mlflow.serving.http.models import Models
from fds_mlflow.serving.http.protocol import ScoreProtocol
from fds_mlflow.serving.worker.access import Access
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.serving.http.test_protocol import ROW, Connection, request
from tests.support.version_caches import table, version_cache

LABELS = [{"transaction_id": "TX1", "status": "confirmed", "known_at": "2026-03-01T00:00Z"}]
POSTS: dict[str, Any] = {"/score": ROW, "/invocations": {"inputs": [ROW]}, "/labels": LABELS}
HERE = Access.bound("127.0.0.1", named="127.0.0.1", token=False, origins=("https://ops.example.com",))


def models(folder: Path, access: Access = HERE, **more: Any) -> Models:
    """A server of one model that serves."""
    version_cache(folder).write_table(table())
    made = Models([ServerSettings("fraud", "memory:", folder, access=access, **more)])
    made.apps["fraud"].worker.follow()
    return made


async def asked(server: Models, sent: bytes) -> tuple[int, bytes]:
    """The status of an answer, and all of it."""
    connection = Connection(ScoreProtocol, server)
    await connection.send(sent)
    while not connection.statuses:
        await connection.settle()
    return connection.statuses[-1], connection.wire.sent


def recorded(server: Models) -> int:
    """How many outcomes and labels there are."""
    worker = server.apps["fraud"].worker
    return len(worker.engine.outcomes) + len(list(worker._spool.waiting()))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:5001", "Origin": "http://localhost:5001"}, 200),
        ({"Host": "127.0.0.1:5001", "Origin": "https://ops.example.com", "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Host": "127.0.0.1:5001", "Origin": "http://evil.example"}, 403),
        ({"Host": "127.0.0.1:5001", "Origin": "null"}, 403),
        ({"Host": "127.0.0.1:5001", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "http://fds", "origin": "http://evil.example"}, 400),
        ({"host": "localhost", "Host": "evil.example"}, 400),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "text/plain; application/json"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "application/json, text/plain"}, 415),
        ({"Content_Type": ""}, 415),
        ({"Content_Type": "application/json; charset=utf-8"}, 200),
        ({"Content_Type": "Application/JSON"}, 200),
    ],
)
async def test_what_a_page_may_send(tmp_path: Path, headers: dict[str, str], status: int):
    """A page of another site, or under a name that is not ours, can write nothing, and whoever is no page can."""
    server = models(tmp_path)
    named = {"Host": "localhost", "Content_Type": "application/json", **headers}
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    for number, (at, path) in enumerate(itertools.product(("", "/models/fraud"), POSTS), 1):
        body = json.dumps(POSTS[path]).encode()
        head = f"POST {at}{path} HTTP/1.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
        got, _ = await asked(server, head.encode() + body)
        assert (got, recorded(server)) == (status, number * (status == 200))


async def test_a_body_without_a_type_is_refused(tmp_path: Path):
    """A page can send a body without a type to any server unasked; so one that does not say what it is is refused."""
    for path, body in POSTS.items():
        status, answer = await asked(
            models(tmp_path),
            request(path, body).replace(b"Content-Type: application/json\r\n", b"").replace(b"fds", b"localhost"),
        )
        assert (status, b"Content-Type: application/json" in answer) == (415, True)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/ping", 200), ("/ready", 200), ("/health", 200), ("/metrics", 403), ("/version", 403), ("/openapi.json", 403)],
)
async def test_whoever_watches_may_use_any_name(tmp_path: Path, path: str, status: int):
    """Probes ask by an address of their own, and are answered; nothing else is under a foreign name."""
    assert (
        await asked(models(tmp_path), request(path, method="GET", Host="10.1.2.3:5001").replace(b"Host: fds\r\n", b""))
    )[0] == status


async def test_a_whole_address_has_the_last_word(tmp_path: Path):
    """Where a target names its host, that is the one that is looked at, whatever the header says."""
    server = models(tmp_path)
    for target, status in (
        ("http://localhost:5001/score", 200),
        ("http://[::1]:5001/score", 200),
        ("http://evil.example/score", 403),
        ("http://localhost@evil.example/score", 403),
    ):
        assert (await asked(server, request(target, ROW).replace(b"Host: fds", b"Host: localhost")))[0] == status


async def test_labels_want_a_token_where_others_can_connect(tmp_path: Path):
    """Off loopback and without a token labels are refused, with what to do; scores are not, and a token opens both."""
    far = Access.bound("0.0.0.0", named="0.0.0.0", token=False)
    server = models(tmp_path, far)
    for path, expected in (("/labels", 403), ("/models/fraud/labels", 403), ("/score", 200), ("/invocations", 200)):
        status, answer = await asked(server, request(path, POSTS[path.replace("/models/fraud", "")]))
        assert status == expected
        assert (b"--token" in answer) == (status == 403)
    guarded = models(tmp_path, Access.bound("0.0.0.0", named="0.0.0.0", token=True), token="t")
    assert (await asked(guarded, request("/labels", LABELS, Authorization="Bearer t")))[0] == 200
    assert (await asked(guarded, request("/labels", LABELS)))[0] == 401


async def test_a_page_is_told_nothing_that_lets_it_in(tmp_path: Path):
    """A browser that asks whether another site's page may send gets no leave."""
    sent = request("/labels", method="OPTIONS", Origin="http://evil.example", Access_Control_Request_Method="POST")
    status, answer = await asked(models(tmp_path), sent.replace(b"fds", b"localhost"))
    assert (status, b"access-control" in answer.lower()) == (405, False)
    assert b"allow: POST\r\n" in answer
