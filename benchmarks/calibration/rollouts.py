"""Simulated A/A rollouts, thousands at a time: whether they are ever failed, and how often other rules fail them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.calibration.events import Limits, in_first_hour
from fds_mlflow.core.statistics.bets import ratio_bets
from fds_mlflow.core.statistics.sequential import log_factors
from fds_mlflow.core.statistics.starts import LATER
from fds_mlflow.core.statistics.wealth import log_mixture

Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

LOOK = 100
"""Requests from one look of the z-test and of Mann-Whitney to the next."""
FIRST = 100
"""Canary requests before which the other rules do not look."""
_CHUNK = 200_000
"""Events whose bets are computed at once."""


@dataclass(frozen=True)
class Events:
    """The events of many rollouts, one after another.

    Attributes:
        rollout: Which rollout, rising: shape (events,).
        segment: Which of the weights was in force: shape (events,).
        to_canary: Whether it is the canary's: shape (events,).
        rollouts: How many rollouts.
    """

    rollout: Counts
    segment: npt.NDArray[np.int8]
    to_canary: Bools
    rollouts: int

    def so_far(self, which: Bools) -> Counts:
        """How many events of this kind a rollout has had, up to and with each event: shape (events,), int32."""
        total = np.cumsum(which, dtype=np.int32)
        bounds = np.searchsorted(self.rollout, np.arange(self.rollouts + 1))
        before = np.concatenate([[0], total])[bounds[:-1]].astype(np.int32)
        return total - np.repeat(before, np.diff(bounds))

    def by_segment(self, which: Bools, all_of_them: Counts, segments: int) -> Counts:
        """The same for each segment: shape (events, segments), int32; `all_of_them` are those of all segments."""
        found = [self.so_far(which & (self.segment == n)) for n in range(segments - 1)]
        return np.stack([*found, all_of_them - sum(found)], axis=1)


def ever_failed(events: Events, weights: Sequence[float], threshold: float) -> Bools:
    """For each rollout, whether FAIL evidence at margin 0 reaches the threshold (a log) at any event.

    With one weight the limits of `Limits` answer, else `highest_evidence`.
    """
    if len(weights) > 1:
        return np.asarray(highest_evidence(events, weights, threshold) >= threshold)
    canary = events.so_far(events.to_canary)
    failed = np.zeros(events.rollouts, dtype=bool)
    limits = Limits(weights[0], 1.0, float(np.exp(-threshold)), above=True).up_to(int(canary.max(initial=0)))
    everyone = events.so_far(np.ones(len(canary), dtype=bool))
    failed[events.rollout[everyone - canary <= np.concatenate([[-1], limits])[canary]]] = True
    return failed


def highest_evidence(events: Events, weights: Sequence[float], least: float) -> Floats:
    """For each rollout, the highest FAIL evidence (a log) at margin 0 at any event; -inf where it never is `least`.

    Every bet's stake is computed where the evidence can be enough: at events of the canary, which alone raise it, if
    it has more than its share and the best of all bets would do.
    """
    shares_of = np.asarray(weights)
    canary, everyone = events.so_far(events.to_canary), events.so_far(np.ones(len(events.rollout), dtype=bool))
    numbers = events.by_segment(np.ones(len(canary), dtype=bool), everyone, len(weights))
    of_canary = events.by_segment(events.to_canary, canary, len(weights))
    at = np.flatnonzero(events.to_canary & (canary > numbers @ shares_of))
    at = at[_most(of_canary[at], numbers[at], shares_of) >= in_first_hour(least)]
    ratios, shares = ratio_bets(1.0, above=True, later=True)
    growth = np.stack([np.log(ratios), *(log_factors(weight, 1.0, ratios)[1] for weight in weights)])
    highest = np.full(events.rollouts, -np.inf)
    for first in range(0, len(at), _CHUNK):
        now = at[first : first + _CHUNK]
        counts = np.column_stack([canary[now], numbers[now]]).astype(np.float64)
        evidence = np.logaddexp(log_mixture(counts @ growth, shares) + np.log1p(-LATER), np.log(LATER))
        np.maximum.at(highest, events.rollout[now], evidence)
    return np.where(highest >= least, highest, -np.inf)


def _most(canary: Counts, number: Counts, weights: Floats) -> Floats:
    """What no bet's log stake exceeds: the log likelihood ratio with the best ratio for each weight by itself."""
    share = canary / np.maximum(number, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(canary > 0, canary * np.log(share / weights), 0.0)
        gain += np.where(canary < number, (number - canary) * np.log((1 - share) / (1 - weights)), 0.0)
    return np.asarray(gain.sum(axis=1))


@dataclass(frozen=True)
class Traffic:
    """Rollouts with all their requests, in blocks of `LOOK`.

    Attributes:
        events: All events in order.
        requests: Canary requests so far at the end of each block: shape (rollouts, blocks).
        canary: Events of the canary so far.
        total: Events so far.
    """

    events: Events
    requests: Counts
    canary: Counts
    total: Counts


def traffic(
    random: np.random.Generator, rate: float, weights: Sequence[float], until: Sequence[int], rollouts: int
) -> Traffic:
    """A/A rollouts: both versions have events at the same rate, and weights change after so many requests."""
    blocks = until[-1] // LOOK
    segment = np.searchsorted(np.asarray(until) // LOOK, np.arange(blocks), side="right").astype(np.int8)
    in_force = np.asarray(weights)[segment]
    number = random.binomial(LOOK, rate, (rollouts, blocks)).astype(np.uint8)
    place = np.repeat(np.arange(rollouts * blocks), number.ravel())
    rollout, block = place // blocks, place % blocks
    to_canary = random.random(len(place), dtype=np.float32) < in_force[block].astype(np.float32)
    canary = np.bincount(place[to_canary], minlength=rollouts * blocks).reshape(rollouts, blocks)
    requests = canary + random.binomial(LOOK - number, in_force)
    return Traffic(
        Events(rollout, segment[block], to_canary, rollouts),
        np.cumsum(requests, axis=1),
        np.cumsum(canary, axis=1),
        np.cumsum(number, axis=1, dtype=np.int64),
    )


def z_test(seen: Traffic, critical: float) -> Bools:
    """For each rollout, whether the one-sided z-test of two proportions ever rejects, pooled, at a look per block."""
    n, looks = _sizes(seen)
    rate = seen.total / (n[0] + n[1])
    spread = np.sqrt(rate * (1 - rate) * (1 / n[0] + 1 / n[1]))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (seen.canary / n[0] - (seen.total - seen.canary) / n[1]) / spread
    return np.asarray((looks & (z > critical)).any(axis=1))


def mann_whitney(seen: Traffic, critical: float) -> Bools:
    """The same for Mann-Whitney's test on "event or not" per request, the canary's being higher.

    The normal approximation with corrections for ties and for continuity, which is what
    `scipy.stats.mannwhitneyu(method="asymptotic")` computes, written for two values.
    """
    n, looks = _sizes(seen)
    total = n[0] + n[1]
    excess = (seen.canary * n[1] - (seen.total - seen.canary) * n[0]) / 2  # U minus its mean
    ties = sum(tied**3 - tied for tied in (seen.total.astype(np.float64), total - seen.total))
    spread = np.sqrt(n[0] * n[1] / 12 * (total + 1 - ties / (total * (total - 1))))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (excess - 0.5) / spread
    return np.asarray((looks & (z > critical)).any(axis=1))


def _sizes(seen: Traffic) -> tuple[tuple[Floats, Floats], Bools]:
    """Requests of the canary and of the champion at each look (at least 1), and whether the rules look there."""
    canary = seen.requests.astype(np.float64)
    champion = LOOK * np.arange(1.0, canary.shape[1] + 1) - canary
    return (np.maximum(canary, 1), np.maximum(champion, 1)), (canary >= FIRST) & (champion >= FIRST)


def below_success_rate(random: np.random.Generator, rate: float, least: float, requests: int, rollouts: int) -> Bools:
    """For each rollout, whether the canary's success rate is ever below `least`, from request `FIRST` on.

    The rate falls at events only, so it is looked at there and at request `FIRST`.
    """
    failed = np.zeros(rollouts, dtype=bool)
    waiting, at, done = np.arange(rollouts), np.zeros(rollouts, dtype=np.int64), 0
    while len(waiting):
        times = at[:, None] + np.cumsum(random.geometric(rate, (len(waiting), 128)), axis=1)
        number = done + np.arange(1, 129)
        low = (number > (1 - least) * np.maximum(times, FIRST)) & (times <= requests)
        failed[waiting[low.any(axis=1)]] = True
        keep = ~low.any(axis=1) & (times[:, -1] <= requests)
        waiting, at, done = waiting[keep], times[keep, -1], done + 128
    return failed


def in_order(times: Floats, segments: npt.NDArray[np.int8], to_canary: Bools) -> Events:
    """The events of a matrix (rollouts, events) in the order of their times; infinite times are no events."""
    order = np.argsort(times, axis=1)
    there = np.isfinite(np.take_along_axis(times, order, axis=1))
    rollout = np.broadcast_to(np.arange(len(times))[:, None], times.shape)[there]
    return Events(
        rollout,
        np.take_along_axis(segments, order, axis=1)[there],
        np.take_along_axis(to_canary, order, axis=1)[there],
        len(times),
    )
