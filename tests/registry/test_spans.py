"""Spans of operations: one each, under the caller's, with what came of it; dry runs leave none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fds_mlflow import ManagedModel
from fds_mlflow.errors import RefusedError
from fds_mlflow.registry.memory import MemoryStore
from tests.support.collector import PARENT, TRACE, TRACEPARENT, Collector, collecting


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Where this process sends its spans."""
    with collecting(monkeypatch) as made:
        yield made


@pytest.fixture
def store() -> MemoryStore:
    """Two versions of `fraud`, none of which serves."""
    made = MemoryStore()
    made.add("fraud", versions=2)
    return made


def test_an_operation_is_a_span_under_its_callers(
    collector: Collector, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline that names its span by TRACEPARENT finds the operation below it, with the event's id."""
    monkeypatch.setenv("TRACEPARENT", TRACEPARENT)
    fraud = ManagedModel("fraud", store=store)
    event = fraud.stage(2, reason="weekly").event
    assert event is not None
    with pytest.raises(RefusedError):
        fraud.rollback.emergency(reason="nobody serves")
    done, refused = collector.spans()
    assert (done.name, done.trace, done.parent, done.failed) == ("fds stage", TRACE, PARENT, False)
    assert done.attributes == {
        "fds.model": "fraud",
        "fds.kind": "stage",
        "fds.to_version": 2,
        "fds.operation": event.operation,
        "fds.outcome": "done",
    }
    assert (refused.name, refused.failed, refused.attributes["fds.outcome"]) == ("fds emergency", True, "refused")


def test_a_program_with_spans_of_its_own_finds_operations_below_them(collector: Collector, store: MemoryStore) -> None:
    """The program's current span is the parent, and its tracer provider stays the one that it had."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    before = trace.get_tracer_provider()
    with TracerProvider().get_tracer("shop").start_as_current_span("nightly") as span:
        ManagedModel("fraud", store=store).stage(2)
        assert trace.get_current_span() is span
    (operation,) = collector.spans()
    assert operation.parent == trace.format_span_id(span.get_span_context().span_id)
    assert trace.get_tracer_provider() is before


def test_a_dry_run_leaves_no_span(collector: Collector, store: MemoryStore) -> None:
    """What is not done is not told."""
    ManagedModel("fraud", store=store, dry_run=True).stage(2)
    assert collector.spans() == []
