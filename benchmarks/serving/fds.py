"""`fds serve` for benchmarks: a registry, servers that follow it, and what they left in the outcome store."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.model import MODEL
from benchmarks.serving.process import Server, children, free_port

FDS = (sys.executable, "-m", "fds_mlflow")


@dataclass
class Replica:
    """One `fds serve` with its own cache.

    Attributes:
        server: The process.
        outcomes: SQLite file of the outcome store.
    """

    server: Server
    outcomes: Path

    @property
    def worker(self) -> int:
        """Process that answers requests."""
        assert self.server.process is not None
        for child in children(self.server.process.pid):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
        raise RuntimeError(f"{self.server.name} has no worker")

    def health(self) -> dict[str, Any]:
        """What it says of itself."""
        found: dict[str, Any] = json.loads(self.server.get("/health")[1])
        return found

    def await_health(self, enough: Callable[[dict[str, Any]], bool], seconds: float = 60.0) -> None:
        """Wait until its health is as expected.

        Raises:
            RuntimeError: It is not, in time.
        """
        until = time.monotonic() + seconds
        while not enough(health := self.health()):
            if time.monotonic() > until:
                raise RuntimeError(f"{self.server.name} is not as it should be: {health}")
            time.sleep(0.05)

    def recorded(self) -> list[str]:
        """The clients' ids of the requests in its outcome store."""
        with closing(sqlite3.connect(self.outcomes)) as connection:
            return [row[0].rpartition("-")[0] for row in connection.execute("SELECT request_id FROM fds_outcomes")]


def replica(
    uri: str,
    folder: Path,
    name: str = "fds serve",
    *,
    outcomes: Path | None = None,
    workers: int = 1,
    state: str | Path | None = None,
) -> Replica:
    """A server of the model; not started.

    Args:
        uri: Registry and tracking.
        folder: Where its cache goes.
        name: What it is called.
        outcomes: SQLite file of the outcome store; None for one of its own.
        workers: Processes that answer requests.
        state: Of the features of raw transactions; None to take computed rows alone.
    """
    port = free_port()
    outcomes = outcomes or folder / "outcomes.db"
    command = [*FDS, "--tracking-uri", uri, "--registry-uri", uri, "--outcomes", f"sqlite:///{outcomes}"]
    command += ["serve", MODEL, "--port", str(port), "--cache", str(folder / "cache"), "--workers", str(workers)]
    command += [] if state is None else ["--state", str(state)]
    return Replica(Server(name, command, port, folder), outcomes)
