"""Spans of requests: under the one that was sent, by the conventions for HTTP servers, with who answered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.http.test_app import ROW, TO_CANARY, Served
from tests.support.collector import PARENT, TRACE, TRACEPARENT, Collector, collecting
from tests.support.places import ROOT


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Where this process sends its spans."""
    with collecting(monkeypatch) as made:
        yield made


async def test_a_request_is_a_span_under_the_one_that_was_sent(collector: Collector, tmp_path: Path) -> None:
    """A score leaves a span in the client's trace that says route, status, model, version and variant."""
    served = Served(tmp_path)
    served.serve(weight=2_500)
    answer = await served.post("/score", {**ROW, "transaction_id": TO_CANARY}, traceparent=TRACEPARENT)
    assert (answer.status_code, answer.json()["version"]) == (200, 2)
    (span,) = collector.spans()
    assert (span.name, span.trace, span.parent, span.service) == ("POST /score", TRACE, PARENT, "fds-mlflow")
    assert not span.failed
    said = {
        "http.request.method": "POST",
        "http.route": "/score",
        "http.response.status_code": 200,
        "url.path": "/score",
    }
    said |= {"fds.model": "fraud", "fds.variant": "canary", "fds.version": 2, "fds.rows": 1}
    assert said.items() <= span.attributes.items()


async def test_what_fails_says_so_and_what_watches_says_nothing(collector: Collector, tmp_path: Path) -> None:
    """A 503 fails its span, a client's slip does not, an unknown path is no route, and probes leave no spans."""
    served = Served(tmp_path)
    assert (await served.post("/score", ROW)).status_code == 503
    served.serve()
    assert (await served.post("/score", {"amount": "much"})).status_code == 400
    assert (await served.client.get("/secrets?a=1")).status_code == 404
    for path in ("/ping", "/ready", "/health", "/metrics"):
        assert (await served.client.get(path)).status_code == 200
    spans = collector.spans()
    assert [(one.name, one.failed, one.parent) for one in spans] == [
        ("POST /score", True, ""),
        ("POST /score", False, ""),
        ("GET", False, ""),
    ]
    assert spans[0].attributes["error.type"] == "503"
    assert spans[2].attributes["url.query"] == "a=1"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
    ids=["nothing is set", "disabled", "no exporter"],
)
def test_off_nothing_of_opentelemetry_is_imported(environment: dict[str, str], tmp_path: Path) -> None:
    """Where nobody asks for traces, a worker's application is made without a module of OpenTelemetry."""
    code = f"""
import sys
from pathlib import Path
from fds_mlflow.serving.http.models import Models
from fds_mlflow.serving.http.protocol import ScoreProtocol
from fds_mlflow.serving.worker.settings import ServerSettings
from fds_mlflow.registry import transaction
made = Models([ServerSettings("fraud", "memory:", Path({str(tmp_path)!r}))])
assert made.tracer is None
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    told = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=told)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_without_the_extra_a_server_says_so_and_serves() -> None:
    """Asked for traces without the extra, the process warns which one is missing, and goes on without them."""
    code = """
import sys
sys.modules["opentelemetry.exporter.otlp.proto.http.trace_exporter"] = None
from fds_mlflow.runtime import tracing
assert tracing.tracer() is None
"""
    told = {"PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "otlp"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=told)
    assert done.returncode == 0, done.stderr
    assert "fds-mlflow[otel]" in done.stderr
