"""Harm that comes late: errors that rise twentyfold after a good week, and how long they go unseen.

50 requests a second, a weight of 50 %, a guardrail that has a third of an alpha of 5 %. The delay is the time from the
change to the FAIL; beside it stands that of a test that began at the change and knows nothing of the week. "Before" is
the test that has no later starts. Evidence is looked at after every event: a look is left out only where no event that
could come in between is able to reach the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, log
from typing import Any

import numpy as np

from benchmarks.calibration.events import chance
from benchmarks.calibration.figures import Jobs, ratio_of_means, share, spread_out
from fds_mlflow.core.statistics.sequential import Segment, log_threshold, ratio_evidence

ALPHA = 0.05
LEVEL = log_threshold(ALPHA / 3)
WEIGHT, PER_HOUR, FACTOR = 0.5, 50 * 3600, 20.0
BASES = (0.0002, 0.002)
GRID = [(base, margin) for base in BASES for margin in (0.0, 1.0)]
"""Errors per request of a good version, and the guardrail's margin."""
FEWER = 10
"""Of so many courses one is done with the old test, at the smaller rate: it takes thousands of events, and hardly
varies."""
STEADY = ((0.1, 1.5, 50.0), (0.1, 2.0, 5.0), (0.1, 2.0, 500.0), (0.5, 2.0, 5.0), (0.5, 4.0, 50.0), (0.5, 20.0, 1.0))
"""Weight, ratio, and the champion's and canary's events per hour at a ratio of 1: slow and quick ones."""
GOOD = ((0.1, 0.5), (0.5, 2.0), (0.5, 0.1))
"""Weight and events per hour of canaries that are as good as their champions, over a month."""
WEEK, MONTH = 7 * 24.0, 30 * 24.0


@dataclass(frozen=True)
class Rates:
    """Events per hour.

    Attributes:
        weight: The canary's share of the traffic.
        canary: Its events.
        champion: The champion's.
    """

    weight: float
    canary: float
    champion: float

    @classmethod
    def of(cls, weight: float, per_hour: float, ratio: float) -> Rates:
        """Of so many events per hour in all while the ratio is 1."""
        return cls(weight, per_hour * weight * ratio, per_hour * (1 - weight))

    def hour(self, random: np.random.Generator, hour: int, part: float = 1.0) -> Segment:
        """The events of one hour, or of a part of it."""
        return Segment(
            self.weight, int(random.poisson(part * self.canary)), int(random.poisson(part * self.champion)), hour
        )


class Course:
    """The events from a moment on, one after another, drawn as far as they are asked for."""

    def __init__(self, random: np.random.Generator, rates: Rates, start: float) -> None:
        self.random, self.rates, self.start = random, rates, start
        self.times = np.empty(0)
        self.to_canary = np.empty(0, dtype=np.bool_)

    def until(self, number: int) -> None:
        """Draw at least so many."""
        while len(self.times) < number:
            both = self.rates.canary + self.rates.champion
            last = self.times[-1] if len(self.times) else self.start
            self.times = np.append(self.times, last + np.cumsum(self.random.exponential(1 / both, 4_096)))
            self.to_canary = np.append(self.to_canary, self.random.random(4_096) < self.rates.canary / both)

    def segments(self, number: int) -> list[Segment]:
        """The first so many by the hour, hours without any included."""
        self.until(number)
        hours = self.times[:number].astype(np.int64)
        first, to_canary = int(self.start), self.to_canary[:number]
        every = np.bincount(hours - first)
        canary = np.bincount(hours - first, weights=to_canary, minlength=len(every)).astype(np.int64)
        return [
            Segment(self.rates.weight, int(c), int(n - c), first + place)
            for place, (c, n) in enumerate(zip(canary, every, strict=True))
        ]

    def hours_until_fail(
        self,
        boundary: float,
        *,
        before: Sequence[Segment] = (),
        later: bool,
        level: float = LEVEL,
        at_most: float = inf,
    ) -> float:
        """Hours from the start to the FAIL; infinite if there is none within the hours that are waited at most."""
        jump = log(1 / chance(self.rates.weight, boundary))  # no bet wins more by one event
        number = 1
        while True:
            found = ratio_evidence([*before, *self.segments(number)], boundary, above=True, later=later)
            waited = float(self.times[number - 1]) - self.start
            if waited > at_most:
                return inf
            if found >= level:
                return waited
            number += max(1, ceil((level - found) / jump))


def delays(seed: int, base: float, margin: float, hours: float, courses: int, *, old: bool) -> dict[str, Any]:
    """Delays after so many good hours: of the test, of one begun at the change, of that without later starts (old)."""
    random = np.random.default_rng(seed)
    good, bad = (Rates.of(WEIGHT, base * PER_HOUR, ratio) for ratio in (1.0, FACTOR))
    now, fresh, before = list[float](), list[float](), list[float]()
    for number in range(courses):
        whole = int(hours)
        seen = [good.hour(random, hour) for hour in range(whole)]
        seen.append(good.hour(random, whole, hours - whole))
        course = Course(random, bad, hours)
        now.append(course.hours_until_fail(1 + margin, before=seen, later=True))
        fresh.append(course.hours_until_fail(1 + margin, later=False))
        if old and number % FEWER == 0:
            before.append(course.hours_until_fail(1 + margin, before=seen, later=False))
    row: dict[str, Any] = {
        "base_rate": base,
        "margin": margin,
        "good_hours": hours,
        "mean_hours": float(np.mean(now)),
        "mean_hours_begun_at_the_change": float(np.mean(fresh)),
        "delay_ratio": ratio_of_means(now, fresh),
    }
    if before:
        row["mean_hours_before"] = float(np.mean(before))
        row["delay_ratio_before"] = ratio_of_means(before, fresh[::FEWER])
    return row


def steady(seed: int, weight: float, ratio: float, per_hour: float, courses: int) -> dict[str, Any]:
    """Mean time to the FAIL of a harm that is there from the first hour, over that without later starts."""
    random = np.random.default_rng(seed)
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(courses):
        course = Course(random, Rates.of(weight, per_hour, ratio), 0.0)
        for later, waits in times.items():
            waits.append(course.hours_until_fail(1.0, later=later))
    return {
        "weight": weight,
        "harm": ratio,
        "events_per_hour": per_hour,
        "mean_hours": float(np.mean(times[True])),
        "steady_ratio": ratio_of_means(times[True], times[False]),
    }


def good(seed: int, weight: float, per_hour: float, rollouts: int) -> dict[str, Any]:
    """The share of good canaries that a month of looks after every event ever fails, at an alpha of 5 %."""
    random, level = np.random.default_rng(seed), log_threshold(ALPHA)
    failed: dict[bool, list[bool]] = {True: [], False: []}
    for _ in range(rollouts):
        course = Course(random, Rates.of(weight, per_hour, 1.0), 0.0)
        for later, ever in failed.items():
            ever.append(course.hours_until_fail(1.0, later=later, level=level, at_most=MONTH) <= MONTH)
    return {
        "weight": weight,
        "events_per_hour": per_hour,
        "failed": share(failed[True]),
        "failed_before": share(failed[False]),
    }


def late_harm(courses: int, good_rollouts: int) -> dict[str, Any]:
    """The key of the benchmark.

    Args:
        courses: Courses per delay.
        good_rollouts: Good canaries per cell.
    """
    jobs: Jobs = {
        "after_a_week": [(delays, (*cell, WEEK, courses), {"old": cell[0] == BASES[0]}) for cell in GRID],
        "after_30_days": [(delays, (*cell, MONTH, courses), {"old": False}) for cell in GRID],
        "in_mid_hour": [(delays, (*cell, WEEK + 0.5, courses), {"old": False}) for cell in GRID],
        "steady": [(steady, (*cell, courses), {}) for cell in STEADY],
        "good": [(good, (*cell, good_rollouts), {}) for cell in GOOD],
    }
    parts = spread_out(20261124, jobs)

    def worst(part: str, name: str, figure: str = "ratio") -> float:
        return max(float(row[name][figure]) for row in parts[part] if name in row)

    return {
        "delay_ratio": worst("after_a_week", "delay_ratio"),
        "delay_ratio_before": worst("after_a_week", "delay_ratio_before"),
        "delay_ratio_30_days": worst("after_30_days", "delay_ratio"),
        "delay_ratio_mid_hour": worst("in_mid_hour", "delay_ratio"),
        "steady_ratio": worst("steady", "steady_ratio"),
        "a_a_fail_rate": worst("good", "failed", "rate"),
        "a_a_fail_rate_before": worst("good", "failed_before", "rate"),
        "factor": FACTOR,
        "weight": WEIGHT,
        "requests_per_hour": PER_HOUR,
        "alpha_each": ALPHA / 3,
        **parts,
    }
