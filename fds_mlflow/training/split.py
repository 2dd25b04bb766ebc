"""Cut a feature table into training, validation and test parts: by time, stratified by label, or at random."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from fds_mlflow.core.text.checks import check_seed
from fds_mlflow.core.text.duration import describe_duration, from_duration
from fds_mlflow.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fds_mlflow.features.table import FeatureTable

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Three disjoint parts of one feature table.

    Attributes:
        train: What every fitted thing, scaling and encoding included, is fitted on.
        validation: What early stopping, the calibration of scores and the threshold are chosen on.
        test: What the reported metrics come from; nothing is chosen on it.
        facts: How the cut was made (method, boundaries, gap, rows left out), to be logged with the run.
        notes: What was left out on the way here, a sentence each.
    """

    train: FeatureTable
    validation: FeatureTable
    test: FeatureTable
    facts: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, FeatureTable]:
        """The parts by name, in their order."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def labelled(self) -> bool:
        """Whether the table knows which transactions were fraud."""
        return "label" in self.train.frame.columns


def by_time(
    table: FeatureTable,
    *,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    dates: tuple[datetime, datetime] | None = None,
    test_from: datetime | None = None,
    gap: timedelta | None = None,
) -> Split:
    """Train on the past, validate later, test last; nothing is learned from a label that was not known yet.

    With validation beginning at v and test at w, the parts are the half-open ranges [first, v - gap),
    [v, w - gap) and [w, last]. Beyond the gap, a row whose ``label_known_at`` is later than the beginning of
    the next part is left out of its own: its label would not have been there to learn or to choose from.
    A fraud that never became known (NaT) is left out of both as well, and stays in the test part, which is
    looked at with hindsight; a genuine transaction nobody ever reported (NaT) counts as known after the gap.

    Args:
        table: The features, in any order of rows.
        fractions: Shares of the rows that remain beside the gaps: training, validation, test.
        dates: Beginning of validation and of test (UTC where no zone is given), instead of fractions.
        test_from: Beginning of test alone; training and validation share what lies before it by their fractions.
        gap: The label delay. By default the delay after which nine in ten labels of the table were known,
            and zero where the table does not say when labels became known.

    Returns:
        The parts, rows in the table's order, with ``facts``.

    Raises:
        ConfigError: No time, fractions that do not sum to 1, dates in the wrong order or out of range, a negative gap.
        DataError: A part without rows, without fraud or without genuine transactions.
    """
    fractions = _checked_fractions(fractions)
    pause = _pause(table, gap)
    time = table.frame["time"].to_numpy().astype("datetime64[us]")
    fix = _longer(table, pause, given=gap is not None)
    if dates is not None and test_from is not None:
        raise ConfigError("two beginnings of the test are given", fix="give dates or test_from")
    if dates is not None:
        validation_start, test_start = _in_order(_moment(dates[0]), _moment(dates[1]))
    elif test_from is not None:
        test_start = _moment(test_from)
        validation_start = _before(time, test_start, fractions, pause)
    else:
        validation_start, test_start = _boundaries(table, fractions, pause, fix)
    masks = {
        "train": time < validation_start - pause,
        "validation": (time >= validation_start) & (time < test_start - pause),
        "test": time >= test_start,
    }
    facts = {
        "split": "time",
        "split_validation_start": str(validation_start),
        "split_test_start": str(test_start),
        "split_gap_days": f"{pause / np.timedelta64(1, 'D'):g}",
        "split_rows_in_gaps": str(len(time) - sum(int(mask.sum()) for mask in masks.values())),
    }
    late = _drop_late(table, masks, {"train": validation_start, "validation": test_start})
    facts |= {f"split_{part}_late_labels": str(rows) for part, rows in late.items()}
    return _cut(table, masks, facts, fix, _left_out(facts, pause, late))


def _drop_late(
    table: FeatureTable, masks: dict[str, NDArray[np.bool_]], known_by: Mapping[str, np.datetime64]
) -> dict[str, int]:
    """Take rows out of parts whose labels were not known by a moment; how many, by part."""
    late = {}
    for part, moment in known_by.items():
        unknown = masks[part] & _unknown_at(table.frame, moment)
        masks[part] &= ~unknown
        late[part] = int(unknown.sum())
    return late


def _pause(table: FeatureTable, gap: timedelta | None) -> np.timedelta64:
    """The gap that was asked for, else the usual delay of the labels.

    Raises:
        ConfigError: There is no time to split by, or the gap is negative.
    """
    if not has_time(table):
        raise ConfigError(
            f"{table.source} has no time to split by",
            fix="name the column under 'time' in the schema, or cut at random: leave --split out",
        )
    pause = _delay(table.frame, 0.9) if gap is None else np.timedelta64(gap, "us")
    if pause < np.timedelta64(0, "us"):
        raise ConfigError(f"the gap of {gap} is negative", fix="give the label delay as zero or more")
    return pause


def _longer(table: FeatureTable, pause: np.timedelta64, *, given: bool) -> str:
    """What to do where too little is left; a gap below every label's delay would only trade it for late labels."""
    ways = ["bring a longer period"]
    half = _delay(table.frame, 0.5)
    if given and pause > np.timedelta64(0, "us"):
        ways.append("shorten the gap (--gap)")
    elif half < pause:
        unit = timedelta(hours=1) if _timedelta(half) >= timedelta(hours=10) else timedelta(seconds=1)
        text = from_duration(-(-_timedelta(half) // unit) * unit)
        ways.append(f"shorten the gap (--gap {text}: half of the labels are known by then, later ones are left out)")
    if "label" in table.frame.columns:
        ways.append("cut at random (--split stratified)")
    return f"{', '.join(ways[:-1])}, or {ways[-1]}" if len(ways) > 1 else ways[0]


def _left_out(facts: Mapping[str, str], pause: np.timedelta64, late: Mapping[str, int]) -> tuple[str, ...]:
    """What a split by time left out, for people."""
    notes = []
    gaps = int(facts["split_rows_in_gaps"])
    if gaps:
        notes.append(f"{gaps:,} rows are left out: they lie in the gaps of {_span(pause)} before validation and test")
    for part, rows in late.items():
        if rows:
            notes.append(f"{rows:,} {part} rows are left out: their labels became known after the next part began")
    return tuple(notes)


def _timedelta(pause: np.timedelta64) -> timedelta:
    return timedelta(microseconds=int(pause.astype("timedelta64[us]").astype(np.int64)))


def _span(pause: np.timedelta64) -> str:
    return describe_duration(_timedelta(pause))


def has_time(table: FeatureTable) -> bool:
    """Whether the rows have times to be split by."""
    return bool(table.frame["time"].notna().any())


def _in_order(validation: np.datetime64, test: np.datetime64) -> tuple[np.datetime64, np.datetime64]:
    if not validation < test:
        raise ConfigError(f"validation begins at {validation} and test at {test}", fix="give two dates in order")
    return validation, test


def stratified(table: FeatureTable, fractions: Sequence[float] = (0.6, 0.2, 0.2), seed: int = 42) -> Split:
    """Cut at random so that every part holds the same share of fraud, exactly but for one row per class.

    Random parts let a model learn from the future: use this for data without a meaningful order in time, or
    to reproduce a specification that asks for it.

    Args:
        table: The features with labels.
        fractions: Shares of the rows: training, validation, test.
        seed: Seed of the permutation.

    Returns:
        The parts, rows in the table's order, with ``facts``.

    Raises:
        ConfigError: Fractions that do not sum to 1, or a seed out of range.
        DataError: No labels, or a part without fraud or without genuine transactions.
    """
    if "label" not in table.frame.columns:
        raise DataError(
            "a stratified split needs labels and the table has none",
            fix="name the label column in the schema, or leave --split out",
        )
    return _shuffled(table, table.y, fractions, {"split": "stratified", "split_seed": str(seed)}, seed)


def at_random(table: FeatureTable, fractions: Sequence[float] = (0.6, 0.2, 0.2), seed: int = 42) -> Split:
    """Cut at random: for tables with neither a time nor labels.

    Args:
        table: The features.
        fractions: Shares of the rows: training, validation, test.
        seed: Seed of the permutation.

    Returns:
        The parts, rows in the table's order, with ``facts``.

    Raises:
        ConfigError: Fractions that do not sum to 1, or a seed out of range.
        DataError: A part without rows.
    """
    rows = np.zeros(len(table), dtype=np.int8)
    return _shuffled(table, rows, fractions, {"split": "random", "split_seed": str(seed)}, seed)


def _shuffled(
    table: FeatureTable, classes: NDArray[np.int8], fractions: Sequence[float], facts: dict[str, str], seed: int
) -> Split:
    """Cut each class by the fractions, its rows in a random order."""
    check_seed(seed)
    shares = _checked_fractions(fractions)
    rng = np.random.default_rng(seed)
    part_of = np.empty(len(classes), dtype=np.int8)
    for each in np.unique(classes):
        rows = rng.permutation(np.flatnonzero(classes == each))
        part_of[rows] = np.repeat(np.arange(3, dtype=np.int8), _shares(len(rows), shares))
    masks = {name: part_of == index for index, name in enumerate(PARTS)}
    return _cut(table, masks, facts, "bring more rows: each part needs some of each class", ())


def _checked_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    if len(fractions) != 3 or any(not 0 < share < 1 for share in fractions) or abs(sum(fractions) - 1) > 1e-9:
        raise ConfigError(
            f"the fractions {tuple(fractions)} are not three shares above 0 that sum to 1",
            fix="give training, validation and test shares such as (0.6, 0.2, 0.2)",
        )
    return tuple(float(share) for share in fractions)


def _moment(value: datetime) -> np.datetime64:
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    try:
        return np.datetime64(aware.astimezone(UTC).replace(tzinfo=None), "us")
    except OverflowError:
        raise ConfigError(
            f"{value} is before year 1 or after year 9999 in UTC", fix="give a time of the rows"
        ) from None


def _delay(frame: pd.DataFrame, share: float) -> np.timedelta64:
    """The delay after which this share of the labels that ever become known were known; 0 where nothing tells."""
    if "label_known_at" not in frame.columns:
        return np.timedelta64(0, "us")
    delays = (frame["label_known_at"] - frame["time"]).dropna().sort_values().to_numpy()
    if len(delays) == 0:
        return np.timedelta64(0, "us")
    usual: np.timedelta64 = delays[min(len(delays) - 1, int(share * len(delays)))].astype("timedelta64[us]")
    return usual


def _unknown_at(frame: pd.DataFrame, moment: np.datetime64) -> NDArray[np.bool_]:
    """Rows whose label was not there at the moment; a genuine row nobody ever reported needs no report."""
    if "label" not in frame.columns or "label_known_at" not in frame.columns:
        return np.zeros(len(frame), dtype=bool)
    known_at = frame["label_known_at"].to_numpy()
    unknown: NDArray[np.bool_] = (known_at > moment) | (np.isnat(known_at) & (frame["label"].to_numpy() == 1))
    return unknown


def _before(
    time: NDArray[np.datetime64], test: np.datetime64, fractions: tuple[float, ...], gap: np.timedelta64
) -> np.datetime64:
    """Beginning of validation such that training and validation share the rows before a test by their fractions.

    Raises:
        ConfigError: No row, or all, or too few, lie before it.
    """
    ordered = np.sort(time)
    end = int(np.searchsorted(ordered, test - gap))
    train, validation, _ = fractions

    def enough(index: int) -> bool:
        before = int(np.searchsorted(ordered, ordered[index] - gap))
        return before * validation >= (end - index) * train

    first = bisect_left(range(end), True, key=enough)
    if not 0 < first < end or not test <= ordered[-1]:
        raise ConfigError(
            f"the test is to begin at {_day(test)}, and the rows are from {_day(ordered[0])} to {_day(ordered[-1])}",
            fix=f"give a time between them (--test-from) that leaves rows beside two gaps of {_span(gap)}",
        )
    return np.datetime64(ordered[first])


def _boundaries(
    table: FeatureTable, fractions: tuple[float, ...], gap: np.timedelta64, fix: str
) -> tuple[np.datetime64, np.datetime64]:
    """Beginnings of validation and test such that the rows beside the gaps are shared out by the fractions.

    Each is found by bisection: moving a boundary later only ever adds rows before it and takes rows after it.

    Raises:
        DataError: The gaps swallow the rows, or too many rows have one time.
    """
    time = np.sort(table.frame["time"].to_numpy().astype("datetime64[us]"))
    rows = len(time)
    train, validation, test = fractions

    def test_index(start: int) -> int:
        def enough(index: int) -> bool:
            before = int(np.searchsorted(time, time[index] - gap)) - start
            return before * test >= (rows - index) * validation

        return bisect_left(range(start, rows), True, key=enough) + start

    def rows_after(start: int) -> int:
        index = test_index(start)
        if index == rows:
            return 0
        return int(np.searchsorted(time, time[index] - gap)) - start + rows - index

    def trained_enough(index: int) -> bool:
        before = int(np.searchsorted(time, time[index] - gap))
        return before * (validation + test) >= rows_after(index) * train

    first = bisect_left(range(rows), True, key=trained_enough)
    second = test_index(first) if first < rows else rows
    if second < rows and time[first] < time[second]:
        return time[first], time[second]
    period = f"{rows:,} rows from {_day(time[0])} to {_day(time[-1])}"
    if gap == np.timedelta64(0, "us"):
        raise DataError(f"{period} have too few different times to cut by ({len(np.unique(time)):,})", fix=fix)
    raise DataError(f"{period} leave nothing beside two gaps of {_span(gap)} for labels to become known", fix=fix)


def _day(time: np.datetime64) -> str:
    return str(time.astype("datetime64[s]")).replace("T", " ")


def _shares(count: int, fractions: tuple[float, ...]) -> NDArray[np.intp]:
    """Whole numbers that sum to the count, by largest remainder."""
    exact = np.array(fractions) * count
    shares = np.floor(exact + 1e-9).astype(np.intp)
    for index in np.argsort(shares - exact, kind="stable")[: count - int(shares.sum())]:
        shares[index] += 1
    return shares


def _cut(
    table: FeatureTable, masks: dict[str, NDArray[np.bool_]], facts: dict[str, str], fix: str, notes: tuple[str, ...]
) -> Split:
    """The parts, each with rows and both classes.

    Raises:
        DataError: One lacks them; the message says what was left out as well.
    """
    parts = {name: table.where(mask) for name, mask in masks.items()}
    total = len(table.frame)
    also = "".join(f"; {note}" for note in notes)
    for name, part in parts.items():
        rows = len(part.frame)
        if rows == 0:
            raise DataError(f"the {name} part holds 0 of {total:,} rows{also}", fix=fix)
        facts[f"split_{name}_rows"] = str(rows)
        if "label" not in part.frame.columns:
            continue
        frauds = int(part.y.sum())
        if frauds in (0, rows):
            missing = "fraud" if frauds == 0 else "genuine transaction"
            raise DataError(f"the {name} part holds no {missing} in {rows:,} rows of {total:,}{also}", fix=fix)
        facts[f"split_{name}_frauds"] = str(frauds)
    return Split(parts["train"], parts["validation"], parts["test"], facts, (*table.notes, *notes))
