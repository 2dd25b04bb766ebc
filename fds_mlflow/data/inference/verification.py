"""An inferred schema reads its source: the loader's own conversion is tried on every row, and decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from fds_mlflow.data import readers
from fds_mlflow.data.canonical import Canonical
from fds_mlflow.data.inference.sketch import all_different, hashes_of
from fds_mlflow.data.schema import RESERVED, Schema
from fds_mlflow.errors import DataError

_NEEDED_BY_TIME = ("time_format", "time_unit", "time_origin", "arrived_at", "label_known_at", "labels_mature")


def verified(
    schema: Schema,
    source: str | Path | pd.DataFrame,
    *,
    table: str | None = None,
    query: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[Schema, dict[str, str]]:
    """Read a source by a schema; what the loader refuses loses its role.

    Returns:
        The schema that reads it, and the columns that lost a role, with what the loader said.

    Raises:
        DataError: The label does not fit, or the source cannot be read.
    """
    dropped: dict[str, str] = {}
    name = readers.describe(source, table, query)
    ids: list[Any] = []
    reading = Canonical(schema, name)
    for stretch in readers.chunks(source, schema, table=table, query=query, progress=progress):
        frame = reading.frame(stretch)
        while reading.problems:
            schema, said = _without_misfits(schema, stretch, name)
            if not said:
                reading.finish()
            dropped |= said
            reading = Canonical(schema, name)
            frame = reading.frame(stretch)
        if frame is not None and schema.transaction_id is not None:
            ids.append(hashes_of(frame["transaction_id"].to_numpy()))
    if schema.transaction_id is not None and ids and not all_different(ids):
        dropped[schema.transaction_id] = "its values occur more than once"
        schema = _without(schema, "transaction_id")
    return schema, dropped


def _without_misfits(schema: Schema, stretch: pa.Table, name: str) -> tuple[Schema, dict[str, str]]:
    """Try each role by itself, and take away those that do not fit."""
    said: dict[str, str] = {}
    for role, columns in schema.roles().items():
        alone = Canonical(_alone(schema, role), name)
        alone.frame(stretch)
        if not alone.problems:
            continue
        try:
            alone.problems.raise_any(stretch.num_rows)
        except DataError as error:
            if role == "label":
                raise
            said |= dict.fromkeys(columns, error.what)
            schema = _without(schema, role)
    return schema, said


def _alone(schema: Schema, role: str) -> Schema:
    """The schema with one role, and what it stands on."""
    keep = {role, "time", "label"} if role in ("label_known_at", "label_propensity") else {role}
    keep |= {"time"} if role == "arrived_at" else set()
    for other in schema.roles():
        if other not in keep:
            schema = _without(schema, other, alone=True)
    return schema


def _without(schema: Schema, role: str, *, alone: bool = False) -> Schema:
    """The schema without a role; a time that is refused takes with it what needs one."""
    values: dict[str, Any] = schema.model_dump()
    if role in schema.entities:
        values["entities"] = {r: c for r, c in schema.entities.items() if r != role}
    for key in ("numeric", "categorical"):
        values[key] = [name for name in values[key] if name != role]
    if role in RESERVED:
        values[role] = None
    if role == "time" or values["time"] is None:
        values |= dict.fromkeys(_NEEDED_BY_TIME)
    if role in ("label", "label_known_at"):
        values["labels_mature"] = None
    if role == "label_known_at" and not alone and schema.label_known_at is not None:
        values["known_later"] = [*schema.known_later, schema.label_known_at]
    if role == "label":
        values |= {"label_values": None, "label_known_at": None, "label_propensity": None}
    return Schema.of(**values)
