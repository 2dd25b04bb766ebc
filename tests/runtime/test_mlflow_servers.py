"""The whole story on each kind of MLflow server: registered, promoted, tried as a canary, rolled back, and served."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.errors import FdsError
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.runtime.logged_models import registrable
from tests.support.mlflow_places import PLACES, TOKEN, Place
from tests.support.served import Served, until
from tests.support.tiny_models import _CODE, BETTER, EXAMPLE, GOOD

MODEL = "fraud & co"
ROW = {"amount": 0.25, "hour": 3.0}


@pytest.fixture(params=PLACES)
def place(
    request: pytest.FixtureRequest, migrated_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A server of each kind, or a skip with the reason; clients have what they need, and no more."""
    start, missing = PLACES[request.param]
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copyfile(migrated_database, folder / "mlflow.db")
    shutil.copyfile(migrated_database, folder / "registry.db")
    monkeypatch.chdir(tmp_path)
    with start(folder, f"sqlite:///{folder / 'mlflow.db'}") as found:
        for name, value in found.settings.items():
            monkeypatch.setenv(name, value)
        mlflow.set_tracking_uri(found.tracking)
        mlflow.set_registry_uri(found.registry)
        yield found


def log_version(folder: Path, name: str, expression: str) -> int:
    """Log and register a model, as people do."""
    code = folder / f"{name}.py"
    code.write_text(_CODE.format(expression=expression), encoding="utf-8")
    with mlflow.start_run() as run:
        logged = mlflow.pyfunc.log_model(name=name, python_model=str(code), input_example=EXAMPLE, pip_requirements=[])
    client = mlflow.MlflowClient()
    with contextlib.suppress(MlflowException):
        client.create_registered_model(MODEL)
    source, model_id = registrable(logged.model_uri, logged.model_id)
    version = client.create_model_version(
        MODEL, source, run.info.run_id, model_id=model_id, tags={"fds.threshold": "0.5"}
    )
    return int(version.version)


def fds(place: Place, *words: str, settings: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command line, from a cold shell that knows the servers by their usual variables."""
    known = {"MLFLOW_TRACKING_URI": place.tracking, "MLFLOW_REGISTRY_URI": place.registry}
    environment = {name: value for name, value in os.environ.items() if name not in place.settings} | known
    command = [sys.executable, "-m", "fds_mlflow", *words]
    given = {**environment, **(place.settings if settings is None else settings)}
    return subprocess.run(command, env=given, capture_output=True, text=True, check=False)


@pytest.mark.campaign
def test_the_whole_story_works_on_each_kind_of_server(place: Place, tmp_path: Path) -> None:
    """Wherever artifacts lie and whatever stands before the server, each step is done, told, and served at once."""
    experiment = mlflow.create_experiment("story")
    mlflow.set_experiment(experiment_id=experiment)
    assert [log_version(tmp_path, "good", GOOD), log_version(tmp_path, "better", BETTER)] == [1, 2]
    assert place.kept() > 0
    store = f"sqlite:///{tmp_path / 'outcomes.db'}"
    model = ManagedModel(
        MODEL, tracking_uri=place.tracking, registry_uri=place.registry, outcomes=store, actor="tester", trust=True
    )
    server = Served(
        tmp_path / "served",
        place.registry,
        tmp_path / "cache",
        model=MODEL,
        outcomes=store,
        tracking=place.tracking,
        settings=place.settings,
    )
    try:
        model.promote(1, reason="first")
        server.ready()
        assert server.score(**ROW).json()["version"] == 1
        model.canary.start(2, plan=Plan([50, 100]))
        until(lambda: server.health()["weight_percent"] == 50 and server.health()["canary_loaded"], "the canary")
        model.canary.advance()
        until(lambda: server.health()["weight_percent"] == 100, "all traffic")
        assert server.score(**ROW).json()["version"] == 2
        model.canary.complete(reason="good")
        until(lambda: server.health()["champion"] == 2, "the new champion")
        emergency = fds(place, "rollback", "emergency", MODEL, "--reason", "it flags everybody", "--json")
        assert emergency.returncode == 0, emergency.stderr
        until(lambda: server.health()["champion"] == 1, "the former champion")
        assert server.score(**ROW).json()["version"] == 1
        assert server.health()["status"] == "ok", server.health()
        told = fds(place, "history", MODEL, "--json")
        assert told.returncode == 0, told.stderr
        kinds = {event["kind"] for event in json.loads(told.stdout)["events"]}
        assert kinds == {"promote", "start", "advance", "complete", "emergency"}
        if place.registry != place.tracking:
            _train_and_promote(place)
        if place.refused is not None:
            refused = fds(place, "history", MODEL, settings={})
            assert (refused.returncode, place.refused in refused.stderr) == (1, True), refused.stderr
            assert "MLFLOW_TRACKING_TOKEN" in refused.stderr
        assert server.stop() == 0
    finally:
        server.kill()


def _train_and_promote(place: Place) -> None:
    """What is trained is found by the registry, and its artifacts by whoever loads it."""
    words = ("--data", "simulator:3000", "--split", "stratified", "--param", "n_estimators=5", "--json")
    trained = fds(place, "train", "fresh", *words)
    assert trained.returncode == 0, trained.stderr
    promoted = fds(place, "promote", "fresh", "1", "--reason", "trained here")
    assert promoted.returncode == 0, promoted.stderr


class Recording(BaseHTTPRequestHandler):
    """Writes down what it is asked, and knows one logged model and nothing else."""

    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        """Any request."""
        self.asked.append((self.path, self.headers.get("Authorization")))
        known = "/logged-models/" in self.path
        absent = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "nothing"}
        info = {"model_id": "m-1", "experiment_id": "1", "artifact_uri": "s3://bucket/m-1", "name": "good"}
        times = {"creation_timestamp_ms": "1", "last_updated_timestamp_ms": "1"}
        content = json.dumps({"model": {"info": info | times}} if known else absent).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815 - a name that http.server looks for

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def recording() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """The address of a server, and what it is asked: path and login."""
    handler = type("Handler", (Recording,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("prefix", ["", "/mlflow", "/a/b"])
def test_each_request_goes_behind_the_prefix_with_the_token(
    prefix: str, recording: tuple[str, list[tuple[str, str | None]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands behind the server's address is kept, and the token of the environment is shown each time."""
    address, asked = recording
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
    store = MlflowStore(registry_uri=address + prefix, tracking_uri=address + prefix)
    for ask in (lambda: store.read(MODEL), lambda: store.version(MODEL, 1), lambda: store.by_alias(MODEL, "x")):
        with pytest.raises(FdsError):
            ask()
    assert len(asked) >= 3
    for path, authorization in asked:
        assert path.startswith(f"{prefix}/api/2.0/mlflow/")
        assert authorization == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("registry", "source"),
    [
        ("the same", ("models:/m-1", "m-1")),
        ("http://127.0.0.1:9", ("s3://bucket/m-1", None)),
        ("sqlite:///registry.db", ("models:/m-1", "m-1")),
    ],
)
def test_a_registry_apart_is_told_where_the_artifacts_lie(
    registry: str, source: tuple[str, str | None], recording: tuple[str, list[tuple[str, str | None]]]
) -> None:
    """A server that is the registry alone knows no logged model; where tracking knows them they are named."""
    mlflow.set_tracking_uri(recording[0])
    mlflow.set_registry_uri(recording[0] if registry == "the same" else registry)
    assert registrable("models:/m-1", "m-1") == source
