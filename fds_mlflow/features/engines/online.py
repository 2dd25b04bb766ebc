"""Features of one transaction as it arrives, from the past that a store remembers: the kernel's incremental twin.

The value of a feature is what a batch over all that had arrived by then would give, in the order of arrival. A
transaction that comes late sees what is before it in time, and changes no value that was given before. One that is sent
again gets the values it got: what arrived after it is not looked at. `fds_mlflow.features.meaning` says what a feature
means; a suite of tests holds this, over every store, against the kernel.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import fsum, isnan, nan
from typing import Any

import numpy as np

from fds_mlflow.features import meaning
from fds_mlflow.features.meaning import Floats
from fds_mlflow.features.spec import LABEL_AGGREGATES, FeatureSpec
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.logs import Log
from fds_mlflow.features.state.rows import PER_FIELD, Run
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
                role.of_records(found, told.records, time)
                role.of_labels(found, told.labels, time)
                for other, log in told.pairs.items():
                    role.of_pairs(found, log, other, time)
        return found


class _Role:
    """The features over one role's past."""

    def __init__(self, spec: FeatureSpec, layout: Layout, role: str) -> None:
        self.name = role
        self._gaps = [gap.feature for gap in spec.gaps if gap.entity == role]
        self._spans: list[int] = []
        self._label_spans: list[int] = []
        self._counts: list[tuple[str, int]] = []
        self._amounts: dict[int, dict[int, list[tuple[str, Callable[[_Amounts], float]]]]] = {}
        self._labels: list[tuple[str, str, int]] = []
        self._distinct: dict[str, list[tuple[str, int]]] = {}
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
                    of_window = self._amounts.setdefault(layout.numbers.index(item.column), {})
                    wanted = of_window.setdefault(_place(self._spans, span), [])
                    wanted.append((name, _AGGREGATES[item.aggregate]))

    def of_records(self, found: dict[str, float], log: Log, time: int) -> None:
        """Counts, amounts and gaps."""
        rows, times = log.rows, [row[0] for row in log.rows]
        starts = [bisect_right(times, time - span) for span in self._spans]
        end = bisect_right(times, time)
        edges = [*(time - span for span in self._spans), time]
        parts = [_Part(run, edges) for run in log.runs]
        for name, window in self._counts:
            found[name] = float(end - starts[window] + sum([part.count(window) for part in parts]))
        for field, of_window in self._amounts.items():
            values = [row[2 + field] for row in rows]
            gaps = any(map(isnan, values))
            for window, wanted in of_window.items():
                few = values[starts[window] : end]
                if gaps:
                    few = [value for value in few if not isnan(value)]
                amounts = _Amounts(field, window, few, parts)
                for name, aggregate in wanted:
                    found[name] = aggregate(amounts)
        if self._gaps:
            latest = times[max(0, end - 2) : end]
            for part in parts:
                latest += part.latest()
            latest.sort()
            if len(latest) > 1:
                found.update(dict.fromkeys(self._gaps, (latest[-1] - latest[-2]) / 1e6))

    def of_pairs(self, found: dict[str, float], log: Log, other: str, time: int) -> None:
        """Distinct values."""
        for name, span in self._distinct.get(other, ()):
            since = time - span
            count = sum([sign for at, _, last, sign in log.rows if last <= since < at <= time])
            found[name] = float(count + sum([_first_occurrences(run, since, time) for run in log.runs]))

    def of_labels(self, found: dict[str, float], log: Log, time: int) -> None:
        """Known labels, frauds and risks."""
        if not self._labels or not (log.rows or log.runs):
            return
        moments = [row[0] for row in log.rows]
        end = bisect_right(moments, time)
        starts = [bisect_right(moments, time - span) for span in self._label_spans]
        adds, more = ([0, *accumulate([row[column] for row in log.rows])] for column in (2, 3))
        known = [adds[end] - adds[start] for start in starts]
        frauds = [more[end] - more[start] for start in starts]
        edges = [*(time - span for span in self._label_spans), time]
        for run in log.runs:
            upto = run.upto(run.places(edges))
            for window, (some, bad) in enumerate((upto[:, -1:] - upto[:, :-1]).T.tolist()):
                known[window] += some
                frauds[window] += bad
        for name, aggregate, window in self._labels:
            if aggregate == "risk":
                found[name] = frauds[window] / max(known[window], 1)
            else:
                found[name] = float(known[window] if aggregate == "known" else frauds[window])


class _Part:
    """What windows that end at one moment take of a sealed run.

    Args:
        run: It.
        edges: Where each window begins, and where all of them end.
    """

    def __init__(self, run: Run, edges: Sequence[int]) -> None:
        self.run = run
        places = run.places(edges)
        self.places: list[int] = places.tolist()
        self.upto = run.upto(places)

    def count(self, window: int) -> int:
        """Rows in a window."""
        return self.places[-1] - self.places[window]

    def there(self, field: int, window: int) -> int:
        """Those of them that have a field."""
        if PER_FIELD * field >= len(self.upto):  # they are older than it
            return 0
        column = self.upto[PER_FIELD * field]
        return int(column[-1]) - int(column[window])

    def terms(self, field: int, window: int) -> list[float]:
        """Numbers with the sum of a field over a window."""
        start = PER_FIELD * field + 1
        if start >= len(self.upto):
            return []
        totals = self.upto[start : start + PER_FIELD - 1].view(np.float64)
        return [*totals[:, -1].tolist(), *(-totals[:, window]).tolist()]

    def values(self, field: int, window: int) -> Floats:
        """The values in a window, those that are missing included."""
        return self.run.values(2 + field, self.places[window], self.places[-1])

    def latest(self) -> list[int]:
        """The two latest times before the end."""
        found: list[int] = self.run.columns[0, max(0, self.places[-1] - 2) : self.places[-1]].tolist()
        return found


class _Amounts:
    """The values of one field in one window.

    Args:
        field: Its number.
        window: The window's.
        few: Values of the open run, none missing.
        parts: Of sealed runs.
    """

    def __init__(self, field: int, window: int, few: list[float], parts: Sequence[_Part]) -> None:
        self._field = field
        self._window = window
        self._few = few
        self._parts = parts
        self._number = len(few) + sum([part.there(field, window) for part in parts])

    def sum(self) -> float:
        """Of the exact values."""
        if not self._parts:
            return fsum(self._few)
        return fsum([*self._few, *(term for part in self._parts for term in part.terms(self._field, self._window))])

    def mean(self) -> float:
        """NaN of none."""
        return self.sum() / self._number if self._number else nan

    def std(self) -> float:
        """The population's; 0 of equal values, NaN of none."""
        if not self._number:
            return nan
        values = np.concatenate([self._few, *self._values()])
        values = values[~np.isnan(values)]
        found = Values(values).deviation(np.array([0]), np.array([len(values)]))
        return float(found[0])

    def least(self) -> float:
        """NaN of none."""
        return min([*self._few, *(float(np.nanmin(values)) for values in self._values())], default=nan)

    def most(self) -> float:
        """NaN of none."""
        return max([*self._few, *(float(np.nanmax(values)) for values in self._values())], default=nan)

    def _values(self) -> list[Floats]:
        found = [part.values(self._field, self._window) for part in self._parts]
        return [values for values in found if not np.isnan(values).all()]


_AGGREGATES: dict[str, Callable[[_Amounts], float]] = {
    "sum": _Amounts.sum,
    "mean": _Amounts.mean,
    "std": _Amounts.std,
    "min": _Amounts.least,
    "max": _Amounts.most,
}


def _first_occurrences(run: Run, since: int, time: int) -> int:
    """Distinct values in (since, time]: rows with ``last <= since``, less those that are not later themselves."""
    early, until = run.places([since, time]).tolist()
    if early == until:
        return 0
    by_time, lasts, by_last = run.derived
    place = int(lasts.searchsorted(since, side="right"))
    count = int(by_last[place - 1] if place else 0) - int(by_time[early - 1] if early else 0)
    if until < len(run):
        beyond: Any = run.columns[:, until:]
        count -= int(beyond[3][beyond[2] <= since].sum())
    return count


def _place(spans: list[int], span: int) -> int:
    if span not in spans:
        spans.append(span)
    return spans.index(span)
