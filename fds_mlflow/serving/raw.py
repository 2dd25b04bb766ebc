"""Features of raw transactions, for each version that scores them, from one state."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from fds_mlflow.data.single import Single
from fds_mlflow.errors import DataError, FdsError, RefusedError
from fds_mlflow.features.declaration import Declared
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.opening import Address, opened
from fds_mlflow.features.state.state import Arrival, State
from fds_mlflow.features.vector import Vector, arriving

Row = Mapping[str, Any]

TIDY_SECONDS = 3_600
"""How often what is too old is removed."""

_DAY = 86_400_000_000
_LATE = _DAY
"""How late a transaction may arrive and still see all of its windows, microseconds."""
_LABELLED = 180 * _DAY
"""How old a transaction may be and still get a label, or be known when it is sent again."""


@dataclass(frozen=True)
class Featured:
    """A transaction as each version takes it.

    Attributes:
        rows: By version, its features; or why it has none.
    """

    rows: Mapping[int, Row | FdsError]

    def of(self, version: int) -> Row:
        """The features that a version takes.

        Raises:
            FdsError: They could not be computed.
        """
        found = self.rows[version]
        if isinstance(found, FdsError):
            raise found
        return found


class _Version(NamedTuple):
    """What is known of a version: how its transactions are read, and its features computed."""

    declared: Declared
    reader: Single
    vector: Vector


class Raw:
    """Computes the features of raw transactions.

    Args:
        address: Of the state; begun where there is none.
        declared: Tells what a version declares.

    Raises:
        ConfigError: The package that keeps the state is not installed.
        UnavailableError: The state cannot be read or written.
    """

    def __init__(self, address: Address, declared: Callable[[int], Declared | None]) -> None:
        self._store = opened(address)
        self._state = State(self._store, Layout())
        self._tidied, self._synced = time.monotonic(), 0
        self._declared = declared
        self._versions: dict[int, _Version] = {}
        self._lock = threading.Lock()

    def featured(self, row: Row, champion: int, others: Iterable[int] = (), *, record: bool = True) -> Featured | None:
        """What versions take of a transaction.

        Args:
            row: Either all columns that the champion takes, or all of the schema that it declares.
            champion: Its version.
            others: Further versions. What is wrong with one of them is told when its row is asked for.
            record: Take the transaction into the state, once whatever how often it is sent.

        Returns:
            None where the row has all columns that the champion takes: they are computed already.

        Raises:
            RefusedError: The champion declares nothing.
            DataError: The row has neither, a value does not fit, or the id stands for another transaction.
            UnavailableError: The state cannot be read or written.
        """
        first = self._version(champion)
        if all(name in row for name in first.vector.names):
            return None
        values, failed = {champion: self._read(first, row)}, dict[int, Row | FdsError]()
        for version in others:
            if version not in values:
                try:
                    values[version] = self._read(self._version(version), row)
                except FdsError as error:
                    failed[version] = error
        versions = {version: self._versions[version] for version in values}
        given, *others_given = (arriving(known.declared.schema, values[version]) for version, known in versions.items())
        for other in others_given:
            given.entities.update(other.entities)
            given.numbers.update(other.numbers)

        def compute(arrival: Arrival) -> dict[int, Row | FdsError]:
            return {version: known.vector.features(values[version], arrival) for version, known in versions.items()}

        state = self._state
        return Featured({**(state.arrive if record else state.look)(given, compute), **failed})

    def spec(self, version: int) -> FeatureSpec:
        """The features of a version whose rows were computed."""
        return self._versions[version].declared.spec

    def label(self, transaction: str, *, fraud: bool, known: int) -> bool:
        """Take a label, or its correction, into the state; whether the transaction is remembered there.

        Args:
            transaction: Its id.
            fraud: What it says.
            known: When it became known, microseconds since 1970 (UTC).
        """
        return self._state.label(transaction, fraud=fraud, known=known)

    def tidy(self) -> None:
        """Have what was recorded on the disk, and from time to time remove what no window can reach any more.

        Time goes by the transactions, as far as they are not ahead of the clock.
        """
        number = self._state.number
        if number != self._synced:
            self._store.sync()
            self._synced = number
        if time.monotonic() - self._tidied >= TIDY_SECONDS:
            self._tidied = time.monotonic()
            now = min(self._state.latest, int(time.time() * 1e6))
            if self._state.turn("expired", TIDY_SECONDS):  # of all that share it, one does so
                self._state.expire(now - _LATE, now - _LABELLED)

    def close(self) -> None:
        """Let go of the state."""
        self._state.close()

    def _version(self, version: int) -> _Version:
        with self._lock:
            if version not in self._versions:
                declared = self._declared(version)
                if declared is None:
                    raise RefusedError(
                        f"version {version} declares no features, so raw transactions cannot be scored",
                        fix="train it again, or send all columns that it takes",
                    )
                self._state = State(self._store, Layout.of([declared.spec]))
                vector = Vector(declared.spec, self._state.layout)
                self._versions[version] = _Version(declared, Single(declared.schema), vector)
            return self._versions[version]

    @staticmethod
    def _read(known: _Version, row: Row) -> dict[str, Any]:
        lacking = [name for name in known.reader.columns if name not in row]
        if lacking:
            features = [name for name in known.vector.names if name not in row]
            raise DataError(
                f"the transaction is neither raw (it lacks {', '.join(lacking)}) nor computed (it lacks"
                f" {', '.join(features[:5])}{', ...' if len(features) > 5 else ''})",
                fix="send every column of the schema, null where there is no value, or every feature",
            )
        values = known.reader.read(row)
        if "transaction_id" not in values:
            raise DataError(
                "the schema numbers the rows, so a transaction on its own has no id",
                fix="train with a schema that names the column under 'transaction_id'",
            )
        return values
