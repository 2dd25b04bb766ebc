"""Reasons and features over HTTP: told where they are asked for, and never at the cost of an answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from fds_mlflow.core.routing.routing import bucket
from fds_mlflow.runtime import model_files
from fds_mlflow.scoring.compiled import CompiledModel
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.scoring.reasons import FILE, MOST_ROWS
from fds_mlflow.scoring.requests.rows import Batch, Piece
from fds_mlflow.scoring.state import ServingState
from fds_mlflow.serving.disk.spool import SpooledOutcome
from fds_mlflow.serving.disk.version_cache import VersionCache, describe, model_folder
from fds_mlflow.serving.http.app import App
from fds_mlflow.serving.http.models import Models
from fds_mlflow.serving.http.protocol import ScoreProtocol
from fds_mlflow.serving.worker.engine import Answer
from fds_mlflow.serving.worker.explaining import Wanted, explain
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.serving.http.test_protocol import Connection, request
from tests.support import tiny_models
from tests.support.version_caches import INPUTS, ROLLOUT, put, table

ROW: dict[str, Any] = {"amount": 250.0, "hour": 3, "channel": "web", "transaction_id": "TX1"}
TO_CANARY = next(f"TX{n}" for n in range(1_000) if bucket(ROLLOUT, f"TX{n}") < 2_500)
TO_CHAMPION = next(f"TX{n}" for n in range(1_000) if bucket(ROLLOUT, f"TX{n}") >= 2_500)
STRONGEST = {"code": "amount", "feature": "amount", "value": 250.0, "contribution": 0.4, "text": "amount"}


class Served:
    """An application on a version cache whose champion is 1, and a client of it."""

    def __init__(self, folder: Path) -> None:
        self.settings = ServerSettings("fraud", "memory:", folder, variant_override=True)
        self.cache = VersionCache(folder, "fraud", "memory:")
        put(self.cache, 1)
        put(self.cache, 2, low=0.2, high=0.8)
        self.app = App(self.settings)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://fds")

    def serve(self, **what: Any) -> None:
        """Put a table in force."""
        self.cache.write_table(table(**what))
        self.app.worker.follow()

    async def ask(self, path: str, body: Any, **headers: str) -> Any:
        """What is answered to JSON, which has to be an answer."""
        answer = await self.client.post(path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

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


def _told(served: Served, version: int, **words: Mapping[str, str]) -> None:
    """Log codes and texts with a version that is in the cache already."""
    prepared = served.cache.prepared(version, f"identity{version}")
    assert prepared is not None
    model_folder(prepared.folder).mkdir()
    (model_folder(prepared.folder) / FILE).write_text(json.dumps(words))
    describe(prepared.folder, INPUTS, compiled=True)


async def test_a_score_tells_its_reasons_where_they_are_asked_for(served: Served):
    """The strongest reasons come with code, value, contribution and text; unasked nothing of it is said."""
    told = await served.ask("/score?reasons=3", ROW)
    assert (told["score"], told["reasons"], told["base"]) == (0.9, [STRONGEST], 0.5)
    assert not {"features", "reasons_refused"} & told.keys()
    plain = await served.ask("/score", ROW)
    assert not {"reasons", "base", "features"} & plain.keys()
    assert len(served.outcomes()) == 2


async def test_all_reasons_add_up_to_the_raw_score(served: Served):
    """Asked for all, each feature is there, those that speak for fraud first, and they add up with the base."""
    told = await served.ask("/score?reasons=all", {**ROW, "amount": 20, "hour": None})
    assert {reason["feature"]: reason["value"] for reason in told["reasons"]} == {
        "amount": 20,
        "hour": None,
        "channel": "web",
    }
    assert told["base"] + sum(reason["contribution"] for reason in told["reasons"]) == pytest.approx(told["score"])
    assert (await served.ask("/score?reasons=3", {**ROW, "amount": 20}))["reasons"] == []


async def test_the_features_that_a_score_rests_on(served: Served):
    """Asked for, the columns that the version scored are told as it scored them, and no others."""
    told = await served.ask("/score?features=true", {**ROW, "note": "not a column"})
    assert told["features"] == {"amount": 250.0, "hour": 3.0, "channel": "web"}
    assert "reasons" not in told
    assert "features" not in await served.ask("/score?features=false", ROW)


async def test_every_row_of_a_call_has_its_own_reasons(served: Served):
    """`/invocations` tells of each row what `/score` says, each by the version that answered it."""
    served.serve(weight=2_500)
    rows = [{**ROW, "transaction_id": name} for name in (TO_CANARY, TO_CHAMPION, TO_CANARY)]
    told = await served.ask("/invocations?reasons=1&features=true", {"dataframe_records": rows})
    assert told["predictions"] == [0.8, 0.9, 0.8]
    contributions = [detail["reasons"][0]["contribution"] for detail in told["details"]]
    assert contributions == pytest.approx([0.3, 0.4, 0.3])
    assert [detail["features"]["amount"] for detail in told["details"]] == [250.0] * 3


async def test_codes_and_texts_are_the_answering_versions(served: Served):
    """A feature is called as the version that answered has it, champion and canary each for itself."""
    _told(served, 2, amount={"code": "V01", "text": "an unusual amount"})
    served.serve(weight=2_500)
    for name, said in ((TO_CANARY, ("V01", "an unusual amount")), (TO_CHAMPION, ("amount", "amount"))):
        told = await served.ask("/score?reasons=1", {**ROW, "transaction_id": name})
        assert (told["reasons"][0]["code"], told["reasons"][0]["text"]) == said


async def test_texts_that_cannot_be_read_cost_no_answer(served: Served):
    """Where a version's texts are broken the score is answered all the same, and says why it has no reasons."""
    _told(served, 2, amount={"code": ["V01"]})  # type: ignore[dict-item] # what nobody should log
    served.serve(weight=2_500)
    told = await served.ask("/score?reasons=1", {**ROW, "transaction_id": TO_CANARY})
    assert (told["score"], told["version"], told["reasons"]) == (0.8, 2, None)
    assert FILE in told["reasons_refused"]
    (outcome,) = served.outcomes()
    assert isinstance(outcome, SpooledOutcome)
    assert (outcome.served, outcome.error) == ("canary", None)


async def test_a_version_without_reasons_answers_and_says_so(served: Served):
    """A version that gives no reasons scores as ever: its callers need not know which version answers."""
    source = tiny_models.save(served.settings.cache, "tiny", tiny_models.BETTER)
    with served.cache.preparing(2, "identity2") as folder:
        source.rename(model_folder(folder))
        inputs = {"amount": "double", "hour": "double"}
        describe(folder, inputs, compiled=False, files=model_files.digest(model_folder(folder)))
    served.serve(weight=2_500)
    body = {**ROW, "amount": 0.5, "transaction_id": TO_CANARY}
    told = await served.ask("/score?reasons=2&features=true", body)
    assert (told["score"], told["version"], told["reasons"]) == (0.25, 2, None)
    assert "version 2 gives no reasons" in told["reasons_refused"]
    assert told["features"] == {"amount": 0.5, "hour": 3.0}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("reasons=0", "reasons is '0'"),
        ("reasons=-1", "reasons is '-1'"),
        ("reasons=", "reasons is ''"),
        ("reasons=1e3", "reasons is '1e3'"),
        ("reasons=%D9%A3", "reasons is"),
        ("features=yes", "features is 'yes'"),
        ("reasons=3&reasons=4", "twice"),
        ("reason=3", "'reason', which is not known"),
        ("Features=true", "'Features', which is not known"),
    ],
)
async def test_a_query_that_says_something_else_is_refused(served: Served, query: str, said: str):
    """What is misspelled, repeated or no number is answered 400 with what may be asked, and leaves no outcome."""
    for path, body in (("/score", ROW), ("/invocations", {"dataframe_records": [ROW]})):
        answer = await served.client.post(f"{path}?{query}", json=body)
        assert answer.status_code == 400
        assert said in answer.json()["message"]
        assert "reasons=3" in answer.json()["fix"]
    assert served.outcomes() == []


async def test_what_a_query_says_to_others_is_passed_over(served: Served):
    """A proxy's own parameters change nothing, as ever."""
    told = await served.ask("/score?v=2&v=2&%FF=%FF", ROW)
    assert not {"reasons", "features"} & told.keys()


@pytest.mark.parametrize("path", ["/score", "/models/fraud/score"])
async def test_a_connection_asks_for_reasons_at_every_address(tmp_path: Path, path: str):
    """As it comes in over a connection, beside plain requests, at both addresses of a model."""
    made = Served(tmp_path)
    made.serve()
    models = Models([made.settings])
    models.apps["fraud"].worker.follow()
    connection = Connection(ScoreProtocol, models)
    await connection.send(request(f"{path}?reasons=3", ROW) + request(path, ROW), wait=False)
    async with asyncio.timeout(60):
        while len(connection.statuses) < 2:
            await asyncio.sleep(0)
    bodies = re.findall(rb"\r\n\r\n(\{.*?\})(?=HTTP|$)", connection.wire.sent, re.DOTALL)
    told, plain = map(json.loads, bodies)
    assert told["reasons"] == [STRONGEST]
    assert "reasons" not in plain


@pytest.mark.parametrize("path", ["/score", "/invocations", "/models/fraud/score"])
async def test_more_reasons_than_can_be_told_in_time_are_refused_at_once(tmp_path: Path, path: str):
    """Where too many wait for a thread, a request for reasons is answered 503 by its head alone."""
    models = Models([ServerSettings("fraud", "memory:", tmp_path)])
    turns = models.apps["fraud"]._turns
    turns._pace, turns.inside = 1.0, 100
    connection = Connection(ScoreProtocol, models)
    sent = request(f"{path}?reasons=1", ROW)
    await connection.send(sent[:-5])
    await connection.send(sent[-5:] + request("/version", method="GET"))
    assert connection.statuses == [503, 200]
    assert b"--queue-seconds" in connection.wire.sent


async def test_reasons_of_too_many_rows_are_refused(served: Served):
    """Rows take long to explain, so a call has a bound; features alone have none but the call's own."""
    rows = {"dataframe_records": [ROW] * (MOST_ROWS + 1)}
    answer = await served.client.post("/invocations?reasons=1", json=rows)
    assert answer.status_code == 400
    assert str(MOST_ROWS) in answer.json()["fix"]
    assert len((await served.ask("/invocations?features=true", rows))["details"]) == MOST_ROWS + 1


async def test_a_defect_in_explaining_costs_no_answer(served: Served, monkeypatch: pytest.MonkeyPatch):
    """Whatever goes wrong with reasons, the score is there already, and is answered."""

    def fail(*_: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(CompiledModel, "contributions", fail)
    told = await served.ask("/score?reasons=3", ROW)
    assert (told["score"], told["reasons"]) == (0.9, None)
    assert "RuntimeError" in told["reasons_refused"]


def test_a_version_whose_requests_mlflow_reads_tells_no_features():
    """Columns of any type are no features that JSON could tell; that is said, and nothing else is lost."""
    taken = SimpleNamespace(metadata=SimpleNamespace(get_input_schema=lambda: None), predict=len)
    loaded = Loaded(7, {}, 0.5, 1.0, model=taken)
    state = ServingState(table(champion=7), loaded, None, "transaction_id", "transaction_id")
    answer = Answer("r", "k", 0.5, True, 50.0, "step_up", "champion", 7)
    explain(state, [Piece(Batch([{"amount": 1.0}]), 0)], [answer], Wanted(reasons=3, features=True))
    assert (answer.features, answer.reasons) == (None, None)
    assert "version 7 has columns that are not all" in str(answer.features_refused)
    assert "version 7 gives no reasons" in str(answer.reasons_refused)
