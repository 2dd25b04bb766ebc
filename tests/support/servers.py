"""MLflow servers and a PostgreSQL of our own, that tests and benchmarks start, kill and start again."""

from __future__ import annotations

import base64
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

START_LIMIT = 180
"""Seconds a server may take to answer: MLflow imports half of Python, and makes its tables where there are none."""

BACKENDS = ("sqlite", "server_sqlite", "server_postgresql")
"""The registries that `registry` starts."""

WORKERS = {"server_sqlite": 1, "server_postgresql": 2}
"""How many processes answer for each kind of server."""

WEBHOOKS = {
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": base64.urlsafe_b64encode(bytes(range(32))).decode(),
    "MLFLOW_WEBHOOK_CACHE_TTL": "0",
}
"""Settings of a server that sends webhooks to loopback; without them MLflow sends none there."""

_POSTGRESQL_FOR_TESTS = "-c fsync=off -c max_connections=60 -c timezone=America/New_York"
"""Nothing here cuts the power: what a killed process has written stays in the machine's memory. A time zone far from
UTC shows what forgets to say which it means."""


def free_port() -> int:
    """A port nobody listens on just now.

    It lies below those from which connections go out: none takes it before its server starts, or between two starts.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Server:
    """An `mlflow server`.

    Attributes:
        backend: URI of its database.
        folder: Where its log and artifacts go.
        workers: Processes that answer.
        port: Its port on loopback.
        settings: More environment variables of it.
        options: More options of it.
        artifacts: Where it keeps artifacts for its clients; None for a folder of its own.
        prefix: Path in front of all its addresses.
        process: It runs in a process group of its own.
    """

    backend: str
    folder: Path
    workers: int = 1
    port: int = field(default_factory=free_port)
    settings: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    python: Path = Path(sys.executable)
    artifacts: str | None = None
    prefix: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    @property
    def log(self) -> Path:
        """What it and its workers print."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [str(self.python), "-m", "mlflow", "server", "--backend-store-uri", self.backend]
        command += ["--artifacts-destination", self.artifacts or (self.folder / "artifacts").as_uri()]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", str(self.workers)]
        command += ["--static-prefix", self.prefix] if self.prefix else []
        command += self.options
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                # Without the jobs it is two processes instead of fifteen.
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **self.settings},
                start_new_session=True,
            )
        for _ in range(10 * START_LIMIT):
            if self.answers():
                return
            assert self.process.poll() is None, self.log.read_text()
            Event().wait(0.1)
        raise AssertionError(f"the MLflow server did not answer within {START_LIMIT} s")

    def answers(self) -> bool:
        """Whether somebody listens."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def kill_worker(self, number: int) -> None:
        """`kill -9` for one of the processes that answer; uvicorn's supervisor starts another."""
        assert self.process is not None
        workers = sorted(pid for pid in _below(self.process.pid) if b"multiprocessing-fork" in _command(pid))
        os.kill(workers[number % len(workers)], signal.SIGKILL)

    def kill(self) -> None:
        """`kill -9` for the server and its workers."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def _below(parent: int) -> list[int]:
    """The children of a process, theirs, and so on."""
    names = [name for task in Path(f"/proc/{parent}/task").glob("*/children") for name in task.read_text().split()]
    return [pid for name in names for pid in (int(name), *_below(int(name)))]


def _command(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """A server that is started, and killed in the end, even where it is interrupted while it starts."""
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def basic_auth(backend: str, folder: Path, *, page: bool = False) -> Iterator[tuple[Server, dict[str, str]]]:
    """A server where users sign in, and the variables by which its administrator does.

    Args:
        backend: URI of its database.
        folder: Where its users, log and artifacts go.
        page: With our page, where MLflow remembers for a minute who has signed in.
    """
    admin, password = "admin", "a-password-of-sixteen"
    said = (folder / "auth.ini").absolute()
    said.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder / 'users.db'}\n"
        f"admin_username = {admin}\nadmin_password = {password}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        + ("auth_cache_ttl_seconds = 60\n" if page else ""),
        encoding="utf-8",
    )
    settings = {"MLFLOW_AUTH_CONFIG_PATH": str(said), "MLFLOW_FLASK_SERVER_SECRET_KEY": "unused"}
    settings |= {"FDS_BASE_APP": "basic-auth"} if page else {}
    server = Server(backend, folder, settings=settings, options=("--app-name", "fds" if page else "basic-auth"))
    with running(server):
        yield server, {"MLFLOW_TRACKING_USERNAME": admin, "MLFLOW_TRACKING_PASSWORD": password}


class Postgresql:
    """A PostgreSQL server on a socket in a temporary folder.

    Args:
        durable: Whether it waits for the disk as usual, which only a benchmark needs.
    """

    def __init__(self, *, durable: bool = False) -> None:
        binaries = _postgresql_binaries()
        if binaries is None:
            raise FileNotFoundError("PostgreSQL's server is not installed")
        self._binaries = binaries
        self._limits = "" if durable else _POSTGRESQL_FOR_TESTS
        self._user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        self.folder = Path(tempfile.mkdtemp(prefix="fds-pg-"))
        if self._user:
            shutil.chown(self.folder, self._user)
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", *([] if durable else ["--no-sync"]))

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql://postgres:unused@/postgres?host={self.folder}"

    def schema(self, name: str) -> str:
        """The URL of a new, empty schema: what is in the others is not on its path."""
        import psycopg

        with psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres") as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{self.url}&options=-csearch_path%3D{name}"

    def start(self) -> None:
        """Start it, and wait until it has recovered what a crash left."""
        options = f"-k {self.folder} -c listen_addresses='' {self._limits}"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def crash(self) -> None:
        """Stop it as a crash does: every process at once, nothing tidied up."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def kill_backend(self, number: int) -> None:
        """`kill -9` for one of the processes that serve connections; PostgreSQL ends the others and recovers."""
        import psycopg

        asked = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        with psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres") as connection:
            backends = sorted(row[0] for row in connection.execute(asked))
        if backends:
            os.kill(backends[number % len(backends)], signal.SIGKILL)

    def remove(self) -> None:
        """Stop it for good."""
        with suppress(subprocess.CalledProcessError):  # it does not run
            self.crash()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *words: str) -> None:
        # The server would inherit a pipe, and reading it never end: nothing is captured.
        subprocess.run(
            [self._binaries / program, "-D", self.folder / "data", *words],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            cwd=self.folder,
        )


@contextmanager
def postgresql(*, durable: bool = False) -> Iterator[Postgresql]:
    """A PostgreSQL server that runs, and is gone afterwards with everything in it."""
    server = Postgresql(durable=durable)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def no_postgresql() -> str | None:
    """Why PostgreSQL cannot be started here; None where it can."""
    if _postgresql_binaries() is None:
        return "PostgreSQL's server is not installed (apt-get install postgresql)"
    if importlib.util.find_spec("psycopg") is None:
        return "the Python package psycopg is not installed"
    return None


def missing(backend: str) -> str | None:
    """Why a backend cannot be started here; None where it can."""
    return no_postgresql() if backend == "server_postgresql" else None


@contextmanager
def registry(backend: str) -> Iterator[str]:
    """A fresh registry of the given kind, gone afterwards with everything in it.

    Args:
        backend: One of `BACKENDS`.

    Yields:
        Its tracking and registry URI.
    """
    if backend not in BACKENDS:
        raise ValueError(f"no backend is called {backend!r}; there are {', '.join(BACKENDS)}")
    with tempfile.TemporaryDirectory(prefix="fds-registry-") as name:
        folder = Path(name)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        if backend == "sqlite":
            yield uri
        elif backend == "server_sqlite":
            with running(Server(uri, folder, WORKERS[backend])) as server:
                yield server.url
        else:
            with (
                postgresql(durable=True) as database,
                running(Server(database.url, folder, WORKERS[backend])) as server,
            ):
                yield server.url


def _postgresql_binaries() -> Path | None:
    """The folder of PostgreSQL's server programs: Debian's, or those on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    installed = shutil.which("initdb")
    return Path(installed).parent if installed else None
