"""Features of one transaction as it arrives, from the past that a store remembers: the kernel's incremental twin.

The value of a feature is what a batch over all that had arrived by then would give, in the order of arrival. A
transaction that comes late sees what is before it in time, and changes no value that was given before. One that is sent
again gets the values it got: what arrived after it is not looked at. `fds_mlflow.features.meaning` says what a feature
means; a suite of tests holds this, over every store, against the kernel.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from math import fsum, isfinite, isnan, nan
from typing import NamedTuple

import numpy as np

from fds_mlflow.features import meaning
from fds_mlflow.features.engines.online_expressions import Expressed
from fds_mlflow.features.engines.online_labels import Labels
from fds_mlflow.features.meaning import Floats
from fds_mlflow.features.spec import LABEL_AGGREGATES, FeatureSpec, Window
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.logs import LABEL, RECORD, Told, name
from fds_mlflow.features.state.rows import PAIRS, PER_FIELD, Opened, Sealed
from fds_mlflow.features.state.state import Arrival
from fds_mlflow.features.sums import Values


class Online:
    """Computes the window and gap features of a specification from what the past tells.

    Args:
        spec: The features.
        layout: Of the past.
    """

    def __init__(self, spec: FeatureSpec, layout: Layout) -> None:
        self._nothing = meaning.over_nothing(spec)
        self._roles = [_Role(spec, layout, role) for role in meaning.roles(spec)]

    def features(self, time: int, arrival: Arrival) -> dict[str, float]:
        """Each window and gap feature's value.

        Args:
            time: Of the transaction, microseconds.
            arrival: What the past answered to it.
        """
        found = dict(self._nothing)
        for role in self._roles:
            told = arrival.told.get(role.name)
            if told is not None:
                role.features(found, told, time)
        return found


class _Wanted(NamedTuple):
    """What is wanted of one number over one window: the names of its features, by what each tells of the values."""

    window: int
    sums: list[str]
    means: list[str]
    others: list[tuple[str, Callable[[list[float], list[Floats]], float]]]

    def add(self, feature: str, item: Window) -> None:
        """Want one more."""
        if item.above is not None:
            self.others.append((feature, partial(_above, item.above)))
        elif item.aggregate in _OTHERS:
            self.others.append((feature, _OTHERS[item.aggregate]))
        else:
            (self.sums if item.aggregate == "sum" else self.means).append(feature)


class _Role:
    """The features over one role's past."""

    def __init__(self, spec: FeatureSpec, layout: Layout, role: str) -> None:
        self.name = role
        self._gaps = [gap.feature for gap in spec.gaps if gap.entity == role]
        self._windows: list[tuple[int, bool]] = []
        """The length of each window over records, and whether it is of earlier ones alone."""
        self._counts: list[tuple[str, int]] = []
        self._distinct: dict[bytes, list[tuple[str, int]]] = {}
        self._amounts: dict[int, list[_Wanted]] = {}
        self._expressed: list[tuple[Expressed, list[_Wanted]]] = []
        self._labels = Labels(spec, role)
        self._earlier = any(item.earlier for item in spec.windows if item.entity == role)
        wanted: dict[tuple[str | None, str, int], _Wanted] = {}
        for item in spec.windows:
            for window in item.windows if item.entity == role else ():
                feature, span = item.feature(window), meaning.micros(window)
                if item.aggregate in LABEL_AGGREGATES:
                    continue
                if item.aggregate == "distinct":
                    log = name(PAIRS, layout.pairs.index((role, item.column)))
                    self._distinct.setdefault(log, []).append((feature, span))
                    continue
                place = _place(self._windows, (span, item.earlier))
                if not item.of_numbers:
                    self._counts.append((feature, place))
                    continue
                of = (item.expression, item.column, place)
                if of not in wanted:
                    wanted[of] = _Wanted(place, [], [], [])
                    self._of(spec, layout, item).append(wanted[of])
                wanted[of].add(feature, item)

    def _of(self, spec: FeatureSpec, layout: Layout, item: Window) -> list[_Wanted]:
        """What is wanted of the number that a window looks at."""
        if item.expression is None:
            return self._amounts.setdefault(layout.numbers.index(item.column), [])
        for expressed, wanted in self._expressed:
            if expressed.name == item.expression:
                return wanted
        self._expressed.append((Expressed(spec, layout, item.expression), []))
        return self._expressed[-1][1]

    def features(self, found: dict[str, float], told: Told, time: int) -> None:
        """All of them."""
        if self._windows or self._gaps:
            runs = told.opened(time) if self._earlier else (told.rows(RECORD), told.runs(RECORD), 0)
            self._of_records(found, *runs, time)
        self._labels.features(found, told.rows(LABEL), told.runs(LABEL), time)
        for log, wanted in self._distinct.items():
            _distinct(found, told.rows(log), told.runs(log), wanted, time)

    def _of_records(self, found: dict[str, float], rows: Opened, runs: list[Sealed], own: int, time: int) -> None:
        """Counts, amounts and gaps; earlier ones need the transaction's own place among the open rows."""
        times = rows.moments
        end = bisect_right(times, time)
        since = [time - span for span, _ in self._windows]
        starts = [bisect_right(times, moment) for moment in since]
        counts = [end - start - earlier for start, (_, earlier) in zip(starts, self._windows, strict=True)]
        parts = []
        for run in runs:
            last, reached = run.windows(since, time)
            parts.append((run, last, reached))
            for window, start in reached:
                counts[window] += last - start
        for feature, window in self._counts:
            found[feature] = float(counts[window])
        for field, wanted in self._amounts.items():
            values = rows.floats(2 + field)
            few = self._within(values, starts, own, end)
            _amounts(found, field, few, parts, wanted)
        for expressed, wanted in self._expressed:
            moments, values = expressed.values(rows, runs, time)
            firsts = [bisect_right(moments, moment) for moment in since]
            _amounts(found, 0, self._within(values, firsts, len(values) - 1, len(values)), [], wanted)
        if self._gaps:
            latest = times[max(0, end - 2) : end]
            for run, last, _ in parts:
                latest += run.whole(0, max(0, last - 2), last)
            latest.sort()
            if len(latest) > 1:
                found.update(dict.fromkeys(self._gaps, (latest[-1] - latest[-2]) / 1e6))

    def _within(self, values: list[float], starts: list[int], own: int, end: int) -> list[list[float]]:
        """By window, its values; of earlier ones alone without that of the transaction itself."""
        return [
            values[start:own] + values[own + 1 : end] if earlier else values[start:end]
            for start, (_, earlier) in zip(starts, self._windows, strict=True)
        ]


_Part = tuple[Sealed, int, list[tuple[int, int]]]
"""A sealed run with what `Sealed.windows` says of it."""


def _amounts(
    found: dict[str, float], field: int, few: list[list[float]], parts: Sequence[_Part], wanted: Sequence[_Wanted]
) -> None:
    """What is wanted of a field.

    Args:
        found: Takes it.
        field: Its number.
        few: By window, its values in the open run.
        parts: The sealed ones.
        wanted: Of each window.
    """
    terms: list[list[float]] = [[] for _ in few] if parts else []
    numbers = [0] * len(few)
    for run, last, reached in parts:
        run.count(PER_FIELD * field, last, reached, numbers)
        run.sum(PER_FIELD * field + 1, last, reached, terms)
    for window, sums, means, others in wanted:
        values = few[window]
        total = _sum(values)
        if isnan(total):
            values = [value for value in values if not isnan(value)]
            total = _sum(values)
        if parts:
            total = _sum(values + terms[window])
            if not isfinite(total):  # so may the running totals be where no sum of this window is
                there = np.concatenate(_within(parts, field, window))
                total = _sum(values + there[~np.isnan(there)].tolist())
        for feature in sums:
            found[feature] = total
        if means:
            number = numbers[window] + len(values)
            mean = total / number if number else nan
            for feature in means:
                found[feature] = mean
        if others:
            many = [array[~np.isnan(array)] for array in _within(parts, field, window)]
            for feature, aggregate in others:
                found[feature] = aggregate(values, many)


def _within(parts: Sequence[_Part], field: int, window: int) -> list[Floats]:
    """The values of a field that sealed runs have in a window, missing ones too."""
    return [run.floats(2 + field, dict(reached).get(window, last), last) for run, last, reached in parts]


def _sum(values: list[float]) -> float:
    """The sum, rounded once; infinite where it is too large, and no number of what is none, as in a batch."""
    try:
        return fsum(values)
    except OverflowError:  # on the way, or of all of them
        return fsum([value * _SMALL for value in values]) / _SMALL
    except ValueError:  # infinities of both signs
        return nan


_SMALL = 2.0**-64


def _distinct(
    found: dict[str, float], rows: Opened, runs: list[Sealed], wanted: Sequence[tuple[str, int]], time: int
) -> None:
    """Distinct values."""
    moments, lasts, signs = rows.moments, rows.whole(2), rows.whole(3)
    end = bisect_right(moments, time)
    for feature, span in wanted:
        since = time - span
        start = bisect_right(moments, since)
        count = sum([sign for last, sign in zip(lasts[start:end], signs[start:end], strict=True) if last <= since])
        for run in runs:
            count += _first_occurrences(run, since, time)
        found[feature] = float(count)


def _deviation(few: list[float], many: list[Floats]) -> float:
    """The population's; 0 of equal values, NaN of none."""
    values = np.concatenate([few, *many])
    return float(Values(values).deviation(np.array([0]), np.array([len(values)]))[0])


def _least(few: list[float], many: list[Floats]) -> float:
    """NaN of none."""
    return min([*few, *(float(values.min()) for values in many if values.size)], default=nan)


def _most(few: list[float], many: list[Floats]) -> float:
    """NaN of none."""
    return max([*few, *(float(values.max()) for values in many if values.size)], default=nan)


def _median(few: list[float], many: list[Floats]) -> float:
    """NaN of none."""
    values = sorted(few) if not many else np.sort(np.concatenate([few, *many])).tolist()
    half = len(values) // 2
    return float(meaning.middle(values[-1 - half], values[half])) if values else nan


def _above(limit: float, few: list[float], many: list[Floats]) -> float:
    return float(sum([value > limit for value in few]) + sum([int((values > limit).sum()) for values in many]))


_OTHERS = {"std": _deviation, "median": _median, "min": _least, "max": _most}


def _first_occurrences(run: Sealed, since: int, time: int) -> int:
    """Distinct values in (since, time]: rows with ``last <= since``, less those that are not later themselves."""
    until, reached = run.windows([since], time)
    if not reached:
        return 0
    count = run.total(2, run.place(1, since)) - run.total(0, reached[0][1])
    if until < len(run):
        beyond = zip(run.whole(2, until, len(run)), run.whole(3, until, len(run)), strict=True)
        count -= sum([sign for last, sign in beyond if last <= since])
    return count


def _place(windows: list[tuple[int, bool]], window: tuple[int, bool]) -> int:
    if window not in windows:
        windows.append(window)
    return windows.index(window)
