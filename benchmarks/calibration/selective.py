"""Labels that depend on the decision: what a version flags is blocked, and its truth stays hidden.

A shadow canary at a weight of 10 %, 50 requests a second, looked at every twelve hours for three days.
What the version that answers does not flag shows its truth by itself. Of what it flags, nothing does, or a part that is
let pass to explore (recorded with every request), or a part that is reviewed (declared with the labels, or not).
"Before" is the test that takes every label for what it seems.

Beside it, rehearsals of a canary that misses 1.74 times the champion's frauds on a history that the champion's own
blocks have made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks.calibration.counted import counted
from benchmarks.calibration.figures import Jobs, share, spread_out
from fds_mlflow.core.evidence.evidence import EventKind, KnownAlerts, Tally
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.judge import Status, judge
from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.plan import Guardrail, Metric, Plan
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.errors import DataError
from fds_mlflow.rollouts.rehearsal.history import Columns, read_history
from fds_mlflow.rollouts.rehearsal.replay import hashed, replay

if TYPE_CHECKING:
    import pandas as pd

START = datetime(2026, 1, 1, tzinfo=UTC)
FIRST_HOUR = int(START.timestamp()) // 3600
DAYS, LOOK, PER_HOUR, WEIGHT = 3, 12, 50 * 3600, 0.1
FRAUDS = 0.01
EXPLORED, REVIEWED, CAPPED = 0.005, 0.2, 0.5
"""Shares of what is flagged that are let pass or reviewed; share above the cap of exploration, where there is one."""
ALIKE = {True: (0.5, 0.1, 0.1, 0.3), False: (0.006, 0.004, 0.004, 0.986)}
"""Of frauds and of genuine transactions: both versions flag it, the champion alone, the canary alone, neither."""
CATCHES_NOTHING = {True: (0.0, 0.6, 0.0, 0.4), False: (0.0, 0.01, 0.0, 0.99)}


@dataclass(frozen=True)
class Labels:
    """Whose truth shows among what is flagged.

    Attributes:
        share: How much of it.
        known: Whether this share is recorded with requests (explored) or declared with labels (reviewed).
        explored: Whether it is let pass; else it is reviewed.
        capped: Share of the requests that are above the cap of exploration: let pass never.
    """

    share: float
    known: bool = False
    explored: bool = False
    capped: float = 0.0


HIDDEN = Labels(0.0)
EXPLORE = Labels(EXPLORED, known=True, explored=True)
MISSED, FALSE = Metric.MISSED_FRAUD, Metric.FALSE_POSITIVES
Decisions = dict[bool, tuple[float, float, float, float]]

CELLS: dict[str, tuple[Guardrail, Decisions, Labels, Status]] = {
    "paired_missed_fraud_nothing_labelled_catches_nothing": (
        Guardrail(MISSED, margin=0.5, paired=True),
        CATCHES_NOTHING,
        HIDDEN,
        Status.PASS,
    ),
    "paired_missed_fraud_explored_catches_nothing": (
        Guardrail(MISSED, margin=0.5, paired=True),
        CATCHES_NOTHING,
        EXPLORE,
        Status.PASS,
    ),
    "paired_false_positives_reviewed_alike": (
        Guardrail(FALSE, margin=0.0, paired=True),
        ALIKE,
        Labels(REVIEWED),
        Status.FAIL,
    ),
    "paired_false_positives_declared_alike": (
        Guardrail(FALSE, margin=0.0, paired=True),
        ALIKE,
        Labels(REVIEWED, known=True),
        Status.FAIL,
    ),
    "paired_false_positives_explored_alike": (Guardrail(FALSE, margin=0.0, paired=True), ALIKE, EXPLORE, Status.FAIL),
    "paired_missed_fraud_explored_alike": (Guardrail(MISSED, margin=0.0, paired=True), ALIKE, EXPLORE, Status.FAIL),
    "paired_missed_fraud_explored_below_a_cap_alike": (
        Guardrail(MISSED, margin=0.0, paired=True),
        ALIKE,
        Labels(EXPLORED, known=True, explored=True, capped=CAPPED),
        Status.FAIL,
    ),
    "false_positives_explored_alike": (Guardrail(FALSE, margin=0.0), ALIKE, EXPLORE, Status.FAIL),
    "alert_precision_explored_alike": (
        Guardrail(Metric.ALERT_PRECISION, margin=0.05),
        ALIKE,
        EXPLORE,
        Status.FAIL,
    ),
}
"""The guardrail, what the versions flag, whose truth shows, and the verdict that would be wrong."""


class World:
    """The hours of one rollout, as a store of outcomes counts them."""

    def __init__(self, random: np.random.Generator, decisions: Decisions, labels: Labels) -> None:
        self.random, self.decisions, self.labels = random, decisions, labels
        self.tallies: list[Tally] = []
        self.pairs: dict[EventKind, list[Pairs]] = {EventKind.MISSED_FRAUD: [], EventKind.FALSE_POSITIVE: []}
        self.known: dict[EventKind, dict[float, list[Pairs]]] = {kind: {} for kind in self.pairs}

    def hour(self, hour: int) -> None:
        """Count one more hour."""
        canary = int(self.random.binomial(PER_HOUR, WEIGHT))
        for variant, number in ((Variant.CHAMPION, PER_HOUR - canary), (Variant.CANARY, canary)):
            frauds = int(self.random.binomial(number, FRAUDS))
            made = {True: frauds, False: number - frauds}
            rows = {
                (fraud, capped): self.random.multinomial(part, self.decisions[fraud])
                for fraud, size in made.items()
                for capped, part in self._by_cap(size)
            }
            self._count(variant, number, rows, hour)

    def _by_cap(self, size: int) -> Iterator[tuple[bool, int]]:
        above = int(self.random.binomial(size, self.labels.capped))
        yield True, above
        yield False, size - above

    def _count(
        self, variant: Variant, number: int, rows: dict[tuple[bool, bool], npt.NDArray[np.int64]], hour: int
    ) -> None:
        """Labels of the hour: of each decision of both versions, as many as show their truth."""
        mine = np.array([True, variant is Variant.CHAMPION, variant is Variant.CANARY, False])
        shown = {place: self._shown(count, mine, capped=place[1]) for place, count in rows.items()}
        flagged = {place: count[mine].sum() for place, count in rows.items()}
        told = {place: count[mine].sum() for place, count in shown.items()}
        alerts, reviewed = int(sum(flagged.values())), int(sum(told.values()))
        false = int(told[False, True] + told[False, False])
        missed = int(sum(rows[True, capped][~mine].sum() for capped in (True, False)))
        self.tallies.append(
            Tally(
                variant=variant,
                step=0,
                weight=int(10_000 * WEIGHT),
                hour=FIRST_HOUR + hour,
                requests=number,
                keys=number,
                matured=number,
                matured_requests=number,
                labelled=number - alerts + reviewed,
                passed_genuine=number - alerts - missed,
                events={
                    EventKind.ALERT: alerts,
                    EventKind.MISSED_FRAUD: missed,
                    EventKind.FALSE_POSITIVE: false,
                },
                matured_alerts=alerts,
                reviewed_alerts=reviewed,
                false_alerts=false,
                known_alerts=self._known_alerts(flagged, told),
            )
        )
        self._pair(shown, mine, FIRST_HOUR + hour)

    def _shown(self, count: npt.NDArray[np.int64], mine: npt.NDArray[np.bool_], *, capped: bool) -> Any:
        share = 0.0 if capped and self.labels.explored else self.labels.share
        return np.where(mine, self.random.binomial(count, share), count)

    def _known_alerts(self, flagged: dict[Any, Any], told: dict[Any, Any]) -> dict[float, KnownAlerts]:
        if not self.labels.known:
            return {}
        shown, false = int(told[True, False] + told[False, False]), int(told[False, False])
        if not self.labels.explored:
            return {self.labels.share: KnownAlerts(shown, shown, shown, false)}
        found = {self.labels.share: KnownAlerts(int(flagged[True, False] + flagged[False, False]), shown, shown, false)}
        above = int(flagged[True, True] + flagged[False, True])
        return {0.0: KnownAlerts(above), **found} if above else found

    def _pair(self, shown: dict[tuple[bool, bool], Any], mine: npt.NDArray[np.bool_], hour: int) -> None:
        for place, count in shown.items():
            for chance, rows in ((1.0, ~mine), (self.labels.share, mine)):
                labelled = np.where(rows, count, 0)
                for kind in self.pairs:
                    pairs = _pairs_of(kind, labelled, fraud=place[0], hour=hour)
                    self.pairs[kind].append(pairs)
                    left_out = place[1] and self.labels.explored
                    if self.labels.known and not left_out:
                        self.known[kind].setdefault(chance, []).append(pairs)


def _pairs_of(kind: EventKind, count: npt.NDArray[np.int64], *, fraud: bool, hour: int) -> Pairs:
    both, champion, canary, neither = (int(each) for each in count)
    if kind is EventKind.MISSED_FRAUD and fraud:  # who does not flag it misses it
        return Pairs(both=neither, champion_only=canary, canary_only=champion, neither=both, hour=hour)
    if kind is EventKind.FALSE_POSITIVE and not fraud:
        return Pairs(both=both, champion_only=champion, canary_only=canary, neither=neither, hour=hour)
    return Pairs(neither=both + champion + canary + neither, hour=hour)


def _by_hour(pairs: Sequence[Pairs], until: int) -> tuple[Pairs, ...]:
    found: dict[int, list[int]] = {}
    for each in pairs:
        if each.hour < until:
            counted = (each.both, each.champion_only, each.canary_only, each.neither)
            found[each.hour] = [a + b for a, b in zip(found.get(each.hour, [0] * 4), counted, strict=True)]
    return tuple(
        Pairs(both=both, champion_only=champion, canary_only=canary, neither=neither, hour=hour)
        for hour, (both, champion, canary, neither) in found.items()
    )


def looks(world: World, plan: Plan) -> Iterator[Status]:
    """The guardrail's status at every look."""
    for hours in range(LOOK, 24 * DAYS + 1, LOOK):
        until = FIRST_HOUR + hours
        evidence = counted(
            plan,
            START + timedelta(hours=hours),
            [tally for tally in world.tallies if tally.hour < until],
            {kind: _by_hour(pairs, until) for kind, pairs in world.pairs.items()},
            {
                kind: {chance: _by_hour(pairs, until) for chance, pairs in chances.items()}
                for kind, chances in world.known.items()
                if chances
            },
        )
        rollout = Rollout("R", 1, 2, plan, plan.weights[0], 0, START)
        yield judge(evidence, rollout, detail=False).verdicts[1].status


def cell(seed: int, name: str, rollouts: int) -> dict[str, Any]:
    """How often the wrong verdict is found at any look, now and before; how often every look refuses to say."""
    random = np.random.default_rng(seed)
    guardrail, decisions, labels, wrong = CELLS[name]
    found: dict[int, list[list[Status]]] = {1: [], 2: []}
    for _ in range(rollouts):
        world = World(random, decisions, labels)
        for hour in range(24 * DAYS):
            world.hour(hour)
        for test, statuses in found.items():
            plan = Plan([100 * WEIGHT, 100], guardrails=[guardrail], label_maturity="1h", test=test)
            statuses.append(list(looks(world, plan)))
    return {
        "cell": name,
        "wrong_verdict": wrong.value,
        "wrong": share([wrong in each for each in found[2]]),
        "wrong_before": share([wrong in each for each in found[1]]),
        "refused": share([set(each) == {Status.ERROR} for each in found[2]]),
        "failed": share([Status.FAIL in each for each in found[2]]),
        "hours_to_fail": _median([LOOK * (1 + each.index(Status.FAIL)) for each in found[2] if Status.FAIL in each]),
    }


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


WORSE = 1.74
"""How many times the champion's frauds the rehearsed canary misses."""
HISTORY_ROWS, HISTORY_FRAUDS, LET_PASS = 60_000, 0.02, 0.1


def history(random: np.random.Generator) -> pd.DataFrame:
    """Thirty days that the champion has decided, and all their truths.

    The champion misses 40 % of the frauds. The canary misses 1.74 times as many in all, though fewer of those that the
    champion missed.
    """
    import pandas as pd

    fraud = random.random(HISTORY_ROWS) < HISTORY_FRAUDS
    caught = random.random(HISTORY_ROWS) < 0.6
    missed_by_canary = np.where(caught, (WORSE * 0.4 - 0.8 * 0.4) / 0.6, 0.8)
    false = random.random((2, HISTORY_ROWS)) < 0.01
    champion = np.where(fraud, caught, false[0])
    canary = np.where(fraud, random.random(HISTORY_ROWS) >= missed_by_canary, false[1])
    return pd.DataFrame(
        {
            "transaction_id": np.arange(HISTORY_ROWS).astype(str),
            "time": pd.to_datetime(START) + pd.to_timedelta(np.sort(random.random(HISTORY_ROWS)) * 30, unit="D"),
            "champion_score": np.where(champion, 0.9, 0.1),
            "canary_score": np.where(canary, 0.9, 0.1),
            "label": fraud.astype(np.float64),
            "amount": 100.0,
        }
    )


def rehearsed(seed: int, kind: str, replays: int) -> dict[str, Any]:
    """How often a rehearsal completes the worse canary: on the full history, a selective one, one that was explored."""
    random = np.random.default_rng(seed)
    frame, test = history(random), 1 if kind == "selective_before" else 2
    blocked = frame["champion_score"].to_numpy() >= 0.5
    if kind != "full":
        shown = random.random(HISTORY_ROWS) < (LET_PASS if kind == "explored" else 0.0)
        frame["label"] = frame["label"].where(~blocked | shown)
    if kind == "explored":
        frame["propensity"] = np.where(blocked, LET_PASS, np.nan)
    guardrail = Guardrail(Metric.MISSED_FRAUD, margin=0.5)
    plan = Plan([10, 25, 50, 100], guardrails=[guardrail], label_maturity="1d", test=test)
    try:
        traffic, (champion, canary) = read_history(frame, Columns(), (0.5, 0.5), 20, needs_labels=test > 1)
    except DataError as error:
        return {"history": kind, "refused": str(error).partition("\n")[0]}
    courses = [
        replay(traffic, champion, canary, plan, bucket=hashed(traffic, f"{seed}-{number}"), horizon=3 * traffic.span)
        for number in range(replays)
    ]
    return {
        "history": kind,
        "completed": share([course.action is Action.COMPLETE for course in courses]),
        "aborted": share([course.action is Action.ABORT for course in courses]),
    }


HISTORIES = ("full", "selective_before", "selective", "explored")


def selective(rollouts: int, replays: int) -> dict[str, Any]:
    """The key of the benchmark.

    Args:
        rollouts: Rollouts per cell.
        replays: Replays per rehearsal.
    """
    jobs: Jobs = {
        "cells": [(cell, (name, rollouts), {}) for name in CELLS],
        "rehearsals": [(rehearsed, (kind, replays), {}) for kind in HISTORIES],
    }
    parts = spread_out(20261127, jobs)
    cells = {row["cell"]: row for row in parts["cells"]}
    blind = ["paired_missed_fraud_nothing_labelled_catches_nothing", "paired_missed_fraud_explored_catches_nothing"]
    alike = [row for name, row in cells.items() if name not in blind]
    return {
        "a_a_fail_rate": max(row["wrong"]["rate"] for row in alike),
        "a_a_fail_rate_before": max(row["wrong_before"]["rate"] for row in alike),
        "catches_nothing_pass_rate": max(cells[name]["wrong"]["rate"] for name in blind),
        "catches_nothing_pass_rate_before": max(cells[name]["wrong_before"]["rate"] for name in blind),
        "explored_share": EXPLORED,
        "rehearsal": {row["history"]: row.get("completed", {}).get("rate") for row in parts["rehearsals"]},
        **parts,
    }
