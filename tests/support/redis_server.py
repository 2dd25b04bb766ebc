"""A Redis or Valkey of our own, that tests and benchmarks start, kill and start again."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.servers import free_port


class RedisServer:
    """A server on loopback, in a temporary folder.

    Args:
        options: Beside those that keep it to itself.
    """

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fds-redis-"))
        self._options = options
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, namespace: str = "fds") -> str:
        """The address of a state; a busy machine is given time."""
        return f"redis://127.0.0.1:{self.port}/0?namespace={namespace}&socket_timeout=30&socket_connect_timeout=30"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        import redis

        program = _program()
        assert program is not None
        own = ("--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "yes")
        with (self.folder / "log").open("ab") as log:
            command = [program, *own, *self._options]
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        while True:
            try:
                with redis.Redis(port=self.port, socket_timeout=10) as client:
                    client.ping()
                    return
            except redis.exceptions.ConnectionError:
                assert self._process.poll() is None, (self.folder / "log").read_text()

    def send(self, number: signal.Signals) -> None:
        """Send its process a signal, and wait for its end where that kills."""
        assert self._process is not None
        self._process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._process.wait()

    def remove(self) -> None:
        """Stop it for good."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
                self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder)


@contextmanager
def running_redis(*options: str) -> Iterator[RedisServer]:
    """A server that runs, and is gone afterwards with everything in it."""
    server = RedisServer(*options)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def no_redis() -> str | None:
    """Why none can be started here; None where it can."""
    if _program() is None:
        return "neither Valkey nor Redis is installed (apt-get install valkey-server, or redis-server)"
    if importlib.util.find_spec("redis") is None:
        return "the Python package redis is not installed"
    return None


def _program() -> str | None:
    return shutil.which("valkey-server") or shutil.which("redis-server")
