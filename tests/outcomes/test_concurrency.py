"""Several processes and threads, opening and writing the same database at once."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from fds_mlflow.outcomes.store import OutcomeStore
from tests.support.places import ROOT
from tests.support.samples import NOON, case, outcome

_PROCESS = """
import sys
from fds_mlflow.outcomes.store import OutcomeStore
from tests.support.samples import case, outcome

url, name = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
with OutcomeStore(url) as store:
    new = 0
    for start in range(0, 100, 20):
        own = [outcome(key=f"{name}-{number}") for number in range(start, start + 20)]
        shared = [outcome(key=f"all-{number}", request_id=f"all-{number}") for number in range(start, start + 20)]
        new += store.record(own + shared)
        store.label([case(transaction_id=f"all-{number}") for number in range(start, start + 20)])
print(new)
"""


@pytest.mark.tested(1)
@pytest.mark.slow
def test_processes_open_and_write_at_once(shared_url: str) -> None:
    """Four processes that find no schema make one, and what they all write is stored once."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, shared_url, f"p{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(4)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        ends = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * 4, [error for _, error in ends]
    assert sum(int(answer) for answer, _ in ends) == 500
    with OutcomeStore(shared_url) as store:
        champion = store.counts("fraud", "R")[0]
        assert (champion.requests, champion.keys, champion.labelled) == (500, 500, 100)


def test_threads_open_at_once(shared_url: str) -> None:
    """Threads that open a new database at the same moment all get a working store."""
    barrier = Barrier(6, timeout=60)

    def work(number: int) -> int:
        barrier.wait()
        with OutcomeStore(shared_url) as store:
            return store.record([outcome(key=f"TX{number}")])

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(6))) == 6


@pytest.mark.tested(1)
@pytest.mark.slow
def test_threads_share_a_store(store: OutcomeStore) -> None:
    """Threads may write, label and count through one store, the in-memory one included; nothing is lost."""
    barrier = Barrier(6, timeout=60)

    def work(thread: int) -> int:
        barrier.wait()
        new = 0
        for batch in range(10):
            names = [f"{thread}-{batch}-{number}" for number in range(10)]
            new += store.record([outcome(key=name) for name in names])
            store.label([case(transaction_id=name) for name in names])
            counted = store.counts("fraud", "R")[0]
            assert counted.keys % 10 == 0
            assert counted.labelled <= counted.keys
        return new

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(6))) == 600
    champion = store.counts("fraud", "R")[0]
    assert (champion.requests, champion.labelled) == (600, 600)


def test_two_label_batches_in_opposite_order(shared_url: str) -> None:
    """Label files that overlap can be loaded at the same time, in whatever order their rows stand."""
    names = [f"TX{number}" for number in range(300)]
    barrier = Barrier(2, timeout=60)

    with OutcomeStore(shared_url) as store:

        def work(order: int) -> None:
            for _ in range(5):
                barrier.wait()  # breaks the other thread's wait, too, if one thread fails
                store.label(
                    [case(transaction_id=name, loss_amount=float(order + 2), known_at=NOON) for name in names[::order]]
                )

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(work, (1, -1)))
        amounts = {entry.loss_amount for entry in store.cases(names).values()}
    assert len(amounts) == 1
