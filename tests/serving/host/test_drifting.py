"""Drift of what was served lately: looked at beside the workers, told by all of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fds_mlflow.features import profile
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.table import FeatureTable
from fds_mlflow.outcomes.records import Vector
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.serving.disk.version_cache import model_folder
from fds_mlflow.serving.host import drifting
from fds_mlflow.serving.host.model import HostedModel
from fds_mlflow.serving.host.recorder import LATELY, OutcomeRecorder
from fds_mlflow.serving.http.app import App
from fds_mlflow.serving.inputs import sample
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.serving.host.test_model import Follower
from tests.serving.host.test_recorder import OUTCOME
from tests.support.served import until
from tests.support.version_caches import put, table

ROWS = 500


def recorder(settings: ServerSettings, store: OutcomeStore, shift: float = 0.0, version: int = 1) -> OutcomeRecorder:
    """Has recorded vectors whose amounts are those of the training, shifted."""
    outcomes = [
        msgspec.structs.replace(OUTCOME, request_id=f"{version}-{n}", version=version, vector=vector)
        for n, vector in enumerate(Vector({"amount": n + shift}) for n in range(ROWS))
    ]
    settings.spool().put(outcomes)
    made = OutcomeRecorder("fraud", settings.spool(), lambda: store)
    assert made.drain()
    return made


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    """Champion 1 with a profile of amounts from 0 to 499."""
    made = ServerSettings("fraud", "memory:", tmp_path, sample=sample(100))
    put(made.version_cache(), 1)
    made.version_cache().write_table(table())
    amounts = FeatureTable(
        pd.DataFrame({"amount": np.arange(float(ROWS))}), ["amount"], [], FeatureSpec(numeric=("amount",)), "", "", None
    )
    prepared = made.version_cache().prepared(1, "identity1")
    assert prepared is not None
    folder = model_folder(prepared.folder)
    folder.mkdir(exist_ok=True)
    (folder / profile.FILE).write_bytes(msgspec.json.encode(profile.of(amounts)))
    return made


def test_what_was_recorded_lately_is_held_against_the_training(settings: ServerSettings) -> None:
    """The same rows do not drift, shifted ones by their share; a version that no longer serves is forgotten."""
    with OutcomeStore("sqlite://") as store:
        assert drifting.look(settings.version_cache(), recorder(settings, store)) == {
            1: {"amount": pytest.approx(0, abs=0.01)}
        }
    with OutcomeStore("sqlite://") as store:
        shifted = recorder(settings, store, ROWS / 4)
        assert drifting.look(settings.version_cache(), shifted) == {1: {"amount": pytest.approx(0.25, abs=0.01)}}
        gone = recorder(settings, store, version=7)
        assert drifting.look(settings.version_cache(), gone) == {}
        assert gone.lately == {}


def test_few_vectors_say_nothing_and_many_are_not_kept(settings: ServerSettings) -> None:
    """Below some number chance alone would drift; beyond it only the latest are at hand."""
    with OutcomeStore("sqlite://") as store:
        made = recorder(settings, store)
        kept = made.lately[1]
        assert kept.maxlen == LATELY
        while len(kept) >= drifting.LEAST:
            kept.pop()
        assert drifting.look(settings.version_cache(), made) == {}


def test_a_server_tells_it_at_metrics(settings: ServerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host looks from time to time, and every worker tells what it found, by version and feature."""
    monkeypatch.setattr(drifting, "SECONDS", 0.0)
    with OutcomeStore("sqlite://") as store:
        made = recorder(settings, store, ROWS)
        hosted = HostedModel(settings, Follower(), made)  # type: ignore[arg-type]
        hosted.begin(60.0)
        until(lambda: settings.version_cache().drift != {}, "the drift is told")
        hosted.finish(0.0)
    app = App(settings)
    app.worker.follow()
    told = [
        sample
        for family in text_string_to_metric_families(app.worker.exposition().decode())
        for sample in family.samples
        if sample.name == "fds_feature_skew"
    ]
    assert [(one.labels, one.value) for one in told] == [
        ({"model": "fraud", "version": "1", "feature": "amount"}, pytest.approx(1.0))
    ]
