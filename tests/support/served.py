"""`fds serve` as a process, people who send it requests without pause, and ways to wait for what they should see."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.support.serving_registry import MODEL

T = TypeVar("T")

LIMIT = 60.0
"""Seconds until something that must come is given up on."""


def client_id(request_id: str) -> str:
    """The id that a client gave, of the identity of one transaction's request under it."""
    return request_id.rpartition("-")[0]


def until(found: Callable[[], T], what: str, limit: float = LIMIT) -> T:
    """Wait for a condition by asking again and again; what it found."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            value = found()
            if value:
                return value
        threading.Event().wait(0.02)
    raise AssertionError(f"never: {what}")


class Served:
    """An `fds serve`.

    Args:
        folder: Where its log goes, and its outcomes by default.
        registry: URI of the registry.
        cache: Its cache folder.
        options: More options of `fds serve`.
        outcomes: URL of the outcome store; None for SQLite in `folder`.
        model: Registered model.
        python: Whose `fds` it is.
        tracking: URI of the tracking server; None where it is the registry.
        settings: More environment variables of it.
    """

    def __init__(
        self,
        folder: Path,
        registry: str,
        cache: Path,
        *options: str,
        outcomes: str | None = None,
        model: str = MODEL,
        python: Path = Path(sys.executable),
        tracking: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.cache = cache
        self.outcomes = outcomes or f"sqlite:///{folder / 'outcomes.db'}"
        self.log = folder / "serve.log"
        command = [str(python), "-m", "fds_mlflow", "--tracking-uri", tracking or registry]
        command += ["--registry-uri", registry, "--outcomes", self.outcomes]
        command += ["serve", model, "--port", "0", "--poll", "0.1", "--cache", str(cache), *options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
                env=_environment() | dict(settings or {}),
            )
        self.url = ""
        self.client = httpx.Client(timeout=30)

    def start(self) -> Served:
        """Wait until it answers, with a score or a clear no."""

        def address() -> str | None:
            assert self.process.poll() is None, self.said
            found = re.search(r"^serving .* on (http://\S+)$", self.said, re.MULTILINE)
            return None if found is None else found[1]

        self.url = until(address, "an address")
        self.client = httpx.Client(base_url=self.url, timeout=30)
        until(lambda: self.client.get("/version").status_code == 200, "an answer")
        return self

    def ready(self) -> Served:
        """Wait until there is a version to serve."""
        self.start()
        until(lambda: self.client.get("/health").status_code == 200, f"a version to serve: {self.said}")
        return self

    @property
    def said(self) -> str:
        """What it and its workers printed."""
        return self.log.read_text()

    @property
    def workers(self) -> list[int]:
        """Process ids of its workers."""
        return [int(name) for name in _children(self.process.pid) if b"spawn_main" in _command(name)]

    @property
    def children(self) -> list[int]:
        """Process ids of whatever it has started."""
        return [int(name) for name in _children(self.process.pid)]

    @property
    def spool(self) -> Path:
        """Where its outcomes wait."""
        return next(self.cache.glob("*/spool"))

    def score(self, **row: Any) -> httpx.Response:
        """Send one transaction."""
        return self.client.post("/score", json=row)

    def health(self) -> dict[str, Any]:
        """What `/health` says."""
        said: dict[str, Any] = self.client.get("/health").json()
        return said

    def metric(self, series: str) -> float:
        """A number of `/metrics`; 0 where there is none."""
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.terminate()
        return self.process.wait(LIMIT)

    def kill(self) -> None:
        """`kill -9` for it and its workers."""
        self.client.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "FDS_"))}


def _children(parent: int) -> list[str]:
    return [name for task in Path(f"/proc/{parent}/task").glob("*/children") for name in task.read_text().split()]


def _command(process: str) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


@dataclass
class Sent:
    """One request and what came of it.

    Attributes:
        key: Its routing key.
        status: Of HTTP; None where the connection ended before an answer.
        answer: The answer's JSON; what happened to the connection where there is none.
        during: Which phase it was sent in, and which it was answered in.
    """

    key: str
    status: int | None
    answer: dict[str, Any]
    during: tuple[int, int]


@dataclass
class Crowd:
    """Clients that send one transaction after the other until they are told to stop.

    Attributes:
        url: Of the server.
        row: What they send, but for the key.
        name: Tells their keys from those of others.
        sent: Everything they sent.
        phase: What the test is about just now.
    """

    url: str
    row: dict[str, Any]
    name: str = "C"
    sent: list[Sent] = field(default_factory=list)
    phase: int = 0

    @contextlib.contextmanager
    def sending(self, clients: int = 2) -> Iterator[Crowd]:
        """Send while the block runs."""
        self._stop = threading.Event()
        threads = [threading.Thread(target=self._send, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.stop()
            for thread in threads:
                thread.join()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()

    def more(self, count: int = 50) -> None:
        """Wait until so many more are answered."""
        before = len(self.sent)
        until(lambda: len(self.sent) >= before + count, "answers")

    def _send(self, client: int) -> None:
        number = 0
        with httpx.Client(base_url=self.url, timeout=30) as http:
            while not self._stop.is_set():
                number += 1
                key, phase = f"{self.name}{client}-{number}", self.phase
                try:
                    answer = http.post(
                        "/score", json={**self.row, "transaction_id": key}, headers={"X-Request-ID": f"R{key}"}
                    )
                except httpx.TransportError as error:
                    self.sent.append(Sent(key, None, {"error": repr(error)}, (phase, self.phase)))
                else:
                    self.sent.append(Sent(key, answer.status_code, answer.json(), (phase, self.phase)))
