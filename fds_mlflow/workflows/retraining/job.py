"""A retraining as a job: locked against itself, done once for the same inputs, taken up where it was interrupted.

The registry alone remembers: the model's lease who is at it, and from which moment's labels; a version's tags what it
was made from, and what came of it. So any machine can go on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import metadata
from typing import TYPE_CHECKING, Any

from fds_mlflow.errors import NotFoundError
from fds_mlflow.features import declaration
from fds_mlflow.registry import grammar
from fds_mlflow.registry.lease import Holder, Lease
from fds_mlflow.registry.registration import ensured_model
from fds_mlflow.registry.store import SetVersionTag, VersionView
from fds_mlflow.registry.tags import ALGORITHM, RETRAINED, RETRAINING
from fds_mlflow.registry.transaction import Transactions
from fds_mlflow.runtime.identity import new_id
from fds_mlflow.training import pipeline
from fds_mlflow.training.algorithms import own

if TYPE_CHECKING:
    from fds_mlflow.features.table import FeatureTable
    from fds_mlflow.model import ManagedModel

_JOB = "fds.job"
"""Tag of a retraining's run: which job it belongs to."""

FRESH = timedelta(hours=12)
"""For so long an interrupted retraining is gone on with as of its own moment; later, it begins anew: each night's run
takes the labels of its own night."""


def digest(said: Any) -> str:
    """A short digest of what can be written as JSON; what cannot is taken as its text."""
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:32]


def print_of(table: FeatureTable, algorithm: str, settings: Mapping[str, Any]) -> str:
    """Tells apart what versions are made from: the labelled rows, their features, the settings, and what learns.

    Args:
        table: The features, before they are cut.
        algorithm: As `train` takes it; a function of a team's own counts by the text of its module.
        settings: Whatever else decides what a version becomes.
    """
    declared = None if table.schema is None else declaration.digest(table.spec, table.schema)
    releases = {name: _release(name) for name in ("fds-mlflow", "lightgbm", "scikit-learn", "numpy", "pandas")}
    learner = [algorithm, own.source_of(algorithm) if own.named(algorithm) else ""]
    return digest([table.digest, len(table), list(table.features), declared, dict(settings), releases, learner])


def _release(package: str) -> str:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return ""


@dataclass(frozen=True)
class Finished:
    """What came of a retraining, as its versions remember it.

    Attributes:
        staged: The version it put forward.
        champion: The champion it compared with.
        message: Its sentence.
        canary: What came of the canary; empty where none was asked for.
    """

    staged: int | None
    champion: int | None
    message: str
    canary: str


class Job:
    """One retraining of a model.

    Args:
        model: The model.
        asked: Digest of all that was asked for: who asks the same after an interruption goes on with it.
        now: As of when labels are taken; None for the moment at which the job began.

    Attributes:
        now: As of when labels are taken.
        interrupted: Run of the attempt that this one goes on with.
    """

    def __init__(self, model: ManagedModel, asked: str, now: datetime | None) -> None:
        self.now = model.session.now() if now is None else now
        self.interrupted: str | None = None
        self._model, self._asked = model, asked
        self._stack = ExitStack()
        self._lease: Lease | None = None

    @contextmanager
    def under_way(self) -> Iterator[Job]:
        """Hold the model from here to the end; one that is not registered yet only from `hold` on.

        Raises:
            ConflictError: Another retraining of it is under way.
        """
        with self._stack:
            with suppress(NotFoundError):  # its first training: nothing is registered before the data are read
                self._model.session.store.read(self._model.name)
                self._hold()
            yield self

    def hold(self) -> None:
        """Hold the model, and register its name if that is not done yet.

        Raises:
            ConflictError: Another retraining of it is under way.
        """
        if self._lease is None and not self._model.session.dry_run:
            ensured_model(self._model.name)
            self._hold()

    def require(self) -> None:
        """Ask whether the model is still held, before anything is done that others see.

        Raises:
            OutcomeUnknownError: Another process has taken over.
        """
        if self._lease is None:
            raise AssertionError("nothing is done for others before the model is held")
        self._lease.require()

    def _hold(self) -> None:
        session = self._model.session
        lease = Lease(
            Transactions(session.store, session.clock, new_id),
            self._model.name,
            tag=RETRAINING,
            actor=session.actor,
            what="retraining",
        )
        before = self._stack.enter_context(lease.held())
        self._lease = lease
        if before is not None and self._is_same(before):
            self.now = datetime.fromisoformat(before.notes["now"])
            self.interrupted = before.notes.get("run") or self._unnoted()
        else:
            lease.note(asked=self._asked, now=self.now.isoformat(), run="")

    def _is_same(self, before: Holder) -> bool:
        """Whether who held the model last was asked for the same, not long ago."""
        if before.notes.get("asked") != self._asked:
            return False
        if before.ended and not before.notes.get("run"):
            return False  # it was refused before it made anything: what was mended since, labels above all, must count
        with suppress(ValueError, KeyError, TypeError):
            return abs(self.now - datetime.fromisoformat(before.notes["now"])) <= FRESH
        return False

    # --- versions ------------------------------------------------------------------------------------------

    def made(self, prints: Mapping[str, str]) -> dict[str, VersionView]:
        """The newest version of each algorithm that was made from the same, where there is one.

        Args:
            prints: What `print_of` says, by algorithm.
        """
        found: dict[str, VersionView] = {}
        for view in self._model.session.versions():  # the newest first
            name = view.tags.get(ALGORITHM, "")
            if prints.get(name, "") == view.tags.get(RETRAINING) and name not in found:
                found[name] = view
        return found

    def finished(self, made: Mapping[str, VersionView], asked: str) -> Finished | None:
        """What came of the same retraining earlier, where that came to its end.

        Args:
            made: Its versions.
            asked: Digest of what was to be done with them.
        """
        for view in made.values():
            with suppress(*grammar.UNREADABLE):
                said = grammar.parse(view.tags.get(RETRAINED, ""))
                if said["asked"] == asked:
                    return Finished(said["staged"], said["champion"], said["message"], said["canary"])
        return None

    def finish(self, versions: list[int], asked: str, done: Finished) -> None:
        """Have the versions remember what came of it."""
        said = {"asked": asked, "staged": done.staged, "champion": done.champion, "message": done.message[:3_000]}
        value = grammar.fits(grammar.dump({**said, "canary": done.canary[:1_000]}), "what came of the retraining")
        for version in versions:
            self._model.session.store.write(self._model.name, SetVersionTag(version, RETRAINED, value))

    # --- runs ----------------------------------------------------------------------------------------------

    @contextmanager
    def run(self) -> Iterator[str]:
        """The id of the active run of the retraining: a new one, that of `mlflow run`, or the interrupted one again."""
        import mlflow

        active = mlflow.active_run()
        again = None if active is not None or os.environ.get("MLFLOW_RUN_ID") else self._unfinished()
        experiment = None
        if active is None and again is None:
            experiment = pipeline.experiment_id(f"fds/{self._model.name}", given=None)
        with mlflow.start_run(
            again,
            experiment_id=experiment,
            run_name="retrain",
            nested=active is not None,
            tags={_JOB: self._identity},
        ) as run:
            self.close_interrupted(run.info.run_id)
            if self._lease is not None:
                self._lease.note(run=run.info.run_id)
            yield run.info.run_id

    @property
    def _identity(self) -> str:
        return digest([self._asked, self.now.isoformat()])

    def _unnoted(self) -> str | None:
        """The run of the interrupted attempt where that died before it had noted it: found by what it asked for."""
        from mlflow import MlflowClient

        client = MlflowClient()
        experiment = client.get_experiment_by_name(f"fds/{self._model.name}")
        if experiment is None:
            return None
        found = client.search_runs([experiment.experiment_id], f"tags.`{_JOB}` = '{self._identity}'", max_results=1)
        return found[0].info.run_id if found else None

    def _unfinished(self) -> str | None:
        """The run of the interrupted attempt, unless somebody deleted it."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        if self.interrupted is None:
            return None
        try:
            found = MlflowClient().get_run(self.interrupted)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return self.interrupted if found.info.lifecycle_stage == "active" else None

    def close_interrupted(self, by: str | None = None) -> None:
        """Close the runs that the interrupted attempt left open: nobody is at them any more.

        A training that got as far as its version has done all of its work.

        Args:
            by: The run that goes on; None where nothing was left to do.
        """
        from mlflow import MlflowClient

        before = self._unfinished()
        if before is None:
            return
        client = MlflowClient()
        found = client.get_run(before)
        of_it = f"tags.`mlflow.parentRunId` = '{before}' and attributes.status = 'RUNNING'"
        done = {view.run_id for view in self._model.session.versions()}
        for child in client.search_runs([found.info.experiment_id], of_it):
            if child.info.run_id in done:
                client.set_terminated(child.info.run_id, "FINISHED")
                continue
            client.set_tag(child.info.run_id, "fds.message", f"its process ended before it had; {by} goes on")
            client.set_terminated(child.info.run_id, "KILLED")
        if before != by and found.info.status == "RUNNING":
            client.set_terminated(before, "FINISHED" if by is None else "KILLED")
