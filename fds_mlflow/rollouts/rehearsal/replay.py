"""One rollout over labelled history: requests are assigned by the real routing hash, counted, judged and decided on.

Requests come at the times of the history; when it ends before the rollout does, it is played again with fresh keys. At
every look the counts since the last one are added up, the judge judges them and the controller decides; its decision is
in force until the next look. Nothing here is per row: a look costs a few sums over the requests since the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from fds_mlflow.core.evidence.arms import evidence_of
from fds_mlflow.core.evidence.bins import LOSS_BINS, SCORE_BINS, loss_bins
from fds_mlflow.core.evidence.evidence import LABELLED, EventKind, Evidence
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.judge import Judgement, judge
from fds_mlflow.core.lifecycle.controller import Action, next_step
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.routing.routing import buckets
from fds_mlflow.core.statistics.paired import Pairs
from fds_mlflow.core.weight import FULL
from fds_mlflow.rollouts.rehearsal.cell import KINDS, Arm, Bools, Cell, Floats, Ints

Shorts = npt.NDArray[np.int16]

START = datetime(2000, 1, 1, tzinfo=UTC)
"""When every replay begins; only differences of times matter."""


@dataclass(frozen=True)
class Traffic:
    """When requests come, and whose they are.

    Attributes:
        seconds: Time of each request since the first, rising: shape (rows,), float64.
        keys: The distinct routing keys.
        key: Index of each request's key: shape (rows,), int64.
        span: Length of the history, seconds: from its begin to its end, one mean gap included.
        looks: How often a rollout is looked at while the history is played once.
    """

    seconds: Floats
    keys: list[str]
    key: Ints
    span: float
    looks: int

    @property
    def rows(self) -> int:
        """Requests."""
        return len(self.seconds)

    def slices(self) -> list[slice]:
        """The requests between every two looks."""
        ends = np.searchsorted(self.seconds, self.span * np.arange(1, self.looks + 1) / self.looks)
        return [slice(int(a), int(b)) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


@dataclass(frozen=True)
class Step:
    """One step of a replayed rollout.

    Attributes:
        weight: Basis points.
        seconds: How long it lasted.
        requests: Requests of the canary in it.
    """

    weight: int
    seconds: float
    requests: int


@dataclass(frozen=True)
class Course:
    """What became of a replayed rollout.

    Attributes:
        action: How it ended: completed, aborted, held for a person, or still waiting when its time was over.
        check: What decided, where it was aborted or held.
        seconds: How long it lasted.
        requests: Requests that met the canary.
        lost: Money that frauds took which the canary had missed.
        steps: The steps, the last one included.
    """

    action: Action
    check: str
    seconds: float
    requests: int
    lost: float
    steps: tuple[Step, ...]


def replay(
    traffic: Traffic,
    champion: Arm,
    canary: Arm,
    plan: Plan,
    *,
    bucket: Callable[[int], Shorts],
    horizon: float,
) -> Course:
    """Play one rollout.

    Args:
        traffic: The requests.
        champion: What the champion does with each of them.
        canary: What the canary does.
        plan: The plan; its gates are taken as open.
        bucket: The bucket of every request at the n-th time that the history is played (see `hashed`).
        horizon: Seconds after which an undecided rollout is left.
    """
    return Replay(traffic, {Variant.CHAMPION: champion, Variant.CANARY: canary}, plan, bucket, horizon).run()


def hashed(traffic: Traffic, rollout_id: str) -> Callable[[int], Shorts]:
    """The routing hash of a rollout over all requests; each time the history is played its keys are fresh ones."""
    known: dict[int, Shorts] = {}

    def bucket(turn: int) -> Shorts:
        if turn not in known:
            keys = traffic.keys if turn == 0 else [f"{key}/{turn}" for key in traffic.keys]
            known[turn] = buckets(rollout_id, keys).astype(np.int16)[traffic.key]
        return known[turn]

    return bucket


class Replay:
    """One rollout while it is played; arguments as of `replay`."""

    def __init__(
        self, traffic: Traffic, arms: Mapping[Variant, Arm], plan: Plan, bucket: Callable[[int], Shorts], horizon: float
    ) -> None:
        self.traffic, self.arms, self.plan, self.bucket, self.horizon = traffic, arms, plan, bucket, horizon
        self.single = len(traffic.keys) == traffic.rows  # every request has a key of its own
        self.cells: dict[tuple[int, int, Variant, int], Cell] = {}
        self.maturing: list[tuple[float, Callable[[], None]]] = []
        self.pairs: dict[EventKind, dict[int, list[int]]] = {kind: {} for kind in KINDS}
        self.known_pairs: dict[EventKind, dict[float, dict[int, list[int]]]] = {kind: {} for kind in LABELLED}
        self.seen: dict[str, Bools] = {}
        self.requests, self.lost = 0, 0.0

    def run(self) -> Course:
        """Look after look until it ends."""
        step, weight, since = 0, self.plan.weights[0], 0.0
        steps: list[Step] = []
        before = 0
        for turn, part, now in self._looks():
            self._count(turn, part, step, weight, now)
            rollout = Rollout("replay", 1, 2, self.plan, weight, step, START + timedelta(seconds=since))
            judgement = judge(self.evidence(now), rollout, detail=False)
            action = next_step(rollout, judgement, START + timedelta(seconds=now)).action
            here = Step(weight, now - since, self.requests - before)
            if action is Action.ADVANCE:
                steps.append(here)
                step, weight, since, before = step + 1, rollout.next_weight or weight, now, self.requests
            elif action is not Action.WAIT or now >= self.horizon:
                return self._ended(action, judgement, now, (*steps, here))
        raise AssertionError("the horizon ends every replay")

    def _looks(self) -> Iterator[tuple[int, slice, float]]:
        """How often the history has been played, the requests since the last look, and the time."""
        slices, turn = self.traffic.slices(), 0
        while True:
            for number, part in enumerate(slices, start=1):
                yield turn, part, self.traffic.span * (turn + number / self.traffic.looks)
            turn += 1

    def _ended(self, action: Action, judgement: Judgement, now: float, steps: tuple[Step, ...]) -> Course:
        check = "" if action is Action.COMPLETE else judgement.overall.check
        return Course(action, check, now, self.requests, self.lost, steps)

    # --- counting ----------------------------------------------------------------------------------------------------

    def _count(self, turn: int, part: slice, step: int, weight: int, now: float) -> None:
        to_canary = self.bucket(turn)[part] < weight
        for variant, mine in ((Variant.CHAMPION, ~to_canary), (Variant.CANARY, to_canary)):
            rows = np.flatnonzero(mine) + part.start
            cell = self.cells.setdefault((step, weight, variant, _hour(now)), Cell())
            self._requests(turn, cell, variant, rows)
            alerts = self._events(turn, cell, EventKind.ALERT, rows, self.arms[variant].flagged)
            if self.plan.label_maturity is not None:
                due = now + self.plan.label_maturity.total_seconds()
                self.maturing.append((due, self._labels_of(turn, cell, variant, rows, alerts)))
            if variant is Variant.CANARY:
                self.requests += len(rows)
                self.lost += float(self.arms[variant].amounts[rows[self.arms[variant].missed[rows]]].sum())
        self._pair(turn, part, _hour(now), weight)
        while self.maturing and self.maturing[0][0] <= now:
            self.maturing.pop(0)[1]()

    def _requests(self, turn: int, cell: Cell, variant: Variant, rows: Ints) -> None:
        arm = self.arms[variant]
        cell.add("requests", len(rows))
        cell.add("keys", len(self._first(turn, "key", rows)))
        self._events(turn, cell, EventKind.ERROR, rows, arm.errors)
        scored = self._first(turn, "score", rows[~arm.errors[rows]])
        cell.scores += np.bincount(arm.scores[scored], minlength=SCORE_BINS)
        if self.plan.terms.quantiles:
            cell.fine.update(arm.fine[scored].tolist())

    def _labels_of(self, turn: int, cell: Cell, variant: Variant, rows: Ints, alerts: Ints) -> Callable[[], None]:
        """What to count of these requests once their labels have matured."""

        def mature() -> None:
            arm = self.arms[variant]
            first = self._first(turn, "matured", rows)
            cell.add("matured_requests", len(rows))
            cell.add("matured", len(first))
            cell.add("labelled", np.count_nonzero(arm.labels[first] >= 0))
            cell.add("passed_genuine", np.count_nonzero((arm.labels[first] == 0) & ~arm.flagged[first]))
            cell.add("matured_alerts", len(alerts))
            cell.add("reviewed_alerts", np.count_nonzero(arm.labels[alerts] >= 0))
            cell.add("false_alerts", np.count_nonzero(arm.labels[alerts] == 0))
            missed = self._events(turn, cell, EventKind.MISSED_FRAUD, rows, arm.missed)
            if self.plan.terms.hourly:
                cell.add_known(arm, alerts, missed)
            cell.losses += np.bincount(loss_bins(arm.amounts[missed]), minlength=LOSS_BINS)
            self._events(turn, cell, EventKind.FALSE_POSITIVE, rows, arm.false)

        return mature

    def _events(self, turn: int, cell: Cell, kind: EventKind, rows: Ints, happened: Bools) -> Ints:
        """Count the first events of a kind among these requests, and the requests of keys that had one before."""
        before = self.seen.get(f"{kind}/{turn}")
        spent = np.zeros(len(rows), dtype=np.bool_) if before is None else before[self.traffic.key[rows]]
        first = self._first(turn, kind, rows[happened[rows]])
        cell.add(kind.value, len(first))
        if not self.single:
            keys = self.traffic.key[first]
            order = np.argsort(keys)
            at = np.minimum(np.searchsorted(keys, self.traffic.key[rows], sorter=order), max(len(keys) - 1, 0))
            if len(keys):
                event = order[at]
                spent |= (keys[event] == self.traffic.key[rows]) & (rows > first[event])
            cell.spent[kind] = cell.spent.get(kind, 0) + int(spent.sum())
        return first

    def _pair(self, turn: int, part: slice, hour: int, weight: int) -> None:
        """Pairs as the plan's shadow gives them; without one, as shadows of every request, for paired guardrails."""
        share = self.plan.shadow / 100
        if not share and not any(guardrail.paired for guardrail in self.plan.guardrails):
            return
        rows = np.arange(part.start, part.stop)
        if share:
            rows = rows[self.bucket(turn)[part] >= FULL - share * (FULL - weight)]
        rows = self._first(turn, "pair", rows)
        champion, canary = self.arms[Variant.CHAMPION], self.arms[Variant.CANARY]
        for kind, name in zip(KINDS, ("errors", "flagged", "missed", "false"), strict=True):
            one, other = getattr(champion, name)[rows], getattr(canary, name)[rows]
            for place, both in enumerate((one & other, one & ~other, other & ~one, ~one & ~other)):
                self.pairs[kind].setdefault(hour, [0] * 4)[place] += int(np.count_nonzero(both))
                if kind in LABELLED and champion.chances is not None and self.plan.terms.hourly:
                    labelled = both & (champion.labels[rows] >= 0)
                    for chance, count in zip(
                        *np.unique(champion.chances[rows[labelled]], return_counts=True), strict=True
                    ):
                        found = self.known_pairs[kind].setdefault(float(chance), {})
                        found.setdefault(hour, [0] * 4)[place] += int(count)

    def _first(self, turn: int, kind: str, rows: Ints) -> Ints:
        """Those of the rows, in order of time, whose key has not been seen with this kind before."""
        if self.single or not len(rows):
            return rows
        seen = self.seen.setdefault(f"{kind}/{turn}", np.zeros(len(self.traffic.keys), dtype=np.bool_))
        keys = self.traffic.key[rows]
        fresh = ~seen[keys]
        rows, keys = rows[fresh], keys[fresh]
        _, first = np.unique(keys, return_index=True)
        seen[keys] = True
        return rows[np.sort(first)]

    def evidence(self, now: float) -> Evidence:
        """What a judge knows after so many seconds."""
        tallies = [
            cell.tally(variant, step, weight, hour) for (step, weight, variant, hour), cell in self.cells.items()
        ]
        pairs = {kind: _pairs(hours) for kind, hours in self.pairs.items() if hours}
        known = {
            kind: {chance: _pairs(hours) for chance, hours in chances.items()}
            for kind, chances in self.known_pairs.items()
            if chances
        }
        return evidence_of(self.plan.terms, START + timedelta(seconds=now), tallies, pairs, known)


def _pairs(hours: Mapping[int, list[int]]) -> tuple[Pairs, ...]:
    """One per hour."""
    return tuple(
        Pairs(both=both, champion_only=champion, canary_only=canary, neither=neither, hour=hour)
        for hour, (both, champion, canary, neither) in hours.items()
    )


def _hour(now: float) -> int:
    return int((START.timestamp() + now) // 3600)
