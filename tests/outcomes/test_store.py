"""Writing and reading outcomes and labels, on every database."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import IntegrityError

from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.errors import ConfigError, DataError, RefusedError, UnavailableError
from fds_mlflow.outcomes.database import parse
from fds_mlflow.outcomes.records import ERROR_LENGTH, CaseStatus
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.outcomes.tables import FraudCase, Outcome
from fds_mlflow.runtime.databases import shown
from tests.support.samples import DAY, NOON, case, outcome


class TestRecord:
    def test_reads_back_what_was_written(self, store: OutcomeStore) -> None:
        """Every field of an outcome comes back as it went in, times in UTC with their zone."""
        seoul = timezone(timedelta(hours=9))
        written = outcome(
            key="고객-7",
            transaction_id="TX9",
            assigned=Variant.CANARY,
            served="champion",
            step=2,
            weight=2500,
            error="canary: timeout",
            time=NOON.astimezone(seoul),
        )
        assert store.record([written]) == 1
        (found,) = store.recent("fraud")
        assert found == written
        assert found.time.tzinfo is UTC
        assert (found.assigned, found.served) == (Variant.CANARY, Variant.CHAMPION)

    def test_the_same_request_twice_is_stored_once(self, store: OutcomeStore) -> None:
        """A batch may be written again after a doubtful answer: what is stored already is skipped."""
        batch = [outcome(key=f"TX{number}") for number in range(5)]
        assert store.record(batch[:3]) == 3
        assert store.record(batch) == 2
        assert store.record([*batch, *batch]) == 0
        assert store.counts("fraud", "R")[0].requests == 5

    def test_the_first_of_two_versions_of_a_request_stays(self, store: OutcomeStore) -> None:
        """What was recorded about a request is never changed by writing the request again."""
        store.record([outcome(request_id="r", score=0.1)])
        store.record([outcome(request_id="r", score=0.9)])
        assert [found.score for found in store.recent("fraud")] == [0.1]

    def test_one_request_may_be_scored_by_two_models(self, store: OutcomeStore) -> None:
        """A request id is an identity per model, so one incoming request can be kept for each."""
        assert store.record([outcome(request_id="r"), outcome(request_id="r", model="promo")]) == 2

    def test_an_empty_batch_is_nothing(self, store: OutcomeStore) -> None:
        """Flushing an empty buffer neither writes nor fails."""
        assert store.record([]) == 0
        assert store.label([]) == 0

    def test_numpy_and_pandas_values_are_welcome(self, store: OutcomeStore) -> None:
        """Values straight out of arrays and frames are stored like Python's own."""
        time = pd.Timestamp("2026-03-01 12:00:00.000001999", tz="UTC")
        store.record(
            [
                outcome(
                    score=np.float32(0.5),
                    flagged=np.bool_(True),
                    version=np.int64(3),
                    latency_ms=np.float64(1.5),
                    time=time,
                )
            ]
        )
        (found,) = store.recent("fraud")
        assert (found.score, found.flagged, found.version, found.latency_ms) == (0.5, True, 3, 1.5)
        assert found.time == datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC)

    @pytest.mark.slow
    def test_a_large_batch_is_one_call(self, store: OutcomeStore) -> None:
        """Thousands of outcomes go in with one call, beyond any limit of bound parameters."""
        assert store.record([outcome(key=f"TX{number}") for number in range(5000)]) == 5000
        assert store.counts("fraud", "R")[0].keys == 5000

    def test_a_long_error_is_cut(self, store: OutcomeStore) -> None:
        """A stack trace does not cost the batch it arrives in: its beginning is kept."""
        store.record([outcome(error="x" * 50_000)])
        assert store.recent("fraud")[0].error == "x" * ERROR_LENGTH


class TestRecent:
    def test_newest_first_and_limited(self, store: OutcomeStore) -> None:
        """The newest outcomes come first, whatever the order of writing, and at most as many as asked for."""
        store.record([outcome(key=f"TX{hour}", time=NOON + timedelta(hours=hour)) for hour in (2, 0, 3, 1)])
        assert [found.key for found in store.recent("fraud", limit=3)] == ["TX3", "TX2", "TX1"]
        with pytest.raises(DataError, match="limit is 0"):
            store.recent("fraud", limit=0)

    def test_of_one_rollout(self, store: OutcomeStore) -> None:
        """Outcomes of other rollouts and models stay out."""
        store.record([outcome(), outcome(rollout_id="S"), outcome(rollout_id=None, weight=0), outcome(model="promo")])
        assert [found.rollout_id for found in store.recent("fraud", rollout="S")] == ["S"]
        assert len(store.recent("fraud")) == 3


class TestLabel:
    def test_reads_back_what_was_written(self, store: OutcomeStore) -> None:
        """Every field of a case comes back as it went in."""
        written = case(
            status=CaseStatus.CONFIRMED,
            fraud_type="account takeover",
            loss_amount=120.5,
            occurred_at=NOON,
            reported_at=NOON + DAY,
            resolved_at=NOON + 2 * DAY,
        )
        assert store.label([written]) == 1
        assert store.cases(["TX1", "TX2"]) == {"TX1": written}

    def test_the_same_label_twice_is_a_no_op(self, store: OutcomeStore) -> None:
        """A label file can be loaded again without changing anything."""
        batch = [case(transaction_id=f"TX{number}") for number in range(3)]
        assert store.label(batch) == 3
        assert store.label(batch) == 0

    @pytest.mark.parametrize("order", [1, -1], ids=["in order", "late"])
    def test_the_later_knowledge_wins(self, store: OutcomeStore, order: int) -> None:
        """The state known last holds, in whatever order the states arrive; the earlier ones stay readable."""
        states = [case(status="suspected", known_at=NOON + DAY), case(status="false_positive", known_at=NOON + 9 * DAY)]
        for state in states[::order]:
            store.label([state])
        assert store.cases(["TX1"])["TX1"].status is CaseStatus.FALSE_POSITIVE
        assert store.cases(["TX1"], as_of=NOON + 2 * DAY)["TX1"].status is CaseStatus.SUSPECTED
        assert store.cases(["TX1"], as_of=NOON) == {}

    def test_another_state_of_the_same_moment_corrects(self, store: OutcomeStore) -> None:
        """A typing error in a label is corrected by writing it again with the same moment."""
        store.label([case(loss_amount=10.0)])
        assert store.label([case(loss_amount=100.0)]) == 1
        assert store.label([case(loss_amount=1.0), case(loss_amount=100.0)]) == 0
        assert store.cases(["TX1"])["TX1"].loss_amount == 100.0

    def test_many_transactions_in_one_look(self, store: OutcomeStore) -> None:
        """Looking up thousands of transactions at once is no more than a call."""
        ids = [f"TX{number}" for number in range(1501)]
        store.label([case(transaction_id=name) for name in ids])
        assert sorted(store.cases(ids)) == sorted(ids)


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"score": float("nan")}, "score is nan"),
            ({"score": 1.5}, "score is 1.5"),
            ({"score": "0.5"}, "score is '0.5'"),
            ({"score": None}, "neither a score nor an error"),
            ({"weight": 10_001}, "weight is 10001"),
            ({"weight": 10.0}, "weight is 10.0"),
            ({"step": -1}, "step is -1"),
            ({"step": True}, "step is True"),
            ({"version": 0}, "version is 0"),
            ({"version": 2**31}, "version is 2147483648"),
            ({"assigned": "control"}, "assigned is 'control'"),
            ({"served": "Champion"}, "served is 'Champion'"),
            ({"assigned": "canary", "rollout_id": None}, "without a rollout_id"),
            ({"flagged": "no"}, "flagged is 'no'"),
            ({"flagged": 0.7}, "flagged is 0.7"),
            ({"flagged": None}, "flagged is None"),
            ({"latency_ms": -1.0}, "latency_ms is -1.0"),
            ({"latency_ms": float("inf")}, "latency_ms is inf"),
            ({"error": ""}, "error is ''"),
            ({"time": datetime(2026, 3, 1)}, "no time zone"),  # noqa: DTZ001 - the point of the case
            ({"time": pd.NaT}, "time is NaT"),
            ({"key": ""}, "key is ''"),
            ({"key": 7}, "key is 7"),
            ({"key": "x" * 256}, "key has 256 characters > 255"),
            ({"key": "a\0b"}, "no database stores"),
            ({"transaction_id": "\ud800"}, "no database stores"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_an_invalid_outcome_names_itself_and_the_fix(
        self, memory: OutcomeStore, changes: dict[str, object], words: str
    ) -> None:
        """A wrong value is refused with its place in the batch and the fix, and nothing of the batch is kept."""
        with pytest.raises(DataError) as refused:
            memory.record([outcome(), outcome(**changes)])
        assert words in refused.value.what
        assert "OutcomeRecord 1 of 2" in refused.value.what
        assert refused.value.fix
        assert memory.recent("fraud") == []

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"status": "fraud"}, "status is 'fraud'"),
            ({"loss_amount": -1.0}, "loss_amount is -1.0"),
            ({"known_at": datetime(2026, 3, 1)}, "no time zone"),  # noqa: DTZ001 - the point of the case
            ({"occurred_at": NOON + 8 * DAY}, "before occurred_at"),
            ({"transaction_id": None}, "transaction_id is None"),
            ({"fraud_type": "x" * 65}, "65 characters > 64"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_an_invalid_case_names_itself_and_the_fix(
        self, memory: OutcomeStore, changes: dict[str, object], words: str
    ) -> None:
        """A wrong label is refused like a wrong outcome."""
        with pytest.raises(DataError) as refused:
            memory.label([case(), case(**changes)])
        assert words in refused.value.what
        assert memory.cases(["TX1"]) == {}

    def test_another_kind_of_record_is_refused(self, memory: OutcomeStore) -> None:
        """Handing labels to `record` says so instead of failing on a missing attribute."""
        with pytest.raises(DataError, match="CaseRecord, not a OutcomeRecord"):
            memory.record([case()])  # type: ignore[list-item]

    @pytest.mark.parametrize(
        ("question", "words"),
        [
            ({"by": "version"}, "by is 'version'"),
            ({"as_of": datetime(2026, 3, 1)}, "no time zone"),  # noqa: DTZ001 - the point of the case
            ({"maturity": DAY}, "without as_of"),
            ({"maturity": -DAY, "as_of": NOON}, "maturity is -1 day"),
            ({"maturity": DAY / 7e9, "as_of": NOON}, "maturity is 0:00:00.000012"),
        ],
    )
    def test_a_question_without_an_answer_is_refused(
        self, memory: OutcomeStore, question: dict[str, object], words: str
    ) -> None:
        """Counting with arguments that mean nothing is refused, not answered with zeros."""
        with pytest.raises(DataError) as refused:
            memory.counts("fraud", "R", **question)  # type: ignore[arg-type]
        assert words in refused.value.what


class TestSession:
    def test_is_plain_sqlalchemy(self, store: OutcomeStore) -> None:
        """A session adds, queries and commits the tables like any SQLAlchemy session."""
        with store.session() as session:
            session.add(FraudCase(transaction_id="TX1", status="confirmed", known_at=NOON))
        with store.session() as session:
            found = session.scalars(select(FraudCase)).one()
            assert (found.status, found.known_at) == ("confirmed", NOON)

    def test_rolls_back_on_an_exception(self, store: OutcomeStore) -> None:
        """What fails inside the block leaves no trace."""

        def work() -> None:
            with store.session() as session:
                session.add(FraudCase(transaction_id="TX1", status="confirmed", known_at=NOON))
                session.flush()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            work()
        assert store.cases(["TX1"]) == {}

    def test_the_database_itself_refuses_nonsense(self, store: OutcomeStore) -> None:
        """Constraints hold for those, too, who write the tables without our functions."""
        with pytest.raises(IntegrityError), store.session() as session:
            session.add(FraudCase(transaction_id="TX1", status="maybe", known_at=NOON))

    def test_a_naive_time_is_refused(self, store: OutcomeStore) -> None:
        """A time without a zone is never guessed at, not even in plain sessions."""
        naive = datetime(2026, 3, 1)  # noqa: DTZ001 - the point of the test
        with pytest.raises(Exception, match="no time zone"), store.session() as session:
            session.add(FraudCase(transaction_id="TX1", status="confirmed", known_at=naive))

    def test_the_store_can_be_used_inside_a_session(self) -> None:
        """With the in-memory database a test may hold a session open and use the store beside it."""
        with OutcomeStore("sqlite://") as store, store.session() as session:
            session.add(FraudCase(transaction_id="TX2", status="confirmed", known_at=NOON))
            session.flush()
            store.record([outcome()])
            assert session.scalar(select(func.count()).select_from(Outcome)) == 1
            assert set(store.cases(["TX2"])) == {"TX2"}


class TestUnavailable:
    def test_a_locked_database(self, tmp_path: Path) -> None:
        """Another writer's lock is reported after the timeout, nothing is half-written, and later it works."""
        with OutcomeStore(f"sqlite:///{tmp_path}/o.db", timeout=0.01) as store:
            other = sqlite3.connect(tmp_path / "o.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(UnavailableError, match=r"o\.db.*locked"):
                store.record([outcome()])
            assert store.recent("fraud") == []
            other.execute("ROLLBACK")
            other.close()
            assert store.record([outcome()]) == 1

    def test_a_locked_table(self, postgres_url: str) -> None:
        """PostgreSQL's locks, too, are waited for no longer than the timeout."""
        with OutcomeStore(postgres_url, timeout=0.01) as store:
            with store.session() as other:
                other.execute(text("LOCK TABLE fds_outcomes"))
                with pytest.raises(UnavailableError, match="lock timeout"):
                    store.record([outcome()])
            assert store.record([outcome()]) == 1

    def test_a_full_disk(self, tmp_path: Path) -> None:
        """A batch that does not fit on the disk leaves nothing, and can be written again when there is space."""
        with OutcomeStore(f"sqlite:///{tmp_path}/o.db") as store:
            pages = [40]

            @event.listens_for(store.engine, "checkout")
            def _limit(connection: sqlite3.Connection, *_: object) -> None:
                connection.execute(f"PRAGMA max_page_count = {pages[0]}")

            batch = [outcome(key=f"TX{number}") for number in range(5000)]
            with pytest.raises(UnavailableError, match="full"):
                store.record(batch)
            assert store.recent("fraud") == []
            pages[0] = 1_000_000
            assert store.record(batch) == 5000

    def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        """A file of another kind is named, and left as it is."""
        file = tmp_path / "o.db"
        file.write_text("amount,label\n" * 200)
        with pytest.raises(UnavailableError, match="not a database"):
            OutcomeStore(f"sqlite:///{file}")
        assert file.read_text() == "amount,label\n" * 200

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        """A path through a file is reported as ours, not as a bare OSError."""
        (tmp_path / "file").touch()
        with pytest.raises(UnavailableError, match=r"o\.db"):
            OutcomeStore(f"sqlite:///{tmp_path}/file/o.db")

    def test_a_server_that_is_not_there(self) -> None:
        """The error names host and database, never the password."""
        with pytest.raises(UnavailableError) as refused:
            OutcomeStore("postgresql://me:hunter2@127.0.0.1:1/db", timeout=1)
        assert "127.0.0.1:1/db" in refused.value.what
        assert "hunter2" not in str(refused.value)


class TestAddress:
    def test_a_missing_folder_is_made(self, tmp_path: Path) -> None:
        """A database file may lie in a folder that does not exist yet."""
        with OutcomeStore(f"sqlite:///{tmp_path}/a/b/o.db") as store:
            store.record([outcome()])
        assert (tmp_path / "a/b/o.db").exists()

    def test_an_async_url_means_the_same_database(self, tmp_path: Path) -> None:
        """One setting serves both stores, whichever driver it names."""
        with OutcomeStore(f"sqlite+aiosqlite:///{tmp_path}/o.db") as store:
            store.record([outcome()])
        with OutcomeStore(f"sqlite:///{tmp_path}/o.db") as store:
            assert len(store.recent("fraud")) == 1

    def test_readers_do_not_block_the_writer(self, tmp_path: Path) -> None:
        """A dashboard that is reading does not stop outcomes from being written."""
        with OutcomeStore(f"sqlite:///{tmp_path}/o.db", timeout=0.01) as store:
            store.record([outcome()])
            with store.session() as reader:
                assert reader.scalar(select(func.count()).select_from(Outcome)) == 1
                store.record([outcome()])
                assert reader.scalar(select(func.count()).select_from(Outcome)) == 1
            assert len(store.recent("fraud")) == 2

    @pytest.mark.parametrize(
        "url", ["outcomes.db", "mysql://h/d", "sqlite+nonsense://", "oracle+cx_oracle://me:hunter2@h/d"]
    )
    def test_an_address_we_cannot_use(self, url: str) -> None:
        """A wrong address is refused with the right form, and without its password."""
        with pytest.raises(ConfigError) as refused:
            OutcomeStore(url)
        assert "sqlite://" in refused.value.fix
        assert "hunter2" not in str(refused.value)

    def test_passwords_are_never_shown(self) -> None:
        """Neither a password in its place nor one in the query is ever printed."""
        text_shown = shown(parse("postgresql://me:hunter2@h/d?sslpassword=hunter3&sslmode=require"))
        assert "hunter" not in text_shown
        assert "sslmode=require" in text_shown


def test_a_newer_schema_is_refused(url: str, tmp_path: Path) -> None:
    """An old release does not touch a database that a newer one has changed."""
    if url == "sqlite://":
        url = f"sqlite:///{tmp_path}/newer.db"
    with OutcomeStore(url) as store, store.session() as session:
        session.execute(text("UPDATE fds_outcomes_version SET version_num = '9999'"))
    with pytest.raises(RefusedError, match="schema 9999, newer than"):
        OutcomeStore(url)
