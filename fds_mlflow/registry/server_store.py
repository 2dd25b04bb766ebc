"""The implementation of the registry port that asks an MLflow server itself, without MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

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
from fds_mlflow.runtime.mlflow_client import HTTP_TIMEOUT
from fds_mlflow.runtime.mlflow_server import Server, ServerError


class ServerStore(RemoteStore):
    """A registry behind an MLflow server.

    Args:
        uri: Address of the server.
    """

    write_limit = HTTP_TIMEOUT
    holds_tags = True

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._server = Server(uri, timeout=HTTP_TIMEOUT)

    def read(self, model: str) -> ModelView:
        """Aliases and tags of a model."""
        with self._translating(model):
            found = self._call("GET", "registered-models/get", name=model)["registered_model"]
            mlflow_client.require_about(model, found["name"])
            return _model(found)

    def version(self, model: str, version: int) -> VersionView:
        """One version."""
        with self._translating(model):
            return _view(self._call("GET", "model-versions/get", name=model, version=str(version))["model_version"])

    def by_alias(self, model: str, alias: str) -> VersionView | None:
        """The version an alias points at; only MLflow's own "not found", of the alias or its version, means absent."""
        with self._translating(model):
            try:
                return _view(self._call("GET", "registered-models/alias", name=model, alias=alias)["model_version"])
            except ServerError as error:
                if mlflow_client.is_absent_alias(error):
                    return None
                raise

    def versions(self, model: str) -> list[VersionView]:
        """All versions, the newest first."""
        with self._translating(model):
            pages = self._pages("model-versions/search", filter=mlflow_client.versions_of(model))
            found = [_view(version) for page in pages for version in page.get("model_versions", [])]
        return sorted(found, key=lambda version: -version.version)

    def models(self) -> dict[str, ModelView]:
        """All registered models, in order of name."""
        with self._translating("*"):
            pages = self._pages("registered-models/search")
            found = (model for page in pages for model in page.get("registered_models", []))
            return {m["name"]: _model(m) for m in sorted(found, key=lambda m: m["name"])}

    def write(self, model: str, write: Write) -> None:
        """Carry out one write."""
        of_model = {"name": model}
        with self._translating(model, write):
            match write:
                case SetAlias(alias, version):
                    self._call("POST", "registered-models/alias", **of_model, alias=alias, version=str(version))
                case DeleteAlias(alias):
                    self._call("DELETE", "registered-models/alias", **of_model, alias=alias)
                case SetModelTag(name, value):
                    self._call("POST", "registered-models/set-tag", **of_model, key=name, value=value)
                case DeleteModelTag(name):
                    with mlflow_client.absent_tag_is_fine(ServerError):
                        self._call("DELETE", "registered-models/delete-tag", **of_model, key=name)
                case SetVersionTag(version, name, value):
                    of_version = {**of_model, "version": str(version)}
                    self._call("POST", "model-versions/set-tag", **of_version, key=name, value=value)
                case SetStage(version, stage):
                    of_version = {**of_model, "version": str(version)}
                    self._call("POST", "model-versions/transition-stage", **of_version, stage=stage)
                case Describe(text, None):
                    self._call("PATCH", "registered-models/update", **of_model, description=text)
                case Describe(text, version):
                    of_version = {**of_model, "version": str(version)}
                    self._call("PATCH", "model-versions/update", **of_version, description=text)

    def _pages(self, endpoint: str, **asked: Any) -> Iterator[dict[str, Any]]:
        token: str | None = None
        while True:
            page = self._call("GET", endpoint, max_results=1_000, page_token=token, **asked)
            yield page
            token = page.get("next_page_token")
            if not token:
                return

    def _call(self, method: str, endpoint: str, **values: Any) -> dict[str, Any]:
        with self._measured():
            return self._server.call(method, endpoint, **values)

    @contextmanager
    def _translating(self, model: str, write: Write | None = None) -> Iterator[None]:
        """Turn what is raised inside into our errors, an answer included that lacks what MLflow's has."""
        try:
            yield
        except (ServerError, OSError, LookupError, TypeError, ValueError) as error:
            raise self._translated(error, model, write) from None


def _tags(found: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in found.get("tags", [])}


def _model(found: dict[str, Any]) -> ModelView:
    aliases = {alias["alias"]: int(alias["version"]) for alias in found.get("aliases", [])}
    return ModelView(aliases, _tags(found), found.get("description", ""))


def _view(found: dict[str, Any]) -> VersionView:
    return VersionView(
        version=int(found["version"]),
        status=str(found.get("status", "READY")),
        stage=found.get("current_stage") or "None",
        tags=_tags(found),
        run_id=found.get("run_id") or None,
        source=str(found.get("source", "")),
        created=datetime.fromtimestamp(int(found["creation_timestamp"]) / 1000, tz=UTC),
        description=found.get("description", ""),
    )
