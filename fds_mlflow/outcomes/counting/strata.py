"""The counters of one rollout in memory, from their rows and back: what is added between, and what a judge reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from fds_mlflow.core.evidence.bins import LATENCY_BINS, LOSS_BINS, SCORE_BINS
from fds_mlflow.core.evidence.evidence import LABELLED, EventKind, KnownAlerts, Tally
from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.outcomes.tables import CellCount, Count

PAIR = "pair"
"""The kind of `FirstEvent` that says which request of a key both versions scored first."""

_BINS = {
    "scores": SCORE_BINS,
    "losses": LOSS_BINS,
    "latencies": LATENCY_BINS,
    "score_sum": 2,  # how many scores, and their sum
    "loss_sums": LOSS_BINS,
    "caught_money": 3,  # how many frauds, how many of them with an amount, and its sum
}
_PLAIN = (
    *("requests", "keys", "matured", "labelled", "passed_genuine", "matured_requests"),
    *("matured_alerts", "reviewed_alerts", "false_alerts"),
)
_KNOWN_ALERTS = "known_alerts@"
_MISSED = f"{EventKind.MISSED_FRAUD}@"
Cell = Sequence[Any]
"""Step, weight, variant assigned, hour and segment."""


class LabelledEvent(NamedTuple):
    """An outcome whose label says that its version was wrong.

    Attributes:
        cell: Where it is counted.
        loss: What it cost; 0 where that is not known.
        time: Of the outcome.
        outcome_id: Its number.
        key: Its routing key.
        chance: With which its label comes, as the label declares it.
        loss_bin: Of the loss; null where that is not known.
    """

    cell: Cell
    loss: float
    time: datetime
    outcome_id: int
    key: str
    chance: float | None
    loss_bin: int | None


class Counters:
    """Counters by step, weight, variant, hour and segment.

    Args:
        rows: What is counted already.
    """

    def __init__(self, rows: Iterable[CellCount] = ()) -> None:
        self._rows = {(row.step, row.weight, row.assigned, row.hour, row.segment): row for row in rows}
        self._numbers = {cell: _copied(row.numbers) for cell, row in self._rows.items()}

    @property
    def first(self) -> datetime | None:
        """Time of the earliest request, UTC; None without requests."""
        return min((row.first for row in self._rows.values()), default=None)

    @property
    def has_pairs(self) -> bool:
        """Whether any request was scored by both versions."""
        return any(name.startswith(PAIR) for numbers in self._numbers.values() for name in numbers)

    @property
    def has_repeated(self) -> bool:
        """Whether any key came more than once."""
        return any(numbers.get("requests") != numbers.get("keys") for numbers in self._numbers.values())

    def seen(self, cell: Cell, earliest: datetime, latest: datetime) -> None:
        """Make room for a cell's counts, and remember between which times its requests lie."""
        step, weight, assigned, hour, segment = place = tuple(cell)
        row = self._rows.get(place)
        if row is None:
            row = CellCount(
                step=step,
                weight=weight,
                assigned=assigned,
                hour=hour,
                segment=segment,
                numbers={},
                first=earliest,
                last=latest,
            )
            self._rows[place], self._numbers[place] = row, {}
        row.first, row.last = min(row.first, earliest), max(row.last, latest)

    def add(self, cell: Cell, name: str, by: float, *, at: int | None = None) -> None:
        """Add to a number of a cell, or to bin `at` of a histogram."""
        if not by:
            return
        numbers = self._numbers[tuple(cell)]
        if at is None:
            numbers[name] = numbers.get(name, 0) + by
        else:
            numbers.setdefault(name, [0] * _BINS.get(name, 4))[at] += by

    def add_event(self, kind: EventKind, event: LabelledEvent, *, chances: bool) -> None:
        """Add a key to which a labelled kind happened for the first time; with `chances` by that of its label, too."""
        self.add(event.cell, kind.value, 1)
        if kind is not EventKind.MISSED_FRAUD:
            return
        if event.chance is not None and chances:
            self.add(event.cell, f"{kind}@{event.chance!r}", 1)
        if event.loss_bin is not None:
            self.add(event.cell, "losses", 1, at=event.loss_bin)
            self.add(event.cell, "losses_summed", 1)
            self.add(event.cell, "loss_sums", event.loss, at=event.loss_bin)

    def add_spent(self, cell: Cell, kind: EventKind, requests: int) -> None:
        """Add requests of keys to which a kind had happened before."""
        self.add(cell, _spent(kind), requests)

    def add_pair(self, cell: Cell, kind: EventKind, to: int, by: int, *, chance: float | None = None) -> None:
        """Add to the pairs of a kind: 2 the champion alone, 1 the canary alone, 3 both, 0 neither.

        With a chance: to those whose label comes with this chance.
        """
        self.add(cell, f"{PAIR}_{kind}" if chance is None else f"known_{kind}@{chance!r}", by, at=to)

    def add_known_alerts(self, cell: Cell, chance: float, alerts: KnownAlerts) -> None:
        """Add to the alerts that are labelled with a known chance."""
        for at, by in enumerate(alerts):
            self.add(cell, f"{_KNOWN_ALERTS}{chance!r}", by, at=at)

    def tallies(self) -> tuple[Tally, ...]:
        """One per cell, by hour, step, weight, champion first, and segment."""
        order = list(Variant)
        places = sorted(self._rows, key=lambda cell: (cell[3], *cell[:2], order.index(Variant(cell[2])), cell[4]))
        return tuple(_tally(self._rows[place], self._numbers[place]) for place in places)

    def pairs(self) -> Mapping[EventKind, tuple[Pairs, ...]]:
        """By kind where there are any, one per hour, in order."""
        found = {kind: self._pairs(f"{PAIR}_{kind}") for kind in EventKind}
        return MappingProxyType({kind: pairs for kind, pairs in found.items() if pairs})

    def known_pairs(self) -> Mapping[EventKind, Mapping[float, tuple[Pairs, ...]]]:
        """The same of those whose label comes with a known chance, by kind and chance."""
        names = {name for numbers in self._numbers.values() for name in numbers}
        return MappingProxyType(
            {
                kind: {chance: self._pairs(f"known_{kind}@{chance!r}") for chance in _chances(f"known_{kind}@", names)}
                for kind in LABELLED
                if any(name.startswith(f"known_{kind}@") for name in names)
            }
        )

    def _pairs(self, name: str) -> tuple[Pairs, ...]:
        hours: dict[int, list[int]] = {}
        for cell in sorted(self._rows, key=lambda cell: cell[3]):
            counted = self._numbers[cell].get(name)
            if counted:
                hours[cell[3]] = [a + b for a, b in zip(hours.get(cell[3], [0] * 4), counted, strict=True)]

        def made(hour: int, counted: Sequence[int]) -> Pairs:
            neither, canary, champion, both = counted
            return Pairs(both=both, champion_only=champion, canary_only=canary, neither=neither, hour=hour)

        return tuple(made(*counted) for counted in hours.items())


class Strata(Counters):
    """The counters of a `Count`.

    Args:
        session: In the transaction that holds the count's row.
        count: Whose.
    """

    def __init__(self, session: Session, count: Count) -> None:
        self._session = session
        self._count_id = count.id
        super().__init__(session.scalars(select(CellCount).where(CellCount.count_id == count.id)))

    def save(self) -> None:
        """Give the numbers to their rows; the session writes those that changed."""
        for cell, row in self._rows.items():
            row.count_id, row.numbers = self._count_id, self._numbers[cell]
            self._session.add(row)


def _chances(prefix: str, names: Iterable[str]) -> list[float]:
    """The chances that stand in names behind a prefix, rising."""
    return sorted(float(name.removeprefix(prefix)) for name in names if name.startswith(prefix))


def _fine(name: str, numbers: Mapping[str, Any]) -> Mapping[int, int]:
    """A histogram of which only what is not empty is kept, under names with the bin behind an "@"."""
    named = (each.rpartition("@") for each in numbers)
    return MappingProxyType({int(at): numbers[f"{name}@{at}"] for of, _, at in named if of == name})


def _spent(kind: EventKind) -> str:
    return f"spent_{kind}"


def _copied(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, list) else value for name, value in numbers.items()}


def _tally(row: CellCount, numbers: Mapping[str, Any]) -> Tally:
    """The tally of a cell; sums only where they cover all that was counted, since older releases kept none."""
    scores, losses = tuple(numbers.get("scores", ())), tuple(numbers.get("losses", ()))
    summed, total = numbers.get("score_sum", (0, 0.0))
    frauds, priced, money = numbers.get("caught_money", (0, 0, 0.0))
    caught = numbers.get("reviewed_alerts", 0) - numbers.get("false_alerts", 0)
    covered = bool(losses) and numbers.get("losses_summed") == sum(losses)  # frauds of no amount leave no sums
    return Tally(
        variant=Variant(row.assigned),
        step=row.step,
        weight=row.weight,
        hour=row.hour,
        segment=row.segment,
        events=MappingProxyType({kind: numbers[kind] for kind in EventKind if kind in numbers}),
        spent=MappingProxyType({kind: numbers[_spent(kind)] for kind in EventKind if _spent(kind) in numbers}),
        first=row.first,
        last=row.last,
        scores=scores,
        score_sum=total if scores and summed == sum(scores) else None,
        losses=losses,
        loss_sums=tuple(numbers.get("loss_sums", [0.0] * LOSS_BINS)) if covered else (),
        caught_money=money if priced and frauds == caught else None,
        known_alerts=MappingProxyType(
            {at: KnownAlerts(*numbers[f"{_KNOWN_ALERTS}{at!r}"]) for at in _chances(_KNOWN_ALERTS, numbers)}
        ),
        missed_known=MappingProxyType({at: numbers[f"{_MISSED}{at!r}"] for at in _chances(_MISSED, numbers)}),
        latencies=tuple(numbers.get("latencies", ())),
        latency_firsts=_fine("latency_firsts", numbers),
        score_firsts=_fine("score_firsts", numbers),
        **{name: numbers.get(name, 0) for name in _PLAIN},
    )
