"""What a version was given: one digest by whoever scored it, and a sample that all replicas draw alike."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from fds_mlflow.core.routing.routing import bucket
from fds_mlflow.errors import ConfigError
from fds_mlflow.outcomes.records import OutcomeRecord, Vector
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.scoring.requests.names import RequestNames
from fds_mlflow.scoring.requests.rows import FeaturedRow, Lack
from fds_mlflow.scoring.scorer import Scorer, accelerated, opened
from fds_mlflow.serving.host.recorder import OutcomeRecorder
from fds_mlflow.serving.inputs import Origin, digest, sample, vector
from fds_mlflow.serving.worker.engine import Engine
from fds_mlflow.serving.worker.explaining import Wanted, explaining
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.serving.test_router import Setting
from tests.support import tiny_models
from tests.support.effort import at_most
from tests.support.version_caches import INPUTS, put, table

VALUES = st.lists(st.none() | st.floats(allow_nan=False) | st.integers() | st.booleans() | st.text(), max_size=6)
ROW = {"amount": 250.0, "hour": 3, "channel": "web"}
NAMES = RequestNames("R1", "K1", "TX1")


def engine(folder: Path, **more: Any) -> Engine:
    """An engine whose champion takes amount, hour and channel."""
    settings = ServerSettings("fraud", "memory:", folder)
    put(settings.version_cache(), 1)
    settings.version_cache().write_table(table())
    made = Engine(settings.version_cache(), **more)
    assert made.follow()
    return made


@at_most(200)
@given(values=VALUES, other=VALUES)
@example(values=[-(2**63) - 1], other=[])
def test_values_have_one_digest_and_others_another(values: list[Any], other: list[Any]) -> None:
    """The digest depends on every value, on its type, and on nothing else."""
    assert digest(values) == digest(tuple(values))
    assert (digest(values) == digest(other)) is (repr(values) == repr(other))
    assert digest(values) != digest(values, {"amount": 1})


def test_anybody_can_compute_the_digest() -> None:
    """It is XXH3-64 of MessagePack of the values in the signature's order, and of the raw transaction."""
    assert digest([1.5, None, "web"]) == xxhash.xxh3_64_hexdigest(b"\x92\x93\xcb?\xf8" + bytes(6) + b"\xc0\xa3web\xc0")
    packed = msgspec.msgpack.encode([[250.0], {"id": "TX1"}])
    assert digest([250.0], {"id": "TX1"}) == xxhash.xxh3_64_hexdigest(packed)


def test_a_server_and_a_router_say_the_same_of_the_same_values(tmp_path: Path) -> None:
    """A row has one digest, whether a server, a router's frame or a router's single call scored it."""
    served = engine(tmp_path)
    assert served.state is not None
    row = [ROW.get(name) if kind != "double" else float(ROW[name]) for name, kind in served.state.kinds.items()]
    served.answer(served.state, row, NAMES)
    (outcome,) = served.fetched()

    class Typed(Setting):
        def load(self, version: int) -> Scorer:
            return Scorer(version, 0.05, dict(INPUTS), None, lambda rows: rows["amount"].fillna(0.0) / 1_000)

    setting = Typed()
    setting.rollout(0)
    frame = pd.DataFrame([{**ROW, "transaction_id": "TX1"}] * 3)
    setting.router().predict(frame)
    setting.router().score({**ROW, "transaction_id": "TX1"})
    assert {record.inputs_digest for record in setting.outcomes} == {outcome.inputs_digest}
    assert outcome.inputs_digest == digest(row)
    served.answer(served.state, [None, 3.0, "web"], NAMES)
    del setting.outcomes[:]
    gap = {**ROW, "amount": math.nan, "transaction_id": "TX1"}
    setting.router().predict(pd.DataFrame([gap, {**gap, "amount": 1}]))
    setting.router().score(gap)
    setting.router().score({**gap, "amount": None})
    of_gaps = [setting.outcomes[place].inputs_digest for place in (0, 2, 3)]
    assert of_gaps == [served.fetched()[0].inputs_digest] * 3


def test_a_sample_is_the_same_for_all_replicas() -> None:
    """Whoever draws it takes the same transactions, about as many as it says, and more where it says more."""
    ids = [f"TX{n}" for n in range(20_000)]
    one, other, more = sample(5), sample(5.0), sample(20)
    assert one is not None
    assert other is not None
    assert more is not None
    taken = {name for name in ids if one.takes(name)}
    assert taken == {name for name in ids if other.takes(name)}
    assert taken == {name for name in ids if bucket("vector:", name) < 500}  # in any process
    assert 0.04 < len(taken) / len(ids) < 0.06
    assert taken < {name for name in ids if more.takes(name)}
    assert sample(0) is None
    for percent in (-1, 100.5, math.nan):
        with pytest.raises(ConfigError):
            sample(percent)


def test_a_vector_reaches_the_store_with_its_outcome(tmp_path: Path) -> None:
    """What a worker scored is in the store: features as the version took them, the raw transaction, and its digest."""
    served = engine(tmp_path, sample=sample(100))
    state = served.state
    assert state is not None
    served.answer(state, [250.0, 3.0, "web"], NAMES)
    spool = ServerSettings("fraud", "memory:", tmp_path).spool()
    spool.put(served.fetched())
    with OutcomeStore("sqlite://") as store:
        assert OutcomeRecorder("fraud", spool, lambda: store).drain()
        (record,) = store.recent("fraud")
        (kept,) = store.vectors("fraud")
    assert record.inputs_digest == digest([250.0, 3.0, "web"])
    assert (kept.request_id, kept.transaction_id, kept.version, kept.time) == ("R1", "TX1", 1, record.time)
    assert kept.vector == Vector({"amount": 250.0, "hour": 3.0, "channel": "web"})


@at_most(100)
@example(values=[2**64], raw={})
@example(values=[], raw={"id": -(2**63) - 1})
@given(
    values=st.lists(st.none() | st.floats() | st.integers() | st.text() | st.just([1]) | st.just(b"x"), max_size=3),
    raw=st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.just({}) | st.just("x" * 200_000)),
)
def test_what_is_kept_of_a_transaction_never_costs_its_outcome(values: list[Any], raw: dict[str, Any]) -> None:
    """Whatever a request holds, its vector is one that spool and store take, or there is none."""
    names = [f"f{place}" for place in range(len(values))]
    kept = vector(names, values, raw, Origin(tuple(raw), "spec"))
    if kept is not None:
        assert msgspec.msgpack.Decoder(Vector).decode(msgspec.msgpack.encode(kept)) == kept
        with OutcomeStore("sqlite://") as store:
            record = OutcomeRecord(
                **{"model": "m", "key": "k", "assigned": "champion", "version": 1, "score": 0.5, "flagged": False},
                **{"latency_ms": 1.0, "time": pd.Timestamp("2026-03-01", tz="UTC").to_pydatetime(), "vector": kept},
            )
            assert store.record([record]) == 1


def test_features_that_were_computed_here_are_kept_with_what_they_come_from(tmp_path: Path) -> None:
    """A degraded row says so, and its digest covers the raw transaction."""
    served = engine(tmp_path)
    assert served.state is not None
    row = FeaturedRow({"amount": 250}, Lack("cold"))
    row.extend([250.0, 3.0, "web"])
    served.answer(served.state, row, NAMES)
    (outcome,) = served.fetched()
    assert outcome.degraded
    assert outcome.inputs_digest == digest([250.0, 3.0, "web"], {"amount": 250})


def test_the_reasons_that_were_told_are_kept(tmp_path: Path) -> None:
    """What the answer says is in the outcome, of a single request and of each row; nobody who did not ask pays."""
    served = engine(tmp_path)
    state = served.state
    assert state is not None
    rows = [[250.0, 3.0, "web"], [1.0, 3.0, "shop"]]
    names = [NAMES, RequestNames("R2", "K2", "TX2")]
    wanted = Wanted(reasons="all")
    alone = [
        served.answer(state, row, name, explain=explaining(state, [row], wanted))
        for row, name in zip(rows, names, strict=True)
    ]
    first = served.fetched()
    served.timed(state, rows, names, explaining(state, rows, wanted))
    second = served.fetched()
    for answer, one, other in zip(alone, first, second, strict=True):
        assert msgspec.json.decode(one.reasons or "") == msgspec.to_builtins(answer.reasons)
        assert one.reasons == other.reasons
    served.answer(state, rows[0], NAMES)
    assert served.fetched()[0].reasons is None


def test_a_router_keeps_reasons_and_vectors_too(tmp_path: Path) -> None:
    """In process it is as over HTTP: reasons where they were asked for, and the features of a sample."""
    folder = tiny_models.booster(tmp_path / "model")

    class Explaining(Setting):
        def load(self, version: int) -> Scorer:
            return accelerated(Scorer.of(version, 0.5, opened(str(folder), None), str(folder)))

    setting = Explaining()
    setting.rollout(0)
    frame = pd.DataFrame({"transaction_id": ["A", "B"], "amount": np.array([0.1, 0.9]), "hour": 12.0})
    router = setting.router(vector_sample=100)
    router.predict(frame, reasons=2)
    router.score(frame.iloc[0].to_dict(), reasons=2)
    router.predict(frame)
    one, _, again, *plain = setting.outcomes
    assert one.reasons == again.reasons is not None
    assert one.vector == again.vector == Vector({"amount": 0.1, "hour": 12.0})
    assert [record.reasons for record in plain] == [None, None]
