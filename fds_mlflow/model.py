"""ManagedModel: the verbs a person uses on one registered model."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fds_mlflow.core.lifecycle.decision import crowned, decisions
from fds_mlflow.core.lifecycle.events import AliasNames, Event, Kind
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.lifecycle.state import State
from fds_mlflow.core.text.checks import check_seed
from fds_mlflow.lifecycle.approvals import Approvals
from fds_mlflow.lifecycle.reports import Overview
from fds_mlflow.lifecycle.rollback import Rollback
from fds_mlflow.lifecycle.session import Session
from fds_mlflow.notifications.notifier import Notifier
from fds_mlflow.registry import alias_names
from fds_mlflow.registry.store import RegistryStore, Write
from fds_mlflow.registry.tags import Intent
from fds_mlflow.registry.transaction import Result
from fds_mlflow.registry.view import View
from fds_mlflow.runtime.clock import Clock

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.core.comparison import Comparison
    from fds_mlflow.features.declaration import Declared
    from fds_mlflow.features.table import FeatureTable
    from fds_mlflow.outcomes.store import OutcomeStore
    from fds_mlflow.registry.doctor import Finding
    from fds_mlflow.registry.dry_run import Preview
    from fds_mlflow.rollouts.canary import Canary
    from fds_mlflow.scoring.scorer import Scorer
    from fds_mlflow.serving.router import Router


class ManagedModel:
    """One registered model and its lifecycle.

    Args:
        name: Registered model.
        tracking_uri: None for the one MLflow resolves.
        registry_uri: None for the one MLflow resolves.
        outcomes: Outcome store, or a home's address; None for `FDS_OUTCOMES_URI`, else a SQLite file in the
            working directory. It is opened when first needed.
        actor: Who acts, for the history; None for `FDS_ACTOR`, else user@host. Where a user is signed in to the
            registry it is the user, for whoever is named here.
        store: Another registry than MLflow's.
        clock: Another clock than the machine's.
        notifier: Who is notified of each event this process writes; None for the webhook and the hooks that the
            environment names.
        trust: Versions may run code of their own when they are loaded here; the history says which ones were given
            traffic so, and by whom.
        dry_run: Operations are carried out on a copy that nobody else sees, one after the other, and nothing is
            written: results and `preview` say what would be.

    Attributes:
        session: What the model's operations stand on, for whoever builds on them: an `Autopilot`, a `RolloutRecorder`.
        rollback: The ways back to a former champion.
        approvals: What needs the approval of a second person, and what waits for one.

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
        trust: bool = False,
        dry_run: bool = False,
    ) -> None:
        self.session = Session(
            name,
            tracking_uri=tracking_uri,
            registry_uri=registry_uri,
            outcomes=outcomes,
            actor=actor,
            store=store,
            clock=clock,
            notifier=notifier,
            trust=trust,
            dry_run=dry_run,
        )
        self.rollback = Rollback(self.session)
        self.approvals = Approvals(self.session)

    @cached_property
    def canary(self) -> Canary:
        """What its canary can do: start, status, advance, complete, abort, and to fly unattended."""
        from fds_mlflow.rollouts.canary import Canary  # with the judge, which an emergency does not wait for

        return Canary(self.session)

    def __repr__(self) -> str:
        return f"ManagedModel({self.name!r})"

    @property
    def name(self) -> str:
        """The registered model's name."""
        return self.session.name

    @property
    def outcomes(self) -> OutcomeStore:
        """The store of outcomes and labels."""
        return self.session.outcomes

    # --- stages ----------------------------------------------------------------------------------------------

    def stage(self, version: int, *, reason: str = "") -> Result:
        """Put a version forward as a candidate (stage Staging).

        Raises:
            RefusedError: It is the champion or the canary.
            NotFoundError: It does not exist.
        """
        return self.session.run(Request(Kind.STAGE, version), reason, self.session.vouched)

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
            RefusedError: A rollout is active, the version may not serve, brings code that nobody has allowed to run, or
                is clearly worse than the champion and `force` is not set.
            DataError: The given rows have no labels, or not the columns that the version needs.
            NotFoundError: It does not exist.
        """
        from fds_mlflow.lifecycle.admission import Admission

        admission = Admission(self.session, allow_new_columns=allow_new_columns, data=data, force=force)
        request = Request(Kind.PROMOTE, version, force=force, anew=self.session.is_unvouched(version))
        return admission.told(self.session.run(request, reason, admission))

    def retire(self, version: int, *, reason: str = "") -> Result:
        """Take a candidate out of the running (stage Archived).

        Raises:
            RefusedError: It is the champion or the canary.
            NotFoundError: It does not exist.
        """
        return self.session.run(Request(Kind.RETIRE, version), reason)

    # --- aliases ---------------------------------------------------------------------------------------------

    @property
    def aliases(self) -> AliasNames:
        """What the model's team calls the two aliases."""
        return self.session.look().names

    def rename_aliases(self, *, champion: str | None = None, canary: str | None = None, reason: str = "") -> Result:
        """Call the model's aliases otherwise from now on: what serves and who answers stays as it is.

        An alias that the team has already is taken as it stands, where the model has no champion yet or both point at
        the same version. Routers and servers follow within a poll.

        Args:
            champion: The alias of the version that serves; None to keep its name.
            canary: The alias of the version on trial; None to keep its name.
            reason: Why, at most 1,000 bytes.

        Raises:
            RefusedError: A rollout is active, or an alias of that name points elsewhere.
            ConfigError: MLflow takes no such name for an alias, or both would have the same.
        """
        now = self.aliases
        names = alias_names.checked(AliasNames(champion or now.champion, canary or now.canary))
        if names == now:
            return Result(None, f"the aliases are called {now.champion} and {now.canary} already")
        return self.session.run(Request(Kind.RENAME, names=names), reason)

    def preview(self) -> Preview | None:
        """What the operations of a dry run would write, all together; None where it is no dry run."""
        return self.session.preview()

    # --- questions -------------------------------------------------------------------------------------------

    def overview(self) -> Overview:
        """The model at a glance."""
        view = self.session.look()
        return Overview(
            name=self.name,
            champion=view.champion_alias,
            rollout=view.rollout,
            agrees=view.agrees,
            pending=view.history.intents,
            versions=tuple(self.session.versions()),
            decisions=decisions(view.history.events),
            crowned=crowned(view.history.events) if view.champion_alias == view.state.champion else None,
            withdrawn=tuple(sorted(version for version in view.state.withdrawn if version is not None)),
        )

    def history(self) -> list[Event]:
        """All events, the newest first."""
        return self.session.history()

    def pending(self) -> list[Intent]:
        """Operations in flight, or left behind by a process that died; the next operation settles those."""
        return list(self.session.look().history.intents)

    def settle(self) -> None:
        """Settle what dead processes left behind, and take out-of-band changes into the history.

        Raises:
            ConflictError: Another operation stayed in flight.
        """
        self.session.settle()

    def doctor(self, *, fix: bool = False) -> list[Finding]:
        """What the history does not explain, the most severe first; with `fix`, what is left after repairing.

        Repairing settles dead operations and records out-of-band changes, by appending; then it tidies what changes no
        routing: stages, rollouts that are not under way, a canary alias without traffic.

        Raises:
            ConflictError: With `fix`: another operation stayed in flight.
        """
        from fds_mlflow.lifecycle.examination import examined, tidied

        if fix:
            tidied(self.session)
        return examined(self.session)

    def export_history(self) -> list[str]:
        """The history as JSON lines, in order of sequence."""
        from fds_mlflow.registry import transfer

        return transfer.dump(self.session.look().history.events)

    def import_history(self, lines: Iterable[str]) -> State:
        """Take over a history that was exported elsewhere: events, stages, aliases, and an active rollout.

        Asking again after an interruption finishes it.

        Raises:
            DataError: A line is no exported event.
            RefusedError: The model has a history of its own, or lacks versions that serve by this one.
        """
        from fds_mlflow.registry import transfer

        events = transfer.parse(lines)

        def planned(view: View) -> list[Write]:
            return transfer.plan(view, self.session.versions(), events)[0]

        return self.session.transactions.write_alone(self.name, planned, actor=self.session.actor, adopt=False).state

    def scorer(self, version: int) -> Scorer:
        """A version, loaded; kept for the next time, unless its number or its threshold means another by then.

        Raises:
            RefusedError: It is not READY, has no threshold, or its artifacts do not load.
            NotFoundError: It does not exist.
        """
        return self.session.scorer(version)

    def declared(self, version: int) -> Declared | None:
        """The features and the schema that a version declares; None where it declares nothing.

        Raises:
            ConfigError: Its declaration is broken.
            NotFoundError: It does not exist.
            RefusedError: Its files are not those that were recorded, or cannot be fetched.
        """
        return self.session.declared(version)

    def compare(
        self,
        baseline: int,
        candidate: int,
        *,
        data: pd.DataFrame | FeatureTable,
        label: str = "label",
        n_boot: int = 500,
        seed: int = 42,
        rounds: int | None = None,
        propensity: str | None = None,
    ) -> Comparison:
        """Score both versions on the same rows and compare them, each at its own threshold.

        Args:
            baseline: Usually the champion.
            candidate: The version that might replace it.
            data: Rows with both versions' feature columns and the label.
            label: Name of the label's column, 1 = fraud.
            n_boot: Bootstrap samples of the intervals.
            seed: Seed of the bootstrap.
            rounds: The name that `n_boot` had; deprecated.
            propensity: Name of the column with the chance that a row has a label, above 0 and at most 1, empty for 1:
                rows that were explored or reviewed count by its inverse. None for the column `label_propensity`, where
                there is one: else every row has a label.

        Raises:
            ConfigError: There is no sample, or the seed is out of range.
            DataError: A column is missing, a label is not 0 or 1, or one class is missing.
        """
        from fds_mlflow.lifecycle.admission import compare

        if rounds is not None:
            warnings.warn("compare(rounds=) is called n_boot now", DeprecationWarning, stacklevel=2)
            n_boot = rounds
        check_seed(seed)
        scorers = self.scorer(baseline), self.scorer(candidate)
        return compare(*scorers, data, label=label, n_boot=n_boot, seed=seed, propensity=propensity)

    def router(
        self,
        *,
        poll_seconds: float = 2.0,
        record: bool = True,
        buffered: bool = False,
        explore: float = 0.0,
        explore_cap: float | None = None,
        explore_column: str | None = None,
        explore_per_day: int | None = None,
        state: str | Path | None = None,
        state_timeout: float = 0.25,
        state_failure: Literal["degrade", "refuse"] = "degrade",
        vector_sample: float = 0.0,
    ) -> Router:
        """A router that follows the aliases, for those who score in their own process.

        Args:
            poll_seconds: How old its table may get before the aliases are read again.
            record: Write an outcome for every scored row.
            buffered: Write outcomes in batches from a thread of its own, so that no answer waits for the store.
                Close the router (or use it in a `with`) before the process ends; what is in memory when it is killed
                is lost.
            explore: Percentage of what is flagged that is let pass, so that its truth shows; 0 for none.
            explore_cap: Amount up to which; None for any.
            explore_column: Column of the amount; None for `amount`.
            explore_per_day: How many a day (UTC), of all replicas together, by the outcome store; None for any number.
            state: Folder or URL of the past that features of raw transactions need; None to take features alone.
            state_timeout: Seconds that a raw transaction waits for it.
            state_failure: While it does not answer: `degrade` for the features over nothing, marked; or `refuse`.
            vector_sample: Percentage of the transactions whose features are kept with their outcomes.

        Raises:
            ConfigError: What is explored is out of range, bounded though nothing is, or recorded nowhere.
        """
        from fds_mlflow.core.routing.exploration import Exploration
        from fds_mlflow.serving.buffer import Buffer
        from fds_mlflow.serving.routed import opened
        from fds_mlflow.serving.router import Router

        def load(version: int) -> Scorer:
            from fds_mlflow.scoring.scorer import accelerated  # with pandas, which routing does without

            return accelerated(self.scorer(version))

        exploration = Exploration.of(
            self.name, explore, cap=explore_cap, column=explore_column, per_day=explore_per_day, recorded=record
        )
        return Router(
            self.name,
            self.session.store,
            load,
            clock=self.session.clock,
            poll_seconds=poll_seconds,
            recorder=(Buffer(self.session.home) if buffered else self.session.home) if record else None,
            explore=exploration,
            count=partial(self.session.home.explored, self.name) if explore_per_day is not None else None,
            raw=opened(state, self.declared, state_timeout, state_failure, self.session.clock),
            vector_sample=vector_sample,
        )
