"""The way of outcomes into the store: while it is away, when workers or the server are killed, and at the end."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from fds_mlflow import OutcomeStore
from fds_mlflow.serving.disk.spool import Spool
from tests.serving.host.test_traffic import ROW
from tests.support.served import LIMIT, Crowd, Sent, Served, client_id, until
from tests.support.serving_registry import MODEL

Serve = Callable[..., Served]


@pytest.mark.campaign
def test_outcomes_wait_for_the_store_and_a_killed_worker_costs_its_last_moment(serve: Serve, tmp_path: Path) -> None:
    """While the store is away, and a worker is killed, requests go on; afterwards all that was on disk is in once."""
    obstacle = tmp_path / "store"
    obstacle.write_text("a file where the store's folder should be")
    server = serve("away", "--workers", "2", outcomes=f"sqlite:///{obstacle / 'outcomes.db'}").ready()
    crowd = Crowd(server.url, ROW)
    with crowd.sending(4):
        crowd.more()
        crowd.stop()
    answered = _names(crowd.sent)
    assert {one.status for one in crowd.sent} == {200}
    until(lambda: answered <= _waiting(server), "everything on disk")
    assert until(lambda: server.health()["outcomes"]["spooled_bytes"], "the size of what waits") > 0
    struck = Crowd(server.url, ROW, name="struck")
    with struck.sending(4):
        struck.more()
        victim = server.workers[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in server.workers and len(server.workers) == 2, "another worker")
        struck.phase = 1
        struck.more()
    later = _names(one for one in struck.sent if one.during == (1, 1))
    assert len(later) >= 50
    obstacle.unlink()
    assert server.stop() == 0
    stored = _stored(server)
    assert set(stored.values()) == {1}
    assert answered | later <= stored.keys()
    assert not _waiting(server)


@pytest.mark.campaign
def test_no_answer_without_an_outcome_when_the_server_ends(serve: Serve) -> None:
    """Told to stop under load, it answers what it has accepted: each answer has one outcome, each outcome an answer."""
    server = serve("ended", "--workers", "2").ready()
    crowd = Crowd(server.url, ROW)
    with crowd.sending(4):
        crowd.more()
        assert server.stop() == 0
    assert {one.status for one in crowd.sent} <= {200, None}
    stored = _stored(server)
    assert set(stored.values()) == {1}
    assert stored.keys() == _names(crowd.sent)


@pytest.mark.campaign
def test_a_killed_server_leaves_no_worker_behind_and_its_outcomes_to_the_next(serve: Serve, tmp_path: Path) -> None:
    """When the server is killed its workers end, and the next start moves what they left into the store."""
    obstacle = tmp_path / "store"
    obstacle.write_text("a file where the store's folder should be")
    outcomes = f"sqlite:///{obstacle / 'outcomes.db'}"
    server = serve("killed", outcomes=outcomes).ready()
    names = {f"R{number}" for number in range(20)}
    for name in names:
        assert server.client.post("/score", json=ROW, headers={"X-Request-ID": name}).status_code == 200
    workers = server.workers
    server.process.kill()
    server.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers), "no worker")
    assert names == _waiting(server)
    obstacle.unlink()
    again = serve("again", outcomes=outcomes, cache=server.cache).ready()
    until(lambda: not _waiting(again), "everything moved")
    assert _stored(again) == dict.fromkeys(names, 1)


@pytest.mark.campaign
def test_a_folder_has_one_server(serve: Serve) -> None:
    """A second server on a cache is refused and disturbs nothing; after `kill -9` the next one starts without more."""
    first = serve("first").ready()
    assert first.score(**ROW).status_code == 200
    counted = f'fds_responses_total{{model="{MODEL}",path="/score",status="200"}}'
    assert until(lambda: first.metric(counted), "the count") == 1
    second = serve("second", cache=first.cache)
    assert second.process.wait(LIMIT) == 1
    folder = first.spool.parent
    assert f"the folder {folder} is in use by another server: process {first.process.pid} on " in second.said
    assert "--cache" in second.said
    assert "Traceback" not in second.said
    assert first.score(**ROW).status_code == 200
    assert until(lambda: first.metric(counted) == 2, "the next count")
    first.process.kill()
    third = serve("third", cache=first.cache).ready()
    assert third.metric(counted) == 0


def _names(sent: Iterable[Sent]) -> set[str]:
    return {f"R{one.key}" for one in sent if one.status == 200}


def _waiting(server: Served) -> set[str]:
    """Requests whose outcomes wait on disk."""
    spool, names = Spool(server.spool), set()
    for path in spool.waiting():
        try:
            names |= {client_id(msgspec.structs.asdict(item)["request_id"]) for item in spool.read(path)}
        except FileNotFoundError:  # the store has it meanwhile
            continue
    return names


def _stored(server: Served) -> Counter[str]:
    with OutcomeStore(server.outcomes) as store:
        return Counter(client_id(one.request_id) for one in store.recent(MODEL, limit=100_000))
