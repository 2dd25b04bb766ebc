"""Customers as routing keys, over a month: some come a hundred times a day, some once, and each errs first once.

A canary errs more often by request, in every hour alike. First events per key saturate: who counts them by key sees the
two versions grow ever more alike. Looked at every six days through the judge, a margin of 50 %, alpha 5 %. "Before"
is the test that counts by key. Counting is the simulation's own; for a few rollouts the same requests go through a real
store of outcomes as well, which must count the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.calibration.counted import counted
from benchmarks.calibration.figures import Jobs, share, spread_out
from fds_mlflow.core.evidence.evidence import EventKind, Evidence, Tally
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.judge import Status, judge
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.plan import Guardrail, Metric, Plan
from fds_mlflow.outcomes.records import OutcomeRecord
from fds_mlflow.outcomes.store import OutcomeStore

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

START = datetime(2026, 1, 1, tzinfo=UTC)
FIRST_HOUR = int(START.timestamp()) // 3600
HOURS, LOOK = 30 * 24, 6 * 24
MARGIN, BASE = 0.5, 0.04
KIND = EventKind.ERROR
SHARES = {
    "half": ((50,), (HOURS,)),
    "stepped": ((10, 25, 50), (100, 300, HOURS)),
}
"""Weights in percent, and until which hour each is in force."""
HARMS, UNLIKE = (1.0, 1.5, 2.0), (1.0, 1.5)


@dataclass(frozen=True)
class Customers:
    """Who comes how often.

    Attributes:
        number: How many there are.
        per_hour: Requests per hour, of all of them.
        skew: Spread of the log of a customer's activity (a lognormal one).
        unlike: Spread of the log of a customer's own rate of events; 0: all err alike.
    """

    number: int = 4_000
    per_hour: int = 400
    skew: float = 1.5
    unlike: float = 0.0


@dataclass(frozen=True)
class Requests:
    """The requests of one rollout, in the order of time: arrays of shape (requests,).

    Attributes:
        hour: Since the start.
        step: The step in force.
        key: The customer.
        to_canary: Whether the hash sends it to the canary.
        failed: Whether it errs.
    """

    hour: Ints
    step: Ints
    key: Ints
    to_canary: Bools
    failed: Bools

    def tallies(self, weights: Sequence[int]) -> list[Tally]:
        """Counted by hour, step and variant, as a store of outcomes counts them."""
        place = (self.hour * len(weights) + self.step) * 2 + self.to_canary
        order = np.arange(len(place))
        first_seen = _first(self.key, order)
        first_failed = _first(self.key[self.failed], order[self.failed])
        mine = np.full(int(self.key.max()) + 1, len(place))
        mine[self.key[first_failed]] = first_failed
        spent = order > mine[self.key]
        size = int(place.max()) + 1
        requests, keys, events, after = (
            np.bincount(place[rows], minlength=size) for rows in (slice(None), first_seen, first_failed, spent)
        )
        return [
            Tally(
                variant=Variant.CANARY if at % 2 else Variant.CHAMPION,
                step=int(at // 2 % len(weights)),
                weight=weights[int(at // 2 % len(weights))],
                hour=FIRST_HOUR + int(at // 2 // len(weights)),
                requests=int(requests[at]),
                keys=int(keys[at]),
                events={KIND: int(events[at])},
                spent={KIND: int(after[at])},
            )
            for at in np.flatnonzero(requests)
        ]


def _first(keys: Ints, order: Ints) -> Ints:
    return np.asarray(order[np.unique(keys, return_index=True)[1]])


def requests_of(
    random: np.random.Generator, ratio: float, steps: Sequence[int], until: Sequence[int], customers: Customers
) -> Requests:
    """One rollout's requests, its canary erring `ratio` times as often per request."""
    activity = random.lognormal(0.0, customers.skew, customers.number)
    own = random.lognormal(0.0, customers.unlike, customers.number)
    place = random.random(customers.number)
    number = random.poisson(customers.per_hour, until[-1])
    hour = np.repeat(np.arange(until[-1]), number)
    key = np.searchsorted(np.cumsum(activity / activity.sum()), random.random(len(hour)))
    key = np.minimum(key, customers.number - 1)
    step = np.searchsorted(until, hour, side="right")
    to_canary = place[key] < np.asarray(steps)[step] / 100
    rate = BASE * own[key] * np.where(to_canary, ratio, 1.0)
    return Requests(hour, step, key, to_canary, random.random(len(hour)) < rate)


def plan_of(steps: Sequence[int], test: int) -> Plan:
    """A plan of one guardrail on errors."""
    return Plan([*steps, 100], guardrails=[Guardrail(Metric.ERROR_RATE, margin=MARGIN)], test=test)


def ever(plan: Plan, tallies: Sequence[Tally], until: Sequence[int]) -> set[Status]:
    """Every verdict on the guardrail that a look finds."""
    found: set[Status] = set()
    for hours in range(LOOK, until[-1] + 1, LOOK):
        seen = [tally for tally in tallies if tally.hour < FIRST_HOUR + hours]
        now = START + timedelta(hours=hours)
        step = int(np.searchsorted(until, hours - 1, side="right"))
        since = START + timedelta(hours=([0, *until])[step])
        rollout = Rollout("R", 1, 2, plan, plan.weights[step], step, since)
        found.add(judge(counted(plan, now, seen), rollout, detail=False).verdicts[1].status)
    return found


def cell(seed: int, name: str, ratio: float, rollouts: int, customers: Customers | None = None) -> dict[str, Any]:
    """How often a canary of one ratio fails and passes, now and before."""
    random, (steps, until) = np.random.default_rng(seed), SHARES[name]
    plans = {"now": plan_of(steps, 2), "before": plan_of(steps, 1)}
    found: dict[str, list[set[Status]]] = {when: [] for when in plans}
    for _ in range(rollouts):
        requests = requests_of(random, ratio, steps, until, customers or Customers())
        for when, plan in plans.items():
            found[when].append(ever(plan, requests.tallies(plan.weights), until))
    row: dict[str, Any] = {"weights": name, "ratio": ratio}
    for when, statuses in found.items():
        suffix = "" if when == "now" else "_before"
        row[f"failed{suffix}"] = share([Status.FAIL in each for each in statuses])
        row[f"passed{suffix}"] = share([Status.PASS in each for each in statuses])
    return row


def counted_alike(seed: int, rollouts: int, hours: int = 48) -> dict[str, Any]:
    """For how many rollouts a real store counts what the simulation counts."""
    random, alike = np.random.default_rng(seed), []
    for _ in range(rollouts):
        steps, until = (10, 25, 50), (hours // 4, hours // 2, hours)
        plan = plan_of(steps, 2)
        few = Customers(number=100, per_hour=40)
        requests = requests_of(random, 4.0, steps, until, few)
        now = START + timedelta(hours=hours)
        mine = counted(plan, now, requests.tallies(plan.weights))
        with OutcomeStore("sqlite://") as store:
            store.record(_records(requests, plan))
            theirs = store.evidence("m", "R", plan.terms, as_of=now)
        alike.append(_told(mine) == _told(theirs))
    return share(alike)


def _records(requests: Requests, plan: Plan) -> list[OutcomeRecord]:
    seconds = 3600 * requests.hour + np.arange(len(requests.hour)) % 3600
    seconds = np.maximum.accumulate(seconds)
    return [
        OutcomeRecord(
            model="m",
            key=str(key),
            assigned=Variant.CANARY if to_canary else Variant.CHAMPION,
            version=2 if to_canary else 1,
            score=None if failed else 0.1,
            flagged=False,
            latency_ms=1.0,
            time=START + timedelta(seconds=float(at)),
            rollout_id="R",
            step=int(step),
            weight=plan.weights[step],
            error="it fails" if failed else None,
        )
        for key, to_canary, failed, step, at in zip(
            requests.key, requests.to_canary, requests.failed, requests.step, seconds, strict=True
        )
    ]


def _told(evidence: Evidence) -> list[tuple[Any, ...]]:
    rows = [
        (t.hour, t.step, t.weight, t.variant, t.requests, t.keys, t.events.get(KIND, 0), t.spent.get(KIND, 0))
        for t in evidence.hours
    ]
    return sorted(rows)


def repeated_keys(rollouts: int, through_store: int) -> dict[str, Any]:
    """The key of the benchmark.

    Args:
        rollouts: Rollouts per cell.
        through_store: Rollouts that go through a real store of outcomes too.
    """
    jobs: Jobs = {
        "cells": [(cell, (name, ratio, rollouts), {}) for name in SHARES for ratio in HARMS],
        "customers_who_err_unlike": [(cell, ("half", ratio, rollouts, Customers(unlike=1.0)), {}) for ratio in UNLIKE],
        "counted_alike": [(counted_alike, (through_store,), {})],
    }
    parts = spread_out(20261125, jobs)

    def worst(name: str, ratio: float) -> float:
        return max(float(row[name]["rate"]) for row in parts["cells"] if row["ratio"] == ratio)

    keys = {"fail_at_1": ("failed", 1.0), "pass_at_margin": ("passed", 1 + MARGIN), "pass_at_2x": ("passed", 2.0)}
    return {
        **{key: worst(name, ratio) for key, (name, ratio) in keys.items()},
        **{f"{key}_before": worst(f"{name}_before", ratio) for key, (name, ratio) in keys.items()},
        "margin": MARGIN,
        "days": HOURS // 24,
        "base_rate": BASE,
        **parts,
    }
