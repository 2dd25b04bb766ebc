"""What a request says is read exactly: faults are the caller's, keys keep their digits, transactions stay apart."""

from __future__ import annotations

import asyncio
import io
import json
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.keys import Spelling
from fds_mlflow.core.routing.routing import bucket
from fds_mlflow.errors import DataError
from fds_mlflow.scoring.columns import MISSING, cell, from_text
from fds_mlflow.scoring.requests.formats import Formats
from fds_mlflow.scoring.requests.rows import WHOLE, Lack
from fds_mlflow.scoring.served import Table
from fds_mlflow.serving.disk.spool import SpooledOutcome
from fds_mlflow.serving.http.app import App
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.support.version_caches import ROLLOUT, put, table

KINDS = {"amount": "double", "count": "long", "hour": "integer", "foreign": "boolean", "channel": "string"}
ROW: dict[str, Any] = {
    "amount": 250.0,
    "count": 3,
    "hour": 4,
    "foreign": True,
    "channel": "web",
    "transaction_id": "TX1",
}
PARQUET = "application/vnd.apache.parquet"


class Served:
    """A server of a model with columns of every plain type, and a client of it."""

    def __init__(self, folder: Path, kinds: dict[str, str] | None = None, **more: Any) -> None:
        self.settings = ServerSettings("fraud", "memory:", folder, **more)
        self.cache = self.settings.version_cache()
        for version in (1, 2):
            put(self.cache, version, inputs=kinds or KINDS)
        self.app = App(self.settings)
        self.serve(table())
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://fds")

    def serve(self, what: Table) -> None:
        """Put a table in force."""
        self.cache.write_table(what)
        self.app.worker.follow()

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Send JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(path, content=content, headers={"content-type": "application/json", **headers})

    def outcomes(self) -> list[SpooledOutcome]:
        """What was recorded since the last time."""
        return self.app.worker.engine.fetched()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Champion 1 alone."""
    made = Served(tmp_path)
    async with made.client:
        yield made


# --- the caller's fault -------------------------------------------------------------------------------------

FAULTS: dict[str, dict[str, Any]] = {
    "a gap among whole numbers": {"count": None},
    "a fraction among whole numbers": {"count": 12.5},
    "a whole number beyond 64 bits": {"count": 2**63},
    "a whole number beyond 32 bits": {"hour": 3_000_000_000},
    "an endless whole number": {"hour": float("inf")},
    "no number among whole numbers": {"count": float("nan")},
    "a float beyond 2^53 among whole numbers": {"count": 1e17},
    "a gap among booleans": {"foreign": None},
    "a two among booleans": {"foreign": 2},
    "a word among booleans": {"foreign": "true"},
    "a word among numbers": {"amount": "much"},
    "an empty text among numbers": {"amount": ""},
    "a list among numbers": {"amount": [1]},
    "an object among numbers": {"amount": {"value": 1}},
    "a number among texts": {"channel": 7},
    "half a character": {"channel": "\ud800"},
}


def _formats(row: dict[str, Any]) -> dict[str, Any]:
    good = {**ROW, "transaction_id": "TX2"}
    rows = [good, row, {**good, "transaction_id": "TX3"}]
    return {
        "dataframe_split": {"columns": list(row), "data": [list(one.values()) for one in rows]},
        "dataframe_records": rows,
        "instances": rows,
        "inputs": {name: [one[name] for one in rows] for name in row},
    }


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_value_that_does_not_fit_is_the_callers_fault(served: Served, fault: str):
    """In each form it is a 400 that names row and column, and no row of the request leaves an outcome."""
    row = {**ROW, **FAULTS[fault]}
    (column,) = FAULTS[fault]
    alone = await served.post("/score", row)
    assert (alone.status_code, f"`{column}`" in alone.json()["message"]) == (400, True), alone.text
    for name, rows in _formats(row).items():
        answer = await served.post("/invocations", {name: rows})
        assert answer.status_code == 400, (name, answer.text)
        assert f"row 1, column `{column}`" in answer.json()["message"], (name, answer.text)
    assert served.outcomes() == []
    assert (await served.client.get("/health")).json()["status"] == "ok"


SAME: dict[str, dict[str, Any]] = {
    "a number in quotes": {"amount": "250"},
    "a whole number with a point": {"count": 3.0},
    "a whole number in quotes": {"hour": "4"},
    "a one among booleans": {"foreign": 1},
}


@pytest.mark.parametrize("written", SAME)
async def test_what_loses_nothing_is_taken(served: Served, written: str):
    """A value that is written otherwise and says the same gets the same score, alone and in every form."""
    row = {**ROW, **SAME[written]}
    assert (await served.post("/score", row)).json()["score"] == 0.9
    for name, rows in _formats(row).items():
        answer = await served.post("/invocations", {name: rows})
        assert answer.json()["predictions"] == [0.9, 0.9, 0.9], (name, answer.text)


async def test_what_python_writes_for_no_number_is_missing(served: Served):
    """NaN is a gap, an infinite number and one beyond float64 are infinite, as for MLflow's server."""
    for word, score in (("NaN", 0.1), ("Infinity", 0.9), ("-Infinity", 0.1), ("1e999", 0.9)):
        body = json.dumps(ROW).replace("250.0", word).encode()
        assert (await served.post("/score", body)).json()["score"] == score, word


@given(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)), st.sampled_from(list(KINDS))
)
def test_a_value_is_taken_as_it_is_or_refused(value: Any, column: str):
    """Whatever is sent, a column gets a value of its type that equals what was sent, or the caller hears why not."""
    kind = KINDS[column]
    try:
        taken = cell(value, kind)
    except ValueError:
        return
    if taken is None:
        assert value is None
    elif isinstance(value, str) and kind != "string":
        assert float(value) == taken or math.isnan(taken)
    elif isinstance(value, int) and kind == "double":
        assert taken == float(value)
    else:
        assert taken == value or math.isnan(taken)
    assert kind not in ("long", "integer") or isinstance(taken, int)


def test_a_field_of_csv_is_missing_where_pandas_takes_it_so():
    """The words for no value are those of pandas, by which MLflow's server reads CSV."""
    fields = sorted(MISSING)
    frame = pd.read_csv(io.StringIO("x,y\n" + "".join(f'"{field}",1\n' for field in fields)))
    assert frame["x"].isna().all()
    assert all(from_text(field, kind) is None for field in fields for kind in KINDS.values())


# --- strictly ------------------------------------------------------------------------------------------------

LENIENT: dict[str, tuple[bytes, str, str]] = {
    "an open quote": (b'amount,count,hour,foreign,channel\n1,2,3,true,"web\n4,5,6,true,shop\n', "text/csv", "line 2"),
    "one comma too many": (b"amount,count,hour,foreign,channel\n1,2,3,true,web,\n", "text/csv", "line 2"),
    "a short row": (b"amount,count,hour,foreign,channel\n1,2,3,true,web\n1,2\n", "text/csv", "line 3"),
    "a column twice": (b"amount,count,hour,foreign,channel,amount\n1,2,3,true,web,9\n", "text/csv", "'amount'"),
    "another index": (
        json.dumps({"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())], "index": [0, 1]}}).encode(),
        "application/json",
        "2 entries for 1 rows",
    ),
    "an index that is none": (
        json.dumps({"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())], "index": 7}}).encode(),
        "application/json",
        "index",
    ),
    "a short row of JSON": (
        json.dumps({"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values()), [1, 2]]}}).encode(),
        "application/json",
        "row 1 has 2 values for 6 columns",
    ),
    "what no frame has": (
        json.dumps({"dataframe_split": {"columns": list(ROW), "data": [], "rows": 1}}).encode(),
        "application/json",
        "dataframe_split",
    ),
    "text behind the JSON": (json.dumps({"inputs": [ROW]}).encode() + b"\n x", "application/json", "line 2 column 2"),
    "too deep": (b'{"inputs":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "application/json", "no JSON"),
    "a number of a million digits": (b'{"inputs":[[' + b"9" * 1_000_000 + b"]]}", "application/json", "digits"),
}


@pytest.mark.parametrize("name", LENIENT)
async def test_what_is_broken_is_not_guessed(served: Served, name: str):
    """A body with a slip in it is a 400 that says where, and never fewer or more scores than rows."""
    body, kind, word = LENIENT[name]
    answer = await served.client.post("/invocations", content=body, headers={"content-type": kind})
    assert (answer.status_code, word in answer.json()["message"]) == (400, True), answer.text[:500]
    assert served.outcomes() == []


@pytest.mark.parametrize("path", ["/score", "/invocations", "/labels"])
async def test_another_charset_is_refused(served: Served, path: str):
    """A body that is declared to be in another charset than UTF-8, or compressed, is a 415 and not misread."""
    for headers in (
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": 'application/json;charset="UTF-16"'},
        {"content-encoding": "gzip"},
    ):
        assert (await served.post(path, ROW, **headers)).status_code == 415, headers
    for charset in ("utf-8", "UTF-8", '"utf8"', "us-ascii"):
        answer = await served.post("/score", ROW, **{"content-type": f"application/json; charset={charset}"})
        assert answer.status_code == 200, charset


@pytest.mark.parametrize("header", ["X-Request-ID", "X-Routing-Key", "Authorization", "Content-Type"])
async def test_a_header_that_is_there_twice_is_refused(served: Served, header: str):
    """Of two request ids or keys nobody knows which was meant."""
    headers = [(header, "application/json"), (header, "text/csv")]
    answer = await served.client.post("/score", content=json.dumps(ROW).encode(), headers=headers)
    assert (answer.status_code, "twice" in answer.json()["message"]) == (400, True)


# --- keys ----------------------------------------------------------------------------------------------------

CARD = 4_111_111_111_111_111_111


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    held = io.BytesIO()
    pd.DataFrame(rows).to_parquet(held)
    return held.getvalue()


WAYS: dict[str, Callable[[list[dict[str, Any]]], tuple[bytes, str]]] = {
    "split": lambda rows: (
        json.dumps({"dataframe_split": {"columns": list(rows[0]), "data": [list(r.values()) for r in rows]}}).encode(),
        "application/json",
    ),
    "records": lambda rows: (json.dumps({"dataframe_records": rows}).encode(), "application/json"),
    "inputs": lambda rows: (
        json.dumps({"inputs": {name: [row[name] for row in rows] for name in rows[0]}}).encode(),
        "application/json",
    ),
    "CSV": lambda rows: (pd.DataFrame(rows).to_csv(index=False).encode(), "text/csv"),
    "Parquet": lambda rows: (_parquet(rows), PARQUET),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["long", "double", "string", None])
async def test_a_key_keeps_every_digit_on_every_way(tmp_path: Path, way: str, kind: str | None):
    """A card of 19 digits is the same key in every form, whatever type its column has in the signature, or none."""
    kinds = {"amount": "double"} | ({} if kind is None else {"card": kind})
    made = Served(tmp_path, kinds, key="card", transaction="card")
    cards = [CARD, CARD + 1, 1000]
    rows = [{"amount": 250.0, "card": str(card) if kind == "string" and way != "CSV" else card} for card in cards]
    async with made.client:
        body, content = WAYS[way](rows)
        answer = await made.client.post("/invocations", content=body, headers={"content-type": content})
        assert answer.status_code == 200, answer.text
        assert [detail["key"] for detail in answer.json()["details"]] == list(map(str, cards))
        assert [(one.key, one.transaction_id) for one in made.outcomes()] == [(str(card), str(card)) for card in cards]
        if way == "records":
            alone = [(await made.post("/score", row)).json()["key"] for row in rows]
            assert alone == list(map(str, cards))


@pytest.mark.parametrize("written", [1000, 1000.0, "1000", "1000.0", "1e3"])
async def test_a_number_is_one_key_however_it_is_written(tmp_path: Path, written: Any):
    """In a column of numbers 1000, 1000.0 and "1000" are one key, which a router in process writes alike."""
    made = Served(tmp_path, {"amount": "double", "card": "double"}, key="card", transaction="card")
    async with made.client:
        for body in ({"amount": 1, "card": written}, {"amount": "1", "card": written}):  # the quick way and the other
            assert (await made.post("/score", body)).json()["key"] == "1000"


async def test_a_rollout_under_way_keeps_its_spelling(tmp_path: Path):
    """A rollout of an earlier release goes on with the buckets it began with; labels are joined on the new spelling."""
    made = Served(tmp_path, {"amount": "double", "card": "double"}, key="card", transaction="card")
    old = table(weight=5_000)
    assert old.routing.spelling is Spelling.BY_COLUMN
    made.serve(old)
    async with made.client:
        for card in range(20):
            answer = (await made.post("/score", {"amount": 1, "card": card})).json()
            expected = "canary" if bucket(ROLLOUT, f"{card}.0") < 5_000 else "champion"
            assert (answer["key"], answer["variant"]) == (f"{card}.0", expected)
        assert [one.transaction_id for one in made.outcomes()] == list(map(str, range(20)))


async def test_a_float_that_has_lost_digits_is_no_key(tmp_path: Path):
    """Two cards that one float stands for are not taken for one: such a key is refused."""
    made = Served(tmp_path, {"amount": "double", "card": "double"}, key="card", transaction="card")
    async with made.client:
        answer = await made.post("/score", {"amount": 1, "card": float(CARD)})
        assert (answer.status_code, "not all digits" in answer.json()["message"]) == (400, True)


# --- identities ----------------------------------------------------------------------------------------------


async def test_one_request_id_may_stand_for_many_transactions(served: Served):
    """Each transaction under one id leaves an outcome, alone or in batches, and a retry of each leaves no second."""
    identities: list[list[str]] = []
    for _ in range(2):
        for name in ("TX1", "TX2", "TX3"):
            answer = await served.post("/score", {**ROW, "transaction_id": name}, **{"X-Request-ID": "mesh"})
            assert answer.json()["request_id"] == "mesh"
        for start in (4, 6):
            rows = [{**ROW, "transaction_id": f"TX{start + place}"} for place in range(2)]
            await served.post("/invocations", {"dataframe_records": rows}, **{"X-Request-ID": "mesh"})
        identities.append([one.request_id for one in served.outcomes()])
    assert identities[0] == identities[1]
    assert len(set(identities[0])) == 7


async def test_transactions_without_an_id_are_told_apart_by_what_they_say(served: Served):
    """Bodies without a transaction id under one request id are as many outcomes as there are different bodies."""
    row = {name: value for name, value in ROW.items() if name != "transaction_id"}
    for amount in (1.0, 2.0, 1.0):
        await served.post("/score", {**row, "amount": amount}, **{"X-Request-ID": "mesh"})
    assert len({one.request_id for one in served.outcomes()}) == 2
    batch = {"dataframe_records": [row, {**row, "amount": 2.0}, row]}
    for _ in range(2):
        await served.post("/invocations", batch, **{"X-Request-ID": "mesh"})
    identities = [one.request_id for one in served.outcomes()]
    assert identities[:3] == identities[3:]
    assert len(set(identities)) == 3


async def test_long_request_ids_are_not_cut_to_the_same(served: Served):
    """Two ids that only differ behind the 240th character are two."""
    for last in "ab":
        await served.post("/score", ROW, **{"X-Request-ID": "x" * 300 + last})
    identities = {one.request_id for one in served.outcomes()}
    assert len(identities) == 2
    assert all(len(name) <= 255 for name in identities)


# --- health --------------------------------------------------------------------------------------------------


async def test_health_asks_whether_scoring_works(served: Served, monkeypatch: pytest.MonkeyPatch):
    """A share of requests that the server fails at degrades health for a minute; refused ones do not."""
    now = 1_000_000.0
    monkeypatch.setattr("fds_mlflow.serving.worker.metrics.time.time", lambda: now)
    for _ in range(50):
        await served.post("/score", {**ROW, "count": None})
        await served.post("/score", ROW)
    assert (await served.client.get("/health")).json()["status"] == "ok"
    state = served.app.worker.engine.state
    assert state is not None
    monkeypatch.setattr(state.champion.compiled, "row", lambda _: 1 / 0)
    assert (await served.post("/score", ROW)).status_code == 503
    assert (await served.client.get("/health")).json()["status"] == "ok"  # one in a hundred
    for _ in range(4):
        await served.post("/score", ROW)
    health = (await served.client.get("/health")).json()
    assert (health["status"], "5 of the 105 requests" in health["problem"]) == ("degraded", True)
    assert b'fds_degraded{model="fraud"} 1.0' in (await served.client.get("/metrics")).content
    now += 80.0
    assert (await served.client.get("/health")).json()["status"] == "ok"


async def test_a_gap_that_the_model_cannot_take_is_refused_for_the_whole_request(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    """No signature can forbid a gap: where the champion raises at one the request is refused and leaves no outcome."""
    state = served.app.worker.engine.state
    assert state is not None

    def picky(values: Any) -> float:
        if values[0] is None:
            raise ValueError("input contains NaN")
        return 0.5

    monkeypatch.setattr(state.champion.compiled, "row", picky)
    assert (await served.post("/score", ROW)).status_code == 200
    assert len(served.outcomes()) == 1
    answer = await served.post("/score", {**ROW, "amount": None})
    assert (answer.status_code, "amount" in answer.json()["message"]) == (400, True)
    batch = await served.post("/invocations", {"dataframe_records": [ROW, {**ROW, "amount": None}]})
    assert batch.status_code == 400
    assert served.outcomes() == []


def test_a_worker_reads_requests_of_an_old_table_by_its_own_state(tmp_path: Path):
    """A table that changes between two requests changes how keys are written with it."""
    made = Served(tmp_path, {"amount": "double", "card": "long"}, key="card", transaction="card")

    async def asked() -> list[str]:
        async with made.client:
            first = (await made.post("/score", {"amount": 1, "card": 7})).json()["key"]
            made.serve(table(weight=5_000))
            return [first, (await made.post("/score", {"amount": 1, "card": 7})).json()["key"]]

    assert asyncio.run(asked()) == ["7", "7.0"]


# --- a canary's own columns ----------------------------------------------------------------------------------


async def test_a_value_that_does_not_fit_the_canary_alone_is_charged_to_nobody(tmp_path: Path):
    """Callers who sent what the champion ignores go on; their row is the champion's, and no error of the canary's."""
    made = Served(tmp_path, {"amount": "double"})
    put(made.cache, 2, inputs={"amount": "double", "age": "long"}, optional=["age"])
    made.serve(table(weight=10_000))
    rows = [{"amount": 250.0, "transaction_id": f"TX{n}", "age": age} for n, age in enumerate([3, None, "old", 2.5, 4])]
    async with made.client:
        alone = [(await made.post("/score", row)).json() for row in rows]
        kept = made.outcomes()
        batch = (await made.post("/invocations", {"dataframe_records": rows})).json()
        assert [one["variant"] for one in alone] == ["canary", "champion", "champion", "champion", "canary"]
        assert [one["score"] for one in alone] == batch["predictions"] == [0.9] * 5
        assert [(one.served, one.error) for one in kept] == [("canary", None)] * 2
        assert [(one.served, one.error) for one in made.outcomes()] == [("canary", None)] * 2


async def test_what_the_champion_lets_out_a_canary_cannot_demand(tmp_path: Path):
    """A column that is optional for the champion stays so for its callers, whatever the canary requires."""
    made = Served(tmp_path, {"amount": "double", "age": "double"})
    put(made.cache, 3, inputs={"amount": "double", "age": "double"}, optional=["age"])
    made.serve(table(weight=1, champion=3))
    async with made.client:
        assert (await made.post("/score", {"amount": 250.0, "transaction_id": "TX1"})).status_code == 200


@pytest.mark.parametrize("who", ["champion", "canary"])
async def test_one_bad_row_is_charged_alone(tmp_path: Path, who: str, monkeypatch: pytest.MonkeyPatch):
    """Where a version fails at one row of a frame, the others have their scores, and one outcome an error."""
    made = Served(tmp_path, {"amount": "double"})
    made.serve(table(weight=10_000 if who == "canary" else 0))
    state = made.app.worker.engine.state
    assert state is not None
    loaded = getattr(state, who)
    row, matrix = loaded.compiled.row, loaded.compiled.matrix

    def one(values: Any) -> float:
        return 1 / 0 if values[0] == 666.0 else row(values)

    def many(columns: Any) -> Any:
        return 1 / 0 if (columns[0] == 666.0).any() else matrix(columns)

    monkeypatch.setattr(loaded.compiled, "row", one)
    monkeypatch.setattr(loaded.compiled, "matrix", many)
    rows = [{"amount": 666.0 if n == 77 else 1.0, "transaction_id": f"TX{n}"} for n in range(200)]
    async with made.client:
        answer = await made.post("/invocations", {"dataframe_records": rows})
    assert answer.status_code == (200 if who == "canary" else 503)
    assert [one.transaction_id for one in made.outcomes() if one.error] == ["TX77"]


HUGE = {
    "an exponent": "1e9999999",
    "an exponent beyond any": "1e9999999999999999999",
    "an infinite number": "Infinity",
    "four hundred digits": "9" * 400,
}


@pytest.mark.parametrize("name", HUGE)
@pytest.mark.parametrize("weight", [None, 5_000])
async def test_a_key_that_is_no_number_one_could_write_is_refused(tmp_path: Path, name: str, weight: int | None):
    """In a column of numbers it is a 400, as text or as a number, also in a rollout of an earlier release."""
    made = Served(tmp_path, {"amount": "double", "card": "double"}, key="card", transaction="card")
    made.serve(table(weight=weight))
    async with made.client:
        for written in (HUGE[name], f'"{HUGE[name]}"'):
            answer = await made.post("/score", f'{{"amount": 1, "card": {written}}}'.encode())
            assert answer.status_code in ((400,) if weight is None else (200, 400)), answer.text


@pytest.mark.slow
async def test_a_parquet_body_is_bounded_by_what_it_unpacks_to(served: Served):
    """A text of 100 kB in each of 5,000 rows is small in a file and large in memory: refused, or passed over."""
    frame = pd.DataFrame([ROW] * 5_000)
    held = io.BytesIO()
    frame.assign(more="x" * 100_000).to_parquet(held)
    assert len(held.getvalue()) < 300_000
    good = await served.client.post("/invocations", content=held.getvalue(), headers={"content-type": PARQUET})
    assert good.status_code == 200, good.text[:300]
    held = io.BytesIO()
    frame.assign(channel="x" * 100_000).to_parquet(held)
    bad = await served.client.post("/invocations", content=held.getvalue(), headers={"content-type": PARQUET})
    assert (bad.status_code, "unpacked" in bad.json()["message"]) == (400, True)


async def test_a_canary_with_the_same_columns_in_another_order_gets_them_in_its_own(tmp_path: Path):
    """What a column is called decides, not where it stands: the canary's score is its own, alone and in a frame."""
    made = Served(tmp_path, {"amount": "double", "hour": "double"})
    put(made.cache, 2, inputs={"hour": "double", "amount": "double"})
    made.serve(table(weight=10_000))
    row = {"amount": 250.0, "hour": 3.0, "transaction_id": "TX1"}  # a stump of its first column: the hour is small
    async with made.client:
        assert (await made.post("/score", row)).json()["score"] == 0.1
        batch = await made.post("/invocations", {"dataframe_records": [row] * 20})
        assert batch.json()["predictions"] == [0.1] * 20


class Featuring:
    """Takes any raw row, and gives it the features of `ROW`."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    def __call__(self, state: Any, row: Any, *, remember: bool) -> tuple[Any, Lack]:
        """As `Featured`."""
        if ROW.keys() <= row.keys():
            return row, WHOLE
        self.taken.append(row["card"])
        return {**row, **ROW, "transaction_id": row["transaction_id"]}, WHOLE


def test_raw_rows_come_in_every_format(tmp_path: Path) -> None:
    """Records, a split frame, columns, CSV and Parquet all reach what computes features, with all of their columns."""
    serving = Served(tmp_path).app.worker.serving
    assert serving is not None
    featuring = Featuring()
    formats = Formats(serving[0], featured=featuring)
    row = {"transaction_id": "T1", "card": "C1"}
    frame = pd.DataFrame([row])
    split = {"columns": list(row), "data": [list(row.values())]}
    columns = {name: [value] for name, value in row.items()}
    for sent in ({"dataframe_records": [row]}, {"dataframe_split": split}, {"inputs": columns}):
        assert formats.invocation(json.dumps(sent).encode()).transactions == ["T1"]
    assert formats.text(frame.to_csv(index=False).encode()).transactions == ["T1"]
    assert formats.parquet(frame.to_parquet()).transactions == ["T1"]
    assert featuring.taken == ["C1"] * 5
    whole = {"columns": list(ROW), "data": [list(ROW.values())]}
    assert formats.invocation(json.dumps({"dataframe_split": whole}).encode()).transactions == ["TX1"]
    assert len(featuring.taken) == 5, "what is computed needs no features"


def test_what_no_store_takes_as_a_key_reaches_no_state(tmp_path: Path) -> None:
    """A transaction that is refused for its id is counted nowhere."""
    serving = Served(tmp_path).app.worker.serving
    assert serving is not None
    featuring = Featuring()
    for name in ("a\0b", "x" * 256, "\ud800"):
        with pytest.raises(DataError, match="key"):
            Formats(serving[0], featured=featuring).one(json.dumps({"transaction_id": name, "card": "C1"}).encode())
    assert not featuring.taken
