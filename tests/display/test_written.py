"""What may not be written is refused by every door, and each names the character; honest texts pass all of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fds_mlflow.core.keys import Spelling
from fds_mlflow.errors import FdsError
from fds_mlflow.outcomes.label_file import import_labels
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord, case_rows, outcome_rows
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.registry import texts
from fds_mlflow.scoring.requests.names import NameReader
from fds_mlflow.serving.http.request import RefusedError, head
from tests.support.hostile import ACTING, HONEST

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATE: Any = SimpleNamespace(
    key="id", transaction="id", kinds={}, table=SimpleNamespace(routing=SimpleNamespace(spelling=Spelling.CANONICAL))
)


def outcome(**values: Any) -> object:
    """An outcome's row."""
    given = {"key": "T1", "score": 0.5, "version": 1, "latency_ms": 1, "flagged": False, **values}
    return outcome_rows([OutcomeRecord(model="m", assigned="champion", time=NOW, **given)])


def case(**values: Any) -> object:
    """A label's row."""
    return case_rows([CaseRecord(**{"transaction_id": "T1", "status": "genuine", "known_at": NOW, **values})])


def header(name: bytes, text: str) -> object:
    """A header as a client sends it."""
    settings: Any = SimpleNamespace(variant_override=False)
    return head([(name, text.encode())], settings)


DOORS: dict[str, Callable[[str], object]] = {
    "reason": texts.checked_reason,
    "actor": texts.checked_actor,
    "model": texts.checked_model,
    "key": lambda text: outcome(key=text),
    "transaction": lambda text: outcome(transaction_id=text),
    "request": lambda text: outcome(request_id=text),
    "label": lambda text: case(transaction_id=text),
    "kind of fraud": lambda text: case(fraud_type=text),
    "key of a request": lambda text: NameReader(STATE).key(text),
    "X-Request-ID": lambda text: header(b"x-request-id", text),
    "X-Routing-Key": lambda text: header(b"x-routing-key", text),
}


@pytest.mark.parametrize("door", DOORS)
def test_no_door_takes_what_acts(door: str) -> None:
    """Escape codes, C1 controls, overrides, separators and half characters come in nowhere."""
    for text in ACTING:
        with pytest.raises((FdsError, RefusedError, UnicodeEncodeError)) as error:  # half a character fits no header
            DOORS[door](f"a{text}b")
        assert str(error.value).isprintable() or "\nFix: " in str(error.value)


@pytest.mark.parametrize("door", DOORS)
def test_every_door_takes_honest_texts(door: str) -> None:
    """Names, ids and reasons in every script are taken as they are."""
    for text in HONEST:
        DOORS[door](text)


def test_a_label_file_with_an_escape_code(tmp_path: Path) -> None:
    """The row is named, the code is shown and not obeyed, and nothing is stored."""
    path = tmp_path / "labels.csv"
    path.write_text(
        "transaction_id,status,known_at\nT1,genuine,2026-01-01T00:00:00Z\nT\x1b[2J,genuine,2026-01-01T00:00:00Z\n"
    )
    with pytest.raises(FdsError, match=r"line 3.*U\+001B") as error:
        import_labels(OutcomeStore("sqlite://"), path)
    assert "\x1b" not in str(error.value)


def test_an_error_of_a_model_costs_no_outcome() -> None:
    """What a model says of itself is stored with its characters written out: nobody chose it."""
    (row,) = outcome(error="boom \x1b[31m\u202e \x00", score=None)  # type: ignore[misc] # rows of one
    assert row["error"] == "boom \\x1b[31m\\u202e \\x00"


def test_a_reason_is_kept_without_the_secret_that_it_quotes() -> None:
    """The history is read by many: an address in a reason stands there without its password."""
    assert texts.checked_reason("see http://ann:hunter2@wiki/x") == "see http://ann:***@wiki/x"
