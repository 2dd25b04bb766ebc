"""Many rows at once go another way to the database than few: what is stored and counted is the same."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import select, text

from fds_mlflow.core.evidence.evidence import EventKind, Terms
from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.counting.counting import _UNUSED
from fds_mlflow.outcomes.records import CaseRecord, CaseStatus, OutcomeRecord
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.outcomes.tables import Outcome
from tests.support.samples import DAY, NOON, case, outcome

MANY = 150


def _awkward(name: str) -> list[OutcomeRecord]:
    """Outcomes of which one column is null, or holds a sign that means something in an array of texts."""
    signs = ['"', "\\", "{", "}", ",", "NULL", "null", " ", "'", '\\"', "고", "%s", "%(x)s", ":x", "é" * 64]
    return [
        outcome(
            key=f"{signs[number % len(signs)]}{number}",
            request_id=f"{name}-{number:04d}",
            time=NOON + timedelta(microseconds=number),
            error=None if number % 3 else signs[number % len(signs)] + "!",
            score=None if number % 30 == 0 else number / 7 / MANY,
            propensity=None if number % 2 else 0.125,
            segment=signs[number % len(signs)],
            flagged=number % 5 == 0,
            assigned="champion" if number % 4 else "canary",
            served="canary" if number % 3 else "champion",
            transaction_id=f'{number}"' if number % 3 else f"{number},",
        )
        for number in range(MANY)
    ]


def test_every_value_comes_back(store: OutcomeStore) -> None:
    """A large batch reads back as it was written: quotes, braces, gaps and the last digit of every number."""
    written = _awkward("a")
    assert store.record(written) == MANY
    assert store.record(written) == 0
    assert store.recent("fraud", limit=2 * MANY) == written[::-1]


def test_many_are_stored_as_few_are(store: OutcomeStore) -> None:
    """The database holds the same for a batch and for its records one by one."""
    store.record(_awkward("r"))
    for entry in _awkward("s"):
        store.record([entry])
    columns = "key, transaction_id, rollout_id, step, weight, assigned, served, version, score, flagged, latency_ms, "
    columns += "error, time, propensity, explored, segment, degraded, inputs_digest, reasons"
    with store.session() as session:
        of = "SELECT {0} FROM fds_outcomes WHERE request_id LIKE '{1}-%' ORDER BY request_id"
        batch, single = (session.execute(text(of.format(columns, name))).all() for name in "rs")
    assert batch == single


def test_one_odd_value_among_many_is_refused(store: OutcomeStore) -> None:
    """A value that is none of its column's, whatever a driver would make of it, is named; nothing is stored."""
    odd: list[dict[str, Any]] = [
        *({"key": text} for text in ("a\0b", "\ud800", "x" * 300)),
        *({"score": value} for value in (math.nan, math.inf, -0.1, "1", b"0.5", True, pd.NA, Decimal("NaN"), 10**400)),
        *({"flagged": value} for value in (pd.NA, 2, "True", math.nan, np.array([1, 1]))),
        *({"transaction_id": value} for value in (0, 5, pd.NA, math.nan)),
        *({"time": value} for value in (pd.NaT, NOON.replace(tzinfo=None))),
    ]
    few = [outcome(key=f"K{number}") for number in range(MANY)]
    for values in odd:
        with pytest.raises(DataError, match=f"OutcomeRecord {MANY} of {MANY + 1}: {next(iter(values))}"):
            store.record([*few, outcome(**values)])
    assert store.stats() == []


def test_the_first_and_the_last_moment_come_back(store: OutcomeStore) -> None:
    """Times at both ends of the calendar are read back, whatever the zone of the database's server."""
    ends = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
    store.record([outcome(key=f"K{time.year}", time=time) for time in ends])
    with store.session() as session:
        assert session.scalars(select(Outcome.time).order_by(Outcome.time)).all() == ends


def test_how_a_count_is_planned_stays_with_it(store: OutcomeStore) -> None:
    """What counting tells PostgreSQL about its plans is gone for the next transaction on the same connection."""
    if store.engine.dialect.name != "postgresql":
        return
    asked = text("SELECT pg_backend_pid(), " + ", ".join(f"current_setting('{name}')" for name in _UNUSED))
    with store.session() as session:
        before = session.execute(asked).one()
    store.record([outcome()])
    store.evidence("fraud", "R", Terms())
    with store.session() as session:
        assert session.execute(asked).one() == before
    assert "off" not in before[1:-1]


def test_many_labels_and_their_corrections(store: OutcomeStore) -> None:
    """A large batch of labels is stored once, and the same moments told otherwise correct it."""
    labels: list[CaseRecord] = [
        case(
            transaction_id=f"TX{number}",
            fraud_type='card "not" present' if number % 2 else None,
            loss_amount=None if number % 3 else number / 3,
            occurred_at=None if number % 5 else NOON,
            propensity=0.25 if number % 7 else None,
        )
        for number in range(MANY)
    ]
    assert store.label(labels) == MANY
    assert store.label(labels) == 0
    assert list(store.cases([entry.transaction_id for entry in labels]).values()) == labels
    corrected = [case(transaction_id=entry.transaction_id, status="suspected") for entry in labels]
    assert store.label(corrected) == MANY
    assert {entry.status for entry in store.all_cases().values()} == {CaseStatus.SUSPECTED}
    assert store.label(labels) == MANY
    assert list(store.cases([entry.transaction_id for entry in labels]).values()) == labels


def test_the_first_of_a_thousand_missed_frauds(store: OutcomeStore) -> None:
    """Where a look finds many missed frauds of each key, the first one by time counts, whatever their order."""
    keys = [f"C{number}" for number in range(400)]
    late = [outcome(key=key, transaction_id=f"{key}-late", time=NOON + timedelta(hours=1)) for key in keys]
    early = [outcome(key=key, transaction_id=f"{key}-early", time=NOON, step=1) for key in keys]
    also = [outcome(key=key, transaction_id=f"{key}-also", time=NOON + timedelta(minutes=1)) for key in keys]
    for batch in (late, early, also):
        store.record(batch)
    store.label([case(transaction_id=entry.transaction_id, known_at=NOON + DAY / 2) for entry in late + early + also])
    terms = Terms(maturity=DAY, hourly=True)
    tallies = store.evidence("fraud", "R", terms, as_of=NOON + 3 * DAY).tallies
    missed = {tally.step: tally.events.get(EventKind.MISSED_FRAUD, 0) for tally in tallies if tally.first == NOON}
    assert (missed[1], sum(tally.events.get(EventKind.MISSED_FRAUD, 0) for tally in tallies)) == (400, 400)
    assert sum(tally.spent.get(EventKind.MISSED_FRAUD, 0) for tally in tallies) == 800
