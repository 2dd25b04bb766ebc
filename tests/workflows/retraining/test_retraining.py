"""What a retraining puts forward: the best of what can be believed, or nothing and why."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from fds_mlflow.errors import DataError
from fds_mlflow.training.pipeline import Trained
from fds_mlflow.workflows.retraining.staging import put_forward as decided

PARTS: Any = SimpleNamespace(test="the test rows")


class Registry:
    """A model whose champion may not bear a comparison, and what is staged of it."""

    name = "fraud"

    def __init__(self, champion: int | None = None) -> None:
        self.champion = champion
        self.staged: list[int] = []

    def overview(self) -> Any:
        """The champion."""
        return SimpleNamespace(champion=self.champion)

    def compare(self, *_versions: int, **_options: Any) -> Any:
        """Every comparison fails: the champion needs a column that is not there."""
        raise DataError("column 'device_count_7d' is missing", fix="give it")

    @property
    def session(self) -> Any:
        """Each version may serve."""
        return SimpleNamespace(
            checks=lambda *_, **__: SimpleNamespace(require=lambda: None),
            version=lambda _: SimpleNamespace(created=datetime(2026, 1, 1, tzinfo=UTC)),
        )

    def history(self) -> list[Any]:
        """Nothing has happened yet."""
        return []

    def stage(self, version: int, *, reason: str) -> None:
        """Remember what was staged."""
        assert reason
        self.staged.append(version)


def trained(version: int, precision: float, *warnings: str) -> Trained:
    """A version with an average precision on validation."""
    return Trained("run", "models:/m", version, {"val_average_precision": precision}, 0.5, warnings=warnings)


def put_forward(registry: Any, *made: Trained) -> Any:
    """What becomes of versions named by their number."""
    return decided(registry, PARTS, {f"v{each.version}": each for each in made}, 1)


def test_a_version_with_warnings_is_never_put_forward() -> None:
    """The better one has a warning: the other is staged; where all have, none is, and each reason is told once."""
    registry = Registry()
    assert put_forward(registry, trained(1, 0.9, "says nothing"), trained(2, 0.3)).staged == 2
    assert registry.staged == [2]
    nothing = put_forward(registry, trained(1, 0.9, "it leaks"), trained(2, 0.3, "it leaks", "few frauds"))
    assert (nothing.staged, registry.staged) == (None, [2])
    assert nothing.message == "nothing was staged: it leaks; few frauds"


def test_the_champion_is_not_said_to_be_staged() -> None:
    """Asked again after the best version was promoted, nothing is staged, and no canary is tried against itself."""
    registry = Registry(champion=8)
    put = put_forward(registry, trained(8, 0.5))
    assert (put.staged, put.champion, registry.staged) == (None, 8, [])
    assert put.message == "nothing was staged: version 8 is the champion"


def test_a_champion_that_cannot_be_compared_stays() -> None:
    """Rows that lack what the champion needs stage nothing; the versions are kept, and the column is named."""
    registry = Registry(champion=7)
    kept = put_forward(registry, trained(8, 0.5))
    assert (kept.staged, registry.staged, kept.champion) == (None, [], 7)
    assert "champion 7 cannot be compared on these rows: column 'device_count_7d' is missing" in kept.message
