"""Outcomes by their address: a database, a folder of Parquet files, or a Kafka topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fds_mlflow.display.redaction import redacted
from fds_mlflow.errors import ConfigError
from fds_mlflow.outcomes.homes import folder, topic

if TYPE_CHECKING:
    from fds_mlflow.outcomes.homes.folder import ParquetOutcomes
    from fds_mlflow.outcomes.homes.reader import TopicReader
    from fds_mlflow.outcomes.sink import Home
    from fds_mlflow.outcomes.store import OutcomeStore


def is_database(address: str) -> bool:
    """Whether an address is neither a folder's nor a topic's."""
    return not address.startswith((folder.PREFIX, topic.PREFIX))


def opened(address: str) -> Home:
    """The home of outcomes at an address.

    Raises:
        ConfigError: It is no such address, or the package that it needs is not installed.
        NotFoundError: There is no such topic.
        RefusedError: Its schema is newer than this release knows.
        UnavailableError: It cannot be reached.
    """
    if address.startswith(folder.PREFIX):
        return folder.ParquetOutcomes(address)
    if address.startswith(topic.PREFIX):
        return topic.KafkaOutcomes(address)
    from fds_mlflow.outcomes.store import OutcomeStore

    return OutcomeStore(address)


def source(address: str) -> ParquetOutcomes | TopicReader:
    """What is drained from an address.

    Raises:
        ConfigError: It is neither a topic's nor a folder's, or the package that it needs is not installed.
        NotFoundError: There is no such topic.
        UnavailableError: It cannot be reached.
    """
    if address.startswith(folder.PREFIX):
        return folder.ParquetOutcomes(address)
    if address.startswith(topic.PREFIX):
        from fds_mlflow.outcomes.homes.reader import TopicReader

        return TopicReader(address)
    raise ConfigError(f"{redacted(address)} is not drained", fix=f"name {topic.EXAMPLE} or {folder.EXAMPLE}")


def check(address: str, asked: Sequence[str]) -> None:
    """Refuse an address that cannot work, whoever is away just now.

    Args:
        address: Where outcomes go.
        asked: Options for which outcomes and labels must also be told.

    Raises:
        ConfigError: It is no address of outcomes, or a topic, which tells none.
    """
    if address.startswith(folder.PREFIX):
        folder.folder_of(address)
    elif address.startswith(topic.PREFIX):
        topic.place_of(address)
        if asked:
            raise ConfigError(
                f"{redacted(address)} takes outcomes and labels and tells none, which {' and '.join(asked)} must know",
                fix="leave that out, or name a database or parquet:FOLDER with --outcomes",
            )
    else:
        from fds_mlflow.outcomes.database import parse

        parse(address)


def database(address: str, *, as_it_is: bool = False) -> OutcomeStore:
    """The outcome store at an address, for what is asked of single outcomes.

    Args:
        address: Its URL.
        as_it_is: Make nothing of it: as for `OutcomeStore`.

    Raises:
        ConfigError: It is no database's.
        RefusedError: Its schema is newer than this release knows.
        UnavailableError: It cannot be reached.
    """
    from fds_mlflow.outcomes.store import OutcomeStore

    if not is_database(address):
        raise ConfigError(
            f"{redacted(address)} is no database, and single outcomes are asked of one",
            fix="move them into one (`fds outcomes drain HOME`), and name that one (--outcomes)",
        )
    return OutcomeStore(address, as_it_is=as_it_is)
