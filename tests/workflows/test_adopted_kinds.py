"""Ten models of other people's kinds: adopted, promoted, served, and rolled back from and to."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from fds_mlflow import ManagedModel
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.serving.disk.version_cache import VersionCache
from fds_mlflow.serving.host.prepare import prepare
from fds_mlflow.workflows import adopt
from tests.support import foreign_models, tiny_models
from tests.support.foreign_models import COLUMNS, KINDS, NEEDS, rows
from tests.support.served import Served

pytestmark = pytest.mark.slow
CLIPPED = "np.clip(rows['amount'], 0, 1).to_numpy()"
KIND = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


def made(kind: str) -> tuple[str, Any]:
    """Flavor and model of a kind, or a skip where its library is not installed."""
    for name, module in NEEDS.items():
        if kind.startswith(name):
            pytest.importorskip(module)
    return KINDS[kind]()


def probabilities(flavor: str, model: Any, frame: Any) -> Any:
    """The model's own probabilities of fraud, asked past MLflow; of a pyfunc and of ONNX, what they were made of."""
    if flavor == "pyfunc":
        return 1 / (1 + np.exp(1 - frame["amount"].to_numpy()))
    if flavor == "onnx":
        return foreign_models.pipeline()[1].predict_proba(frame)[:, 1]
    if type(model).__name__ == "Booster":
        classifier = foreign_models.lightgbm_classifier if flavor == "lightgbm" else foreign_models.xgboost_classifier
        return classifier()[1].predict_proba(frame)[:, 1]
    return model.predict_proba(frame)[
        :, [spelled in ("1", "fraud") for spelled in map(str, model.classes_)].index(True)
    ]


@pytest.mark.tested(4)
@KIND
@pytest.mark.parametrize("bare", [False, True], ids=["described", "bare"])
def test_a_model_of_other_people_is_adopted_served_and_rolled_back(
    kind: str, bare: bool, mlflow_uri: str, tmp_path: Path
) -> None:
    """A model as its library logs it scores its own probabilities by every road, and is rolled back from and to."""
    flavor, model = made(kind)
    described = {"bare": bare}
    if flavor == "onnx" and not bare:  # as ONNX is logged: a signature of tensors
        frame = rows()[COLUMNS].to_numpy(dtype=np.float32)
        described = {"bare": True, "signature": mlflow.models.infer_signature(frame), "input_example": frame[:5]}
    path = foreign_models.save(tmp_path / "foreign", flavor, model, **described)
    managed = ManagedModel("fraud", actor="ann", outcomes="sqlite://", trust=True)
    tiny_models.register("fraud", tiny_models.save(tmp_path, "tiny", CLIPPED, rows()[COLUMNS].head()))
    managed.promote(1)
    data = rows(seed=1)
    adopted = adopt(managed, tiny_models.register("fraud", path, threshold=None), data=data)
    assert adopted.wrapped is (bare or flavor == "onnx")
    managed.promote(adopted.version, data=data, force=True, reason="try it")
    frame = rows(20, seed=2)[COLUMNS]
    expected = pytest.approx(probabilities(flavor, model, frame), abs=1e-5)
    router = managed.router(record=False)
    assert router.predict(frame.assign(transaction_id=[f"T{i}" for i in range(20)]))["score"].to_numpy() == expected
    served = Loaded.load(_kept(managed, adopted.version, tmp_path), adopted.threshold, 60)
    assert served.rows(frame.to_numpy().tolist()) == expected
    assert managed.rollback.emergency(reason="try it").event.to_version == 1
    assert managed.rollback.to(adopted.version, reason="and back").changed


def _kept(managed: ManagedModel, version: int, folder: Path) -> Any:
    cache = VersionCache(folder / "cache", managed.name, "here")
    identity = managed.session.version(version).identity
    with cache.preparing(version, identity) as place:
        prepare(managed.session.store, managed.name, version, place)
    return cache.prepared(version, identity)


@pytest.mark.campaign
def test_a_server_serves_adopted_versions_and_follows_a_rollback(mlflow_uri: str, tmp_path: Path) -> None:
    """`fds serve` answers an adopted classifier's probabilities, a wrapped one's, and follows the way back."""
    flavor, model = KINDS["scikit-learn pipeline"]()
    managed = ManagedModel("fraud", actor="ann", outcomes="sqlite://", trust=True)
    for name, bare in (("described", False), ("bare", True)):
        path = foreign_models.save(tmp_path / name, flavor, model, bare=bare)
        adopted = adopt(managed, str(path), data=rows(seed=1))
        managed.promote(adopted.version)
    row = rows(1, seed=2)[COLUMNS]
    expected = pytest.approx(model.predict_proba(row)[0, 1], abs=1e-9)
    server = Served(tmp_path / "served", mlflow_uri, tmp_path / "cache").ready()
    try:
        answer = server.score(transaction_id="T1", **row.iloc[0].to_dict()).json()
        assert (answer["score"], answer["version"]) == (expected, 2)
        managed.rollback.emergency(reason="try it")
        from tests.support.served import until

        until(lambda: server.score(transaction_id="T1", **row.iloc[0].to_dict()).json()["version"] == 1, "the way back")
        assert server.score(transaction_id="T1", **row.iloc[0].to_dict()).json()["score"] == expected
    finally:
        server.kill()
