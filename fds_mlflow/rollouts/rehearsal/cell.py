"""What one version does with every request of a history, and what that adds up to in one hour of a replay."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from fds_mlflow.core.evidence.bins import LOSS_BINS, SCORE_BINS
from fds_mlflow.core.evidence.evidence import EventKind, KnownAlerts, Tally
from fds_mlflow.core.evidence.variant import Variant

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

KINDS = (EventKind.ERROR, EventKind.ALERT, EventKind.MISSED_FRAUD, EventKind.FALSE_POSITIVE)
_EVENTS = frozenset(kind.value for kind in KINDS)


@dataclass(frozen=True)
class Arm:
    """What one version does with every request, and what becomes of it.

    Attributes:
        errors: Requests that fail: shape (rows,), bool, as all others.
        flagged: Requests that are flagged.
        scores: Bin of the score, int64.
        labels: 1 fraud, 0 genuine, -1 not known: int64.
        amounts: Money that is lost if a fraud is missed, float64.
        chances: With what chance each request has a label, in [0, 1], float64; None where all have one.
        fine: Fine bin of the score, int64; empty where no quantile is asked for.
    """

    errors: Bools
    flagged: Bools
    scores: Ints
    labels: Ints
    amounts: Floats
    chances: Floats | None = None
    fine: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @cached_property
    def missed(self) -> Bools:
        """Frauds that are not flagged."""
        missed: Bools = (self.labels == 1) & ~self.flagged
        return missed

    @cached_property
    def prices_frauds(self) -> bool:
        """Whether any fraud is known, with money: else nobody can say what was lost."""
        return bool((self.amounts[self.labels == 1] > 0).any())

    @cached_property
    def false(self) -> Bools:
        """Genuine requests that are flagged."""
        false: Bools = (self.labels == 0) & self.flagged
        return false


@dataclass
class Cell:
    """The counts of one variant under one step and weight, in one hour."""

    counts: dict[str, int] = field(default_factory=dict)
    spent: dict[EventKind, int] = field(default_factory=dict)
    known_alerts: dict[float, KnownAlerts] = field(default_factory=dict)
    missed_known: dict[float, int] = field(default_factory=dict)
    scores: Ints = field(default_factory=lambda: np.zeros(SCORE_BINS, dtype=np.int64))
    losses: Ints = field(default_factory=lambda: np.zeros(LOSS_BINS, dtype=np.int64))
    fine: Counter[int] = field(default_factory=Counter)

    def add(self, name: str, count: int | np.signedinteger) -> None:
        """Add to a count."""
        self.counts[name] = self.counts.get(name, 0) + int(count)

    def add_known(self, arm: Arm, alerts: Ints, missed: Ints) -> None:
        """Add alerts and missed frauds by the chance with which they have a label."""
        if arm.chances is None:
            return
        never = int(np.count_nonzero(arm.chances[alerts] == 0))
        if never:
            before = self.known_alerts.get(0.0, KnownAlerts())
            self.known_alerts[0.0] = before._replace(matured=before.matured + never)
        alerts = alerts[arm.labels[alerts] >= 0]
        for chance in np.unique(arm.chances[alerts]).tolist():
            mine = alerts[arm.chances[alerts] == chance]
            known = self.known_alerts.get(chance, KnownAlerts())
            new = (len(mine), len(mine), len(mine), int(np.count_nonzero(arm.labels[mine] == 0)))
            self.known_alerts[chance] = KnownAlerts(*(a + b for a, b in zip(known, new, strict=True)))
        for chance, count in zip(*np.unique(arm.chances[missed], return_counts=True), strict=True):
            self.missed_known[float(chance)] = self.missed_known.get(float(chance), 0) + int(count)

    def tally(self, variant: Variant, step: int, weight: int, hour: int) -> Tally:
        """As the judge reads it."""
        events = {kind: self.counts.get(kind.value, 0) for kind in KINDS}
        counts: dict[str, Any] = {name: count for name, count in self.counts.items() if name not in _EVENTS}
        return Tally(
            variant=variant,
            step=step,
            weight=weight,
            hour=hour,
            events=events,
            spent=self.spent,
            known_alerts=self.known_alerts,
            missed_known=self.missed_known,
            scores=tuple(self.scores.tolist()),
            losses=tuple(self.losses.tolist()),
            score_firsts=MappingProxyType(Counter(self.fine)),
            **counts,
        )
