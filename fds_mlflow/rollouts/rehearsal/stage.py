"""Where rollouts are replayed, and how many replays are done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.rollouts.rehearsal.cell import Arm
from fds_mlflow.rollouts.rehearsal.regressions import injectable, ratios
from fds_mlflow.rollouts.rehearsal.replay import Course, Shorts, Traffic, hashed, replay

KEPT = 50_000_000
"""Buckets that are kept from one canary to the next."""

Progress = Callable[[int, int], None]


class ReplayCounter:
    """Tells how many replays are done, of how many there may be."""

    def __init__(self, replays: int, plan: Plan, progress: Progress | None) -> None:
        self._progress = progress
        self._done = 0
        tried = sum(len(ratios(guardrail)) for guardrail in injectable(plan))
        self.total = 2 * replays + fewer(replays) * tried

    def step(self, by: int = 1) -> None:
        """Some more are done, or need not be."""
        self._done += by
        if self._progress is not None:
            self._progress(self._done, self.total)


@dataclass
class Stage:
    """Where rollouts are replayed."""

    traffic: Traffic
    champion: Arm
    horizon: float
    seed: int
    counter: ReplayCounter
    _buckets: dict[int, Callable[[int], Shorts]] = field(default_factory=dict)

    def play(self, canary: Arm, plan: Plan, replays: int) -> list[Course]:
        """Replay a canary under a plan; the n-th replay of every canary assigns the same requests to it."""
        courses = []
        for number in range(replays):
            bucket = self._buckets.get(number) or hashed(self.traffic, f"rehearsal-{self.seed}-{number}")
            if len(self._buckets) * self.traffic.rows < KEPT:
                self._buckets[number] = bucket
            courses.append(replay(self.traffic, self.champion, canary, plan, bucket=bucket, horizon=self.horizon))
            self.counter.step()
        return courses


def fewer(replays: int) -> int:
    """Replays of each regression."""
    return max(20, replays // 2)
