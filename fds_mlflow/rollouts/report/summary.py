"""What is known about one rollout: its events, its run, its versions, and what labels say of it by now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import MappingProxyType

from fds_mlflow.core.lifecycle.decision import Decision, decision
from fds_mlflow.core.lifecycle.events import Ending, Event, Rollout
from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.core.text.numbers import UNKNOWN, short
from fds_mlflow.registry.store import VersionView
from fds_mlflow.registry.tags import ALGORITHM, DIGEST, THRESHOLD, VERDICT
from fds_mlflow.rollouts import naming
from fds_mlflow.rollouts.report.plots import Series

FIGURES = {
    "average_precision": "average precision",
    "roc_auc": "ROC AUC",
    "precision": "precision",
    "recall": "recall",
    "false_positive_rate": "false positive rate",
}
"""Test metrics that the report names, and how."""


@dataclass(frozen=True)
class VersionFacts:
    """What one of the two versions is, as texts.

    Attributes:
        version: Its number.
        algorithm: What learned it.
        data: What it learned from.
        period: Of these data.
        threshold: From which score it flags.
        tested: Its test metrics.
        description: Its description, the first line.
    """

    version: int
    algorithm: str = UNKNOWN
    data: str = UNKNOWN
    period: str = UNKNOWN
    threshold: str = UNKNOWN
    tested: str = UNKNOWN
    description: str = "no longer in the registry"


@dataclass(frozen=True)
class RolloutSummary:
    """What is known about one rollout.

    Attributes:
        model: Registered model.
        rollout: The rollout as it was last.
        events: The events about it, in order, those that did not take effect included.
        series: What was measured over time, by name of the metric; empty where no tick was recorded.
        tags: Tags of its tracking run; empty where there is none.
        made: When this was put together, UTC.
        versions: What both versions are, by number.
        truths: What outcomes and labels say by now, by name of the metric (`naming.counted`); empty where nobody could
            ask.
        drift: By version, how far each feature it was given is from its training; empty where none were recorded.
        run_id: Its tracking run; "" where there is none.
        links: Addresses in MLflow's UI of "run", "report", "summary", "model" and, by number, both versions; None where
            there is no server.
    """

    model: str
    rollout: Rollout
    events: tuple[Event, ...]
    series: Mapping[str, Series]
    tags: Mapping[str, str]
    made: datetime
    versions: Mapping[int, VersionFacts] = field(default_factory=lambda: MappingProxyType({}))
    truths: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    drift: Mapping[int, Mapping[str, float]] = field(default_factory=lambda: MappingProxyType({}))
    run_id: str = ""
    links: Mapping[str | int, str | None] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def first(self) -> Event:
        """The event that began it."""
        return self.done[0]

    @property
    def last(self) -> Event:
        """The last event that took effect."""
        return self.done[-1]

    @cached_property
    def done(self) -> tuple[Event, ...]:
        """The events that took effect."""
        return tuple(event for event in self.events if event.outcome is Ending.DONE)

    @property
    def ended(self) -> datetime | None:
        """When it ended; None while it is under way."""
        return None if self.rollout.active else self.last.time

    @property
    def overall(self) -> Status | None:
        """The last overall verdict that its run holds; None where it holds none."""
        said = self.tags.get(VERDICT, "").partition(":")[0]
        return Status(said) if said in set(Status) else None

    @property
    def decision(self) -> Decision:
        """What was decided."""
        return decision(self.last, self.overall) or Decision.UNDER_WAY

    @property
    def statuses(self) -> dict[str, Status]:
        """The last status by the verdict's name: as it was decided on, else as the run holds it."""
        if self.last.basis is not None and self.last.basis.statuses:
            return dict(self.last.basis.statuses)
        known = naming.LastReported.of(self.tags)
        return {name: Status(status) for name, status in known.statuses.items()}

    def latest(self, name: str) -> float | None:
        """A metric's last value; what labels say by now goes before what they said then."""
        values = self.series.get(name)
        return self.truths.get(name, values[-1][1] if values else None)


def build(
    model: str,
    events: Sequence[Event],
    series: Mapping[str, Series],
    tags: Mapping[str, str],
    made: datetime,
    *,
    versions: Sequence[VersionFacts] = (),
    truths: Mapping[str, float] | None = None,
    drift: Mapping[int, Mapping[str, float]] | None = None,
) -> RolloutSummary:
    """Put together what is known about a rollout.

    Args:
        model: Registered model.
        events: The events about one rollout, in order; at least one took effect.
        series: Metrics of its tracking run over time.
        tags: Tags of its tracking run.
        made: Now, UTC.
        versions: What its versions are.
        truths: What labels say by now.
        drift: How far the features that its versions were given are from their training.
    """
    rollout = [e.rollout for e in events if e.outcome is Ending.DONE and e.rollout is not None][-1]
    known = {each.version: each for each in versions}
    return RolloutSummary(model, rollout, tuple(events), series, tags, made, known, truths or {}, drift or {})


def version_facts(found: VersionView, metrics: Mapping[str, float]) -> VersionFacts:
    """What a version is, by its tags and the metrics of the run that logged it."""
    data = [found.tags[name] for name in ("fds.source",) if name in found.tags]
    data += [f"digest {found.tags[DIGEST][:12]}"] if DIGEST in found.tags else []
    period = " to ".join(moment.partition("T")[0] for moment in found.tags.get("fds.period", "").split("/"))
    tested = [f"{title} {metrics[name]:.4g}" for name, title in FIGURES.items() if name in metrics]
    return VersionFacts(
        version=found.version,
        algorithm=found.tags.get(ALGORITHM, UNKNOWN),
        data=", ".join(data) or UNKNOWN,
        period=period or UNKNOWN,
        threshold=short(found.tags.get(THRESHOLD, UNKNOWN)),
        tested=", ".join(tested) or UNKNOWN,
        description=found.description.split("\n")[0] or UNKNOWN,
    )
