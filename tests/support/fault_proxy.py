"""A small HTTP proxy that makes a healthy server look ill: slow, refusing, cutting connections, or away."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SLOW = 0.2
"""Seconds that a slow server takes longer: noticeable, and far below every timeout."""


class Fault(Enum):
    """What happens to one request."""

    SLOW = auto()
    ANSWER_500 = auto()
    ANSWER_429 = auto()
    ANSWER_404 = auto()
    """A load balancer without a server behind it says so, as it would for any address it does not know."""
    ANSWER_503_AFTER = auto()
    """The server does it, and a load balancer says it did not."""
    CUT_BEFORE = auto()
    """The connection is reset before the server has seen the request."""
    CUT_AFTER = auto()
    """The server does it, and the connection is reset before the answer."""
    CUT_WITHIN = auto()
    """The server does it, and the connection ends in the middle of the answer."""
    HOLD = auto()
    """The request waits in the network until the test releases it; the client has long given up by then."""


STATUS = {Fault.ANSWER_500: 500, Fault.ANSWER_429: 429, Fault.ANSWER_404: 404}


class Call:
    """One request as the proxy sees it.

    Attributes:
        method: HTTP method.
        endpoint: Path below `/api/2.0/mlflow/`, without the query.
        model: The registered model that it is about; None where it names none.
        body: The JSON body; empty where there is none.
    """

    def __init__(self, method: str, path: str, raw: bytes) -> None:
        self.method = method
        self.endpoint = urlsplit(path).path.removeprefix("/api/2.0/mlflow/")
        self.body: dict[str, Any] = {}
        with suppress(ValueError):  # a file is no JSON
            self.body = json.loads(raw) if raw else {}
        self.model: str | None = self.body.get("name") or next(
            iter(parse_qs(urlsplit(path).query).get("name", ())), None
        )

    @property
    def writes(self) -> bool:
        """Whether the request changes something."""
        return self.method != "GET" and not self.endpoint.endswith(("search", "get-latest-versions"))


def healthy(_: Call) -> Fault | None:
    """Nothing goes wrong."""
    return None


class FaultProxy:
    """Stands between a client and a server, on a loopback port of its own.

    Args:
        upstream: Port of the real server.

    Attributes:
        choose: Asked for each request; returns the fault it meets, or None.
        calls: Requests so far, those that met a fault included.
        token: Bearer token that requests must show; None for none.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.choose: Callable[[Call], Fault | None] = healthy
        self.calls: list[Call] = []
        self.token: str | None = None
        self.port = 0
        self._server: ThreadingHTTPServer | None = None
        self._changed = threading.Condition()
        self._gate = threading.Event()
        self._held = 0
        self.up()

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def held(self) -> int:
        """Requests that wait in the network."""
        return self._held

    def up(self) -> None:
        """Accept connections, always on the same port."""
        if self._server is None:
            self._server = _Server(("127.0.0.1", self.port), self)
            self.port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections, as a server that restarts."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def release(self) -> None:
        """Let every held request reach the server, and wait until it has answered them."""
        self._gate.set()
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0)
        self._gate.clear()

    def wait_at_gate(self) -> None:
        """Hold the request of the calling thread."""
        with self._changed:
            self._held += 1
        self._gate.wait()

    def gone_through(self) -> None:
        """A held request was answered."""
        with self._changed:
            self._held -= 1
            self._changed.notify_all()

    def forward(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> tuple[int, str, bytes]:
        """Ask the real server."""
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=60)
        try:
            connection.request(method, path, raw or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type", "application/json"), answer.read()
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Any request, whatever its method."""
        self._handle()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - names that http.server looks for

    def _handle(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy, call = self.server.proxy, Call(self.command, self.path, raw)
        proxy.calls.append(call)
        fault = proxy.choose(call)
        if proxy.token is not None and self.headers.get("Authorization") != f"Bearer {proxy.token}":
            self._say(401, "text/plain", b"who are you?")
        elif fault is Fault.CUT_BEFORE:
            self._reset()
        elif fault in STATUS:
            self._say(STATUS[fault], "text/html", b"<h1>Not today</h1>")
        elif fault is Fault.HOLD:
            proxy.wait_at_gate()
            try:
                self._forward(raw)
            finally:
                proxy.gone_through()
        else:
            if fault is Fault.SLOW:
                threading.Event().wait(SLOW)
            status, kind, content = self._forward(raw)
            if fault is Fault.CUT_AFTER:
                self._reset()
            elif fault is Fault.CUT_WITHIN:
                self._say(status, kind, content[: len(content) // 2], promised=len(content) + 1)
            elif fault is Fault.ANSWER_503_AFTER:
                self._say(503, "text/html", b"<h1>No healthy upstream</h1>")
            else:
                self._say(status, kind, content)

    def _forward(self, raw: bytes) -> tuple[int, str, bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        return self.server.proxy.forward(self.command, self.path, headers, raw)

    def _say(self, status: int, kind: str, content: bytes, *, promised: int | None = None) -> None:
        with suppress(ConnectionError):  # the client has given up
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content) if promised is None else promised))
            self.end_headers()
            self.wfile.write(content)

    def _reset(self) -> None:
        """End the connection with a reset, as a crashed server or a proxy that restarts does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
