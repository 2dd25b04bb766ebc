"""Paths and what answers there: what one model's application and that of the whole server have in common."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Any

from fds_mlflow.errors import FdsError
from fds_mlflow.registry import webhooks
from fds_mlflow.runtime import tracing
from fds_mlflow.scoring.requests.rows import RequestError
from fds_mlflow.serving.disk.deliveries import Deliveries
from fds_mlflow.serving.http import openapi
from fds_mlflow.serving.http.request import (
    Head,
    Receive,
    RefusedError,
    Send,
    authorize,
    body,
    check_page,
    head,
    headers_of,
    signed,
)
from fds_mlflow.serving.worker.metrics import Metrics
from fds_mlflow.serving.worker.settings import ServerSettings

log = logging.getLogger(__name__)

WEBHOOK = webhooks.PATH

_OPEN = frozenset({"/ping", "/ready", "/health", "/version", WEBHOOK})
"""What is answered without a token: whoever watches over the process needs no secret, and the registry has its own."""

PROBES = ("/ping", "/ready", "/health")
"""What is answered however much there is to do, and under any name."""

_WATCHED = frozenset({*PROBES, "/metrics"})
"""What is asked every few seconds by whoever watches over the process: it leaves no spans."""

_TYPES: Mapping[str, bytes] = {
    "/metrics": b"text/plain; version=0.0.4; charset=utf-8",
    "/ping": b"text/plain",
    "/ready": b"text/plain",
    "/version": b"text/plain",
    "/docs": b"text/html; charset=utf-8",
    **openapi.FILES,
}
"""Where it is not JSON."""

Post = Callable[[Head, Receive], Awaitable[bytes]]


class Endpoints:
    """An ASGI application: a table of paths.

    Args:
        settings: Of the server, or of a model.
        metrics: Where responses are counted.
        posts: What takes a body, by path.
        gets: What does not, by path.

    Attributes:
        leaving: Whether the server leaves: it answers as ever, but its probes say that nobody should be led here.
        tracer: What makes the spans of requests; None where nobody asks for any.
        about: What a span says of any request here.
    """

    def __init__(
        self,
        settings: ServerSettings,
        metrics: Metrics,
        posts: Mapping[str, Post],
        gets: Mapping[str, Callable[[], bytes]],
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.leaving = False
        self.tracer = tracing.tracer()
        self.about: Mapping[str, str] = {}
        self._token = settings.token_digest
        self._deliveries = Deliveries(settings.cache / "webhooks")
        self._allows_host = lru_cache(1_000)(lambda host: settings.access.allows_host(host.decode("latin-1")))
        self._posts = {**posts, **({} if settings.webhook_secret is None else {WEBHOOK: self._woken})}
        self._gets: Mapping[str, Callable[[], bytes]] = {
            **gets,
            "/version": lambda: version("mlflow").encode(),
            "/docs": lambda: openapi.PAGE,
            **{path: partial(openapi.file, path) for path in openapi.FILES},
        }

    async def start(self) -> None:
        """Begin, before the first request."""
        raise NotImplementedError

    def stop(self) -> None:
        """End, after the last one."""
        raise NotImplementedError

    async def wake(self) -> None:
        """Have the registry read now."""
        raise NotImplementedError

    def leave(self) -> None:
        """Say from now on that the server leaves."""
        self.leaving = True

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif self.tracer is None or scope["path"] in _WATCHED:
            await self._respond(scope, receive, send)
        else:
            route = scope["path"] if self.answers(scope["path"]) else None
            answer = partial(self._respond, scope, receive)
            await tracing.request(self.tracer, scope, send, answer, route=route, attributes=self.about)

    async def _respond(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        path, status, failed = scope["path"], 200, False
        try:
            said = head(scope["headers"], self.settings)
            said.query = scope["query_string"]
            if path in PROBES:
                self._stays()
            elif path != WEBHOOK:
                self.check(said)
            if self._token is not None and path not in _OPEN:
                authorize(said, self._token)
            post = self._posts.get(path) if scope["method"] == "POST" else None
            if post is not None and path != WEBHOOK:
                check_page(said, self.settings.access)
            answer = self._asked(scope["method"], path) if post is None else await post(said, receive)
        except Exception as error:
            refused = refusal(error, path)
            status, answer, failed = refused.status, refused.body, has_failed(error)
        kind = b"application/json" if status != 200 else _TYPES.get(path, b"application/json")
        headers = headers_of(status, answer, kind)
        if status == 405:
            headers.append((b"allow", b"POST" if path in self._posts else b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
        self.metrics.responded(path if self.answers(path) else "other", status, failed=failed)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _woken(self, said: Head, receive: Receive) -> bytes:
        """Have the aliases read now; what the registry says in the webhook itself is not relied on."""
        sent = await body(said, receive, self.settings)
        await asyncio.to_thread(signed, said.headers, sent, self.settings.webhook_secret or "", self._deliveries)
        await self.wake()
        return b"{}"

    def check(self, said: Head) -> None:
        """Let no page of another site in that asks under a name of its own.

        Raises:
            RefusedError: The name is not one of ours.
        """
        if not self._allows_host(said.host):
            name = said.host.decode("latin-1")[:200]
            fix = "ask by the address that the server listens on, or start it with --allowed-hosts"
            raise RefusedError(403, f"this server does not go by the name {name!r}", fix)

    def _stays(self) -> None:
        if self.leaving:
            raise RefusedError(503, "the server leaves: it was told to stop", "ask another one")

    def _asked(self, method: str, path: str) -> bytes:
        question: Callable[[], bytes] | None = self._gets.get(path)
        if question is None or method not in ("GET", "HEAD"):
            raise self._unknown(method, path, known=self.answers(path))
        return question()

    def answers(self, path: str) -> bool:
        """Whether something answers at a path."""
        return path in self._posts or path in self._gets

    def _unknown(self, method: str, path: str, *, known: bool) -> RefusedError:
        """What is answered where there is nothing, or nothing by that method."""
        return RefusedError(405 if known else 404, f"there is no {method} {path}", "see /openapi.json")


def has_failed(error: Exception) -> bool:
    """Whether scoring failed: the server, or a model at a request that may be why; many of these are nobody's slip."""
    return not isinstance(error, RefusedError)


def refusal(error: Exception, path: str) -> RefusedError:
    """What is answered where a request ends in an error."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, RequestError):
        return RefusedError(400, error.what, error.fix)
    if isinstance(error, FdsError):  # the champion cannot score it
        return RefusedError(503, error.what, error.fix)
    log.error("%s could not be answered", path, exc_info=error)
    return RefusedError(500, "the server failed at this request", "see its log")
