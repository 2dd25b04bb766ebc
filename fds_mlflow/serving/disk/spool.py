"""What a server has to tell the store, on disk until the store has it: what was handed over survives the process.

Each hand-over is a file of its own that appears whole. Files are read in the order of their names, which begin with
the time, and removed once the store has them. Writing to the store twice is harmless: requests have an identity.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from fds_mlflow.core.keys import spelled
from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.records import CaseRecord, CaseStatus, Vector
from fds_mlflow.runtime import owned


class SpooledOutcome(msgspec.Struct, array_like=True, gc=False):
    """One scored request; the fields of `outcomes.records.OutcomeRecord`, time in seconds since 1970."""

    request_id: str
    key: str
    transaction_id: str
    rollout_id: str | None
    step: int
    weight: int
    assigned: str
    served: str
    version: int
    score: float | None
    flagged: bool
    latency_ms: float
    error: str | None
    time: float
    propensity: float | None = None
    explored: bool = False
    segment: str | None = None
    degraded: bool = False
    inputs_digest: str | None = None
    reasons: str | None = None
    vector: Vector | None = None


class SpooledShadow(msgspec.Struct, array_like=True, gc=False):
    """What the canary says to a request that the champion answered; the fields of `outcomes.records.ShadowRecord`."""

    request_id: str
    version: int
    score: float | None
    flagged: bool
    latency_ms: float
    error: str | None
    time: float


def _told(**schema: Any) -> msgspec.Meta:
    """What the description of the interface says of a value; it is checked elsewhere, in words of our own."""
    return msgspec.Meta(extra_json_schema=schema)


_Moment = Annotated[str, _told(format="date-time")]


class Label(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What is known about a transaction; the fields of `outcomes.records.CaseRecord`, times in ISO 8601."""

    transaction_id: Annotated[str | int | float, _told(minLength=1, maxLength=255)]
    status: Annotated[str, _told(enum=list(CaseStatus))]
    known_at: _Moment
    fraud_type: Annotated[str, _told(minLength=1, maxLength=64)] | None = None
    loss_amount: Annotated[float, _told(minimum=0)] | None = None
    occurred_at: _Moment | None = None
    reported_at: _Moment | None = None
    resolved_at: _Moment | None = None
    propensity: Annotated[float, _told(minimum=0, exclusiveMinimum=True, maximum=1)] | None = None


class SpooledLabel(Label, forbid_unknown_fields=False, gc=False):
    """A label on disk: unlike a client's, it may have fields that a later release of the server has written."""


Item = SpooledOutcome | SpooledShadow | Label

_KINDS: dict[type[Item], str] = {SpooledOutcome: ".outcomes", SpooledShadow: ".shadows", Label: ".labels"}
_READ: dict[str, type[Item]] = {suffix: kind for kind, suffix in _KINDS.items()} | {".labels": SpooledLabel}
_DECODERS = {suffix: msgspec.msgpack.Decoder(list[kind]) for suffix, kind in _READ.items()}  # type: ignore[valid-type]
_encode = msgspec.msgpack.Encoder().encode


SIZE_SECONDS = 0.5
"""How old the size of a spool may be: after an hour without the store it has tens of thousands of files."""


class Spool:
    """A folder of outcomes, shadows and labels on their way, which several processes fill.

    Args:
        folder: The folder; made if it is not there.
        limit: Bytes it may hold.
        monotonic: Seconds that only ever grow.
    """

    def __init__(self, folder: Path, *, limit: int = 2**30, monotonic: Callable[[], float] = time.monotonic) -> None:
        owned.folder(folder)
        self.folder = folder
        self._limit = limit
        self._monotonic = monotonic
        self._count = itertools.count()
        self._size = 0
        self._sized = float("-inf")

    def put(self, items: Sequence[Item], *, durable: bool = False) -> bool:
        """Hand items of one kind over; False where there is no room for them.

        Args:
            items: At least one.
            durable: Wait until they would survive a loss of power.

        Raises:
            OSError: The disk is full, or the folder is gone.
        """
        if self.size >= self._limit:
            return False
        name = f"{time.time_ns():020d}-{os.getpid()}-{next(self._count):06d}"
        fresh = self.folder / f"{name}.new"
        content = _encode(items)
        try:
            with open(fresh, "wb", opener=owned.opener) as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            fresh.rename(self.folder / f"{name}{_KINDS[type(items[0])]}")
            if durable:
                owned.sync(self.folder)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        self._size += len(content)
        return True

    @property
    def size(self) -> int:
        """Bytes waiting: what was there at most `SIZE_SECONDS` ago, and what was put since."""
        now = self._monotonic()
        if now - self._sized >= SIZE_SECONDS:
            self._sized, self._size = now, self._measured()
        return self._size

    def _measured(self) -> int:
        total = 0
        try:
            entries = os.scandir(self.folder)
        except OSError:  # it is gone, which is told to whoever puts something there
            return 0
        with entries:
            for entry in entries:
                if entry.name.endswith(tuple(_DECODERS)):
                    try:
                        total += entry.stat().st_size
                    except FileNotFoundError:  # the store has it meanwhile
                        continue
        return total

    def tidy(self) -> None:
        """Remove what processes that were killed left half written; only while nobody writes."""
        for path in self.folder.glob("*.new"):
            path.unlink(missing_ok=True)

    def waiting(self) -> Iterator[Path]:
        """Files that wait, the oldest first."""
        yield from sorted(path for path in self.folder.iterdir() if path.suffix in _DECODERS)

    def read(self, path: Path) -> list[Item]:
        """What a file holds, all of one kind.

        Raises:
            msgspec.DecodeError: The file was damaged.
        """
        items: list[Item] = _DECODERS[path.suffix].decode(path.read_bytes())
        return items

    def done(self, path: Path) -> None:
        """The store has it."""
        path.unlink(missing_ok=True)

    def refuse(self, path: Path) -> None:
        """Put a file aside that cannot be parsed; nothing is lost, and somebody should look at it."""
        refused = self.folder / "refused"
        owned.folder(refused)
        path.rename(refused / path.name)


def case_of(item: Label) -> CaseRecord:
    """A label as the store takes it.

    Raises:
        DataError: A time is not in ISO 8601 with a time zone.
    """
    moments = {
        name: None if (value := getattr(item, name)) is None else _moment(name, value)
        for name in ("known_at", "occurred_at", "reported_at", "resolved_at")
    }
    return CaseRecord(
        transaction_id=spelled(item.transaction_id) or "",
        status=item.status,
        fraud_type=item.fraud_type,
        loss_amount=item.loss_amount,
        propensity=item.propensity,
        **moments,  # type: ignore[arg-type] # known_at is never None
    )


def _moment(name: str, value: str) -> datetime:
    with contextlib.suppress(ValueError, OverflowError):  # no time at all, or none that has a year in UTC
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    raise DataError(f"{name} is {value!r}, not a time with a time zone", fix="write it like 2026-03-01T12:00:00+00:00")
