"""Evidence, counted naively: loops over all records, no SQL, no watermark."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from fds_mlflow.core.evidence.arms import added
from fds_mlflow.core.evidence.bins import FINE_LATENCY_EDGES, FINE_SCORE_EDGES, LATENCY_BINS, LOSS_BINS, SCORE_BINS
from fds_mlflow.core.evidence.evidence import EventKind, Evidence, KnownAlerts, Tally, Terms
from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.core.statistics.paired import added as together
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord, ShadowRecord

Cell = tuple[int, int, int, Variant, str]
LABELLED = (EventKind.MISSED_FRAUD, EventKind.FALSE_POSITIVE)


def log_bin(value: float, lowest: float, bins: int) -> int:
    """How many edges, each the square root of two times the one before, lie below the value."""
    return bisect_left([lowest * 2 ** (edge / 2) for edge in range(bins - 1)], value)


def truth_of(states: Sequence[CaseRecord], until: datetime) -> CaseRecord | None:
    """The latest state known by then, if it says a truth."""
    known = [state for state in states if state.known_at <= until]
    latest = max(known, key=lambda state: state.known_at, default=None)
    return None if latest is None or latest.status == "suspected" else latest


class Board:
    """The counters, and which keys have had which event."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.numbers: dict[Cell, Counter[str]] = defaultdict(Counter)
        self.bins: dict[Cell, dict[str, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
        self.sums: dict[Cell, dict[str, dict[int, float]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(float))
        )
        self.caught: dict[Cell, list[float]] = defaultdict(list)
        self.times: dict[Cell, list[datetime]] = defaultdict(list)
        self.first: dict[str, dict[str, OutcomeRecord]] = defaultdict(dict)
        self.spent: dict[Cell, Counter[EventKind]] = defaultdict(Counter)
        self.pairs: dict[EventKind, dict[int, Counter[tuple[bool, bool]]]] = defaultdict(lambda: defaultdict(Counter))
        self.known_pairs: dict[EventKind, dict[float, dict[int, Counter[tuple[bool, bool]]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(Counter))
        )
        self.alerts: dict[Cell, dict[float, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        self.missed: dict[Cell, Counter[float]] = defaultdict(Counter)

    def cell_of(self, outcome: OutcomeRecord) -> Cell:
        """Where an outcome counts."""
        hour = int(outcome.time.timestamp() // 3600) if self.terms.hourly else 0
        segment = (outcome.segment or "") if self.terms.segments else ""
        return outcome.step, outcome.weight, hour, Variant(outcome.assigned), segment

    def spend(self, kinds: Sequence[EventKind], outcome: OutcomeRecord) -> None:
        """Count a request of a key to which a kind had happened before."""
        for kind in kinds:
            if self.terms.hourly and self.first[kind].get(outcome.key, outcome) is not outcome:
                self.spent[self.cell_of(outcome)][kind] += 1

    def once(self, kind: str, outcome: OutcomeRecord) -> bool:
        """Whether this is the first event of its key and kind; remembered if so."""
        return self.first[kind].setdefault(outcome.key, outcome) is outcome

    def event(self, kind: EventKind, outcome: OutcomeRecord) -> bool:
        """Count an event if it is the first of its key."""
        new = outcome.key not in self.first[kind] and self.once(kind, outcome)
        self.numbers[self.cell_of(outcome)][kind] += new
        return new

    def request(self, outcome: OutcomeRecord) -> None:
        """Count what needs no label."""
        terms = self.terms
        cell = self.cell_of(outcome)
        self.times[cell].append(outcome.time)
        self.numbers[cell]["requests"] += 1
        first = self.once("seen", outcome)
        self.numbers[cell]["keys"] += first
        if first and terms.quantiles:
            self.bins[cell]["latency_firsts"][sum(edge < outcome.latency_ms for edge in FINE_LATENCY_EDGES)] += 1
        self.bins[cell]["latencies"][log_bin(outcome.latency_ms, 0.125, LATENCY_BINS)] += 1
        if outcome.score is not None and self.once("scored", outcome):
            self.bins[cell]["scores"][min(int(outcome.score * SCORE_BINS), SCORE_BINS - 1)] += 1
            self.sums[cell]["score"][0] += outcome.score
            if terms.quantiles:
                self.bins[cell]["score_firsts"][sum(edge < outcome.score for edge in FINE_SCORE_EDGES)] += 1
        if outcome.error is not None:
            self.event(EventKind.ERROR, outcome)
        if outcome.flagged:
            self.event(EventKind.ALERT, outcome)
        if terms.latency_bound is not None and outcome.latency_ms > terms.latency_bound:
            self.event(EventKind.SLOW, outcome)
        self.spend([kind for kind in EventKind if kind not in LABELLED], outcome)

    def mature(self, outcome: OutcomeRecord) -> None:
        """Count an outcome whose label may be looked at."""
        self.numbers[self.cell_of(outcome)]["matured_requests"] += self.terms.hourly
        self.numbers[self.cell_of(outcome)]["matured"] += self.first["seen"][outcome.key] is outcome
        alert = self.first[EventKind.ALERT].get(outcome.key) is outcome
        self.numbers[self.cell_of(outcome)]["matured_alerts"] += alert
        if alert and outcome.propensity is not None:
            self.alerts[self.cell_of(outcome)][outcome.propensity]["matured"] += 1
            self.alerts[self.cell_of(outcome)][outcome.propensity]["shown"] += outcome.explored

    def truth(self, outcome: OutcomeRecord, state: CaseRecord) -> None:
        """Count an outcome's truth."""
        numbers, fraud = self.numbers[self.cell_of(outcome)], state.status == "confirmed"
        first = self.first["seen"][outcome.key] is outcome
        numbers["labelled"] += first
        numbers["passed_genuine"] += self.terms.hourly and first and not fraud and not outcome.flagged
        if self.first[EventKind.ALERT].get(outcome.key) is outcome:
            numbers["reviewed_alerts"] += 1
            numbers["false_alerts"] += not fraud
            chance = self.chance(outcome, state)
            if chance is not None:
                known = self.alerts[self.cell_of(outcome)][chance]
                known["matured"] += not outcome.explored
                known["shown"] += not outcome.explored
                known["reviewed"] += 1
                known["false"] += not fraud
            if fraud and state.loss_amount is not None:
                self.caught[self.cell_of(outcome)].append(state.loss_amount)
        if fraud and not outcome.flagged:
            new = self.event(EventKind.MISSED_FRAUD, outcome)
            if new and state.propensity is not None:
                self.missed[self.cell_of(outcome)][state.propensity] += 1
            if new and state.loss_amount is not None:
                at = log_bin(state.loss_amount, 1.0, LOSS_BINS)
                self.bins[self.cell_of(outcome)]["losses"][at] += 1
                self.sums[self.cell_of(outcome)]["loss"][at] += state.loss_amount
        elif not fraud and outcome.flagged:
            self.event(EventKind.FALSE_POSITIVE, outcome)

    @staticmethod
    def chance(outcome: OutcomeRecord, state: CaseRecord) -> float | None:
        """With which known chance the label of something flagged came; None where nobody knows it."""
        if outcome.propensity is not None:
            return outcome.propensity if outcome.explored else None
        return state.propensity

    def pair(self, kind: EventKind, outcome: OutcomeRecord, own: bool, other: bool) -> None:
        """Count what happened to the champion, and what to the canary."""
        both = (own, other) if outcome.assigned == Variant.CHAMPION else (other, own)
        self.pairs[kind][self.cell_of(outcome)[2]][both] += 1

    def fast_pair(self, outcome: OutcomeRecord, shadow: ShadowRecord) -> None:
        """Count what needs no label of a pair."""
        self.pair(EventKind.ERROR, outcome, outcome.error is not None, shadow.error is not None)
        self.pair(EventKind.ALERT, outcome, outcome.flagged, shadow.flagged)

    def label_pair(self, outcome: OutcomeRecord, shadow: ShadowRecord, state: CaseRecord) -> None:
        """Count the truth of a pair."""
        fraud = state.status == "confirmed"
        missed = fraud and not outcome.flagged, fraud and not shadow.flagged
        self.pair(EventKind.MISSED_FRAUD, outcome, *missed)
        false = not fraud and outcome.flagged, not fraud and shadow.flagged
        self.pair(EventKind.FALSE_POSITIVE, outcome, *false)
        chance = self.chance(outcome, state) if outcome.flagged else None if outcome.propensity == 0 else 1.0
        if chance is not None:
            for kind, (own, other) in ((EventKind.MISSED_FRAUD, missed), (EventKind.FALSE_POSITIVE, false)):
                both = (own, other) if outcome.assigned == Variant.CHAMPION else (other, own)
                self.known_pairs[kind][chance][self.cell_of(outcome)[2]][both] += 1

    def evidence(self, as_of: datetime) -> Evidence:
        """What a judge reads."""
        order = sorted(self.times, key=lambda cell: (cell[2], *cell[:2], list(Variant).index(cell[3]), cell[4]))
        by_hour = {kind: _pairs(hours) for kind, hours in self.pairs.items()}
        known = {kind: {at: _pairs(hours) for at, hours in found.items()} for kind, found in self.known_pairs.items()}
        pairs = {kind: together(found) for kind, found in by_hour.items()}
        cells = tuple(map(self._tally, order))
        if not self.terms.hourly:
            return Evidence(terms=self.terms, as_of=as_of, tallies=cells, pairs=pairs)
        places = sorted(set(map(self._place, cells)))
        tallies = tuple(
            replace(
                added(list(Variant)[at], [cell for cell in cells if self._place(cell) == (step, weight, at)]),
                hour=0,
                segment="",
            )
            for step, weight, at in places
        )
        segments: dict[str, tuple[Tally, ...]] = {}
        hours = cells
        if self.terms.segments:
            names = sorted({cell.segment for cell in cells})
            segments = {n: tuple(replace(cell, segment="") for cell in cells if cell.segment == n) for n in names}
            ordered = sorted({(cell.hour, *self._place(cell)) for cell in cells})
            hours = tuple(
                replace(
                    added(
                        list(Variant)[at], [c for c in cells if (c.hour, *self._place(c)) == (hour, step, weight, at)]
                    ),
                    hour=hour,
                    segment="",
                )
                for hour, step, weight, at in ordered
            )
        return Evidence(
            terms=self.terms,
            as_of=as_of,
            tallies=tallies,
            hours=hours,
            segments=segments,
            pairs=pairs,
            paired_hours=by_hour,
            known_pairs=known,
        )

    @staticmethod
    def _place(tally: Tally) -> tuple[int, int, int]:
        return tally.step, tally.weight, list(Variant).index(tally.variant)

    def _tally(self, cell: Cell) -> Tally:
        numbers = Counter(self.numbers[cell])
        plain: dict[str, Any] = {
            name: number for name, number in numbers.items() if number and name not in set(EventKind)
        }
        histograms: dict[str, Any] = {
            name: tuple(found[position] for position in range(bins))
            for name, bins in (("scores", SCORE_BINS), ("losses", LOSS_BINS), ("latencies", LATENCY_BINS))
            if (found := self.bins[cell][name])
        }
        known = {
            at: KnownAlerts(*(found[name] for name in KnownAlerts._fields)) for at, found in self.alerts[cell].items()
        }
        return Tally(
            variant=cell[3],
            step=cell[0],
            weight=cell[1],
            hour=cell[2],
            segment=cell[4],
            known_alerts=known if self.terms.hourly else {},
            missed_known=dict(self.missed[cell]) if self.terms.hourly else {},
            spent=dict(self.spent[cell]),
            events={kind: numbers[kind] for kind in EventKind if numbers[kind]},
            first=min(self.times[cell]),
            last=max(self.times[cell]),
            score_sum=self.sums[cell]["score"][0] if "scores" in histograms else None,
            loss_sums=tuple(self.sums[cell]["loss"][at] for at in range(LOSS_BINS)) if "losses" in histograms else (),
            caught_money=sum(self.caught[cell]) if self.caught[cell] else None,
            latency_firsts=dict(self.bins[cell]["latency_firsts"]),
            score_firsts=dict(self.bins[cell]["score_firsts"]),
            **plain,
            **histograms,
        )


def _pairs(hours: dict[int, Counter[tuple[bool, bool]]]) -> tuple[Pairs, ...]:
    return tuple(
        Pairs(
            both=found[True, True],
            champion_only=found[True, False],
            canary_only=found[False, True],
            neither=found[False, False],
            hour=hour,
        )
        for hour, found in sorted(hours.items())
    )


def recount(
    outcomes: Sequence[OutcomeRecord],
    cases: Sequence[CaseRecord],
    shadows: Sequence[ShadowRecord],
    terms: Terms,
    as_of: datetime,
) -> Evidence:
    """The evidence of records that were written in time, from all of them at once.

    Args:
        outcomes: Of one rollout, in the order of writing, each written before it was mature.
        cases: Each written before anything that it was known to was mature; the last of a moment is meant.
        shadows: Each written with its outcome.
        terms: On which terms.
        as_of: The time now.
    """
    board = Board(terms)
    outcomes = [outcome for outcome in outcomes if not outcome.degraded]
    for outcome in outcomes:
        board.request(outcome)
    paired = {shadow.request_id: shadow for shadow in reversed(shadows)}
    for outcome in outcomes:
        shadow = paired.get(outcome.request_id)
        if shadow is not None and shadow.version != outcome.version and board.once("pair", outcome):
            board.fast_pair(outcome, shadow)
    if terms.maturity is None:
        return board.evidence(as_of)
    states: dict[str | None, dict[datetime, CaseRecord]] = defaultdict(dict)
    for case in cases:
        states[case.transaction_id][case.known_at] = case
    matured = [outcome for outcome in outcomes if outcome.time + terms.maturity <= as_of]
    for outcome in sorted(matured, key=lambda outcome: outcome.time):
        board.mature(outcome)
        state = truth_of(list(states[outcome.transaction_id or outcome.key].values()), outcome.time + terms.maturity)
        if state is not None:
            board.truth(outcome, state)
        board.spend(LABELLED, outcome)
        if state is not None and board.first["pair"].get(outcome.key) is outcome:
            board.label_pair(outcome, paired[outcome.request_id], state)
    return board.evidence(as_of)
