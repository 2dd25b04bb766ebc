"""The two arms of a trial: the treatment, and the control that it is judged against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import TypeVar

from fds_mlflow.core.evidence.evidence import EventKind, Evidence, KnownAlerts, Tally, Terms
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.core.statistics.paired import added as paired_over_hours
from fds_mlflow.core.weight import FULL

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Arms:
    """Both variants' outcomes under one weight, or of several added up.

    Attributes:
        weight: Share of the treatment, in [0, 1]; the last one where several are added up.
        treatment: Outcomes of the variant that is judged.
        control: Outcomes of the variant that it is judged against.
        hour: The hour, counted from 1970 UTC; 0 where hours are added up.
    """

    weight: float
    treatment: Tally
    control: Tally
    hour: int = 0

    def of(self, variant: Variant) -> Tally:
        """One variant's outcomes."""
        return self.treatment if self.treatment.variant is variant else self.control


@dataclass(frozen=True, slots=True)
class Counts:
    """Everything that is known of both variants.

    Attributes:
        by_weight: Both arms, one per weight under which both got traffic, in order of the weight.
        by_step: The same, one per step and weight, in this order.
        by_hour: The same, one per hour and weight, in this order.
        compared: These added up: for shares of one variant alone, never for comparing the two.
        whole: All outcomes added up, those under a weight of 0 % and 100 % included.
        own: The treatment's alone, by the hour and whatever the weight.
        least_chance: The smallest chance above 0 with which labels of alerts come; None where none is known.
    """

    by_weight: tuple[Arms, ...]
    by_step: tuple[Arms, ...]
    by_hour: tuple[Arms, ...]
    compared: Arms
    whole: Arms
    own: tuple[Tally, ...]
    least_chance: float | None = None


def counts(evidence: Evidence, *, is_watch: bool) -> Counts:
    """Both arms of a rollout.

    Args:
        evidence: What is known.
        is_watch: The champion is the treatment, and the canary is its control.
    """
    hours = evidence.hours or evidence.tallies
    weights = _parted(evidence.tallies, lambda _: (), is_watch=is_watch)
    compared = _of_both(weights)
    return Counts(
        by_weight=compared,
        by_step=_of_both(_parted(evidence.tallies, lambda tally: (tally.step,), is_watch=is_watch)),
        by_hour=_of_both(_parted(hours, lambda tally: (tally.hour,), is_watch=is_watch)),
        compared=_together(compared, is_watch=is_watch),
        whole=_together(weights, is_watch=is_watch),
        own=_own(hours, Variant.CHAMPION if is_watch else Variant.CANARY),
        least_chance=min((chance for tally in hours for chance in tally.known_alerts if chance > 0), default=None),
    )


def _own(tallies: Iterable[Tally], variant: Variant) -> tuple[Tally, ...]:
    """One variant's outcomes by the hour, in order."""
    found: dict[int, list[Tally]] = {}
    for tally in tallies:
        if tally.variant is variant:
            found.setdefault(tally.hour, []).append(tally)
    return tuple(replace(added(variant, found[hour]), hour=hour) for hour in sorted(found))


def _parted(tallies: Iterable[Tally], by: Callable[[Tally], tuple[int, ...]], *, is_watch: bool) -> tuple[Arms, ...]:
    """Both arms, one for each place and weight, in this order."""
    found: dict[tuple[tuple[int, ...], int], list[Tally]] = {}
    for tally in tallies:
        found.setdefault((by(tally), tally.weight), []).append(tally)
    return tuple(_arms(found[place], place[1], is_watch=is_watch) for place in sorted(found))


def _of_both(arms: Iterable[Arms]) -> tuple[Arms, ...]:
    """Those under a weight that leaves both variants traffic."""
    return tuple(each for each in arms if 0 < each.weight < 1)


def arms_of_step(evidence: Evidence, step: int, weight: int, *, is_watch: bool) -> Arms:
    """Both arms of one step, for display.

    Args:
        evidence: What is known.
        step: The step.
        weight: The weight in force now, in basis points.
        is_watch: The champion is the treatment, and the canary is its control.
    """
    return _arms([tally for tally in evidence.tallies if tally.step == step], weight, is_watch=is_watch)


def _together(arms: Sequence[Arms], *, is_watch: bool) -> Arms:
    treatment, other = (Variant.CHAMPION, Variant.CANARY) if is_watch else (Variant.CANARY, Variant.CHAMPION)
    return Arms(
        arms[-1].weight if arms else 0.0,
        added(treatment, [each.treatment for each in arms]),
        added(other, [each.control for each in arms]),
    )


def _arms(tallies: Sequence[Tally], weight: int, *, is_watch: bool) -> Arms:
    by_variant = [added(variant, [t for t in tallies if t.variant is variant]) for variant in Variant]
    champion, canary = by_variant
    hours = {tally.hour for tally in tallies}
    hour = hours.pop() if len(hours) == 1 else 0
    if is_watch:
        return Arms((FULL - weight) / FULL, champion, canary, hour)
    return Arms(weight / FULL, canary, champion, hour)


def evidence_of(
    terms: Terms,
    as_of: datetime,
    tallies: Sequence[Tally],
    pairs: Mapping[EventKind, tuple[Pairs, ...]],
    known_pairs: Mapping[EventKind, Mapping[float, tuple[Pairs, ...]]] = MappingProxyType({}),
) -> Evidence:
    """Evidence from what was counted, by the hour where the terms ask for it.

    Args:
        terms: On which it was counted.
        as_of: When, UTC.
        tallies: One per hour, step, weight and variant, and segment.
        pairs: By kind, one per hour.
        known_pairs: Those whose label comes with a known chance, by kind and chance.
    """
    found = Evidence(
        terms=terms,
        as_of=as_of,
        tallies=over_hours(tallies),
        pairs=MappingProxyType({kind: paired_over_hours(hours) for kind, hours in pairs.items()}),
    )
    if not terms.hourly:
        return found
    hours, segments = tuple(tallies), {}
    if terms.segments:
        for name in sorted({tally.segment for tally in tallies}):
            segments[name] = tuple(replace(tally, segment="") for tally in tallies if tally.segment == name)
        hours = _merged(tallies, lambda tally: tally.hour)
    return replace(found, hours=hours, segments=segments, paired_hours=pairs, known_pairs=known_pairs)


def over_hours(hours: Iterable[Tally]) -> tuple[Tally, ...]:
    """Tallies by the hour as one per step, weight and variant, in this order and champion first."""
    return _merged(hours, lambda _: 0)


def _merged(tallies: Iterable[Tally], hour: Callable[[Tally], int]) -> tuple[Tally, ...]:
    """Tallies as one per hour, step, weight and variant, in this order and champion first."""
    found: dict[tuple[int, int, int, int], list[Tally]] = {}
    for tally in tallies:
        place = hour(tally), tally.step, tally.weight, list(Variant).index(tally.variant)
        found.setdefault(place, []).append(tally)
    return tuple(
        replace(added(found[place][0].variant, found[place]), hour=place[0], segment="") for place in sorted(found)
    )


def added(variant: Variant, tallies: Iterable[Tally]) -> Tally:
    """Tallies of one variant added up; step and weight are those of the last, and the hour is that of one alone."""
    listed = list(tallies)
    if len(listed) == 1:
        return listed[0]
    last = listed[-1] if listed else Tally(variant=variant, step=0, weight=0)
    starts = [tally.first for tally in listed if tally.first is not None]
    ends = [tally.last for tally in listed if tally.last is not None]
    return Tally(
        variant=variant,
        step=last.step,
        weight=last.weight,
        events={kind: sum(tally.events.get(kind, 0) for tally in listed) for kind in EventKind},
        spent={kind: sum(tally.spent.get(kind, 0) for tally in listed) for kind in EventKind},
        first=min(starts, default=None),
        last=max(ends, default=None),
        scores=_bins([tally.scores for tally in listed]),
        score_sum=_sum([tally.score_sum for tally in listed if any(tally.scores)]),
        losses=_bins([tally.losses for tally in listed]),
        loss_sums=_bins([t.loss_sums for t in listed]) if all(t.loss_sums or not any(t.losses) for t in listed) else (),
        caught_money=_sum([t.caught_money for t in listed if t.caught_money is not None]),
        latencies=_bins([tally.latencies for tally in listed]),
        latency_firsts=_sparse([tally.latency_firsts for tally in listed]),
        score_firsts=_sparse([tally.score_firsts for tally in listed]),
        requests=sum(tally.requests for tally in listed),
        keys=sum(tally.keys for tally in listed),
        matured=sum(tally.matured for tally in listed),
        labelled=sum(tally.labelled for tally in listed),
        passed_genuine=sum(tally.passed_genuine for tally in listed),
        matured_requests=sum(tally.matured_requests for tally in listed),
        matured_alerts=sum(tally.matured_alerts for tally in listed),
        reviewed_alerts=sum(tally.reviewed_alerts for tally in listed),
        false_alerts=sum(tally.false_alerts for tally in listed),
        known_alerts=_known_alerts(listed),
        missed_known=_sparse([tally.missed_known for tally in listed]),
    )


def _known_alerts(tallies: Sequence[Tally]) -> Mapping[float, KnownAlerts]:
    found: dict[float, KnownAlerts] = {}
    for tally in tallies:
        for chance, alerts in tally.known_alerts.items():
            known = found.get(chance, KnownAlerts())
            found[chance] = KnownAlerts(*(a + b for a, b in zip(known, alerts, strict=True)))
    return found


def _sum(values: Sequence[float | None]) -> float | None:
    """The sum of what is known; None where a part is unknown, or there is none."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _bins(histograms: Iterable[tuple[N, ...]]) -> tuple[N, ...]:
    held = [histogram for histogram in histograms if histogram]
    return tuple(map(sum, zip(*held, strict=True))) if held else ()


def _sparse(histograms: Iterable[Mapping[N, int]]) -> Mapping[N, int]:
    found: Counter[N] = Counter()
    for histogram in histograms:
        found.update(histogram)
    return MappingProxyType(found)
