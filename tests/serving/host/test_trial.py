"""What promotion tries is what a server is asked: whatever is promoted answers requests, whatever its columns are."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature

from fds_mlflow import ManagedModel
from fds_mlflow.core.routing.routing import RoutingTable
from fds_mlflow.errors import RefusedError
from fds_mlflow.registry import tags
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.scoring.served import Served, Table
from fds_mlflow.serving.host.prepare import prepare
from fds_mlflow.serving.http.app import App
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.serving.host.test_mlflow_parity import SIGNATURES, Told
from tests.support.effort import graded
from tests.support.tiny_models import EXAMPLE, register, save
from tests.support.version_caches import NOW

_NESTED = {
    "amount": [1.5, 2.5],
    "at": pd.to_datetime(["2026-03-01T00:00:00", "2026-03-02T12:00:00"]),
    "photo": [b"abc", b"hello"],
    "last": [[1.0, 2.0], [3.0]],
    "device": [{"kind": "phone", "age": 3}, {"kind": "desk", "age": 4}],
}
EXAMPLES: dict[str, Any] = {
    "plain": pd.DataFrame(
        {
            "amount": [1.5],
            "ratio": np.float32([0.5]),
            "count": [3],
            "hour": np.int32([4]),
            "foreign": [True],
            "channel": ["web"],
        }
    ),
    "nested": pd.DataFrame(_NESTED),
    "one column": pd.DataFrame({"amount": [1.5, None]}),
    "whole names": pd.DataFrame([[1.5, 2.5]]),
    "tensor": np.array([[1.0, 2.0, 3.0]]),
    "named tensors": {"x": np.array([[1.0, 2.0]])},
    "no signature": pd.DataFrame({"amount": [1.5], "channel": ["web"]}),
}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ManagedModel:
    """A model on an MLflow of its own."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setattr("mlflow.store._unity_catalog", None, raising=False)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return ManagedModel("fraud", outcomes=f"sqlite:///{tmp_path}/outcomes.db", actor="tester", trust=True)


def _saved(folder: Path, signature: ModelSignature | None, example: Any) -> Path:
    Told.write(folder / "told.py")
    mlflow.pyfunc.save_model(
        folder / "model",
        python_model=str(folder / "told.py"),
        signature=signature if signature is not None else False,
        input_example=example,
        pip_requirements=[],
    )
    return folder / "model"


def _served(folder: Path, version: int) -> App:
    settings = ServerSettings("fraud", "memory:", folder / "cache", record=False)
    cache = settings.version_cache()
    with cache.preparing(version, "one") as place:
        prepare(MlflowStore(), "fraud", version, place, trust=True)
    cache.write_table(Table(RoutingTable(version), (Served(version, "one", 0.5),), NOW))
    app = App(settings)
    app.worker.follow()
    return app


@pytest.mark.campaign
@pytest.mark.slow
def test_an_example_with_a_gap_in_a_text_answers_as_a_request(tmp_path: Path, model: ManagedModel) -> None:
    """MLflow writes the gap as NaN into the example; that is a gap, for the trial and for whoever posts the file."""
    example = pd.DataFrame({"amount": [1.5, 2.5], "channel": ["web", None]})
    source = _saved(tmp_path, infer_signature(example), example)
    version = register("fraud", source)
    model.promote(version, reason="first")
    body = (source / "serving_input_example.json").read_text()

    async def asked() -> httpx.Response:
        app = _served(tmp_path, version)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://fds") as client:
            return await client.post("/invocations", content=body, headers={"content-type": "application/json"})

    assert asyncio.run(asked()).status_code == 200


@pytest.mark.campaign
@pytest.mark.parametrize("name", graded(SIGNATURES, quick=0))
def test_what_is_promoted_answers_requests(tmp_path: Path, model: ManagedModel, name: str) -> None:
    """A version with columns of any type, tensors or no signature is promoted, and the server answers its example."""
    source = _saved(tmp_path, SIGNATURES[name], EXAMPLES[name])
    version = register("fraud", source)
    model.promote(version, reason="first")
    validation = model.rollback.validate(version)
    assert {check.name: check.passed for check in validation.checks}["answers requests"] is True
    body = (source / "serving_input_example.json").read_text()
    expected = mlflow.pyfunc.load_model(str(source)).predict(EXAMPLES[name])

    async def asked() -> httpx.Response:
        app = _served(tmp_path, version)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://fds") as client:
            return await client.post("/invocations", content=body, headers={"content-type": "application/json"})

    answer = asyncio.run(asked())
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == list(expected)


_HIGH = """
import mlflow


class High(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [7.0] * len(model_input)


mlflow.models.set_model(High())
"""


@pytest.mark.campaign
@pytest.mark.slow
def test_what_a_server_cannot_score_is_not_promoted(tmp_path: Path, model: ManagedModel) -> None:
    """A version that fails at its example sent as a request is refused, also where the example is no frame."""
    (tmp_path / "high.py").write_text(_HIGH)
    mlflow.pyfunc.save_model(
        tmp_path / "high",
        python_model=str(tmp_path / "high.py"),
        signature=False,
        input_example=np.array([[1.0, 2.0]]),
        pip_requirements=[],
    )
    version = register("fraud", tmp_path / "high")
    with pytest.raises(RefusedError, match=r"answers requests: version 1 gives .* such as 7\.0: not one float in"):
        model.promote(version, reason="first")
    assert model.overview().champion is None


@pytest.mark.campaign
@pytest.mark.slow
def test_a_version_registered_anew_or_with_another_threshold_is_loaded_anew(
    tmp_path: Path, model: ManagedModel
) -> None:
    """What scores is what has the number now, and the threshold is the one that its tag says now."""
    from mlflow import MlflowClient

    first = save(tmp_path, "half", "rows['amount'].to_numpy(dtype=float) * 0.5")
    version = register("fraud", first)
    frame = EXAMPLE.assign(transaction_id=["a", "b", "c"])
    assert model.scorer(version).score(frame).tolist() == [0.0, 0.125, 0.5]
    MlflowClient().set_model_version_tag("fraud", str(version), tags.THRESHOLD, "0.1")
    assert model.scorer(version).threshold == 0.1
    MlflowClient().delete_registered_model("fraud")
    assert register("fraud", save(tmp_path, "whole", "rows['amount'].to_numpy(dtype=float)")) == version
    assert model.scorer(version).score(frame).tolist() == [0.0, 0.25, 1.0]
