"""Reads a Kafka topic of outcomes, and marks as stored what has been."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, Self

import msgspec

from fds_mlflow.errors import RefusedError
from fds_mlflow.outcomes.homes import rows
from fds_mlflow.outcomes.homes.topic import CONSUMER, VERSION, connect, partitions_of, reason, unavailable

log = logging.getLogger(__name__)

GROUP = "fds-outcomes"
"""In whose name is marked what is stored, where the address says no other `group.id`."""

BATCH = 5_000
"""Messages that are stored together."""

AGAIN_SECONDS = 60.0
"""How often one that follows a topic looks for partitions that were added."""

_WAIT = 0.25
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class TopicReader:
    """What a topic holds that is not marked as stored. Two at once read the same, which counts once.

    It reads all partitions itself, so one that was killed leaves nobody waiting for its session to end.

    Args:
        address: As for `KafkaOutcomes`; its option `group.id` says in whose name is marked what is stored.
        timeout: Seconds to wait for the brokers.

    Attributes:
        unreadable: Messages so far that are none of ours, each told in the log.

    Raises:
        ConfigError: As for `KafkaOutcomes`.
        NotFoundError: There is no such topic.
        UnavailableError: No broker answers.
    """

    def __init__(self, address: str, *, timeout: float = 20.0) -> None:
        self.unreadable = 0
        self._timeout = timeout
        self._client, self._place, self._said = connect("Consumer", address, timeout, {**CONSUMER, "group.id": GROUP})
        self._mine: set[int] = set()
        self._ends: set[int] = set()
        self._next: dict[int, int] = {}
        self._extend()

    def batches(self, *, follow: bool = False) -> Iterator[list[tuple[str, rows.Record]]]:
        """Records with their kinds, batch by batch; a batch is marked as stored when the next one is asked for.

        Args:
            follow: Wait for more at the end of the topic.

        Raises:
            RefusedError: A later release wrote a message; what was before it is marked.
            UnavailableError: The brokers do not answer.
        """
        heard = looked = time.monotonic()
        while follow or not self._mine <= self._ends:
            said = self._client.consume(BATCH, timeout=_WAIT)
            now = time.monotonic()
            if said:
                heard = now
            elif not follow and now - heard > self._timeout:
                raise unavailable(self._place, self._said[0] if self._said else "it does not answer")
            messages = [message for message in said if self._holds(message)]
            if messages:
                yield self._read(messages)
                self._commit({message.partition() for message in messages})
            if follow and now - looked > AGAIN_SECONDS:
                looked = now
                self._extend()

    def close(self) -> None:
        """Let go of the brokers."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _extend(self) -> None:
        """Read on in partitions that are new, from where nothing is marked as stored."""
        from confluent_kafka import KafkaException, TopicPartition

        new = partitions_of(self._client, self._place, self._said, self._timeout) - self._mine
        if not new:
            return
        parts = [TopicPartition(self._place.topic, one) for one in sorted(new)]
        try:
            marked = _sound(self._client.committed(parts, self._timeout))
        except KafkaException as error:
            raise unavailable(self._place, reason(error)) from None
        self._next.update((one.partition, one.offset) for one in marked if one.offset >= 0)
        self._client.incremental_assign(marked)
        self._mine |= new

    def _holds(self, message: Any) -> bool:
        """Whether it is a message, and not a word about a partition."""
        error = message.error()
        if error is None:
            self._ends.discard(message.partition())
            self._follows(message.partition(), message.offset())
        elif error.name() == "_PARTITION_EOF":
            self._ends.add(message.partition())
        else:
            raise unavailable(self._place, error.str())
        return error is None

    def _follows(self, partition: int, offset: int) -> None:
        """Tell what lies between the last message and this one, and is not there: kept for too short, or compacted."""
        gone = offset - self._next.get(partition, offset)
        if gone > 0:
            log.error(
                "%s messages before %s of partition %s of %s are gone unread",
                gone,
                offset,
                partition,
                self._place.topic,
            )
        self._next[partition] = offset + 1

    def _read(self, messages: Sequence[Any]) -> list[tuple[str, rows.Record]]:
        found = []
        for message in messages:
            where = f"message {message.offset()} of partition {message.partition()} of {message.topic()}"
            try:
                said = _decode(message.value() or b"")
                if said["fds"] > VERSION:
                    raise RefusedError(
                        f"{where} has version {said['fds']}, and this release of fds-mlflow knows {VERSION}",
                        fix="upgrade fds-mlflow here; it is not marked as stored, nor is what was read with it",
                    )
                found.append((said["kind"], rows.record_of(said["kind"], said["row"])))
            except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                self.unreadable += 1
                log.error("%s is no outcome: %s: %s", where, type(error).__name__, error)  # noqa: TRY400
        return found

    def _commit(self, partitions: set[int]) -> None:
        """Mark what was read, by our own count: the client's is wrong where a partition ends within a batch."""
        from confluent_kafka import KafkaException, TopicPartition

        read = [TopicPartition(self._place.topic, one, self._next[one]) for one in sorted(partitions)]
        try:
            _sound(self._client.commit(offsets=read, asynchronous=False))
        except KafkaException as error:
            raise unavailable(self._place, f"what is stored cannot be marked so: {reason(error)}") from None


def _sound(partitions: list[Any]) -> list[Any]:
    """These partitions; the client says what failed for one of them in it, not by raising."""
    from confluent_kafka import KafkaException

    for one in partitions:
        if one.error is not None:
            raise KafkaException(one.error)
    return partitions
