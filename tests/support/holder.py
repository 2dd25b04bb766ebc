"""A process that writes to a folder's state, and does not come to an end: it can be stopped, and killed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from fds_mlflow.features.state.lmdb_store import LmdbStore
from tests.support.places import ROOT


@contextlib.contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that was stopped in the middle of writing, until the block ends."""
    command = [sys.executable, "-m", "tests.support.holder", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGSTOP)
        try:
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    with LmdbStore(Path(sys.argv[1])).writing() as values:
        values.put(b"x" * 17, b"", b"half")
        print("writing", flush=True)
        sys.stdin.read()
