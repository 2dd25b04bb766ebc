"""The HTTP interface: MLflow's protocol and the lean one, exact errors, limits, and an outcome for every answer."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature as mlflow_signature

from fds_mlflow.core.keys import spelled
from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.core.routing.routing import bucket
from fds_mlflow.outcomes.records import CaseStatus
from fds_mlflow.scoring.compiled import CompiledModel
from fds_mlflow.serving.disk.spool import Label, SpooledOutcome, SpooledShadow
from fds_mlflow.serving.http.app import App
from fds_mlflow.serving.worker.engine import Answer
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.support.version_caches import INPUTS, ROLLOUT, put, table, version_cache

ROW: dict[str, Any] = {"amount": 250.0, "hour": 3, "channel": "web", "transaction_id": "TX1"}
JSON = {"content-type": "application/json"}
TO_CANARY = next(f"TX{n}" for n in range(1_000) if bucket(ROLLOUT, f"TX{n}") < 2_500)
TO_CHAMPION = next(f"TX{n}" for n in range(1_000) if bucket(ROLLOUT, f"TX{n}") >= 2_500)


class Served:
    """An application on a version cache, and a client of it."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.settings = ServerSettings("fraud", "memory:", folder, **more)
        self.cache = version_cache(folder)
        self.app = App(self.settings)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://fds")

    def serve(self, **what: Any) -> None:
        """Put a table in force."""
        self.cache.write_table(table(**what))
        self.app.worker.follow()

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Send JSON."""
        return await self.client.post(path, json=body, headers=headers)

    def outcomes(self) -> list[Any]:
        """What went to the spool, in order."""
        self.app.worker.stop()
        spool = self.settings.spool()
        return [item for path in spool.waiting() for item in spool.read(path)]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Champion 1 alone."""
    made = Served(tmp_path)
    made.serve()
    async with made.client:
        yield made


async def test_a_transaction_gets_a_score_and_what_it_means(served: Served):
    """One transaction as JSON is answered with score, flag, risk, band, variant, version and the request's identity."""
    answer = await served.post("/score", ROW, **{"X-Request-ID": "r1"})
    assert answer.status_code == 200
    assert answer.json() == {
        "request_id": "r1",
        "key": "TX1",
        "score": 0.9,
        "flagged": True,
        "risk": 90.0,
        "band": "block",
        "variant": "champion",
        "version": 1,
    }
    small = await served.post("/score", {**ROW, "amount": 20, "hour": None})
    assert (small.json()["score"], small.json()["band"], small.json()["flagged"]) == (0.1, "approve", False)


FORMATS = {
    "dataframe_split": {"columns": list(ROW), "data": [list(ROW.values()), [20, 1.5, "shop", "TX2"]]},
    "dataframe_records": [ROW, {"amount": 20, "hour": 1.5, "channel": "shop", "transaction_id": "TX2"}],
    "instances": [ROW, {"amount": 20, "hour": 1.5, "channel": "shop", "transaction_id": "TX2"}],
    "inputs": {name: [ROW[name], other] for name, other in zip(ROW, (20, 1.5, "shop", "TX2"), strict=True)},
}


@pytest.mark.parametrize("name", FORMATS)
async def test_mlflows_formats_are_understood(served: Served, name: str):
    """Each of MLflow's JSON formats gives the predictions, in order, as clients of MLflow expect them."""
    answer = await served.post("/invocations", {name: FORMATS[name]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == [0.9, 0.1]
    assert [detail["key"] for detail in answer.json()["details"]] == ["TX1", "TX2"]


async def test_rows_of_values_in_the_signatures_order(served: Served):
    """`instances` and `inputs` may be lists of values in the order of the signature."""
    for name in ("instances", "inputs"):
        answer = await served.post("/invocations", {name: [[250, 3, "web"], [20, None, None]]})
        assert answer.json()["predictions"] == [0.9, 0.1]


async def test_comma_separated_values(served: Served):
    """Rows of CSV under their column names are scored; an empty field is missing."""
    text = "amount,hour,channel,transaction_id\n250,,web,TX1\n20,1.5,shop,TX2\n"
    answer = await served.client.post("/invocations", content=text, headers={"content-type": "text/csv; charset=utf-8"})
    assert answer.json()["predictions"] == [0.9, 0.1]


async def test_columns_come_in_any_order_and_more_than_needed(served: Served):
    """A frame's columns may be in any order, with others among them."""
    body = {"dataframe_split": {"columns": ["x", "channel", "amount", "hour"], "data": [["?", "web", 250, 3]]}}
    assert (await served.post("/invocations", body)).json()["predictions"] == [0.9]


async def test_many_rows_give_what_each_alone_gives(served: Served):
    """A large frame is scored, routed and recorded row by row as single requests would be."""
    served.serve(weight=2_500)
    rows = [{"amount": 10.0 * n, "hour": 1, "channel": "web", "transaction_id": f"TX{n}"} for n in range(40)]
    together = (await served.post("/invocations", {"dataframe_records": rows})).json()["details"]
    for row, detail in zip(rows, together, strict=True):
        alone = (await served.post("/score", row)).json()
        assert {k: detail[k] for k in alone if k != "request_id"} == {k: alone[k] for k in alone if k != "request_id"}
    assert {detail["variant"] for detail in together} == {"champion", "canary"}
    outcomes = served.outcomes()
    assert len(outcomes) == 80
    facts = [(o.key, o.assigned, o.version, o.score, o.rollout_id, o.weight) for o in outcomes]
    assert facts[:40] == facts[40:]


WRONG: dict[str, tuple[str, Any, str]] = {
    "a column is missing": ("/score", {"amount": 1, "hour": 2}, "channel"),
    "a text for a number": ("/score", {**ROW, "hour": "three"}, "hour"),
    "a number for a text": ("/score", {**ROW, "channel": 7}, "channel"),
    "not an object": ("/score", [1, 2], "object"),
    "a frame lacks a column": ("/invocations", {"dataframe_split": {"columns": ["amount"], "data": [[1]]}}, "hour"),
    "a frame's value": (
        "/invocations",
        {"dataframe_split": {"columns": list(INPUTS), "data": [[1, 2, "web"], [1, "x", "web"]]}},
        "row 1, column `hour`",
    ),
    "a record's value": ("/invocations", {"dataframe_records": [{**ROW, "amount": "x"}]}, "amount"),
    "no rows": ("/invocations", {"dataframe_records": []}, "0 rows"),
    "no format": ("/invocations", {"rows": []}, "none of"),
    "two formats": ("/invocations", {"instances": [], "inputs": []}, "instances, inputs"),
    "uneven columns": ("/invocations", {"inputs": {"amount": [1, 2], "hour": [1], "channel": ["a"]}}, "one length"),
    "too few values": ("/invocations", {"instances": [[1, 2]]}, "3 values"),
    "a key that is too long": ("/score", {**ROW, "transaction_id": "x" * 256}, "256 characters"),
    "a key with NUL": ("/invocations", {"dataframe_records": [{**ROW, "transaction_id": "x\0"}]}, "U+0000"),
    "a column twice": ("/invocations", {"dataframe_split": {"columns": [*INPUTS, "hour"], "data": []}}, "twice"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_does_not_fit_is_told_exactly(served: Served, name: str):
    """A request that does not fit is a 400 that names the column or what is wrong, and leaves no outcome."""
    path, body, word = WRONG[name]
    answer = await served.post(path, body)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert word in answer.json()["message"]
    assert served.outcomes() == []


async def test_broken_json_and_unknown_types_are_refused(served: Served):
    """What is no JSON is a 400, another content type a 415, an unknown path a 404, a wrong method a 405."""
    assert (await served.client.post("/score", content=b"{", headers=JSON)).status_code == 400
    other = await served.client.post("/invocations", content=b"x", headers={"content-type": "text/plain"})
    assert other.status_code == 415
    assert (await served.client.get("/nothing")).status_code == 404
    assert (await served.client.get("/score")).status_code == 405


ODD: dict[str, tuple[str, bytes, str, str]] = {
    "no UTF-8": ("/score", b'{"amount": 1, "hour": 1, "channel": "\xff"}', "application/json", "utf-8"),
    "no UTF-8 in a frame": (
        "/invocations",
        b'{"dataframe_split": {"columns": ["amount", "hour", "channel"], "data": [[1, 2, "\xff"]]}}',
        "application/json",
        "utf-8",
    ),
    "no UTF-8 in CSV": ("/invocations", b"amount,hour,channel\n1,2,\xff\n", "text/csv", "utf-8"),
    "no UTF-8 in labels": ("/labels", b'[{"transaction_id": "\xff"}]', "application/json", "utf-8"),
    "a label before all time": (
        "/labels",
        b'[{"transaction_id": "T", "status": "genuine", "known_at": "0001-01-01T00:00:00+14:00"}]',
        "application/json",
        "known_at",
    ),
    "nothing": ("/score", b"", "application/json", "line 1 column 1"),
}


@pytest.mark.parametrize("name", ODD)
async def test_odd_bytes_are_refused_clearly(served: Served, name: str):
    """Bytes that are no request at all are a 400 that says why, and never a failure of the server."""
    path, sent, kind, word = ODD[name]
    answer = await served.client.post(path, content=sent, headers={"content-type": kind})
    assert answer.status_code == 400
    assert word in answer.text.lower()  # what the parsing library says of bytes depends on its version
    assert served.outcomes() == []


async def test_a_key_is_the_same_in_a_header_and_in_a_body(served: Served):
    """A key beyond ASCII is routed by the same text from a header as from the body; one too long is refused."""
    row = {name: ROW[name] for name in INPUTS}
    for sent in ("käse".encode(), "käse".encode("latin-1")):
        answer = await served.client.post("/score", json=row, headers={b"X-Routing-Key": sent})
        assert answer.json()["key"] == "käse"
    assert (await served.post("/score", row, **{"X-Routing-Key": "x" * 256})).status_code == 400


async def test_a_failure_of_the_server_itself_is_an_answer(served: Served, monkeypatch: pytest.MonkeyPatch):
    """What nobody foresaw is a 500 in JSON that is counted like any answer."""
    monkeypatch.setattr(served.app, "_names", _raises)
    answer = await served.post("/score", ROW)
    assert (answer.status_code, answer.json()["error_code"]) == (500, "INTERNAL_ERROR")
    assert served.app.worker.metrics.responses["/score", 500] == 1


async def test_a_full_spool_counts_what_it_drops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """When too much waits for the store requests go on; what memory cannot hold is counted, and health tells."""
    made = Served(tmp_path, spool_limit=1)
    made.serve()
    worker = made.app.worker
    async with made.client:
        for _ in range(3):
            assert (await made.post("/score", ROW)).status_code == 200
            worker.hand_over()
        assert (await made.client.get("/health")).json()["outcomes"]["buffered"] == 2
        monkeypatch.setattr("fds_mlflow.serving.worker.worker.ROOM", 1)
        assert (await made.post("/score", ROW)).status_code == 200
        worker.hand_over()
        health = (await made.client.get("/health")).json()
        metrics = (await made.client.get("/metrics")).text
    assert (health["status"], health["outcomes"]["dropped"]) == ("degraded", 2)
    assert 'fds_outcomes_dropped_total{model="fraud"} 2.0' in metrics


async def test_fallbacks_are_counted(served: Served, monkeypatch: pytest.MonkeyPatch):
    """Canary requests that the champion answered are a number of their own, and nothing else is."""
    served.serve(weight=10_000)
    await served.post("/score", ROW)
    canary = served.app.worker.engine.state.canary.compiled  # type: ignore[union-attr]
    monkeypatch.setattr(canary, "row", _raises)
    for _ in range(2):
        await served.post("/score", ROW)
    served.app.worker.hand_over()
    assert 'fds_canary_fallbacks_total{model="fraud"} 2.0' in (await served.client.get("/metrics")).text


async def test_counts_are_written_when_they_change(served: Served):
    """The file that other workers read is left alone while nothing happens."""
    await served.post("/score", ROW)
    served.app.worker.flush()
    (path,) = (served.cache.folder / "metrics").glob("*.json")
    path.unlink()
    served.app.worker.flush()
    assert not path.exists()
    await served.post("/score", ROW)
    served.app.worker.flush()
    assert path.exists()


@pytest.mark.slow
async def test_columns_swap_under_load_without_a_mixed_row(served: Served):
    """While versions with their columns in another order take turns, no row is read for one and scored by another."""
    put(served.cache, 2, inputs=dict(reversed(INPUTS.items())))
    put(served.cache, 3, inputs={"hour": "double", "channel": "string", "amount": "double"}, low=0.3, high=0.7)
    ended = threading.Event()

    def swap() -> None:
        for turn in range(100):
            served.serve(champion=1 + turn % 3)
        ended.set()

    swapping = threading.Thread(target=swap)
    swapping.start()
    expected = {1: 0.9, 2: 0.1, 3: 0.3}  # by amount 250; channel "web" is code 1; hour 3: all of the first column
    while not ended.is_set():
        answer = (await served.post("/score", ROW)).json()
        assert answer["score"] == expected[answer["version"]]
    swapping.join()


async def test_keys_split_by_the_hash(served: Served):
    """Each key goes where the routing hash sends it, and the outcome keeps the rollout, the step and the weight."""
    served.serve(weight=2_500)
    canary = (await served.post("/score", {**ROW, "transaction_id": TO_CANARY})).json()
    champion = (await served.post("/score", {**ROW, "transaction_id": TO_CHAMPION})).json()
    assert (canary["variant"], canary["version"], canary["score"]) == ("canary", 2, 0.8)
    assert (champion["variant"], champion["version"], champion["score"]) == ("champion", 1, 0.9)
    first, second = served.outcomes()
    assert (first.assigned, first.served, first.rollout_id, first.step, first.weight) == (
        "canary",
        "canary",
        ROLLOUT,
        0,
        2_500,
    )
    assert (second.assigned, second.served, second.version) == ("champion", "champion", 1)


async def test_a_key_may_come_in_a_header_or_be_made(served: Served):
    """Without a key column the header's key counts; without either one is made, and told."""
    row = {name: ROW[name] for name in INPUTS}
    given = (await served.post("/score", row, **{"X-Routing-Key": "customer 7"})).json()
    made = (await served.post("/score", row)).json()
    assert given["key"] == "customer 7"
    assert made["key"] == made["request_id"]
    assert len(made["key"]) == 32


async def test_a_canary_that_fails_costs_nobody_an_answer(served: Served, monkeypatch: pytest.MonkeyPatch):
    """A canary that raises or gives NaN is answered for by the champion, and the outcome says so."""
    served.serve(weight=10_000)
    canary = served.app.worker.engine.state.canary.compiled  # type: ignore[union-attr]
    for behaviour in (_raises, lambda _: float("nan"), lambda _: 1.5):
        monkeypatch.setattr(canary, "row", behaviour)
        answer = await served.post("/score", ROW)
        assert (answer.status_code, answer.json()["variant"], answer.json()["score"]) == (200, "champion", 0.9)
    outcomes = served.outcomes()
    assert [(o.assigned, o.served, o.version) for o in outcomes] == [("canary", "champion", 1)] * 3
    assert all(o.error and "version 2" in o.error for o in outcomes)


def _raises(_: Any) -> float:
    raise RuntimeError("out of order")


async def test_a_champion_that_fails_is_a_503_at_once(served: Served, monkeypatch: pytest.MonkeyPatch):
    """Where the champion cannot score, the answer is a 503 that says why, and the outcome is an error."""
    monkeypatch.setattr(CompiledModel, "row", lambda *_: _raises(None))
    answer = await served.post("/score", ROW)
    assert answer.status_code == 503
    assert "out of order" in answer.json()["message"]
    (outcome,) = served.outcomes()
    assert (outcome.score, outcome.served) == (None, "champion")
    assert "out of order" in outcome.error


async def test_columns_that_only_the_canary_needs(served: Served):
    """A canary may need a column more: requests without it are answered by the champion and count against it."""
    put(served.cache, 2, low=0.2, high=0.8, inputs={**INPUTS, "age": "double"})
    served.app.worker.engine.state = None
    served.serve(weight=10_000)
    without = (await served.post("/score", ROW)).json()
    with_it = (await served.post("/score", {**ROW, "age": 3})).json()
    assert (without["version"], with_it["version"]) == (1, 2)
    first, second = served.outcomes()
    assert "lacks columns" in first.error
    assert second.error is None


async def test_without_a_version_everything_says_so(tmp_path: Path):
    """Before there is a version to serve, requests and health are 503 with the reason; nothing hangs."""
    made = Served(tmp_path)
    async with made.client:
        for answer in (
            await made.post("/score", ROW),
            await made.client.get("/health"),
            await made.client.get("/ping"),
        ):
            assert answer.status_code == 503
            assert "no version to serve" in answer.json()["message"]


async def test_a_version_that_does_not_load_never_replaces_one_that_serves(served: Served):
    """A table that names a version which is not there is not taken over; requests go on, and health tells why."""
    served.serve(champion=7)
    assert (await served.post("/score", ROW)).json()["version"] == 1
    health = (await served.client.get("/health")).json()
    assert health["status"] == "degraded"
    assert "version 7 is not ready" in health["problem"]
    served.serve(champion=2)
    assert (await served.post("/score", ROW)).json()["version"] == 2
    assert (await served.client.get("/health")).json()["status"] == "ok"


async def test_a_canary_that_does_not_load_falls_back(served: Served):
    """A rollout whose canary does not load goes on at the champion's cost, and each outcome says so."""
    with served.cache.preparing(2, "identity2") as folder:
        (folder / "version.json").write_text('{"inputs": {"amount": "double"}, "native": true, "optional": []}')
        (folder / "native.json").write_text("{")
    served.serve(weight=10_000)
    assert (await served.post("/score", ROW)).json()["version"] == 1
    assert (await served.client.get("/health")).json()["canary_loaded"] is False
    assert "not loaded" in served.outcomes()[0].error


async def test_limits(tmp_path: Path):
    """Too many bytes or rows are refused before any work, with the limit."""
    made = Served(tmp_path, body_limit=2_000, row_limit=3)
    made.serve()
    async with made.client:
        large = await made.post("/score", {**ROW, "note": "x" * 3_000})
        many = await made.post("/invocations", {"instances": [[1, 2, "web"]] * 4})

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(30):
                yield b" " * 100

        stream = await made.client.post("/score", content=parts(), headers=JSON)
    assert (large.status_code, stream.status_code) == (413, 413)
    assert "2,000" in large.json()["message"]
    assert many.status_code == 400
    assert "1 to 3" in many.json()["fix"]


async def test_a_token_is_asked_for(tmp_path: Path):
    """With a token set, everything but liveness asks for it, and says which way."""
    made = Served(tmp_path, token="s3cret")
    made.serve()
    async with made.client:
        refused = await made.post("/score", ROW)
        wrong = await made.post("/score", ROW, Authorization="Bearer other")
        right = await made.post("/score", ROW, Authorization="Bearer s3cret")
        metrics = await made.client.get("/metrics")
        health = await made.client.get("/health")
    assert [refused.status_code, wrong.status_code, right.status_code] == [401, 401, 200]
    assert refused.headers["www-authenticate"] == "Bearer"
    assert (metrics.status_code, health.status_code) == (401, 200)
    assert "s3cret" not in refused.text + health.text


async def test_only_the_registry_s_own_webhook_wakes_the_server(tmp_path: Path):
    """A webhook that MLflow signed has the aliases read at once, without a token, and once; any other is refused."""
    made = Served(tmp_path, token="s3cret", webhook_secret="both know it")
    made.serve()
    sent = json.dumps({"entity": "model_version_alias", "action": "created"})
    now = str(int(time.time()))

    async def deliver(secret: str, moment: str = now) -> int:
        headers = {
            "X-MLflow-Delivery-Id": "d1",
            "X-MLflow-Timestamp": moment,
            "X-MLflow-Signature": mlflow_signature(secret, "d1", moment, sent),
        }
        return (await made.client.post("/registry-webhook", content=sent, headers=headers)).status_code

    async with made.client:
        assert [await deliver("guessed"), await deliver("both know it", "1000")] == [401, 401]
        assert (await made.client.post("/registry-webhook", content=sent)).status_code == 401
        assert made.cache.woken == 0
        assert await deliver("both know it") == 200
        woken = made.cache.woken
        assert [await deliver("both know it"), await deliver("guessed")] == [409, 401]
        later = str(int(time.time()) + 600)
        assert await deliver("both know it", later) == 401
    assert made.cache.woken == woken > 0


async def test_no_webhook_is_taken_without_a_secret(served: Served):
    """Where no secret is set there is no such path."""
    assert (await served.post("/registry-webhook", {})).status_code == 404


async def test_requests_that_arrive_together_are_answered_each_for_itself(served: Served):
    """Each of many requests at once gets the answer it gets alone, also where some are wrong or given up meanwhile."""
    served.serve(weight=2_500)
    rows = [{**ROW, "amount": 60.0 + 4 * n, "transaction_id": f"TX{n}"} for n in range(30)]
    alone = [(await served.post("/score", row, **{"X-Request-ID": row["transaction_id"]})).json() for row in rows]
    tasks = [
        asyncio.ensure_future(served.post("/score", row, **{"X-Request-ID": row["transaction_id"]})) for row in rows
    ]
    wrong = asyncio.ensure_future(served.post("/score", {**ROW, "amount": "much"}))
    gone = asyncio.ensure_future(served.post("/score", ROW))
    asyncio.get_running_loop().call_soon(gone.cancel)
    together = [(await task).json() for task in tasks]
    assert together == alone
    assert {answer["variant"] for answer in together} == {"champion", "canary"}
    assert (await wrong).status_code == 400


async def test_an_optional_column_may_be_left_out(served: Served):
    """A column that the signature does not require may be left out, in every format, and is then missing."""
    put(served.cache, 3, optional=("channel",))
    served.serve(champion=3)
    row = {name: ROW[name] for name in ("amount", "hour", "transaction_id")}
    one = await served.post("/score", row)
    many = await served.post("/invocations", {"dataframe_records": [row]})
    split = await served.post("/invocations", {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}})
    assert one.status_code == 200, one.text
    assert (one.json()["score"], many.json()["predictions"], split.json()["predictions"]) == (0.9, [0.9], [0.9])
    described = (await served.client.get("/openapi.json")).json()["components"]["schemas"]["Transaction"]
    assert (described["required"], "channel" in described["properties"]) == (["amount", "hour"], True)
    refused = await served.post("/score", {"amount": 1.0})
    assert (refused.status_code, "hour" in refused.text) == (400, True)


async def test_a_variant_may_be_overridden_where_that_is_allowed(tmp_path: Path):
    """A header chooses the variant only where the server allows it; such a request is no evidence."""
    made = Served(tmp_path, variant_override=True)
    made.serve(weight=1_000)
    async with made.client:
        canary = await made.post("/score", {**ROW, "transaction_id": TO_CHAMPION}, **{"X-FDS-Variant": "canary"})
        wrong = await made.post("/score", ROW, **{"X-FDS-Variant": "best"})
    assert canary.json()["version"] == 2
    assert wrong.status_code == 400
    assert made.outcomes() == []


async def test_a_variant_override_is_refused_by_default(served: Served):
    """Without permission the header is a 400, not a silent default."""
    answer = await served.post("/score", ROW, **{"X-FDS-Variant": "canary"})
    assert answer.status_code == 400
    assert "--allow-variant-override" in answer.json()["fix"]


async def test_shadows(tmp_path: Path):
    """The canary scores a share of the champion's requests besides, under the same identity, after the answer."""
    made = Served(tmp_path, shadow=1.0)
    made.serve(weight=2_500)
    async with made.client:
        await made.post("/score", {**ROW, "transaction_id": TO_CHAMPION}, **{"X-Request-ID": "r1"})
        await made.post("/score", {**ROW, "transaction_id": TO_CANARY}, **{"X-Request-ID": "r2"})
    items = made.outcomes()
    (shadow,) = [item for item in items if isinstance(item, SpooledShadow)]
    first, second = (item.request_id for item in items if isinstance(item, SpooledOutcome))
    assert (shadow.request_id, shadow.version, shadow.score, shadow.flagged) == (first, 2, 0.8, True)
    assert (first[:3], second[:3]) == ("r1-", "r2-")


@pytest.mark.parametrize("path", ["/score", "/labels", "/invocations"])
async def test_a_large_body_is_read_beside_the_others(served: Served, monkeypatch: pytest.MonkeyPatch, path: str):
    """What takes long to be read is read in a thread: a worker does not stand still for it."""
    taken = []
    submit = served.app._threads.submit
    monkeypatch.setattr(served.app._threads, "submit", lambda *work: taken.append(work) or submit(*work))
    label = {"transaction_id": "TX1", "status": "confirmed", "known_at": "2026-03-09T12:00:00+00:00"}
    bodies = {
        "/score": {**ROW, "note": "x" * 100_000},
        "/labels": [label] * 2_000,
        "/invocations": {"inputs": [ROW] * 300},
    }
    assert (await served.post(path, bodies[path])).status_code == 200
    assert taken


async def test_a_content_type_of_any_length_costs_nothing(served: Served, monkeypatch: pytest.MonkeyPatch):
    """A long content type is refused before it is read: what reads it takes seconds for one of 50 KB."""
    monkeypatch.setattr("fds_mlflow.serving.http.request.EmailMessage", lambda: pytest.fail("it was read"))
    for path in ("/score", "/invocations", "/labels"):
        answer = await served.post(path, ROW, **{"content-type": "application/json; " + "a=b;" * 10_000})
        assert answer.status_code == 415


async def test_labels_are_on_disk_when_they_are_accepted(served: Served):
    """Labels that were accepted survive the process; one that does not fit refuses all, and names what is wrong."""
    good = {"transaction_id": "TX1", "status": "confirmed", "known_at": "2026-03-09T12:00:00+00:00", "loss_amount": 80}
    answer = await served.post("/labels", [good])
    assert answer.json() == {"accepted": 1}
    for wrong, word in (
        ({**good, "status": "certain"}, "certain"),
        ({**good, "known_at": "2026-03-09"}, "known_at"),
        ({**good, "colour": "red"}, "colour"),
        ({**good, "known_at": "2999-03-09T12:00:00+00:00"}, "more than a day after now"),
        ({**good, "resolved_at": "2999-03-09T12:00:00+00:00"}, "resolved_at is 2999"),
    ):
        refused = await served.post("/labels", [good, wrong])
        assert refused.status_code == 400
        assert word in refused.json()["message"]
    twice = json.dumps([good]).replace('"status":', '"status": "genuine", "status":').encode()
    refused = await served.client.post("/labels", content=twice, headers={"content-type": "application/json"})
    assert refused.status_code == 400
    assert "status twice" in refused.json()["message"]
    (label,) = served.outcomes()
    assert isinstance(label, Label)
    assert (label.transaction_id, label.status, label.loss_amount) == ("TX1", "confirmed", 80)


async def test_a_label_is_kept_under_the_text_that_the_store_has(served: Served):
    """However its transaction's identifier was sent: as a text, or as a number of more digits than 64 bits hold."""
    sent = ["TX1", 7, 2.5, 2**64, -(2**63) - 1, 10**40]
    labels = [{"transaction_id": one, "status": "genuine", "known_at": "2026-03-09T12:00:00+00:00"} for one in sent]
    assert (await served.post("/labels", labels)).json() == {"accepted": 6}
    assert [label.transaction_id for label in served.outcomes()] == [spelled(one) for one in sent]


async def test_it_describes_itself(served: Served):
    """The description names the columns of the version that serves, and the page that shows it loads nothing else."""
    description = (await served.client.get("/openapi.json")).json()
    assert set(description["components"]["schemas"]["Transaction"]["required"]) == set(INPUTS)
    assert {"/score", "/invocations", "/labels", "/health", "/metrics"} <= set(description["paths"])
    assert description["components"]["schemas"]["Label"]["properties"]["status"]["enum"] == list(CaseStatus)
    page = await served.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "http" not in page.text.replace("http://fds", "")
    assert len((await served.client.get("/docs/swagger-ui.css")).content) > 1_000


async def test_what_it_says_of_itself_is_so(served: Served):
    """An identity of any length is taken, a key as long as it says; each answer is of a type that it names."""
    paths = (await served.client.get("/openapi.json")).json()["paths"]
    limits = {one["name"]: one["schema"].get("maxLength") for one in paths["/score"]["post"]["parameters"]}
    assert (limits["X-Request-ID"], limits["X-Routing-Key"]) == (None, 255)
    row = {**ROW, "transaction_id": None}
    named = await served.post("/score", row, **{"X-Request-ID": "r" * 10_000, "X-Routing-Key": "k" * 255})
    assert (named.json()["request_id"], named.json()["key"]) == ("r" * 10_000, "k" * 255)
    assert (await served.post("/score", row, **{"X-Routing-Key": "k" * 256})).status_code == 400
    for path, item in paths.items():
        if "get" in item:
            answer = await served.client.get(path)
            kinds = item["get"]["responses"][str(answer.status_code)]["content"]
            assert answer.headers["content-type"].split(";")[0] in kinds
    assert set(paths["/labels"]["post"]["responses"]) >= {"400", "401", "403", "413", "415", "503", "default"}


async def test_metrics(served: Served):
    """Prometheus finds requests by status, latencies by variant and version, and the state of the server."""
    await served.post("/score", ROW)
    await served.post("/score", {})
    text = (await served.client.get("/metrics")).text
    assert 'fds_responses_total{model="fraud",path="/score",status="200"} 1.0' in text
    assert 'fds_responses_total{model="fraud",path="/score",status="400"} 1.0' in text
    assert 'fds_scoring_seconds_count{model="fraud",variant="champion",version="1"} 1.0' in text
    assert 'fds_champion_version{model="fraud"} 1.0' in text


async def test_a_full_disk_keeps_outcomes_in_memory_and_then_counts_what_it_drops(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    """While the disk takes nothing requests go on; outcomes wait, and those that do not fit are counted."""
    worker = served.app.worker
    spool = worker._spool

    def full(*_: Any, **__: Any) -> bool:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(spool, "put", full)
        assert (await served.post("/score", ROW)).status_code == 200
        worker.hand_over()
        assert (await served.client.get("/health")).json()["outcomes"]["buffered"] == 1
        patch.setattr("fds_mlflow.serving.worker.worker.ROOM", 0)
        worker.hand_over()
        label = {"transaction_id": "T", "status": "genuine", "known_at": "2026-03-09T12:00:00+00:00"}
        assert (await served.post("/labels", [label])).status_code == 503
    worker.flush()
    health = json.loads((await served.client.get("/health")).text)
    assert (health["status"], health["outcomes"]["dropped"]) == ("degraded", 1)


async def test_what_is_explored_is_answered_as_not_flagged_and_told_as_such(tmp_path: Path):
    """With exploration on every answer says whether it is explored; health, counts and outcomes tell of it."""
    served = Served(tmp_path, explore=Exploration("fraud", 1.0, 300.0))
    served.serve()
    async with served.client:
        first = (await served.post("/score", ROW)).json()
        assert (first["flagged"], first["explored"], first["band"], first["score"]) == (False, True, "approve", 0.9)
        rows = [ROW | {"amount": amount, "transaction_id": f"B{amount}"} for amount in (20.0, 200.0, 301.0)]
        details = (await served.post("/invocations", {"dataframe_records": rows})).json()["details"]
        assert [(one["flagged"], one["explored"]) for one in details] == [(False, False), (False, True), (True, False)]
        health = (await served.client.get("/health")).json()
        assert (health["exploration"], health["status"]) == ({"percent": 100.0, "stopped": None}, "ok")
        served.app.worker.hand_over()
        counts = (await served.client.get("/metrics")).text
    assert 'fds_explored_total{model="fraud"} 2.0' in counts
    assert 'fds_exploring{model="fraud"} 1.0' in counts
    kept = served.outcomes()
    assert [(one.flagged, one.propensity, one.explored) for one in kept] == [
        *[(True, 1.0, True), (False, 1.0, False), (True, 1.0, True), (True, 0.0, False)],
    ]


async def test_a_worker_learns_while_it_serves_whether_it_may_explore(tmp_path: Path):
    """Where a day has a bound nothing is let pass before the host has said so, nor after it has said otherwise."""
    served = Served(tmp_path, explore=Exploration("fraud", 1.0, per_day=5), follow_seconds=0.01)
    served.serve()
    await served.app.start()
    try:
        async with served.client:
            for leave, explored in ((None, False), (time.time() + 60, True), (0.0, False)):
                if leave is not None:
                    served.cache.write_exploring(leave, None if leave else "5 were explored today, of 5 a day")
                for _ in range(500):
                    if served.app.worker.engine.explore_until == (leave or 0.0):
                        break
                    await asyncio.sleep(0.01)
                assert (await served.post("/score", ROW)).json()["explored"] is explored
    finally:
        served.app.stop()


async def test_counts_of_a_batch_are_by_the_time_of_each_version(served: Served, monkeypatch: pytest.MonkeyPatch):
    """A slow canary is told apart from the champion in the histogram of a batch as well."""
    said = [Answer(f"R{n}", f"K{n}", 0.1, False, 10.0, "approve", who, n + 1) for n, who in enumerate(WHO)]
    monkeypatch.setattr(served.app.worker.engine, "timed", lambda *_: list(zip(said, (0.2, 33.0), strict=True)))
    answer = await served.post("/invocations", {"dataframe_records": [ROW, ROW | {"transaction_id": "TX2"}]})
    assert answer.status_code == 200
    assert [served.app.worker.metrics.latencies[who, n + 1][-1] for n, who in enumerate(WHO)] == [0.0002, 0.033]


WHO = ("champion", "canary")
