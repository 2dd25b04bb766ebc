"""What is served: versions that are ready, and the table that says which of them serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fds_mlflow.core.routing.routing import RoutingTable

MODEL_FOLDER = "model"
"""Folder of the logged model inside a prepared version's."""


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

    @property
    def model(self) -> Path:
        """The logged model, as MLflow keeps it."""
        return self.folder / MODEL_FOLDER


@dataclass(frozen=True)
class Served:
    """One version of a table.

    Attributes:
        version: Its number.
        identity: Tells it from another version that once had the same number.
        threshold: The score from which a transaction is flagged.
    """

    version: int
    identity: str
    threshold: float


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
