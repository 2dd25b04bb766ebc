"""The MLflow implementation of the registry port."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

from fds_mlflow.registry.remote import RemoteStore
from fds_mlflow.registry.store import (
    DeleteAlias,
    DeleteModelTag,
    Describe,
    ModelView,
    SetAlias,
    SetModelTag,
    SetStage,
    SetVersionTag,
    VersionView,
    Write,
)
from fds_mlflow.runtime import mlflow_client
from fds_mlflow.runtime.mlflow_client import HTTP_TIMEOUT, short_requests

T = TypeVar("T")


SQLITE_BUSY = 20.0
"""Seconds a write to SQLite may wait for the lock: MLflow sets this as `PRAGMA busy_timeout`."""


class MlflowStore(RemoteStore):
    """A registry behind MLflow's client.

    Args:
        registry_uri: Registry URI; None for the one MLflow resolves.
        tracking_uri: Tracking URI; None for the one MLflow resolves.
    """

    def __init__(self, registry_uri: str | None = None, tracking_uri: str | None = None) -> None:
        self._client = mlflow_client.client(tracking_uri, registry_uri, timeout=SQLITE_BUSY)
        super().__init__(str(self._client._registry_uri))
        self.write_limit = SQLITE_BUSY if self.uri.startswith("sqlite") else HTTP_TIMEOUT

    @cached_property
    def holds_tags(self) -> bool:
        """Whether it keeps tags as ours are: dots in their names, thousands of characters, and more than fifty."""
        return not self.uri.startswith("databricks-uc") and self._has(
            lambda store: store.delete_registered_model_tag("-", "fds.none")
        )

    @cached_property
    def holds_aliases(self) -> bool:
        """Whether it has aliases."""
        return self._has(lambda store: store.get_model_version_by_alias("-", "none"))

    def _has(self, call: Callable[[Any], object]) -> bool:
        """Whether a registry of a kind that we do not know has what a call asks of a model that is not there."""
        from mlflow.store.db.db_types import DATABASE_ENGINES

        if self.uri.partition(":")[0].partition("+")[0] in (*DATABASE_ENGINES, "http", "https", "databricks-uc"):
            return True
        try:
            with short_requests():
                call(self._client._get_registry_client().store)
        except NotImplementedError:
            return False
        except Exception:  # it has, whatever it says about that model
            return True
        return True

    def read(self, model: str) -> ModelView:
        """Aliases and tags of a model."""
        found = self._call(lambda: mlflow_client.named(model, self._client.get_registered_model(model)), model)
        return _model(found)

    def version(self, model: str, version: int) -> VersionView:
        """One version."""
        return self._call(lambda: _view(self._client.get_model_version(model, str(version))), model)

    def by_alias(self, model: str, alias: str) -> VersionView | None:
        """The version an alias points at; only MLflow's own "not found", of the alias or its version, means absent."""
        from mlflow.exceptions import MlflowException

        def look() -> VersionView | None:
            try:
                return _view(self._client.get_model_version_by_alias(model, alias))
            except MlflowException as error:
                if mlflow_client.is_absent_alias(error):
                    return None
                raise

        return self._call(look, model)

    def versions(self, model: str) -> list[VersionView]:
        """All versions, the newest first."""
        found: list[Any] = []
        token: str | None = None
        while True:
            asked = token
            page = self._call(
                lambda asked=asked: self._client.search_model_versions(  # type: ignore[misc]
                    mlflow_client.versions_of(model), max_results=1_000, page_token=asked
                ),
                model,
            )
            found.extend(page)
            token = page.token
            if not token:
                return sorted((_view(version) for version in found), key=lambda v: -v.version)

    def models(self) -> dict[str, ModelView]:
        """All registered models, in order of name."""
        found: dict[str, ModelView] = {}
        token: str | None = None
        while True:
            asked = token
            page = self._call(
                lambda asked=asked: self._client.search_registered_models(max_results=1_000, page_token=asked),  # type: ignore[misc]
                "*",
            )
            found |= {m.name: _model(m) for m in page}
            token = page.token
            if not token:
                return dict(sorted(found.items()))

    def write(self, model: str, write: Write) -> None:
        """Carry out one write."""
        self._call(lambda: self._write(model, write), model, write)

    def _write(self, model: str, write: Write) -> None:
        client = self._client
        match write:
            case SetAlias(alias, version):
                client.set_registered_model_alias(model, alias, str(version))
            case DeleteAlias(alias):
                client.delete_registered_model_alias(model, alias)
            case SetModelTag(name, value):
                client.set_registered_model_tag(model, name, value)
            case DeleteModelTag(name):
                _delete_tag(client, model, name)
            case SetVersionTag(version, name, value):
                client.set_model_version_tag(model, str(version), name, value)
            case SetStage(version, stage):
                self._set_stage(model, version, stage)
            case Describe(text, None):
                client.update_registered_model(model, text)
            case Describe(text, version):
                client.update_model_version(model, str(version), text)

    def _set_stage(self, model: str, version: int, stage: str) -> None:
        with warnings.catch_warnings():
            # Stages are deprecated in MLflow; we mirror into them what the UI still shows.
            warnings.simplefilter("ignore", FutureWarning)
            self._client.transition_model_version_stage(model, str(version), stage, archive_existing_versions=False)

    def _call(self, call: Callable[[], T], model: str, write: Write | None = None) -> T:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with short_requests(), self._measured():
                return call()
        # ValueError: no answer of MLflow's; NotImplementedError: a store that has no tags, or no stages.
        except (MlflowException, SQLAlchemyError, OSError, ValueError, NotImplementedError) as error:
            raise self._translated(error, model, write) from None


def _delete_tag(client: Any, model: str, name: str) -> None:
    from mlflow.exceptions import MlflowException

    with mlflow_client.absent_tag_is_fine(MlflowException):
        client.delete_registered_model_tag(model, name)


def _model(found: Any) -> ModelView:
    # int on a direct store, str over REST
    aliases = {alias: int(version) for alias, version in dict(found.aliases).items()}
    return ModelView(aliases, dict(found.tags), found.description or "")


def _view(version: Any) -> VersionView:
    return VersionView(
        version=int(version.version),
        status=str(version.status),
        stage=str(version.current_stage or "None"),
        tags=dict(version.tags),
        run_id=version.run_id or None,
        source=str(version.source),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, tz=UTC),
        description=version.description or "",
    )
