"""The registry's in-memory twin: the same answers as MLflow's, for tests and simulation."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from fds_mlflow.errors import NotFoundError
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


@dataclass
class MemoryVersion:
    """A version in the in-memory twin."""

    status: str = "READY"
    stage: str = "None"
    tags: dict[str, str] = field(default_factory=dict)
    description: str = ""


@dataclass
class MemoryModel:
    """A registered model in the in-memory twin."""

    aliases: dict[str, int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    versions: dict[int, MemoryVersion] = field(default_factory=dict)
    description: str = ""


class MemoryStore:
    """The registry in memory: the same answers as MLflow's, for tests and simulation. One call, one step.

    Args:
        dangling: A deleted version leaves its aliases behind, as on servers of MLflow up to 3.16.
    """

    write_limit: float = 1.0
    latency: float = 0.0
    user: str | None = None

    def __init__(self, *, dangling: bool = False) -> None:
        self.models: dict[str, MemoryModel] = {}
        self.dangling = dangling

    def add(self, model: str, *, versions: int = 1) -> None:
        """Register READY versions, numbered on from the last one."""
        entry = self.models.setdefault(model, MemoryModel())
        first = max(entry.versions, default=0) + 1
        for number in range(first, first + versions):
            entry.versions[number] = MemoryVersion()

    def delete_version(self, model: str, version: int) -> None:
        """Delete a version by hand; as in MLflow, its aliases go with it silently unless they are left dangling."""
        entry = self._model(model)
        self._version(model, version)
        del entry.versions[version]
        if not self.dangling:
            entry.aliases = {alias: v for alias, v in entry.aliases.items() if v != version}

    def signed_in(self) -> str | None:
        """Who is signed in."""
        return self.user

    def read(self, model: str) -> ModelView:
        """Aliases and tags of a model."""
        entry = self._model(model)
        return ModelView(dict(entry.aliases), dict(entry.tags), entry.description)

    def version(self, model: str, version: int) -> VersionView:
        """One version."""
        entry = self._version(model, version)
        return VersionView(
            version=version,
            status=entry.status,
            stage=entry.stage,
            tags=dict(entry.tags),
            run_id=None,
            source=f"memory:{model}/{version}",
            created=datetime(2026, 1, 1, tzinfo=UTC),
            description=entry.description,
        )

    def by_alias(self, model: str, alias: str) -> VersionView | None:
        """The version an alias points at."""
        entry = self._model(model)
        version = entry.aliases.get(alias)
        return self.version(model, version) if version in entry.versions else None

    def versions(self, model: str) -> list[VersionView]:
        """All versions, the newest first."""
        return [self.version(model, number) for number in sorted(self._model(model).versions, reverse=True)]

    def write(self, model: str, write: Write) -> None:
        """Carry out one write."""
        entry = self._model(model)
        match write:
            case SetAlias(alias, version):
                self._version(model, version)
                entry.aliases[alias] = version
            case DeleteAlias(alias):
                entry.aliases.pop(alias, None)
            case SetModelTag(name, value):
                entry.tags[name] = value
            case DeleteModelTag(name):
                entry.tags.pop(name, None)
            case SetVersionTag(version, name, value):
                self._version(model, version).tags[name] = value
            case SetStage(version, stage):
                self._version(model, version).stage = stage
            case Describe(text, version):
                described = entry if version is None else self._version(model, version)
                described.description = text

    def _model(self, model: str) -> MemoryModel:
        if model not in self.models:
            raise NotFoundError(f"no registered model is named {model!r}", fix="register a first version")
        return self.models[model]

    def _version(self, model: str, version: int) -> MemoryVersion:
        versions = self._model(model).versions
        if version not in versions:
            names = ", ".join(str(number) for number in sorted(versions)) or "none"
            raise NotFoundError(f"model {model!r} has no version {version}", fix=f"choose one of: {names}")
        return versions[version]
