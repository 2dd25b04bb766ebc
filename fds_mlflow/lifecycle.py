"""ManagedModel: the verbs a person uses on one registered model."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fds_mlflow.canary import Canary
from fds_mlflow.clock import SystemClock
from fds_mlflow.core.comparison import Comparison
from fds_mlflow.core.decision import crowned, decisions
from fds_mlflow.core.events import Event, Kind
from fds_mlflow.core.operations import Request, Target
from fds_mlflow.core.settings import check_seed
from fds_mlflow.core.state import State
from fds_mlflow.errors import ConfigError
from fds_mlflow.identity import new_id
from fds_mlflow.notify import Notifier, default_notifier
from fds_mlflow.offline import Admission, compare
from fds_mlflow.registry import tags, transfer
from fds_mlflow.registry.doctor import Finding, examine
from fds_mlflow.registry.store import RegistryStore, VersionView, Write
from fds_mlflow.registry.tags import Intent
from fds_mlflow.registry.transaction import Check, Clock, Result, Transactions
from fds_mlflow.registry.view import View
from fds_mlflow.reports import Overview, Validation
from fds_mlflow.rollback import Rollback
from fds_mlflow.serving.buffer import Buffer
from fds_mlflow.serving.router import Router
from fds_mlflow.serving.scorer import Scorer, accelerated, validate
from fds_mlflow.serving.scorer import load as load_scorer

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.outcomes.store import OutcomeStore
    from fds_mlflow.training.features import FeatureTable


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
        notifier: Who is told of each event this process writes; None for the webhook and the hooks that the
            environment names.

    Attributes:
        canary: What its canary can do: start, status, advance, complete, abort, and to fly unattended.
        rollback: The ways back to a former champion.

    Raises:
        ConfigError: The name is empty.
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
        notifier: Notifier | None = None,
    ) -> None:
        if not name.strip():
            raise ConfigError("the name of the model is empty", fix="name it (`fds list` shows which there are)")
        self.name = name
        self.actor = actor or os.environ.get("FDS_ACTOR") or f"{getpass.getuser()}@{socket.gethostname()}"
        self.tracking_uri = tracking_uri
        self._registry_uri = registry_uri
        self._outcomes = outcomes
        self._clock: Clock = clock or SystemClock()
        if store is None:
            from fds_mlflow.registry.mlflow_store import MlflowStore

            store = MlflowStore(registry_uri=registry_uri, tracking_uri=tracking_uri)
        self._store = store
        self.notifier = notifier or default_notifier()
        self._transactions = Transactions(store, self._clock, new_id, on_event=self.notifier.event)
        self._scorers: dict[int, tuple[VersionView, Scorer]] = {}
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

    @property
    def knows_outcomes(self) -> bool:
        """Whether an outcome store is named, or the default one is there: one that is made only now knows nothing."""
        from fds_mlflow.outcomes.engine import DEFAULT_URL

        named = self._outcomes or os.environ.get("FDS_OUTCOMES_URI")
        return bool(named) or Path(DEFAULT_URL.removeprefix("sqlite:///")).is_file()

    # --- stages ----------------------------------------------------------------------------------------------

    def stage(self, version: int, *, reason: str = "") -> Result:
        """Put a version forward as a candidate (stage Staging).

        Raises:
            RefusedError: It is the champion or the canary.
            NotFoundError: It does not exist.
        """
        self._store.version(self.name, version)
        return self.run(Request(Kind.STAGE, version), reason)

    def promote(
        self,
        version: int,
        *,
        reason: str = "",
        allow_new_columns: bool = False,
        data: pd.DataFrame | FeatureTable | None = None,
        force: bool = False,
    ) -> Result:
        """Make a version the champion; the former champion goes to Archived.

        The two are compared offline first, where labelled rows are at hand. The result says what came of it.

        Args:
            version: The version.
            reason: Why, at most 1,000 bytes.
            allow_new_columns: It may need columns that today's champion does not: callers send them already.
            data: Rows with both versions' feature columns and `label`, 1 = fraud, to compare on; None for the test set
                that was logged with the version's run.
            force: Promote it though it is clearly worse than the champion; needs a reason.

        Raises:
            RefusedError: A rollout is active, the version may not serve, or it is clearly worse than the champion and
                `force` is not set.
            DataError: The given rows have no labels, or not the columns that the version needs.
            NotFoundError: It does not exist.
        """
        admission = Admission(self, allow_new_columns=allow_new_columns, data=data, force=force)
        return admission.told(self.run(Request(Kind.PROMOTE, version, force=force), reason, admission))

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
            decisions=decisions(view.history.events),
            crowned=crowned(view.history.events) if view.champion_alias == view.state.champion else None,
            withdrawn=tuple(sorted(version for version in view.state.withdrawn if version is not None)),
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
        """A version, loaded; kept for the next time, unless its number or its threshold means another by then.

        Raises:
            RefusedError: It is not READY, has no threshold, or its artifacts do not load.
            NotFoundError: It does not exist.
        """
        view = self._store.version(self.name, version)
        there, scorer = self._scorers.get(version, (None, None))
        same = there is not None and there.ready == view.ready and there.identity == view.identity
        if scorer is None or not same or (there and there.tags.get(tags.THRESHOLD) != view.tags.get(tags.THRESHOLD)):
            scorer = load_scorer(
                self._store,
                self.name,
                version,
                tracking_uri=self.tracking_uri,
                registry_uri=self._registry_uri,
            )
            self._scorers[version] = (view, scorer)
        return scorer

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
            ConfigError: There is no round, or the seed is out of range.
            DataError: A column is missing, a label is not 0 or 1, or one class is missing.
        """
        check_seed(seed)
        scorers = self.scorer(baseline), self.scorer(candidate)
        return compare(*scorers, data, label=label, rounds=rounds, seed=seed)

    def router(self, *, poll_seconds: float = 2.0, record: bool = True, buffered: bool = False) -> Router:
        """A router that follows the aliases, for those who score in their own process.

        Args:
            poll_seconds: How old its table may get before the aliases are read again.
            record: Write an outcome for every scored row.
            buffered: Write outcomes in batches from a thread of its own, so that no answer waits for the store.
                Close the router (or use it in a `with`) before the process ends; what is in memory when it is killed
                is lost.
        """
        recorder: Buffer | OutcomeStore | None = self.outcomes if record else None
        if buffered and record:
            recorder = Buffer(self.outcomes)
        return Router(
            self.name,
            self._store,
            lambda version: accelerated(self.scorer(version)),
            clock=self._clock,
            poll_seconds=poll_seconds,
            recorder=recorder,
        )

    # --- for the namespaces ----------------------------------------------------------------------------------

    def run(
        self,
        request: Request,
        reason: str,
        check: Check | None = None,
        *,
        take_over: bool = False,
        on_moved: Callable[[int], None] | None = None,
        actor: str | None = None,
    ) -> Result:
        """Carry out a request in this model's name; as the model's own actor, unless another one is named."""
        return self._transactions.run(
            self.name,
            request,
            actor=actor or self.actor,
            reason=reason,
            check=check,
            take_over=take_over,
            on_moved=on_moved,
        )

    def look(self) -> View:
        """The model as it is now."""
        return self._transactions.look(self.name)

    @property
    def clock(self) -> Clock:
        """The model's clock."""
        return self._clock

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
            logged = MlflowClient(self.tracking_uri, self._registry_uri).get_run(run_id).data.metrics
        except MlflowException:
            return {}  # the run was deleted; the version may live on
        return {name: value for name, value in logged.items() if not name.startswith(("val_", "curve_", "system/"))}

    def checks(self, version: int, champion: int | None, *, allow_new_columns: bool = False) -> Validation:
        """Ask of a version what must hold before it may serve."""
        checks = validate(self.scorer, version, champion, allow_new_columns=allow_new_columns)
        return Validation(version, tuple(checks), ())

    def validated(self, allow_new_columns: bool = False) -> Check:
        """A check that refuses a target which may not serve."""

        def check(view: View, target: Target) -> Target:
            if target.version is not None:
                self._store.version(self.name, target.version)  # a version that does not exist is its own error
                validation = self.checks(target.version, view.champion_alias, allow_new_columns=allow_new_columns)
                validation.require()
            return target

        return check
