"""Secrets are planted wherever one can stand; then all that was written, printed, logged and listed is searched."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, make_url

from fds_mlflow.cli.main import main
from fds_mlflow.simulator import simulate
from tests.support.receiver import http_receiver
from tests.support.servers import Server

SECRETS = {
    name: f"Pl4nted{name}{number}xyz"
    for number, name in enumerate(
        ("Tracking", "Data", "Options", "Ssl", "Outcomes", "Serve", "Wake", "Path", "Query", "Reason", "Header")
    )
}
SIGNING = "whsec_" + base64.b64encode(b"Pl4ntedSigning77xyzPl4nted").decode()
PLANTED = (*SECRETS.values(), SIGNING, SIGNING.removeprefix("whsec_"))


@dataclass
class Run:
    """Commands that are run with planted secrets, and all that could be read meanwhile.

    Attributes:
        folder: Where they run.
        environment: What they are given.
        said: What each printed.
        listed: Command lines of processes that ours have started.
    """

    folder: Path
    environment: Mapping[str, str]
    said: list[str] = field(default_factory=list)
    listed: set[bytes] = field(default_factory=set)

    def here(self, *words: str, code: int = 0, **more: str) -> str:
        """One call of the command line in this process, which spares its start; its standard output."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name, value in {**self.environment, **more}.items():
                patch.setenv(name, value)
            done = CliRunner().invoke(main, words)
        assert done.exit_code == code, hidden(f"{words}: {done.output} {done.exception!r}")
        self.said.append(done.output)
        return done.stdout

    def fds(self, *words: str, code: int = 0, **more: str) -> str:
        """One call of the command line; its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "fds_mlflow", *words],
            cwd=self.folder,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        shown = f"$ fds {' '.join(words)}\n{done.stdout}{done.stderr}"
        assert done.returncode == code, hidden(shown)
        self.said.append(f"{done.stdout}\n{done.stderr}")
        return done.stdout

    @contextmanager
    def listing(self) -> Iterator[None]:
        """Look at the list of processes all the while."""
        over = threading.Event()
        watch = threading.Thread(target=self._list, args=(over,))
        watch.start()
        try:
            yield
        finally:
            over.set()
            watch.join()

    def _list(self, over: threading.Event) -> None:
        while not over.wait(0.02):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    self.listed.add((process / "cmdline").read_bytes())

    @contextmanager
    def serving(self) -> Iterator[str]:
        """A server; its address."""
        words = [sys.executable, "-m", "fds_mlflow", "serve", "planted"]
        words += ["--port", "0", "--cache", "cache", "--poll", "0.2"]
        log = (self.folder / "serve.log").open("w")
        process = subprocess.Popen(
            words, cwd=self.folder, env=dict(self.environment), stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split(" on ")[1].strip()
        finally:
            process.terminate()
            process.wait(60)
            log.close()


def hidden(text: str) -> str:
    """A failed command's output, for people."""
    return text[-3_000:]


def holding(text: bytes, what: str) -> list[str]:
    """Which secrets a text holds."""
    forms = {each: (each, quote(each, safe="")) for each in PLANTED}
    return [f"{each} in {what}" for each, spelled in forms.items() if any(form.encode() in text for form in spelled)]


def score(address: str) -> None:
    """Ask a server all that it answers."""
    token = {"Authorization": f"Bearer {SECRETS['Serve']}"}
    with httpx.Client(base_url=address, headers=token, timeout=30) as client:
        for path in ("/health", "/metrics", "/openapi.json", "/ready", "/nothing"):
            client.get(path)
        client.post("/score", json={"transaction_id": "T1"})
        client.post("/labels", json=[{"transaction_id": "T1", "status": "genuine", "known_at": "2026-01-01T00:00:00Z"}])
        client.post("/score", content=b"{", headers={"Authorization": SECRETS["Header"]})


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.timeout(1_200)
def test_no_secret_is_written_printed_logged_or_listed(
    tmp_path: Path, mlflow_with_webhooks: Server, postgres_url: str
) -> None:
    """Of a whole life (train, promote, canary, serve, report, doctor, notify, errors) nothing shows a secret."""
    address = f"http://ann:{SECRETS['Tracking']}@127.0.0.1:{mlflow_with_webhooks.port}"
    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))
    simulate.transactions(2_000, days=60, fraud_rate=0.05, seed=1).to_sql("tx", engine, index=False)
    engine.dispose()
    data = f"{postgres_url}%20-capplication_name%3D{SECRETS['Options']}&password={SECRETS['Data']}"
    outcomes = make_url(postgres_url).set(password=SECRETS["Outcomes"]).render_as_string(hide_password=False)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "FDS_"))}
    with http_receiver() as receiver:
        receiver.answer(*[400] * 100)
        run = Run(
            tmp_path,
            {
                **plain,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "MLFLOW_TRACKING_URI": address,
                "FDS_OUTCOMES_URI": outcomes,
                "FDS_SERVE_TOKEN": SECRETS["Serve"],
                "FDS_SERVE_WEBHOOK_SECRET": SIGNING,
                "FDS_WEBHOOK_URL": f"{receiver.url}/hooks/{SECRETS['Path']}?key={SECRETS['Query']}",
                "FDS_WEBHOOK_SECRET": SIGNING,
            },
        )
        own = ("--data", data, "--table", "tx", "--schema", "simulator")
        # Who writes a secret into the arguments has it listed there; the processes that ours start do not.
        run.fds("train", "planted", *own, "--json")
        run.here("train", "planted", *own, "--seed", "2")
        run.here("train", "planted", "--data", data, "--table", "none", "--schema", "simulator", code=1)
        reason = f"see http://ann:{SECRETS['Reason']}@wiki/x?token={SECRETS['Query']}"
        run.fds("promote", "planted", "1", "--reason", reason)
        with run.listing():
            _life(run)
        _errors(run, data)
    found = [each for text in run.said for each in holding(text.encode(), "what was printed")]
    found += [each for line in run.listed for each in holding(line, "the list of processes")]
    for folder in (tmp_path, mlflow_with_webhooks.folder):
        for path in folder.rglob("*"):
            if path.is_file():
                found += holding(path.read_bytes(), str(path))
    database = Path(make_url(mlflow_with_webhooks.backend).database or "")
    found += holding(database.read_bytes(), "MLflow's database")
    assert found == []
    assert b"password=***" in database.read_bytes()  # the source stands there, without what is hidden of it


def _life(run: Run) -> None:
    run.fds("canary", "start", "planted", "2", "--reason", "go", "--force")
    with run.serving() as served:
        score(served)
    run.here("canary", "status", "planted")
    run.here("show", "planted")
    run.here("canary", "abort", "planted", "--reason", "enough")
    run.here("canary", "report", "planted", "--record", "-o", "report.html")
    run.here("history", "export", "planted", "events.jsonl")
    run.here("notify", "test", "planted", code=1)
    assert "wiki" in json.dumps(json.loads(run.here("history", "planted", "--json")))


def _errors(run: Run, data: str) -> None:
    away = "127.0.0.1:1"
    for address in (
        f"http://ann:{SECRETS['Tracking']}@{away}",
        f"postgresql://ann:{SECRETS['Tracking']}@{away}/x?sslpassword={SECRETS['Ssl']}",
        f"mysql://ann:{SECRETS['Tracking']}@h/d",
    ):
        run.here("list", code=1, MLFLOW_TRACKING_URI=address)
    trace = {"FDS_TRACEBACK": "1"}
    run.fds("list", code=1, MLFLOW_TRACKING_URI=f"http://ann:{SECRETS['Tracking']}@{away}", **trace)
    outcomes = f"postgresql://ann:{SECRETS['Outcomes']}@{away}/x?options={SECRETS['Options']}"
    run.fds("outcomes", "stats", code=1, FDS_OUTCOMES_URI=outcomes, **trace)
    run.here("outcomes", "stats", code=1, FDS_OUTCOMES_URI=f"{outcomes}&nonsense={SECRETS['Ssl']}")
    run.here("data", "describe", f"{data}&sslpassword={SECRETS['Ssl']}&nonsense=x", "--table", "tx", code=1)
    run.here("list", "--nonsense", data, code=2)
    run.here("list", code=1, MLFLOW_TRACKING_TOKEN=f"{SECRETS['Header']}\n", MLFLOW_TRACKING_URI=f"http://{away}")
