"""What a version is sent is spelled as what it was trained on, whatever road it comes by."""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest

from fds_mlflow.core.routing.routing import RoutingTable
from fds_mlflow.data.codes import FORM
from fds_mlflow.data.transactions import load
from fds_mlflow.features.defaults import default_spec
from fds_mlflow.features.table import compute
from fds_mlflow.model import ManagedModel
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.scoring.earlier import score_table
from fds_mlflow.scoring.scorer import Scorer
from fds_mlflow.scoring.served import Served, Table
from fds_mlflow.serving.host.prepare import prepare
from fds_mlflow.serving.http.app import App
from fds_mlflow.serving.worker.settings import ServerSettings
from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import Split, stratified

pytestmark = pytest.mark.slow

PARAMS = {"n_estimators": 20, "early_stopping_rounds": 20}
ROLES: dict[str, Any] = {
    "transaction_id": None,
    "time": "t",
    "amount": "eur",
    "label": "y",
    "categorical": ["mcc", "abroad"],
}


@pytest.fixture(scope="module")
def shop() -> pd.DataFrame:
    """Transactions whose fraud hangs on a code with gaps and on a boolean."""
    rng = np.random.default_rng(1)
    mcc = rng.choice([101.0, 7.0, 30.0, np.nan], 3_000)
    abroad = rng.random(3_000) < 0.3
    fraud = rng.random(3_000) < np.where((mcc == 101) & abroad, 0.7, 0.02)
    time = pd.date_range("2026-01-01", periods=3_000, freq="min")
    return pd.DataFrame({"t": time, "eur": rng.random(3_000), "mcc": mcc, "abroad": abroad, "y": fraud.astype(int)})


def cut(data: Any) -> Split:
    """The three parts of a source."""
    found = load(data, **ROLES)
    return stratified(compute(found, default_spec(found.schema)))


@pytest.fixture
def model(mlflow_uri: str, shop: pd.DataFrame) -> ManagedModel:
    """A model with a version trained on the frame, and one as earlier releases logged it, with no word on its codes."""
    trained = train(cut(shop), params=PARAMS, model_name="shop")
    mlflow.MlflowClient().create_model_version(
        "shop", source=Path(earlier(trained.model_uri).folder).as_uri(), tags={"fds.threshold": "0.5"}
    )
    return ManagedModel("shop", outcomes="sqlite://")


def earlier(uri: str) -> Scorer:
    """A version as earlier releases logged it, with no word on its codes."""
    folder = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=tempfile.mkdtemp(dir=Path.cwd()))
    described = Path(folder) / "MLmodel"
    described.write_text(described.read_text().replace("fds.codes: canonical", "fds.other: canonical"))
    return Scorer.of(2, 0.5, mlflow.pyfunc.load_model(folder), folder)


def test_two_versions_on_another_road_are_as_good(model: ManagedModel, shop: pd.DataFrame, tmp_path: Path) -> None:
    """A version trained on a frame is as good on the same rows from CSV or Parquet, and records its spelling."""
    shop.to_csv(tmp_path / "x.csv", index=False)
    shop.to_parquet(tmp_path / "x.parquet")
    scorer = model.scorer(1)
    scores = [scorer.score(cut(road).test.x) for road in (shop, tmp_path / "x.csv", tmp_path / "x.parquet")]
    assert np.array_equal(scores[0], scores[1])
    assert np.array_equal(scores[0], scores[2])
    assert mlflow.MlflowClient().get_model_version("shop", "1").tags["fds.codes"] == FORM


BARE = {"amount": 0.5, "weekend": 0.0, "night": 0.0}
FORMS: list[tuple[Any, Any]] = [(101, True), (101.0, "True"), ("101", "true"), ("101.0", "TRUE")]


@pytest.mark.campaign
def test_every_spelling_gets_the_same_score(model: ManagedModel) -> None:
    """A code as number, float or text, and a boolean as itself or as a word, are scored alike, alone and in frames."""
    for scorer in (model.scorer(1), accelerated(model.scorer(1))):
        rows = [{**BARE, "mcc": mcc, "abroad": abroad} for mcc, abroad in FORMS]
        expected = scorer.row(rows[2])
        assert expected > 0.3
        assert [scorer.row(row) for row in rows] == pytest.approx([expected] * 4)
        assert scorer.score(pd.DataFrame(rows)) == pytest.approx([expected] * 4)
        assert scorer.score(pd.DataFrame(rows[:1])) == pytest.approx([expected])


def accelerated(scorer: Scorer) -> Scorer:
    """The same, compiled."""
    from fds_mlflow.scoring.scorer import accelerated

    made = accelerated(scorer)
    assert made.compiled is not None
    return made


@pytest.mark.campaign
def test_a_version_of_an_earlier_release_is_given_what_it_is_sent(model: ManagedModel) -> None:
    """A version without a record scores as it did: what it was never trained on stays unknown to it."""
    scorer = accelerated(model.scorer(2))
    known, unknown = (scorer.row({**BARE, "mcc": mcc, "abroad": "true"}) for mcc in ("101", "101.0"))
    assert known != unknown
    assert unknown == scorer.row({**BARE, "mcc": "never seen", "abroad": "true"})


@pytest.mark.campaign
def test_a_version_of_an_earlier_release_is_compared_fairly(mlflow_uri: str, shop: pd.DataFrame) -> None:
    """A version trained on codes as a text file had them loses no comparison by the way its codes were spelled."""
    parts = cut(shop)
    as_text = {"mcc": {"101": "101.0", "7": "7.0", "30": "30.0"}, "abroad": {"true": "True", "false": "False"}}
    before = {name: replace(part, frame=part.frame.replace(as_text)) for name, part in parts.parts.items()}
    trained = train(replace(parts, **before), params=PARAMS, model_name="shop")
    old = earlier(trained.model_uri)
    scores = score_table(old, parts.test.x)
    assert np.array_equal(scores, old.score(before["test"].x))
    assert np.array_equal(scores, score_table(old, before["test"].x))
    assert not np.array_equal(scores, old.score(parts.test.x))


def test_requests_of_every_format_get_the_same_score(model: ManagedModel, tmp_path: Path) -> None:
    """JSON with numbers or text, CSV and Parquet: a served version takes them all for the codes they stand for."""
    settings = ServerSettings("shop", "memory:", tmp_path / "cache")
    cache = settings.version_cache()
    with cache.preparing(1, "one") as folder:
        prepare(MlflowStore(), "shop", 1, folder)
    app = App(settings)
    read_at = model.session.now()
    cache.write_table(Table(RoutingTable(1, None), (Served(1, "one", 0.5),), read_at))
    app.worker.follow()
    expected = model.scorer(1).row({**BARE, "mcc": "101", "abroad": "true"})

    async def ask() -> list[float]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://fds") as client:
            found = []
            for mcc, abroad in FORMS:
                row = {"transaction_id": "T", **BARE, "mcc": mcc, "abroad": abroad}
                one = await client.post("/score", content=json.dumps(row), headers={"content-type": "application/json"})
                found.append(one.json()["score"])
                frame = pd.DataFrame([row])
                bodies = {
                    "application/json": json.dumps({"dataframe_split": json.loads(frame.to_json(orient="split"))}),
                    "text/csv": frame.to_csv(index=False),
                    "application/vnd.apache.parquet": _parquet(frame),
                }
                for kind, body in bodies.items():
                    answer = await client.post("/invocations", content=body, headers={"content-type": kind})
                    found.append(answer.json()["predictions"][0])
            return found

    answers = asyncio.run(ask())
    assert [one if isinstance(one, float) else one["score"] for one in answers] == pytest.approx([expected] * 16)


def _parquet(frame: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()
