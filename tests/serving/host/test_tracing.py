"""Spans of a server as it runs: its workers send them, by variables that they forget, and none is lost at the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.serving.host.test_traffic import ROW
from tests.support.collector import PARENT, TRACE, TRACEPARENT, collecting
from tests.support.served import Served


def test_a_server_leaves_the_spans_of_its_requests(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A score over HTTP is in the collector once the server has ended, under the span that the client sent."""
    with collecting(monkeypatch) as collector:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_SERVICE_NAME": "shop-scores"}
        server = serve("traced", settings=settings).ready()
        answer = server.client.post("/score", json=ROW, headers={"traceparent": TRACEPARENT})
        assert answer.status_code == 200
        assert server.stop() == 0
        (span,) = [one for one in collector.spans() if one.name == "POST /score"]
    assert (span.trace, span.parent, span.service) == (TRACE, PARENT, "shop-scores")
    assert span.attributes["fds.version"] == answer.json()["version"]
