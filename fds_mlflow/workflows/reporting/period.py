"""What happened to models in a period, by their histories, their versions and the runs of their rollouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from types import MappingProxyType

from fds_mlflow.core.lifecycle.decision import Decision, decision, moves_champion
from fds_mlflow.core.lifecycle.events import Ending, Event, Kind, Rollout
from fds_mlflow.rollouts.report.effect import Effect

SPARED = ("frauds_missed", "false_positives", "errors", "money_missed")
"""What a model that was stopped as harmful can have done more of than the old one."""


@dataclass(frozen=True)
class Trial:
    """One rollout.

    Attributes:
        first: The event that began it.
        last: The last event about it that took effect, before the end of the period.
        metrics: The last values of its run's metrics; None where it has no run.
        run_id: Its run; "" where it has none.
        link: Address of its page in MLflow's UI; None where there is none.
        decision: What was decided about it by the end of the period.
    """

    first: Event
    last: Event
    metrics: Mapping[str, float] | None = None
    run_id: str = ""
    link: str | None = None
    decision: Decision = Decision.UNDER_WAY

    @property
    def rollout(self) -> Rollout:
        """The rollout after its last event."""
        assert self.last.rollout is not None
        return self.last.rollout

    @property
    def effect(self) -> Effect:
        """What it did, as far as its run holds it."""
        return Effect((self.metrics or {}).get, self.rollout.is_watch)

    @property
    def spared(self) -> dict[str, float]:
        """What the old model's payments were spared because it was stopped as harmful; empty where nothing is known.

        How much more there had been, had the new model decided all payments of the trial. Kinds in which it did no
        worse are left out.
        """
        if self.decision is not Decision.FAILED:
            return {}
        found = {what: self.effect.spared(what) for what in SPARED}
        return {what: more for what, more in found.items() if more is not None and more > 0}


@dataclass(frozen=True)
class Change:
    """Another version became champion.

    Attributes:
        event: The event that made it.
        decision: What was decided about the rollout whose completion it was; None where it was none.
        seconds: From its registration to there; None where it was champion before, or that is not known.
        again: It was champion before.
    """

    event: Event
    decision: Decision | None
    seconds: float | None
    again: bool = False


@dataclass(frozen=True)
class ModelPeriod:
    """One model in a period.

    Attributes:
        model: Its name.
        champion: Version that serves at the end of the period; None where none does.
        since: When it became champion, UTC; None where the history does not say.
        trained: Versions that were registered in the period, as far as the registry still has them.
        trials: Rollouts that ended in the period, or were under way at its end, in order.
        changes: Changes of the champion in the period, in order.
        link: Address of its page in MLflow's UI; None where there is no server.
    """

    model: str
    champion: int | None
    since: datetime | None
    trained: tuple[int, ...] = ()
    trials: tuple[Trial, ...] = ()
    changes: tuple[Change, ...] = ()
    link: str | None = None


@dataclass(frozen=True)
class Totals:
    """Everything added up.

    Attributes:
        models: Models.
        trained: Versions that were registered.
        trials: Rollouts.
        decisions: Rollouts by what was decided.
        changes: Changes of the champion.
        kinds: The same by the kind of their event.
        unrecorded: Rollouts that have no run.
        due: Keys, of both models of all rollouts, whose labels are due.
        labelled: Of those, keys with a known truth.
        stopped: Rollouts that were stopped as harmful.
        spared: What that spared, by what it is; see `Trial.spared`.
        unknown: Rollouts that were stopped as harmful, and of which nothing is known that it spared.
        seconds: The median of `Change.seconds`; None where none is known.
    """

    models: int
    trained: int
    trials: int
    decisions: Mapping[Decision, int]
    changes: int
    kinds: Mapping[Kind, int]
    unrecorded: int
    due: int
    labelled: int
    stopped: int
    spared: Mapping[str, float]
    unknown: int
    seconds: float | None


def totals(models: Sequence[ModelPeriod]) -> Totals:
    """Everything added up over models."""
    trials = [trial for model in models for trial in model.trials]
    changes = [change for model in models for change in model.changes]
    stopped = [trial for trial in trials if trial.decision is Decision.FAILED]
    spared: Counter[str] = Counter()
    for trial in stopped:
        spared.update(trial.spared)
    known = [change.seconds for change in changes if change.seconds is not None]
    return Totals(
        models=len(models),
        trained=sum(len(model.trained) for model in models),
        trials=len(trials),
        decisions=dict(Counter(trial.decision for trial in trials)),
        changes=len(changes),
        kinds=dict(Counter(change.event.kind for change in changes)),
        unrecorded=sum(trial.metrics is None for trial in trials),
        due=sum(_both(trial, "matured") for trial in trials),
        labelled=sum(_both(trial, "labelled") for trial in trials),
        stopped=len(stopped),
        spared=dict(spared),
        unknown=sum(not trial.spared for trial in stopped),
        seconds=median(known) if known else None,
    )


def _both(trial: Trial, what: str) -> int:
    return int((trial.effect.new(what) or 0) + (trial.effect.old(what) or 0))


@dataclass
class Fold:
    """A history while it is gone through once.

    Attributes:
        since: From when on something counts, UTC.
        until: Up to when; later events are passed over, as if they were not there yet.
        created: When each version was registered, UTC.
        champion: The champion by then.
        came: When it became champion.
        rollouts: First and last event of each rollout, by its id.
        changes: Changes of the champion in the period.
    """

    since: datetime
    until: datetime
    created: Mapping[int, datetime] = field(default_factory=lambda: MappingProxyType({}))
    champion: int | None = None
    came: datetime | None = None
    rollouts: dict[str, tuple[Event, Event]] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    _crowned: set[int] = field(default_factory=set)

    def over(self, events: Iterable[Event]) -> Fold:
        """Go through the events, in order."""
        for event in events:
            if event.outcome is Ending.DONE and event.time < self.until:
                self._take(event)
        return self

    def _take(self, event: Event) -> None:
        if event.rollout is not None:
            first, _ = self.rollouts.get(event.rollout.id, (event, event))
            self.rollouts[event.rollout.id] = (first, event)
        if not moves_champion(event):
            return
        version = event.to_version
        self.champion, self.came = version, event.time
        if event.time >= self.since:
            decided = decision(event) if event.kind is Kind.COMPLETE else None
            self.changes.append(Change(event, decided, self._took(event), version in self._crowned))
        if version is not None:
            self._crowned.add(version)

    def _took(self, event: Event) -> float | None:
        """Seconds from a version's registration to its first championship; clocks that contradict tell nothing."""
        if event.to_version is None or event.to_version in self._crowned:
            return None
        made = self.created.get(event.to_version)
        return None if made is None or made > event.time else (event.time - made).total_seconds()

    def told(self) -> Iterator[tuple[Event, Event]]:
        """First and last event of the rollouts that ended in the period, or were under way at its end."""
        for first, last in self.rollouts.values():
            if last.rollout is not None and (last.rollout.active or last.time >= self.since):
                yield first, last
