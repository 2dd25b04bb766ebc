"""uvicorn's HTTP, with a short way for what is asked thousands of times a second, and limits for what clients may do.

A request for a score that has arrived whole needs no task, no messages and no waiting: it is read, scored and answered
from within the connection, for two thirds of the cost. Whatever is not quite so plain (a body in parts, one that does
not fit, a wrong token, a connection to be closed, a model that takes its time) goes uvicorn's usual way to the
application, so nothing is decided here that is not decided there.

An offer to go on in another protocol is not taken up: the request is answered as if it had not been made, which is
what HTTP asks of a server that has no other protocol (RFC 9110, 7.8). The parser stops at such an offer and skips the
body; so it is given the head once more, without the offer, and then the rest.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from fds_mlflow.serving.http.app import App
from fds_mlflow.serving.http.connections import Connections, Flow
from fds_mlflow.serving.http.models import Models
from fds_mlflow.serving.http.request import Message, Receive, RefusedError, Send, headers_of, unreadable, written
from fds_mlflow.serving.http.waiting import too_busy, too_many


class ScoreProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        given: What uvicorn gives.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        application, connections = self.config.app, self.server_state
        if not isinstance(application, App | Models):
            raise TypeError(f"the application is a {type(application).__name__}, which gives no scores")
        if not isinstance(connections, Connections):
            raise TypeError(f"the connections are a {type(connections).__name__}, which has no limits")
        self._metrics = application.metrics
        self._plain = application.plain if application.tracer is None else {}  # a span takes longer than a score
        self._batch = application.batch
        self._asked: App | None = None  # whose the request is that is held back
        self._probes = application.probes
        self._crowded = application.crowded
        self._shed = False  # the request that is being read: it gets its 503 when it is over
        self._usual = self.app
        self._all = connections
        self._limits = connections.limits
        self._held: list[bytes] | None = None  # the body so far of a request that may go the short way
        self._waiting = 0  # answers that come the short way
        self._offered = False  # another protocol, by the request that is being read
        self._whole: object = None  # the scope of the last request that was there whole
        self._parts: list[bytes] = []  # of a body that goes the usual way, until no more of it is there
        self._latest = 0  # bytes that came last,
        self._stalled = 0  # and all those since a head, a part of a body or a message was last completed
        self._head: list[tuple[bytes, bytes]] = []
        self._running: RequestResponseCycle | None = None  # the last request that the application was given
        self._refusal: RefusedError | None = None  # what is answered last, after all that was asked before
        self._seen: object = None  # the scope when it was last examined,
        self._stood: tuple[object, ...] = ()  # how it stood then,
        self._since = 0.0  # and since when

    # --- what the loop reports -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; it may have to be let go at once."""
        super().connection_made(transport)  # type: ignore[arg-type] # uvicorn's own
        self.flow = Flow(self.transport, self.pipeline)
        self._all.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._all.closed(self)
        self._all.arrived(self.cycle)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read; what has not arrived whole by then goes the usual way, where it has a time limit."""
        if self._refusal is not None:
            return
        self._latest = len(data)
        self._stalled += self._latest
        parts: list[bytes | memoryview] = [data]
        while parts:
            part = parts.pop()
            try:
                self.parser.feed_data(part)
            except httptools.HttpParserUpgrade as offer:
                parts += [memoryview(part)[offer.args[0] :], self._declined()]
            except httptools.HttpParserError as error:
                self._refuse(unreadable(error))
                return
        self._hand_on()
        if self._held is not None:
            self._go_usual_way()
        if self._stalled > self._limits.head_bytes:
            self._refuse(self._limits.too_large())

    def _declined(self) -> bytes:
        """The head of a request that offers another protocol, without the offer, for a parser that has seen none."""
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode()]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [b"\r\n", name, b": ", value]
        self.parser, self._offered = httptools.HttpRequestParser(self), False
        return b"".join([*head, b"\r\n\r\n"])

    # --- what the parser reports ---------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a field behind a body."""
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        elif name == b"transfer-encoding" and value.lower() != b"chunked":  # a proxy may know more of them
            raise RefusedError(
                400, f"the transfer encoding is {value.decode('latin-1')!r}", "send chunked, or a length"
            )
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Hold a request back that may go the short way."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise RefusedError(400, "this is no proxy: there is no CONNECT", "see /openapi.json")
            self._offered = True
            return
        limits = self._limits
        if (
            len(self.headers) > limits.head_fields
            or len(self.url) > limits.target_bytes
            or (self._may_be_large() and self._head_bytes() > limits.head_bytes)
        ):
            raise self._limits.too_large(self.url, len(self.headers))
        self._stalled = 0
        self._head, self.headers = self.headers, []  # what comes behind the body is no header
        crowded = self._crowded.get(self.url) or self._crowded.get(b"%b?" % self.url.partition(b"?")[0])
        busy = crowded is not None and self.parser.get_method() == b"POST" and crowded()
        if busy and self._may_be_shed():
            self._shed = True
        elif not busy and self._is_plain():
            self._held = []
        else:
            self._check_head()
            self._begin(too_busy() if busy else None)

    def on_body(self, body: bytes) -> None:
        """Hold a part of it back."""
        self._stalled = 0
        if self._shed:
            return
        (self._parts if self._held is None else self._held).append(body)

    def on_message_complete(self) -> None:
        """Have it answered."""
        if self._offered:
            return
        self._stalled, self._whole = 0, self.scope
        if self._shed:
            self._shed = False
            self._metrics.responded("other", 503)
            if not self.transport.is_closing():
                self.transport.write(_TOO_BUSY)
            self._go_on()
        elif self._held is None:
            self._complete()
        elif self._asked is not None and self._asked.soon(self, self._head, b"".join(self._held)):
            self._held = None
            self._waiting += 1
        else:
            self._go_usual_way()
            self._complete()

    def _check_head(self) -> None:
        """Let pass what everybody on the way reads alike, with the host that is meant.

        Raises:
            RefusedError: It is not so.
        """
        version = self.parser.get_http_version()
        if version == "0.9":
            raise RefusedError(400, "the request has no HTTP version", "send HTTP/1.1")
        if version == "1.0" and any(name == b"transfer-encoding" for name, _ in self._head):
            raise RefusedError(400, "HTTP/1.0 has no transfer encodings", "send HTTP/1.1, or a length")
        if self.url[:1] not in (b"/", b"*"):  # the whole address, which has the last word (RFC 9112, 3.2.2)
            asked = httptools.parse_url(self.url)
            host = asked.host or b""
            host = (b"[%b]" % host if b":" in host else host) + (b":%d" % asked.port if asked.port else b"")
            self._head[:] = [(b"host", host), *(header for header in self._head if header[0] != b"host")]

    def _may_be_large(self) -> bool:
        """Whether a head has to be measured: mostly it came alone, with what else came last."""
        return self._latest != self._stalled or self._latest > self._limits.head_bytes

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _may_be_shed(self) -> bool:
        """Whether a request that would wait too long may be refused the short way, which costs the least."""
        return (
            not (self.owes or self.expect_100_continue or self.flow.write_paused or self._all.leaving)
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
        )

    def _is_plain(self) -> bool:
        """Whether a request may go the short way by what its head says; the cheapest questions first."""
        asked = self._plain.get(self.url)
        if (
            asked is not None
            and self.parser.get_method() == b"POST"
            and (self.cycle is None or self.cycle.response_complete)
            and not (self.expect_100_continue or self.flow.write_paused or self._all.leaving)
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and len(self.tasks) < self._limits.requests
        ):
            self._asked = asked
            return True
        return False

    # --- the usual way -------------------------------------------------------------------------------------

    def _begin(self, refusal: RefusedError | None = None) -> None:
        probe = self.url.partition(b"?")[0] in self._probes and self.parser.get_method() in (b"GET", b"HEAD")
        if refusal is None and not probe and not self._all.admit():
            refusal = too_many(self._limits.requests)
        self.app = self._usual if refusal is None else partial(self._unavailable, refusal)
        super().on_headers_complete()
        if self._all.leaving:
            self.cycle.keep_alive = False
            scope = self.cycle.scope  # uvicorn before 0.50 says so only where the client did
            scope["headers"] = [*scope["headers"], CLOSE_HEADER]

    def _go_usual_way(self) -> None:
        held, self._held = self._held or [], None
        self._begin()
        self._parts += held
        self._hand_on()

    def _hand_on(self) -> None:
        """Give the application what has come of a body: thousands of small chunks at once."""
        if self._parts:
            body, self._parts = b"".join(self._parts), []
            super().on_body(body)

    def _complete(self) -> None:
        self._hand_on()
        self._all.arrived(self.cycle)
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._waiting:  # for answers to what was asked before
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))
            return
        self._running = cycle
        if cycle.more_body:
            self._all.arriving(cycle, self)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """An answer is sent, and its request takes no place any more, though its task has a step to go."""
        self.tasks.discard(asyncio.current_task())
        self._go_on()

    def _go_on(self) -> None:
        """Turn to what has waited for the last answer; how long nothing comes then, `examine` watches for all."""
        self.server_state.total_requests += 1
        if self._waiting:
            return
        self._all.answered(self)
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._say(self._refusal)

    async def _unavailable(
        self,
        refusal: RefusedError,
        scope: Message,  # noqa: ARG002 - ASGI's
        receive: Receive,  # noqa: ARG002 - ASGI's
        send: Send,
    ) -> None:
        self._metrics.responded("other", refusal.status)
        headers = [*headers_of(503, refusal.body), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": refusal.body})

    # --- answers -------------------------------------------------------------------------------------------

    def answer(self, status: int, body: bytes) -> None:
        """Send an answer in JSON."""
        self._waiting -= 1
        if not self.transport.is_closing():
            if status == 200:  # of which there are thousands a second
                head = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
                self.transport.write(STATUS_LINE[status] + head + body)
            else:
                self.transport.write(written(status, headers_of(status, body), body))
        self._go_on()

    def shutdown(self) -> None:
        """Answer what was accepted, then let the connection end."""
        self._answer_first()
        super().shutdown()

    def _answer_first(self) -> None:
        if self._waiting:
            self._batch.now()

    def _refuse(self, refusal: RefusedError) -> None:
        """Answer what was asked before, then say what is wrong with the rest, of which nothing more is read."""
        self._answer_first()
        self._refusal, self._held, self._parts, cycle = refusal, None, [], self.cycle
        said = False
        if cycle is not None and cycle.scope is self.scope and cycle.more_body:  # a request of which a part has come
            said = cycle.response_started
            self._withdraw(cycle)
        if said:
            self.transport.close()
        elif not self.owes:
            self._say(refusal)

    def _withdraw(self, cycle: RequestResponseCycle) -> None:
        """Have a request forgotten; nobody waits for its answer."""
        self._all.arrived(cycle)
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()
            return
        self._running = self.cycle = None  # type: ignore[assignment] # as uvicorn begins
        cycle.disconnected = True
        cycle.message_event.set()

    def _say(self, refusal: RefusedError) -> None:
        """Send the last answer."""
        if self.transport.is_closing():
            return
        self._metrics.responded("other", refusal.status)
        headers = [*headers_of(refusal.status, refusal.body), (b"connection", b"close")]
        self.transport.write(written(refusal.status, headers, refusal.body))
        if refusal.status in _WHILE_SENDING:
            self.transport.write_eof()
        else:
            self.transport.close()

    # --- clients that keep it waiting ----------------------------------------------------------------------

    @property
    def owes(self) -> bool:
        """Whether there is a request without an answer, even if it has not come whole."""
        return self._waiting > 0 or not (self._running is None or self._running.response_complete)

    @property
    def works(self) -> bool:
        """Whether there is one that has come whole: it does not wait for its client."""
        return self.owes and (self._waiting > 0 or self._running is None or not self._running.more_body)

    def examine(self, now: float) -> None:
        """End it where its client has kept it waiting for too long.

        Args:
            now: Seconds that only ever grow.
        """
        unsent = self.transport.get_write_buffer_size()
        if self.owes and not unsent:
            self._stood = ()
            return
        leaving = bool(unsent) or self._refusal is not None or self.transport.is_closing()
        idle = not leaving and self._whole is self.scope
        stands = (unsent, leaving, idle)
        if self.scope is not self._seen or stands != self._stood:
            self._seen, self._stood, self._since = self.scope, stands, now
        elif now - self._since >= (self._limits.idle_seconds if idle else self._limits.head_seconds):
            if leaving:
                self.transport.abort()
            elif idle:
                self.transport.close()
            else:  # where it is the rest of a body whose request has its answer, nothing more is said
                self._refuse(RefusedError(408, "the request's head did not arrive in time", "send it faster"))

    def displace(self) -> None:
        """Close it at once."""
        self.transport.abort()

    def turn_away(self) -> None:
        """Answer the request that is still arriving with 503."""
        self._refuse(too_many(self._limits.requests))


_TOO_BUSY = written(503, headers_of(503, too_busy().body), too_busy().body)
_WHILE_SENDING = frozenset({414, 431, 503})  # a client that is still sending would not see it if it were closed at once
