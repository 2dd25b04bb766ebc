"""Columns that are filled in after the transaction, found by what they know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fds_mlflow.data.inference import names
from fds_mlflow.data.inference.columns import Column
from fds_mlflow.data.inference.labels import Label
from fds_mlflow.data.inference.roles import is_index
from fds_mlflow.data.inference.times import Reading

_Mask = npt.NDArray[np.bool_]

_LEAST = 5
_ENOUGH = 20
_DAY = np.timedelta64(1, "D")
_MOST = 0.25
"""Share of the period that a label's delay may take: a split by time loses it twice."""


@dataclass(frozen=True)
class Later:
    """What is known later than the transaction.

    Attributes:
        columns: Column -> why.
        label_known_at: The column of the time when the label became known.
        matures: Days after which silence counts as genuine, where that time is known for frauds only.
        reason: What speaks for `label_known_at`.
    """

    columns: dict[str, str]
    label_known_at: str | None = None
    matures: int | None = None
    reason: str = ""


def find(columns: Mapping[str, Column], label: Label, time: Reading | None, readings: list[Reading]) -> Later:
    """Find what is known later: filled in for frauds alone, later than the transaction, or as good as the label."""
    truth = columns[label.column].texts.str.strip()
    known = truth.isin(label.frauds | label.genuine).to_numpy()
    fraud = truth.isin(label.frauds).to_numpy()
    found: dict[str, str] = {}
    used = set(time.columns) if time is not None else set()
    for name, column in columns.items():
        if name == label.column or name in used or is_index(column):
            continue
        reason = _only_for_frauds(column, fraud, known) or _second_label(column) or _separates(column, fraud, known)
        if reason is not None:
            found[name] = reason
    at, days, reason = (None, None, "") if time is None else _known_at(found, time, readings, fraud)
    if at is None:
        return Later(found)
    assert time is not None
    if days > _MOST * ((time.moments.max() - time.moments.min()) / _DAY):
        found[at] = f"{reason}; its delay of up to {days} days is too long for the period to serve as label_known_at"
        return Later(found)
    found.pop(at, None)
    genuine = bool(columns[at].texts.notna().to_numpy()[~fraud].any())
    return Later(found, at, None if genuine else days, reason)


def _only_for_frauds(column: Column, fraud: _Mask, known: _Mask) -> str | None:
    filled = column.texts.notna().to_numpy() & known
    frauds = int((filled & fraud).sum())
    if frauds < _LEAST or not column.missing or fraud[known].mean() > 0.5:
        return None
    if frauds / filled.sum() < 0.98:
        return None
    return (
        f"filled in for {frauds:,} frauds and {int(filled.sum()) - frauds:,} genuine rows: only known once the fraud is"
    )


def _second_label(column: Column) -> str | None:
    """A verdict by its name: of two values, or a time or text about what came after."""
    measured = column.numbers is not None and column.distinct > 2
    if (
        measured
        or not names.holds(column.name, names.CASE)
        or names.has(column.name, names.EARLIER | {"count", "risk", "rate"})
    ):
        return None
    return f"by its name a verdict on the transaction, such as {column.examples}; move it if it is known at its time"


def _separates(column: Column, fraud: _Mask, known: _Mask) -> str | None:
    """Whether one look at the column tells the class of every row."""
    here = known & column.texts.notna().to_numpy()
    bad, good = here & fraud, here & ~fraud
    if min(bad.sum(), good.sum()) < _ENOUGH or (column.survey.repetition < 1.05 and column.numbers is None):
        return None
    if column.numbers is not None and column.distinct > 2:
        ours, theirs = column.numbers[bad], column.numbers[good]
        if ours.min() > theirs.max() or ours.max() < theirs.min():
            return f"it separates the classes perfectly: {ours.min():g} to {ours.max():g} in frauds, else not"
        return None
    if column.distinct > 50:
        return None
    both = set(column.texts[bad].unique()) & set(column.texts[good].unique())
    return None if both else f"it separates the classes perfectly: {column.examples}; the label by another name?"


def _known_at(
    found: Mapping[str, str], time: Reading, readings: list[Reading], fraud: _Mask
) -> tuple[str | None, int, str]:
    """The time when the label became known: later than the transaction in every row, and written like its time.

    Returns:
        The column, its longest delay in days, and what speaks for it.
    """
    for item in readings:
        name = item.columns[0]
        if len(item.columns) > 1 or name in time.columns or item.keys != time.keys or item.offsets != time.offsets:
            continue
        there = ~np.isnat(item.moments)
        if not (names.holds(name, names.KNOWN) or name in found) or not there.any() or not time.absolute:
            continue
        if (item.moments[there] < time.moments[there]).any():
            continue
        delays = (item.moments[there] - time.moments[there]) / _DAY
        said = (
            f"later than the transaction in all of {int(there.sum()):,} rows, by {np.median(delays):.1f} days (median)"
        )
        who = "filled in for genuine rows too" if there[~fraud].any() else "filled in for frauds only"
        return name, max(1, math.ceil(float(delays.max()))), f"{said}; {who}"
    return None, 0, ""
