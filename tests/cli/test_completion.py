"""What the TAB key offers beside verbs and options."""

from __future__ import annotations

import pytest
from click.shell_completion import ShellComplete

from fds_mlflow.cli.main import main
from fds_mlflow.registry.mlflow_store import MlflowStore
from tests.cli.test_main import answer, fraud, saved

__all__ = ["fraud", "saved"]

pytestmark = pytest.mark.slow


def offered(words: list[str], typed: str) -> list[tuple[str, str | None]]:
    """What a shell is told."""
    found = ShellComplete(main, {}, "fds", "_FDS_COMPLETE").get_completions(words, typed)
    return [(item.value, item.help) for item in found]


def test_models_and_versions_are_offered(fraud: MlflowStore) -> None:
    """Names that go on from what is typed; then the model's versions, the newest first, with what they are."""
    answer("promote", "fraud", "1")
    assert offered(["promote"], "fr") == [("fraud", None)]
    assert offered(["promote"], "x") == []
    assert offered(["canary", "start", "fraud"], "") == [("2", "None"), ("1", "champion")]
    assert offered(["compare", "fraud", "1"], "2") == [("2", "None")]


def test_a_registry_that_is_away_offers_nothing(mlflow_uri: str) -> None:
    """A shell is never shown an error in place of names."""
    away = ["--tracking-uri", "postgresql://127.0.0.1:1/none"]
    assert offered([*away, "promote"], "fr") == []
    assert offered([*away, "promote", "fraud"], "") == []
