"""The past in a folder: several processes share it, and one that is killed loses nothing that was acknowledged."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from fds_mlflow.errors import UnavailableError
from fds_mlflow.features.engines.online import Online
from fds_mlflow.features.state.lmdb_store import LmdbStore
from fds_mlflow.features.state.state import Arrival, State
from tests.support.arrivals import SPEC, arriving, past


def start(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    """Begin to send transactions from a process of its own."""
    command = [sys.executable, "-m", "tests.support.arrivals", str(folder), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def again(arrival: Arrival) -> bool:
    """Whether a transaction had arrived before."""
    return arrival.again


@pytest.mark.slow
def test_a_process_that_is_killed_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """Killed in the middle of its work, again and again, every transaction that it was told of is there, once."""
    told = 0
    for _ in range(3):
        process = start(tmp_path, "T", 1_000_000)
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) > told + 150:
                told = int(line)
                break
        process.kill()
        told = max([told, *map(int, process.stdout.read().split())])
        process.wait()
    known = past(tmp_path)
    assert all(known.arrive(arriving("T", number), again) for number in range(told + 1))
    last = arriving("N", told + 2)
    found = known.arrive(last, partial(Online(SPEC, known.layout).features, last.time))
    sent = known.size().transactions
    assert told + 2 <= sent <= told + 3, "one may have been recorded whose acknowledgement was not read"
    assert (found["customer_count_1d"], found["customer_distinct_device_1d"]) == (sent, 7)


@pytest.mark.slow
def test_processes_share_one_past(tmp_path: Path) -> None:
    """What several processes record at once is in the past of each, whole: nothing is lost, nothing is there twice."""
    processes = [start(tmp_path, name, 300) for name in "AB"]
    assert [process.wait() for process in processes if process.communicate()] == [0, 0]
    known = past(tmp_path)
    last = arriving("N", 300)
    found = known.arrive(last, partial(Online(SPEC, known.layout).features, last.time))
    assert (found["customer_count_1d"], found["customer_distinct_device_1d"]) == (601, 7)


def test_a_folder_that_is_full_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    """At the limit a transaction is refused with the fix, and nothing of it is recorded; the others are there."""
    known = State(LmdbStore(tmp_path, limit=2**18), past(tmp_path / "other").layout)
    with pytest.raises(UnavailableError, match="has reached its limit of 262,144 bytes"):
        _filled(known)
    number = known.size().transactions
    assert number > 100
    assert known.arrive(arriving("T", number - 1), again)


def _filled(known: State) -> None:
    """Send transactions for ever."""
    number = 0
    while True:
        known.arrive(arriving("T", number), again)
        number += 1
