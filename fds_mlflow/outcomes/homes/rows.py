"""Records as the rows that messages and files hold, and back: the tables' columns, and what was scored as one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec

from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord, ShadowRecord, Vector, outcome_rows, vector_rows

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
    rows = outcome_rows(records)
    vector_rows(records)
    for row, record in zip(rows, records, strict=True):
        row["vector"] = None if record.vector is None else _encode(record.vector).decode()
        if row["transaction_id"] == row["key"]:
            row["transaction_id"] = None
    return rows


def record_of(kind: str, row: Mapping[str, Any]) -> Record:
    """The record that a row was made of; columns that it lacks are as where nobody gives them.

    Raises:
        TypeError: A column is unknown, or one is missing that every row has.
        ValueError: A value is none that a record was written with, or an outcome has no identity to count once by.
    """
    given = {name: value for name, value in row.items() if value is not None or name == "score"}
    for name in _TIMES:
        if isinstance(given.get(name), str):
            given[name] = datetime.fromisoformat(given[name])
    if "vector" in given:
        given["vector"] = _vector.decode(given["vector"])
    if kind == "outcomes" and "request_id" not in given:
        raise ValueError("it has no request_id")
    return KINDS[kind](**given)
