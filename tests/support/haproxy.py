"""The proxy of `deploy/` before servers of a test."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.places import ROOT
from tests.support.served import until
from tests.support.servers import free_port

CONFIGURATION = ROOT / "deploy" / "compose" / "haproxy.cfg"


@contextmanager
def haproxy(folder: Path, ports: Sequence[int]) -> Iterator[str]:
    """The proxy of the Compose file, before three servers on loopback; its address, once it leads to one of them.

    Args:
        folder: For its configuration and its log.
        ports: Of the servers.
    """
    program = _program()
    assert program is not None
    port = free_port()
    text = CONFIGURATION.read_text().replace("bind :8080", f"bind 127.0.0.1:{port}")
    for number, each in enumerate(ports, 1):
        assert f" fds-{number}:5001" in text
        text = text.replace(f" fds-{number}:5001", f" 127.0.0.1:{each}")
    (folder / "haproxy.cfg").write_text(text)
    with (folder / "haproxy.log").open("wb") as log:
        command = [program, "-db", "-f", str(folder / "haproxy.cfg")]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: httpx.get(f"{url}/ping").status_code == 200, "the proxy")
        yield url
    finally:
        process.kill()
        process.wait()


def no_haproxy() -> str | None:
    """Why it cannot be started here; None where it can."""
    return "HAProxy is not installed (apt-get install haproxy)" if _program() is None else None


def _program() -> str | None:
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
