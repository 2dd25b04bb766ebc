"""What earlier commits stored of outcomes, shadows and labels: it opens, is brought up to date, and counts the same."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from fds_mlflow import CaseRecord, Guardrail, OutcomeRecord, OutcomeStore, Plan
from tests.golden.support import HERE, MODEL, lacking, outcome_store

SCHEMAS = sorted(path.stem for path in (HERE / "outcomes").glob("*.sql"))
COUNTED = [schema for schema in SCHEMAS if schema > "0001"]
"""Schemas that hold counts: the first had none."""


def plan(bound: float, maturity: str) -> Plan:
    """A plan on whose terms outcomes are counted."""
    labels = Guardrail("missed_fraud", margin=0.5)
    return Plan(guardrails=[Guardrail("latency", margin=1.0, bound=bound), labels], label_maturity=maturity)


HALF = plan(20, "30m").terms
"""The terms on which the rollout had been counted halfway when the dumps were made."""

FRESH = plan(50, "90m").terms
"""Terms on which nobody had counted yet."""


@pytest.fixture(params=SCHEMAS)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[dict[str, Any], OutcomeStore]]:
    """What the writer knew, and the store as it is opened today."""
    golden = json.loads((HERE / "outcomes" / f"{request.param}.json").read_text(encoding="utf-8"))
    with OutcomeStore(outcome_store(request.param, tmp_path / "outcomes.db")) as store:
        yield golden, store


counted = pytest.mark.parametrize("stored", COUNTED, indirect=True)


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


def test_outcomes_and_labels_add_up_as_they_did(stored: tuple[dict[str, Any], OutcomeStore]) -> None:
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
def test_counting_goes_on_where_it_was(stored: tuple[dict[str, Any], OutcomeStore]) -> None:
    """Evidence that was counted halfway is finished to the same numbers: nothing twice, nothing left out."""
    golden, store = stored
    for when in ("then", "later"):
        as_of = datetime.fromisoformat(golden[when]["as_of"])
        found = plain(store.evidence(MODEL, golden["rollout"], HALF, as_of=as_of))
        assert lacking(golden[when]["evidence"], found) == []


@counted
def test_counting_anew_gives_the_same_numbers(stored: tuple[dict[str, Any], OutcomeStore]) -> None:
    """Outcomes, shadows and labels of an earlier schema can be counted on terms that nobody asked about yet."""
    golden, store = stored
    as_of = datetime.fromisoformat(golden["fresh"]["as_of"])
    found = plain(store.evidence(MODEL, golden["rollout"], FRESH, as_of=as_of))
    assert lacking(golden["fresh"]["evidence"], found) == []


def test_the_first_schema_counts_like_the_last(tmp_path: Path) -> None:
    """The same outcomes and labels, stored before there were counts, are the same evidence."""
    golden = json.loads((HERE / "outcomes" / "0003.json").read_text(encoding="utf-8"))["fresh"]
    rollout = json.loads((HERE / "outcomes" / "0001.json").read_text(encoding="utf-8"))["rollout"]
    with OutcomeStore(outcome_store("0001", tmp_path / "outcomes.db")) as store:
        as_of = datetime.fromisoformat(golden["as_of"])
        found = plain(store.evidence(MODEL, rollout, FRESH, as_of=as_of))
    assert lacking(golden["evidence"]["tallies"], found["tallies"]) == []


def test_what_is_new_goes_into_the_old_store(stored: tuple[dict[str, Any], OutcomeStore]) -> None:
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
def test_an_old_store_can_be_pruned(stored: tuple[dict[str, Any], OutcomeStore]) -> None:
    """What was counted stays: after pruning, the evidence is the same."""
    golden, store = stored
    as_of = datetime(2026, 6, 1, tzinfo=datetime.fromisoformat(golden["counts"][0]["first"]).tzinfo)
    before = [store.evidence(MODEL, golden["rollout"], HALF, as_of=as_of).tallies]
    assert store.prune(MODEL, older_than=as_of) > 40
    assert [store.evidence(MODEL, golden["rollout"], HALF, as_of=as_of).tallies] == before


def test_today_writes_the_newest_of_these_schemas(tmp_path: Path) -> None:
    """Whoever adds a schema adds a dump of it here."""
    with OutcomeStore(f"sqlite:///{tmp_path / 'new.db'}"):
        pass
    with sqlite3.connect(tmp_path / "new.db") as connection:
        found = connection.execute("SELECT version_num FROM fds_outcomes_version").fetchone()
    assert found == (SCHEMAS[-1],)
