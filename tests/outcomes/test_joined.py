"""Labels find the outcomes of whole numbers that went through a float, on either side and in old databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import column, insert, inspect, select, table, update
from sqlalchemy.engine import Connection

import fds_mlflow.outcomes as package
from fds_mlflow.core.evidence.evidence import EventKind, Terms
from fds_mlflow.outcomes.label_file import import_labels
from fds_mlflow.outcomes.records import CaseRecord, ShadowRecord, case_rows, outcome_rows
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.outcomes.tables import Base, CellCount, Count, FraudCase, Outcome
from tests.support.samples import DAY, NOON, outcome


def _labelled(store: OutcomeStore) -> int:
    return sum(count.labelled for count in store.counts("fraud", "R"))


@pytest.mark.parametrize(("scored", "labelled"), [("1000", "1000.0"), ("1000.0", "1000"), ("1000.0", "1000.0")])
def test_a_label_joins_the_number_however_both_are_written(memory: OutcomeStore, scored: str, labelled: str) -> None:
    """An id that a column of floats was written to, in a request or in a label file, is the whole number again."""
    memory.record([replace(outcome(), key=scored, transaction_id=None)])
    memory.label([CaseRecord(transaction_id=labelled, status="confirmed", known_at=NOON)])
    assert _labelled(memory) == 1
    assert memory.cases([labelled, scored]).keys() == {labelled, scored}


def test_a_label_file_that_pandas_wrote_with_gaps_finds_its_outcomes(memory: OutcomeStore, tmp_path: Path) -> None:
    """A column of whole numbers becomes floats where a value is missing, and its labels join all the same."""
    memory.record([replace(outcome(), key="1000", transaction_id="1000")])
    file = tmp_path / "labels.csv"
    file.write_text(f"transaction_id,status,known_at\n1000.0,confirmed,{NOON.isoformat()}\n")
    assert import_labels(memory, file) == (1, 1)
    assert _labelled(memory) == 1


def test_outcomes_and_labels_of_earlier_releases_are_joined(shared_url: str) -> None:
    """An older database is rewritten once: ids of floats become numbers, all others stay, no label is doubled."""
    odd = ["1000.0", "TX1.0", "00.0", "0.0", "12.50", "-7.0", "x\u00e9.0"]
    odd += ["1234567890123456.0", "9007199254740991.0", "9007199254740993.0", "12345678901234567.0"]
    with OutcomeStore(shared_url) as store, downgraded(store) as connection:
        store_old(connection, odd)
    with OutcomeStore(shared_url) as store:
        names = ["1000", "TX1.0", "00.0", "0", "12.50", "-7.0", "x\u00e9.0"]
        names += ["1234567890123456", "9007199254740991", "9007199254740993.0", "12345678901234567.0"]
        assert {one.transaction_id for one in store.recent("fraud")} == set(names)
        assert store.cases(odd).keys() == set(odd)
        assert _labelled(store) == len(odd)


TERMS = Terms(maturity=DAY)


@pytest.mark.tested(1)
@pytest.mark.slow
@pytest.mark.parametrize(("scored", "labelled"), [("1000.0", "1000"), ("1000", "1000.0")])
def test_labels_that_were_looked_for_in_vain_are_counted(shared_url: str, scored: str, labelled: str) -> None:
    """Outcomes that matured before ids were rewritten get their labels, as if counted for the first time then."""
    with OutcomeStore(shared_url) as store:
        seed_rollouts(store)
        with store.engine.begin() as connection:
            store_in_vain(connection, scored, labelled)
        before = {rollout: store.evidence("fraud", rollout, TERMS, as_of=NOON + 3 * DAY) for rollout in "FRS"}
        assert {sum(tally.labelled for tally in one.tallies) for one in before.values()} == {0}
        with downgraded(store) as connection:
            connection.execute(update(Count).where(Count.rollout_id == "F").values(final=True))
    with OutcomeStore(shared_url) as store, store.engine.begin() as connection:
        assert set(connection.scalars(select(Count.rollout_id).join(CellCount))) == {"F", "S"}
    with OutcomeStore(shared_url) as store:
        found = {rollout: store.evidence("fraud", rollout, TERMS, as_of=NOON + 3 * DAY) for rollout in "FNRS"}
    assert (found["F"], found["S"]) == (before["F"], before["S"])
    assert found["R"] == found["N"]
    assert sum(tally.labelled for tally in found["R"].tallies) == 1
    assert EventKind.MISSED_FRAUD in found["R"].pairs


@pytest.mark.tested(1)
@pytest.mark.slow
def test_a_rollout_that_is_counted_anew_is_counted_before_it_is_pruned(shared_url: str) -> None:
    """Nobody has to ask in between: what goes is counted on the terms that it was counted on before."""
    with OutcomeStore(shared_url) as store:
        seed_rollouts(store)
        with store.engine.begin() as connection:
            store_in_vain(connection, "1000.0", "1000")
        store.evidence("fraud", "R", TERMS, as_of=NOON + 3 * DAY)
        with downgraded(store):
            pass
    with OutcomeStore(shared_url) as store:
        assert store.prune("fraud", older_than=NOON + 5 * DAY)
        (tally,) = store.evidence("fraud", "R", TERMS, as_of=NOON + 5 * DAY).tallies
        assert (tally.requests, tally.matured, tally.labelled) == (3, 3, 1)


@contextmanager
def downgraded(store: OutcomeStore) -> Iterator[Connection]:
    """The database as an earlier release has it."""
    config = Config()
    config.set_main_option("script_location", str(Path(package.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with store.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        yield connection


def seed_rollouts(store: OutcomeStore) -> None:
    """The same three requests, with shadows, in four rollouts: final, never asked about, rewritten, and another."""
    ids = [(rollout, number) for number in range(3) for rollout in "FNRS"]
    outcomes = [outcome(rollout_id=rollout, key=f"{rollout}{number}") for rollout, number in ids]
    store.record(outcomes)
    answer = {"version": 2, "score": 0.75, "flagged": True, "latency_ms": 2.0, "time": NOON}
    store.record_shadows([ShadowRecord(model="fraud", request_id=one.request_id, **answer) for one in outcomes])


def add(connection: Connection, into: type[Base], row: dict[str, Any]) -> None:
    """Write a row into a table as it is there: without the columns that later migrations add."""
    name = into.__tablename__
    there = {one["name"] for one in inspect(connection).get_columns(name)}
    columns = [column(each.name, each.type) for each in into.__table__.columns if each.name in there]
    connection.execute(insert(table(name, *columns)), [{key: value for key, value in row.items() if key in there}])


def store_in_vain(connection: Connection, scored: str, labelled: str) -> None:
    """A transaction and its label as an earlier release wrote them, in all rollouts but one."""
    hit = Outcome.key.in_(["F0", "N0", "R0"])
    connection.execute(update(Outcome).where(hit).values(transaction_id=scored))
    (case,) = case_rows([CaseRecord(transaction_id="x", status="confirmed", known_at=NOON)])
    connection.execute(insert(FraudCase), [case | {"transaction_id": labelled}])


def store_old(connection: Connection, ids: list[str]) -> None:
    """Outcomes and labels as an earlier release wrote them; one label is there under both spellings."""
    for name in ids:
        (row,) = outcome_rows([replace(outcome(), key=name, request_id=name)])
        add(connection, Outcome, row | {"transaction_id": name})
        (case,) = case_rows([CaseRecord(transaction_id="x", status="genuine", known_at=NOON)])
        add(connection, FraudCase, case | {"transaction_id": name})
    add(connection, FraudCase, case | {"transaction_id": "1000"})
