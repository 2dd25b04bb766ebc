"""Records rollouts: every tick into the rollout's tracking run, its end with a report; and notifies of verdicts."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fds_mlflow.core.lifecycle.decision import who
from fds_mlflow.core.lifecycle.events import Event, Kind, Rollout
from fds_mlflow.core.weight import to_percent
from fds_mlflow.display.languages import LANGUAGES
from fds_mlflow.errors import FdsError, NotFoundError
from fds_mlflow.lifecycle.descriptions import (
    REPORT,
    artifact_place,
    model_place,
    run_place,
    summary_file,
    version_place,
)
from fds_mlflow.registry.store import SetVersionTag
from fds_mlflow.registry.tags import ROLLOUT_RUN, VERDICT
from fds_mlflow.rollouts import naming
from fds_mlflow.rollouts.naming import LastReported
from fds_mlflow.rollouts.record.run import Point, RolloutRuns, place_of

if TYPE_CHECKING:
    from mlflow.entities import Run

    from fds_mlflow.lifecycle.session import Session
    from fds_mlflow.rollouts.report.summary import RolloutSummary, VersionFacts
    from fds_mlflow.rollouts.tick import Tick

log = logging.getLogger(__name__)

DENSITY = 500
"""A tick is logged once this part of the rollout's age has passed since the last one: about 2,700 in two weeks."""

WAITING = 2_000
"""Ticks that may wait for a tracking server that does not answer; then the oldest are given up, and counted."""


class _Waiting:
    """What is yet to be logged of one rollout."""

    def __init__(self, rollout: Rollout) -> None:
        self.rollout = rollout
        self.points: deque[Point] = deque(maxlen=WAITING)
        self.tags: dict[str, str] = {}
        self.lost = 0

    def add(self, point: Point) -> None:
        """Append a tick; the oldest makes room where there is none."""
        self.lost += len(self.points) == WAITING
        self.points.append(point)


class RolloutRecorder:
    """Records the rollouts of a model: hand `on_tick` to an autopilot.

    Nothing that goes wrong here reaches the rollout: it is logged as a warning, kept in memory, and caught up at a
    later tick. When a process ends, the ticks it could not log are lost; what the history knows (plan, steps, end) is
    caught up by whoever looks next.

    Args:
        model: The model. Its notifier is called when verdicts or the recommendation change.
        runs: Its tracking runs; None for those of the model's tracking server.
    """

    def __init__(self, session: Session, runs: RolloutRuns | None = None) -> None:
        self._session = session
        self._given = runs
        self._waiting: dict[str, _Waiting] = {}
        self._known: dict[str, LastReported] = {}
        self._linked: set[str] = set()  # rollouts whose record MLflow's pages lead to
        self._looked_back = False

    @property
    def runs(self) -> RolloutRuns:
        """The model's tracking runs, opened when first needed."""
        if self._given is None:
            self._given = RolloutRuns(self._session.name, self._session.tracking_uri)
        return self._given

    def on_tick(self, tick: Tick) -> None:
        """Record a tick, and whatever could not be recorded before."""
        run: Run | None = None
        try:
            if tick.rollout is not None:
                run = self._open(tick.rollout)
        except FdsError as error:
            self._report(error)
        self._note(tick, run)
        try:
            for waiting in list(self._waiting.values()):
                same = run is not None and tick.rollout is not None and tick.rollout.id == waiting.rollout.id
                self._send(waiting, run if same and run is not None else self._open(waiting.rollout))
            acted = tick.applied is not None and tick.applied.changed
            if tick.ended or acted or not self._looked_back:
                self.close_ended()
                self._looked_back = True
        except FdsError as error:
            self._looked_back = False  # so that the next tick tries again
            self._report(error)

    def catch_up(self) -> list[str]:
        """Make runs for the rollouts in the history that have none, and close those of rollouts that have ended.

        Returns:
            Ids of the rollouts whose run was made or closed.

        Raises:
            UnavailableError: Tracking or the registry did not answer.
        """
        made = []
        for rollout in naming.rollouts(self._session.look().history.events).values():
            if self.runs.find(rollout.id) is None:
                self._open(rollout)
                made.append(rollout.id)
        return [*made, *(one for one in self.close_ended() if one not in made)]

    def close_ended(self) -> list[str]:
        """Close the runs whose rollouts have ended by the history, each with its report.

        Returns:
            Ids of the rollouts.

        Raises:
            UnavailableError: Tracking or the registry did not answer.
        """
        running = self.runs.running()
        events = self._session.look().history.events if running else ()
        ended = {name: one for name, one in naming.rollouts(events).items() if name in running and not one.active}
        for rollout_id in ended:
            self._close(running[rollout_id], naming.about(events, rollout_id))
        return list(ended)

    def story(self, rollout_id: str | None = None) -> RolloutSummary:
        """What is known about a rollout, for its report.

        Args:
            rollout_id: Which; None for the latest.

        Raises:
            NotFoundError: The history has no such rollout.
            UnavailableError: Tracking or the registry did not answer.
        """
        events = self._session.look().history.events
        known = list(naming.rollouts(events))
        chosen = rollout_id or (known[-1] if known else None)
        if chosen not in known:
            missing = f"no rollout {chosen}" if chosen else "no rollout yet"
            raise NotFoundError(
                f"the history of {self._session.name!r} has {missing}",
                fix=f"give one of these: {', '.join(known[-5:])}"
                if known
                else "start one (`fds canary start MODEL VERSION`)",
            )
        return self._told(self.runs.find(chosen), naming.about(events, chosen))

    def _told(self, run: Run | None, events: tuple[Event, ...]) -> RolloutSummary:
        """What is known about a rollout by its events, its run, the registry, and the outcome store."""
        from fds_mlflow.rollouts.report.summary import build

        series = self.runs.series(run) if run is not None else {}
        tags = dict(run.data.tags) if run is not None else {}
        rollout = next(event.rollout for event in events if event.rollout is not None)
        facts = [self._facts(version) for version in (rollout.canary, rollout.champion)]
        now, truths = self._session.now(), self._truths(rollout)
        drift = self._drift(rollout)
        story = build(self._session.name, events, series, tags, now, versions=facts, truths=truths, drift=drift)
        return replace(story, run_id=run.info.run_id if run else "", links=self._links(run, rollout))

    def _links(self, run: Run | None, rollout: Rollout) -> dict[str | int, str | None]:
        """Where MLflow shows what a report is about."""
        name, shown = self._session.name, self._session.shown
        found: dict[str | int, str | None] = {"model": shown(model_place(name))}
        found |= {version: shown(version_place(name, version)) for version in (rollout.canary, rollout.champion)}
        if run is not None:
            place = place_of(run)
            found["run"] = shown(run_place(place), tracked=True)
            found["report"] = shown(artifact_place(place, REPORT), tracked=True)
            for language in LANGUAGES:
                file = summary_file(language)
                found[file] = shown(artifact_place(place, file), tracked=True)
        return found

    def _facts(self, version: int) -> VersionFacts:
        from fds_mlflow.rollouts.report.summary import VersionFacts, version_facts

        try:
            return version_facts(self._session.version(version), self._session.metrics(version))
        except NotFoundError:
            return VersionFacts(version)

    def _truths(self, rollout: Rollout) -> dict[str, float]:
        """Traffic, and what labels say by now, where an outcome store is at hand: most come after the end."""
        if not self._session.knows_outcomes:
            return {}
        try:
            found = self._session.home.evidence(
                self._session.name, rollout.id, rollout.plan.terms, as_of=self._session.now()
            )
        except FdsError as error:
            log.warning("a report of %r goes without what labels say by now: %s", self._session.name, error.what)
            return {}
        counted = naming.counted(found) if found.tallies else {}
        return {name: value for name, value in counted.items() if value is not None}

    def _drift(self, rollout: Rollout) -> dict[int, dict[str, float]]:
        """How far the features that its versions were given since it began are from their training."""
        found: dict[int, dict[str, float]] = {}
        if not self._session.knows_outcomes:
            return found
        try:
            for version in (rollout.canary, rollout.champion):
                rows = self._session.served_features(version, rollout.since)
                profile = self._session.described(version)[1] if rows else None
                if profile is not None:
                    from fds_mlflow.features.profile import drift_of

                    found[version] = drift_of(profile, rows)
        except FdsError as error:
            log.warning("a report of %r goes without drift of features: %s", self._session.name, error.what)
        return found

    def _open(self, rollout: Rollout) -> Run:
        """The run of a rollout, complete with its parameters."""
        run = self.runs.find(rollout.id)
        if run is not None and not naming.parameters(self._session.name, rollout).keys() - dict(run.data.params).keys():
            return run
        events = naming.about(self._session.look().history.events, rollout.id)
        return self.runs.open(rollout, next((event for event in events if event.kind is Kind.START), None))

    def _note(self, tick: Tick, run: Run | None) -> None:
        """Keep what is to be logged of a tick, and tell what changed."""
        rollout = tick.rollout
        if rollout is None or tick.judgement is None:
            return
        known = self._known.get(rollout.id, LastReported())
        if run is not None:  # another process may have told or logged more
            known = max(LastReported.of(run.data.tags), known, key=_newer)
        told = naming.changed(known, tick)
        if told is not None:
            self._session.notifier.send(replace(told, link=self._place(run, rollout)))
        if run is not None and (told is not None or rollout.id not in self._linked):
            self._link(run, rollout, naming.overall(tick.judgement))
        began = datetime.fromtimestamp(run.info.start_time / 1_000, UTC) if run is not None else rollout.since
        due = told is not None or tick.applied is not None or _due(tick.time, known.logged, began)
        known = known.after(tick)
        if due:
            known = replace(known, logged=tick.time)
            waiting = self._waiting.setdefault(rollout.id, _Waiting(rollout))
            waiting.add(Point(tick.time, naming.metrics(tick)))
            waiting.tags = naming.tags(tick, known)
        self._known[rollout.id] = known

    def _place(self, run: Run | None, rollout: Rollout) -> str | None:
        """Where MLflow shows a rollout: its run, or its canary's page."""
        if run is None:
            return self._session.shown(version_place(self._session.name, rollout.canary))
        return self._session.shown(run_place(place_of(run)), tracked=True)

    def _link(self, run: Run, rollout: Rollout, verdict: str) -> None:
        """Have MLflow's pages of model and versions lead to the rollout's record, and tell the verdict."""
        place = f"{rollout.id} {place_of(run)}"
        try:
            there = self._session.version(rollout.canary).tags
            for name, value in ((ROLLOUT_RUN, place), (VERDICT, verdict)):
                if there.get(name) != value:
                    self._session.store.write(self._session.name, SetVersionTag(rollout.canary, name, value))
            self._session.describe(rollout.canary, rollout.champion)
            self._linked.add(rollout.id)
        except FdsError as error:
            self._report(error)

    def _send(self, waiting: _Waiting, run: Run) -> None:
        if waiting.lost:
            waiting.tags[naming.LOST] = str(waiting.lost)
        self.runs.log(run, tuple(waiting.points), waiting.tags)
        del self._waiting[waiting.rollout.id]

    def _close(self, run: Run, events: tuple[Event, ...]) -> None:
        """The end of a rollout: its steps as metrics, what was decided as tags, the report, and the run's end."""
        from fds_mlflow.rollouts.report.report import summary

        story, place = self._told(run, events), place_of(run)
        tags = {
            naming.STATUS: story.rollout.status.value,
            naming.DECISION: story.decision.value,
            "fds.ended_by": who(story.last),
            "fds.reason": story.last.reason,
            naming.NOTE: naming.closing_note(self._session.name, story.rollout, place, summary(story)),
        }
        self.runs.log(run, _weights(story.done), {name: value[: naming.MAX_TAG] for name, value in tags.items()})
        self._keep(run, story)
        self.runs.close(run, naming.run_status(run.data.tags), story.last.time)
        self._link(run, story.rollout, f"{story.decision.value}: {story.last.reason}"[: naming.MAX_TAG])

    def keep(self, story: RolloutSummary) -> None:
        """Keep the reports of a rollout with its run, as they are now: labels come after a rollout has ended.

        Raises:
            UnavailableError: Tracking did not answer.
        """
        run = self.runs.find(story.rollout.id)
        if run is not None:
            self._keep(run, story)

    def _keep(self, run: Run, story: RolloutSummary) -> None:
        from fds_mlflow.display.document import html
        from fds_mlflow.rollouts.report import plain
        from fds_mlflow.rollouts.report.report import render

        self.runs.report(run, REPORT, render(story))
        for language in LANGUAGES:
            self.runs.report(run, summary_file(language), html(plain.document(story, language)))

    def _report(self, error: FdsError) -> None:
        log.warning("a rollout of %r could not be recorded, and goes on: %s", self._session.name, error.what)


def _newer(known: LastReported) -> tuple[int, bool, datetime | None]:
    """Which of two memories of one rollout is the newer one; the time is compared only where both have one."""
    return known.number, known.logged is not None, known.logged


def _due(now: datetime, last: datetime | None, began: datetime) -> bool:
    """Whether enough time has passed since the last tick that was logged."""
    return last is None or now - last >= (last - began) / DENSITY


def _weights(events: tuple[Event, ...]) -> list[Point]:
    """The weight after each event: a rollout by hand has no ticks."""
    points = []
    for event in events:
        if event.rollout is not None:
            # The last tick may be of the same millisecond as the end, which must come out as the latest value.
            time = event.time if event.rollout.active else event.time + timedelta(milliseconds=1)
            points.append(Point(time, {naming.WEIGHT: to_percent(naming.weight_after(event.rollout))}))
    return points
