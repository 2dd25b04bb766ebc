"""A raw transaction as versions take it, what is known of each, and what is refused before any state is asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from fds_mlflow.data.moments import micros_of, moment_of
from fds_mlflow.data.single import Single
from fds_mlflow.errors import DataError, FdsError, RefusedError
from fds_mlflow.features.declaration import Declared
from fds_mlflow.features.state.state import Arriving, State
from fds_mlflow.features.vector import Vector
from fds_mlflow.outcomes.records import AHEAD
from fds_mlflow.serving.guard import Why

Row = Mapping[str, Any]

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Featured:
    """A transaction as each version takes it.

    Attributes:
        rows: By version, its features; or why it has none.
        why: Why the state did not answer: the features are those over nothing. None where it did.
        cold: Versions of which the state lacks a window.
    """

    rows: Mapping[int, Row | FdsError]
    why: Why | None = None
    cold: Collection[int] = ()

    def of(self, version: int) -> Row:
        """The features that a version takes.

        Raises:
            FdsError: They could not be computed.
        """
        found = self.rows[version]
        if isinstance(found, FdsError):
            raise found
        return found

    @property
    def degraded(self) -> Why | None:
        """Why its outcome is no evidence: whichever version lacks something, it is none of either."""
        return self.why or (Why.COLD if self.cold else None)

    def lacks(self, version: int) -> Why | None:
        """Why the features of a version are not what they would be."""
        return self.why or (Why.COLD if version in self.cold else None)


class Known(NamedTuple):
    """What is known of a version: how its transactions are read, and what they are over nothing."""

    declared: Declared
    reader: Single
    needs: Mapping[str, int]
    nothing: State
    over_nothing: Vector

    def nothing_of(self, values: dict[str, Any], given: Arriving) -> Row:
        """The features of a transaction that is the first of each of its entities."""
        return self.nothing.look(given, partial(self.over_nothing.features, values))

    def read(self, row: Row) -> dict[str, Any]:
        """The canonical values of a transaction.

        Raises:
            DataError: It is neither raw nor computed, a value does not fit, or nothing names it.
        """
        lacking = [name for name in self.reader.columns if name not in row]
        if lacking:
            features = [name for name in self.over_nothing.names if name not in row]
            raise DataError(
                f"the transaction is neither raw (it lacks {', '.join(lacking)}) nor computed (it lacks"
                f" {', '.join(features[:5])}{', ...' if len(features) > 5 else ''})",
                fix="send every column of the schema, null where there is no value, or every feature",
            )
        values = self.reader.read(row)
        if "transaction_id" not in values:
            raise DataError(
                "the schema numbers the rows, so a transaction on its own has no id",
                fix="train with a schema that names the column under 'transaction_id'",
            )
        return values


def require_past(given: Arriving, now: datetime) -> None:
    """Refuse what lies ahead: it would be in no window of what comes, and push out what is.

    Args:
        given: The transaction.
        now: The time, timezone-aware.

    Raises:
        DataError: Its time lies more than `AHEAD` after now.
    """
    if given.time > micros_of(now) + AHEAD // _MICROSECOND:
        raise DataError(
            f"time is {moment_of(given.time).isoformat()}, more than a day after now,"
            f" {now.isoformat(timespec='seconds')}",
            fix="check the year and the time zone of the transaction, and this machine's clock",
        )


def lacking(version: int) -> FdsError:
    """What to do where the state lacks a window of a version."""
    return RefusedError(
        f"the state does not reach back as far as the windows of version {version}",
        fix="load them from history: fds features load --model MODEL --data HISTORY --state FOLDER",
    )
