"""Load by wrk, a generator in C that takes the second core: closed loop, a fixed number of connections."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk.lua")
_RUNS = itertools.count()


@dataclass(frozen=True)
class Load:
    """What wrk measured in one run.

    Attributes:
        requests: Answered.
        seconds: How long it took.
        failed: Other answers than 200, broken connections, and time-outs.
        p50_ms: Median of the latency.
        p99_ms: Its 99th percentile.
        max_ms: The longest.
    """

    requests: int
    seconds: float
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def rps(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def missing() -> str | None:
    """What to do where wrk is not installed; None where it is."""
    return None if shutil.which("wrk") else "wrk is not installed: apt-get install wrk (brew install wrk)"


def write_bodies(bodies: Sequence[bytes], path: Path) -> Path:
    """Bodies as wrk's script reads them: one a line."""
    path.write_bytes(b"\n".join(bodies) + b"\n")
    return path


def run(port: int, path: str, bodies: Path, *, seconds: float, connections: int) -> Load:
    """Load a server on loopback with POSTs.

    Args:
        port: Its port.
        path: Where the requests go.
        bodies: File of bodies.
        seconds: How long; wrk counts whole seconds.
        connections: Kept alive, each with one request at a time.

    Raises:
        RuntimeError: wrk did not run.
    """
    prefix = f"R{next(_RUNS):04d}KEYS-"  # keys differ between runs as well
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    command += ["--latency", "-s", str(SCRIPT), f"http://127.0.0.1:{port}", "--", str(bodies), path, prefix]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise RuntimeError(f"wrk did not run: {done.stdout[-500:]}{done.stderr[-500:]}")
    return Load(**json.loads(lines[-1].removeprefix("RESULT ")))
