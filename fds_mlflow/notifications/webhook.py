"""A webhook: POSTs notifications as JSON, signed as Standard Webhooks asks, and tried again where that may help.

The scheme (headers, signature, secrets, what to retry): Standard Webhooks 1.0,
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fds_mlflow.display.redaction import remember
from fds_mlflow.errors import ConfigError, UnavailableError
from fds_mlflow.runtime.clock import Clock

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState, Retrying

    from fds_mlflow.notifications.notification import Notification

_SHORTEST, _LONGEST = 24, 64
"""Bytes a secret may have."""

_TELLING = 12
"""Characters from which a part of a URL is hidden wherever it turns up."""

_AGAIN = frozenset((408, 425, 429))
"""Answers below 500 after which another try may help."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a webhook is tried.

    Attributes:
        timeout: Seconds that connecting, and each read and write, may take.
        attempts: Attempts in all.
        first_wait: Seconds up to which the pause before the second attempt is drawn; it doubles from then on.
        longest_wait: Seconds a pause may last, one that the receiver asks for (`Retry-After`) included.
        total: Seconds from the first attempt after which no further one begins.
    """

    timeout: float = 5.0
    attempts: int = 8
    first_wait: float = 2.0
    longest_wait: float = 60.0
    total: float = 300.0


BRIEF = Patience(attempts=3, first_wait=0.3, longest_wait=3.0, total=8.0)
"""For a person who waits for the answer: a refused connection is told within a second or so."""


class AgainError(Exception):
    """An attempt that failed in a way that another one may not.

    Args:
        why: What happened; nothing of the URL or the secret is in it.
        wait: Seconds that the receiver asks to wait.
    """

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


def attempting(patience: Patience, stopping: threading.Event) -> Retrying:
    """What calls a function again while it raises `AgainError`, until patience or `stopping` ends the attempts.

    Before each further attempt it waits as long as the error asks, or for a random pause from a growing range.
    """
    from tenacity import (
        Retrying,
        retry_if_exception_type,
        sleep_using_event,
        stop_after_attempt,
        stop_any,
        stop_before_delay,
        stop_when_event_set,
        wait_random_exponential,
    )

    drawn = wait_random_exponential(patience.first_wait, patience.longest_wait)

    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.wait if isinstance(error, AgainError) else 0.0
        return min(patience.longest_wait, max(asked, drawn(state)))

    return Retrying(
        retry=retry_if_exception_type(AgainError),
        wait=pause,
        stop=stop_any(
            stop_after_attempt(patience.attempts), stop_before_delay(patience.total), stop_when_event_set(stopping)
        ),
        sleep=sleep_using_event(stopping),
        reraise=True,
    )


class Webhook:
    """One receiver of notifications.

    Redirects are not followed: a notification goes only where a person sent it. The path and the query of the URL may
    be secrets too (many services put their key there), so only the host is ever shown.

    Args:
        url: Where to POST, http or https.
        secret: What to sign with: `whsec_` and 24 to 64 random bytes in Base64; several, separated by spaces, while one
            is being replaced by another (each signs).
        patience: How long to try.
        clock: Time, for the signature.

    Raises:
        ConfigError: The URL or a secret is not valid; neither is repeated in the message.
    """

    def __init__(self, url: str, secret: str, *, patience: Patience | None = None, clock: Clock | None = None) -> None:
        import httpx

        from fds_mlflow.runtime.clock import SystemClock

        try:
            self._url = httpx.URL(url)
        except (httpx.InvalidURL, ValueError):
            self._url = httpx.URL()
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise ConfigError(
                "the webhook's URL does not begin with http:// or https:// and a host",
                fix="set FDS_WEBHOOK_URL to an address such as https://example.com/hooks/fraud",
            )
        self.name = f"webhook at {self._url.host}"
        self._signers = _signers(secret)
        self._patience = patience or Patience()
        self._clock: Clock = clock or SystemClock()
        self._hidden = _hidden(self._url, secret)
        # A short path or a user's name may be a word that stands elsewhere, too.
        remember(self._url.password, *(part for part in self._hidden if len(part) >= _TELLING))
        logging.getLogger("httpx").addFilter(self._hide)  # it logs each request with its whole URL
        self._client: httpx.Client | None = None
        self._process = 0

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def deliver(self, notification: Notification, stopping: threading.Event) -> None:
        """POST a notification until the receiver takes it (any 2xx), or patience or `stopping` ends the attempts.

        Raises:
            UnavailableError: It was not taken; says why, naming the host only.
        """
        attempts = attempting(self._patience, stopping)
        body = json.dumps(notification.payload(), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        try:
            attempts(self._post, notification.id, body)
        except AgainError as error:
            tried = attempts.statistics.get("attempt_number", 1)
            raise UnavailableError(
                f"the {self.name} did not take {notification.type} {notification.id} in {tried} attempts: {error}",
                fix="see that the receiver answers with 2xx, then send it again "
                "(`fds notify resend MODEL --since NUMBER`)",
            ) from None  # the error under it may show the URL

    def _post(self, message: str, body: str) -> None:
        """One attempt."""
        import httpx

        now = self._clock.now()
        headers = {
            "content-type": "application/json; charset=utf-8",
            "webhook-id": message,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(message, now, body) for signer in self._signers),
        }
        try:
            # Streamed, and the answer's body never read: nobody needs it, and it could be endless.
            with self._connected().stream("POST", self._url, content=body.encode(), headers=headers) as response:
                status, asked = response.status_code, response.headers.get("retry-after", "")
        except httpx.TimeoutException as error:
            raise AgainError(f"no answer within {self._patience.timeout:g} s ({type(error).__name__})") from None
        except (httpx.HTTPError, OSError) as error:
            raise AgainError(self._safe(f"{type(error).__name__}: {error}")) from None
        if 200 <= status < 300:
            return
        said = f"it answered {status} {_phrase(status)}".rstrip()
        if status >= 500 or status in _AGAIN:
            raise AgainError(said, _seconds(asked, now))
        raise UnavailableError(
            f"the {self.name} refused {message}: {said}",
            fix="repair the receiver or FDS_WEBHOOK_URL (redirects are not followed), then "
            "`fds notify resend MODEL --since NUMBER`",
        )

    def _connected(self) -> httpx.Client:
        """The client, made when first needed and anew after a fork: it keeps its connection for the next time."""
        if self._client is None or self._process != os.getpid():
            import httpx

            self._process = os.getpid()
            self._client = httpx.Client(timeout=self._patience.timeout, follow_redirects=False)
        return self._client

    def _safe(self, text: str) -> str:
        for part in self._hidden:
            text = text.replace(part, "…")
        return text

    def _hide(self, record: logging.LogRecord) -> bool:
        """A filter that never drops a record, and takes this webhook's URL out of it."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                f"{a.scheme}://{a.netloc.decode()}…"
                if isinstance(a, type(self._url)) and a.netloc == self._url.netloc
                else a
                for a in record.args
            )
        return True


def _signers(secret: str) -> list[Any]:
    import standardwebhooks

    keys = []
    for each in secret.split():
        try:
            key = base64.b64decode(each.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        keys.append(key)
    if not keys or any(not _SHORTEST <= len(key) <= _LONGEST for key in keys):
        raise ConfigError(
            f"the webhook's secret is not {_SHORTEST} to {_LONGEST} bytes in Base64",
            fix="set FDS_WEBHOOK_SECRET to what this prints: python -c "
            "\"import base64, secrets; print('whsec_' + base64.b64encode(secrets.token_bytes(32)).decode())\"",
        )
    return [standardwebhooks.Webhook(key) for key in keys]


def _hidden(url: httpx.URL, secret: str) -> Sequence[str]:
    """What must never be shown, the longest first."""
    path = url.raw_path.decode()
    found = {str(url), path, url.path, url.query.decode(), url.username, url.password, *secret.split()}
    return sorted((part for part in found if len(part) > 1), key=len, reverse=True)


def _seconds(asked: str, now: datetime) -> float:
    """What a `Retry-After` header asks for: seconds, or a date (RFC 9110, 10.2.3); 0 where it says neither."""
    if asked.isascii() and asked.isdigit():
        return float(asked)
    try:
        until = parsedate_to_datetime(asked)
    except ValueError:
        return 0.0
    return max(0.0, ((until if until.tzinfo else until.replace(tzinfo=UTC)) - now).total_seconds())


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
