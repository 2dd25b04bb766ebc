"""What outcomes of one variant add up to, for people; no judge reads it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fds_mlflow.core.evidence.variant import Variant


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


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
