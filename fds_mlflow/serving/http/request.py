"""The outside of an HTTP request: what its headers say, its body within limits, and how it is refused."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
    MutableMapping,
    Sequence,
)
from email.message import EmailMessage
from http import HTTPStatus
from typing import Any

import msgspec

from fds_mlflow.display.characters import acting, printable
from fds_mlflow.display.redaction import redacted
from fds_mlflow.scoring.requests.names import LONGEST_KEY
from fds_mlflow.serving.disk.deliveries import Deliveries
from fds_mlflow.serving.worker.access import Access
from fds_mlflow.serving.worker.explaining import Wanted
from fds_mlflow.serving.worker.settings import ServerSettings

Message = MutableMapping[str, Any]
Receive = Callable[[], Coroutine[Any, Any, Message]]
Send = Callable[[Message], Awaitable[None]]

TURN = 0.02
"""Seconds in which the loop reads what has arrived: who looks at the clock after it had no turn would else find clients
late whose bytes have long been there."""


_READ = frozenset(
    {
        *(b"content-type", b"content-encoding", b"content-length", b"authorization", b"host", b"origin"),
        *(b"x-request-id", b"x-routing-key", b"x-fds-variant", b"sec-fetch-site"),
    }
)
"""What is read: a second one would say something else, and nobody knows which was meant."""

_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    413: "REQUEST_TOO_LARGE",
    414: "REQUEST_URI_TOO_LONG",
    415: "UNSUPPORTED_MEDIA_TYPE",
    431: "REQUEST_HEADER_FIELDS_TOO_LARGE",
    503: "TEMPORARILY_UNAVAILABLE",
}
"""MLflow's own names of errors, where it has one."""

_LONGEST_TYPE = 200
"""Bytes of a content type: what reads it takes seconds for one of 50 KB."""

_MORE_HEADERS: Mapping[int, tuple[bytes, bytes]] = {401: (b"www-authenticate", b"Bearer"), 503: (b"retry-after", b"1")}
"""What an answer of a status says beside type and length of its body."""


def headers_of(status: int, body: bytes, kind: bytes = b"application/json") -> list[tuple[bytes, bytes]]:
    """The headers of an answer.

    Args:
        status: Of HTTP.
        body: Of the answer.
        kind: Type of the body.
    """
    more = _MORE_HEADERS.get(status)
    return [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *([] if more is None else [more])]


def written(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """An answer as the bytes that are sent.

    Args:
        status: Of HTTP.
        headers: All of them.
        body: Of the answer.
    """
    line = b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode())
    return b"".join([line, *(b"%b: %b\r\n" % header for header in headers), b"\r\n", body])


class RefusedError(Exception):
    """An answer other than 200.

    Args:
        status: Of HTTP.
        what: What is wrong.
        fix: What to do about it.
    """

    def __init__(self, status: int, what: str, fix: str) -> None:
        super().__init__(what)
        self.status = status
        self.body = msgspec.json.encode(
            {"error_code": _CODES.get(status, "INTERNAL_ERROR"), "message": printable(redacted(what)), "fix": fix}
        )


class Head(msgspec.Struct):
    """What the headers say.

    Attributes:
        request_id: Identity of the request; None where the client gives none.
        key: Routing key, for a body that has none.
        variant: Variant to answer with.
        content_type: Of the body; empty where the client says nothing.
        host: Whom the client means, with the port.
        origin: Of the page whose browser this is.
        site: How near that page is, by its browser.
        length: Bytes of the body.
        authorization: As it came.
        headers: All of them.
        query: What stands behind the `?` of the address.
        wanted: What that asks for beside a score; None for nothing.
    """

    request_id: str | None = None
    key: str | None = None
    variant: str | None = None
    content_type: bytes = b""
    host: bytes = b""
    origin: bytes = b""
    site: bytes = b""
    length: int = 0
    authorization: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()
    query: bytes = b""
    wanted: Wanted | None = None


def head(headers: Sequence[tuple[bytes, bytes]], settings: ServerSettings) -> Head:
    """Read the headers.

    Raises:
        RefusedError: It chooses a variant where that is not allowed, or one that does not exist.
    """
    given: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _READ:
            if name in given:
                raise RefusedError(400, f"the header {name.decode()} is there twice", "send it once")
            given[name] = value
    said = Head(
        content_type=given.get(b"content-type", b""),
        host=given.get(b"host", b""),
        origin=given.get(b"origin", b""),
        site=given.get(b"sec-fetch-site", b""),
        length=int(given.get(b"content-length", 0)),
        authorization=given.get(b"authorization", b""),
        headers=headers,
    )
    if b";" in said.content_type:
        _check_charset(said.content_type)
    if b"content-encoding" in given and given[b"content-encoding"].strip().lower() != b"identity":
        encoding = given[b"content-encoding"].decode("latin-1")
        raise RefusedError(415, f"the body is encoded as {encoding!r}", "send it as it is")
    if b"x-request-id" in given:
        said.request_id = _text(b"x-request-id", given[b"x-request-id"]) or None
    if b"x-routing-key" in given:
        said.key = _text(b"x-routing-key", given[b"x-routing-key"]) or None
        if said.key is not None and len(said.key) > LONGEST_KEY:  # cut off it would be routed as another key
            raise RefusedError(400, f"a key has {len(said.key):,} characters > {LONGEST_KEY}", "shorten it")
    if b"x-fds-variant" in given:
        said.variant = _overridden(given[b"x-fds-variant"].decode("latin-1"), settings)
    return said


def media_type(said: Head) -> bytes:
    """What kind of body is sent, without parameters; in small letters."""
    return said.content_type.partition(b";")[0].strip().lower()


def require_json(said: Head) -> None:
    """Let only a body pass that says it is JSON: a page of another site cannot send such a one without being asked.

    Raises:
        RefusedError: It is of another type, or does not say.
    """
    if said.content_type != b"application/json" and media_type(said) != b"application/json":
        raise unknown_type(said, "Content-Type: application/json")


def unknown_type(said: Head, known: str) -> RefusedError:
    """What is answered to a body of a type that is not taken.

    Args:
        said: What the headers say.
        known: What is.
    """
    kind = media_type(said).decode("latin-1")
    what = f"the content type {kind!r} is not known" if kind else "the request does not say what its body is"
    return RefusedError(415, what, f"send {known}")


def _check_charset(content_type: bytes) -> None:
    """Let nothing but UTF-8 pass, as which bodies are read.

    Raises:
        RefusedError: Another one is declared.
    """
    if len(content_type) > _LONGEST_TYPE:
        raise RefusedError(415, f"the content type has more than {_LONGEST_TYPE} bytes", "send what the body is")
    declared = EmailMessage()
    try:
        declared["content-type"] = content_type.decode("latin-1")
        charset = str(declared["content-type"].params.get("charset", "utf-8"))
    except Exception:  # the parser of mail headers raises whatever it stumbles over
        charset = content_type.decode("latin-1")
    if charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise RefusedError(415, f"the body is declared to be in {charset!r}", "send UTF-8")


def unreadable(error: Exception) -> RefusedError:
    """What is answered where the parser of HTTP stops."""
    if isinstance(error.__context__, RefusedError):
        return error.__context__
    return RefusedError(400, f"the request is not valid HTTP: {error.__context__ or error}", "send HTTP/1.1")


def _text(name: bytes, value: bytes) -> str:
    """A header's text: UTF-8 as in a body, so that a key is the same key in both; Latin-1 where it is none.

    Raises:
        RefusedError: It has a character that acts on whoever lists it.
    """
    try:
        said = value.decode()
    except UnicodeDecodeError:
        said = value.decode("latin-1")
    sign = acting(said)
    if sign is not None:
        raise RefusedError(400, f"the header {name.decode()} has the control character {sign}", "leave it out")
    return said


def _overridden(variant: str, settings: ServerSettings) -> str:
    if not settings.variant_override:
        raise RefusedError(
            400, "requests may not choose their variant here", "start the server with --allow-variant-override"
        )
    if variant not in ("champion", "canary"):
        raise RefusedError(400, f"X-FDS-Variant is {variant!r}", "use champion or canary")
    return variant


def authorize(said: Head, token: bytes) -> None:
    """Let only those pass who show the token.

    Args:
        said: The head of the request.
        token: Digest of the header that shows it.

    Raises:
        RefusedError: It is missing or wrong.
    """
    if not hmac.compare_digest(hashlib.sha256(said.authorization).digest(), token):
        raise RefusedError(401, "the bearer token is missing or wrong", "send Authorization: Bearer <token>")


def check_page(said: Head, access: Access) -> None:
    """Let no page of another site write.

    Raises:
        RefusedError: A browser says that it comes from one, which is not allowed.
    """
    if not said.origin and not said.site:
        return
    origin, site, host = (value.decode("latin-1") for value in (said.origin, said.site, said.host))
    if not access.allows_page(origin, site, host):
        page = f"a page of {origin[:200]!r}" if origin else "a page of another site"
        raise RefusedError(403, f"{page} may not write here", "allow it with --allowed-origins")


def signed(headers: Sequence[tuple[bytes, bytes]], sent: bytes, secret: str, taken: Deliveries) -> None:
    """Let a webhook of the registry pass only where it carries the registry's signature, is fresh, and comes first.

    MLflow signs as Standard Webhooks do, under other names: https://www.standardwebhooks.com.

    Args:
        headers: Of the request.
        sent: Its body.
        secret: With which the registry signs.
        taken: Those that have passed.

    Raises:
        RefusedError: The signature is missing or wrong, or five minutes old, or it has been taken already.
    """
    from standardwebhooks import Webhook, WebhookVerificationError

    given = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    theirs = {"id": "delivery-id", "timestamp": "timestamp", "signature": "signature"}
    said = {f"webhook-{ours}": given.get(f"x-mlflow-{name}", "") for ours, name in theirs.items()}
    try:
        Webhook(secret.encode()).verify(sent, said)
    except (WebhookVerificationError, ValueError) as error:
        raise RefusedError(
            401, f"the webhook is not from the registry: {error}", "give both sides the same secret"
        ) from None
    try:
        first = taken.is_first(said["webhook-id"])
    except OSError as error:
        raise RefusedError(503, f"the webhook cannot be remembered: {error}", "make room on the disk") from None
    if not first:
        raise RefusedError(409, "the webhook has been taken already", "send each once")


async def body(said: Head, receive: Receive, settings: ServerSettings) -> bytes:
    """Read the body.

    Raises:
        RefusedError: It is too long, or takes too long to arrive.
    """
    limit = settings.body_limit
    if said.length > limit:
        raise RefusedError(413, f"the request has {said.length:,} bytes > {limit:,}", "send fewer rows at a time")
    # Mostly all of it is there already, and no time limit has to be set up, which would cost a fifth of the rest of a
    # request. So receiving is taken to where it would wait; only if it gets there, it is awaited.
    receiving, message, waits_for = receive(), None, None
    try:
        waits_for = receiving.send(None)
    except StopIteration as ended:
        message = ended.value
        if not message.get("more_body"):
            return _part(message, 0, limit)
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with _patience(settings.body_seconds):
            message = message or await _Begun(receiving, waits_for)
            while more:
                parts.append(_part(message, size, limit))
                size += len(parts[-1])
                more = message.get("more_body", False)
                message = await receive() if more else message
    except TimeoutError:
        raise RefusedError(408, "the request did not arrive in time", "send it faster, or fewer rows") from None
    return b"".join(parts)


@contextlib.asynccontextmanager
async def _patience(seconds: float) -> AsyncIterator[None]:
    """A time limit for a client; where this process had no turn until then, it first reads what has arrived."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        over = loop.call_later(seconds, lambda: limit.reschedule(loop.time() + TURN))
        try:
            yield
        finally:
            over.cancel()


def _part(message: Message, before: int, limit: int) -> bytes:
    if message["type"] == "http.disconnect":  # half a request is none
        raise RefusedError(400, "the connection ended before the request did", "send it again")
    part: bytes = message.get("body", b"")
    if before + len(part) > limit:
        raise RefusedError(413, f"the request has more than {limit:,} bytes", "send fewer rows at a time")
    return part


class _Begun:
    """A coroutine that was taken to where it waits, to be awaited from there on.

    Args:
        coroutine: It.
        waits_for: What it waits for.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Message], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Message]:
        try:
            yield self._waits_for
            return (yield from self._coroutine.__await__())
        finally:
            self._coroutine.close()
