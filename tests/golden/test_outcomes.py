"""What earlier commits stored of outcomes, shadows and labels: it opens, is brought up to date, and counts the same."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text

from fds_mlflow import CaseRecord, Guardrail, OutcomeRecord, OutcomeStore, Plan
from fds_mlflow.core.evidence.evidence import Terms
from fds_mlflow.errors import RefusedError
from tests.golden.support import HERE, MODEL, lacking, outcome_store, postgresql_store

SCHEMAS = sorted(path.stem for path in (HERE / "outcomes").glob("*.json"))
FAULTS = (pytest.mark.slow, pytest.mark.xdist_group("faults"))  # where the tests' PostgreSQL server is
STORES = [
    *((schema, "sqlite") for schema in SCHEMAS),
    *(pytest.param((schema, "postgresql"), marks=FAULTS) for schema in SCHEMAS),
]
COUNTED = [store for store in STORES if "0001" not in (getattr(store, "values", [store])[0])]
"""Schemas that hold counts: the first had none."""
NEWEST = [store for store in STORES if SCHEMAS[-1] in (getattr(store, "values", [store])[0])]


def terms(bound: float, maturity: str, test: int) -> Terms:
    """The terms of a plan."""
    guardrails = [Guardrail("latency", margin=1.0, bound=bound), Guardrail("missed_fraud", margin=0.5)]
    return Plan(guardrails=guardrails, label_maturity=maturity, test=test).terms


def half(golden: Mapping[str, Any]) -> Terms:
    """The terms on which the rollout had been counted halfway when the dumps were made: those of its test."""
    return terms(20, "30m", golden.get("test", 1))


def fresh(test: int) -> Terms:
    """Terms on which nobody had counted yet."""
    return terms(50, "90m", test)


TESTS = [1, 2]
"""The tests of `Plan`."""


Left = tuple[dict[str, Any], str]

Stored = tuple[dict[str, Any], OutcomeStore]


@pytest.fixture(params=STORES, ids="-".join)
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Left:
    """What the writer knew, and the URL of the database as it left it."""
    schema, engine = request.param
    golden = json.loads((HERE / "outcomes" / f"{schema}.json").read_text(encoding="utf-8"))
    if engine == "sqlite":
        return golden, outcome_store(schema, tmp_path / "outcomes.db")
    return golden, postgresql_store(schema, request.getfixturevalue("postgres_url"))


@pytest.fixture
def stored(left: Left) -> Iterator[Stored]:
    """What the writer knew, and the store as it is opened today."""
    golden, url = left
    with OutcomeStore(url) as store:
        yield golden, store


def only(stores: list[Any]) -> pytest.MarkDecorator:
    """The test is about these stores."""
    return pytest.mark.parametrize("left", stores, indirect=True, ids="-".join)


counted = only(COUNTED)


def plain(value: Any) -> Any:
    """An answer of the store in JSON's types."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.value if isinstance(value, Enum) else value


def test_outcomes_and_labels_add_up_as_they_did(stored: Stored) -> None:
    """Requests, keys, errors, flags, labels of both variants, by step and in whole, and single records."""
    golden, store = stored
    rollout, later = golden["rollout"], golden["counts"][-1]["last"]
    assert lacking(golden["counts"], plain(store.counts_by_step(MODEL, rollout))) == []
    mature = datetime.fromisoformat(later) + timedelta(days=1)
    whole = plain(store.counts(MODEL, rollout, as_of=mature, maturity=timedelta(minutes=90)))
    assert lacking(golden["mature"], whole) == []
    assert lacking(golden["recent"], plain(store.recent(MODEL, limit=3))) == []
    assert lacking(golden["cases"], plain(store.cases(list(golden["cases"])))) == []


@counted
def test_counting_goes_on_where_it_was(stored: Stored) -> None:
    """Evidence that was counted halfway is finished to the same numbers: nothing twice, nothing left out."""
    golden, store = stored
    for when in ("then", "later"):
        as_of = datetime.fromisoformat(golden[when]["as_of"])
        found = plain(store.evidence(MODEL, golden["rollout"], half(golden), as_of=as_of))
        assert lacking(golden[when]["evidence"], found) == []


@counted
def test_counting_anew_gives_the_same_numbers(stored: Stored) -> None:
    """Outcomes, shadows and labels of an earlier schema can be counted on terms that nobody asked about yet.

    Those of a later test than the writer's count more, and what the writer counted as it did.
    """
    golden, store = stored
    as_of = datetime.fromisoformat(golden["fresh"]["as_of"])
    for test in TESTS[TESTS.index(golden.get("test", 1)) :]:
        found = plain(store.evidence(MODEL, golden["rollout"], fresh(test), as_of=as_of))
        assert lacking(golden["fresh"]["evidence"], found) == []


@pytest.mark.parametrize("test", TESTS)
def test_the_first_schema_counts_like_the_third(tmp_path: Path, test: int) -> None:
    """The same outcomes and labels, stored before there were counts, are the same evidence."""
    golden = json.loads((HERE / "outcomes" / "0003.json").read_text(encoding="utf-8"))["fresh"]
    rollout = json.loads((HERE / "outcomes" / "0001.json").read_text(encoding="utf-8"))["rollout"]
    with OutcomeStore(outcome_store("0001", tmp_path / "outcomes.db")) as store:
        as_of = datetime.fromisoformat(golden["as_of"])
        found = plain(store.evidence(MODEL, rollout, fresh(test), as_of=as_of))
    assert lacking(golden["evidence"]["tallies"], found["tallies"]) == []


def test_what_is_new_goes_into_the_old_store(stored: Stored) -> None:
    """A request that is stored already is known, a new one is added, and a label finds an id that had been a float."""
    golden, store = stored
    (newest,) = golden["recent"][:1]
    values = {**newest, "time": datetime.fromisoformat(newest["time"])}
    assert store.record([OutcomeRecord(**values)]) == 0
    assert store.record([OutcomeRecord(**{**values, "request_id": "R-new"})]) == 1
    whole = [
        r.transaction_id for r in store.recent(MODEL, limit=100) if r.transaction_id and r.transaction_id.isdecimal()
    ]
    assert "1005" in whole  # it was stored as 1005.0
    known = values["time"] + timedelta(days=2)
    assert store.label([CaseRecord(transaction_id="1005", status="confirmed", known_at=known)]) == 1


@pytest.mark.slow
def test_an_old_store_can_be_pruned(stored: Stored) -> None:
    """What was counted stays: after pruning, the evidence is the same."""
    golden, store = stored
    as_of = datetime(2026, 6, 1, tzinfo=datetime.fromisoformat(golden["counts"][0]["first"]).tzinfo)
    before = store.evidence(MODEL, golden["rollout"], half(golden), as_of=as_of)
    assert store.prune(MODEL, older_than=as_of) > 40
    assert store.evidence(MODEL, golden["rollout"], half(golden), as_of=as_of) == before


# --- what a later release wrote -------------------------------------------------------------------------------------


def execute(url: str, *statements: str) -> None:
    """Do something to a database by hand."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def everything(url: str) -> dict[str, Any]:
    """Each table's columns and rows."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        found = {name: connection.execute(text(f"SELECT * FROM {name}")).mappings().all() for name in names}
    engine.dispose()
    return {name: sorted(map(repr, rows)) for name, rows in found.items()}


LATER = (
    "ALTER TABLE fds_outcomes ADD COLUMN region VARCHAR(8)",
    "ALTER TABLE fds_fraud_cases ADD COLUMN region VARCHAR(8) DEFAULT 'eu'",
    "ALTER TABLE fds_counts ADD COLUMN region VARCHAR(8) DEFAULT 'eu'",
    "UPDATE fds_outcomes SET region = 'eu'",
    "CREATE TABLE fds_regions (name VARCHAR(8) PRIMARY KEY, outcome_id INTEGER)",
    "INSERT INTO fds_regions VALUES ('eu', 1)",
)
"""What a later release may add: columns and a table."""


@only(NEWEST)
@pytest.mark.parametrize("version", ["0006", "1000", "0002b"])
def test_a_database_of_a_later_release_is_refused_and_left_alone(left: Left, version: str) -> None:
    """Who opens it is told to upgrade, by either store; not a row and not a column is changed."""
    _, url = left
    execute(url, *LATER, f"UPDATE fds_outcomes_version SET version_num = '{version}'")
    before = everything(url)
    with pytest.raises(RefusedError, match=f"outcome schema {version}") as told:
        OutcomeStore(url)
    assert "upgrade fds-mlflow" in told.value.fix
    assert everything(url) == before


@only(NEWEST)
def test_columns_and_tables_that_are_not_ours_stay(left: Left) -> None:
    """A column that another release or a team has added keeps its values, and nothing that we do minds it."""
    golden, url = left
    execute(url, *LATER)
    with OutcomeStore(url) as store:
        test_counting_goes_on_where_it_was((golden, store))
        test_outcomes_and_labels_add_up_as_they_did((golden, store))
        test_what_is_new_goes_into_the_old_store((golden, store))
        found = everything(url)
        store.prune(MODEL, older_than=datetime(2026, 6, 1, tzinfo=UTC))
        assert everything(url)["fds_regions"] == found["fds_regions"]
    assert sum("'region': 'eu'" in row for row in found["fds_outcomes"]) == 51
    assert len(found["fds_outcomes"]) == 52
    assert all("'region': 'eu'" in row for row in [*found["fds_fraud_cases"], *found["fds_counts"]])


def test_no_row_is_lost_on_the_way_to_todays_schema(left: Left) -> None:
    """Every table of every earlier schema has as many rows as before, on either database."""
    _, url = left
    before = {name: len(rows) for name, rows in everything(url).items()}
    with OutcomeStore(url):
        pass
    after = everything(url)
    assert {name: len(after[name]) for name in before} == before
    assert any(SCHEMAS[-1] in row for row in after["fds_outcomes_version"])


def test_today_writes_the_newest_of_these_schemas(tmp_path: Path) -> None:
    """Whoever adds a schema adds a dump of it here."""
    with OutcomeStore(f"sqlite:///{tmp_path / 'new.db'}"):
        pass
    with sqlite3.connect(tmp_path / "new.db") as connection:
        found = connection.execute("SELECT version_num FROM fds_outcomes_version").fetchone()
    assert found == (SCHEMAS[-1],)


@only(NEWEST)
def test_what_an_outcome_was_scored_on_reads_back(left: Left) -> None:
    """The digest and the reasons of an outcome, and the features that were kept with it, are as they were written."""
    with OutcomeStore(left[1]) as store:
        (one,) = [record for record in store.recent(MODEL, limit=100) if record.inputs_digest]
        assert (one.request_id, one.inputs_digest, one.degraded) == ("R002", "0123456789abcdef", False)
        assert json.loads(one.reasons or "") == [{"code": "V01", "value": 3, "contribution": 0.5}]
        assert [entry.vectors for entry in store.stats() if entry.model == MODEL] == [1]
