"""Which server is asked without MLflow, with whose credentials, and what it may answer."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from fds_mlflow.errors import ConfigError, RefusedError, UnavailableError
from fds_mlflow.registry.connection import connect
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.registry.server_store import ServerStore
from fds_mlflow.runtime import mlflow_server

pytestmark = pytest.mark.usefixtures("without_spark")

SERVER = "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("tracking", "registry", "variables", "expected"),
    [
        (SERVER, None, {}, SERVER),
        (None, None, {"MLFLOW_TRACKING_URI": SERVER}, SERVER),
        (None, None, {"MLFLOW_TRACKING_URI": "sqlite:///x.db", "MLFLOW_REGISTRY_URI": SERVER}, SERVER),
        ("sqlite:///x.db", SERVER, {}, SERVER),
        (SERVER, "sqlite:///x.db", {}, None),
        (SERVER, None, {"MLFLOW_REGISTRY_URI": "sqlite:///x.db"}, None),
        ("databricks", None, {}, None),
        (None, None, {}, None),
        (SERVER, None, {"MLFLOW_TRACKING_AUTH": "kubernetes"}, None),
        (SERVER, None, {"MLFLOW_TRACKING_AWS_SIGV4": "true"}, None),
        (SERVER, None, {"MLFLOW_WORKSPACE": "fraud"}, None),
        ("http://", None, {}, None),
    ],
)
def test_only_what_needs_nothing_of_mlflow_is_asked_without_it(
    tracking: str | None,
    registry: str | None,
    variables: dict[str, str],
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Addresses are resolved as MLflow does; plugins, signatures, workspaces and databases are left to its client."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert mlflow_server.address(tracking, registry) == expected


def test_a_plugin_that_adds_headers_is_honoured_by_way_of_mlflow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where a package adds headers to MLflow's requests, its client makes them."""
    folder = tmp_path / "headers-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: headers\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[mlflow.request_header_provider]\nunused = headers:Provider\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert mlflow_server.address(SERVER, None) is None


def _token(**claims: object) -> str:
    return ".".join(["e30", base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("="), "sig"])


@pytest.mark.parametrize(
    ("variables", "file", "expected"),
    [
        ({}, "", None),
        ({"MLFLOW_TRACKING_USERNAME": "ann"}, "", None),
        ({"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "x"}, "", "ann"),
        ({}, "[mlflow]\nmlflow_tracking_username = bob\nmlflow_tracking_password = 10%\n", "bob"),
        (
            {"MLFLOW_TRACKING_USERNAME": "ann"},
            "[mlflow]\nmlflow_tracking_username = bob\nmlflow_tracking_password = x\n",
            "ann",
        ),
        ({"MLFLOW_TRACKING_TOKEN": _token(sub="eve@bank")}, "", "eve@bank"),
        ({"MLFLOW_TRACKING_TOKEN": "opaque"}, "", None),
        ({"MLFLOW_TRACKING_TOKEN": "a.b.c"}, "", None),
        ({"MLFLOW_TRACKING_TOKEN": _token()}, "", None),
        ({"MLFLOW_TRACKING_TOKEN": "e30.W10.x"}, "", None),
        ({}, "not an ini file", None),
    ],
)
def test_who_is_signed_in(
    variables: dict[str, str], file: str, expected: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The user of the credentials that are sent: from the environment, MLflow's file, or a token's subject."""
    monkeypatch.setenv("HOME", str(tmp_path))
    if file:
        (tmp_path / ".mlflow").mkdir()
        (tmp_path / ".mlflow" / "credentials").write_text(file)
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert mlflow_server.signed_in_as(SERVER) == expected
    assert mlflow_server.signed_in_as("http://zo%C3%AB:x@127.0.0.1:5000") == "zoë"  # goes before all others


def test_a_malformed_address_is_refused_with_its_fix() -> None:
    """An address without a host ends in an error that says how to give one."""
    with pytest.raises(ConfigError, match="cannot be used as a registry"):
        connect("http://", "http://")


def test_a_spark_session_may_name_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Spark is there, MLflow resolves an address that nobody named; for one that is, Spark is not asked."""
    monkeypatch.setitem(sys.modules, "pyspark", sys)
    assert mlflow_server.address(SERVER, None) is None
    assert mlflow_server.address(None, SERVER) == SERVER


def test_mlflow_is_asked_where_it_must_be(mlflow_uri: str) -> None:
    """A database is opened by MLflow, a server is not."""
    assert isinstance(connect(), MlflowStore)
    assert isinstance(connect(SERVER, SERVER), ServerStore)


NEEDED = """
import sys
from fds_mlflow.model import ManagedModel
model = ManagedModel("fraud", tracking_uri="http://127.0.0.1:1", registry_uri="http://127.0.0.1:1")
model.rollback, model.session
print([name for name in ("mlflow", "pandas", "sklearn", "lightgbm", "sqlalchemy", "matplotlib") if name in sys.modules])
"""


def test_an_emergency_imports_nothing_that_its_move_does_not_need() -> None:
    """What moves an alias on a server waits for no model library, and not for MLflow."""
    done = subprocess.run([sys.executable, "-c", NEEDED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@contextmanager
def _answering(
    status: int, body: str, special: Callable[[str, str | None], tuple[int, str] | None] = lambda _path, _login: None
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers all alike, but for what is special: its address, and the headers that it is sent."""
    sent: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent.append(dict(self.headers))
            code, said = special(self.path, self.headers["Authorization"]) or (status, body)
            self.send_response(code)
            self.send_header("Content-Length", str(len(said.encode())))
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, ""),
        (200, "{}"),
        (200, "[]"),
        (200, "<h1>Welcome</h1>"),
        (200, '{"registered_model": {"name": "returns"}, "model_version": {}}'),
        (200, '{"registered_model": null, "model_version": null}'),
        (404, "<h1>Not found</h1>"),
        (404, "{}"),
        (429, ""),
        (500, '{"detail": "oops"}'),
        (502, "<h1>Bad gateway</h1>"),
        (503, '{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}'),
    ],
)
def test_what_is_no_answer_of_mlflow_is_not_taken_for_one(status: int, body: str) -> None:
    """A proxy's page, an empty answer, or one about another model says neither that an alias nor a model is absent."""
    with _answering(status, body) as (url, _):
        store = ServerStore(url)
        for ask in (lambda: store.read("fraud"), lambda: store.by_alias("fraud", "champion")):
            with pytest.raises(UnavailableError, match="did not answer"):
                ask()


@pytest.mark.parametrize(("status", "says"), [(401, "MLFLOW_TRACKING_USERNAME"), (403, "READ")])
def test_a_login_that_refuses_names_the_fix(status: int, says: str) -> None:
    """A refusal in words that are not MLflow's is known by its status."""
    with _answering(status, "go away") as (url, _), pytest.raises(RefusedError) as error:
        ServerStore(url).read("fraud")
    assert says in error.value.fix


def test_credentials_are_read_anew_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is renewed in the environment is sent from then on."""
    with _answering(200, "{}") as (url, sent):
        store = ServerStore(url)
        for token in ("one", "two"):
            monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
            assert store.models() == {}
    assert [headers["Authorization"] for headers in sent] == ["Bearer one", "Bearer two"]


def _users(path: str, login: str | None) -> tuple[int, str] | None:
    """MLflow's basic-auth: it knows users by what they send."""
    if login is None:
        return 401, "sign in"
    user = base64.b64decode(login.removeprefix("Basic ")).decode().partition(":")[0]
    return (200, json.dumps({"user": {"username": user}})) if path.endswith("users/current") else None


@pytest.mark.parametrize(
    ("special", "expected"),
    [
        (_users, "bob"),
        (lambda _path, login: (401, "sign in") if login is None else None, "bob"),
        (lambda _path, login: (401, "sign in") if login is None else (403, "no"), "bob"),
        (lambda path, _login: (200, "{}") if "search" in path else None, None),
        (lambda _path, login: (403, "no") if login is None else (405, "no"), None),
    ],
    ids=[
        "it says so",
        "it lets nobody in without",
        "it knows no such question",
        "it lets everybody in",
        "it refuses to say",
    ],
)
def test_the_server_says_who_is_signed_in(
    special: Callable[[str, str | None], tuple[int, str] | None],
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A server's word counts; one that cannot say vouches for credentials only if nobody gets in without."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "x")
    with _answering(404, "nothing here", special) as (url, _):
        assert ServerStore(url).signed_in() == expected


def test_whose_credentials_are_sent_is_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The library sends those of `.netrc` past the environment's, so who says to be another one there is found out."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login bob password x\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ceo")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "guessed")
    with _answering(404, "nothing here", _users) as (url, _):
        assert ServerStore(url).user == "bob"
        assert ServerStore(url).signed_in() == "bob"


def test_who_is_there_is_asked_once_and_never_fatal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each process asks once; a server that is away leaves the name unverified, and is asked again."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "x")
    with _answering(404, "nothing here", _users) as (url, sent):
        store = ServerStore(url)
        assert [store.signed_in(), store.signed_in()] == ["bob", "bob"]
        assert len(sent) == 1
        away = ServerStore(url)
    assert away.signed_in() is None
