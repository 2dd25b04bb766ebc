"""Many rows at once go another way to the database than few: what is stored and counted is the same."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from fds_mlflow.core.evidence.evidence import EventKind, Terms
from fds_mlflow.outcomes.records import CaseRecord, CaseStatus, OutcomeRecord
from fds_mlflow.outcomes.store import OutcomeStore
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
