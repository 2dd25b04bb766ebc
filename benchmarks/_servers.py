"""Registries to measure on: SQLite directly, and MLflow servers on SQLite and PostgreSQL, started and stopped here."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BACKENDS = ("sqlite", "server_sqlite", "server_postgresql")
WORKERS = {"server_sqlite": 1, "server_postgresql": 2}
_START_LIMIT = 120.0
"""Seconds a server may take to answer: creating MLflow's tables takes ten on a quiet machine."""


def missing(backend: str) -> str | None:
    """Why a backend cannot be started here; None where it can."""
    if backend != "server_postgresql":
        return None
    if _binaries() is None:
        return "PostgreSQL's server is not installed (apt-get install postgresql)"
    if importlib.util.find_spec("psycopg") is None:
        return "the Python package psycopg is not installed"
    return None


@contextmanager
def registry(backend: str) -> Iterator[str]:
    """A fresh registry of the given kind, gone afterwards with everything in it.

    Args:
        backend: One of `BACKENDS`.

    Yields:
        Its tracking and registry URI.
    """
    with tempfile.TemporaryDirectory(prefix="fds-registry-") as name:
        folder = Path(name)
        if backend == "sqlite":
            yield f"sqlite:///{folder / 'mlflow.db'}"
        elif backend == "server_sqlite":
            with mlflow_server(f"sqlite:///{folder / 'mlflow.db'}", folder, workers=WORKERS[backend]) as uri:
                yield uri
        elif backend == "server_postgresql":
            with postgresql() as url, mlflow_server(url, folder, workers=WORKERS[backend]) as uri:
                yield uri
        else:
            raise ValueError(f"no backend is called {backend!r}; there are {', '.join(BACKENDS)}")


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server of our own on a socket in a temporary folder, with its usual durability.

    Yields:
        Its URL.
    """
    binaries = _binaries()
    if binaries is None:
        raise FileNotFoundError("PostgreSQL's server is not installed")
    user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="fds-pg-"))
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    control: list[str | Path] = [binaries / "pg_ctl", "-D", data, "-w"]
    options = f"-k {folder} -c listen_addresses=''"
    initdb: list[str | Path] = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
    try:
        subprocess.run(initdb, check=True, capture_output=True, user=user, cwd=folder)
        start: list[str | Path] = [*control, "-l", folder / "log", "-o", options, "start"]
        # Its output would be inherited by the server and never end: not captured.
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd=folder)
        try:
            yield f"postgresql://postgres:unused@/postgres?host={folder}"
        finally:
            stop: list[str | Path] = [*control, "-m", "immediate", "stop"]
            subprocess.run(stop, check=True, capture_output=True, user=user, cwd=folder)
    finally:
        shutil.rmtree(folder)


@contextmanager
def mlflow_server(backend_uri: str, folder: Path, *, workers: int) -> Iterator[str]:
    """An MLflow server on a free loopback port.

    Args:
        backend_uri: Where it keeps its tables.
        folder: Where it keeps its artifacts and its log.
        workers: How many processes answer.

    Yields:
        Its address.
    """
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", backend_uri, "--artifacts-destination", str(folder / "artifacts")]
    command += ["--workers", str(workers)]
    # Without the jobs it is two processes instead of fifteen.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            _await(address, process, log)
            yield address
        finally:
            _stop(process)


def _await(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_LIMIT
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the MLflow server did not start:\n{log.read_text(errors='replace')[-2_000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers: they are one process group of their own."""
    for how, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, how)
            process.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    installed = shutil.which("initdb")
    return Path(installed).parent if installed else None
