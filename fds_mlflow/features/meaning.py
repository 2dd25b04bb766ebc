"""What a feature means, said once for every engine.

Order
    Transactions are ordered by time, those of equal time as in the input; a transaction's *place* is its number in this
    order. A transaction at t sees itself and what has a smaller place, and nothing else.
Arrival
    Where it is known when transactions arrived, one that arrived later than t itself is not seen at t either, whatever
    its own time: a value is what it was on arrival, and late transactions change none that was there before. Those of
    equal time are ordered as they arrived, those that arrived in the same moment as in the input.
Windows
    A window w at t is (t - w, t]: half open, in whole microseconds. A transaction exactly w old is out. One of
    *earlier* transactions holds the same without the transaction itself: what has a smaller place, of equal time too.
Labels
    A label becomes usable at its *moment*: when it became known, but not before its transaction, nor before the age
    `label_delay`. A window of labels holds those whose moment is in (t - w, t]. A label comes before the transactions
    of its moment (usable at exactly t, it counts at t), except in the moment of its own transaction, where it comes
    right after that: none sees its own label. A *run* is the frauds of the window whose moments are later than that of
    its last genuine label: a genuine label ends the run of all frauds of its moment, whatever their order. The first
    and the last fraud of a window are those that became usable first and last.
Expressions
    A window over an expression aggregates what that is at each of its transactions: over the windows that end with that
    transaction, of all that is there by now. One that comes late is so in the windows of what took place after it, in
    whatever comes later than itself, as if it had been there in time.
What is missing
    A transaction without the entity has empty windows and no gap, and is in nobody's past. A missing value of an
    aggregated column is counted by ``count`` and by nothing else; a missing label never becomes known.
Nothing
    Over nothing the counts, sums, runs and risks are 0; means, medians, extremes, deviations, gaps and times since a
    fraud are missing (NaN).
Numbers
    Sums and means are those of the exact sum, whatever else the entity's past holds: a large amount leaves no trace in
    windows after it. The deviation is the population's; that of equal values is exactly 0. The
    median of an even number of values is the middle of the two in the middle.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from fds_mlflow.core.text.duration import parse_duration
from fds_mlflow.features.expressions import names_in
from fds_mlflow.features.spec import FeatureSpec, Window

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NEVER = np.iinfo(np.int64).max
"""The moment of a label that does not become known."""

_MICROSECOND = timedelta(microseconds=1)
_ZERO = frozenset({"count", "sum", "distinct", "known", "frauds", "risk", "fraud_run"})


def micros(duration: str) -> int:
    """A duration in microseconds."""
    return parse_duration(duration) // _MICROSECOND


def roles(spec: FeatureSpec) -> list[str]:
    """The entity roles whose past is looked at, in order."""
    return list(dict.fromkeys([*(item.entity for item in spec.windows), *(gap.entity for gap in spec.gaps)]))


def counted(spec: FeatureSpec) -> list[str]:
    """The entity roles that ``distinct`` counts, in order."""
    return list(dict.fromkeys(item.column for item in spec.windows if item.aggregate == "distinct"))


def aggregated(spec: FeatureSpec) -> list[str]:
    """The numeric columns that are aggregated, by themselves or in an expression, in order."""
    return list(dict.fromkeys(name for item in spec.windows if item.of_numbers for name in looked_at(spec, item)))


def looked_at(spec: FeatureSpec, item: Window) -> list[str]:
    """The numeric columns that a window over numbers looks at: its own, or all that are under its expression."""
    if item.expression is None:
        return [item.column]
    inner = {one.feature(window): one for one, window in within(spec, item.expression)}
    read = [found.name for found in names_in(spec.nodes[item.expression]) if found.name not in inner]
    return [*read, *(one.column for one in inner.values() if one.of_numbers)]


def within(spec: FeatureSpec, expression: str) -> list[tuple[Window, str]]:
    """The windows that an expression reads, each with its length."""
    read = {found.name for found in names_in(spec.nodes[expression])}
    return [(item, window) for item in spec.windows for window in item.windows if item.feature(window) in read]


def reach(spec: FeatureSpec, item: Window) -> int:
    """How far back the longest of a window's features looks, in microseconds: what an expression reads included."""
    inner = [] if item.expression is None else within(spec, item.expression)
    return max(map(micros, item.windows)) + max((micros(window) for _, window in inner), default=0)


def longest(spec: FeatureSpec) -> int:
    """How far back any window looks, in microseconds; 0 without one."""
    return max((reach(spec, item) for item in spec.windows), default=0)


def of_role(spec: FeatureSpec, role: str) -> FeatureSpec:
    """The windows and gaps over one role's past, with the expressions that they aggregate, and nothing else."""
    windows = tuple(item for item in spec.windows if item.entity == role)
    gaps = tuple(gap for gap in spec.gaps if gap.entity == role)
    aggregated = {item.expression for item in windows}
    expressions = tuple(item for item in spec.expressions if item.name in aggregated)
    return FeatureSpec(windows=windows, gaps=gaps, expressions=expressions, label_delay=spec.label_delay)


def over_nothing(spec: FeatureSpec) -> dict[str, float]:
    """Each window or gap feature with its value over nothing: 0 or NaN."""
    found = {
        item.feature(window): 0.0 if item.aggregate in _ZERO else float("nan")
        for item in spec.windows
        for window in item.windows
    }
    return found | {gap.feature: float("nan") for gap in spec.gaps}


def since(time: Ints, window: str) -> Ints:
    """The last moment before the window of each transaction, t - w: what is later is in.

    Args:
        time: Microseconds, ascending, at least one.
        window: The window, of any length: the result stays within 64 bits, just before the first time if need be.
    """
    first, length = int(time[0]), micros(window)
    if length > int(time[-1]) - first:
        return np.full(len(time), first - 1)
    found: Ints = np.maximum(time, first + length - 1) - length
    return found


def moments(time: Ints, known: Ints, delay: str | None) -> Ints:
    """When each transaction's label becomes usable, in microseconds.

    Args:
        time: Times of the transactions, microseconds.
        known: When their labels became known, microseconds; `NEVER` where they did not.
        delay: The specification's `label_delay`.
    """
    least = micros(delay) if delay is not None else 0
    found: Ints = np.maximum(known, np.minimum(time, NEVER - least) + least)
    return found


def first_place(time: Ints, moment: Ints, place: Ints) -> Ints:
    """The place of the first transaction that may use each label; the number of transactions where none may.

    Args:
        time: Times of all transactions by place, microseconds.
        moment: Moments of labels, microseconds.
        place: Places of the labels' own transactions.
    """
    own: npt.NDArray[np.bool_] = moment == time[place]
    found: Ints = np.where(own, place + 1, np.searchsorted(time, moment, side="left"))
    return found


def mean(total: Floats, number: Any) -> Floats:
    """The mean of so many values with that sum; NaN over nothing."""
    return total / np.where(number == 0, np.nan, number)


def middle(low: Any, high: Any) -> Any:
    """The middle of two values; what is too large for their sum has one too."""
    return low / 2 + high / 2


def seconds(moment: Ints, time: Ints) -> Floats:
    """How long before some times their moments were, in seconds; whole microseconds that may need the 64th bit."""
    return (time.view(np.uint64) - moment.view(np.uint64)) / 1e6


def risk(frauds: Floats, known: Floats) -> Floats:
    """The share of frauds among known labels; 0 over nothing."""
    return frauds / np.maximum(known, 1)
