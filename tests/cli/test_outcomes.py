"""`fds outcomes show`: how a transaction was scored, and what is known about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fds_mlflow.cli.main import main
from fds_mlflow.outcomes.store import OutcomeStore
from tests.support import tiny_models
from tests.support.samples import DAY, NOON, case, outcome


@pytest.fixture
def url(tmp_path: Path, mlflow_uri: str) -> str:
    """A store in which TX1 was scored twice and turned out to be fraud, and TX2 once."""
    url = f"sqlite:///{tmp_path / 'outcomes.db'}"
    tiny_models.register("fraud", tiny_models.save(tmp_path, "one", tiny_models.GOOD), threshold="0.75")
    with OutcomeStore(url) as store:
        rows = [
            outcome(
                **{"key": "C1", "transaction_id": "TX1", "version": 1, "score": 0.875, "flagged": True},
                **{"inputs_digest": "0123456789abcdef", "degraded": True, "reasons": '[{"code":"V01","value":3}]'},
            ),
            outcome(key="C1", transaction_id="TX1", version=7, score=0.25, time=NOON + DAY, model="returns"),
            outcome(key="C2", transaction_id="TX2"),
        ]
        store.record(rows)
        store.label([case(transaction_id="TX1", status="confirmed", known_at=NOON + 2 * DAY, loss_amount=20.5)])
    return url


def _asked(url: str, *words: str) -> str:
    result = CliRunner().invoke(main, ["--outcomes", url, "outcomes", "show", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_transaction_is_shown_with_its_outcomes_and_its_label(url: str) -> None:
    """Every time that it was scored is told, the newest first, with the version's threshold of today and the label."""
    told = json.loads(_asked(url, "TX1", "--json"))
    seen = [(one["model"], one["version"], one["score"], one["threshold"], one["flagged"]) for one in told["outcomes"]]
    assert seen == [("returns", 7, 0.25, None, False), ("fraud", 1, 0.875, 0.75, True)]
    newest, oldest = told["outcomes"]
    assert (newest["inputs_digest"], newest["degraded"], newest["reasons"]) == (None, False, None)
    assert (oldest["inputs_digest"], oldest["degraded"]) == ("0123456789abcdef", True)
    assert oldest["reasons"] == [{"code": "V01", "value": 3}]
    assert (told["label"]["status"], told["label"]["loss_amount"]) == ("confirmed", 20.5)
    assert [one["model"] for one in json.loads(_asked(url, "TX1", "--model", "fraud", "--json"))["outcomes"]] == [
        "fraud"
    ]
    shown = _asked(url, "TX1")
    assert "0.8750" in shown
    assert "V01" in shown
    assert "confirmed" in shown


def test_a_transaction_without_a_label_says_so(url: str) -> None:
    """What is not known is said to be unknown."""
    assert json.loads(_asked(url, "TX2", "--json"))["label"] is None
    assert "not known" in _asked(url, "TX2")


def test_a_transaction_of_which_nothing_is_stored_is_an_error(url: str) -> None:
    """Nobody takes a misspelled id for a transaction that was never scored."""
    result = CliRunner().invoke(main, ["--outcomes", url, "outcomes", "show", "TX3"])
    assert result.exit_code == 1
    assert "'TX3'" in result.output


def test_a_person_is_forgotten(url: str) -> None:
    """The dry run tells what would go and leaves it, the verb removes as much, and then there is nothing to show."""
    words = ["--outcomes", url, "outcomes", "forget", "key", "C1"]
    dry = CliRunner().invoke(main, [*words, "--dry-run", "--json"], catch_exceptions=False)
    assert json.loads(dry.stdout)["outcomes"] == 2
    assert len(json.loads(_asked(url, "TX1", "--json"))["outcomes"]) == 2
    gone = CliRunner().invoke(main, words, catch_exceptions=False)
    assert "2 outcomes" in gone.output
    assert "1 labels" in gone.output
    assert CliRunner().invoke(main, ["--outcomes", url, "outcomes", "show", "TX1"]).exit_code == 1


@pytest.mark.slow
@pytest.mark.parametrize("verb", [["prune", "fraud", "--older-than", "1d"], ["forget", "key", "C1"]])
def test_a_dry_run_makes_no_store(verb: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no store is, a dry run says so, and none is there afterwards; without it, one is made as ever."""
    monkeypatch.chdir(tmp_path)
    store = ["--outcomes", "sqlite:///kept.db"]
    refused = CliRunner().invoke(main, [*store, "outcomes", *verb, "--dry-run"])
    assert refused.exit_code == 1
    assert "is not there" in refused.stderr
    assert list(tmp_path.iterdir()) == []
    assert CliRunner().invoke(main, [*store, "outcomes", *verb]).exit_code == 0
    assert CliRunner().invoke(main, [*store, "outcomes", *verb, "--dry-run"]).exit_code == 0
