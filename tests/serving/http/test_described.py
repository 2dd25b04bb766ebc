"""The page that describes the server holds: what it promises of requests and answers is what a client meets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.serving.http.test_protocol import application

schemathesis = pytest.importorskip("schemathesis")


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The description of a server with a champion."""
    return schemathesis.openapi.from_asgi("/openapi.json", application(tmp_path_factory.mktemp("described")))


described_api = schemathesis.pytest.from_fixture("described")


@pytest.mark.slow
@described_api.parametrize()
@settings(max_examples=5, suppress_health_check=list(HealthCheck), deadline=None)
def test_no_request_by_the_page_or_against_it_fails_the_server(case: Any) -> None:
    """Whatever is made of the page's schemas, and of their opposites, no answer is a failure of the server's."""
    case.call_and_validate(checks=(schemathesis.checks.not_a_server_error,))
