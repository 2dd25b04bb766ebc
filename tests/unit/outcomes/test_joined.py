"""Labels find the outcomes of whole numbers that went through a float, on either side and in old databases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

import fds_mlflow.outcomes as package
from fds_mlflow.outcomes.label_file import import_labels
from fds_mlflow.outcomes.records import CaseRecord
from fds_mlflow.outcomes.store import OutcomeStore
from tests.unit.outcomes.samples import NOON, outcome


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
    odd = ["1000.0", "TX1.0", "00.0", "0.0", "12.50", "1234567890123456.0", "-7.0", "x\u00e9.0"]
    with OutcomeStore(shared_url) as store:
        config = Config()
        config.set_main_option("script_location", str(Path(package.__file__).parent / "migrations"))
        config.set_main_option("path_separator", "os")
        with store.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, "0002")
            store_old(connection, odd)
    with OutcomeStore(shared_url) as store:
        names = ["1000", "TX1.0", "00.0", "0", "12.50", "1234567890123456.0", "-7.0", "x\u00e9.0"]
        assert {one.transaction_id for one in store.recent("fraud")} == set(names)
        assert store.cases(odd).keys() == set(odd)
        assert _labelled(store) == len(odd)


def store_old(connection: object, ids: list[str]) -> None:
    """Outcomes and labels as an earlier release wrote them; one label is there under both spellings."""
    from sqlalchemy import insert
    from sqlalchemy.engine import Connection

    from fds_mlflow.outcomes.records import case_rows, outcome_rows
    from fds_mlflow.outcomes.tables import FraudCase, Outcome

    assert isinstance(connection, Connection)
    for name in ids:
        (row,) = outcome_rows([replace(outcome(), key=name, request_id=name)])
        connection.execute(insert(Outcome), [row | {"transaction_id": name}])
        (case,) = case_rows([CaseRecord(transaction_id="x", status="genuine", known_at=NOON)])
        connection.execute(insert(FraudCase), [case | {"transaction_id": name}])
    connection.execute(insert(FraudCase), [case | {"transaction_id": "1000"}])
