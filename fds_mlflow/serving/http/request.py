"""The outside of an HTTP request: what its headers say, its body within limits, and how it is refused."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping, Sequence
from email.message import EmailMessage
from typing import Any

import msgspec

from fds_mlflow.scoring.requests.names import LONGEST_KEY
from fds_mlflow.serving.worker.settings import ServerSettings

Message = MutableMapping[str, Any]
Receive = Callable[[], Coroutine[Any, Any, Message]]
Send = Callable[[Message], Awaitable[None]]


_ONCE = frozenset(
    {b"content-type", b"content-encoding", b"x-request-id", b"x-routing-key", b"authorization", b"x-fds-variant"}
)
"""Headers of which a second one would say something else, and nobody knows which was meant."""

_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    404: "ENDPOINT_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    413: "REQUEST_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    431: "REQUEST_HEADER_FIELDS_TOO_LARGE",
    503: "TEMPORARILY_UNAVAILABLE",
}
"""MLflow's own names of errors, where it has one."""


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
            {"error_code": _CODES.get(status, "INTERNAL_ERROR"), "message": what, "fix": fix}
        )


class Head(msgspec.Struct):
    """What the headers say.

    Attributes:
        request_id: Identity of the request; None where the client gives none.
        key: Routing key, for a body that has none.
        variant: Variant to answer with.
        content_type: Of the body.
        length: Bytes of the body.
        authorization: As it came.
        headers: All of them.
    """

    request_id: str | None = None
    key: str | None = None
    variant: str | None = None
    content_type: bytes = b"application/json"
    length: int = 0
    authorization: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()


def head(headers: Sequence[tuple[bytes, bytes]], settings: ServerSettings) -> Head:
    """Read the headers.

    Raises:
        RefusedError: It chooses a variant where that is not allowed, or one that does not exist.
    """
    said, seen = Head(headers=headers), set()
    for name, value in headers:
        if name in _ONCE:
            if name in seen:
                raise RefusedError(400, f"the header {name.decode()} is there twice", "send it once")
            seen.add(name)
        if name == b"content-type":
            said.content_type = value
            if b";" in value:
                _check_charset(value)
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            raise RefusedError(415, f"the body is encoded as {value.decode('latin-1')!r}", "send it as it is")
        elif name == b"content-length":
            said.length = int(value)
        elif name == b"x-request-id":
            said.request_id = _text(value) or None
        elif name == b"x-routing-key":
            said.key = _text(value) or None
            if said.key is not None and len(said.key) > LONGEST_KEY:  # cut off it would be routed as another key
                raise RefusedError(400, f"a key has {len(said.key):,} characters > {LONGEST_KEY}", "shorten it")
        elif name == b"authorization":
            said.authorization = value
        elif name == b"x-fds-variant":
            said.variant = _overridden(value.decode("latin-1"), settings)
    return said


def _check_charset(content_type: bytes) -> None:
    """Let nothing but UTF-8 pass, as which bodies are read.

    Raises:
        RefusedError: Another one is declared.
    """
    declared = EmailMessage()
    try:
        declared["content-type"] = content_type.decode("latin-1")
        charset = str(declared["content-type"].params.get("charset", "utf-8"))
    except Exception:  # the parser of mail headers raises whatever it stumbles over
        charset = content_type.decode("latin-1")
    if charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise RefusedError(415, f"the body is declared to be in {charset!r}", "send UTF-8")


def _text(value: bytes) -> str:
    """A header's text: UTF-8 as in a body, so that a key is the same key in both; Latin-1 where it is none."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


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


def signed(headers: Sequence[tuple[bytes, bytes]], sent: bytes, secret: str) -> None:
    """Let a webhook of the registry pass only where it carries the registry's signature and is fresh.

    MLflow signs as Standard Webhooks do, under other names: https://www.standardwebhooks.com.

    Raises:
        RefusedError: The signature is missing or wrong, or five minutes old.
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
        async with asyncio.timeout(settings.body_seconds):
            message = message or await _Begun(receiving, waits_for)
            while more:
                parts.append(_part(message, size, limit))
                size += len(parts[-1])
                more = message.get("more_body", False)
                message = await receive() if more else message
    except TimeoutError:
        raise RefusedError(408, "the request did not arrive in time", "send it faster, or fewer rows") from None
    return b"".join(parts)


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
