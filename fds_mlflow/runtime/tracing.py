"""Spans for OpenTelemetry, where its variables ask for them; where they do not, nothing of it is imported.

The provider is our own and no span becomes the current one, so that MLflow's tracing and the program's are left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from fds_mlflow.display.redaction import redacted
from fds_mlflow.errors import AwaitsApprovalError, RefusedError
from fds_mlflow.runtime.environment import setting

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

Attributes = Mapping[str, str | int]
Send = Callable[[Any], Awaitable[None]]

NAME = "fds-mlflow"
"""Of the service, where `OTEL_SERVICE_NAME` gives none."""

log = logging.getLogger(__name__)

_scored: ContextVar[list[tuple[str, int]]] = ContextVar("scored")


def _asked_for() -> bool:
    """Whether the environment asks for traces."""
    if setting("OTEL_SDK_DISABLED").strip().lower() == "true":
        return False
    exporters = setting("OTEL_TRACES_EXPORTER").strip().lower()
    if exporters:
        return exporters != "none"
    return bool(setting("OTEL_EXPORTER_OTLP_ENDPOINT") or setting("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))


@cache
def _provider() -> TracerProvider | None:
    if not _asked_for():
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        log.warning("traces are asked for and not sent (%s): pip install 'fds-mlflow[otel]'", error)
        return None
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: NAME}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


@cache
def tracer() -> Tracer | None:
    """What makes this process's spans; None where nobody asks for any, or the extra `otel` is not installed."""
    from importlib.metadata import version

    provider = _provider()
    return None if provider is None else provider.get_tracer("fds_mlflow", version("fds-mlflow"))


def finish() -> None:
    """Send what has not been sent yet, for a process that ends past Python's own end."""
    provider = _provider()
    if provider is not None:
        provider.shutdown()


@contextmanager
def operation(name: str, attributes: Attributes) -> Iterator[Callable[[Attributes], object]]:
    """A span of an operation, under the caller's current span, or the one that `TRACEPARENT` names.

    Args:
        name: Of the span.
        attributes: What is known before.

    Yields:
        What takes the attributes that are known after.
    """
    made = tracer()
    if made is None:
        yield lambda _: None
        return
    from opentelemetry.trace import Status, StatusCode

    span = made.start_span(name, context=_caller(), attributes=dict(attributes))
    try:
        yield lambda more: span.set_attributes(dict(more))
    except Exception as error:
        awaits, refused = isinstance(error, AwaitsApprovalError), isinstance(error, RefusedError)
        span.set_attribute("fds.outcome", "awaits approval" if awaits else "refused" if refused else "failed")
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR, redacted(str(error))))
        raise
    finally:
        span.end()


def _caller() -> Context | None:
    """The context of whoever called this process or function; None for the current one."""
    from opentelemetry.trace import get_current_span

    known = {name: setting(name.upper()) for name in ("traceparent", "tracestate")}
    return None if get_current_span().get_span_context().is_valid else _sent(known.items())


def _sent(carrier: Iterable[tuple[str, str]]) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(dict(carrier), Context())


async def request(
    made: Tracer,
    scope: Mapping[str, Any],
    send: Send,
    answer: Callable[[Send], Awaitable[None]],
    *,
    route: str | None,
    attributes: Attributes,
) -> None:
    """Have a request answered in a span, under the one that its `traceparent` names.

    Args:
        made: Makes the span.
        scope: Of the request, by ASGI.
        send: Of the request, by ASGI.
        answer: Answers it by what it is given.
        route: The path as it is known; None for one that nothing answers at.
        attributes: More of them.
    """
    from opentelemetry.trace import SpanKind, Status, StatusCode

    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    method, told = scope["method"], {} if route is None else {"http.route": route}
    span = made.start_span(
        f"{method} {route or ''}".strip(),
        context=_sent(headers.items()),
        kind=SpanKind.SERVER,
        attributes={**_of_request(scope, headers), **told, **attributes},
    )
    scored: list[tuple[str, int]] = []
    token = _scored.set(scored)

    async def noted(message: Any) -> None:
        if message["type"] == "http.response.start":
            span.set_attribute("http.response.status_code", message["status"])
            if message["status"] >= 500:
                span.set_attribute("error.type", str(message["status"]))
                span.set_status(Status(StatusCode.ERROR))
        await send(message)

    try:
        await answer(noted)
    finally:
        _scored.reset(token)
        _note_scores(span, scored)
        span.end()


def _of_request(scope: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, str]:
    """Attributes by OpenTelemetry's semantic conventions for HTTP servers."""
    known = {
        "http.request.method": scope["method"],
        "url.scheme": scope["scheme"],
        "url.path": scope["raw_path"].decode("latin-1"),
        "url.query": scope["query_string"].decode("latin-1"),
        "network.protocol.version": scope["http_version"],
        "user_agent.original": headers.get("user-agent", ""),
        "client.address": (scope.get("client") or ("",))[0],
    }
    return {name: value for name, value in known.items() if value}


def scored(variant: str, number: int) -> None:
    """Tell the request's span who answered a row of it."""
    if (rows := _scored.get(None)) is not None:
        rows.append((variant, number))


def _note_scores(span: Span, rows: list[tuple[str, int]]) -> None:
    """Say how many rows were scored, and by whom where all were by the same."""
    if rows:
        span.set_attribute("fds.rows", len(rows))
    if len(set(rows)) == 1:
        span.set_attributes({"fds.variant": rows[0][0], "fds.version": rows[0][1]})
