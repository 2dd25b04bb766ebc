"""Forgetting: all that names a person goes, at once, and nothing else; what was counted stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from fds_mlflow.core.evidence.evidence import Terms
from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.aio import AsyncOutcomeStore
from fds_mlflow.outcomes.forgetting import Forgotten
from fds_mlflow.outcomes.records import Vector
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.outcomes.tables import Base, FirstEvent, FraudCase, Outcome, RecordedVector, Shadow
from tests.outcomes.test_evidence import shadow
from tests.support.effort import at_most
from tests.support.samples import DAY, NOON, case, outcome

TERMS = Terms(latency_bound=100.0, maturity=7 * DAY)


def filled(store: OutcomeStore, customers: list[int]) -> None:
    """One transaction a customer: an outcome, a shadow, a vector and a label; and one of somebody else at the end."""
    for number, customer in [*enumerate(customers), (len(customers), -1)]:
        request, key = f"R{number}", f"C{customer}"
        vector = Vector({"amount": 1.0}, {"customer_id": customer, "id": f"T{number}"}, "spec")
        record = outcome(
            **{"key": key, "transaction_id": f"T{number}", "request_id": request, "flagged": number % 2 == 0},
            **{"error": f"{key} failed", "reasons": "[]", "inputs_digest": "ab", "vector": vector},
        )
        store.record([record])
        store.record_shadows([shadow(request)])
        store.label([case(transaction_id=f"T{number}", known_at=NOON + DAY)])


def counts(store: OutcomeStore) -> dict[str, int]:
    """How many rows each table has."""
    tables = {"outcomes": Outcome, "shadows": Shadow, "vectors": RecordedVector, "labels": FraudCase}
    tables["first_events"] = FirstEvent
    with store.session() as session:
        return {name: session.scalar(select(func.count()).select_from(one)) or 0 for name, one in tables.items()}


def everything(store: OutcomeStore) -> str:
    """Every value of every table, as text."""
    with store.session() as session:
        return " ".join(
            repr(value)
            for table in Base.metadata.tables.values()
            for row in session.execute(select(table))
            for value in row
        )


@at_most(25)
@given(customers=st.lists(st.integers(0, 3), min_size=1, max_size=8), gone=st.integers(0, 3), by=st.sampled_from("kct"))
def test_what_is_removed_adds_up(customers: list[int], gone: int, by: str) -> None:
    """What is told is what is missing afterwards, what the dry run told, and exactly what the person had."""
    with OutcomeStore("sqlite://") as store:
        filled(store, customers)
        store.evidence("fraud", "R", TERMS, as_of=NOON + 30 * DAY)
        mine = [f"T{number}" for number, customer in enumerate(customers) if customer == gone]
        asked = {"k": ("key", [f"C{gone}"]), "c": ("customer_id", [str(gone)]), "t": ("transaction", mine or ["T99"])}[
            by
        ]
        before = counts(store)
        dry = store.forget(*asked, dry_run=True)
        assert counts(store) == before
        told = store.forget(*asked)
        assert told == dry
        after = counts(store)
        assert {name: before[name] - after[name] for name in before} == {name: getattr(told, name) for name in before}
        assert (told.outcomes, told.shadows, told.vectors, told.labels) == (len(mine),) * 4
        assert told.rollouts == ((("fraud", "R"),) if mine else ())
        left = everything(store)
        assert f"'C{gone}'" not in left
        assert not any(f"'{name}'" in left for name in mine)
        assert store.forget(*asked) == Forgotten()


def test_the_evidence_stays_as_it_was(store: OutcomeStore) -> None:
    """A person's requests go on to count: what nobody had counted yet is counted before it goes."""
    filled(store, [1, 2, 1])
    as_of = NOON + 30 * DAY
    store.evidence("fraud", "R", TERMS, as_of=NOON - DAY)  # somebody asked, before any of it
    with OutcomeStore("sqlite://") as other:
        filled(other, [1, 2, 1])
        expected = other.evidence("fraud", "R", TERMS, as_of=as_of)
    assert store.forget("key", ["C1"]).outcomes == 2
    found = store.evidence("fraud", "R", TERMS, as_of=as_of)
    assert (found.tallies, found.pairs) == (expected.tallies, expected.pairs)


def test_the_newest_row_is_emptied_and_its_number_never_comes_again(store: OutcomeStore) -> None:
    """Where the last row is the person's, nothing of them is left in it, and what comes next is counted."""
    filled(store, [])
    told = store.forget("key", ["C-1"])
    assert (told.outcomes, told.shadows, told.vectors, told.labels) == (1, 1, 1, 1)
    left = everything(store)
    assert not any(name in left for name in ("C-1", "'T0'", "'R0'", "failed", "'ab'", "customer_id"))
    store.record([outcome(key="new", request_id="new")])
    assert store.evidence("fraud", "R", TERMS, as_of=NOON + DAY).tallies[0].requests == 2


def test_a_transaction_goes_from_every_model(store: OutcomeStore) -> None:
    """What another model said to the person's transactions goes with them, whatever key it was routed by."""
    store.record([outcome(transaction_id="T1", key="C1"), outcome(transaction_id="T1", key="D7", model="returns")])
    store.record([outcome(transaction_id="1000", key="C2")])
    assert store.forget("key", ["C1"]).outcomes == 2
    assert store.forget("transaction", ["1000.0"]).outcomes == 1  # a column of floats wrote it


async def test_the_other_store_forgets_alike(shared_url: str) -> None:
    """The store for asyncio removes and counts the same."""
    with OutcomeStore(shared_url) as store:
        filled(store, [1, 2])
    async with AsyncOutcomeStore(shared_url) as other:
        dry = await other.forget("key", ["C1"], dry_run=True)
        assert dry.outcomes == 1
        assert await other.forget("key", ["C1"]) == dry


@pytest.mark.parametrize("values", [[], [""], ["C1", ""]])
def test_nobody_is_not_everybody(memory: OutcomeStore, values: Any) -> None:
    """Without a value, or with an empty one, nothing is removed."""
    filled(memory, [1])
    with pytest.raises(DataError, match="nobody"):
        memory.forget("key", values)
    assert counts(memory)["outcomes"] == 2


def test_a_column_that_no_transaction_has_is_told(memory: OutcomeStore) -> None:
    """A misspelled column is refused with those that there are, and does not read as if nobody were stored."""
    filled(memory, [1])
    with pytest.raises(DataError, match="'customer'") as told:
        memory.forget("customer", ["1"])
    assert told.value.fix == "name one of key, transaction, customer_id, id"
