"""Transactions from wherever, with the labels that the store of outcomes knows by now.

Of a transaction that the store knows, its latest truth holds, whatever the data say; of others the label of the data,
where they have one; and silence counts as genuine only once labels are mature. An account says what became of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fds_mlflow.core.keys import joined
from fds_mlflow.core.text.duration import from_duration
from fds_mlflow.data.labels import with_labels
from fds_mlflow.data.moments import micros_of
from fds_mlflow.data.transactions import Transactions
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.outcomes.feedback import Flagged, Reports
from fds_mlflow.outcomes.records import CaseStatus
from fds_mlflow.workflows.account import Account, Origin, Origins
from fds_mlflow.workflows.served_rows import BLOCKED, SUSPECTED

UNMATCHED = "the data have no transaction of this id"
EARLY = "it was known before the transaction took place: look at the time zones"
IMMATURE = "the transaction is younger than the label maturity: frauds are known sooner than their absence"

LABEL_REASONS = (SUSPECTED, UNMATCHED, EARLY, IMMATURE, BLOCKED)
"""Why a label of the store is left out; the first that holds is told."""

YOUNG = "nobody reported it, and it is younger than the label maturity: its truth is not known"
GIVEN_YOUNG = "younger than the label maturity, and its label is the data's alone"
GIVEN_LATER = "its label in the data became known later than now"
WITHHELD = "flagged and not let pass: nobody could have reported it"
UNSAID = "nobody reported it, and no label maturity says when silence counts as genuine"
UNREPORTED = "nobody reported it, and silence is taken for no label"

ROW_REASONS = (GIVEN_YOUNG, GIVEN_LATER, YOUNG, BLOCKED, WITHHELD, UNSAID, UNREPORTED)
"""Why a transaction without a label in the store is left out."""

Mask = npt.NDArray[np.bool_]


class Unreported(StrEnum):
    """How a transaction is taken that is older than the label maturity and has no label."""

    GENUINE = "genuine"
    LEFT_OUT = "left-out"


@dataclass(frozen=True)
class Labelling:
    """What labels count at a moment.

    Attributes:
        now: The moment, timezone-aware: labels are those known by then.
        maturity: Age from which labels count, and silence may; None where the age says nothing: then silence is no
            label.
        unreported: How a transaction older than that is taken which nobody reported.
    """

    now: datetime
    maturity: timedelta | None = None
    unreported: Unreported = Unreported.GENUINE


def labelled(
    transactions: Transactions, reports: Reports, flagged: dict[str, Flagged], how: Labelling
) -> tuple[Transactions, Origins]:
    """The transactions with the labels of the store, and the account.

    Args:
        transactions: With or without labels of their own.
        reports: What the store knows by `how.now`.
        flagged: What the model flagged, for the chances of labels.
        how: What labels count.

    Returns:
        The same rows: `label` is missing where nothing is known that counts, which leaves a row out of training as
        anything but the past of others. `label_known_at` is when it became known; of silence, when it matured.
        `label_propensity` is there where a chance is below 1.

    Raises:
        ConfigError: The transactions have no id to join by, or no time where labels mature by age.
        DataError: No row has a label.
    """
    _require_joinable(transactions, how)
    join = _Join(transactions, reports, flagged, how)
    frame, origins = join.frame(), join.origins()
    if not len(origins.of):
        raise DataError(
            f"no transaction of {transactions.source} has a label that counts: {'; '.join(origins.account.sentences)}",
            fix="import labels (fds label import), or say from which age on silence counts: --label-maturity 30d",
        )
    return transactions.relabelled(frame, with_labels(transactions.schema)), origins


def _require_joinable(transactions: Transactions, how: Labelling) -> None:
    if transactions.schema.transaction_id is None:
        raise ConfigError(
            f"{transactions.source} has no ids of transactions, by which labels are joined",
            fix="name the column under 'transaction_id' in the schema",
        )
    if how.maturity is not None and transactions.period is None:
        raise ConfigError(
            f"{transactions.source} has no time, so nothing in it is older than {from_duration(how.maturity)}",
            fix="name the column under 'time' in the schema, or leave --label-maturity out",
        )


class _Join:
    """The store's labels beside the rows of the data."""

    def __init__(
        self, transactions: Transactions, reports: Reports, flagged: dict[str, Flagged], how: Labelling
    ) -> None:
        self._frame = transactions.frame
        self._how = how
        rows = len(self._frame)
        time = self._frame["time"].to_numpy().astype("datetime64[us]")
        now = np.datetime64(micros_of(how.now), "us")
        self._young: Mask = np.zeros(rows, dtype=bool)
        if how.maturity is not None:
            self._young = time > now - np.timedelta64(how.maturity, "us")
        self._time, self._now = time, now
        ids = pd.Index(_joined(self._frame["transaction_id"]))
        self._place = ids.get_indexer(pd.Index(reports.transaction_ids, dtype=ids.dtype))
        self._reports = reports
        self._known = np.array([micros_of(moment) for moment in reports.known_at], dtype="datetime64[us]")
        self._chance, self._blocked, self._shut = _chances(ids, flagged)
        self._why = self._reasons()
        self._take()

    def _reasons(self) -> npt.NDArray[np.int8]:
        """For each label of the store: the place of its reason in `LABEL_REASONS`, -1 where it is used."""
        status = np.array(self._reports.statuses, dtype=object)
        there = self._place >= 0
        row = np.where(there, self._place, 0)
        holds = (
            status == CaseStatus.SUSPECTED.value,
            ~there,
            there & (self._known < self._time[row]) if len(self._time) else there,
            there & self._young[row],
            there & self._blocked[row],
        )
        why = np.full(len(status), -1, dtype=np.int8)
        for place in reversed(range(len(holds))):
            why[holds[place]] = place
        return why

    def _take(self) -> None:
        """Give each row its label, when that became known, its chance and its origin."""
        rows = len(self._frame)
        used = self._why < 0
        at = self._place[used]
        self._label = np.full(rows, -1, dtype=np.int8)
        self._known_at = np.full(rows, np.datetime64("NaT"), dtype="datetime64[us]")
        self._origin = np.full(rows, -1, dtype=np.int8)
        self._row_why = np.full(rows, -1, dtype=np.int8)
        reported: Mask = np.zeros(rows, dtype=bool)
        reported[self._place[self._place >= 0]] = True  # a suspicion, too, holds before what the data say
        status = np.array(self._reports.statuses, dtype=object)[used]
        self._label[at] = status == CaseStatus.CONFIRMED.value
        self._known_at[at] = self._known[used]
        self._origin[at] = Origin.REPORTED
        said = np.array([np.nan if p is None else p for p in self._reports.propensities], dtype=np.float64)[used]
        shut = self._shut[at]
        self._chance[at] = np.where(shut & ~np.isnan(said), said, self._chance[at])
        self._alone = int((shut & np.isnan(said)).sum())
        given = self._give(~reported)
        self._be_silent(~reported & ~given)

    def _give(self, free: Mask) -> Mask:
        """Take the labels of the data for rows that the store does not know; which rows have one."""
        if "label" not in self._frame:
            return np.zeros(len(self._frame), dtype=bool)
        label = self._frame["label"]
        there: Mask = free & label.notna().to_numpy()
        known = np.full(len(label), np.datetime64("NaT"), dtype="datetime64[us]")
        if "label_known_at" in self._frame:
            known = self._frame["label_known_at"].to_numpy().astype("datetime64[us]")
        late = there & (known > self._now)
        self._leave(there & self._young, GIVEN_YOUNG)
        self._leave(late & ~self._young, GIVEN_LATER)
        stood_for = there & self._blocked & ~late & ~self._young
        self._leave(stood_for, BLOCKED)
        taken = there & ~late & ~self._young & ~stood_for
        self._label[taken] = label[taken].to_numpy(dtype=np.int8)
        self._known_at[taken] = known[taken]
        self._origin[taken] = Origin.GIVEN
        if "label_propensity" in self._frame:
            self._chance[taken] = self._frame["label_propensity"].to_numpy(dtype=np.float64)[taken]
        self._alone += int((taken & self._shut & (self._chance == 1)).sum())
        return there

    def _be_silent(self, quiet: Mask) -> None:
        """Take what nobody has said anything about for genuine, or leave it out and say why."""
        maturity = self._how.maturity
        self._leave(quiet & self._young, YOUNG)
        old = quiet & ~self._young
        shut = self._blocked | self._shut
        self._leave(old & shut, WITHHELD)
        old &= ~shut
        if maturity is None or self._how.unreported is Unreported.LEFT_OUT:
            self._leave(old, UNSAID if maturity is None else UNREPORTED)
            return
        self._label[old] = 0
        self._known_at[old] = self._time[old] + np.timedelta64(maturity, "us")
        self._origin[old] = Origin.SILENT

    def _leave(self, which: Mask, why: str) -> None:
        self._row_why[which] = ROW_REASONS.index(why)

    def frame(self) -> pd.DataFrame:
        """The rows with their labels."""
        label = pd.Series(self._label, index=self._frame.index, dtype="Int8")
        columns: dict[str, Any] = {
            "label": label.mask(self._label < 0) if (self._label < 0).any() else label.astype(np.int8),
            "label_known_at": pd.Series(self._known_at, index=self._frame.index),
        }
        if (self._chance[self._label >= 0] < 1).any():
            columns["label_propensity"] = self._chance
        return self._frame.drop(columns="label_propensity", errors="ignore").assign(**columns)

    def origins(self) -> Origins:
        """What became of each label and each transaction."""
        used = self._why < 0
        known = self._reports.known_at
        account = Account(
            labels=len(self._why),
            used=int(used.sum()),
            left_out=_counted(self._why, LABEL_REASONS),
            silent=int((self._origin == Origin.SILENT).sum()),
            given=int((self._origin == Origin.GIVEN).sum()),
            rows=len(self._frame),
            rows_left_out=_counted(self._row_why, ROW_REASONS),
            alone=self._alone,
            weighted=int((self._chance[self._label >= 0] < 1).sum()),
            watermark=max((known[place] for place in np.flatnonzero(used)), default=None),
        )
        taken = self._origin >= 0
        return Origins(account, pd.Series(self._origin[taken], index=self._frame["transaction_id"][taken]))


def _chances(ids: pd.Index[Any], flagged: dict[str, Flagged]) -> tuple[npt.NDArray[np.float64], Mask, Mask]:
    """For each row: the chance of its label, whether what was explored stands for it, and whether it was blocked."""
    chance = np.ones(len(ids))
    blocked: Mask = np.zeros(len(ids), dtype=bool)
    shut: Mask = np.zeros(len(ids), dtype=bool)
    places = ids.get_indexer(pd.Index(list(flagged), dtype=ids.dtype))
    for place, one in zip(places, flagged.values(), strict=True):
        if place < 0:
            continue
        if one.explored:
            chance[place] = one.propensity or 1.0
        elif one.propensity:
            blocked[place] = True
        else:
            shut[place] = True
    return chance, blocked, shut


def _counted(why: npt.NDArray[np.int8], reasons: tuple[str, ...]) -> dict[str, int]:
    counts = np.bincount(why[why >= 0], minlength=len(reasons))
    return {reason: int(count) for reason, count in zip(reasons, counts, strict=True) if count}


def _joined(ids: pd.Series[str]) -> pd.Series[str]:
    """Ids as the store spells them."""
    floats = ids.str.endswith(".0").to_numpy(dtype=bool)
    return ids if not floats.any() else ids.mask(floats, ids[floats].map(joined))
