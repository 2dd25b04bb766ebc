"""Moments as microseconds since 1970 (UTC), and back; whole numbers, so that nothing is rounded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fds_mlflow.errors import DataError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros_of(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime.

    Raises:
        DataError: It has no time zone.
    """
    if moment.tzinfo is None:
        raise DataError(f"{moment!r} has no time zone", fix="attach one: .replace(tzinfo=timezone.utc) if it is in UTC")
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(micros: int) -> datetime:
    """The aware datetime, in UTC, of microseconds since 1970."""
    return _EPOCH + micros * _MICROSECOND
