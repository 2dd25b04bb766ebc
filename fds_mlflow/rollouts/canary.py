"""The canary of a model: start, judge, advance, pause, complete, abort, fly unattended, watch, rehearse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fds_mlflow.core.evidence.arms import arms_of_step
from fds_mlflow.core.evidence.evidence import Evidence
from fds_mlflow.core.judge.judge import Judgement, judge
from fds_mlflow.core.lifecycle.budget import within_budget
from fds_mlflow.core.lifecycle.controller import next_step
from fds_mlflow.core.lifecycle.decision import basis, ending, pushed
from fds_mlflow.core.lifecycle.events import Basis, Event, Kind, Rollout
from fds_mlflow.core.lifecycle.operations import Request, Target
from fds_mlflow.core.plan.default import DEFAULT_PLAN, labels_missing
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.weight import to_basis_points
from fds_mlflow.errors import ConfigError, FdsError, RefusedError
from fds_mlflow.lifecycle.reports import CanaryStatus
from fds_mlflow.registry.transaction import Result
from fds_mlflow.registry.view import View, edits
from fds_mlflow.rollouts.observation import awaited, last_of
from fds_mlflow.rollouts.watch import start_watch
from fds_mlflow.runtime.identity import new_id

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.features.table import FeatureTable
    from fds_mlflow.lifecycle.session import Session
    from fds_mlflow.rollouts.autopilot import Autopilot
    from fds_mlflow.rollouts.rehearsal.rehearsal import Rehearsal
    from fds_mlflow.rollouts.tick import OnTick, Tick


class Canary:
    """The canary of a model: `model.canary.start(...)` and what follows."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def start(
        self,
        version: int,
        *,
        plan: Plan | None = None,
        reason: str = "",
        allow_new_columns: bool = False,
        data: pd.DataFrame | FeatureTable | None = None,
        force: bool = False,
    ) -> Result:
        """Start a rollout of a version against the champion, at the plan's first weight.

        The two are compared offline first, where labelled rows are at hand. The result says what came of it.

        Args:
            version: The version.
            plan: The plan; None for `DEFAULT_PLAN`.
            reason: Why, at most 1,000 bytes.
            allow_new_columns: It may need columns that the champion does not: callers send them already.
            data: Rows with both versions' feature columns and `label`, 1 = fraud, to compare on; None for the test set
                that was logged with the version's run.
            force: Try it though it is clearly worse than the champion; needs a reason.

        Raises:
            RefusedError: There is no champion, the version is the champion, a rollout is active, the version may not
                serve, it is clearly worse than the champion and `force` is not set, or the rollouts of this quarter
                have spent the plan's `alpha_budget`.
            DataError: The given rows have no labels, or not the columns that the version needs.
            NotFoundError: The version does not exist.
        """
        from fds_mlflow.lifecycle.admission import Admission

        admission = Admission(self._session, allow_new_columns=allow_new_columns, data=data, force=force)
        now, plan, spent = self._session.now(), plan or DEFAULT_PLAN, ""

        def admitted(view: View, target: Target) -> Target:
            nonlocal spent
            spent = within_budget(plan, view.history.events, now)
            return admission(view, target)

        request = Request(Kind.START, version, plan=plan, force=force, rollout_id=new_id(), now=now)
        result = admission.told(self._session.run(request, reason, admitted))
        if result.changed and (blind := labels_missing(plan)):
            result = replace(result, warnings=(*result.warnings, blind))
        return replace(result, message=f"{result.message}; {spent}") if spent else result

    def rollout(self) -> Rollout:
        """The active rollout.

        Raises:
            RefusedError: There is none.
        """
        return self._active(self._session.look())

    def last(self) -> Event | None:
        """The last event about the last rollout, where none is under way; None where one is, or there was none."""
        view = self._session.look()
        return None if view.rollout is not None else last_of(view)

    @staticmethod
    def _active(view: View) -> Rollout:
        if view.rollout is None:
            raise RefusedError(
                f"there is no active rollout{ending(last_of(view))}", fix="start one (`fds canary start MODEL VERSION`)"
            )
        return view.rollout

    def status(self, evidence: Evidence | None = None) -> CanaryStatus:
        """Both variants' numbers in this step, what all evidence says, and what the controller would do.

        Args:
            evidence: What is known about the rollout on the terms of its plan, for who counts it elsewhere (an
                `AsyncOutcomeStore`); None to ask the model's own store.

        Raises:
            RefusedError: There is no active rollout.
            ConfigError: The evidence was counted on other terms.
        """
        view = self._session.look()
        rollout, known, judgement = self._judged(self._active(view), evidence)
        step = arms_of_step(known, rollout.step, rollout.weight, is_watch=False)
        recommendation = next_step(rollout, judgement, self._session.now())
        warnings = () if view.edited is None else (f"{edits(view.edited, rollout)}, by which nobody judges",)
        return CanaryStatus(rollout, step.control, step.treatment, judgement.verdicts, recommendation, warnings)

    def _judged(self, rollout: Rollout, evidence: Evidence | None = None) -> tuple[Rollout, Evidence, Judgement]:
        """A rollout, what is known about it, and what the judge says."""
        if evidence is None:
            now = self._session.now()
            evidence = self._session.home.evidence(self._session.name, rollout.id, rollout.plan.terms, as_of=now)
        return rollout, evidence, judge(evidence, rollout)

    def _basis(self) -> Basis:
        """What the judge says, for the record of what a person decides; a judge that cannot be asked stops nobody."""
        if self._session.dry_run or not self._session.knows_outcomes:  # to ask is to count, which writes
            return Basis()
        try:
            _, evidence, judgement = self._judged(self.rollout())
        except FdsError:
            return Basis()
        return basis(judgement, evidence, judged=False)

    def advance(self, to: float | None = None, *, reason: str = "", force: bool = False) -> Result:
        """Move on to the next step of the plan, or to a given percentage; displayed statistics restart.

        Args:
            to: Percentage; None for the plan's next step.
            reason: Why, at most 1,000 bytes. The plan's next step needs none, unless it leads through a gate.
            force: Go beyond the next step, past a gate, or to 100 %; needs a reason, and the history says so.

        Raises:
            RefusedError: There is no active rollout, it is at its last step, the percentage is ahead of the plan and
                `force` is not set, or a reason is missing.
            ConfigError: The percentage is not one.
        """
        weight = None if to is None else to_basis_points(to)
        request = Request(Kind.ADVANCE, weight=weight, force=force, now=self._session.now())
        return self._session.run(request, reason)

    def complete(self, *, reason: str = "", force: bool = False) -> Result:
        """Make the canary the champion; the former champion goes to Archived.

        The history keeps what the judge says at that moment, where an outcome store is at hand.

        Raises:
            RefusedError: There is no active rollout, it is below its last step and `force` is not set, it is set and
                no reason is given, or the canary's files are not those that the rollout began with.
        """
        known = replace(self._basis(), pushed=pushed(reversed(self._session.history())))
        return self._session.run(Request(Kind.COMPLETE, force=force, basis=known), reason, self._session.intact)

    def rehearse(
        self,
        version: int,
        *,
        data: pd.DataFrame | FeatureTable,
        plan: Plan | None = None,
        champion: int | None = None,
        **options: Any,
    ) -> Rehearsal:
        """Rehearse a rollout of a version on labelled history, before the release.

        Args:
            version: The canary.
            data: Rows with both versions' feature columns, routing key, time and label.
            plan: The plan; None for the default one.
            champion: Version to rehearse against; None for today's champion.
            options: Passed on to `fds_mlflow.rollouts.rehearsal.rehearsal.rehearse`.

        Raises:
            RefusedError: There is no champion, or a version may not serve.
            DataError: A column is missing or holds what it should not, or there are too few rows.
        """
        import pandas as pd

        from fds_mlflow.rollouts.rehearsal.rehearsal import Columns, rehearse
        from fds_mlflow.scoring.earlier import score_table

        against = champion or self._session.look().champion_alias
        if against is None:
            raise RefusedError("there is no champion to rehearse against", fix="name a version with champion=")
        frame = data if isinstance(data, pd.DataFrame) else data.frame
        names = options.pop("columns", None) or Columns()
        scorers = self._session.scorer(against), self._session.scorer(version)
        scored = {n: score_table(s, frame) for n, s in zip((names.champion, names.canary), scorers, strict=True)}
        thresholds = (scorers[0].threshold, scorers[1].threshold)
        return rehearse(frame.assign(**scored), plan or DEFAULT_PLAN, thresholds, columns=names, **options)

    def autopilot(self, *, record: bool = True, on_tick: Sequence[OnTick] = ()) -> Autopilot:
        """What carries the rollout through its plan, unattended.

        Args:
            record: Keep each rollout as a tracking run.
            on_tick: Called with what each look found and did.
        """
        from fds_mlflow.rollouts.autopilot import Autopilot
        from fds_mlflow.rollouts.record.recorder import RolloutRecorder

        if self._session.dry_run:
            raise ConfigError("an autopilot has no dry run", fix="ask what it would do: canary.status()")
        recorders = [RolloutRecorder(self._session).on_tick] if record else []
        return Autopilot(self._session, on_tick=[*on_tick, *recorders])

    def tick(self, *, record: bool = True, on_tick: Sequence[OnTick] = ()) -> Tick:
        """Look at the rollout once, and do what follows; arguments as for `autopilot`."""
        return self.autopilot(record=record, on_tick=on_tick).tick()

    def run(
        self,
        *,
        interval: float = 30.0,
        record: bool = True,
        on_tick: Sequence[OnTick] = (),
        wait: Callable[[float], object] | None = None,
    ) -> Tick:
        """Carry the rollout through its plan, unattended, until it has ended; the last look.

        Args:
            interval: Seconds between two looks.
            record: Keep each rollout as a tracking run.
            on_tick: Called with what each look found and did.
            wait: As for `Autopilot.run`.

        Raises:
            RefusedError: There is no active rollout.
        """
        return self.autopilot(record=record, on_tick=on_tick).run(interval=interval, wait=wait)

    def pause(self, *, reason: str = "") -> Result:
        """Keep the rollout at its weight: nobody advances or completes it, and its times stand still, until `resume`.

        A guardrail that fails, and a canary that never answers, end it all the same.

        Raises:
            RefusedError: There is no active rollout.
        """
        return self._session.run(Request(Kind.PAUSE, now=self._session.now()), reason)

    def resume(self, *, reason: str = "") -> Result:
        """Let a paused rollout go on; the time of the pause counts for nothing in its step.

        Raises:
            RefusedError: There is no active rollout.
        """
        return self._session.run(Request(Kind.RESUME, now=self._session.now()), reason)

    def wait(self, *, timeout: float | None = None, interval: float = 30.0, on_tick: Sequence[OnTick] = ()) -> Tick:
        """Wait until the rollout has ended, whoever carries it through; nothing is decided or written here.

        Args:
            timeout: Seconds; None for as long as it takes.
            interval: Seconds between two looks.
            on_tick: Called with what each look found.

        Returns:
            The last look: `ended`, with the event that ended it as `last`, unless the time was over. Without a rollout
            under way, what became of the last one.

        Raises:
            FdsError: The first look met an error that no waiting fixes, such as a model that does not exist.
        """
        return awaited(self._session, timeout=timeout, interval=interval, on_tick=on_tick)

    def watch(self, completed: Rollout) -> Result:
        """Start the watch of a completed rollout: see `rollouts.watch.start_watch`."""
        return start_watch(self._session, completed)

    def abort(self, *, reason: str) -> Result:
        """Stop the canary: all traffic goes to the champion at once, and the version stays in Staging.

        Raises:
            RefusedError: There is no active rollout, or no reason.
        """
        return self._session.run(Request(Kind.ABORT), reason)
