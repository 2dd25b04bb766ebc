"""A Kafka cluster in memory: the mock that librdkafka, the client, brings along. Other processes reach it, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Producer


@dataclass
class Broker:
    """A running cluster of one broker.

    Attributes:
        servers: Where it listens.
        host: The client that runs it; None once it is stopped.
    """

    servers: str
    host: Any = field(repr=False)

    def topic(self, name: str) -> str:
        """The address of a topic that is there: it is made when one asks for it."""
        self.host.list_topics(name, timeout=10)
        return f"kafka://{self.servers}/{name}"

    def send(self, name: str, value: bytes) -> None:
        """Write a message, whatever it is."""
        self.host.produce(name, value)
        assert self.host.flush(10) == 0

    def stop(self) -> None:
        """Be gone."""
        self.host = None


@contextmanager
def broker() -> Iterator[Broker]:
    """A cluster of one broker."""
    host = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "none", "log_level": 0})
    found = host.list_topics(timeout=10).brokers.values()
    running = Broker(",".join(f"{one.host}:{one.port}" for one in found), host)
    del host
    yield running
    running.stop()
