"""uvicorn's HTTP, with a short way for what is asked thousands of times a second: a score.

A request for `/score` that has arrived whole needs no task, no messages and no waiting: it is read, scored and answered
from within the connection, for two thirds of the cost. Whatever is not quite so plain (a body in parts, one that does
not fit, a wrong token, a connection to be closed, a model that takes its time) goes uvicorn's usual way to the
application, so nothing is decided here that is not decided there.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from fds_mlflow.serving.app import App


class ScoreProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        given: What uvicorn gives.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        application = self.config.app
        if not isinstance(application, App):
            raise TypeError(f"the application is a {type(application).__name__}, which gives no scores")
        self._application = application
        self._held: list[bytes] | None = None  # the body so far of a request that may go the short way
        self._waiting = False  # for an answer that comes the short way

    # --- what the parser reports ---------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        """Hold a request back that may go the short way."""
        if self._is_plain():
            self._held = []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Hold a part of it back."""
        if self._held is None:
            super().on_body(body)
        else:
            self._held.append(body)

    def on_message_complete(self) -> None:
        """Have it answered."""
        if self._held is None:
            super().on_message_complete()
        elif self._application.soon(self, self.headers, b"".join(self._held)):
            self._held, self._waiting = None, True
        else:
            self._go_usual_way()
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Read; what has not arrived whole by then goes the usual way, where it has a time limit."""
        super().data_received(data)
        if self._held is not None:
            self._go_usual_way()

    def _is_plain(self) -> bool:
        """Whether a request may go the short way by what its head says; the cheapest questions first."""
        return (
            self.url == b"/score"
            and self.parser.get_method() == b"POST"
            and (self.cycle is None or self.cycle.response_complete)
            and not (self.expect_100_continue or self.flow.write_paused)
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and (self.limit_concurrency is None or max(len(self.connections), len(self.tasks)) < self.limit_concurrency)
        )

    def _go_usual_way(self) -> None:
        held, self._held = self._held or [], None
        super().on_headers_complete()
        for part in held:
            super().on_body(part)

    # --- answers -------------------------------------------------------------------------------------------

    def answer(self, status: int, body: bytes) -> None:
        """Send an answer in JSON."""
        self._waiting = False
        if not self.transport.is_closing():
            head = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + head + body)
        if self.cycle is None or self.cycle.response_complete:
            self.on_response_complete()
        else:  # a request that came after this one goes the usual way, and what follows it waits for that
            self.server_state.total_requests += 1

    def send_400_response(self, msg: str) -> None:
        """Answer what was asked before, then refuse what is no HTTP."""
        self._answer_first()
        super().send_400_response(msg)

    def shutdown(self) -> None:
        """Answer what was accepted, then let the connection end."""
        self._answer_first()
        super().shutdown()

    def _answer_first(self) -> None:
        if self._waiting:
            self._application.now()
