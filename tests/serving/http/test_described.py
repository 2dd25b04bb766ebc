"""The page that describes the server holds: what it promises of requests is what a client may send."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.serving.http.test_protocol import application
from tests.support.effort import at_most, graded

schemathesis = pytest.importorskip("schemathesis", reason="a development dependency is not installed")

PATHS = ("POST /score", "POST /invocations", "POST /labels", "GET /health", "GET /ready", "GET /metrics")


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page of a server with a champion describes, by method and path."""
    app = application(tmp_path_factory.mktemp("described"))
    described = schemathesis.openapi.from_asgi("/openapi.json", app)
    found = [result.ok() for result in described.get_all_operations()]
    return {f"{one.method.upper()} {one.path}": one for one in found}


@pytest.mark.slow
@pytest.mark.parametrize("path", graded(PATHS))
@pytest.mark.parametrize("mode", schemathesis.GenerationMode)
@at_most(10, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_request_by_the_page_or_against_it_fails_the_server(
    path: str, mode: Any, operations: dict[str, Any], data: st.DataObject
) -> None:
    """Whatever is made of the page's schemas, and of their opposites, no answer is a failure of the server's."""
    if mode is schemathesis.GenerationMode.NEGATIVE and path.startswith("GET"):
        return  # a question has nothing that could be wrong
    case = data.draw(operations[path].as_strategy(generation_mode=mode))
    answer = case.call()
    assert answer.status_code < 500, (case.body, answer.text)
