"""Features of one transaction as it arrives, from the past that a store remembers: the kernel's incremental twin.

The value of a feature is what a batch over all that had arrived by then would give, in the order of arrival. A
transaction that comes late sees what is before it in time, and changes no value that was given before. One that is sent
again gets the values it got: what arrived after it is not looked at. `fds_mlflow.features.meaning` says what a feature
means; a suite of tests holds every store, and this, against the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import fsum, nan, sqrt

import numpy as np
import numpy.typing as npt

from fds_mlflow.features import meaning
from fds_mlflow.features.spec import LABEL_AGGREGATES, FeatureSpec
from fds_mlflow.features.state.layout import LABEL, Layout, Words, entity, hashed, number, words
from fds_mlflow.features.state.state import Arrival, Arriving, State
from fds_mlflow.features.sums import Values

_FEW = 256
"""Values that are summed one by one, exactly; more are summed in arrays."""

_TIME, _NUMBER = 0, 1
_KNOWN, _LABEL_NUMBER, _ADDS, _FRAUDS = 1, 2, 3, 4


@dataclass(frozen=True)
class Transaction:
    """A transaction in canonical values.

    Attributes:
        id: Its id.
        time: Microseconds since 1970 (UTC).
        entities: Role -> value; None, or left out, where it has none.
        numbers: Numeric column -> value, the amount among them; NaN where missing.
        categories: Categorical column -> value.
    """

    id: str
    time: int
    entities: Mapping[str, str | None] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    categories: Mapping[str, str | None] = field(default_factory=dict)


def arriving(layout: Layout, transaction: Transaction) -> Arriving:
    """A transaction as a store of this layout takes it."""
    entities = transaction.entities
    keys = (entities.get(role) for role in layout.roles)
    fields = (
        number(transaction.numbers.get(name, nan)) if kind == "number" else hashed(entities.get(name))
        for kind, name in layout.fields
    )
    return Arriving(
        key=entity("", transaction.id),
        time=transaction.time,
        entities=tuple(
            b"" if value is None else entity(role, value) for role, value in zip(layout.roles, keys, strict=True)
        ),
        fields=b"".join(fields),
    )


class Online:
    """Computes the window and gap features of a specification from what a store tells.

    Args:
        spec: The features.
        layout: Of the store.
    """

    def __init__(self, spec: FeatureSpec, layout: Layout) -> None:
        self._layout = layout
        self._nothing = meaning.over_nothing(spec)
        self._roles = [(layout.roles.index(role), _Role(spec, layout, role)) for role in meaning.roles(spec)]

    def features(self, transaction: Arriving, arrival: Arrival) -> dict[str, float]:
        """Each window and gap feature's value.

        Args:
            transaction: As it went to the store.
            arrival: What the store answered.
        """
        found = dict(self._nothing)
        for place, role in self._roles:
            if transaction.entities[place]:
                records = words(arrival.records[place], self._layout.width)
                labels = words(arrival.labels[place], LABEL)
                if arrival.again:
                    records = records[records[:, _NUMBER] <= arrival.number]
                    labels = labels[labels[:, _LABEL_NUMBER] < arrival.number]
                role.compute(found, records, labels, transaction.time)
        return found


def features(state: State, spec: FeatureSpec, transactions: Iterable[Transaction]) -> Iterable[dict[str, float]]:
    """Record transactions one after the other, and give each one's features.

    Args:
        state: Remembers them.
        spec: The features.
        transactions: In the order of arrival.

    Raises:
        DataError: An id stands for two transactions.
    """
    layout = state.layout
    engine = Online(spec, layout)
    for transaction in transactions:
        given = arriving(layout, transaction)
        yield engine.features(given, state.arrive(given))


class _Role:
    """The features over one role's past."""

    def __init__(self, spec: FeatureSpec, layout: Layout, role: str) -> None:
        self._delay = spec.label_delay
        self._gaps = [gap.feature for gap in spec.gaps if gap.entity == role]
        items = [(item, window) for item in spec.windows if item.entity == role for window in item.windows]
        own = [(item, window) for item, window in items if item.aggregate not in LABEL_AGGREGATES]
        late = [(item, window) for item, window in items if item.aggregate in LABEL_AGGREGATES]
        self._spans = list(dict.fromkeys(meaning.micros(window) for _, window in own))
        self._label_spans = list(dict.fromkeys(meaning.micros(window) for _, window in late))
        place = self._spans.index
        self._counts = [(i.feature(w), place(meaning.micros(w))) for i, w in own if i.aggregate == "count"]
        self._distinct = [
            (i.feature(w), layout.word("entity", i.column), place(meaning.micros(w)))
            for i, w in own
            if i.aggregate == "distinct"
        ]
        self._amounts: dict[tuple[int, int], list[tuple[str, str]]] = {}
        for item, window in own:
            if item.aggregate not in ("count", "distinct"):
                at = layout.word("number", item.column), place(meaning.micros(window))
                self._amounts.setdefault(at, []).append((item.feature(window), item.aggregate))
        self._labels = [(i.feature(w), i.aggregate, self._label_spans.index(meaning.micros(w))) for i, w in late]

    def compute(self, found: dict[str, float], records: Words, labels: Words, time: int) -> None:
        """Fill in the features at a time.

        Args:
            found: By name.
            records: The entity's, in the order of arrival, the transaction itself among them.
            labels: The entity's.
            time: Of the transaction, microseconds.
        """
        times = records[:, _TIME]
        end = len(times)
        if end > 1 and (times[-1] < times[-2] or (times[1:] < times[:-1]).any()):
            records = records[times.argsort(kind="stable")]
            times = records[:, _TIME]
        if times[-1] > time:
            end = int(times.searchsorted(time, side="right"))
        starts = times[:end].searchsorted([time - span for span in self._spans], side="right").tolist()
        for name, place in self._counts:
            found[name] = float(end - starts[place])
        for name, word, place in self._distinct:
            found[name] = float(_distinct(records[starts[place] : end, word]))
        for (word, place), wanted in self._amounts.items():
            values = records[starts[place] : end, word].view(np.float64)
            there = values[values == values]  # NaN is missing
            for name, aggregate in wanted:
                found[name] = _AGGREGATES[aggregate](there)
        if self._gaps and end > 1:
            found.update(dict.fromkeys(self._gaps, (int(times[end - 1]) - int(times[end - 2])) / 1e6))
        if len(labels) and self._labels:
            self._of_labels(found, labels, time)

    def _of_labels(self, found: dict[str, float], labels: Words, time: int) -> None:
        moments = meaning.moments(labels[:, _TIME], labels[:, _KNOWN], self._delay)
        known, frauds = [], []
        for span in self._label_spans:
            usable = (moments <= time) & (moments > time - span)
            known.append(int(labels[usable, _ADDS].sum()))
            frauds.append(int(labels[usable, _FRAUDS].sum()))
        for name, aggregate, place in self._labels:
            if aggregate == "known":
                found[name] = float(known[place])
            elif aggregate == "frauds":
                found[name] = float(frauds[place])
            else:
                found[name] = frauds[place] / max(known[place], 1)


Floats = npt.NDArray[np.float64]


def _distinct(hashes: Words) -> int:
    hashes = hashes[hashes != 0]  # of those that are missing
    return len(set(hashes.tolist())) if len(hashes) <= _FEW else len(np.unique(hashes))


def _sum(values: Floats) -> float:
    if len(values) > _FEW:
        return float(Values(values).sum(np.array([0]), np.array([len(values)]))[0])
    return _exactly(values.tolist())


def _exactly(values: list[float]) -> float:
    try:
        return fsum(values)
    except (OverflowError, ValueError):  # beyond a float's range, or both infinities
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.sum(values))


def _mean(values: Floats) -> float:
    return _sum(values) / len(values) if len(values) else nan


def _deviation(values: Floats) -> float:
    if len(values) == 0:
        return nan
    if len(values) > _FEW or not np.isfinite(values).all():
        return float(Values(values).deviation(np.array([0]), np.array([len(values)]))[0])
    few = values.tolist()
    if min(few) == max(few):
        return 0.0
    mean = _exactly(few) / len(few)
    apart = [value - mean for value in few]
    # The mean is rounded: its square is taken off (Chan, Golub, LeVeque, "Algorithms for computing the sample
    # variance", The American Statistician 37, 1983, equation 1.7).
    return sqrt((fsum(x * x for x in apart) - fsum(apart) ** 2 / len(few)) / len(few))


_AGGREGATES: Mapping[str, Callable[[Floats], float]] = {
    "sum": _sum,
    "mean": _mean,
    "std": _deviation,
    "min": lambda values: float(values.min()) if len(values) else nan,
    "max": lambda values: float(values.max()) if len(values) else nan,
}
