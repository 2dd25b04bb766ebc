"""The MLflow implementation of the registry port."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from fds_mlflow.registry.store import (
    DeleteAlias,
    DeleteModelTag,
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


class MlflowStore:
    """A registry behind MLflow's client.

    Args:
        registry_uri: Registry URI; None for the one MLflow resolves.
        tracking_uri: Tracking URI; None for the one MLflow resolves.
    """

    def __init__(self, registry_uri: str | None = None, tracking_uri: str | None = None) -> None:
        self._client = mlflow_client.client(tracking_uri, registry_uri, timeout=SQLITE_BUSY)
        self.uri: str = str(self._client._registry_uri)
        self.write_limit = SQLITE_BUSY if self.uri.startswith("sqlite") else HTTP_TIMEOUT
        # Unity Catalog refuses stages; everything works on aliases alone there.
        self._has_stages = not self.uri.startswith(("databricks-uc", "uc:"))

    def read(self, model: str) -> ModelView:
        """Aliases and tags of a model."""
        found = self._call(lambda: mlflow_client.named(model, self._client.get_registered_model(model)), model)
        # int on a direct store, str over REST
        aliases = {alias: int(version) for alias, version in dict(found.aliases).items()}
        return ModelView(aliases, dict(found.tags))

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
                # Servers up to 3.16 keep the alias of a version that was deleted; later ones delete both.
                absent = {"INVALID_PARAMETER_VALUE": "alias", "RESOURCE_DOES_NOT_EXIST": "model version"}
                said = absent.get(error.error_code)
                if said is not None and said in str(error).lower():
                    return None
                raise

        return self._call(look, model)

    def versions(self, model: str) -> list[VersionView]:
        """All versions, the newest first."""
        quote = '"' if "'" in model else "'"  # MLflow's filter language knows no escape
        found: list[Any] = []
        token: str | None = None
        while True:
            asked = token
            page = self._call(
                lambda asked=asked: self._client.search_model_versions(  # type: ignore[misc]
                    f"name={quote}{model}{quote}", max_results=1_000, page_token=asked
                ),
                model,
            )
            found.extend(page)
            token = page.token
            if not token:
                return sorted((_view(version) for version in found), key=lambda v: -v.version)

    def models(self) -> dict[str, dict[str, int]]:
        """Aliases by registered model, in order of name."""
        found: dict[str, dict[str, int]] = {}
        token: str | None = None
        while True:
            asked = token
            page = self._call(
                lambda asked=asked: self._client.search_registered_models(max_results=1_000, page_token=asked),  # type: ignore[misc]
                "*",
            )
            found |= {m.name: {alias: int(version) for alias, version in dict(m.aliases).items()} for m in page}
            token = page.token
            if not token:
                return dict(sorted(found.items()))

    def write(self, model: str, write: Write) -> None:
        """Carry out one write."""
        client = self._client
        match write:
            case SetAlias(alias, version):
                self._call(lambda: client.set_registered_model_alias(model, alias, str(version)), model)
            case DeleteAlias(alias):
                self._call(lambda: client.delete_registered_model_alias(model, alias), model)
            case SetModelTag(name, value):
                self._call(lambda: client.set_registered_model_tag(model, name, value), model)
            case DeleteModelTag(name):
                self._call(lambda: _absent_is_fine(lambda: client.delete_registered_model_tag(model, name)), model)
            case SetVersionTag(version, name, value):
                self._call(lambda: client.set_model_version_tag(model, str(version), name, value), model)
            case SetStage(version, stage):
                if self._has_stages:
                    self._call(lambda: self._set_stage(model, version, stage), model)

    def _set_stage(self, model: str, version: int, stage: str) -> None:
        with warnings.catch_warnings():
            # Stages are deprecated in MLflow; we mirror into them what the UI still shows.
            warnings.simplefilter("ignore", FutureWarning)
            self._client.transition_model_version_stage(model, str(version), stage, archive_existing_versions=False)

    def _call(self, call: Callable[[], T], model: str) -> T:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with short_requests():
                return call()
        except (MlflowException, SQLAlchemyError, OSError, ValueError) as error:  # ValueError: no answer of MLflow's
            raise mlflow_client.translated(error, self.uri, about=f"model {model!r}") from None


def _absent_is_fine(call: Callable[[], None]) -> None:
    from mlflow.exceptions import MlflowException

    try:
        call()
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST" or "tag" not in str(error).lower():
            raise


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
