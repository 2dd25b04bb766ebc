"""Features of one transaction as it arrives, from the past that a store remembers: the kernel's incremental twin.

The value of a feature is what a batch over all that had arrived by then would give, in the order of arrival. A
transaction that comes late sees what is before it in time, and changes no value that was given before. One that is sent
again gets the values it got: what arrived after it is not looked at. `fds_mlflow.features.meaning` says what a feature
means; a suite of tests holds this, over every store, against the kernel.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from math import fsum, inf, nan, sqrt
from typing import Any

import numpy as np

from fds_mlflow.features import meaning
from fds_mlflow.features.spec import LABEL_AGGREGATES, FeatureSpec
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.logs import Log
from fds_mlflow.features.state.past import Arrival
from fds_mlflow.features.state.rows import PER_FIELD, Run


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
        spans: list[int] = []
        label_spans: list[int] = []
        self._counts: list[tuple[str, int]] = []
        self._amounts: dict[tuple[int, int], list[tuple[str, str]]] = {}
        self._labels: list[tuple[str, str, int]] = []
        self._distinct: dict[str, list[tuple[str, int]]] = {}
        for item in spec.windows:
            for window in item.windows if item.entity == role else ():
                name, span = item.feature(window), meaning.micros(window)
                if item.aggregate in LABEL_AGGREGATES:
                    self._labels.append((name, item.aggregate, _place(label_spans, span)))
                elif item.aggregate == "count":
                    self._counts.append((name, _place(spans, span)))
                elif item.aggregate == "distinct":
                    self._distinct.setdefault(item.column, []).append((name, span))
                else:
                    at = layout.numbers.index(item.column), _place(spans, span)
                    self._amounts.setdefault(at, []).append((name, item.aggregate))
        self._spans, self._label_spans = spans, label_spans

    def of_records(self, found: dict[str, float], log: Log, time: int) -> None:
        """Counts, amounts and gaps."""
        edges = [*(time - span for span in self._spans), time]
        places = [run.places(edges) for run in log.runs]
        times = [row[0] for row in log.rows]
        opened = [bisect_right(times, edge) for edge in edges]
        ends = [*(one[-1] for one in places), opened[-1]]
        for name, window in self._counts:
            found[name] = float(sum(ends) - sum(one[window] for one in places) - opened[window])
        for (field, window), wanted in self._amounts.items():
            few = [row[2 + field] for row in log.rows[opened[window] : opened[-1]]]
            parts = [
                (run, one[window], one[-1]) for run, one in zip(log.runs, places, strict=True) if one[-1] > one[window]
            ]
            amounts = _Amounts(field, [value for value in few if value == value], parts)
            for name, aggregate in wanted:
                found[name] = getattr(amounts, aggregate)()
        if self._gaps:
            latest = times[max(0, opened[-1] - 2) : opened[-1]]
            for run, end in zip(log.runs, ends, strict=False):
                latest += run.columns[0, max(0, end - 2) : end].tolist()
            latest.sort()
            if len(latest) > 1:
                found.update(dict.fromkeys(self._gaps, (latest[-1] - latest[-2]) / 1e6))

    def of_pairs(self, found: dict[str, float], log: Log, other: str, time: int) -> None:
        """Distinct values."""
        for name, span in self._distinct.get(other, ()):
            since = time - span
            count = sum(sign for at, _, last, sign in log.rows if since < at <= time and last <= since)
            found[name] = float(count + sum(_first_occurrences(run, since, time) for run in log.runs))

    def of_labels(self, found: dict[str, float], log: Log, time: int) -> None:
        """Known labels, frauds and risks."""
        if not self._labels or not (log.rows or log.runs):
            return
        edges = [*(time - span for span in self._label_spans), time]
        known, frauds = [0] * (len(edges) - 1), [0] * (len(edges) - 1)
        for run in log.runs:
            places = run.places(edges)
            for window, start in enumerate(places[:-1]):
                known[window] += run.between(0, start, places[-1])
                frauds[window] += run.between(1, start, places[-1])
        moments = [row[0] for row in log.rows]
        opened = [bisect_right(moments, edge) for edge in edges]
        for window, start in enumerate(opened[:-1]):
            for _, _, adds, more in log.rows[start : opened[-1]]:
                known[window] += adds
                frauds[window] += more
        for name, aggregate, window in self._labels:
            if aggregate == "risk":
                found[name] = frauds[window] / max(known[window], 1)
            else:
                found[name] = float(known[window] if aggregate == "known" else frauds[window])


class _Amounts:
    """The values of one field in one window.

    Args:
        field: Its number.
        few: Values of the open run, none missing.
        parts: Stretches of sealed runs: first place, and the place behind the last.
    """

    def __init__(self, field: int, few: Sequence[float], parts: Sequence[tuple[Run, int, int]]) -> None:
        self._first = PER_FIELD * field
        self._field = field
        self._few = few
        # What is older than the field has none of it, and nothing derived either.
        self._parts = [part for part in parts if 2 + field < len(part[0].columns)]
        there = [run.between(self._first, start, end) for run, start, end in self._parts]
        self._number = len(few) + sum(there)

    def _terms(self, first: int) -> list[float]:
        return [term for run, start, end in self._parts for term in run.terms((first, first + 1), start, end)]

    def sum(self) -> float:
        """Of the exact values."""
        return fsum([*self._few, *self._terms(self._first + 1)]) if self._parts else fsum(self._few)

    def mean(self) -> float:
        """NaN of none."""
        return self.sum() / self._number if self._number else nan

    def std(self) -> float:
        """The population's; 0 of equal values, NaN of none."""
        if not self._number:
            return nan
        # Of the exact sums of values and squares, so that nothing is lost where the values are alike.
        total = sum(map(Fraction, [*self._few, *self._terms(self._first + 1)]), Fraction(0))
        squares = sum((Fraction(value) ** 2 for value in self._few), Fraction(0))
        squares += sum(map(Fraction, self._terms(self._first + 3)), Fraction(0))
        spread = self._number * squares - total**2
        if self._parts and self.min() == self.max():
            return 0.0
        return sqrt(max(spread, Fraction(0))) / self._number

    def min(self) -> float:
        """NaN of none."""
        found = min([*self._few, *(float(np.nanmin(values)) for values in self._values())], default=nan)
        return found if found != inf else nan

    def max(self) -> float:
        """NaN of none."""
        return max([*self._few, *(float(np.nanmax(values)) for values in self._values())], default=nan)

    def _values(self) -> list[Any]:
        stretches = [run.values(2 + self._field, start, end) for run, start, end in self._parts]
        return [values for values in stretches if not np.isnan(values).all()]


def _first_occurrences(run: Run, since: int, time: int) -> int:
    """Distinct values of a run in (since, time]: rows with ``last <= since``, less those that are that old themselves."""
    columns, (by_time, lasts, by_last) = run.columns, run.derived
    early, until = run.places([since, time])
    if early == until:
        return 0
    place = int(lasts.searchsorted(since, side="right"))
    count = int(by_last[place - 1] if place else 0) - int(by_time[early - 1] if early else 0)
    beyond = columns[2, until:] <= since
    return count - int(columns[3, until:][beyond].sum())


def _place(spans: list[int], span: int) -> int:
    if span not in spans:
        spans.append(span)
    return spans.index(span)
