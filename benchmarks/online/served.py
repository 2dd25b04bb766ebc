"""`POST /score` on raw transactions beside computed rows, the same version of 72 features, and MLflow's own server.

One `fds serve` takes both, with its state in LMDB, filled with 90 days that end now; a raw transaction takes place now,
and is recorded. `mlflow models serve` of the same version, with its signature, gets the computed rows.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.serving.fds import Replica, replica
from benchmarks.serving.model import MODEL
from benchmarks.serving.others import mlflow_models_serve
from benchmarks.serving.serving import Contestant, figures, measure

RAW, COMPUTED, SIGNED = "raw", "computed", "mlflow models serve, signature"
HISTORY = 60_000
ROWS = 2_000
TREES = 200


def run(folder: Path, *, rounds: int, seconds: float, connections: int) -> dict[str, Any]:
    """Train, serve, load in turns; requests a second of each and their ratios."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    raw, computed = _prepared(folder, uri)
    ours = replica(uri, folder, state=folder / "state")
    signed = mlflow_models_serve(folder / "signed", _downloaded(folder), SIGNED)
    with ExitStack() as stack:
        for server in (ours.server, signed):
            stack.callback(server.stop)
            server.start()
        running = [
            Contestant(RAW, ours.server, "/score", raw, None),
            Contestant(COMPUTED, ours.server, "/score", [_object(row) for row in computed], None),
            Contestant(SIGNED, signed, "/invocations", [_split(row) for row in computed], None),
        ]
        _agree(ours, running)
        measure(running, folder, rounds=rounds, seconds=seconds, connections=connections)
    found = {one.name: figures(one.loads) for one in running}
    rate = found[RAW]["rps"]
    return {
        "ratio_to_computed": round(rate / found[COMPUTED]["rps"], 4),
        "ratio_to_mlflow_signature": round(rate / found[SIGNED]["rps"], 2),
        "servers": found,
    }


def _prepared(folder: Path, uri: str) -> tuple[list[bytes], list[dict[str, Any]]]:
    """A champion, a state that knows its history; bodies of raw transactions, and rows that are computed."""
    import mlflow

    from fds_mlflow import ManagedModel
    from fds_mlflow.data.transactions import load
    from fds_mlflow.features.state import bulk
    from fds_mlflow.features.state.layout import Layout
    from fds_mlflow.features.state.lmdb_store import LmdbStore
    from fds_mlflow.features.state.state import State
    from fds_mlflow.features.table import compute, default_spec
    from fds_mlflow.simulator import simulate
    from fds_mlflow.training.pipeline import train
    from fds_mlflow.training.split import stratified

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.create_experiment(f"fds/{MODEL}", (folder / "artifacts").as_uri())
    start = datetime.now(UTC) - timedelta(days=90)
    frame = simulate.transactions(HISTORY + ROWS, seed=7, start=start)
    transactions = load(frame, "simulator")
    spec = default_spec(transactions.schema)
    table = compute(transactions, spec)
    train(stratified(table), params={"n_estimators": TREES}, model_name=MODEL)
    ManagedModel(MODEL, tracking_uri=uri, registry_uri=uri).promote(1, reason="benchmark")
    history = transactions.frame.iloc[:HISTORY]
    known = history["label_known_at"].where(history["label_known_at"] <= pd.Timestamp.now("UTC").tz_localize(None))
    with closing(State(LmdbStore(folder / "state"), Layout.of([spec]))) as state:
        bulk.load(state, history.assign(label_known_at=known))
    asked = frame.iloc[HISTORY:].drop(columns=["is_fraud", "fraud_type", "label_known_at"])
    rows = asked.assign(transaction_id="@KEY@", time="@TIME@").to_json(orient="records", lines=True).splitlines()
    computed = table.x.iloc[HISTORY:].to_json(orient="records", lines=True, double_precision=15).splitlines()
    return [row.encode() for row in rows], [json.loads(row) for row in computed]


def _downloaded(folder: Path) -> Path:
    import mlflow

    return Path(mlflow.artifacts.download_artifacts(f"models:/{MODEL}/1", dst_path=str(folder / "downloaded")))


def _object(row: dict[str, Any]) -> bytes:
    return json.dumps({"transaction_id": "@KEY@", **row}).encode()


def _split(row: dict[str, Any]) -> bytes:
    return json.dumps({"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}).encode()


def _agree(ours: Replica, running: list[Contestant]) -> None:
    """See to it that all answer, and that a raw transaction's own features score as it does.

    Raises:
        RuntimeError: They do not.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z").encode()
    for one in running:
        for place in range(20):
            body = one.bodies[place].replace(b"@KEY@", b"CHECK-%d" % place).replace(b"@TIME@", now)
            status, answer = one.server.post(one.path, body)
            if status != 200:
                raise RuntimeError(f"{one.name} answers {status}: {answer[:500]!r}")
    body = running[0].bodies[0].replace(b"@KEY@", b"AGREE").replace(b"@TIME@", now)
    first = json.loads(ours.server.post("/score?features=true", body)[1])
    again = json.loads(ours.server.post("/score", _object(first["features"]).replace(b"@KEY@", b"AGREE2"))[1])
    if first["score"] != again["score"]:
        raise RuntimeError(f"a raw transaction scores {first['score']}, and its own features score {again['score']}")
