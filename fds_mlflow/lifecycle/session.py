"""A session with one registered model: what its operations, rollouts and ways back stand on."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fds_mlflow.core.lifecycle.events import Event
from fds_mlflow.core.lifecycle.operations import Request, Target
from fds_mlflow.display.redaction import redacted
from fds_mlflow.errors import AwaitsApprovalError, ConfigError
from fds_mlflow.lifecycle import descriptions
from fds_mlflow.lifecycle.reports import Validation
from fds_mlflow.lifecycle.validation import validate
from fds_mlflow.notifications.notification import of_event
from fds_mlflow.notifications.notifier import Notifier, default_notifier
from fds_mlflow.registry import tags
from fds_mlflow.registry.connection import connect
from fds_mlflow.registry.doubts import warnings_of
from fds_mlflow.registry.dry_run import DryRunStore, PassingClock, Preview, serving
from fds_mlflow.registry.history import read_history
from fds_mlflow.registry.recorded import recorded
from fds_mlflow.registry.store import RegistryStore, VersionView
from fds_mlflow.registry.transaction import Check, Result, Transactions
from fds_mlflow.registry.view import View
from fds_mlflow.runtime import environment
from fds_mlflow.runtime.clock import Clock, SystemClock
from fds_mlflow.runtime.identity import new_id
from fds_mlflow.runtime.mlflow_client import is_server

if TYPE_CHECKING:
    from fds_mlflow.features.declaration import Declared
    from fds_mlflow.features.profile import Profile
    from fds_mlflow.outcomes.records import Value
    from fds_mlflow.outcomes.sink import Home
    from fds_mlflow.outcomes.store import OutcomeStore
    from fds_mlflow.scoring.fetched import Fetched
    from fds_mlflow.scoring.scorer import Scorer


class Session:
    """One registered model as one actor works with it: the registry, the clock, the outcomes, loaded versions.

    `ManagedModel` has the verbs that a person uses; whoever builds on them takes this.

    Args:
        name: Registered model.
        tracking_uri: None for the one MLflow resolves.
        registry_uri: None for the one MLflow resolves.
        outcomes: Outcome store, or the address of a home of outcomes; None for `FDS_OUTCOMES_URI`, else a SQLite file
            in the working directory. It is opened when first needed.
        actor: Who acts, for the history; None for `FDS_ACTOR`, else user@host. Where a user is signed in to the
            registry it is the user, for whoever is named here.
        store: Another registry than MLflow's.
        clock: Another clock than the machine's.
        notifier: Who is notified of each event this process writes; None for the webhook and the hooks that the
            environment names.
        trust: Versions may run code of their own when they are loaded, whatever the history says.
        dry_run: Operations are carried out on a copy of the registry that nobody else sees: nothing is written.

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
        if not name.strip():
            raise ConfigError("the name of the model is empty", fix="name it (`fds list` shows which there are)")
        self.name = name
        self.tracking_uri = tracking_uri
        self.registry_uri = registry_uri
        self.trust = trust
        self._outcomes = outcomes
        self.clock: Clock = clock or SystemClock()
        self.is_given_store = store is not None  # whose versions have their files who knows where
        if store is None:
            store = connect(tracking_uri, registry_uri, database=outcomes if isinstance(outcomes, str) else None)
        self.dry_run = dry_run
        self._registry = store
        self.store: RegistryStore = DryRunStore(store) if dry_run else store
        self.notifier = Notifier() if dry_run else notifier or default_notifier()
        claimed = actor or environment.setting(environment.ACTOR)
        if store.user is None:
            self.actor = claimed or f"{getpass.getuser()}@{socket.gethostname()}"
        else:
            self.actor = store.user if claimed in ("", store.user) else f"{store.user} for {claimed}"
        waits = PassingClock(self.clock) if dry_run else self.clock
        self.transactions = Transactions(self.store, waits, new_id, on_event=self._tell)
        self._scorers: dict[int, tuple[VersionView, Scorer]] = {}

    @property
    def _named_outcomes(self) -> OutcomeStore | str | None:
        return self._outcomes or environment.setting(environment.OUTCOMES_URI)

    @cached_property
    def outcomes(self) -> OutcomeStore:
        """The store of outcomes and labels, which tells single ones.

        Raises:
            ConfigError: The address is a topic's or a folder's.
        """
        from fds_mlflow.outcomes.database import DEFAULT_URL
        from fds_mlflow.outcomes.homes.opening import database

        given = self._named_outcomes or DEFAULT_URL
        return database(given) if isinstance(given, str) else given

    @cached_property
    def home(self) -> Home:
        """Where outcomes and labels go, and are counted: the store, or the topic or folder that is named instead."""
        from fds_mlflow.outcomes.homes.opening import is_database, opened

        given = self._named_outcomes
        return opened(given) if isinstance(given, str) and not is_database(given) else self.outcomes

    @property
    def knows_outcomes(self) -> bool:
        """Whether an outcome store is named, or the default one is there: one that is made only now knows nothing."""
        from fds_mlflow.outcomes.database import DEFAULT_URL

        return bool(self._named_outcomes) or Path(DEFAULT_URL.removeprefix("sqlite:///")).is_file()

    def shown(self, place: str, *, tracked: bool = False) -> str | None:
        """The address of a page of MLflow's UI.

        Args:
            place: Where it is below the address of the server (`lifecycle.descriptions`).
            tracked: On the server of runs, else of the registry.

        Returns:
            It; None where there is no server.
        """
        import mlflow

        named = self.tracking_uri if tracked else self.registry_uri or self.tracking_uri
        address = named or str(mlflow.get_tracking_uri() if tracked else mlflow.get_registry_uri())
        return f"{redacted(address).rstrip('/')}/{place}" if is_server(address) else None

    def page(self, event: Event) -> str | None:
        """Where MLflow's UI shows the version that an event is about, else the model; None where there is no server."""
        version = event.rollout.canary if event.rollout is not None else event.to_version
        if version is None:
            return self.shown(descriptions.model_place(self.name))
        return self.shown(descriptions.version_place(self.name, version))

    def _tell(self, model: str, event: Event) -> None:
        if self.notifier.receivers:  # else nobody asks where it is to be seen
            self.notifier.send(of_event(model, event, self.page(event)))

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
        try:
            result = self.transactions.run(
                self.name,
                request,
                actor=actor or self.actor,
                reason=reason,
                check=check,
                take_over=take_over,
                on_moved=on_moved,
            )
        except AwaitsApprovalError as error:
            if self.dry_run and read_history(self._registry.read(self.name).tags).find(error.request) is None:
                what = f"the {request.kind.shown} needs the approval of a second person, and would leave a request"
                raise AwaitsApprovalError(what, fix="ask for it without a dry run", request="") from None
            raise
        if (event := result.event) is not None and not self.dry_run:
            of_rollout = () if event.rollout is None else (event.rollout.canary, event.rollout.champion)
            self.describe(event.to_version, event.from_version, *of_rollout)
        return replace(result, preview=self.preview())

    def describe(self, *versions: int | None) -> None:
        """Bring the descriptions of the model and of some versions up to date, as well as that goes."""
        descriptions.update(self.store, self.name, self.look, versions)

    def preview(self) -> Preview | None:
        """What the operations of this dry run would write, all together; None where it is no dry run."""
        if not isinstance(self.store, DryRunStore):
            return None
        before = Transactions(self._registry, self.clock, new_id).look(self.name)
        return Preview(serving(before), serving(self.look()), self.store.changes(self.name))

    def look(self) -> View:
        """The model as it is now."""
        return self.transactions.look(self.name)

    def now(self) -> datetime:
        """The time by the model's clock."""
        return self.clock.now()

    def version(self, number: int) -> VersionView:
        """One version as the registry has it."""
        return self.store.version(self.name, number)

    def versions(self) -> list[VersionView]:
        """All versions as the registry has them."""
        return list(self.store.versions(self.name))

    def history(self) -> list[Event]:
        """All events, the newest first."""
        return list(reversed(self.look().history.events))

    def settle(self) -> None:
        """Settle what dead processes left behind, and take out-of-band changes into the history.

        Raises:
            ConflictError: Another operation stayed in flight.
        """
        view = self.transactions.settle(self.name, actor=self.actor)
        self.describe(view.champion_alias, view.canary_alias)

    def scorer(self, version: int) -> Scorer:
        """A version, loaded; kept for the next time, unless its number or its threshold means another by then.

        Raises:
            RefusedError: It is not READY, has no threshold, its files are not those that were recorded or do not load,
                or they bring code that nobody has allowed to run.
            NotFoundError: It does not exist.
        """
        from fds_mlflow.scoring.scorer import load as load_scorer

        view = self.version(version)
        there, scorer = self._scorers.get(version, (None, None))
        same = there is not None and there.ready == view.ready and there.identity == view.identity
        if scorer is None or not same or (there and there.tags.get(tags.THRESHOLD) != view.tags.get(tags.THRESHOLD)):
            scorer = load_scorer(
                self.store,
                self.name,
                version,
                tracking_uri=self.tracking_uri,
                registry_uri=self.registry_uri,
                trust=self.trust,
            )
        self._scorers[version] = (view, scorer)
        return scorer

    def metrics(self, version: int) -> Mapping[str, float]:
        """Test metrics of the run that logged a version; none where there is no such run."""
        return self.figures(self.version(version).run_id)

    def figures(self, run_id: str | None) -> Mapping[str, float]:
        """Test metrics of a run; none where there is no such run."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        if run_id is None:
            return {}
        try:
            logged = MlflowClient(self.tracking_uri, self.registry_uri).get_run(run_id).data.metrics
        except MlflowException:
            return {}  # the run was deleted; the version may live on
        return {name: value for name, value in logged.items() if not name.startswith(("val_", "curve_", "system/"))}

    def checks(self, version: int, champion: int | None, *, allow_new_columns: bool = False) -> Validation:
        """Ask of a version what must hold before it may serve."""
        self._scorers.pop(version, None)  # what is asked about are its files as they are now
        checks = validate(self.scorer, version, champion, allow_new_columns=allow_new_columns)
        there, _ = self._scorers.get(version, (None, None))
        return Validation(version, tuple(checks), () if there is None else warnings_of(there.tags))

    def validated(
        self, allow_new_columns: bool = False, on_passed: Callable[[Validation], None] | None = None
    ) -> Check:
        """A check that refuses a target which may not serve; `on_passed` is given what was asked of one that may."""

        def check(view: View, target: Target) -> Target:
            if target.version is not None:
                validation = self.checks(target.version, view.champion_alias, allow_new_columns=allow_new_columns)
                validation.require()
                if on_passed is not None:
                    on_passed(validation)
                scorer = self.scorer(target.version)
                if scorer.files is not None:
                    trusted = self.trust and scorer.files.code is not None
                    return replace(target, files=scorer.files.noted, trusted=trusted)
            return target

        return check

    def files(self, view: VersionView, *, held: bool = True) -> Fetched:
        """A version's files, fetched, looked at and removed again.

        Args:
            view: The version.
            held: Hold them against what is recorded.

        Raises:
            RefusedError: They are not those that were recorded, or cannot be fetched.
            UnavailableError: The registry cannot be reached.
        """
        from fds_mlflow.scoring.fetched import fetching

        with fetching(keep=False) as folder:
            return self.fetched(self.name, view, folder, held=held)

    def declared(self, version: int) -> Declared | None:
        """What a version declares of its inputs; None where it declares nothing.

        Raises:
            ConfigError: Its declaration is broken.
            NotFoundError: It does not exist.
            RefusedError: Its files are not those that were recorded, or cannot be fetched.
        """
        from fds_mlflow.features import declaration
        from fds_mlflow.scoring.fetched import fetching

        with fetching(keep=False) as folder:
            self.fetched(self.name, self.version(version), folder)
            return declaration.read(folder)

    def described(self, version: int) -> tuple[Declared | None, Profile | None]:
        """What a version declares, and how the features of its training are distributed; errors as for `declared`."""
        from fds_mlflow.features import declaration, profile
        from fds_mlflow.scoring.fetched import fetching

        with fetching(keep=False) as folder:
            self.fetched(self.name, self.version(version), folder)
            return declaration.read(folder), profile.read(folder)

    def served_features(self, version: int, since: datetime) -> list[dict[str, Value]]:
        """The features of a version's last 1,000 recorded transactions since a time, the oldest first."""
        kept = self.outcomes.vectors(self.name, version=version, since=since, limit=1_000)
        return [one.vector.features for one in kept if not one.degraded]

    def fetched(self, model: str, view: VersionView, folder: str, *, held: bool = True) -> Fetched:
        """The files of a version of this model, or of another one of the same registry, in an empty folder.

        Raises:
            RefusedError: They are not those that were recorded, or cannot be fetched.
            UnavailableError: The registry cannot be reached.
        """
        from fds_mlflow.scoring.fetched import fetched

        uris = {"tracking_uri": self.tracking_uri, "registry_uri": self.registry_uri}
        return fetched(self.store, model, view, folder, held=held, **uris)

    def is_unvouched(self, version: int) -> bool:
        """Whether the champion is this version, runs code of its own, and only now is allowed to: a hand made it so."""
        view = self.look() if self.trust else None
        if view is None or view.champion_alias != version:
            return False
        there = self.version(version)
        return recorded(view.history, there).trusted is None and self.files(there).code is not None

    def vouched(self, view: View, target: Target) -> Target:  # noqa: ARG002 - a check's signature
        """A check that has the history say which files are trusted, where this session trusts them."""
        if not self.trust or target.version is None:
            return target
        files = self.files(self.version(target.version))
        return target if files.code is None else replace(target, files=files.noted, trusted=True)

    def intact(self, view: View, target: Target) -> Target:
        """A check that refuses a target whose files are not those that were recorded; nothing of them is loaded."""
        if target.version is None:
            return target
        canary = view.canary
        there = canary if canary and canary.version == target.version else self.version(target.version)
        known = recorded(view.history, there).digest
        return target if known is None else replace(target, files=self.files(there).noted)
