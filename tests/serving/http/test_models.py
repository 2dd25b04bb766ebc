"""Several models in one application: each at its address, none held up by another, and the server tells of all."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fds_mlflow.display.characters import printable
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.serving.disk.version_cache import VersionCache
from fds_mlflow.serving.http.models import Models, address
from fds_mlflow.serving.http.protocol import ScoreProtocol
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.serving.http.test_protocol import ROW, Connection, Immediate, request
from tests.support.version_caches import put, table

NAMES = ("fraud", "returns", "karte & käse 100%")
HIGH = {"fraud": 0.9, "returns": 0.8, "karte & käse 100%": 0.7}
"""What each model gives to `ROW`."""


def settings(folder: Path, *names: str, **more: Any) -> list[ServerSettings]:
    """Of models without a version."""
    return [ServerSettings(name, "memory:", folder, **more) for name in names]


def serve(models: Models, name: str, **what: Any) -> None:
    """Have a model serve its version 1."""
    cache = models.apps[name].settings.version_cache()
    put(cache, 1, high=HIGH.get(name, 0.9), **what)
    cache.write_table(table())
    models.apps[name].worker.follow()


def served(folder: Path, *names: str, **more: Any) -> Models:
    """An application whose models all serve."""
    models = Models(settings(folder, *names, **more))
    for name in names:
        serve(models, name)
    return models


def client(models: Models) -> httpx.AsyncClient:
    """A client of it."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(models), base_url="http://fds")


@pytest.fixture
def models(tmp_path: Path) -> Models:
    """Three models that serve."""
    return served(tmp_path, *NAMES)


# --- addresses -----------------------------------------------------------------------------------------------


async def test_each_model_answers_at_its_address(models: Models):
    """A model's own addresses are those of a server of it alone, behind `/models/NAME`."""
    async with client(models) as http:
        for name, score in HIGH.items():
            at = address(name)
            assert (await http.post(f"{at}/score", json=ROW)).json()["score"] == score
            assert (await http.post(f"{at}/invocations", json={"inputs": [ROW]})).json()["predictions"] == [score]
            assert (await http.post(f"{at}/labels", json=[])).json() == {"accepted": 0}
            assert (await http.get(f"{at}/health")).json()["model"] == name
            described = (await http.get(f"{at}/openapi.json")).json()
            assert (described["info"]["title"], described["servers"]) == (f"fds serve {name}", [{"url": "."}])
            assert "/score" in described["paths"]
            for path in ("ping", "ready", "version", "metrics", "docs", "docs/swagger-ui.css"):
                assert (await http.get(f"{at}/{path}")).status_code == 200


async def test_one_model_has_both_addresses(tmp_path: Path):
    """A server of one model answers as it always did, and under the model's name the same."""
    models = served(tmp_path, "fraud")
    assert set(models.plain) == {b"/score", b"/models/fraud/score"}
    async with client(models) as http:
        for at in ("", "/models/fraud"):
            named = {"X-Request-ID": "r1"}
            assert (await http.post(f"{at}/score", json=ROW, headers=named)).json()["request_id"] == "r1"
            assert (await http.post(f"{at}/invocations", json={"inputs": [ROW]})).json()["predictions"] == [0.9]
            assert (await http.get(f"{at}/health")).json()["model"] == "fraud"
        texts = [(await http.get(path)).text for path in ("/metrics", "/models/fraud/metrics")]
    assert 'fds_responses_total{model="fraud",path="/score",status="200"} 2.0' in texts[0]
    assert 'model=""' not in texts[0]
    assert texts[0].splitlines()[0] == texts[1].splitlines()[0]


@pytest.mark.parametrize("path", ["/models/nobody/score", "/models/nobody/ping", "/models", "/models/"])
async def test_an_unknown_model_is_told_what_is_served(models: Models, path: str):
    """Where there is no such model the answer is a 404 that lists the addresses of those that are served."""
    async with client(models) as http:
        for answer in (await http.post(path, json=ROW), await http.get(path)):
            assert answer.status_code == 404
            assert answer.json()["error_code"] == "ENDPOINT_NOT_FOUND"
            for name in NAMES:
                assert f"{address(name)}/" in answer.json()["fix"]


async def test_an_address_that_needs_a_model_asks_for_it(models: Models):
    """Of several models, none is taken silently: a bare `/score` is refused, and told all addresses."""
    async with client(models) as http:
        for path in ("/score", "/invocations", "/labels"):
            refused = await http.post(path, json=ROW)
            assert refused.status_code == 404
            assert "several models" in refused.json()["message"]
            assert "/models/fraud/, /models/returns/, /models/karte" in refused.json()["fix"]
        assert (await http.post("/nothing", json={})).json()["fix"] == "see /openapi.json"
    assert not any(app.worker.engine.outcomes for app in models.apps.values())


@given(names=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4, unique=True), safe=st.text("/!'()*:@+"))
def test_whatever_a_model_is_called_it_has_an_address(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], safe: str
):
    """Names with any signs, slashes and percents among them, are found by their own encoding and by no other's."""
    names = [name for name in names if name.encode(errors="ignore").decode() == name]
    folder = tmp_path_factory.mktemp("names")
    models = Models(settings(folder, *names, "other"))

    async def asked() -> None:
        for name in names:
            for spelled in (quote(name, safe=""), quote(name, safe=safe.replace("/", ""))):
                if spelled not in (".", ".."):  # which no client sends
                    sent = await answered(models, request(f"/models/{spelled}/ping", method="GET"))
                    assert json.loads(sent)["message"].startswith(printable(f"{name} has no version to serve"))

    if names and "other" not in names:
        asyncio.run(asked())


async def answered(models: Models, *requests: bytes, kind: type[HttpToolsProtocol] = ScoreProtocol) -> bytes:
    """The bodies that a connection gets."""
    connection = Connection(kind, models)  # type: ignore[arg-type]
    for one in requests:
        await connection.send(one)
    return connection.wire.sent.rpartition(b"\r\n\r\n")[2]


@given(data=st.data())
def test_models_are_answered_in_the_order_of_the_requests(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    """Requests to several models over one connection, pipelined and cut anywhere, are answered in their order."""
    models = served(tmp_path_factory.mktemp("order"), "fraud", "returns")
    for app in models.apps.values():
        app._threads = Immediate()  # type: ignore[assignment]
    asked = data.draw(st.lists(st.sampled_from(["fraud", "returns", "nobody", "returns/invocations"]), max_size=8))
    stream = b""
    for number, name in enumerate(asked):
        path = f"/models/{name}" if "/" in name else f"/models/{name}/score"
        body = {"inputs": [ROW]} if "/" in name else ROW
        stream += request(path, body, X_Request_ID=f"r{number}")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=4)) | {0, len(stream)})

    async def sent(kind: type[HttpToolsProtocol]) -> bytes:
        connection = Connection(kind, models)  # type: ignore[arg-type]
        for start, end in itertools.pairwise(cuts):
            await connection.send(stream[start:end], wait=bool(end % 2))
        await connection.settle()
        return connection.wire.sent

    assert asyncio.run(sent(ScoreProtocol)) == asyncio.run(sent(HttpToolsProtocol))


async def test_models_take_turns_on_one_connection(tmp_path: Path):
    """Whichever models pipelined requests ask in turn, all take the short way, and none overtakes another."""
    models = served(tmp_path, "fraud", "returns")
    for asked in itertools.product(("fraud", "returns"), repeat=3):
        stream = b"".join(request(f"/models/{name}/score", ROW) for name in asked)
        connection = Connection(ScoreProtocol, models)  # type: ignore[arg-type]
        await connection.send(stream)
        scores = re.findall(rb'"score":([0-9.]+)', connection.wire.sent)
        assert [float(score) for score in scores] == [HIGH[name] for name in asked]
        assert connection.protocol.cycle is None


@pytest.mark.parametrize("names", [("fraud", "fraud"), ()])
def test_a_model_is_served_once(tmp_path: Path, names: tuple[str, ...]):
    """The same name twice, or none, is refused with the fix."""
    with pytest.raises(ConfigError) as refused:
        Models(settings(tmp_path, *names))
    assert refused.value.fix == "name each model once"


def test_one_server_has_one_token(tmp_path: Path):
    """Models that would be asked with different tokens are not mixed: the server's own pages show all of them."""
    with pytest.raises(ConfigError, match="different tokens"):
        Models([*settings(tmp_path, "fraud"), *settings(tmp_path, "returns", token="secret")])


# --- the whole server ----------------------------------------------------------------------------------------


async def test_the_server_says_which_model_is_not_ready(tmp_path: Path):
    """`/ping` answers while any model serves, `/ready` while all do; they and `/health` say which does not, and why."""
    models = Models(settings(tmp_path, "fraud", "returns"))
    async with client(models) as http:
        for path in ("/ping", "/ready", "/health"):
            told = await http.get(path)
            assert told.status_code == 503
            for name in ("fraud", "returns"):
                assert f"{name} has no version to serve" in told.json()["message"]
        serve(models, "fraud")
        models.apps["returns"].settings.version_cache().write_reason("it has no champion")
        assert (await http.get("/ping")).status_code == 200
        ready = await http.get("/ready")
        assert (ready.status_code, ready.json()["message"]) == (
            503,
            "returns has no version to serve: it has no champion",
        )
        health = (await http.get("/health")).json()
        assert (health["status"], health["problem"]) == ("degraded", "returns: it has no champion")
        assert {name: one["status"] for name, one in health["models"].items()} == {
            "fraud": "ok",
            "returns": "unavailable",
        }
        text = (await http.get("/metrics")).text
        assert 'fds_degraded{model="fraud"} 0.0' in text
        assert 'fds_degraded{model="returns"} 1.0' in text
        assert [(await http.get(f"/models/{name}/ready")).status_code for name in ("fraud", "returns")] == [200, 503]
        serve(models, "returns")
        assert (await http.get("/ready")).status_code == 200
        assert (await http.get("/health")).json()["status"] == "ok"


async def test_the_server_tells_the_numbers_of_all(models: Models):
    """`/metrics` has each model's series under its name, and what belongs to no model without one."""
    async with client(models) as http:
        for name in NAMES:
            await http.post(f"{address(name)}/score", json=ROW)
        await http.get("/nothing")
        text = (await http.get("/metrics")).text
    for name in NAMES:
        assert f'fds_responses_total{{model="{name}",path="/score",status="200"}} 1.0' in text
        assert f'fds_champion_version{{model="{name}"}} 1.0' in text
    assert 'fds_responses_total{model="",path="other",status="404"} 1.0' in text
    assert text.count("# TYPE fds_responses_total") == 1


async def test_the_server_describes_all(tmp_path: Path):
    """The description has each model's addresses, with its own columns; a model without a version is there, too."""
    models = Models(settings(tmp_path, "fraud", "returns", "später"))
    serve(models, "fraud")
    serve(models, "returns", inputs={"reason": "string", "days": "double"})
    async with client(models) as http:
        described = (await http.get("/openapi.json")).json()
        page = (await http.get("/docs")).text
    assert {"/ping", "/ready", "/health", "/metrics"} <= set(described["paths"])
    assert "/score" not in described["paths"]
    schemas = described["components"]["schemas"]
    columns = {}
    for name in ("fraud", "returns", "später"):
        post = described["paths"][f"{address(name)}/score"]["post"]
        assert post["tags"] == [name]
        schema = post["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        columns[name] = list(schemas[schema]["properties"])
    assert columns["returns"] == ["reason", "days", "transaction_id"]
    assert columns["fraud"] == ["amount", "hour", "channel", "transaction_id"]
    assert columns["später"] == ["transaction_id"]
    assert 'url: "openapi.json"' in page


async def test_the_token_is_asked_for_everywhere(tmp_path: Path):
    """What tells of a model, its name included, needs the token; who watches over the process needs none."""
    models = served(tmp_path, "fraud", "returns", token="secret")
    async with client(models) as http:
        for path in ("/metrics", "/openapi.json", "/docs", "/models/nobody/ping", "/models/fraud/metrics", "/score"):
            assert (await http.get(path)).status_code == 401
            assert (await http.get(path, headers={"Authorization": "Bearer secret"})).status_code in (200, 404)
        for path in ("/ping", "/ready", "/health", "/version", "/models/fraud/ping"):
            assert (await http.get(path)).status_code == 200
        assert (await http.post("/models/fraud/score", json=ROW)).status_code == 401
    wrong = request("/models/fraud/score", ROW, Authorization="Bearer guessed")
    assert b"UNAUTHENTICATED" in await answered(models, wrong)


# --- one model's trouble -------------------------------------------------------------------------------------


async def test_a_model_that_raises_is_its_own_trouble(models: Models, monkeypatch: pytest.MonkeyPatch):
    """Where one champion fails its requests are refused, its health degrades, and the others are as they were."""

    def fails(*_: Any) -> float:
        raise DataError("out of order", fix="mend it")

    monkeypatch.setattr(models.apps["fraud"].worker.engine.state.champion, "row", fails)  # type: ignore[union-attr]
    async with client(models) as http:
        assert (await http.post("/models/fraud/score", json=ROW)).status_code == 503
        assert (await http.post("/models/returns/score", json=ROW)).status_code == 200
        health = (await http.get("/health")).json()["models"]
    assert {name: health[name]["status"] for name in ("fraud", "returns")} == {"fraud": "degraded", "returns": "ok"}


async def test_a_table_that_cannot_be_taken_over_is_its_own_trouble(models: Models):
    """A version that does not load leaves its model as it was, and the others switch meanwhile."""
    for name in ("fraud", "returns"):
        cache = models.apps[name].settings.version_cache()
        put(cache, 2, low=0.2)
        cache.write_table(table(champion=2))
    (models.apps["fraud"].settings.version_cache().folder / "version-2-identity2" / "version.json").unlink()
    for app in models.apps.values():
        app.worker.follow()
    async with client(models) as http:
        versions = [(await http.post(f"/models/{name}/score", json=ROW)).json()["version"] for name in NAMES[:2]]
        assert "version 2 is not ready" in (await http.get("/health")).json()["problem"]
    assert versions == [1, 2]


async def test_a_full_spool_is_its_own_trouble(models: Models, monkeypatch: pytest.MonkeyPatch):
    """Where one model's outcomes find no room, those of the others go to their own folders, counts included."""

    def full(*_: Any, **__: Any) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(models.apps["fraud"].worker._spool, "put", full)
    monkeypatch.setattr("fds_mlflow.serving.worker.worker.ROOM", 0)
    async with client(models) as http:
        for name in NAMES:
            assert (await http.post(f"{address(name)}/score", json=ROW)).status_code == 200
        models.stop()
        text = (await http.get("/metrics")).text
    assert 'fds_outcomes_dropped_total{model="fraud"} 1.0' in text
    assert 'fds_outcomes_dropped_total{model="returns"} 0.0' in text
    assert [len(list(app.settings.spool().waiting())) for app in models.apps.values()] == [0, 1, 1]


async def test_a_folder_that_is_gone_is_its_own_trouble(models: Models):
    """Where somebody has removed one model's folder it is told of, and the server's pages tell of the others."""
    shutil.rmtree(models.apps["fraud"].settings.version_cache().folder)
    async with client(models) as http:
        for name in NAMES:
            assert (await http.post(f"{address(name)}/score", json=ROW)).status_code == 200
        for path in ("/ping", "/ready", "/health", "/metrics"):
            assert (await http.get(path)).status_code == 200
        await models.wake()
    assert models.apps["returns"].settings.version_cache().woken


async def test_a_model_that_cannot_end_takes_no_outcome_of_others(models: Models, monkeypatch: pytest.MonkeyPatch):
    """Whatever one model runs into when the server ends, what the others have to hand over is handed over."""
    async with client(models) as http:
        for name in NAMES:
            await http.post(f"{address(name)}/score", json=ROW)
    monkeypatch.setattr(models.apps["fraud"].worker, "stop", lambda: 1 / 0)
    models.stop()
    assert [len(list(app.settings.spool().waiting())) for app in models.apps.values()] == [0, 1, 1]


async def test_a_model_that_takes_long_to_load_holds_no_start_up(models: Models, monkeypatch: pytest.MonkeyPatch):
    """A worker answers for the models that are there although one of them is never loaded."""
    never = asyncio.Event()
    monkeypatch.setattr("fds_mlflow.serving.http.models.START_SECONDS", 0.0)
    monkeypatch.setattr(models.apps["fraud"], "start", never.wait)
    await models.start()
    async with client(models) as http:
        assert (await http.post("/models/returns/score", json=ROW)).status_code == 200
    never.set()
    models.stop()


async def test_a_model_has_places_of_its_own(tmp_path: Path):
    """Requests that wait for one model take no place of another; beyond its own places one is told 503."""
    models = Models([*settings(tmp_path, "slow", connections=2), *settings(tmp_path, "fraud", connections=2)])
    serve(models, "slow")
    serve(models, "fraud")
    held = threading.Event()
    slow = models.apps["slow"]
    slow._threads.submit = _held(slow._threads.submit, held)  # type: ignore[method-assign]
    rows = {"inputs": [ROW] * 17}  # more than are scored from within the loop
    async with client(models) as http:
        waiting = [asyncio.ensure_future(http.post("/models/slow/invocations", json=rows)) for _ in range(2)]
        while slow._waiting < 2:
            await asyncio.sleep(0)
        refused = await http.post("/models/slow/invocations", json=rows)
        assert (refused.status_code, "--connections" in refused.json()["fix"]) == (503, True)
        assert (await http.post("/models/fraud/invocations", json=rows)).status_code == 200
        held.set()
        assert [one.status_code for one in await asyncio.gather(*waiting)] == [200, 200]
        assert (await http.post("/models/slow/invocations", json=rows)).status_code == 200


def _held(submit: Any, until: threading.Event) -> Any:
    return lambda work, *arguments: submit(lambda: until.wait(60) and work(*arguments))


async def test_a_webhook_wakes_all(tmp_path: Path):
    """What the registry says to the server is for each of its models."""
    models = Models(settings(tmp_path, "fraud", "returns", webhook_secret="both know it"))
    await models.wake()
    assert all(app.settings.version_cache().woken for app in models.apps.values())
    async with client(models) as http:
        for path in ("/registry-webhook", "/models/fraud/registry-webhook"):
            assert (await http.post(path, json={})).status_code == 401


def test_models_of_one_server_share_no_folder(tmp_path: Path):
    """Each model's versions, table, outcomes and counts lie where a server of it alone looks for them."""
    models = served(tmp_path, "fraud", "returns")
    folders = {name: app.settings.version_cache().folder for name, app in models.apps.items()}
    assert len(set(folders.values())) == 2
    for name, folder in folders.items():
        assert VersionCache(tmp_path, name, "memory:").folder == folder
        assert models.apps[name].settings.spool().folder == folder / "spool"
