"""A collector of spans on loopback, by OTLP over HTTP, as OpenTelemetry's own would be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from fds_mlflow.runtime import tracing
from tests.support.receiver import HttpReceiver, http_receiver

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@dataclass
class Span:
    """What a collector knows of a span.

    Attributes:
        name: Its name.
        trace: Its trace, in hexadecimal.
        parent: The span that it is under; empty for none.
        service: Whose it is.
        failed: Whether it says so.
        attributes: What it says.
    """

    name: str
    trace: str
    parent: str
    service: str
    failed: bool
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Collector:
    """A receiver, read as a collector.

    Attributes:
        receiver: Where the spans come in.
    """

    receiver: HttpReceiver

    @property
    def endpoint(self) -> str:
        """What `OTEL_EXPORTER_OTLP_ENDPOINT` is set to."""
        return f"http://{urlsplit(self.receiver.url).netloc}"

    def spans(self) -> list[Span]:
        """All that has come by now, after whatever this process has not sent yet."""
        tracing.finish()
        return [
            Span(
                one.name,
                one.trace_id.hex(),
                one.parent_span_id.hex(),
                _values(group.resource.attributes)["service.name"],
                one.status.code == one.status.STATUS_CODE_ERROR,
                _values(one.attributes),
            )
            for sent in self.receiver.received
            for group in ExportTraceServiceRequest.FromString(sent.body).resource_spans
            for scope in group.scope_spans
            for one in scope.spans
        ]


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def forget() -> None:
    """Have the environment read anew."""
    tracing.tracer.cache_clear()
    tracing._provider.cache_clear()


@contextmanager
def collecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector to which this process sends."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `otel` is not installed")
    with http_receiver() as receiver:
        collector = Collector(receiver)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        forget()
        try:
            yield collector
        finally:
            tracing.finish()
            forget()
