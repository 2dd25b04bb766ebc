"""Outcomes in a Kafka topic: one message a record, which all in-sync replicas have when the call returns.

A message is JSON, `{"fds": 1, "kind": "outcomes", "row": {...}}`, the row as in `homes.rows` without what is null. Its
key is the routing key of an outcome, the transaction of a label and the request of a shadow: so what is said about one
of them lies in one partition, in the order of writing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self
from urllib.parse import parse_qsl

import msgspec

from fds_mlflow.display.redaction import redacted, remember_address
from fds_mlflow.errors import ConfigError, DataError, NotFoundError, RefusedError, UnavailableError
from fds_mlflow.outcomes.homes import rows
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord, ShadowRecord, case_rows, shadow_rows
from fds_mlflow.outcomes.truths import Truth

if TYPE_CHECKING:
    from fds_mlflow.core.evidence.evidence import Evidence, Terms

PREFIX = "kafka://"
EXAMPLE = "kafka://host:9092/topic"
VERSION = 1
"""Of the messages; a later one may hold what changes every count."""

_OVERHEAD = 512
"""Bytes that the client may add to a message."""

PRODUCER = {"acks": "all", "enable.idempotence": True}
CONSUMER = {
    **{"enable.auto.commit": False, "enable.auto.offset.store": False},
    **{"enable.partition.eof": True, "auto.offset.reset": "earliest"},
}
"""What nothing is lost by; an address that says otherwise is refused."""

_encode = msgspec.json.Encoder().encode


class Place(NamedTuple):
    """What an address names: brokers, the topic, and options as librdkafka calls them."""

    servers: str
    topic: str
    options: dict[str, str]


def place_of(address: str) -> Place:
    """What an address names.

    Raises:
        ConfigError: It names no broker or topic, or an option by which outcomes would be lost.
    """
    remember_address(address)
    where, _, query = address.removeprefix(PREFIX).partition("?")
    servers, _, topic = where.partition("/")
    if not servers or not topic or "/" in topic or "@" in servers:
        raise ConfigError(
            f"{address} names no Kafka topic",
            fix=f"write it like {EXAMPLE}; options follow: ?security.protocol=SASL_SSL&sasl.username=...",
        )
    options = dict(parse_qsl(query, keep_blank_values=True))
    ours = {*PRODUCER, *CONSUMER, "bootstrap.servers"}
    refused = sorted(name for name, value in options.items() if name in ours or not value)
    if refused:
        raise ConfigError(f"{address} sets {', '.join(refused)}", fix="leave it out: it is ours, or nothing is set")
    return Place(servers, topic, options)


def connect(kind: str, address: str, timeout: float, settings: dict[str, Any]) -> tuple[Any, Place, list[str]]:
    """A client of Kafka, the place it is for, and what it says of brokers that it cannot reach.

    Raises:
        ConfigError: The address is none, the package is not installed, or an option is unknown.
    """
    place = place_of(address)
    try:
        import confluent_kafka
    except ModuleNotFoundError:
        raise ConfigError(
            f"{redacted(address)} needs the Python package 'confluent-kafka', which is not installed",
            fix="pip install 'fds-mlflow[kafka]'",
        ) from None
    said: list[str] = []

    def told(error: Any) -> None:
        said[:] = [error.str()]

    usual = {"socket.timeout.ms": max(10, round(timeout * 1000)), "log_level": 2, **settings}
    try:
        given = {**usual, **place.options, "bootstrap.servers": place.servers, "error_cb": told}
        client = getattr(confluent_kafka, kind)(given)
    except (confluent_kafka.KafkaException, ValueError, TypeError) as error:
        raise ConfigError(
            f"{redacted(address)} cannot be used: {reason(error)}", fix=f"write it like {EXAMPLE}"
        ) from None
    return client, place, said


def reason(error: Exception) -> str:
    """What the client says, without its codes."""
    first = error.args[0] if error.args else error
    return str(first.str() if hasattr(first, "str") else first)


def partitions_of(client: Any, place: Place, said: list[str], timeout: float) -> set[int]:
    """Reach a broker, and find the topic's partitions; one that does not exist is not made by a slip of the pen.

    Raises:
        NotFoundError: There is no such topic.
        UnavailableError: No broker answers.
    """
    from confluent_kafka import KafkaException

    try:
        known = client.list_topics(timeout=timeout).topics
    except KafkaException as error:
        client.poll(0)  # lets it say what was wrong with each broker
        raise unavailable(place, said[0] if said else reason(error)) from None
    if place.topic not in known:
        raise NotFoundError(
            f"the brokers {place.servers} have no topic {place.topic!r}",
            fix="create it, with a replication that you trust; it needs no other settings",
        )
    return set(known[place.topic].partitions)


def unavailable(place: Place, why: str) -> UnavailableError:
    """The error that says so."""
    return UnavailableError(
        f"the topic {place.topic} on {place.servers} is not available: {why}",
        fix="check that the brokers can be reached and written, then do it again: what is there twice counts once",
    )


class KafkaOutcomes:
    """Takes outcomes, shadows and labels, and gives none back: `TopicReader` moves them into a store.

    What is recorded has been acknowledged by all in-sync replicas when the call returns. After a doubtful answer it may
    be there twice, and counts once.

    Args:
        address: `kafka://host:9092,host:9092/topic?option=value`, options as librdkafka calls them.
        timeout: Seconds to wait for the brokers.

    Attributes:
        url: The address, without any secret.

    Raises:
        ConfigError: The address is none, the client is not installed, or an option is unknown.
        NotFoundError: There is no such topic.
        UnavailableError: No broker answers.
    """

    def __init__(self, address: str, *, timeout: float = 20.0) -> None:
        self.url = redacted(address)
        self._address = address
        self._timeout = timeout
        self._place = place_of(address)
        self._lock = threading.Lock()
        self._open: Any = None
        self._producer()
        self._most = int(self._place.options.get("message.max.bytes", "1000000")) - _OVERHEAD

    def record(self, outcomes: Sequence[OutcomeRecord]) -> int:
        """Send a batch of outcomes; how many. Whether they are new shows when they are stored.

        Raises:
            DataError: A value is not valid, or makes too large a message; names the record and the fix. None is sent.
            NotFoundError: The topic is gone.
            UnavailableError: The brokers have not acknowledged all of them; some may be there.
        """
        return self._send("outcomes", rows.of_outcomes(outcomes), "key")

    def record_shadows(self, shadows: Sequence[ShadowRecord]) -> int:
        """Send a batch of shadows, as `record`."""
        return self._send("shadows", shadow_rows(shadows), "request_id")

    def label(self, cases: Sequence[CaseRecord]) -> int:
        """Send a batch of labels, as `record`."""
        return self._send("labels", case_rows(cases), "transaction_id")

    def evidence(self, model: str, rollout_id: str, terms: Terms, *, as_of: datetime | None = None) -> Evidence:  # noqa: ARG002
        """Refused, as all that is asked of outcomes.

        Raises:
            RefusedError: Always.
        """
        self._refuse()

    def truths(self, after: int, limit: int) -> tuple[int, list[Truth]]:  # noqa: ARG002
        """Refused, as `evidence`."""
        self._refuse()

    def explored(self, model: str, since: datetime) -> int:  # noqa: ARG002
        """Refused, as `evidence`."""
        self._refuse()

    def close(self) -> None:
        """Let go of the brokers."""
        self._open = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refuse(self) -> NoReturn:
        raise RefusedError(
            f"{self.url} takes outcomes, and tells none",
            fix="move them into an outcome store (`fds outcomes drain HOME`), and name that one (--outcomes)",
        )

    def _producer(self) -> Any:
        with self._lock:
            if self._open is None:
                settings = {**PRODUCER, "linger.ms": 5, "compression.type": "lz4", "queue.buffering.max.messages": 0}
                settings["message.timeout.ms"] = max(10, round(self._timeout * 1000))
                client, place, said = connect("Producer", self._address, self._timeout, settings)
                partitions_of(client, place, said, self._timeout)
                self._open = client
            return self._open

    def _send(self, kind: str, given: Sequence[rows.Row], key: str) -> int:
        messages = []
        for position, row in enumerate(given):
            kept = {name: value for name, value in row.items() if value is not None or name == "score"}
            message = (row[key].encode(), _encode({"fds": VERSION, "kind": kind, "row": kept}))
            if sum(map(len, message)) > self._most:
                raise DataError(
                    f"record {position} of {len(given)} makes a message of more than {self._most:,} bytes",
                    fix="keep less of it, or let the address and the topic say message.max.bytes",
                )
            messages.append(message)
        self._acknowledged(messages)
        return len(messages)

    def _acknowledged(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Send messages and wait until every one is acknowledged; where one is not, the client is made anew."""
        from confluent_kafka import KafkaException

        producer, why, reports = self._producer(), "it does not answer", list[Any]()
        try:
            for key, value in messages:
                producer.produce(self._place.topic, value, key, on_delivery=lambda error, _: reports.append(error))
            producer.flush(2 * self._timeout)  # each message has its own time, which the client keeps
        except (KafkaException, BufferError) as error:
            why = reason(error)
        failed = [error for error in reports if error is not None]
        if not failed and len(reports) == len(messages):
            return
        producer.purge()
        with self._lock:
            self._open = None
        if any(error.name() == "MSG_SIZE_TOO_LARGE" for error in failed):
            raise DataError(
                f"a message is larger than the topic {self._place.topic} takes", fix="raise its max.message.bytes"
            )
        raise unavailable(self._place, failed[0].str() if failed else why)
