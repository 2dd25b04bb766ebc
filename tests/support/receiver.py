"""A webhook's receiver on loopback that answers as it is told and keeps what it got."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HANG = 0
"""An answer that never comes."""


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HttpReceiver:
    """What the server does and got.

    Attributes:
        url: Its address.
        answers: Status and headers of the next answers; 204 when there are none left.
        received: Every request, in order.
        released: Lets the answers that hang go.
    """

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    came: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, count: int) -> list[Received]:
        """Every request so far, once there are so many; after a minute, what there is."""
        with self.came:
            self.came.wait_for(lambda: len(self.received) >= count, timeout=60)
            return list(self.received)

    def answer(self, *statuses: int, **headers: str) -> None:
        """Set the next answers."""
        self.answers += [
            (status, {name.replace("_", "-"): value for name, value in headers.items()}) for status in statuses
        ]


@contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    """A receiver that is there for the length of a test."""
    told = HttpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with told.came:
                told.received.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                told.came.notify_all()
            status, headers = told.answers.pop(0) if told.answers else (204, {})
            if status == HANG:
                told.released.wait()
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.url = f"http://127.0.0.1:{server.server_port}/hooks/token-in-path?key=token-in-query"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        told.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
