"""Homes of outcomes to test on, each with what its evidence is counted from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fds_mlflow.core.evidence.evidence import Evidence, Terms
from fds_mlflow.outcomes.homes.drain import drain
from fds_mlflow.outcomes.homes.folder import ParquetOutcomes
from fds_mlflow.outcomes.homes.opening import opened
from fds_mlflow.outcomes.homes.reader import TopicReader
from fds_mlflow.outcomes.sink import Home
from fds_mlflow.outcomes.store import OutcomeStore
from tests.outcomes.conftest import POSTGRESQL
from tests.support.kafka_broker import Broker, broker


@dataclass
class Kept:
    """A home, and how its outcomes are counted.

    Attributes:
        home: Takes outcomes.
        count: Evidence about rollout `R` of `fraud`, on terms, as of a time.
    """

    home: Home
    count: Callable[[Terms, datetime], Evidence]


@pytest.fixture
def kafka() -> Iterator[Broker]:
    """A Kafka cluster of the test's own."""
    with broker() as running:
        yield running


@pytest.fixture(params=["sqlite", "parquet", "parquet drained", "kafka", POSTGRESQL])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    """Each home, empty; what is drained goes into a store in memory, twice."""
    kind: str = request.param
    if kind in ("sqlite", "postgresql"):
        url = "sqlite://" if kind == "sqlite" else request.getfixturevalue("postgres_url")
        with OutcomeStore(url) as store:
            yield Kept(store, lambda terms, as_of: store.evidence("fraud", "R", terms, as_of=as_of))
        return
    if kind == "kafka":
        address: str = request.getfixturevalue("kafka").topic("outcomes")
    else:
        address = f"parquet:{tmp_path}/files"
    with opened(address) as home, OutcomeStore("sqlite://") as store:

        def drained(terms: Terms, as_of: datetime) -> Evidence:
            for group in ("?group.id=a", "?group.id=b"):
                source: Any
                source = TopicReader(address + group) if kind == "kafka" else ParquetOutcomes(address)
                with source:
                    drain(source.batches(), store)
            return store.evidence("fraud", "R", terms, as_of=as_of)

        def counted(terms: Terms, as_of: datetime) -> Evidence:
            return home.evidence("fraud", "R", terms, as_of=as_of)

        yield Kept(home, counted if kind == "parquet" else drained)
