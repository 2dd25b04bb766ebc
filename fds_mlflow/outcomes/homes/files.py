"""A folder of Parquet files, each of which appears whole: their columns, and how they are written and merged.

A file is immutable and has a name that nobody else makes, so any number of processes may write at once. Each row tells
in `written` when its batch was, which with its place in the file is the order of writing, also after a merge: small
files become one, which appears before they go. What is there twice meanwhile counts once.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ulid import ULID

from fds_mlflow.errors import RefusedError
from fds_mlflow.outcomes.homes.rows import Row
from fds_mlflow.runtime import owned

log = logging.getLogger(__name__)

VERSION = 1
"""Of the columns. Columns are only ever added, and may be null: a file of an earlier version lacks them."""

SMALL = 2**20
"""Bytes below which a file is merged with others."""

MANY = 64
"""Small files from which they are merged: a look opens each."""

STALE_SECONDS = 3_600.0
"""Age at which a file that is half written is nobody's any more."""

_VERSION = b"fds.outcomes"
_MOMENT = pa.timestamp("us", "UTC")
_ENCODINGS = {
    **dict.fromkeys(("score", "latency_ms"), "BYTE_STREAM_SPLIT"),
    **dict.fromkeys(("request_id", "key", "transaction_id"), "DELTA_BYTE_ARRAY"),
    **dict.fromkeys(("time", "known_at"), "DELTA_BINARY_PACKED"),
    **dict.fromkeys(("inputs_digest", "reasons", "vector"), "PLAIN"),
}
"""Of values that seldom come again: 27 bytes an outcome, where dictionaries, as for all others, take 40."""


def _schema(required: dict[str, Any], optional: dict[str, Any]) -> pa.Schema:
    fields = [pa.field(name, kind, nullable=False) for name, kind in required.items()]
    fields += [pa.field(name, kind) for name, kind in optional.items()]
    return pa.schema(fields, metadata={_VERSION: str(VERSION)})


_ANSWER = {
    **{"written": pa.int64(), "model": pa.string(), "request_id": pa.string(), "version": pa.int32()},
    **{"flagged": pa.bool_(), "latency_ms": pa.float64(), "time": _MOMENT},
}
SCHEMAS = {
    "outcomes": _schema(
        {
            **_ANSWER,
            **{"key": pa.string(), "step": pa.int32(), "weight": pa.int32(), "assigned": pa.string()},
            **{"served": pa.string(), "explored": pa.bool_(), "degraded": pa.bool_()},
        },
        {
            **{"transaction_id": pa.string(), "rollout_id": pa.string(), "score": pa.float64(), "error": pa.string()},
            **{"propensity": pa.float64(), "segment": pa.string(), "inputs_digest": pa.string()},
            **{"reasons": pa.string(), "vector": pa.string()},
        },
    ),
    "shadows": _schema(_ANSWER, {"score": pa.float64(), "error": pa.string()}),
    "labels": _schema(
        {"written": pa.int64(), "transaction_id": pa.string(), "status": pa.string(), "known_at": _MOMENT},
        {
            **{"fraud_type": pa.string(), "loss_amount": pa.float64(), "occurred_at": _MOMENT},
            **{"reported_at": _MOMENT, "resolved_at": _MOMENT, "propensity": pa.float64()},
        },
    ),
}
"""By kind: the columns of `outcomes.tables`, and `written`, nanoseconds since 1970. A null transaction is the key."""


def write(folder: Path, kind: str, rows: Sequence[Row]) -> None:
    """Write rows as a file that is there for good; then merge small ones where there are many.

    Raises:
        OSError: The disk takes none; no file is left.
    """
    if not rows:
        return
    schema = SCHEMAS[kind]
    now = time.time_ns()
    _put(folder / kind, pa.Table.from_pylist([{**row, "written": now} for row in rows], schema=schema))
    _merge(folder / kind, schema)


def listed(folder: Path, kind: str) -> list[Path]:
    """The files of a kind, by name; those of a merge, or those that it is made of, but never neither."""
    found, before = _names(folder / kind), None
    while before is None or not before <= found:  # a folder that is read while it changes may show neither
        found, before = _names(folder / kind), found
    return [folder / kind / name for name in sorted(found)]


def problem(path: Path, kind: str, *, whole: bool = False) -> str | None:
    """Why a file cannot be counted; None where it can, as far as its end says, or all of it where `whole`.

    Raises:
        RefusedError: A later release wrote it: what it says that this one does not know may change every count.
        OSError: It has been merged, or cannot be read just now, or by this user.
    """
    try:
        with pq.ParquetFile(path) as file:
            found = file.schema_arrow
            for batch in file.iter_batches() if whole else ():
                batch.validate(full=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        if getattr(error, "errno", None) is not None:  # the system's, not the file's: it may be whole
            raise
        return f"it is no Parquet file, or damaged: {str(error).splitlines()[0]}"
    version = (found.metadata or {}).get(_VERSION, b"").decode("ascii", "replace")
    if not version.isdecimal():
        return "it was not written by this package"
    if int(version) > VERSION:
        raise RefusedError(
            f"{path} has version {version} of the columns, and this release of fds-mlflow knows {VERSION}",
            fix="upgrade fds-mlflow here",
        )
    for field in SCHEMAS[kind]:
        at = found.get_field_index(field.name)
        if at < 0 and not field.nullable:
            return f"it lacks the column {field.name!r}"
        if at >= 0 and found.field(at).type != field.type:
            return f"its column {field.name!r} is {found.field(at).type}, not {field.type}"
    return None


def rows_of(path: Path, kind: str, size: int) -> Iterator[list[Row]]:
    """A file's rows in their order, so many at a time; without `written`.

    Raises:
        OSError: It cannot be read, or has been merged.
    """
    with pq.ParquetFile(path) as file:
        names = [name for name in SCHEMAS[kind].names if name in file.schema_arrow.names and name != "written"]
        for batch in file.iter_batches(size, columns=names):
            yield batch.to_pylist()


@contextlib.contextmanager
def unmerged(folder: Path) -> Iterator[None]:
    """Have nothing merged meanwhile, by whoever sees the lock; where it cannot be had nothing is said."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(_lock(folder, fcntl.LOCK_SH))
        yield


@contextlib.contextmanager
def _lock(folder: Path, how: int) -> Iterator[None]:
    with open(folder / ".merging", "ab", opener=owned.opener) as lock:
        fcntl.flock(lock, how)
        yield


def _names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir() if path.match("[!.]*.parquet")}
    except FileNotFoundError:
        return set()


def _put(folder: Path, table: pa.Table) -> Path:
    """Have a table survive a loss of power, under a name of its own."""
    owned.folder(folder)
    path = folder / f"{ULID()}.parquet"
    fresh = folder / f".{path.stem}.new"
    names = table.schema.names
    encodings = {name: encoding for name, encoding in _ENCODINGS.items() if name in names}
    words = [name for name in names if name not in encodings]
    try:
        with open(fresh, "wb", opener=owned.opener) as file:
            pq.write_table(table, file, compression="zstd", use_dictionary=words, column_encoding=encodings)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
        owned.sync(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    return path


def _merge(folder: Path, schema: pa.Schema) -> None:
    """Make one file of small ones where there are many, and remove what killed processes left half written.

    Only one process does so at a time; where two cannot see each other's lock both do, and what is there twice counts
    once. What goes wrong is told and left: everything that was written is there.
    """
    try:
        if len(_names(folder)) < MANY:
            return
        with _lock(folder.parent, fcntl.LOCK_EX | fcntl.LOCK_NB):
            sizes = {path: path.stat() for path in sorted(folder.iterdir())}
            small = [path for path, stat in sizes.items() if path.match("[!.]*.parquet") and stat.st_size < SMALL]
            parts = (
                [path for path in small if problem(path, folder.name, whole=True) is None] if len(small) >= MANY else []
            )
            parts = parts[: 2 * MANY]  # in memory at once
            if len(parts) > 1:
                tables = [pq.read_table(path, schema=schema) for path in parts]
                _put(folder, pa.concat_tables(tables).replace_schema_metadata(schema.metadata))
                for path in parts:
                    path.unlink(missing_ok=True)
            for path, stat in sizes.items():
                if path.suffix == ".new" and time.time() - stat.st_mtime > STALE_SECONDS:
                    path.unlink(missing_ok=True)
    except BlockingIOError:  # another process is at it, or reads
        return
    except (OSError, pa.ArrowException, RefusedError) as error:
        log.warning("small files in %s were not merged: %s", folder, error)
