"""Servers as processes: started, awaited, halted while others are measured, and ended with all they started."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

START_LIMIT = 180.0
"""Seconds a server may take to answer."""


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def end_in_order() -> None:
    """Let SIGTERM end this program as an exception does: with everything stopped that it has started."""

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's signature
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)


@dataclass
class Server:
    """A server on a loopback port, in a process group of its own.

    Attributes:
        name: What it is called in tables.
        command: Starts it in the foreground.
        port: Where it listens.
        folder: Where it works; its log goes there.
        ready: Path that answers 200 once it serves.
        environment: On top of this process's own.
    """

    name: str
    command: Sequence[str | Path]
    port: int
    folder: Path
    ready: str = "/ping"
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / f"{self.name.replace(' ', '-').replace('/', '')}.log"

    def start(self, limit: float = START_LIMIT) -> None:
        """Start it and wait until it serves.

        Raises:
            RuntimeError: It ended, or did not serve in time; the message holds the end of its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        until = time.monotonic() + limit
        while time.monotonic() < until and self.process.poll() is None:
            with suppress(OSError, http.client.HTTPException):
                if self.get(self.ready)[0] == 200:
                    return
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text(errors='replace')[-1_500:]}")

    def halt(self) -> None:
        """Take it off the processor: what waits beside a measurement must not cost it anything."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        self._signal(signal.SIGCONT)

    def stop(self, patience: float = 30.0) -> None:
        """End it and all it started; gently first."""
        process = self.process
        if process is None:
            return
        self.go_on()
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        self._signal(signal.SIGKILL)  # whatever of its group is left
        process.wait()
        self.process = None

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
            self.process = None

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask it; status and body."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send it JSON; status and body."""
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {} if body is None else {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


def children(parent: int) -> list[int]:
    """The children of a process, theirs, and so on (Linux)."""
    direct = [int(n) for task in Path(f"/proc/{parent}/task").glob("*/children") for n in task.read_text().split()]
    return [one for child in direct for one in (child, *children(child))]


def pss_mb(process: int) -> float:
    """Memory of a process in MB, shared pages counted in part (Linux)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    kibibytes = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kibibytes * 1_024 / 1e6
