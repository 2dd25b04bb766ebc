"""The features that a schema gets where nobody declares any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fds_mlflow.data.schema import Schema
from fds_mlflow.features.spec import FeatureSpec, Flag, Window, genuine_labels

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.data.transactions import Transactions


def default_spec(source: Schema | Transactions) -> FeatureSpec:
    """A sensible set of features for any schema; `default_features` says what it leaves out."""
    return default_features(source)[0]


def default_features(source: Schema | Transactions) -> tuple[FeatureSpec, tuple[str, ...]]:
    """A sensible set of features for any schema, and what had to be left out of it.

    The amount, weekend and night; per entity the number of transactions and their mean amount over 1, 7 and 30 days
    and the number within 1 hour; for entities other than the customer the fraud risk and the number of known labels
    over 1, 7 and 30 days (where the schema says when labels become known) and the distinct customers over 7 days
    (where there is a customer); the schema's extras. Without a time there are no windows and no flags, without an
    amount no means. A window or flag gives way to a column of the same name.

    Args:
        source: The schema, or the transactions: these also show entities that are empty in every row, and labels that
            become known for frauds only, over which there are no windows and no risks.

    Returns:
        The specification, and sentences on what is not in it and why.
    """
    schema = source if isinstance(source, Schema) else source.schema
    frame = None if isinstance(source, Schema) else source.frame
    notes: list[str] = []
    roles = _roles(schema, frame, notes)
    others = [role for role in roles if role != "customer"]
    risky = bool(others) and _labels_serve(schema, frame, notes)
    if schema.amount is None and roles:
        notes.append("the schema names no amount: no means of amounts over the windows")
    empty = [name for name in (*schema.numeric, *schema.categorical) if frame is not None and frame[name].isna().all()]
    notes += [f"the column {name!r} is empty in every row: as a feature it says nothing" for name in empty]
    days = ("1d", "7d", "30d")
    windows: list[Window] = []
    for role in roles:
        windows.append(Window(entity=role, aggregate="count", windows=("1h", *days)))
        if schema.amount is not None:
            windows.append(Window(entity=role, aggregate="mean", windows=days))
        if role in others and "customer" in roles:
            windows.append(Window(entity=role, aggregate="distinct", of="customer", windows=("7d",)))
        if role in others and risky:
            windows += [Window(entity=role, aggregate=kind, windows=days) for kind in ("known", "risk")]
    flags = (Flag(flag="weekend"), Flag(flag="night")) if schema.time is not None else ()
    taken = {*schema.numeric, *schema.categorical, *schema.entities}
    spec = FeatureSpec(
        numeric=(*(("amount",) if schema.amount is not None else ()), *schema.numeric),
        flags=tuple(flag for flag in flags if _is_free(flag.feature, taken, notes)),
        windows=tuple(kept for item in windows if (kept := _without(item, taken, notes)) is not None),
        categorical=tuple(schema.categorical),
        time_zone=schema.time_zone,
    )
    return spec, tuple(notes)


def _roles(schema: Schema, frame: pd.DataFrame | None, notes: list[str]) -> list[str]:
    """The entities that windows can be over; says which cannot."""
    if schema.time is None:
        notes.append("the schema names no time: no windows over the past of an entity, no weekend and no night")
        return []
    if not schema.entities:
        notes.append("the schema names no entities: no windows over the past of a customer or device")
    empty = [] if frame is None else [role for role in schema.entities if frame[role].isna().all()]
    notes += [f"the entity {role!r} is empty in every row: no windows over its past" for role in empty]
    return [role for role in schema.entities if role not in empty]


def _labels_serve(schema: Schema, frame: pd.DataFrame | None, notes: list[str]) -> bool:
    """Whether the past can be asked for its frauds; says why not."""
    without = "no fraud risks and known labels over the windows"
    if schema.label is None:
        notes.append(f"the schema names no label: {without}")
        return False
    if schema.label_known_at is None and schema.label_delay is None:
        notes.append(f"the schema does not say when labels become known (label_known_at or label_delay): {without}")
        return False
    if frame is None:
        return True
    genuine, known = genuine_labels(frame)
    if genuine and not known:
        notes.append(
            f"the labels of all {genuine:,} genuine rows never become known (label_known_at is empty; labels_mature "
            f"would say when silence counts as genuine): {without}"
        )
        return False
    return True


def _is_free(name: str, taken: set[str], notes: list[str]) -> bool:
    if name in taken:
        notes.append(f"the feature {name!r} gives way to the schema's own column of that name")
    return name not in taken


def _without(item: Window, taken: set[str], notes: list[str]) -> Window | None:
    """The window without the spans whose feature has the name of a column; None where nothing is left."""
    kept = tuple(span for span in item.windows if _is_free(item.feature(span), taken, notes))
    return item.model_copy(update={"windows": kept}) if kept else None
