"""What outcomes add up to: the numbers a judge reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from fds_mlflow.core.variant import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantCounts:
    """The outcomes of one variant, counted.

    The unit is the distinct routing key, at most one event per key and kind: a key that failed twice is one
    error, and a customer with five missed frauds is one key with a missed fraud. Only `requests`, `scored`
    and the sums count every request, retries included.

    Attributes:
        variant: Whose outcomes these are.
        step: The rollout's step they belong to; None when several steps are added up.
        weight: The canary's weight in force, in basis points; None when several weights are added up.
        requests: Requests, retries included.
        keys: Distinct routing keys.
        errors: Keys with a request that failed.
        flagged: Keys with a flagged request.
        matured: Keys with a request whose label has reached the maturity age (all keys without one).
        labelled: Of those, keys with a request whose truth is known.
        true_positives: Keys with a flagged request that was fraud.
        false_positives: Keys with a flagged request that was genuine.
        false_negatives: Keys with an unflagged request that was fraud (missed).
        true_negatives: Keys with an unflagged request that was genuine.
        successes: Keys none of whose requests failed or contradict a known label.
        scored: Requests that got a score.
        score_sum: Sum of the scores.
        latency_sum_ms: Sum over all requests, milliseconds.
        latency_max_ms: The slowest request, milliseconds; None without requests.
        first: Time of the earliest request, UTC; None without requests.
        last: Time of the latest request, UTC; None without requests.
    """

    variant: Variant
    step: int | None = None
    weight: int | None = None
    requests: int = 0
    keys: int = 0
    errors: int = 0
    flagged: int = 0
    matured: int = 0
    labelled: int = 0
    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    true_negatives: int = 0
    successes: int = 0
    scored: int = 0
    score_sum: float = 0.0
    latency_sum_ms: float = 0.0
    latency_max_ms: float | None = None
    first: datetime | None = None
    last: datetime | None = None

    @property
    def error_rate(self) -> float | None:
        """Share of keys with an error, in [0, 1]; None without requests."""
        return _share(self.errors, self.keys)

    @property
    def flag_rate(self) -> float | None:
        """Share of keys with a flagged request, in [0, 1]; None without requests."""
        return _share(self.flagged, self.keys)

    @property
    def success_rate(self) -> float | None:
        """Share of keys without an error and without a decision that its known label contradicts.

        In [0, 1]; None without requests. A decision whose label is not known counts as a success, so this
        number falls as labels arrive: compare it between variants of the same time, not between days.
        """
        return _share(self.successes, self.keys)

    @property
    def coverage(self) -> float | None:
        """Share of matured keys whose truth is known, in [0, 1]; None while nothing has matured."""
        return _share(self.labelled, self.matured)

    @property
    def mean_score(self) -> float | None:
        """Mean score of the requests that got one; None without any."""
        return _share(self.score_sum, self.scored)

    @property
    def mean_latency_ms(self) -> float | None:
        """Mean latency of all requests, milliseconds; None without requests."""
        return _share(self.latency_sum_ms, self.requests)


class EventKind(StrEnum):
    """What can go wrong with a request. Rare, and counted at most once per routing key, kind and rollout."""

    ERROR = "error"
    ALERT = "alert"
    SLOW = "slow"
    MISSED_FRAUD = "missed_fraud"
    FALSE_POSITIVE = "false_positive"


SCORE_BINS = 64
"""Equal bins of the scores in [0, 1]; bin b stands for its middle, (b + 0.5) / 64."""

LOSS_BINS = 48
"""Bins of money: bin 0 holds up to 1, bin b from above 2^((b-1)/2) up to 2^(b/2), the last everything above."""

LOSS_EDGES = tuple(2 ** (edge / 2) for edge in range(LOSS_BINS - 1))
"""The upper edge of every bin of money but the last, which has none."""

LATENCY_BINS = 48
"""Bins of milliseconds: bin 0 holds up to 0.125, bin b up to 0.125 * 2^(b/2), the last everything above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms outcomes are counted; they belong to a plan, and other terms are other counts.

    Attributes:
        latency_bound: Milliseconds above which a request is `SLOW`; None where nobody asks.
        maturity: Age at which a transaction's label is taken, as it is known then; None where nobody asks.
    """

    latency_bound: float | None = None
    maturity: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The outcomes assigned to one variant in one step under one weight, counted over the distinct keys of a rollout.

    A key counts where it was first seen in the rollout, and its first event of each kind counts where that event
    happened, with the weight in force then: so tallies of several steps may be added up, and no key counts twice.

    Attributes:
        variant: Variant assigned.
        step: The rollout's step.
        weight: The canary's weight in force, in basis points.
        requests: Requests, retries included.
        keys: Distinct keys first seen here.
        matured: Keys whose first matured request lies here (zero without `Terms.maturity`).
        labelled: Of those, keys with a truth at the maturity age.
        events: First events per key, by kind.
        scores: Keys by bin of the score of their first scored request; `SCORE_BINS` long, or empty.
        score_sum: Sum of the scores that are in the bins; None where an older release counted some without it.
        losses: Keys with a missed fraud, by bin of the money that the first one lost; `LOSS_BINS` long, or empty.
        loss_sums: Sum of the money in each bin of `losses`; empty where an older release counted some without it.
        caught_money: Money that the labels of `reviewed_alerts` name for frauds; None where they name none.
        matured_alerts: Keys whose first alert has matured, whether it has a truth or not.
        reviewed_alerts: Of those, keys whose first alert has a truth.
        false_alerts: Of those with a truth, keys whose first alert was genuine.
        latencies: Requests by bin of their latency; `LATENCY_BINS` long, or empty.
        first: Time of the earliest request, UTC; None without requests.
        last: Time of the latest request, UTC; None without requests.
    """

    variant: Variant
    step: int
    weight: int
    requests: int = 0
    keys: int = 0
    matured: int = 0
    labelled: int = 0
    events: Mapping[EventKind, int] = field(default_factory=lambda: MappingProxyType({}))
    scores: tuple[int, ...] = ()
    score_sum: float | None = None
    losses: tuple[int, ...] = ()
    loss_sums: tuple[float, ...] = ()
    caught_money: float | None = None
    matured_alerts: int = 0
    reviewed_alerts: int = 0
    false_alerts: int = 0
    latencies: tuple[int, ...] = ()
    first: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Distinct keys whose request both versions scored, by which of them the event happened to.

    Attributes:
        both: To both.
        champion_only: To the champion alone.
        canary_only: To the canary alone.
        neither: To neither.
    """

    both: int = 0
    champion_only: int = 0
    canary_only: int = 0
    neither: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything a judge knows about a rollout.

    Attributes:
        terms: On which it was counted.
        as_of: When it was counted, UTC.
        tallies: One per step, weight and variant that has any outcome.
        pairs: Shadow evidence by kind; empty where no request was scored by both.
    """

    terms: Terms
    as_of: datetime
    tallies: tuple[Tally, ...] = ()
    pairs: Mapping[EventKind, Pairs] = field(default_factory=lambda: MappingProxyType({}))


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
