"""The way from the spool into the outcome store: whole, once, in its own time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fds_mlflow.errors import UnavailableError
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.outcomes.tables import Shadow as StoredShadow
from fds_mlflow.serving.disk.spool import Label, Spool, SpooledOutcome, SpooledShadow
from fds_mlflow.serving.host.recorder import OutcomeRecorder

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OUTCOME = SpooledOutcome(
    "r1", "C1", "T1", "R", 1, 2_500, "canary", "champion", 3, 0.25, False, 1.5, "it raised", NOON.timestamp()
)
SHADOW = SpooledShadow("r1", 4, 0.75, True, 2.5, None, NOON.timestamp())
LABEL = Label("T1", "confirmed", "2026-03-09T12:00:00+00:00", loss_amount=80.0)


def test_everything_arrives_as_it_was_handed_over(tmp_path: Path):
    """Outcomes, shadows and labels reach the store with every field, and the spool is empty then."""
    spool = Spool(tmp_path)
    for item in (OUTCOME, SHADOW, LABEL):
        assert spool.put([item])
    with OutcomeStore("sqlite://") as store:
        recorder = OutcomeRecorder("fraud", spool, lambda: store)
        assert recorder.drain()
        (found,) = store.recent("fraud")
        assert (found.request_id, found.key, found.transaction_id, found.rollout_id) == ("r1", "C1", "T1", "R")
        assert (found.step, found.weight, found.assigned, found.served) == (1, 2_500, "canary", "champion")
        assert (found.version, found.score, found.flagged, found.latency_ms) == (3, 0.25, False, 1.5)
        assert (found.error, found.time) == ("it raised", NOON)
        with store.session() as session:
            (shadow,) = session.query(StoredShadow).all()
            assert (shadow.model, shadow.request_id, shadow.version) == ("fraud", "r1", 4)
            assert (shadow.score, shadow.flagged, shadow.latency_ms, shadow.error) == (0.75, True, 2.5, None)
            assert shadow.time == NOON
        assert store.cases(["T1"])["T1"].loss_amount == 80
    assert (recorder.recorded, recorder.problem, list(spool.waiting())) == (3, None, [])


def test_a_store_that_is_away_costs_time_and_nothing_else(tmp_path: Path):
    """While the store cannot be opened everything waits on disk, and goes there once it can."""
    spool = Spool(tmp_path)
    spool.put([OUTCOME])

    def away() -> OutcomeStore:
        raise UnavailableError("it is down", fix="start it")

    with OutcomeStore("sqlite://") as store:
        opened = [away, lambda: store]

        def open_next() -> OutcomeStore:
            return opened.pop(0)()

        recorder = OutcomeRecorder("fraud", spool, open_next)
        assert not recorder.drain()
        assert recorder.problem == "it is down"
        assert recorder.drain()
        assert [found.request_id for found in store.recent("fraud")] == ["r1"]
    assert recorder.problem is None
