"""A Kafka topic: what was acknowledged is there, what was not is said in time, and what is drained counts once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fds_mlflow.errors import ConfigError, DataError, FdsError, NotFoundError, RefusedError, UnavailableError
from fds_mlflow.outcomes.homes.drain import Drained, drain
from fds_mlflow.outcomes.homes.reader import TopicReader
from fds_mlflow.outcomes.homes.topic import KafkaOutcomes, place_of
from fds_mlflow.outcomes.records import Vector
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.serving.disk.spool import Spool, SpooledOutcome
from fds_mlflow.serving.host.recorder import OutcomeRecorder
from tests.support.kafka_broker import Broker
from tests.support.places import ROOT
from tests.support.samples import DAY, NOON, case, outcome


def drained(address: str, store: OutcomeStore) -> tuple[Drained, int]:
    """What a drain says, and how many messages it could not read."""
    with TopicReader(address) as reader:
        return drain(reader.batches(), store), reader.unreadable


class TestAddress:
    @pytest.mark.parametrize(
        "address", ["kafka://", "kafka://host:9092", "kafka:///t", "kafka://a/b/c", "kafka://u:p@a/t"]
    )
    def test_names_brokers_and_a_topic(self, address: str) -> None:
        """An address without one of them, or with what would be read as something else, is refused with an example."""
        with pytest.raises(ConfigError, match="names no Kafka topic"):
            place_of(address)

    @pytest.mark.parametrize("option", ["acks=1", "enable.idempotence=false", "enable.auto.commit=true", "group.id="])
    def test_refuses_what_would_lose_outcomes(self, option: str) -> None:
        """An option that gives up the promise of every home, or the whole process, is no option."""
        with pytest.raises(ConfigError, match=option.partition("=")[0]):
            place_of(f"kafka://host:9092/t?{option}")

    def test_a_size_that_is_no_number_is_refused(self, kafka: Broker) -> None:
        """What the client cannot read is an error that says so."""
        with pytest.raises(ConfigError, match="cannot be used"):
            KafkaOutcomes(f"{kafka.topic('t')}?message.max.bytes=1MB")

    def test_says_no_secret(self, kafka: Broker) -> None:
        """A password in the options reaches the client, and no message."""
        address = f"{kafka.topic('t')}?sasl.password=hunter-0815&nonsense=x"
        with pytest.raises(ConfigError, match="nonsense") as caught:
            KafkaOutcomes(address)
        assert "hunter" not in str(caught.value)
        assert "hunter" not in KafkaOutcomes(f"{kafka.topic('t')}?sasl.password=hunter-0815").url


class TestSending:
    def test_a_topic_that_is_not_there_is_not_made(self, kafka: Broker) -> None:
        """A slip of the pen in the topic's name is said, and takes no outcomes."""
        kafka.topic("outcomes")
        with pytest.raises(NotFoundError, match="no topic 'outcome'"):
            KafkaOutcomes(f"kafka://{kafka.servers}/outcome")
        with pytest.raises(NotFoundError, match="no topic 'outcome'"):
            TopicReader(f"kafka://{kafka.servers}/outcome")

    def test_brokers_that_do_not_answer_are_said_in_time(self) -> None:
        """Whoever names brokers that are away hears so within the time given, with the client's reason."""
        with pytest.raises(UnavailableError, match="Connection refused"):
            KafkaOutcomes("kafka://127.0.0.1:1/t", timeout=0.5)
        with pytest.raises(UnavailableError, match="Connection refused"):
            TopicReader("kafka://127.0.0.1:1/t", timeout=0.5)

    def test_too_large_a_message_is_refused_alone(self, kafka: Broker) -> None:
        """An outcome that is larger than a message may be is named, and none of its batch is sent."""
        address = kafka.topic("t") + "?message.max.bytes=3000"
        large = outcome(key="large", vector=Vector({"text": "x" * 3_000}))
        with KafkaOutcomes(address) as home, OutcomeStore("sqlite://") as store:
            with pytest.raises(DataError, match="record 1 of 2 makes a message of more than 2,488 bytes"):
                home.record([outcome(request_id="a"), large])
            assert drained(address.partition("?")[0], store)[0] == Drained()

    def test_tells_nothing_back(self, kafka: Broker) -> None:
        """What asks for outcomes is told to ask the store that the topic is drained into."""
        with KafkaOutcomes(kafka.topic("t")) as home, pytest.raises(RefusedError) as caught:
            home.explored("fraud", NOON)
        assert "fds outcomes drain" in caught.value.fix

    def test_what_is_not_acknowledged_stays_in_the_spool(self, kafka: Broker, tmp_path: Path) -> None:
        """While the brokers are away a server keeps its outcomes on disk, and sends them when they are back."""
        address = kafka.topic("t")
        spool = Spool(tmp_path / "spool")
        recorder = OutcomeRecorder("fraud", spool, lambda: KafkaOutcomes(address, timeout=4.0))

        def put(key: str) -> None:
            values = (0, 0, "champion", "champion", 1, 0.5, False, 1.0, None, NOON.timestamp())
            assert spool.put([SpooledOutcome(key, key, key, None, *values)])

        put("first")
        assert recorder.drain()
        kafka.stop()
        put("second")
        assert not recorder.drain()
        assert recorder.problem is not None
        assert len(list(spool.waiting())) == 1


class TestDraining:
    def test_goes_on_where_it_was(self, kafka: Broker) -> None:
        """What is stored is marked so: the next drain reads what has come since, and another group all of it."""
        address = kafka.topic("t")
        with KafkaOutcomes(address) as home, OutcomeStore("sqlite://") as store:
            home.record([outcome(key=f"TX{n}") for n in range(50)])
            assert drained(address, store) == (Drained(outcomes=50), 0)
            home.label([case()])
            assert drained(address, store) == (Drained(labels=1), 0)
            assert drained(address + "?group.id=other", store) == (Drained(outcomes=50, labels=1), 0)
            assert store.stats()[0].outcomes == 50

    def test_what_is_not_ours_is_left_out_and_told(self, kafka: Broker, caplog: pytest.LogCaptureFixture) -> None:
        """Messages of others, labels from the future and outcomes that no store takes hold nothing up."""
        address = kafka.topic("t")
        row = {"model": "fraud", "key": "k", "assigned": "champion", "version": 1, "score": 0.5, "flagged": False}
        row |= {"latency_ms": 1.0, "time": "2026-03-01T12:00:00Z", "request_id": "r"}
        for value in (b"", b"[]", b'{"amount": 1}', b"\xff", json.dumps({"fds": 1, "kind": "x", "row": {}}).encode()):
            kafka.send("t", value)
        for wrong in ({"nonsense": 1}, {"time": "noon"}, {"vector": "{}"}):
            kafka.send("t", json.dumps({"fds": 1, "kind": "outcomes", "row": row | wrong}).encode())
        kafka.send("t", json.dumps({"fds": 1, "kind": "outcomes", "row": row | {"version": "one"}}).encode())
        kafka.send("t", json.dumps({"fds": 1, "kind": "outcomes", "row": row | {"request_id": "good"}}).encode())
        with KafkaOutcomes(address) as home, OutcomeStore("sqlite://") as store:
            home.label([case(known_at=NOON + 400_000 * DAY), case()])
            assert drained(address, store) == (Drained(outcomes=2, labels=2, refused=2), 8)
            assert [found.request_id for found in store.recent("fraud")] == ["good"]
        assert caplog.text.count("is no outcome") == 8

    def test_what_others_write_is_taken_only_as_it_is_meant(self, kafka: Broker) -> None:
        """A time without a zone, an outcome without an identity or whatever cannot be read holds nothing up."""
        address = kafka.topic("t")
        row = {"model": "fraud", "key": "k", "assigned": "champion", "version": 1, "score": 0.5, "flagged": False}
        row |= {"latency_ms": 1.0, "time": "2026-03-01T12:00:00Z", "request_id": "r"}
        label = {"transaction_id": "k", "status": "genuine", "known_at": "0001-01-01T00:00:00+23:00"}
        anonymous = {name: value for name, value in row.items() if name != "request_id"}
        deep = b'{"fds":1,"kind":"outcomes","row":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001
        unreadable = [deep, *(json.dumps(said).encode() for said in (
            {"fds": 1, "kind": "outcomes", "row": anonymous},
            {"fds": "1", "kind": "outcomes", "row": row},
            {"kind": "outcomes", "row": row},
        ))]  # fmt: skip
        refused = [{"kind": "outcomes", "row": row | {"time": "2026-03-01T12:00:00"}}, {"kind": "labels", "row": label}]
        for value in (*unreadable, *(json.dumps({"fds": 1, **said}).encode() for said in refused)):
            kafka.send("t", value)
        with OutcomeStore("sqlite://") as store:
            assert drained(address, store) == (Drained(outcomes=1, labels=1, refused=2), 4)
            assert store.stats() == []

    def test_what_the_topic_kept_for_too_short_is_told(self, kafka: Broker, caplog: pytest.LogCaptureFixture) -> None:
        """Messages that went before they were read, by the topic's retention, are told in the log, not passed over."""
        address = kafka.topic("t")
        with KafkaOutcomes(address) as home, OutcomeStore("sqlite://") as store:
            home.record([outcome(key="one"), outcome(key="two", request_id="two")])
            drained(address, store)
            home.record([outcome(key="one"), outcome(key="one")])
            with TopicReader(address) as reader:
                reader._next = {partition: offset - 3 for partition, offset in reader._next.items()}
                drain(reader.batches(), store)
        assert "3 messages before" in caplog.text

    def test_a_later_release_is_waited_for(self, kafka: Broker) -> None:
        """A message that this release does not know is not marked as stored: an upgrade reads it."""
        address = kafka.topic("t")
        kafka.send("t", b'{"fds": 2, "kind": "outcomes", "row": {}}')
        with OutcomeStore("sqlite://") as store:
            for _ in range(2):
                with pytest.raises(RefusedError, match="version 2"):
                    drained(address, store)

    def test_what_is_not_stored_comes_again(self, kafka: Broker) -> None:
        """While the store is away nothing is marked, and the next drain stores it."""

        class Away(OutcomeStore):
            def record(self, outcomes: object) -> int:  # type: ignore[override]
                raise UnavailableError("it is away", fix="wait")

        address = kafka.topic("t")
        with KafkaOutcomes(address) as home, OutcomeStore("sqlite://") as store:
            home.record([outcome()])
            with pytest.raises(UnavailableError, match="it is away"), Away("sqlite://") as away:
                drained(address, away)
            assert drained(address, store) == (Drained(outcomes=1), 0)


_DRAINER = """
import sys
from fds_mlflow.outcomes.homes import reader
from fds_mlflow.outcomes.homes.drain import drain
from fds_mlflow.outcomes.store import OutcomeStore

reader.BATCH = 10
with OutcomeStore(sys.argv[2]) as store, reader.TopicReader(sys.argv[1]) as topic:
    record, commit = store.record, topic._commit

    def told(outcomes):
        found = record(outcomes)
        print("stored", flush=True)
        return found

    def marked():
        commit()
        print("marked", flush=True)

    store.record, topic._commit = told, marked
    drain(topic.batches(), store)
"""


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("word", [1, 2, 7, 8])
def test_a_killed_drain_loses_nothing_and_counts_once(kafka: Broker, tmp_path: Path, word: int) -> None:
    """Whether it is killed before or after it has marked what it stored, the next drain stores the rest, each once."""
    address, url = kafka.topic("t"), f"sqlite:///{tmp_path}/outcomes.db"
    with KafkaOutcomes(address) as home:
        home.record([outcome(request_id=f"r{n}", key=f"TX{n}") for n in range(200)])
    command = [sys.executable, "-c", _DRAINER, address, url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        for _ in range(word):
            victim.stdout.readline()
        victim.send_signal(signal.SIGKILL)
    with OutcomeStore(url) as store:
        before = store.stats()[0].outcomes
        assert before > 0
        drained(address, store)
        assert store.stats()[0].outcomes == 200


def test_fds_errors_are_all_that_is_raised(kafka: Broker) -> None:
    """A topic that goes away while it is written is an error of ours, in bounded time."""
    with KafkaOutcomes(kafka.topic("t"), timeout=4.0) as home:
        home.record([outcome()])
        kafka.stop()
        with pytest.raises(FdsError):
            home.record([outcome()])
