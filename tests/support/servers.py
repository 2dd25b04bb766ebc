"""MLflow servers and a PostgreSQL of our own, that tests start, kill and start again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

START_LIMIT = 180
"""Seconds a server may take to answer: MLflow imports half of Python, and makes its tables where there are none."""

POSTGRESQL_LIMITS = "-c fsync=off -c max_connections=60"
"""Nothing here cuts the power: what a killed process has written stays in the machine's memory."""


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """An `mlflow server`.

    Attributes:
        backend: URI of its database.
        folder: Where its log and artifacts go.
        workers: Processes that answer.
        port: Its port on loopback.
        process: It runs in a process group of its own.
    """

    backend: str
    folder: Path
    workers: int = 1
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What it and its workers print."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.backend]
        command += ["--artifacts-destination", (self.folder / "artifacts").as_uri()]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", str(self.workers)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
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


class Postgresql:
    """A PostgreSQL server on a socket in a temporary folder."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        self._folder = Path(tempfile.mkdtemp(prefix="fds-pg-"))
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql://postgres:unused@/postgres?host={self._folder}"

    def start(self) -> None:
        """Start it, and wait until it has recovered what a crash left."""
        options = f"-k {self._folder} -c listen_addresses='' {POSTGRESQL_LIMITS}"
        self._run("pg_ctl", "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def crash(self) -> None:
        """Stop it as a crash does: every process at once, nothing tidied up."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def kill_backend(self, number: int) -> None:
        """`kill -9` for one of the processes that serve connections; PostgreSQL ends the others and recovers."""
        import psycopg

        asked = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        with psycopg.connect(host=str(self._folder), user="postgres", dbname="postgres") as connection:
            backends = sorted(row[0] for row in connection.execute(asked))
        if backends:
            os.kill(backends[number % len(backends)], signal.SIGKILL)

    def remove(self) -> None:
        """Stop it for good."""
        with suppress(subprocess.CalledProcessError):  # it does not run
            self.crash()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *words: str) -> None:
        # The server would inherit a pipe, and reading it never end: nothing is captured.
        subprocess.run(
            [self._binaries / program, "-D", self._folder / "data", *words],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            cwd=self._folder,
        )


def postgresql_binaries() -> Path | None:
    """The folder of PostgreSQL's server programs: Debian's, or those on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    installed = shutil.which("initdb")
    return Path(installed).parent if installed else None
