"""Traffic on a server that follows a real registry: rollouts, failing versions, formats, labels, shadows, limits."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from fds_mlflow import OutcomeStore, Plan
from fds_mlflow.core.evidence.evidence import EventKind
from fds_mlflow.core.routing.routing import bucket
from fds_mlflow.outcomes.label_file import import_labels
from fds_mlflow.outcomes.records import OutcomeRecord
from fds_mlflow.registry import tags
from tests.support.served import Crowd, Served, client_id, until
from tests.support.serving_registry import (
    BROKEN,
    CALM,
    FIRST,
    HANGS,
    MODEL,
    MOODY,
    NAN,
    RAISES,
    SECOND,
    Registry,
    frame,
)

ROW: dict[str, Any] = {"amount": 20.0, "hour": 3.0, "age": 1.0}
TOLERANCE = 1e-9
JSON = {"Content-Type": "application/json"}
NEW_CONNECTION = {"Connection": "close"}
"""So that the next request may reach the other worker."""


def routes(registry: Registry) -> Callable[[str], int]:
    """Which version answers a key, by what the registry says now."""
    look = registry.model.session.look()
    champion, rollout = look.model.aliases[tags.CHAMPION], look.rollout
    return lambda key: rollout.canary if rollout and bucket(rollout.id, key) < rollout.weight else champion


def outcomes(server: Served, *requests: str) -> dict[str, OutcomeRecord]:
    """The outcomes of requests, once the store has them."""
    with OutcomeStore(server.outcomes) as store:

        def found() -> dict[str, OutcomeRecord]:
            recent = {client_id(one.request_id): one for one in store.recent(MODEL, limit=10_000)}
            return {name: recent[name] for name in requests if name in recent}

        until(lambda: len(found()) == len(requests), f"{len(requests)} outcomes")
        return found()


def test_requests_go_on_through_everything_that_happens_to_a_release(server: Served, registry: Registry) -> None:
    """Through promotion, rollout, more weight, abort and emergency no request fails; each has a version in force."""
    model = registry.model
    crowd = Crowd(server.url, ROW)
    given = frame(1)
    given.loc[0] = ROW
    scores = {version: float(model.scorer(version).score(given)[0]) for version in (FIRST, SECOND)}
    steps: list[Callable[[], Any]] = [
        lambda: model.promote(SECOND),
        lambda: model.canary.start(FIRST, plan=Plan([25, 100])),
        model.canary.advance,
        lambda: model.canary.abort(reason="try"),
        lambda: model.rollback.emergency(reason="try"),
    ]
    route = [routes(registry)]
    with crowd.sending():
        crowd.more()
        for step in steps:
            step()
            route.append(routes(registry))
            crowd.phase += 1

            def followed() -> bool:
                last = crowd.sent[-60:]
                return all(one.during[0] == crowd.phase and one.answer["version"] == route[-1](one.key) for one in last)

            until(followed, f"answers by step {crowd.phase}")
    assert not [one for one in crowd.sent if one.status != 200]
    for one in crowd.sent:
        assert one.answer["version"] in {way(one.key) for way in route[max(0, one.during[0] - 1) : one.during[1] + 2]}
        assert one.answer["score"] == pytest.approx(scores[one.answer["version"]], abs=TOLERANCE)
    kept = outcomes(server, *(f"R{one.key}" for one in crowd.sent))
    assert {name: one.version for name, one in kept.items()} == {f"R{o.key}": o.answer["version"] for o in crowd.sent}


@pytest.mark.campaign
def test_a_canary_that_fails_costs_nobody_an_answer(server: Served, registry: Registry) -> None:
    """Where the canary raises, hangs or gives NaN the champion answers; outcomes, counts and all others see it."""
    registry.model.canary.start(MOODY, plan=Plan([100]))
    until(lambda: all(server.score(**ROW).json()["version"] == MOODY for _ in range(4)), "the canary")
    fallbacks = f'fds_canary_fallbacks_total{{model="{MODEL}"}}'
    before = server.metric(fallbacks)

    def ask(name: str, amount: float) -> dict[str, Any]:
        sent = server.client.post("/score", json={**ROW, "amount": amount}, headers={"X-Request-ID": name})
        assert sent.status_code == 200, sent.text
        answer: dict[str, Any] = sent.json()
        return answer

    names = {"raises": RAISES, "nan": NAN, **{f"hangs{number}": HANGS for number in range(5)}}
    for name, amount in names.items():
        answer = ask(name, amount)
        assert (answer["variant"], answer["version"]) == ("champion", FIRST)
    batch = {"dataframe_records": [{**ROW, "amount": RAISES, "transaction_id": f"B{row}"} for row in range(6)]}
    sent = server.client.post("/invocations", json=batch, headers={"X-Request-ID": "batch"})
    assert [detail["version"] for detail in sent.json()["details"]] == [FIRST] * 6
    kept = outcomes(server, *names, "batch")
    assert {(one.assigned, one.served, one.version) for one in kept.values()} == {("canary", "champion", FIRST)}
    assert "out of order" in (kept["raises"].error or "")
    assert "one float in [0, 1]" in (kept["nan"].error or "")
    assert "took longer than 0.25 s" in (kept["hangs0"].error or "")
    assert "was not asked" in (kept["hangs4"].error or "")
    until(lambda: server.metric(fallbacks) - before >= len(names) + 6, "all of them counted")


@pytest.mark.campaign
def test_a_champion_that_fails_is_a_clear_no_at_once(server: Served, registry: Registry) -> None:
    """A champion's failure is a 503 with its reason and an outcome; a version that does not load replaces nothing."""
    registry.model.promote(MOODY)
    until(lambda: all(server.score(**ROW).json()["version"] == MOODY for _ in range(4)), "the new champion")
    assert server.score(**ROW).json()["score"] == CALM
    refused = server.client.post("/score", json={**ROW, "amount": RAISES}, headers={"X-Request-ID": "failed"})
    assert refused.status_code == 503
    assert refused.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert "RuntimeError: out of order" in refused.json()["message"]
    kept = outcomes(server, "failed")["failed"]
    assert (kept.score, kept.served, "out of order" in (kept.error or "")) == (None, "champion", True)
    mlflow.MlflowClient(registry.truth, registry.truth).set_registered_model_alias(MODEL, tags.CHAMPION, str(BROKEN))
    problem = until(lambda: _problem(server, "do not load"), "the reason")
    assert f"version {BROKEN}" in problem
    assert server.score(**ROW).json()["version"] == MOODY


def _problem(server: Served, word: str) -> str | None:
    said = server.health()
    return said["problem"] if said["status"] == "degraded" and word in said["problem"] else None


@pytest.mark.campaign
def test_the_formats_of_mlflow_give_pyfuncs_numbers(server: Served, registry: Registry) -> None:
    """MLflow's own client and each format of its protocol get the numbers that `pyfunc.predict` gives."""
    rows = frame(20, seed=1)
    expected = mlflow.pyfunc.load_model(f"models:/{MODEL}/{FIRST}").predict(rows)
    split = json.loads(rows.to_json(orient="split", index=False, double_precision=15))
    records = rows.to_dict(orient="records")
    answers = [
        server.client.post("/invocations", json=body).json()["predictions"]
        for body in (
            {"dataframe_split": split},
            {"dataframe_records": records},
            {"instances": records},
            {"inputs": rows.to_dict(orient="list")},
            {"inputs": rows.to_numpy().tolist()},
        )
    ]
    text = rows.to_csv(index=False)
    sent = server.client.post("/invocations", content=text, headers={"Content-Type": "text/csv"})
    answers.append(sent.json()["predictions"])
    host, port = server.url.removeprefix("http://").split(":")
    client = ScoringServerClient(host, int(port))
    client.wait_server_ready()
    answers.append(client.invoke(rows).get_predictions().to_numpy().ravel().tolist())
    for answer in answers:
        np.testing.assert_allclose(answer, expected, atol=TOLERANCE)


@pytest.mark.campaign
def test_labels_arrive_as_a_file_of_them_would(server: Served, tmp_path: Path) -> None:
    """Labels may be sent twice; the store then holds what importing a file of them gives."""
    said = [
        {"transaction_id": "L1", "status": "confirmed", "known_at": "2026-03-08T12:00:00+01:00", "loss_amount": 99.5},
        {"transaction_id": "L2", "status": "genuine", "known_at": "2026-03-08T12:00:00Z", "fraud_type": None},
    ]
    for _ in range(2):
        assert server.client.post("/labels", json=said).json() == {"accepted": 2}
    names = ["transaction_id", "status", "known_at", "loss_amount"]
    lines = [",".join(str(one.get(name, "")) for name in names) for one in said]
    (tmp_path / "labels.csv").write_text("\n".join([",".join(names), *lines]))
    with OutcomeStore(server.outcomes) as store, OutcomeStore("sqlite://") as other:
        import_labels(other, tmp_path / "labels.csv")
        found = until(lambda: len(store.cases(["L1", "L2"])) == 2 and store.cases(["L1", "L2"]), "the labels")
        assert found == other.cases(["L1", "L2"])


@pytest.mark.campaign
def test_shadows_are_read_as_pairs(server: Served, registry: Registry) -> None:
    """What the canary says to the champion's requests reaches the judge as pairs of the rollout."""
    registry.model.canary.start(SECOND, plan=Plan([10, 100]))
    rollout = registry.model.canary.rollout()
    until(lambda: server.health()["rollout"] == rollout.id, "the rollout")
    sent = [server.score(**ROW, transaction_id=f"S{number}").json() for number in range(40)]
    champions = sum(one["variant"] == "champion" for one in sent)
    assert champions > 20

    def pairs() -> int:
        with OutcomeStore(server.outcomes) as store:
            found = store.evidence(MODEL, rollout.id, rollout.plan.terms).pairs.get(EventKind.ALERT)
        return 0 if found is None else found.both + found.canary_only + found.champion_only + found.neither

    # A worker that had not yet heard of the rollout answered without it.
    until(lambda: pairs() >= champions / 2, "pairs")
    assert pairs() <= champions


@pytest.mark.campaign
def test_two_workers_share_the_work(server: Served) -> None:
    """Both workers answer, and whichever is asked for metrics counts the requests of both."""
    series = f'fds_responses_total{{model="{MODEL}",path="/score",status="200"}}'
    before = server.metric(series)
    for _ in range(200):
        assert server.client.post("/score", json=ROW, headers=NEW_CONNECTION).status_code == 200
    until(lambda: server.metric(series) == before + 200, "all counted")
    files = {path.stem for path in server.cache.glob("*/metrics/*.json")}
    assert files == {str(pid) for pid in server.workers}
    for path in server.cache.glob("*/metrics/*.json"):
        counts = json.loads(path.read_text())["responses"]
        assert sum(count for name, status, count in counts if (name, status) == ("/score", 200)) > 0


@pytest.mark.campaign
@pytest.mark.parametrize("library", ["OMP", "OPENBLAS", "MKL"])
def test_a_worker_runs_one_thread_in_each_library(server: Served, library: str) -> None:
    """Workers are started with one thread a library, unless the environment of the server says otherwise."""
    name = f"{library}_NUM_THREADS"
    for worker in server.workers:
        said = Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
        assert f"{name}={os.environ.get(name, '1')}".encode() in said


@pytest.mark.campaign
@pytest.mark.parametrize("part", [b"", b'{"amount": 20.0, '], ids=["nothing", "half"])
def test_a_slow_client_holds_up_nobody(server: Served, part: bytes) -> None:
    """A client that does not send its whole request is told so in the end; others are answered meanwhile."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as slow:
        slow.sendall(
            b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 60\r\n\r\n" + part
        )
        for _ in range(20):
            assert server.client.post("/score", json=ROW, headers=NEW_CONNECTION).status_code == 200
        assert slow.recv(4_096).startswith(b"HTTP/1.1 408")


@pytest.mark.campaign
def test_a_body_that_is_too_large_is_refused(server: Served) -> None:
    """Ten megabytes are refused by their length, and a stream without one once it is too long."""
    large = b" " * 10_000_000
    sent = server.client.post("/score", content=large, headers=JSON)
    assert (sent.status_code, "1,000,000" in sent.json()["message"]) == (413, True)
    sent = server.client.post("/score", content=(large[:100_000] for _ in range(11)), headers=JSON)
    assert sent.status_code == 413
    assert server.score(**ROW).status_code == 200
