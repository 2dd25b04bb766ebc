"""Evidence of simulated outcomes, as a store counts it on the terms of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from fds_mlflow.core.evidence.arms import evidence_of
from fds_mlflow.core.evidence.evidence import EventKind, Evidence, Tally
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.statistics.paired import Pairs

NONE: Mapping[EventKind, tuple[Pairs, ...]] = MappingProxyType({})


def counted(
    plan: Plan,
    now: datetime,
    tallies: Iterable[Tally],
    pairs: Mapping[EventKind, tuple[Pairs, ...]] = NONE,
    known_pairs: Mapping[EventKind, Mapping[float, tuple[Pairs, ...]]] = MappingProxyType({}),
) -> Evidence:
    """Arguments as of `evidence_of`; without hours, nobody counts with what chance labels come."""
    if plan.terms.hourly:
        return evidence_of(plan.terms, now, list(tallies), pairs, known_pairs)
    return evidence_of(plan.terms, now, [replace(each, known_alerts={}) for each in tallies], pairs)
