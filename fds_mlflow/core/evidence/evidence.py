"""What outcomes add up to: the numbers a judge reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.statistics.paired import Pairs


class EventKind(StrEnum):
    """What can go wrong with a request. Rare, and counted at most once per routing key, kind and rollout."""

    ERROR = "error"
    ALERT = "alert"
    SLOW = "slow"
    MISSED_FRAUD = "missed_fraud"
    FALSE_POSITIVE = "false_positive"


LABELLED = frozenset({EventKind.MISSED_FRAUD, EventKind.FALSE_POSITIVE})
"""Kinds that only a label tells."""


class KnownAlerts(NamedTuple):
    """First alerts whose labels come with a known chance.

    Attributes:
        matured: Alerts of this chance that have matured; where it was declared with the label, those that have one.
        shown: Those whose truth was to show: let pass to explore, or reviewed with the chance declared.
        reviewed: Of those, alerts with a truth.
        false: Of those with a truth, genuine ones.
    """

    matured: int = 0
    shown: int = 0
    reviewed: int = 0
    false: int = 0


def kept_chance(chance: float) -> float:
    """A chance with the three digits by which counts are kept."""
    return float(f"{chance:.3g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms outcomes are counted; they belong to a plan, and other terms are other counts.

    Attributes:
        latency_bound: Milliseconds above which a request is `SLOW`; None where nobody asks.
        maturity: Age at which a transaction's label is taken, as it is known then; None where nobody asks.
        hourly: Whether outcomes are parted by the hour, and requests of keys counted to which it has happened already.
        segments: Whether they are parted by segment as well.
        quantiles: Whether first requests are counted by fine bins of their latency and score.
    """

    latency_bound: float | None = None
    maturity: timedelta | None = None
    hourly: bool = False
    segments: bool = False
    quantiles: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The outcomes assigned to one variant in one step under one weight, counted over the distinct keys of a rollout.

    A key counts where it was first seen in the rollout, and its first event of each kind counts where that event
    happened, with the weight in force then: so tallies of several steps may be added up, and no key counts twice.
    A rate is of those who could have had the event: first events among requests `at_risk`, never among `keys`, which
    a key that changes its variant leaves behind.

    Attributes:
        variant: Variant assigned.
        step: The rollout's step.
        weight: The canary's weight in force, in basis points.
        hour: The hour, counted from 1970 UTC; 0 where hours are added up.
        segment: The segment; empty where segments are added up, or nobody named any.
        requests: Requests, retries included.
        keys: Distinct keys first seen here.
        matured: Keys whose first matured request lies here (zero without `Terms.maturity`).
        labelled: Of those, keys with a truth at the maturity age.
        passed_genuine: Of those, keys that were not flagged then and are genuine.
        matured_requests: Requests that have reached the maturity age.
        events: First events per key, by kind.
        spent: Requests of keys whose first event of a kind was before, by kind; among matured ones where a label tells.
        scores: Keys by bin of the score of their first scored request; `SCORE_BINS` long, or empty.
        score_sum: Sum of the scores that are in the bins; None where an older release counted some without it.
        losses: Keys with a missed fraud, by bin of the money that the first one lost; `LOSS_BINS` long, or empty.
        loss_sums: Sum of the money in each bin of `losses`; empty where an older release counted some without it.
        caught_money: Money that the labels of `reviewed_alerts` name for frauds; None where they name none.
        matured_alerts: Keys whose first alert has matured, whether it has a truth or not.
        reviewed_alerts: Of those, keys whose first alert has a truth.
        false_alerts: Of those with a truth, keys whose first alert was genuine.
        known_alerts: The same of alerts that are labelled with a known chance, by this chance; 0 for those that never
            are, which are left out of what is compared. Counted where `Terms.hourly`.
        missed_known: First missed frauds by the chance their label was declared with, where it was.
        latencies: Requests by bin of their latency; `LATENCY_BINS` long, or empty.
        latency_firsts: Keys by fine bin of the latency of their first request; without `Terms.quantiles` empty.
        score_firsts: Keys by fine bin of the score of their first scored request; without `Terms.quantiles` empty.
        first: Time of the earliest request, UTC; None without requests.
        last: Time of the latest request, UTC; None without requests.
    """

    variant: Variant
    step: int
    weight: int
    hour: int = 0
    segment: str = ""
    requests: int = 0
    keys: int = 0
    matured: int = 0
    labelled: int = 0
    passed_genuine: int = 0
    matured_requests: int = 0
    events: Mapping[EventKind, int] = field(default_factory=lambda: MappingProxyType({}))
    spent: Mapping[EventKind, int] = field(default_factory=lambda: MappingProxyType({}))
    scores: tuple[int, ...] = ()
    score_sum: float | None = None
    losses: tuple[int, ...] = ()
    loss_sums: tuple[float, ...] = ()
    caught_money: float | None = None
    matured_alerts: int = 0
    reviewed_alerts: int = 0
    false_alerts: int = 0
    known_alerts: Mapping[float, KnownAlerts] = field(default_factory=lambda: MappingProxyType({}))
    missed_known: Mapping[float, int] = field(default_factory=lambda: MappingProxyType({}))
    latencies: tuple[int, ...] = ()
    latency_firsts: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    score_firsts: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    first: datetime | None = None
    last: datetime | None = None

    def at_risk(self, kind: EventKind) -> int:
        """Requests of keys to which it had not happened before: never fewer than `events` of the kind."""
        among = self.matured_requests if kind in LABELLED else self.requests
        return among - self.spent.get(kind, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything a judge knows about a rollout.

    Attributes:
        terms: On which it was counted.
        as_of: When it was counted, UTC.
        tallies: One per step, weight and variant that has any outcome.
        hours: The same by the hour, where the terms ask for it; else empty.
        segments: The hours of each segment by its name, where the terms ask for it; else empty.
        pairs: Shadow evidence by kind; empty where no request was scored by both.
        paired_hours: The same by the hour, where the terms ask for it; else empty.
        known_pairs: Of kinds that a label tells, those whose label comes with a known chance: one per hour and chance.
    """

    terms: Terms
    as_of: datetime
    tallies: tuple[Tally, ...] = ()
    hours: tuple[Tally, ...] = ()
    segments: Mapping[str, tuple[Tally, ...]] = field(default_factory=lambda: MappingProxyType({}))
    pairs: Mapping[EventKind, Pairs] = field(default_factory=lambda: MappingProxyType({}))
    paired_hours: Mapping[EventKind, tuple[Pairs, ...]] = field(default_factory=lambda: MappingProxyType({}))
    known_pairs: Mapping[EventKind, Mapping[float, tuple[Pairs, ...]]] = field(
        default_factory=lambda: MappingProxyType({})
    )
