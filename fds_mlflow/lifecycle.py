"""ManagedModel: the verbs a person uses on one registered model."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from ulid import ULID

from fds_mlflow.clock import SystemClock
from fds_mlflow.core.comparison import Comparison
from fds_mlflow.core.comparison import compare as compare_scores
from fds_mlflow.core.controller import next_step
from fds_mlflow.core.events import MOVES_CHAMPION, Event, Kind, Outcome, Rollout
from fds_mlflow.core.evidence import VariantCounts
from fds_mlflow.core.judge import judge, worst
from fds_mlflow.core.operations import Request, Target
from fds_mlflow.core.plan import Plan, to_basis_points
from fds_mlflow.core.state import State
from fds_mlflow.errors import DataError, NotFoundError, RefusedError
from fds_mlflow.registry import transfer
from fds_mlflow.registry.doctor import Finding, examine
from fds_mlflow.registry.store import RegistryStore, VersionView, Write
from fds_mlflow.registry.tags import Intent
from fds_mlflow.registry.transaction import Clock, Result, Transactions
from fds_mlflow.registry.view import View
from fds_mlflow.reports import CanaryStatus, Candidate, Overview, Validation
from fds_mlflow.serving.router import Router
from fds_mlflow.serving.scorer import Check, Scorer, validate
from fds_mlflow.serving.scorer import load as load_scorer

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.outcomes.store import OutcomeStore
    from fds_mlflow.training.features import FeatureTable

WATCHED_METRICS = ("average_precision", "recall", "roc_auc")
CLEARLY_WORSE = 0.1
"""Relative loss of a watched metric from which a rollback target is called clearly worse."""


class ManagedModel:
    """One registered model and its lifecycle.

    Args:
        name: Registered model.
        tracking_uri: None for the one MLflow resolves.
        registry_uri: None for the one MLflow resolves.
        outcomes: Outcome store, or its SQLAlchemy URL; None for `FDS_OUTCOMES_URI`, else a SQLite file in the
            working directory. It is opened when first needed.
        actor: Who acts, for the history; None for `FDS_ACTOR`, else user@host.
        store: Another registry than MLflow's.
        clock: Another clock than the machine's.
    """

    def __init__(
        self,
        name: str,
        *,
        tracking_uri: str | None = None,
        registry_uri: str | None = None,
        outcomes: OutcomeStore | str | None = None,
        actor: str | None = None,
        store: RegistryStore | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.actor = actor or os.environ.get("FDS_ACTOR") or f"{getpass.getuser()}@{socket.gethostname()}"
        self._tracking_uri = tracking_uri
        self._registry_uri = registry_uri
        self._outcomes = outcomes
        self._clock: Clock = clock or SystemClock()
        if store is None:
            from fds_mlflow.registry.mlflow_store import MlflowStore

            store = MlflowStore(registry_uri=registry_uri, tracking_uri=tracking_uri)
        self._store = store
        self._transactions = Transactions(store, self._clock, new_id)
        self._scorers: dict[int, Scorer] = {}
        self.canary = Canary(self)
        self.rollback = Rollback(self)

    def __repr__(self) -> str:
        return f"ManagedModel({self.name!r})"

    @cached_property
    def outcomes(self) -> OutcomeStore:
        """The store of outcomes and labels."""
        from fds_mlflow.outcomes.engine import DEFAULT_URL
        from fds_mlflow.outcomes.store import OutcomeStore

        given = self._outcomes or os.environ.get("FDS_OUTCOMES_URI") or DEFAULT_URL
        return OutcomeStore(given) if isinstance(given, str) else given

    # --- stages ----------------------------------------------------------------------------------------------

    def stage(self, version: int, *, reason: str = "") -> Result:
        """Put a version forward as a candidate (stage Staging).

        Raises:
            RefusedError: It is the champion or the canary.
            NotFoundError: It does not exist.
        """
        self._store.version(self.name, version)
        return self.run(Request(Kind.STAGE, version), reason)

    def promote(self, version: int, *, reason: str = "", allow_new_columns: bool = False) -> Result:
        """Make a version the champion; the former champion goes to Archived.

        Args:
            version: The version.
            reason: Why, at most 1,000 bytes.
            allow_new_columns: It may need columns that today's champion does not: callers send them already.

        Raises:
            RefusedError: A rollout is active, or the version may not serve.
            NotFoundError: It does not exist.
        """
        return self.run(Request(Kind.PROMOTE, version), reason, self._validated(allow_new_columns))

    def retire(self, version: int, *, reason: str = "") -> Result:
        """Take a candidate out of the running (stage Archived).

        Raises:
            RefusedError: It is the champion or the canary.
            NotFoundError: It does not exist.
        """
        self._store.version(self.name, version)
        return self.run(Request(Kind.RETIRE, version), reason)

    # --- questions -------------------------------------------------------------------------------------------

    def overview(self) -> Overview:
        """The model at a glance."""
        view = self._transactions.look(self.name)
        return Overview(
            name=self.name,
            champion=view.champion_alias,
            rollout=view.rollout,
            agrees=view.agrees,
            pending=view.history.intents,
            versions=tuple(self._store.versions(self.name)),
        )

    def history(self) -> list[Event]:
        """All events, the newest first."""
        return list(reversed(self._transactions.look(self.name).history.events))

    def pending(self) -> list[Intent]:
        """Operations in flight, or left behind by a process that died; the next operation settles those."""
        return list(self._transactions.look(self.name).history.intents)

    def settle(self) -> None:
        """Settle what dead processes left behind, and take what hands did into the history.

        Raises:
            ConflictError: Another operation stayed in flight.
        """
        self._transactions.settle(self.name, actor=self.actor)

    def doctor(self, *, fix: bool = False) -> list[Finding]:
        """What the history does not explain, the most severe first; with `fix`, what is left after repairing.

        Repairing settles dead operations and records what hands did, by appending; then it tidies what changes no
        routing: stages, rollouts that are not under way, a canary alias without traffic.

        Raises:
            ConflictError: With `fix`: another operation stayed in flight.
        """
        if fix:
            self._transactions.write_alone(self.name, self._tidying, actor=self.actor)
            self._transactions.pack(self.name, actor=self.actor)
        return examine(self._transactions.look(self.name), self._store.versions(self.name))

    def _tidying(self, view: View) -> list[Write]:
        findings = examine(view, self._store.versions(self.name))
        return [write for finding in findings for write in finding.writes]

    def export_history(self) -> list[str]:
        """The history as JSON lines, in order of sequence."""
        return transfer.dump(self._transactions.look(self.name).history.events)

    def import_history(self, lines: Iterable[str]) -> State:
        """Take over a history that was exported elsewhere: events, stages, aliases, and an active rollout.

        Asking again after an interruption finishes it.

        Raises:
            DataError: A line is no exported event.
            RefusedError: The model has a history of its own, or lacks versions that serve by this one.
        """
        events = transfer.parse(lines)

        def planned(view: View) -> list[Write]:
            return transfer.plan(view, self._store.versions(self.name), events)[0]

        return self._transactions.write_alone(self.name, planned, actor=self.actor, adopt=False).state

    def scorer(self, version: int) -> Scorer:
        """A version, loaded; kept for the next time.

        Raises:
            RefusedError: It is not READY, has no threshold, or its artifacts do not load.
            NotFoundError: It does not exist.
        """
        if version not in self._scorers:
            self._scorers[version] = load_scorer(
                self._store,
                self.name,
                version,
                tracking_uri=self._tracking_uri,
                registry_uri=self._registry_uri,
            )
        return self._scorers[version]

    def compare(
        self,
        baseline: int,
        candidate: int,
        *,
        data: pd.DataFrame | FeatureTable,
        label: str = "label",
        rounds: int = 500,
        seed: int = 42,
    ) -> Comparison:
        """Score both versions on the same rows and compare them, each at its own threshold.

        Args:
            baseline: Usually the champion.
            candidate: The version that might replace it.
            data: Rows with both versions' feature columns and the label.
            label: Name of the label's column, 1 = fraud.
            rounds: Bootstrap rounds of the intervals.
            seed: Seed of the bootstrap.

        Raises:
            DataError: A column is missing, a label is not 0 or 1, or one class is missing.
        """
        import pandas as pd

        frame = data if isinstance(data, pd.DataFrame) else data.frame
        labels = _labels(frame, label)
        first, second = self.scorer(baseline), self.scorer(candidate)
        return compare_scores(
            labels,
            first.score(frame),
            second.score(frame),
            thresholds=(first.threshold, second.threshold),
            random=np.random.default_rng(seed),
            rounds=rounds,
        )

    def router(self, *, poll_seconds: float = 2.0, record: bool = True) -> Router:
        """A router that follows the aliases.

        Args:
            poll_seconds: How old its table may get before the aliases are read again.
            record: Write an outcome for every scored row.
        """
        return Router(
            self.name,
            self._store,
            self.scorer,
            clock=self._clock,
            poll_seconds=poll_seconds,
            recorder=self.outcomes if record else None,
        )

    # --- for the namespaces ----------------------------------------------------------------------------------

    def run(
        self,
        request: Request,
        reason: str,
        check: Callable[[View, Target], None] | None = None,
        *,
        take_over: bool = False,
        on_moved: Callable[[int], None] | None = None,
    ) -> Result:
        """Carry out a request in this model's name."""
        return self._transactions.run(
            self.name,
            request,
            actor=self.actor,
            reason=reason,
            check=check,
            take_over=take_over,
            on_moved=on_moved,
        )

    def look(self) -> View:
        """The model as it is now."""
        return self._transactions.look(self.name)

    def now(self) -> datetime:
        """The time by the model's clock."""
        return self._clock.now()

    def version(self, number: int) -> VersionView:
        """One version as the registry has it."""
        return self._store.version(self.name, number)

    def metrics(self, version: int) -> Mapping[str, float]:
        """Test metrics of the run that logged a version; none where there is no such run."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        run_id = self._store.version(self.name, version).run_id
        if run_id is None:
            return {}
        try:
            logged = MlflowClient(self._tracking_uri, self._registry_uri).get_run(run_id).data.metrics
        except MlflowException:
            return {}  # the run was deleted; the version may live on
        return {name: value for name, value in logged.items() if not name.startswith(("val_", "curve_", "system/"))}

    def checks(self, version: int, champion: int | None, *, allow_new_columns: bool = False) -> Validation:
        """Ask of a version what must hold before it may serve."""
        checks = validate(self.scorer, version, champion, allow_new_columns=allow_new_columns)
        return Validation(version, tuple(checks), ())

    def _validated(self, allow_new_columns: bool = False) -> Callable[[View, Target], None]:
        def check(view: View, target: Target) -> None:
            if target.version is not None:
                self._store.version(self.name, target.version)  # a version that does not exist is its own error
                validation = self.checks(target.version, view.champion_alias, allow_new_columns=allow_new_columns)
                validation.require()

        return check


class Canary:
    """The canary of a model: `model.canary.start(...)` and what follows."""

    def __init__(self, model: ManagedModel) -> None:
        self._model = model

    def start(
        self, version: int, *, plan: Plan | None = None, reason: str = "", allow_new_columns: bool = False
    ) -> Result:
        """Start a rollout of a version against the champion, at the plan's first weight (10 % by default).

        Raises:
            RefusedError: There is no champion, the version is the champion, a rollout is active, or the version may
                not serve.
            NotFoundError: The version does not exist.
        """
        request = Request(Kind.START, version, plan=plan or Plan(), rollout_id=new_id(), now=self._model.now())
        return self._model.run(request, reason, self._model._validated(allow_new_columns))

    def rollout(self) -> Rollout:
        """The active rollout.

        Raises:
            RefusedError: There is none.
        """
        rollout = self._model.look().rollout
        if rollout is None:
            raise RefusedError("there is no active rollout", fix="start one (`canary start VERSION`)")
        return rollout

    def status(self, counts: Sequence[VariantCounts] | None = None) -> CanaryStatus:
        """Both variants' numbers in this step, what they add up to, and what the controller would do.

        Args:
            counts: The champion's and the canary's outcomes in this step, for who counts them elsewhere (an
                `AsyncOutcomeStore`); None to ask the model's own store.

        Raises:
            RefusedError: There is no active rollout.
        """
        rollout = self.rollout()
        if counts is None:
            counts = self._model.outcomes.counts(self._model.name, rollout.id, rollout.step)
        champion, canary = counts
        verdicts = judge(champion, canary, rollout.plan, rollout.weight)
        return CanaryStatus(rollout, champion, canary, tuple(verdicts), next_step(rollout, worst(verdicts)))

    def advance(self, to: float | None = None, *, reason: str = "") -> Result:
        """Move on to the next step of the plan, or to a given percentage; displayed statistics restart.

        Raises:
            RefusedError: There is no active rollout, or it is at its last step.
            ConfigError: The percentage is not one.
        """
        weight = None if to is None else to_basis_points(to)
        return self._model.run(Request(Kind.ADVANCE, weight=weight, now=self._model.now()), reason)

    def complete(self, *, reason: str = "", force: bool = False) -> Result:
        """Make the canary the champion; the former champion goes to Archived.

        Raises:
            RefusedError: There is no active rollout, or it is below its last step and `force` is not set.
        """
        return self._model.run(Request(Kind.COMPLETE, force=force), reason)

    def abort(self, *, reason: str) -> Result:
        """Stop the canary: all traffic goes to the champion at once, and the version stays in Staging.

        Raises:
            RefusedError: There is no active rollout.
        """
        return self._model.run(Request(Kind.ABORT), reason)


class Rollback:
    """The ways back: `model.rollback.emergency(...)` and its deliberate siblings."""

    def __init__(self, model: ManagedModel) -> None:
        self._model = model

    def emergency(self, *, reason: str, validate: bool = True, on_moved: Callable[[int], None] | None = None) -> Result:
        """Move the champion to the latest former champion, past operations in flight; ends an active rollout.

        Args:
            reason: Why, at most 1,000 bytes.
            validate: Check first that the target loads and scores. Without, only that it exists and is READY.
            on_moved: Called with the version as soon as the alias has moved. Where another operation was in
                flight, the call goes on until that one cannot write any more.

        Raises:
            RefusedError: There is no former champion to go back to, or it may not serve.
        """
        check = self._model._validated(allow_new_columns=True) if validate else None
        return self._model.run(Request(Kind.EMERGENCY), reason, check, take_over=True, on_moved=on_moved)

    def to(self, version: int, *, reason: str) -> Result:
        """Roll back to a given former champion; ends an active rollout.

        Raises:
            RefusedError: The version was never champion, is the canary, or may not serve.
            NotFoundError: It does not exist.
        """
        check = self._model._validated(allow_new_columns=True)
        return self._model.run(Request(Kind.ROLLBACK, version), reason, check)

    def candidates(self) -> list[Candidate]:
        """Former champions by the history, the latest to step down first, with metrics and dates."""
        view = self._model.look()
        found = []
        for version in reversed(view.state.former):
            try:
                there = self._model.version(version)
            except NotFoundError:
                continue  # deleted by hand: nothing to go back to
            became, stepped_down = _reign(view.history.events, version)
            found.append(
                Candidate(
                    version=version,
                    champion_since=became,
                    retired_at=stepped_down,
                    withdrawn=version in view.state.withdrawn,
                    metrics=self._model.metrics(version),
                    description=there.description,
                )
            )
        return found

    def validate(self, version: int) -> Validation:
        """Whether the model can be rolled back to a version, with a warning where it is clearly worse."""
        view = self._model.look()
        loaded = self._model.checks(version, view.champion_alias, allow_new_columns=True)
        former = version in view.state.former
        detail = "a former champion by the history" if former else "never champion: use promote"
        checks = (Check("was champion", former, detail), *loaded.checks)
        return Validation(version, checks, tuple(self._warnings(version, view)))

    def _warnings(self, version: int, view: View) -> list[str]:
        warnings = []
        if version in view.state.withdrawn:
            warnings.append(f"version {version} was itself rolled back from")
        champion = view.champion_alias
        try:
            theirs = self._model.metrics(champion) if champion is not None else {}
            ours = self._model.metrics(version)
        except NotFoundError:
            return warnings
        return warnings + [
            f"version {version} is clearly worse: {name} {ours[name]:.4f} < {theirs[name]:.4f}"
            f" of version {champion} by more than {CLEARLY_WORSE:.0%}"
            for name in WATCHED_METRICS
            if name in theirs and name in ours and ours[name] < (1 - CLEARLY_WORSE) * theirs[name]
        ]


def new_id() -> str:
    """A ULID."""
    return str(ULID())


def _reign(events: tuple[Event, ...], version: int) -> tuple[datetime | None, datetime | None]:
    """When a version last became champion and when it last stepped down."""
    moves = [e for e in events if e.outcome is Outcome.DONE and (e.kind in MOVES_CHAMPION or e.kind is Kind.ADOPT)]
    became = [e.time for e in moves if e.to_version == version and e.from_version != version]
    left = [e.time for e in moves if e.from_version == version and e.to_version != version]
    return (became[-1] if became else None), (left[-1] if left else None)


def _labels(frame: pd.DataFrame, label: str) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    if label not in frame.columns:
        raise DataError(
            f"the {len(frame):,} rows have no label column {label!r}",
            fix=f"name it with label= (there are: {', '.join(map(str, frame.columns))})",
        )
    values = frame[label].to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = ~np.isin(values, (0.0, 1.0))
    if wrong.any():
        raise DataError(
            f"the label column {label!r} holds {int(wrong.sum()):,} values other than 0 and 1 in {len(frame):,} rows",
            fix="leave out the rows whose truth is not known yet",
        )
    return values.astype(np.int8)
