"""Records as the rows that messages and files hold, and back: the tables' columns, and what was scored as one text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec

from fds_mlflow.outcomes.records import (
    CaseRecord,
    OutcomeRecord,
    ShadowRecord,
    Vector,
    case_rows,
    outcome_rows,
    shadow_rows,
    vector_rows,
)

Record = OutcomeRecord | ShadowRecord | CaseRecord
Row = dict[str, Any]

KINDS: Mapping[str, type[Record]] = MappingProxyType(
    {"outcomes": OutcomeRecord, "shadows": ShadowRecord, "labels": CaseRecord}
)

_encode = msgspec.json.Encoder().encode
_vector = msgspec.json.Decoder(Vector)
_TIMES = ("time", "known_at", "occurred_at", "reported_at", "resolved_at")


def of_outcomes(records: Sequence[OutcomeRecord]) -> list[Row]:
    """Outcomes as rows; a transaction that is the key is None.

    Raises:
        DataError: A value is not valid; names the record, the value and the fix.
    """
    vector_rows(records)
    rows = outcome_rows(records)
    for row, record in zip(rows, records, strict=True):
        row["vector"] = None if record.vector is None else _encode(record.vector).decode()
        if row["transaction_id"] == row["key"]:
            row["transaction_id"] = None
    return rows


def of_shadows(records: Sequence[ShadowRecord]) -> list[Row]:
    """Shadows as rows.

    Raises:
        DataError: As for outcomes.
    """
    return shadow_rows(records)


def of_labels(records: Sequence[CaseRecord]) -> list[Row]:
    """Labels as rows; of two about the same transaction and moment, the last.

    Raises:
        DataError: As for outcomes.
    """
    rows = case_rows(records)
    for row in rows:
        del row["withdrawn"]  # what a store finds out about corrections
    return rows


def record_of(kind: str, row: Mapping[str, Any]) -> Record:
    """The record that a row was made of; columns that it lacks are as where nobody gives them.

    Raises:
        TypeError: A column is unknown, or one is missing that every row has.
        ValueError: A value is none that a record was written with.
    """
    given = {name: value for name, value in row.items() if value is not None or name == "score"}
    for name in _TIMES:
        if isinstance(given.get(name), str):
            given[name] = datetime.fromisoformat(given[name])
        if name in given:
            given[name] = given[name].astimezone(UTC)
    if "vector" in given:
        given["vector"] = _vector.decode(given["vector"])
    return KINDS[kind](**given)


def by_kind(found: Iterable[tuple[str, Record]]) -> dict[str, list[Any]]:
    """Records by kind, those of a kind in order."""
    parted: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for kind, record in found:
        parted[kind].append(record)
    return parted
