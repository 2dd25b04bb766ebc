"""What a worker knows, in which the code of a model may run: no secret of the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.served import Served, until

PLANTED = {
    "FDS_SERVE_TOKEN": "planted-token",
    "FDS_OUTCOMES_URI": "sqlite:///planted.db",
    "ANY_OTHER_NAME": "planted-anything",
}
ROW = {"transaction_id": "T1", "amount": 20.0, "hour": 3.0, "age": 1.0}


@pytest.mark.campaign
def test_no_secret_is_in_the_environment_of_a_worker(serve: Callable[..., Served]) -> None:
    """The token is asked for, and yet stands nowhere that a model's code could read it from its own process."""
    server = serve("served", "--workers", "2", settings=PLANTED).start()
    assert server.client.post("/score", json=ROW).status_code == 401
    allowed = server.client.post("/score", json=ROW, headers={"Authorization": f"Bearer {PLANTED['FDS_SERVE_TOKEN']}"})
    assert allowed.status_code == 200
    assert len(server.workers) == 2
    for worker in server.workers:
        shown = Path(f"/proc/{worker}/environ")
        assert b"PATH=" in shown.read_bytes()
        # One of them answers; the other may be no further than its first line.
        until(lambda shown=shown: b"planted" not in shown.read_bytes(), "an environment without secrets")
