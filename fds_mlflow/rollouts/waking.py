"""The registry's webhooks as an end to a pause: an autopilot looks when somebody has acted."""

from __future__ import annotations

import logging
import secrets
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fds_mlflow.errors import ConfigError
from fds_mlflow.registry.webhooks import PATH, Subscription, url_of
from fds_mlflow.serving.disk.deliveries import Deliveries
from fds_mlflow.serving.http.request import RefusedError, signed

log = logging.getLogger(__name__)

LONGEST = 65_536
"""Bytes of a webhook."""

SLOWEST = 10.0
"""Seconds in which one is sent."""

TOGETHER = 1.0
"""Seconds in which webhooks wake once: one operation sends several."""


class Waking:
    """Has the registry send its webhooks to an address while the block runs, and listens there.

    Args:
        url: As the registry reaches this process: `http://10.0.0.7:5002`.
        listen: Host and port to listen on, behind a proxy; None for those of the URL.
        tracking_uri: None for the one MLflow resolves.
        registry_uri: None for the one MLflow resolves.

    Raises:
        ConfigError: The URL is none, or cannot be listened on.
    """

    def __init__(
        self,
        url: str,
        *,
        listen: str | None = None,
        tracking_uri: str | None = None,
        registry_uri: str | None = None,
    ) -> None:
        url_of(url)
        place = _place(url, listen)
        self._secret = secrets.token_urlsafe(32)
        self._woken = threading.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="fds-webhooks-")
        self._taken = Deliveries(Path(self._folder.name))
        try:
            self._server = ThreadingHTTPServer(place, self._handler())
            self._server.block_on_close = False  # whoever sends slowly holds nobody up
        except OSError as error:
            self._folder.cleanup()
            raise ConfigError(
                f"{place[0]}:{place[1]} cannot be listened on: {error.strerror}",
                fix="give an address of this machine and a free port (--webhook-listen, behind a proxy)",
            ) from None
        self._subscription = Subscription(url, self._secret, tracking_uri=tracking_uri, registry_uri=registry_uri)
        self._listening = threading.Thread(target=self._server.serve_forever, name="webhooks", daemon=True)

    def __enter__(self) -> Waking:
        self._listening.start()
        self._subscription.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._subscription.__exit__()
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    def wait(self, seconds: float) -> None:
        """Wait for so long, or until a webhook says that the registry has changed."""
        if self._woken.wait(seconds):
            threading.Event().wait(min(TOGETHER, seconds))
            self._woken.clear()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        """What answers one request, within ten seconds."""
        waking = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_POST(self) -> None:
                status, answer = 200, b"{}"
                try:
                    waking._take(self)
                except RefusedError as refused:
                    status, answer = refused.status, refused.body
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *given: Any) -> None:  # noqa: A002 - the library's name
                log.debug(format, *given)

        return Handler

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        """End the pause, where it is the registry that asks for it.

        Raises:
            RefusedError: It is not.
        """
        length = request.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()) or len(length) > 9 or int(length) > LONGEST:
            raise RefusedError(413, f"a webhook has at most {LONGEST:,} bytes", "say how many it has")
        sent = _read(request, int(length))
        if request.path != PATH:
            raise RefusedError(404, "webhooks alone are taken here", f"send them to {PATH}")
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()]
        signed(headers, sent, self._secret, self._taken)
        self._woken.set()


def _read(request: BaseHTTPRequestHandler, length: int) -> bytes:
    """What is sent, be it as slowly as it may.

    Raises:
        RefusedError: It took too long.
    """
    until, sent = time.monotonic() + SLOWEST, b""
    while len(sent) < length:
        left = until - time.monotonic()
        if left <= 0:
            raise RefusedError(408, f"a webhook is sent within {SLOWEST:g} seconds", "send it at once")
        request.connection.settimeout(left)
        piece = request.rfile.read1(length - len(sent))
        if not piece:
            break
        sent += piece
    return sent


def _place(url: str, listen: str | None) -> tuple[str, int]:
    """Host and port to listen on.

    Raises:
        ConfigError: They are not said, or are none.
    """
    where = f"http://{listen}" if listen else url
    try:
        parts = urlsplit(where)
        if parts.scheme == "http" and parts.hostname and parts.port:
            return parts.hostname, parts.port
    except ValueError:  # the port is no number
        pass
    raise ConfigError(
        f"{where} is no place to listen at: it takes http, a host and a port",
        fix="name both, and where a proxy takes https, say what is behind it (--webhook-listen 127.0.0.1:5002)",
    )
