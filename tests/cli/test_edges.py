"""The edge of the command line: every verb, found by walking the tree, against what can go wrong outside of it.

No error of a library reaches a person as a traceback, standard output under --json is one JSON value whatever happens,
and no password is shown.
"""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from fds_mlflow.cli.main import main
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.runtime import streams
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.simulator.simulate import sample
from tests.cli.test_main import COMMANDS, VERBS
from tests.support import tiny_models
from tests.support.effort import graded

PASSWORD = "hun@ter2"
STREAM = ("canary run",)
"""Verbs that answer with one JSON value per look."""

AT_LENGTH = ("canary run", "train", "retrain", "compare")
"""Verbs that read data or wait before they ask the registry."""

SERVERS = ("serve", "demo")
"""Verbs that outlive a registry that is away, or bring their own: what is wrong with an address is told by `serve`."""


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Time passes at once; after an hour of it, a person presses Ctrl-C. A server has a folder of its own."""
    monkeypatch.setenv("FDS_CACHE", str(tmp_path / "cache"))
    slept = [0.0]
    monotonic = SystemClock.monotonic

    def sleep(_: SystemClock, seconds: float) -> None:
        slept[0] += seconds
        if slept[0] > 3_600:
            slept[0] = 0.0
            raise KeyboardInterrupt

    monkeypatch.setattr(SystemClock, "sleep", sleep)
    monkeypatch.setattr(SystemClock, "monotonic", lambda self: monotonic(self) + slept[0])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def values(tmp_path: Path) -> dict[str, str]:
    """A value for every parameter that some verb requires."""
    (tmp_path / "plan.yaml").write_text("steps: [10, 100]\n")
    (tmp_path / "labels.csv").write_text("transaction_id,status,known_at\nT,genuine,2026-03-08T12:00:00Z\n")
    (tmp_path / "history.jsonl").write_text("{}\n")
    sample().to_csv(tmp_path / "data.csv", index=False)
    files = {"plan_file": "plan.yaml", "file": "labels.csv", "source": "history.jsonl", "data": "data.csv"}
    return {
        **{name: str(tmp_path / file) for name, file in files.items()},
        **{
            "model": "fraud",
            "transaction": "TX1",
            "request": "R1",
            "context": "prod",
            "version": "1",
            "baseline": "1",
            "candidate": "2",
            "keys": "TX1",
            "since": "1",
        },
        **{"reason": "because", "older_than": "90d", "output": str(tmp_path / "out.parquet")},
        **{"spec": "handbook", "role": "customer", "value": "C1", "address": str(tmp_path / "state")},
        **{"by": "key", "values": "C1", "home": f"parquet:{tmp_path / 'kept'}"},
    }


def words_of(verb: str, values: dict[str, str], **more: str) -> list[str]:
    """A call of a verb with all that it requires, and --json where it has it."""
    arguments, options = [], []
    for param in COMMANDS[verb].params:
        name = "plan_file" if (verb, param.name) == ("plan check", "file") else str(param.name)
        value = more.get(str(param.name), values[name] if param.required else None)
        if "--json" in param.opts:
            options.append("--json")
        elif value is not None:
            where = arguments if isinstance(param, click.Argument) else options
            where += [value] if isinstance(param, click.Argument) else [param.opts[0], value]
    if verb == "score":
        options.append("--rollout")
    if verb in ("train", "retrain", "compare"):
        options += ["--data", values["data"], "--schema", "sample", "--split", "stratified"]
    return [*verb.split(), *arguments, *options]


def told(result: Result, words: list[str], verb: str) -> None:
    """Check what a person or a machine gets."""
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exc_info)
    assert "Traceback" not in result.output + result.stderr, words
    assert "ter2" not in result.output + result.stderr, words
    if "--json" in words:
        lines = result.stdout.splitlines()
        assert len(lines) == 1 or verb in STREAM, (words, result.stdout)
        for line in lines:
            json.loads(line)
        if result.exit_code == 1 and "error" in result.stdout:
            said = json.loads(lines[-1])
            said = said["error"] if isinstance(said, dict) and isinstance(said["error"], dict) else said
            assert isinstance(said, list) or said.get("fix", True), words


class _Answer(BaseHTTPRequestHandler):
    """Answers every request alike."""

    status, kind, body = 200, "text/html", b"<html>please log in</html>"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(self.status)
        self.send_header("content-type", self.kind)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer  # noqa: N815 - names of the standard library

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering(status: int, body: bytes, kind: str = "text/html") -> Iterator[str]:
    """A server that answers everything so; its address has a password."""
    handler = type("Answer", (_Answer,), {"status": status, "body": body, "kind": kind})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://ann:{PASSWORD}@127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


HTML = b"<html>please log in</html>"
DENIED = b'{"error_code": "PERMISSION_DENIED", "message": "Permission denied"}'
ANSWERS = {
    "401": (401, b"unauthorized", "text/plain", "MLFLOW_TRACKING_USERNAME"),
    "403 in HTML": (403, HTML, "text/html", "ask who runs the server"),
    "403 of MLflow": (403, DENIED, "application/json", "ask who runs the server"),
    "404": (404, HTML, "text/html", "tracking URI"),
    "429": (429, b"", "text/plain", "try again"),
    "500": (500, HTML, "text/html", "server runs"),
    "503": (503, b"", "text/plain", "server runs"),
    "a page": (200, HTML, "text/html", "tracking URI"),
    "a list": (200, b"[]", "application/json", "tracking URI"),
    "nothing": (200, b"{}", "application/json", "tracking URI"),
}


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("answer", "verbs"),
    graded(
        [
            ("403 in HTML", [verb for verb in VERBS if verb not in AT_LENGTH]),
            ("403 in HTML", AT_LENGTH),
            ("a page", VERBS),
            ("nothing", VERBS),
        ],
        quick=0,
    ),
    ids=["403", "403 at length", "a page", "nothing"],
)
def test_every_verb_takes_what_a_server_answers(
    answer: str, verbs: Iterable[str], values: dict[str, str], mlflow_uri: str
) -> None:
    """Whatever a proxy answers in the registry's name, each verb says so, or is done without it."""
    status, body, kind, _ = ANSWERS[answer]
    with answering(status, body, kind) as address:
        for verb in verbs:
            if verb not in SERVERS:
                words = ["--tracking-uri", address, "--registry-uri", address, *words_of(verb, values)]
                told(CliRunner().invoke(main, words), words, verb)


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "verbs"),
    [
        *graded([(answer, ("show", "stage")) for answer in ANSWERS], quick=4),
        *(pytest.param(answer, ("canary tick", "train"), marks=pytest.mark.slow) for answer in ANSWERS),
    ],
)
def test_every_answer_of_a_server_has_its_fix(
    answer: str, verbs: Iterable[str], values: dict[str, str], mlflow_uri: str
) -> None:
    """Who is not let in is told how to log in; where no MLflow answers, the address is to be checked."""
    status, body, kind, fix = ANSWERS[answer]
    with answering(status, body, kind) as address:
        for verb in verbs:
            words = ["--tracking-uri", address, "--registry-uri", address, *words_of(verb, values)]
            result = CliRunner().invoke(main, words)
            told(result, words, verb)
            assert result.exit_code == 1, (words, result.output)
            assert fix in result.stdout, words


ADDRESSES = {
    f"postgresql://ann:{PASSWORD}@127.0.0.1:1/db": "%40",
    "postgresql://ann:secretter2@127.0.0.1:port/db": "write it like",
    "postgresql://ann:secretter2@127.0.0.1:1/db": "can be reached",
    "postgresql://ann:secretter2@127.0.0.1:1/db?nonsense=1": "write it like",
    "postgresql+nonsense://ann:secretter2@127.0.0.1:1/db": "write it like",
    "mssql+pymssql://ann:secretter2@127.0.0.1:1/db": "pip install pymssql",
    "oracle://ann:secretter2@host/db": "such as sqlite:///",
    "http://ann:secret/ter2@host": "such as sqlite:///",
    "http://[::1": "such as sqlite:///",
    "http://": "such as sqlite:///",
    "sqlite:///{folder}/text.db": "is a database",
    "sqlite:///{folder}": "is a database",
    "sqlite:///{folder}/text.db/x.db": "is a database",
    "sqlite:////proc/x.db": "is a database",
    "sqlite:///x.db?timeout=soon": "write it like",
}


@pytest.mark.slow
@pytest.mark.parametrize("which", ["--tracking-uri", "--registry-uri", "--outcomes"])
def test_every_address_that_cannot_work_has_its_fix(
    which: str, values: dict[str, str], mlflow_uri: str, tmp_path: Path
) -> None:
    """A malformed address, an unknown or missing driver, a folder or text as database: said at once, with the fix."""
    (tmp_path / "text.db").write_text("no database " * 100)
    for address, usual in ADDRESSES.items():
        given = address.format(folder=tmp_path)
        other = which == "--outcomes" and not given.startswith(("postgresql", "sqlite"))
        fix = "sqlite:///" if other else usual
        verb = "outcomes stats" if which == "--outcomes" else "show"
        words = [which, given, *words_of(verb, values)]
        result = CliRunner().invoke(main, words)
        told(result, words, verb)
        assert result.exit_code == 1, words
        said = json.loads(result.stdout)
        assert fix in said["fix"] or (which == "--outcomes" and "reached and written" in said["fix"]), (words, said)


@pytest.mark.tested(1)
@pytest.mark.slow
@pytest.mark.parametrize("which", graded(["--tracking-uri", "--registry-uri", "--outcomes"]))
def test_every_verb_takes_an_address_that_cannot_work(which: str, values: dict[str, str], mlflow_uri: str) -> None:
    """Each verb that needs the address refuses it, and those that do not go on; `serve` does not start with it."""
    registered = MlflowStore()
    assert registered.models() == {}
    for verb in VERBS:
        if verb not in ("demo", "retrain") and (which, verb) != ("--outcomes", "train"):
            words = [which, f"postgresql://ann:{PASSWORD}@127.0.0.1:1/db", *words_of(verb, values)]
            result = CliRunner().invoke(main, words)
            told(result, words, verb)
            assert verb != "serve" or "%40" in result.stderr


@pytest.mark.campaign
@pytest.mark.parametrize("missing", graded(["none.csv", "."]))
@pytest.mark.slow
def test_every_verb_takes_a_missing_file(missing: str, values: dict[str, str], mlflow_uri: str, tmp_path: Path) -> None:
    """Each verb that reads a file says that it is not there, or that it is a folder."""
    place = str(tmp_path / missing)
    there = dict.fromkeys(("plan_file", "file", "source", "data", "schema"), place)
    for verb in VERBS:
        reads = [param.name for param in COMMANDS[verb].params if param.name in there]
        if not reads or (verb == "canary start" and place == str(tmp_path)):
            continue
        words = words_of(verb, {**values, **there}, **dict.fromkeys(reads, place))
        result = CliRunner().invoke(main, words)
        told(result, words, verb)
        assert result.exit_code in (1, 2), (words, result.output)


@pytest.mark.parametrize("verb", VERBS)
def test_wrong_usage_is_one_json_value_too(verb: str, mlflow_uri: str) -> None:
    """An option that does not exist, with --json: one JSON value names the usage, and exit code 2 stays."""
    words = [*verb.split(), "--json", "--no-such-option"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    said = json.loads(result.stdout)
    assert said["error"]
    assert said["fix"]
    assert "Usage:" in result.stderr


@pytest.mark.slow
def test_a_database_that_is_locked_or_read_only(values: dict[str, str], mlflow_uri: str, tmp_path: Path) -> None:
    """A store that somebody holds, and labels that cannot be written, are said to be so."""
    url = f"sqlite:///{tmp_path}/held.db"
    assert CliRunner().invoke(main, ["--outcomes", url, *words_of("outcomes stats", values)]).exit_code == 0
    with sqlite3.connect(tmp_path / "held.db") as holder:
        holder.execute("PRAGMA query_only = 1")
    read_only = f"sqlite:///file:{tmp_path}/held.db?mode=ro&uri=true"
    words = ["--outcomes", read_only, *words_of("label import", values)]
    result = CliRunner().invoke(main, words)
    told(result, words, "label import")
    assert result.exit_code == 1
    assert "readonly" in result.stdout


def test_an_error_that_nobody_foresaw(monkeypatch: pytest.MonkeyPatch, mlflow_uri: str) -> None:
    """Even a defect is one message and one JSON value; FDS_TRACEBACK shows where it comes from."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError(f"no http://ann:{PASSWORD}@host")

    monkeypatch.setattr(MlflowStore, "models", fail)
    words = ["list", "--json"]
    result = CliRunner().invoke(main, words)
    told(result, words, "list")
    assert json.loads(result.stdout)["type"] == "UnexpectedError"
    assert "FDS_TRACEBACK=1" in json.loads(result.stdout)["fix"]
    monkeypatch.setenv("FDS_TRACEBACK", "1")
    assert isinstance(CliRunner().invoke(main, words).exception, ZeroDivisionError)


# --- standard output ----------------------------------------------------------------------------------------


@pytest.mark.campaign
@pytest.mark.slow
def test_what_a_model_prints_is_no_answer(mlflow_uri: str, tmp_path: Path) -> None:
    """A model whose code prints, through Python or past it, leaves standard output to the answer."""
    noisy = "(print('noise'), os.system('echo noise'), rows['amount'].to_numpy(dtype=float))[2]"
    code = tiny_models.save(tmp_path, "noisy", noisy.replace("os.", "__import__('os')."))
    tiny_models.register("fraud", code)
    command = [
        sys.executable,
        "-m",
        "fds_mlflow",
        "--tracking-uri",
        mlflow_uri,
        "promote",
        "fraud",
        "1",
        "--trust",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] is True
    assert done.stderr.count("noise") >= 2


def test_a_password_in_what_mlflow_prints_is_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    """MLflow prints the address of a run with all that is in it: it goes to standard error, without its password."""
    with streams.answers_only():
        print(f"View run at: http://ann:{PASSWORD}@127.0.0.1:5000/#/experiments/1")
        streams.say({"version": 1})
    captured = capsys.readouterr()
    assert captured.err == "View run at: http://ann:***@127.0.0.1:5000/#/experiments/1\n"
    assert captured.out == '{"version": 1}\n'


@pytest.mark.tested(1)
@pytest.mark.parametrize("encoding", graded(["ascii", "latin-1", "utf-8"]))
@pytest.mark.slow
def test_any_encoding_of_standard_output(encoding: str, mlflow_uri: str, tmp_path: Path) -> None:
    """Where standard output is not UTF-8, tables lose no row, and JSON means the same."""
    tiny_models.register("fraud", tiny_models.save(tmp_path, "good", tiny_models.GOOD))
    reason = "für Zoë → 10 %"
    runner = CliRunner(charset=encoding)
    for words in (["promote", "fraud", "1", "--reason", reason, "--json"], ["history", "fraud", "--json"]):
        result = runner.invoke(main, words)
        assert result.exit_code == 0, result.output
        assert reason in json.dumps(json.loads(result.stdout_bytes.decode(encoding)), ensure_ascii=False)
    for words in (["history", "fraud"], ["show", "fraud"], ["list"]):
        result = runner.invoke(main, words)
        assert result.exit_code == 0, result.output
        assert "fraud" in result.stdout_bytes.decode(encoding) or "promote" in result.stdout_bytes.decode(encoding)


def test_json_is_in_ascii_only_where_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that takes every sign gets it as it is; another one gets escapes, which mean the same."""
    for encoding, expected in (("utf-8", '{"a": "é"}'), ("ascii", '{"a": "\\u00e9"}')):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        streams.say({"a": "é"}, stream)
        assert stream.buffer.getvalue().decode(encoding).strip() == expected  # type: ignore[attr-defined]
