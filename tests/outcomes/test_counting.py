"""Counting among others: with writers at work, with two judges at once, and killed in the middle."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import event, insert, text

from fds_mlflow.core.evidence.evidence import EventKind, Terms
from fds_mlflow.outcomes.counting.counting import advance
from fds_mlflow.outcomes.counting.question import Question
from fds_mlflow.outcomes.counting.watermarks import watermarks
from fds_mlflow.outcomes.records import outcome_rows
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.outcomes.tables import Outcome
from tests.outcomes.test_evidence import only, shadow
from tests.support.places import ROOT
from tests.support.samples import DAY, NOON, case, outcome

TERMS = Terms(latency_bound=100.0, maturity=DAY)
QUESTION = Question(model="fraud", rollout_id="R", terms=TERMS, as_of=NOON + 30 * DAY)


@pytest.fixture
def shared(shared_url: str) -> OutcomeStore:
    """A store whose database others can open."""
    return OutcomeStore(shared_url)


def test_rows_that_become_visible_late_are_counted(postgres_url: str) -> None:
    """On PostgreSQL an outcome whose transaction ends after that of a later outcome is not passed over."""
    with OutcomeStore(postgres_url) as store, OutcomeStore(postgres_url) as other:
        for by_hand in (False, True):
            model = f"model {by_hand}"
            slow = store.engine.connect()
            slow.begin()
            if by_hand:  # a session that knows nothing of the store
                slow.execute(insert(Outcome), outcome_rows([outcome(model=model, key="early")]))
            else:
                slow.exec_driver_sql("SAVEPOINT undone")
                slow.execute(insert(Outcome), outcome_rows([outcome(model=model, key="undone")]))
                slow.exec_driver_sql("ROLLBACK TO SAVEPOINT undone")
                slow.execute(insert(Outcome), outcome_rows([outcome(model=model, key="early")]))
            other.record([outcome(model=model, key="late")])
            tallies = other.evidence(model, "R", TERMS, as_of=NOON).tallies
            assert sum(tally.keys for tally in tallies) <= 1
            slow.commit()
            slow.close()
            assert only(other.evidence(model, "R", TERMS, as_of=NOON)).keys == 2


def test_a_writer_at_work_blocks_nobody(postgres_url: str) -> None:
    """While a long transaction writes, others write and count; what came before it is counted."""
    with OutcomeStore(postgres_url, timeout=1) as store:
        store.record([outcome(key="before")])
        with store.engine.connect() as slow, slow.begin():
            slow.execute(insert(Outcome), outcome_rows([outcome(key="slow")]))
            store.record([outcome(key="meanwhile")])
            assert only(store.evidence("fraud", "R", TERMS, as_of=NOON)).keys == 1
        assert only(store.evidence("fraud", "R", TERMS, as_of=NOON)).keys == 3


def test_a_transaction_announces_itself_once(postgres_url: str) -> None:
    """A batch of thousands of rows takes one lock, not one each."""
    with OutcomeStore(postgres_url) as store, store.engine.connect() as connection, connection.begin():
        for _ in range(3):
            connection.execute(insert(Outcome), outcome_rows([outcome() for _ in range(50)]))
        held = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        assert connection.scalar(held) == 1


@pytest.mark.tested(1)
@pytest.mark.slow
def test_judges_and_writers_at_once(shared: OutcomeStore, shared_url: str) -> None:
    """Two judges who count while two writers write see whole batches add up, and in the end everything once."""
    barrier = Barrier(4, timeout=60)

    def write(writer: int) -> None:
        barrier.wait()
        with OutcomeStore(shared_url, timeout=120) as store:
            for batch in range(12):
                names = [f"{writer}-{batch}-{n}" for n in range(10)]
                store.record([outcome(key=name, request_id=name, flagged=True) for name in names])
                store.record_shadows([shadow(name) for name in names])
                store.label([case(transaction_id=name, known_at=NOON, status="genuine") for name in names])

    def judge(_: int) -> None:
        barrier.wait()
        seen = 0
        with OutcomeStore(shared_url, timeout=120) as store:
            for _ in range(12):
                tallies = store.evidence("fraud", "R", TERMS, as_of=QUESTION.as_of).tallies
                for tally in tallies:
                    assert tally.keys % 10 == 0
                    assert seen <= tally.keys == tally.matured >= tally.labelled
                    seen = tally.keys

    with ThreadPoolExecutor(4) as pool:
        for done in [*(pool.submit(write, n) for n in range(2)), *(pool.submit(judge, n) for n in range(2))]:
            done.result()
    evidence = shared.evidence("fraud", "R", TERMS, as_of=QUESTION.as_of)
    tally = only(evidence)
    assert (tally.keys, tally.matured, tally.labelled, tally.false_alerts) == (240, 240, 240, 240)
    assert evidence.pairs[EventKind.FALSE_POSITIVE].champion_only == 240
    shared.close()


_VICTIM = """
import os, sys
from fds_mlflow.outcomes.counting.counting import advance
from fds_mlflow.outcomes.counting.watermarks import watermarks
from fds_mlflow.outcomes.store import OutcomeStore
from tests.outcomes.test_counting import QUESTION

url, chunks = sys.argv[1], int(sys.argv[2])
store = OutcomeStore(url)
with store.session() as session:
    upto = watermarks(session)
for number in range(chunks):
    with store.session() as session:
        found = advance(session, QUESTION, upto, 7)
        if number == chunks - 1:
            os._exit(9)
"""


@pytest.mark.tested(1)
@pytest.mark.slow
@pytest.mark.parametrize("chunks", [1, 2, 5])
def test_killed_in_the_middle(shared: OutcomeStore, shared_url: str, chunks: int) -> None:
    """A judge that is killed in the middle leaves counts that the next one goes on from: nothing twice, none lost."""
    shared.record([outcome(key=f"TX{n % 20}", request_id=f"R{n}", flagged=n % 3 == 0) for n in range(30)])
    shared.record_shadows([shadow(f"R{n}") for n in range(0, 30, 2)])
    shared.label([case(transaction_id=f"TX{n}", known_at=NOON) for n in range(20)])
    died = subprocess.run([sys.executable, "-c", _VICTIM, shared_url, str(chunks)], cwd=ROOT, check=False)
    assert died.returncode == 9
    found = shared.evidence("fraud", "R", TERMS, as_of=QUESTION.as_of)
    with OutcomeStore("sqlite://") as whole:
        whole.record(list(reversed(shared.recent("fraud", limit=100))))
        whole.record_shadows([shadow(f"R{n}") for n in range(0, 30, 2)])
        whole.label([case(transaction_id=f"TX{n}", known_at=NOON) for n in range(20)])
        assert found == whole.evidence("fraud", "R", TERMS, as_of=QUESTION.as_of)
    shared.close()


def test_a_chunk_is_bounded(memory: OutcomeStore) -> None:
    """However much has piled up, one transaction counts no more than a chunk of it."""
    memory.record([outcome(time=NOON + n * timedelta(hours=1)) for n in range(10)])
    with memory.session() as session:
        upto = watermarks(session)
    requests = []
    for _ in range(4):
        with memory.session() as session:
            advance(session, QUESTION, upto, 4)
        with memory.session() as session:
            cells = session.execute(text("SELECT numbers ->> 'requests' FROM fds_tallies"))
            requests.append(int(cells.scalar_one()))
    assert requests == [4, 8, 10, 10]


@pytest.mark.slow
def test_a_look_reads_only_what_is_new(memory: OutcomeStore) -> None:
    """No statement of a look walks through a table, or through a rollout: each finds its rows by an index."""
    memory.record([outcome(key=f"TX{n}", request_id=f"R{n}", flagged=n % 2 == 0) for n in range(30)])
    memory.record_shadows([shadow("R0")])
    memory.evidence("fraud", "R", TERMS, as_of=NOON + DAY)  # the first look has to find where the rollout begins
    memory.record([outcome(key=f"C{n}", transaction_id=f"T{n}", request_id=f"N{n}", flagged=True) for n in range(3)])
    memory.record_shadows([shadow("N0"), shadow("R1")])
    memory.label([case(transaction_id=name, known_at=NOON) for name in ("TX1", "TX2", "T1")])
    plans: list[str] = []

    @event.listens_for(memory.engine, "before_cursor_execute")
    def _explain(_: object, cursor: sqlite3.Cursor, statement: str, parameters: Any, *__: object) -> None:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        plans.extend(row[-1] for row in cursor.fetchall())

    memory.evidence("fraud", "R", TERMS, as_of=NOON + 2 * DAY)
    assert any(" ix_fds_outcomes_key (model=? AND rollout_id=? AND key=?" in plan for plan in plans)
    assert any(" ix_fds_outcomes_transaction (model=? AND transaction_id=?" in plan for plan in plans)
    assert any(" ix_fds_outcomes_recent (model=? AND time>?" in plan for plan in plans)
    walks = re.compile(r"SCAN fds_|\((model=\?|model=\? AND rollout_id=\?|count_id=\? AND kind=\?)\)")
    assert [plan for plan in plans if walks.search(plan)] == []
