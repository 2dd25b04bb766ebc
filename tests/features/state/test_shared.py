"""A past that several processes share: one that is killed loses nothing that it was told of, and all see one order."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from fds_mlflow.features.engines.online import Online
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.opening import opened
from fds_mlflow.features.state.remembered import Remembered, transaction_key
from fds_mlflow.features.state.state import Arrival, State
from tests.features.state.conftest import Kind
from tests.features.state.test_online import Row, alike, batch, everything
from tests.support.arrivals import SPEC, arriving, mixed, past
from tests.support.places import ROOT

pytestmark = pytest.mark.slow


def start(what: str, address: str, name: str, count: int) -> subprocess.Popen[str]:
    """Begin to send transactions from a process of its own."""
    command = [sys.executable, "-m", "tests.support.arrivals", what, address, name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def again(arrival: Arrival) -> bool:
    """Whether a transaction had arrived before."""
    return arrival.again


def test_a_process_that_is_killed_loses_nothing_that_it_acknowledged(shared: Kind, tmp_path: Path) -> None:
    """Killed in the middle of its work, again and again, every transaction that it was told of is there, once.

    Nobody waits for what it held.
    """
    address, told = shared.address(tmp_path), 0
    for _ in range(3):
        process = start("acknowledged", address, "T", 1_000_000)
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) > told + 150:
                told = int(line)
                break
        process.kill()
        told = max([told, *map(int, process.stdout.read().split())])
        process.wait()
    known = past(address)
    assert all(known.arrive(arriving("T", number), again) for number in range(told + 1))
    last = arriving("N", told + 2)
    found = known.arrive(last, partial(Online(SPEC, known.layout).features, last.time))
    sent = known.size().transactions
    assert told + 2 <= sent <= told + 3, "one may have been recorded whose acknowledgement was not read"
    assert (found["customer_count_1d"], found["customer_distinct_device_1d"]) == (sent, 7)


def test_processes_share_one_past(shared: Kind, tmp_path: Path) -> None:
    """What several processes record at once is in the past of each, whole: nothing is lost, nothing is there twice."""
    address = shared.address(tmp_path)
    processes = [start("acknowledged", address, name, 300) for name in "AB"]
    assert [process.wait() for process in processes if process.communicate()] == [0, 0]
    known = past(address)
    last = arriving("N", 300)
    found = known.arrive(last, partial(Online(SPEC, known.layout).features, last.time))
    assert (found["customer_count_1d"], found["customer_distinct_device_1d"]) == (601, 7)


def test_each_replica_is_told_the_batch_over_what_had_arrived(shared: Kind, tmp_path: Path) -> None:
    """Three processes send the same transactions at once, each in an order of its own: of each they are told the same.

    It is what the batch gives for it over all that have a smaller number, whichever process sent it first.
    """
    address, count = shared.address(tmp_path), 250
    processes = [start("told", address, name, count) for name in "ABC"]
    first, *others = [json.loads(process.communicate()[0]) for process in processes]
    spec = everything()
    store = opened(address)
    with store.reading() as values:
        numbers = {}
        for row in mixed(count):
            kept = values.get(transaction_key(row.id), b"")
            assert kept is not None
            numbers[row.id] = Remembered.read(kept).number
    store.close()
    assert sorted(numbers.values()) == list(range(1, count + 1))
    rows = [Row(row) for row in sorted(mixed(count), key=lambda row: numbers[row.id])]
    for place, row in enumerate(rows):
        told = first[row.transaction.id]
        alike(told, batch(rows[: place + 1], spec))
        for other in others:
            alike(other[row.transaction.id], told)


def test_replicas_that_take_turns_are_told_the_batch(shared: Kind, tmp_path: Path) -> None:
    """A history with its labels through three replicas, each transaction and label to any: 0 rows differ."""
    spec, chance = everything(), random.Random(1)
    address = shared.address(tmp_path)
    # A process opens a folder once.
    stores = [opened(address) for _ in range(1 if shared.name == "lmdb" else 3)]
    replicas = [State(store, Layout.of([spec])) for store in stores]
    engine = Online(spec, replicas[0].layout)
    rows: list[Row] = []
    for one in mixed(400):
        row = Row(one)
        rows.append(row)
        alike(chance.choice(replicas).arrive(one, partial(engine.features, one.time)), batch(rows, spec))
        if chance.random() < 0.7:
            other = chance.choice(rows)
            fraud, known = chance.random() < 0.5, other.transaction.time + chance.randrange(10**6)
            if other.fraud is None or known >= other.known:  # an older one is no correction
                other.fraud, other.known = fraud, known
            assert chance.choice(replicas).label(other.transaction.id, fraud=fraud, known=known)
    for store in stores:
        store.close()
