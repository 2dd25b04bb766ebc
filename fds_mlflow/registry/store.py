"""The port to the registry: four reads and one write.

Each call of the port is one call to MLflow, and one step of every proof about interleavings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from fds_mlflow.errors import RefusedError
from fds_mlflow.registry.tags import SCORE


@dataclass(frozen=True)
class SetAlias:
    """Point an alias of the model at a version."""

    alias: str
    version: int


@dataclass(frozen=True)
class DeleteAlias:
    """Remove an alias of the model; absent is fine."""

    alias: str


@dataclass(frozen=True)
class SetModelTag:
    """Write a tag of the model."""

    name: str
    value: str


@dataclass(frozen=True)
class DeleteModelTag:
    """Remove a tag of the model; absent is fine."""

    name: str


@dataclass(frozen=True)
class SetVersionTag:
    """Write a tag of a version."""

    version: int
    name: str
    value: str


@dataclass(frozen=True)
class SetStage:
    """Move a version to a stage, leaving every other version alone."""

    version: int
    stage: str


@dataclass(frozen=True)
class Describe:
    """Write the description of the model, or of a version of it; at most 5,000 characters, as MLflow's tables hold."""

    text: str
    version: int | None = None


Write = SetAlias | DeleteAlias | SetModelTag | DeleteModelTag | SetVersionTag | SetStage | Describe


@dataclass(frozen=True)
class ModelView:
    """A registered model as one call returns it.

    Attributes:
        aliases: Version by alias; servers of MLflow up to 3.16 keep the alias of a version that was deleted.
        tags: The model's tags.
        description: The model's description.
    """

    aliases: Mapping[str, int]
    tags: Mapping[str, str]
    description: str = ""


@dataclass(frozen=True)
class VersionView:
    """A model version as one call returns it.

    Attributes:
        version: Its number.
        status: MLflow's status; "READY" when it can be loaded.
        stage: MLflow's stage.
        tags: The version's tags.
        run_id: Run that logged it; None for a model without one.
        source: Where its artifacts are.
        created: When it was registered, UTC.
        description: Its description.
    """

    version: int
    status: str
    stage: str
    tags: Mapping[str, str]
    run_id: str | None
    source: str
    created: datetime
    description: str = ""

    @property
    def ready(self) -> bool:
        """Whether the version can be loaded."""
        return self.status == "READY"

    def require_ready(self, model: str) -> None:
        """Refuse a version that may not get traffic.

        Raises:
            RefusedError: It is not READY.
        """
        if not self.ready:
            raise RefusedError(
                f"version {self.version} of {model!r} is {self.status}, not READY",
                fix="wait until its registration has finished, or register it again",
            )

    @property
    def identity(self) -> str:
        """Tells it from another version that once had the same number: a deleted one's number is given again.

        A version whose answers are read otherwise from now on is another one.
        """
        return self._told(f" {self.tags[SCORE]}" if SCORE in self.tags else "")

    @property
    def registration(self) -> str:
        """Tells it from another version that once had the same number, by what no tag can change."""
        return self._told("")

    def _told(self, more: str) -> str:
        told = f"{self.version} {self.created.isoformat()} {self.source} {self.run_id}{more}"
        return hashlib.sha256(told.encode()).hexdigest()[:12]


class RegistryStore(Protocol):
    """What the rest of the package asks of a registry.

    Every call raises `UnavailableError` when the registry cannot be reached in time (the call may be repeated),
    and `NotFoundError` when the model or version does not exist.
    """

    write_limit: float
    """The longest, in seconds, that one write may block before it lands or fails."""

    @property
    def latency(self) -> float:
        """Seconds that the last calls took, on average; 0 before the first."""
        ...

    @property
    def user(self) -> str | None:
        """Whose credentials are sent to the registry; None where none are."""
        ...

    def signed_in(self) -> str | None:
        """Who is signed in, as the registry itself says; None where it does not say."""
        ...

    def read(self, model: str) -> ModelView:
        """Aliases and tags of a model."""
        ...

    def version(self, model: str, version: int) -> VersionView:
        """One version."""
        ...

    def by_alias(self, model: str, alias: str) -> VersionView | None:
        """The version an alias points at; None only where the alias is absent, or its version was deleted."""
        ...

    def versions(self, model: str) -> list[VersionView]:
        """All versions, the newest first."""
        ...

    def write(self, model: str, write: Write) -> None:
        """Carry out one write. All writes are idempotent."""
        ...


class ListedStore(RegistryStore, Protocol):
    """A registry that also lists its models."""

    @property
    def holds_tags(self) -> bool:
        """Whether a version can be registered with our tags in one call; else they are written afterwards."""
        ...

    def models(self) -> dict[str, ModelView]:
        """All registered models, in order of name."""
        ...


Base = TypeVar("Base", bound=RegistryStore)


class AroundStore(Generic[Base]):
    """What a port around another one answers as that does: who is signed in there, and how long its calls take.

    Args:
        base: The other one.
    """

    def __init__(self, base: Base) -> None:
        self._base = base

    @property
    def latency(self) -> float:
        """Seconds that the last calls took, on average."""
        return self._base.latency

    @property
    def user(self) -> str | None:
        """Whose credentials are sent to the registry."""
        return self._base.user

    def signed_in(self) -> str | None:
        """Who is signed in."""
        return self._base.signed_in()
