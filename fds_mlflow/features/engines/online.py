"""Features of one transaction as it arrives, from the past that a store remembers: the kernel's incremental twin.

The value of a feature is what a batch over all that had arrived by then would give, in the order of arrival. A
transaction that comes late sees what is before it in time, and changes no value that was given before. One that is sent
again gets the values it got: what arrived after it is not looked at. `fds_mlflow.features.meaning` says what a feature
means; a suite of tests holds this, over every store, against the kernel.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import fsum, isnan, nan
from typing import NamedTuple

import numpy as np

from fds_mlflow.features import meaning
from fds_mlflow.features.meaning import Floats
from fds_mlflow.features.spec import LABEL_AGGREGATES, FeatureSpec
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.logs import Log
from fds_mlflow.features.state.rows import PER_FIELD, Opened, Sealed
from fds_mlflow.features.state.state import Arrival
from fds_mlflow.features.state.store import Value
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
                role.of_records(found, told.records, time)
                role.of_labels(found, told.labels, time)
                for other, log in told.pairs.items():
                    role.of_pairs(found, log, other, time)
        return found


class _Amount(NamedTuple):
    """What is wanted of one field over one window: the names of its features, by what each tells of the values."""

    field: int
    window: int
    sums: list[str]
    means: list[str]
    others: list[tuple[str, Callable[[list[float], list[Floats]], float]]]


class _Role:
    """The features over one role's past."""

    def __init__(self, spec: FeatureSpec, layout: Layout, role: str) -> None:
        self.name = role
        self._gaps = [gap.feature for gap in spec.gaps if gap.entity == role]
        self._spans: list[int] = []
        self._label_spans: list[int] = []
        self._counts: list[tuple[str, int]] = []
        self._labels: list[tuple[str, str, int]] = []
        self._distinct: dict[str, list[tuple[str, int]]] = {}
        amounts: dict[tuple[int, int], _Amount] = {}
        for item in spec.windows:
            for window in item.windows if item.entity == role else ():
                name, span = item.feature(window), meaning.micros(window)
                if item.aggregate in LABEL_AGGREGATES:
                    self._labels.append((name, item.aggregate, _place(self._label_spans, span)))
                elif item.aggregate == "count":
                    self._counts.append((name, _place(self._spans, span)))
                elif item.aggregate == "distinct":
                    self._distinct.setdefault(item.column, []).append((name, span))
                else:
                    place = layout.numbers.index(item.column), _place(self._spans, span)
                    wanted = amounts.setdefault(place, _Amount(*place, [], [], []))
                    if item.aggregate in _OTHERS:
                        wanted.others.append((name, _OTHERS[item.aggregate]))
                    else:
                        (wanted.sums if item.aggregate == "sum" else wanted.means).append(name)
        self._amounts = sorted(amounts.values(), key=lambda wanted: wanted.field)

    def of_records(self, found: dict[str, float], log: Log, time: int) -> None:
        """Counts, amounts and gaps."""
        rows = Opened(log.rows)
        times = rows.moments
        end = bisect_right(times, time)
        since = [time - span for span in self._spans]
        starts = [bisect_right(times, moment) for moment in since]
        parts = [_Part(run, since, time) for run in log.runs]
        for name, window in self._counts:
            count = end - starts[window]
            for part in parts:
                count += part.end - part.starts[window]
            found[name] = float(count)
        field, values = -1, list[float]()
        for wanted in self._amounts:
            window = wanted.window
            if field != wanted.field:
                field = wanted.field
                values = rows.floats(2 + field)
            few = values[starts[window] : end]
            total = fsum(few)
            if isnan(total):
                few = [value for value in few if not isnan(value)]
                total = fsum(few)
            if parts:
                total = fsum([*few, *[term for part in parts for term in part.terms(field, window)]])
            for name in wanted.sums:
                found[name] = total
            if wanted.means:
                number = len(few) + sum([part.there(field, window) for part in parts])
                for name in wanted.means:
                    found[name] = total / number if number else nan
            if wanted.others:
                many = [part.values(field, window) for part in parts]
                for name, aggregate in wanted.others:
                    found[name] = aggregate(few, many)
        if self._gaps:
            latest = times[max(0, end - 2) : end]
            for part in parts:
                latest += part.latest()
            latest.sort()
            if len(latest) > 1:
                found.update(dict.fromkeys(self._gaps, (latest[-1] - latest[-2]) / 1e6))

    def of_pairs(self, found: dict[str, float], log: Log, other: str, time: int) -> None:
        """Distinct values."""
        wanted = self._distinct.get(other)
        if not wanted:
            return
        rows = Opened(log.rows)
        times, pairs = rows.moments, list(zip(rows.whole(2), rows.whole(3), strict=True))
        end = bisect_right(times, time)
        runs = [Sealed(run) for run in log.runs]
        for name, span in wanted:
            since = time - span
            count = sum([sign for last, sign in pairs[bisect_right(times, since) : end] if last <= since])
            for run in runs:
                count += _first_occurrences(run, since, time)
            found[name] = float(count)

    def of_labels(self, found: dict[str, float], log: Log, time: int) -> None:
        """Known labels, frauds and risks."""
        if not self._labels:
            return
        rows = Opened(log.rows)
        moments, adds, more = rows.moments, rows.whole(2), rows.whole(3)
        end = bisect_right(moments, time)
        since = [time - span for span in self._label_spans]
        starts = [bisect_right(moments, moment) for moment in since]
        known = [sum(adds[start:end]) for start in starts]
        frauds = [sum(more[start:end]) for start in starts]
        for part in [_Part(run, since, time) for run in log.runs]:
            for window in range(len(since)):
                known[window] += part.derived(0, window)
                frauds[window] += part.derived(1, window)
        for name, aggregate, window in self._labels:
            if aggregate == "risk":
                found[name] = frauds[window] / max(known[window], 1)
            else:
                found[name] = float(known[window] if aggregate == "known" else frauds[window])


class _Part:
    """What windows that end at one moment take of a sealed run.

    Args:
        run: It.
        since: After which moment each window begins.
        time: At which all of them end.

    Attributes:
        starts: The place where each window begins.
        end: The place where all of them end.
    """

    __slots__ = ("_run", "end", "starts")

    def __init__(self, run: Value, since: Sequence[int], time: int) -> None:
        self._run = Sealed(run)
        self.end = self._run.place(time)
        self.starts = [self._run.place(moment) for moment in since]

    def derived(self, column: int, window: int) -> int:
        """What a running number grows by over a window."""
        return self._run.total(column, self.end) - self._run.total(column, self.starts[window])

    def there(self, field: int, window: int) -> int:
        """Rows in a window that have a field."""
        return self.derived(PER_FIELD * field, window)

    def terms(self, field: int, window: int) -> list[float]:
        """Numbers with the sum of a field over a window."""
        column = PER_FIELD * field + 1
        start, end = self.starts[window], self.end
        if start == end:
            return []
        return [*self._run.limbs(column, end), *[-limb for limb in self._run.limbs(column, start)]]

    def values(self, field: int, window: int) -> Floats:
        """The values in a window, those that are missing left out."""
        found = self._run.floats(2 + field, self.starts[window], self.end)
        return found[~np.isnan(found)]

    def latest(self) -> list[int]:
        """The two latest times before the end."""
        return self._run.whole(0, max(0, self.end - 2), self.end)


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


_OTHERS = {"std": _deviation, "min": _least, "max": _most}


def _first_occurrences(run: Sealed, since: int, time: int) -> int:
    """Distinct values in (since, time]: rows with ``last <= since``, less those that are not later themselves."""
    early, until = run.place(since), run.place(time)
    if early == until:
        return 0
    count = run.total(2, run.derived_place(1, since)) - run.total(0, early)
    if until < len(run):
        beyond = zip(run.whole(2, until, len(run)), run.whole(3, until, len(run)), strict=True)
        count -= sum([sign for last, sign in beyond if last <= since])
    return count


def _place(spans: list[int], span: int) -> int:
    if span not in spans:
        spans.append(span)
    return spans.index(span)
