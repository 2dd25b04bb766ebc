"""Since when a state knows what it keeps: a window that reaches back further is too small, and nobody could tell.

What is kept has a name: a role's records, its labels, a numeric column, a pair that ``distinct`` counts. Of each is
known what was there when it was first kept. Time goes by the transactions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from fds_mlflow.features import meaning
from fds_mlflow.features.spec import LABEL_AGGREGATES, FeatureSpec
from fds_mlflow.features.state.layout import Layout

LABELLED = "/labels"
"""How the names of labels end."""

IDS = "*"
"""The name of the transactions' ids."""

BEGINNING = -(2**63)
"""Since ever: whatever came before is said to be nothing."""


class Since(NamedTuple):
    """What a state knows of one thing that it keeps.

    Attributes:
        time: All that is later, microseconds; None for the first arrival of all, which is still to come.
        number: And all that arrived after so many others, however late it was;
        removed: but what is not later than this was removed, microseconds,
        removed_number: as far as it was among the first so many to arrive.
    """

    time: int | None = None
    number: int = 0
    removed: int = BEGINNING
    removed_number: int = 0

    def has(self, time: int, number: int | None) -> bool:
        """Whether a transaction is known there.

        Args:
            time: Its time, microseconds.
            number: Its arrival; None where it never arrived.
        """
        came = (self.time is not None and time > self.time) or (number is not None and number > self.number)
        return came and (time > self.removed or (number is not None and number > self.removed_number))


@dataclass(frozen=True)
class Coverage:
    """Since when everything is kept.

    Attributes:
        begin: The time of the first arrival, microseconds; None before that.
        since: By name; see `names`.
    """

    begin: int | None = None
    since: Mapping[str, Since] = field(default_factory=dict)

    def of(self, name: str) -> Since:
        """What is known of one thing; nothing where it is not kept."""
        found = self.since.get(name)
        if found is None:
            return Since()
        return found if found.time is not None or self.begin is None else found._replace(time=self.begin - 1)

    def whole_from(self, needs: Mapping[str, int]) -> int | None:
        """From which time on, in microseconds, all windows are whole; None where that cannot be told yet.

        Args:
            needs: By name, how far back is looked, microseconds; see `needed`.
        """
        latest = BEGINNING
        for name, span in needs.items():
            since = self.of(name)
            if since.time is None:
                return None
            time = max(since.time, since.removed)
            latest = max(latest, time if time == BEGINNING else time + span)
        return latest

    def beginning(self, time: int) -> Self:
        """The same once the first transaction arrives.

        Args:
            time: Its time, microseconds.
        """
        return replace(self, begin=time)

    def gaining(self, layout: Layout, latest: int, number: int) -> Self:
        """The same with what a layout has beside it, known from now on.

        Args:
            layout: Of the state.
            latest: The latest time so far, microseconds.
            number: How many have arrived.
        """
        now = Since(latest, number) if number else Since()
        fresh = {name: now for name in names(layout) if name not in self.since}
        return replace(self, since={**self.since, **fresh}) if fresh else self

    def reaching(self, names: Iterable[str], time: int) -> Self:
        """The same where some things are known since an earlier time than they were."""
        earlier = {one: self.of(one) for one in names}
        earlier = {one: of._replace(time=time, removed=min(of.removed, time)) for one, of in earlier.items()}
        return replace(self, since={**self.since, **earlier})

    def losing(self, name: str, time: int, number: int) -> Self:
        """The same where what is not later than a time was removed.

        Args:
            name: Of what.
            time: Microseconds.
            number: How many have arrived.
        """
        known = self.since.get(name, Since())
        if known.removed > time:
            return self
        return replace(self, since={**self.since, name: known._replace(removed=time, removed_number=number)})

    def to_json(self) -> bytes:
        """As it is kept with the past."""
        return json.dumps([self.begin, self.since]).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """As it was kept."""
        begin, since = json.loads(text)
        return cls(begin, {name: Since(*one) for name, one in since.items()})


def labels_of(role: str) -> str:
    """The name of a role's labels."""
    return role + LABELLED


def pair_of(role: str, other: str) -> str:
    """The name of a role's counted values."""
    return f"{role}>{other}"


def number_of(column: str) -> str:
    """The name of a numeric column."""
    return f"#{column}"


def names(layout: Layout) -> Iterator[str]:
    """Everything that a layout keeps."""
    yield IDS
    yield from layout.roles
    yield from map(labels_of, layout.roles)
    yield from map(number_of, layout.numbers)
    yield from (pair_of(*pair) for pair in layout.pairs)


def needed(spec: FeatureSpec) -> dict[str, int]:
    """How far back a specification looks at everything that it looks at, microseconds.

    A gap looks at the last transaction alone: it asks for no length of time.
    """
    found: dict[str, int] = {gap.entity: 0 for gap in spec.gaps}
    for item in spec.windows:
        span = meaning.reach(spec, item)
        of = [item.entity]
        if item.aggregate in LABEL_AGGREGATES:
            of = [labels_of(item.entity)]
        elif item.aggregate == "distinct":
            of.append(pair_of(item.entity, item.column))
        elif item.of_numbers:
            of += map(number_of, meaning.looked_at(spec, item))
        for name in of:
            found[name] = max(span, found.get(name, 0))
    return found
