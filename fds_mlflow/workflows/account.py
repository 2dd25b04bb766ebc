"""What became of every label and of every transaction on the way to a training: counts that add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from fds_mlflow.training.split import Split

BETWEEN = "it lies in a gap between the parts, or its label came too late for its part"
"""Why the cut into parts leaves a row out, whatever its label."""

DOES = {"train": "to learn from", "validation": "to choose by", "test": "to measure by"}
"""What the rows of each part are for."""


class Origin(IntEnum):
    """Where a row's label comes from."""

    REPORTED = 0
    GIVEN = 1
    SILENT = 2


@dataclass(frozen=True)
class Account:
    """What became of the labels.

    Attributes:
        labels: Transactions of which anything is known, suspicions included.
        used: Those of them that are training rows.
        left_out: The others by reason; with `used` they add up to `labels`.
        silent: Training rows beside them: nobody reported them until labels mature, so they count as genuine.
        given: Training rows beside them whose label the data give, where the store of outcomes knows nothing of them.
        rows: Transactions of the data; 0 where they are what was served.
        rows_left_out: Those of them that are no training rows and have no label in the store, by reason; with
            `learned`, and the labels left out that the data have a transaction of, they add up to `rows`.
        parts: Labels that are used, by the part that they are in, and the frauds among all rows of it.
        alone: Labels used of flagged transactions with no known chance: each counts once, and what was blocked and
            never labelled is represented by none of them.
        weighted: Training rows whose label came by a chance below 1: they count by its inverse.
        watermark: Latest moment at which a label that is used became known, UTC; None where none tells.
    """

    labels: int
    used: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    silent: int = 0
    given: int = 0
    rows: int = 0
    rows_left_out: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    alone: int = 0
    weighted: int = 0
    watermark: datetime | None = None

    @property
    def learned(self) -> int:
        """Training rows in all."""
        return self.used + self.given + self.silent

    @property
    def frauds(self) -> int:
        """Frauds among the rows of all parts."""
        return sum(part["frauds"] for part in self.parts.values())

    @property
    def sentences(self) -> tuple[str, ...]:
        """The same for people."""
        how = "" if self.rows else " as they were served"
        said = f"{self.used:,} of {self.labels:,} labelled transactions are used{how}"
        if self.parts:
            parts = ((self.parts[name]["labels"], does) for name, does in DOES.items() if name in self.parts)
            said += f" ({', '.join(f'{count:,} {does}' for count, does in parts)})"
        if self.given:
            said += f", and {self.given:,} by the label that the data give"
        if self.silent:
            said += f", and {self.silent:,} that nobody reported as genuine ones"
        found = [said]
        found += [f"{count:,} labelled transactions are left out: {why}" for why, count in self.left_out.items()]
        found += [f"{count:,} other transactions are left out: {why}" for why, count in self.rows_left_out.items()]
        if self.weighted:
            found.append(f"{self.weighted:,} of the rows count by the inverse of the chance of their label")
        if self.alone:
            found.append(
                f"{self.alone:,} labels of flagged transactions have no known chance and count once each: what was"
                " blocked and never labelled is represented by none (explore, or give propensities)"
            )
        return tuple(found)

    @property
    def figures(self) -> dict[str, float]:
        """The same as metrics of a run."""
        return {
            "labels_known": float(self.labels),
            "labels_used": float(self.used),
            "labels_left_out": float(sum(self.left_out.values())),
            "labels_silent": float(self.silent),
            "labels_given": float(self.given),
            "labels_weighted": float(self.weighted),
        }

    @property
    def said(self) -> dict[str, Any]:
        """The same as plain values: what a version's tag says."""
        names = ("labels", "used", "left_out", "silent", "given", "rows", "rows_left_out", "parts", "alone", "weighted")
        known = None if self.watermark is None else self.watermark.isoformat()
        return {**{name: getattr(self, name) for name in names}, "watermark": known}

    @property
    def table(self) -> dict[str, list[Any]]:
        """The same as a table: what of, what became of it, why, how many."""
        lines: list[tuple[str, str, str, int]] = [
            ("label", "used", part, n["labels"]) for part, n in self.parts.items()
        ]
        if not self.parts:
            lines.append(("label", "used", "", self.used))
        lines += [("label", "left out", why, count) for why, count in self.left_out.items()]
        lines += [("transaction", "given", "", self.given), ("transaction", "silent", "", self.silent)]
        lines += [("transaction", "left out", why, count) for why, count in self.rows_left_out.items()]
        return {name: [line[i] for line in lines] for i, name in enumerate(("of", "became", "why", "count"))}


@dataclass(frozen=True)
class Origins:
    """Where the label of each training row comes from.

    Attributes:
        account: Of the labels, before the rows are cut into parts.
        of: An `Origin` for each transaction that is a training row, by its id: int8.
    """

    account: Account
    of: pd.Series[Any]

    def cut(self, parts: Split) -> Account:
        """The account after the cut: what no part took is left out as well."""
        before, placed, taken = self.account, dict[str, dict[str, int]](), Counter[int]()
        for name, part in parts.parts.items():
            origin = self.of.reindex(part.frame["transaction_id"]).to_numpy()
            taken.update(origin.astype(np.int64).tolist())
            frauds = int(part.y.sum()) if parts.labelled else 0
            placed[name] = {"labels": int((origin == Origin.REPORTED).sum()), "frauds": frauds}
        lost = before.used - taken[Origin.REPORTED]
        others = before.given + before.silent - taken[Origin.GIVEN] - taken[Origin.SILENT]
        return replace(
            before,
            used=taken[Origin.REPORTED],
            given=taken[Origin.GIVEN],
            silent=taken[Origin.SILENT],
            left_out=_with(before.left_out, lost),
            rows_left_out=_with(before.rows_left_out, others),
            parts=placed,
        )

    def told(self, parts: Split, account: Account) -> Split:
        """The parts, their notes telling the account after the cut where they told that before it."""
        kept = tuple(note for note in parts.notes if note not in self.account.sentences)
        return parts if kept == parts.notes else replace(parts, notes=(*kept, *account.sentences))


def of_data(frame: pd.DataFrame) -> Origins:
    """The account of rows whose labels all come from the data themselves.

    Args:
        frame: The labelled rows, `transaction_id` among their columns.
    """
    count = len(frame)
    weighted = int((frame["label_propensity"] < 1).sum()) if "label_propensity" in frame else 0
    known = frame["label_known_at"].max() if "label_known_at" in frame else pd.NaT
    mark = None if pd.isna(known) else known.to_pydatetime().replace(tzinfo=UTC)
    return Origins(
        Account(count, count, rows=count, weighted=weighted, watermark=mark),
        pd.Series(np.zeros(count, dtype=np.int8), index=frame["transaction_id"]),
    )


def _with(reasons: Mapping[str, int], lost: int) -> dict[str, int]:
    return {**reasons, BETWEEN: lost} if lost else dict(reasons)
