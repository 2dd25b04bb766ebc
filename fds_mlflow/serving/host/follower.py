"""Follows the aliases of a model and keeps the version cache up to date, for the processes that answer requests."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from fds_mlflow.core.lifecycle.state import fold
from fds_mlflow.errors import DataError, FdsError, RefusedError, UnavailableError
from fds_mlflow.registry import tags
from fds_mlflow.registry.aliases import Aliases, AliasReader
from fds_mlflow.registry.history import read_history
from fds_mlflow.registry.recorded import recorded
from fds_mlflow.registry.store import RegistryStore, VersionView
from fds_mlflow.runtime.clock import Clock
from fds_mlflow.scoring.served import Served, Table
from fds_mlflow.serving.disk.version_cache import VersionCache

log = logging.getLogger(__name__)

KEPT = 4
"""Versions that stay on disk: an emergency goes back to one that served lately, and finds it ready."""


_UNACCEPTED = ""
"""No digest: no files are those of a version that is not in the cache, or not as it should be."""

TRY_AGAIN = 30.0
"""Seconds until a version that could not be prepared is tried again."""


class Follower:
    """Writes the table of a model whenever the registry says something new and the versions are ready.

    A version is prepared beside the one that serves, in the background: until it is ready the table stays as it was.
    A version that cannot be prepared never replaces one that serves; a canary that cannot is left to fall back.
    What an emergency would go back to is prepared as well, once for each champion.

    Args:
        model: Registered model.
        store: The registry.
        cache: Where versions and table go.
        prepare: Prepares a version in an empty folder; raises `FdsError` where it cannot.
        clock: Time.
    """

    def __init__(
        self,
        model: str,
        store: RegistryStore,
        cache: VersionCache,
        prepare: Callable[[int, Path], None],
        clock: Clock,
    ) -> None:
        self.model = model
        self._store = store
        self._aliases = AliasReader(store, model)
        self._cache = cache
        self._prepare = prepare
        self._clock = clock
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="prepare")
        self._preparing: dict[str, Future[None]] = {}
        self._again: dict[str, float] = {}
        self._lately: list[str] = []
        self._foreseen: str | None = None
        self._spare: str | None = None
        self._accepted: dict[str, str | None] = {}

    def poll(self, *, wait: bool = False) -> Table | None:
        """Read the aliases once and bring the table up to date.

        Args:
            wait: Wait until the versions are ready; else a later poll finds them so.

        Returns:
            The table in force; None where there has never been one.
        """
        try:
            found = self._aliases.read()
            served = [_served(view) for view in (found.champion, found.canary) if view is not None]
            problem = self._ready(found, wait=wait)
            served = [replace(one, files=self._accepted.get(one.identity, _UNACCEPTED)) for one in served]
        except FdsError as error:
            return self._stay(error.what)
        table = Table(found.routing, tuple(served), self._clock.now(), problem)
        self._cache.write_table(table)
        self._foresee(found.champion)
        self._keep(served)
        return table

    def close(self) -> None:
        """Stop preparing."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _stay(self, problem: str) -> Table | None:
        """The last table stays in force, and says why."""
        table = self._cache.table()
        if table is None:
            if problem != self._cache.reason:
                log.warning("%s cannot be served: %s", self.model, problem)
                self._cache.write_reason(problem)
            return None
        if table.problem != problem:
            log.warning("the table of %s stays as it was: %s", self.model, problem)
            table = replace(table, problem=problem)
            self._cache.write_table(table)
        return table

    def _ready(self, found: Aliases, *, wait: bool) -> str | None:
        """Whether the versions are in the cache; what is wrong with a canary that cannot be.

        Raises:
            UnavailableError: One is being prepared.
            FdsError: The champion cannot be prepared.
        """
        problem = None
        for view in filter(None, (found.champion, found.canary)):
            try:
                self._require(view, wait=wait)
            except UnavailableError:
                raise
            except FdsError as error:
                if view is found.champion:
                    raise
                problem = f"the canary, version {view.version}, cannot serve: {error.what}"
        return problem

    def _require(self, view: VersionView, *, wait: bool) -> None:
        identity = view.identity
        if self._accepts(view):
            self._preparing.pop(identity, None)
            return
        doing = self._preparing.get(identity)
        again = self._again.get(identity)
        if doing is None or (again is not None and self._clock.monotonic() >= again):
            self._again.pop(identity, None)
            doing = self._preparing[identity] = self._pool.submit(self._put, view.version, identity)
        if wait or doing.done():
            if doing.exception() is not None:
                self._again.setdefault(identity, self._clock.monotonic() + TRY_AGAIN)
            doing.result()
            del self._preparing[identity]
            if self._accepts(view):
                return
        raise UnavailableError(f"version {view.version} is being prepared", fix="wait a moment")

    def _accepts(self, view: VersionView) -> bool:
        """Whether a version is in the cache with the files that the registry says it has; asked once."""
        if view.identity not in self._accepted:
            prepared = self._cache.prepared(view.version, view.identity)
            if prepared is None:
                return False
            known = recorded(read_history(self._store.read(self.model).tags), view).digest
            try:
                prepared.require_intact(known)
            except DataError as error:
                log.warning("%s: it is prepared again", error.what)
                return False
            self._accepted[view.identity] = prepared.files or known
        return True

    def _foresee(self, champion: VersionView) -> None:
        """Prepare the version that an emergency would go back to: in that hour nothing need be fetched."""
        identity = champion.identity
        if identity == self._foreseen:
            return
        try:
            target = fold(read_history(self._store.read(self.model).tags).events).emergency_target
            if target is not None and target != champion.version:
                view = self._store.version(self.model, target)
                self._spare = view.identity
                self._require(view, wait=False)
        except UnavailableError:
            return  # it is being prepared, or the registry is away: the next poll asks again
        except FdsError as error:
            log.warning("what an emergency would go back to is not ready: %s", error.what)
        self._foreseen = identity

    def _put(self, version: int, identity: str) -> None:
        log.info("preparing version %s of %s", version, self.model)
        try:
            with self._cache.preparing(version, identity) as folder:
                self._prepare(version, folder)
        except OSError as error:
            raise RefusedError(
                f"version {version} could not be put into the cache: {error}", fix="make room on its disk"
            ) from error
        log.info("version %s of %s is ready", version, self.model)

    def _keep(self, served: list[Served]) -> None:
        """Keep what serves and what served lately."""
        fresh = [one.identity for one in served if one.identity not in self._lately[-len(served) :]]
        if not fresh:
            return
        self._lately = [name for name in self._lately if name not in fresh] + fresh
        if len(self._lately) > KEPT:
            self._lately = self._lately[-KEPT:]
            spare = {self._spare} if self._spare else set()
            self._cache.keep({*self._lately, *self._preparing, *spare, *(one.identity for one in served)})


def _served(view: VersionView) -> Served:
    value = view.tags.get(tags.THRESHOLD)
    if value is None or not tags.is_threshold(value):
        raise UnavailableError(
            f"version {view.version} has {tags.threshold_lack(value)}",
            fix=tags.threshold_fix(view.version),
        )
    return Served(view.version, view.identity, float(value))
