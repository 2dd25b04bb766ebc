"""Whether a batch of rows may be trained on: what is broken stops, what is odd is said and stays with the version.

Rows that do not fit the schema were refused when they were read; here it is about what rows can only show together, and
beside the training of the champion.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.core.text.numbers import percent
from fds_mlflow.data.problems import Problem, Problems
from fds_mlflow.errors import FdsError, NotFoundError
from fds_mlflow.features import drift
from fds_mlflow.features.profile import GAP, OTHERS, per_day, worth
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.workflows.profile import gaps

if TYPE_CHECKING:
    from fds_mlflow.features.profile import Profile
    from fds_mlflow.features.table import FeatureTable
    from fds_mlflow.model import ManagedModel

log = logging.getLogger(__name__)

FUTURE = timedelta(days=366)
"""A time so far ahead is a wrong one; nearer ones may be a clock's or a plan's."""

GONE = 0.99
"""Share of missing values that makes a column useless, where the champion learned from at least half of it."""

REPEATED = 0.5
"""Share of rows that say the same as another one: the batch is there twice."""

RATES = (3.0, 10.0)
"""Factors between the fraud rate and that of the champion's training: odd, and broken."""

_MISSING = 0.2
_UNSEEN = 0.2
_FALLEN = 0.5
_SCALE = 50.0
_OUTLIER = 1_000.0
_WEEK = 7
_LEAST_DAYS = 28
_LEAST_ROWS = 1_000


@dataclass(frozen=True)
class Quality:
    """What was found in a batch.

    Attributes:
        rows: Its rows.
        problems: What is broken: nothing should be trained on it.
        warnings: What is odd, a sentence each.
    """

    rows: int
    problems: Problems
    warnings: tuple[str, ...] = ()

    def require(self) -> None:
        """Refuse a batch that is broken.

        Raises:
            DataError: Names everything that is, each with its fix.
        """
        self.problems.raise_any(self.rows)


def checked(table: FeatureTable, reference: Profile | None = None, *, now: datetime | None = None) -> FeatureTable:
    """A table that may be trained on, what is odd about it added to its notes.

    Args:
        table: The features.
        reference: The profile of the champion's training; None where there is none.
        now: The time, timezone-aware; None for the clock's.

    Raises:
        DataError: It is broken.
    """
    found = check(table, reference, now=now)
    found.require()
    return replace(table, notes=(*table.notes, *found.warnings))


def reference(model: ManagedModel) -> Profile | None:
    """The profile of the champion's training; None where there is no champion, or it has none."""
    try:
        champion = model.overview().champion
    except NotFoundError:  # this is its first training
        return None
    try:
        return None if champion is None else model.session.described(champion)[1]
    except FdsError as error:  # a champion whose files cannot be read must not keep the next version from being trained
        log.warning("the batch is not held against the training of champion %s: %s", champion, error.what)
        return None


def check(table: FeatureTable, reference: Profile | None = None, *, now: datetime | None = None) -> Quality:
    """Look at a batch before it trains anything; arguments as for `checked`."""
    problems = Problems(table.source)
    moment = (now or SystemClock().now()).replace(tzinfo=None)
    warnings: list[str] = []
    for found in (
        *_times(table, moment),
        *_repeats(table),
        *_columns(table, reference),
        *_labels(table, reference),
        *_volume(table, reference),
    ):
        if isinstance(found, Problem):
            problems.add(found)
        else:
            warnings.append(found)
    return Quality(len(table), problems, tuple(warnings))


def _times(table: FeatureTable, now: datetime) -> Iterator[Problem | str]:
    time = table.frame["time"].dropna()
    if not len(time):
        return
    wrong, ahead = int((time > now + FUTURE).sum()), int((time > now).sum())
    if wrong:
        yield Problem(
            "the time",
            "moments more than a year ahead",
            "correct them, or the schema's time_format or time_unit; then read the data again",
            wrong,
            f" (the last one: {time.max()})",
        )
    elif ahead:
        yield f"{ahead:,} of {len(table):,} rows lie in the future, up to {time.max()}: see to the schema's time_zone"
    hours = np.unique(time.to_numpy().astype("datetime64[h]").astype(np.int64)).tolist()
    found = sorted(gaps(hours), key=lambda gap: gap.start - gap.end)
    if found:
        longest = f"the longest is from {found[0].start:%Y-%m-%d %H:%M} to {found[0].end:%Y-%m-%d %H:%M} UTC"
        yield f"there are {len(found):,} times without any transaction; {longest}"


def _repeats(table: FeatureTable) -> Iterator[Problem | str]:
    """Rows that say the same as an earlier one: same time, same entities, same columns that are taken as they are."""
    roles = [] if table.schema is None else [role for role in table.schema.entities if role in table.frame]
    if not roles or not table.frame["time"].notna().any():
        return
    plain = [name for name in (*table.spec.numeric, *table.spec.categorical) if name in table.frame]
    if table.schema is not None and table.schema.amount is not None and "amount" not in plain:
        return  # the features leave the amounts out: a customer's purchases of one day need not be the same
    names = list(dict.fromkeys(["time", *roles, *plain]))
    hashes = np.sort(pd.util.hash_pandas_object(table.frame[names], index=False).to_numpy())
    repeated = int((hashes[1:] == hashes[:-1]).sum())
    if repeated >= REPEATED * len(table):
        yield Problem(
            "the batch",
            "rows that say the same as another one, but for the id",
            "remove them: the data seem to be there twice",
            repeated,
        )
    elif repeated >= 0.01 * len(table):
        yield f"{repeated:,} of {len(table):,} rows say the same as another one, but for the id"


def _columns(table: FeatureTable, reference: Profile | None) -> Iterator[Problem | str]:
    plain = {*table.spec.numeric, *table.spec.categorical}
    for name in table.features:
        column = table.frame[name]
        missing = float(column.isna().mean())
        before = None if reference is None else _missing_before(reference, name)
        if before is not None and missing >= GONE and before <= 0.5:
            yield Problem(
                f"the feature {name!r}",
                f"no value in {percent(missing)} of rows, and none in {percent(before)} of the champion's training",
                "deliver it again; or train on other features, that leave it out",
                verb="has",
            )
            continue
        if before is not None and abs(missing - before) >= _MISSING:
            yield f"{name} is missing in {percent(missing)} of rows, in {percent(before)} of the champion's training"
        if name in table.categorical:
            yield from _category(name, column, reference)
        elif name in plain:
            yield from _number(name, column, reference)


def _missing_before(reference: Profile, name: str) -> float | None:
    if name in reference.numbers:
        quantiles = reference.numbers[name]
        return sum(one is None for one in quantiles) / len(quantiles)
    return reference.categories[name].get(GAP, 0.0) if name in reference.categories else None


def _category(name: str, column: pd.Series[Any], reference: Profile | None) -> Iterator[str]:
    counts = column.value_counts()
    rows = int(counts.sum())
    if rows >= _LEAST_ROWS and len(counts) > rows / 2:
        yield f"{name} has {len(counts):,} different values in {rows:,} rows: a code like that tells nothing"
    if len(counts) == 1 and reference is not None and name not in reference.constant and name in reference.categories:
        yield f"{name} is {counts.index[0]!r} in every row, and was not in the champion's training"
    known = {} if reference is None else reference.categories.get(name, {})
    if known and OTHERS not in known and rows:
        unseen = int(counts[~counts.index.isin(list(known))].sum())
        if unseen >= _UNSEEN * rows:
            yield f"{name} has values in {percent(unseen / rows)} of rows that the champion's training did not have"


def _number(name: str, column: pd.Series[Any], reference: Profile | None) -> Iterator[str]:
    values = column.to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    known = [] if reference is None else [one for one in reference.numbers.get(name, []) if one is not None]
    if not len(values) or not known:
        return
    low, high = float(values.min()), float(values.max())
    if low == high and reference is not None and name not in reference.constant:
        yield f"{name} is {low:.6g} in every row, and was not in the champion's training"
    negative = float((values < 0).mean())
    if known[0] >= 0 and negative >= 0.01:
        yield f"{name} is negative in {percent(negative)} of rows, and in none of the champion's training"
    middle, before = float(np.median(values)), float(np.median(known))
    if middle * before > 0 and not 1 / _SCALE < middle / before < _SCALE:
        yield f"{name} has a median of {middle:.6g}, in the champion's training {before:.6g}: see to its unit"
    elif known[-1] > 0 and high > _OUTLIER * known[-1]:
        yield f"{name} goes up to {high:.6g}; in the champion's training 99.5 % were at most {known[-1]:.6g}"


def _labels(table: FeatureTable, reference: Profile | None) -> Iterator[Problem | str]:
    if "label" not in table.frame:
        return
    rate = float(np.average(table.y, weights=table.weight))
    if rate > 0.5:
        yield f"{percent(rate)} of rows are frauds: see that label_values does not name the wrong one"
    before = None if reference is None else reference.labelled
    if before is None:
        return
    now = rate, len(table) if table.weight is None else worth(table.weight)
    odd, broken = (drift.rate("fraud rate", before, now, ratio=ratio) for ratio in RATES)
    if broken.status is Status.FAIL:
        yield Problem(
            "the label",
            f"{percent(rate)} frauds, and {percent(before[0])} in the champion's training: a factor of ten",
            "see that all labels have arrived, and to label_values in the schema; if the world is so, train it under"
            " another model's name",
            verb="has",
        )
    elif odd.status is Status.FAIL:
        yield f"{percent(rate)} of rows are frauds, {percent(before[0])} in the champion's training"


def _volume(table: FeatureTable, reference: Profile | None) -> Iterator[str]:
    time = table.frame["time"].dropna()
    if not len(time):
        return
    days = per_day(time)[:-1]  # the last one may not be over
    if len(days) >= _LEAST_DAYS:
        newest, before = float(np.median(days[-_WEEK:])), float(np.median(days[:-_WEEK]))
        if newest < _FALLEN * before:
            yield f"the last {_WEEK} days have {newest:,.0f} rows a day, those before {before:,.0f}: are some missing?"
    if reference is not None and reference.daily and len(days) >= _WEEK:
        usual = float(np.median(days))
        if usual < _FALLEN * reference.daily:
            yield f"there are {usual:,.0f} rows a day, in the champion's training {reference.daily:,.0f}"
