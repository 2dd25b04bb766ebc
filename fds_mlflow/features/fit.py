"""Whether a specification fits a schema, and transactions: everything that stands in the way at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.spec import FeatureSpec, genuine_labels

if TYPE_CHECKING:
    from fds_mlflow.data.transactions import Transactions


def kinds_of(schema: Schema) -> dict[str, str]:
    """What each canonical column of a schema is, as `FeatureSpec.check` takes it, in the order of its frames."""
    known = schema.label_known_at is not None or schema.label_delay is not None
    there = {
        "arrived_at": schema.arrived_at is not None,
        "label": schema.label is not None,
        "label_known_at": known,
        "label_propensity": schema.label_propensity is not None,
    }
    kinds = dict.fromkeys(["transaction_id", "time", *(["arrived_at"] if there.pop("arrived_at") else [])], "key")
    kinds |= {} if schema.amount is None else {"amount": "numeric"}
    kinds |= dict.fromkeys(schema.entities, "entity")
    kinds |= dict.fromkeys([name for name, has in there.items() if has], "label")
    kinds |= dict.fromkeys(schema.numeric, "numeric")
    return kinds | {name: "categorical" for name in schema.categorical if name not in schema.entities}


def misfits(spec: FeatureSpec, schema: Schema, transactions: Transactions | None = None) -> list[str]:
    """Why a specification cannot be computed, in sentences; empty where it can.

    Args:
        spec: The specification.
        schema: The schema.
        transactions: Transactions read by it, to look also at what their rows hold; None for the schema alone.
    """
    where = "the schema" if transactions is None else transactions.source
    kinds = kinds_of(schema)
    lacking = [need for need in spec.needs if kinds.get(need.column) not in need.kinds]
    found = [
        f"the {kinds[0]} column {column!r} is missing (for {feature})"
        for column, (kinds, feature) in {n.column: (n.kinds, n.feature) for n in reversed(lacking)}.items()
    ]
    try:
        if not found:
            spec.check(kinds, where=where)
        genuine = (0, 0) if transactions is None else genuine_labels(transactions.frame)
        spec.check_rows(timed=schema.time is not None, genuine=genuine[0], genuine_known=genuine[1], where=where)
    except ConfigError as error:
        found.append(f"{error.what}; {error.fix}")
    return found
