"""A worker that is told that its server leaves, and then to stop."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from fds_mlflow.serving.host.ownership import Ownership
from fds_mlflow.serving.host.server import Options, work
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.support.places import ROOT
from tests.support.served import LIMIT, Served, until
from tests.support.version_caches import table, version_cache

SPAWN = multiprocessing.get_context("spawn")
ROW = {"amount": 250.0, "hour": 3, "channel": "web", "transaction_id": "TX1"}


@pytest.mark.slow
def test_a_worker_answers_on_while_its_server_leaves(tmp_path: Path) -> None:
    """Its probes say that it leaves; connections that were kept, and new ones, are answered and end; then it stops."""
    given = ServerSettings("fraud", "memory:", tmp_path)
    version_cache(tmp_path).write_table(table())
    owner = Ownership(given.version_cache().folder)
    leaving, staying = SPAWN.Pipe(duplex=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = "http://{}:{}".format(*listening.getsockname())
        worker = SPAWN.Process(target=work, args=(given, Options(), listening, owner, leaving))
        worker.start()
        try:
            with httpx.Client(base_url=url, timeout=LIMIT) as kept:
                until(lambda: kept.get("/ready").status_code == 200, "an answer")
                said = kept.post("/score", json=ROW)
                assert (said.status_code, "Connection" in said.headers) == (200, False)
                staying.close()
                until(lambda: httpx.get(f"{url}/ready").status_code == 503, "that it leaves")
                for client in (kept, httpx):
                    said = client.post(f"{url}/score", json=ROW)
                    assert (said.status_code, said.headers["Connection"]) == (200, "close")
            worker.terminate()
            worker.join(LIMIT)
            assert worker.exitcode is not None
        finally:
            worker.kill()
            worker.join()
            owner.release()


LATE = """
import os, signal, sys

class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
        kill(pid, number)

if "serve" in sys.orig_argv:
    sys.late = Late()
"""
"""Tells the server to stop once more while Python takes it down, when it has no handler of its own any more."""


@pytest.mark.slow
def test_whoever_tells_it_at_the_very_end_gets_no_other_exit_code(serve: Callable[..., Served], tmp_path: Path) -> None:
    """A service manager that stops a server twice is told each time that it ended well."""
    (tmp_path / "sitecustomize.py").write_text(LATE)
    served = serve("alone", "--workers", "1", settings={"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])})
    served.ready()
    assert served.stop() == 0
