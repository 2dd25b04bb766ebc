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
from fds_mlflow.features.state.logs import LABEL, RECORD, Log, Told, name
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
    """What is wanted of one field over one window: the names of its features, by what each tells of the values."""

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
        self._distinct: dict[bytes, list[tuple[str, int]]] = {}
        self._amounts: dict[int, list[_Wanted]] = {}
        amounts: dict[tuple[int, int], _Wanted] = {}
        for item in spec.windows:
            for window in item.windows if item.entity == role else ():
                feature, span = item.feature(window), meaning.micros(window)
                if item.aggregate in LABEL_AGGREGATES:
                    self._labels.append((feature, item.aggregate, _place(self._label_spans, span)))
                elif item.aggregate == "count":
                    self._counts.append((feature, _place(self._spans, span)))
                elif item.aggregate == "distinct":
                    log = name(PAIRS, layout.pairs.index((role, item.column)))
                    self._distinct.setdefault(log, []).append((feature, span))
                else:
                    field, place = layout.numbers.index(item.column), _place(self._spans, span)
                    if (field, place) not in amounts:
                        amounts[field, place] = _Wanted(place, [], [], [])
                        self._amounts.setdefault(field, []).append(amounts[field, place])
                    wanted = amounts[field, place]
                    if item.aggregate in _OTHERS:
                        wanted.others.append((feature, _OTHERS[item.aggregate]))
                    else:
                        (wanted.sums if item.aggregate == "sum" else wanted.means).append(feature)

    def features(self, found: dict[str, float], told: Told, time: int) -> None:
        """All of them."""
        if self._spans or self._gaps:
            self._of_records(found, told.log(RECORD), time)
        if self._labels:
            self._of_labels(found, told.log(LABEL), time)
        for log, wanted in self._distinct.items():
            _distinct(found, told.log(log), wanted, time)

    def _of_records(self, found: dict[str, float], log: Log, time: int) -> None:
        """Counts, amounts and gaps."""
        rows = Opened(log.rows)
        times = rows.moments
        moments = [*[time - span for span in self._spans], time]
        starts = [bisect_right(times, moment) for moment in moments]
        end = starts[-1]
        counts = [end - start for start in starts]
        parts = [(run, run.places(moments)) for run in map(Sealed, log.runs)]
        for _, places in parts:
            last = places[-1]
            counts = [count + last - place for count, place in zip(counts, places, strict=True)]
        for feature, window in self._counts:
            found[feature] = float(counts[window])
        for field, every in self._amounts.items():
            values, column = rows.floats(2 + field), PER_FIELD * field
            limbs = [limb for run, places in parts for limb in run.limbs(column + 1, places)]
            there = [run.totals(column, places) for run, places in parts]
            for window, sums, means, others in every:
                few = values[starts[window] : end]
                total = fsum(few)
                if isnan(total):
                    few = [value for value in few if not isnan(value)]
                    total = fsum(few)
                if limbs:
                    total = fsum([*few, *[limb[-1] for limb in limbs], *[-limb[window] for limb in limbs]])
                for feature in sums:
                    found[feature] = total
                if means:
                    number = len(few) + sum([upto[-1] - upto[window] for upto in there])
                    for feature in means:
                        found[feature] = total / number if number else nan
                if others:
                    many = [run.floats(2 + field, places[window], places[-1]) for run, places in parts]
                    many = [values[~np.isnan(values)] for values in many]
                    for feature, aggregate in others:
                        found[feature] = aggregate(few, many)
        if self._gaps:
            latest = times[max(0, end - 2) : end]
            for run, places in parts:
                latest += run.whole(0, max(0, places[-1] - 2), places[-1])
            latest.sort()
            if len(latest) > 1:
                found.update(dict.fromkeys(self._gaps, (latest[-1] - latest[-2]) / 1e6))

    def _of_labels(self, found: dict[str, float], log: Log, time: int) -> None:
        """Known labels, frauds and risks."""
        rows = Opened(log.rows)
        adds, more = rows.whole(2), rows.whole(3)
        moments = [*[time - span for span in self._label_spans], time]
        starts = [bisect_right(rows.moments, moment) for moment in moments]
        end = starts[-1]
        known = [sum(adds[start:end]) for start in starts]
        frauds = [sum(more[start:end]) for start in starts]
        for run in map(Sealed, log.runs):
            places = run.places(moments)
            upto = run.totals(0, places)
            known = [number + upto[-1] - less for number, less in zip(known, upto, strict=True)]
            upto = run.totals(1, places)
            frauds = [number + upto[-1] - less for number, less in zip(frauds, upto, strict=True)]
        for feature, aggregate, window in self._labels:
            if aggregate == "risk":
                found[feature] = frauds[window] / max(known[window], 1)
            else:
                found[feature] = float(known[window] if aggregate == "known" else frauds[window])


def _distinct(found: dict[str, float], log: Log, wanted: Sequence[tuple[str, int]], time: int) -> None:
    """Distinct values."""
    rows = Opened(log.rows)
    pairs = list(zip(rows.whole(2), rows.whole(3), strict=True))
    end = bisect_right(rows.moments, time)
    runs = [Sealed(run) for run in log.runs]
    for feature, span in wanted:
        since = time - span
        few = pairs[bisect_right(rows.moments, since) : end]
        count = sum([sign for last, sign in few if last <= since])
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


_OTHERS = {"std": _deviation, "min": _least, "max": _most}


def _first_occurrences(run: Sealed, since: int, time: int) -> int:
    """Distinct values in (since, time]: rows with ``last <= since``, less those that are not later themselves."""
    early, until = run.places([since, time])
    if early == until:
        return 0
    count = run.totals(2, [run.place_of(1, since)])[0] - run.totals(0, [early])[0]
    if until < len(run):
        beyond = zip(run.whole(2, until, len(run)), run.whole(3, until, len(run)), strict=True)
        count -= sum([sign for last, sign in beyond if last <= since])
    return count


def _place(spans: list[int], span: int) -> int:
    if span not in spans:
        spans.append(span)
    return spans.index(span)
