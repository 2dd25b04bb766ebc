"""The server's own registry and tracking, asked in its process: no request to itself, no password hashed again."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from typing import TYPE_CHECKING

from fds_mlflow.errors import NotFoundError
from fds_mlflow.lifecycle.session import Session
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.registry.store import ModelView
from fds_mlflow.registry.transaction import Transactions
from fds_mlflow.registry.view import View
from fds_mlflow.rollouts import naming
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.runtime.identity import new_id
from fds_mlflow.ui.permissions import Level, access

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

NOBODY = "somebody at the page"
"""The actor where nobody signs in and no name was given."""


class InProcess(MlflowStore):
    """The server's registry, on behalf of whoever's request is being answered."""

    @property
    def user(self) -> str | None:
        """Who is signed in to the server."""
        return access().user()

    def signed_in(self) -> str | None:
        """The same, known for certain: the server itself has asked for the password."""
        return access().user()


def addresses() -> tuple[str | None, str | None]:
    """The server's own tracking and registry, as it was started with them; None for what MLflow resolves."""
    from mlflow.server.constants import BACKEND_STORE_URI_ENV_VAR, REGISTRY_STORE_URI_ENV_VAR

    tracking = os.environ.get(BACKEND_STORE_URI_ENV_VAR) or None
    return tracking, os.environ.get(REGISTRY_STORE_URI_ENV_VAR) or tracking


def store() -> InProcess:
    """The server's registry."""
    return _store(*addresses())


@lru_cache(maxsize=4)
def _store(tracking: str | None, registry: str | None) -> InProcess:
    return InProcess(registry_uri=registry, tracking_uri=tracking)


def client() -> MlflowClient:
    """MLflow's client of the server's own tracking and registry."""
    return store()._client


def session(model: str) -> Session:
    """A session with a model, kept: it remembers whom it has seen in flight."""
    return _session(*addresses(), model)


@lru_cache(maxsize=512)
def _session(tracking: str | None, registry: str | None, model: str) -> Session:
    return Session(model, tracking_uri=tracking, registry_uri=registry, store=_store(tracking, registry))


def readable(model: str) -> Session:
    """A session with a model that whoever asks may see.

    Raises:
        NotFoundError: They may not, which is told as if there were none.
    """
    if not model.strip() or access().level(model) < Level.READ:
        raise NotFoundError(
            f"there is no model {model[:200]!r} that you may see",
            fix="choose one of the list, or ask who runs the server for the permission READ",
        )
    return session(model)


class _Read(InProcess):
    """A registry that has read one model already."""

    def __init__(self, there: InProcess, model: ModelView) -> None:
        self.__dict__.update(there.__dict__)
        self._model = model

    def read(self, model: str) -> ModelView:  # noqa: ARG002 - it is the only one asked about
        """As it was read."""
        return self._model


def viewed(model: str, live: ModelView) -> View:
    """A model of a list as an operation would find it: one call more where it has a canary, none else."""
    return Transactions(_Read(store(), live), SystemClock(), new_id).look(model)


def running() -> dict[str, Run]:
    """The tracking runs of the rollouts under way, by the rollout's id; none where tracking does not answer."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    made, found = client(), {}
    try:
        there = made.search_experiments(filter_string=f"name LIKE '{naming.experiment('%')}'", max_results=1_000)
        where = [experiment.experiment_id for experiment in there]
        runs = made.search_runs(where, "attributes.status = 'RUNNING'", max_results=1_000) if where else ()
        found = {run.data.tags.get(naming.ROLLOUT_ID, ""): run for run in runs}
    except (MlflowException, SQLAlchemyError, OSError) as error:
        log.warning("the list of models goes without verdicts: %s", error)
    return found
