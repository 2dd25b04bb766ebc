"""What is served: versions that are ready, and the table that says which of them serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fds_mlflow.core.routing.routing import RoutingTable
from fds_mlflow.errors import DataError
from fds_mlflow.runtime import model_files

MODEL_FOLDER = "model"
"""Folder of the logged model inside a prepared version's."""

DESCRIPTION = "version.json"
"""File of a prepared version that says what it is; it is written last, and holds the digest of all others."""


@dataclass(frozen=True)
class Prepared:
    """A version on disk, checked.

    Attributes:
        version: Its number.
        identity: Tells it from another version that once had the same number.
        folder: Where its files are.
        inputs: Columns and MLflow's names of their types, in the order of the signature.
        compiled: Whether it has a compiled scorer.
        arrays: Whether it is a scikit-learn model that takes arrays instead of frames.
        optional: Columns that a request may leave out.
        codes: Columns of codes, which are spelled before they are scored.
        score: How its answers become scores, as its tag says; None where they are scores.
        files: Digest of the logged model's files; None where an earlier release prepared it.
        seal: Digest of all its files but the description; None where an earlier release prepared it.
    """

    version: int
    identity: str
    folder: Path
    inputs: Mapping[str, str]
    compiled: bool
    arrays: bool = False
    optional: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    score: str | None = None
    files: str | None = None
    seal: str | None = None

    @property
    def model(self) -> Path:
        """The logged model, as MLflow keeps it."""
        return self.folder / MODEL_FOLDER

    def require_intact(self, files: str | None) -> None:
        """Refuse files that somebody has changed since they were prepared, or that are not the registered ones.

        Args:
            files: What the registry says of the logged model's files; None where it says nothing.

        Raises:
            DataError: They are others.
        """
        fix = f"remove {self.folder}, and the server fetches the version again"
        if self.seal is not None and model_files.digest(self.folder, without={DESCRIPTION}) != self.seal:
            raise DataError(f"the files of version {self.version} in the cache were changed on this machine", fix=fix)
        if files is not None and files != (self.files or model_files.digest(self.model)):
            raise DataError(
                f"the files of version {self.version} in the cache are not those that were recorded", fix=fix
            )


@dataclass(frozen=True)
class Served:
    """One version of a table.

    Attributes:
        version: Its number.
        identity: Tells it from another version that once had the same number.
        threshold: The score from which a transaction is flagged.
        files: Digest of the logged model's files; None where none is known.
    """

    version: int
    identity: str
    threshold: float
    files: str | None = None


@dataclass(frozen=True)
class Table:
    """What is served, as the follower last knew it.

    Attributes:
        routing: Which version answers which key.
        versions: The champion, and the canary where a rollout takes traffic.
        read_at: When the registry last said so, UTC.
        problem: What is wrong just now, though requests are answered; None when all is well.
    """

    routing: RoutingTable
    versions: tuple[Served, ...]
    read_at: datetime
    problem: str | None = None

    def served(self, version: int) -> Served:
        """One of its versions."""
        return next(served for served in self.versions if served.version == version)
