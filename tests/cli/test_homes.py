"""The command line with outcomes in a Kafka topic or in Parquet files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fds_mlflow.cli.main import main
from fds_mlflow.core.evidence.evidence import Terms
from fds_mlflow.errors import ConfigError
from fds_mlflow.lifecycle.session import Session
from fds_mlflow.outcomes.homes.folder import ParquetOutcomes
from fds_mlflow.outcomes.homes.opening import check
from fds_mlflow.outcomes.homes.topic import KafkaOutcomes
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.registry.memory import MemoryStore
from tests.support.kafka_broker import broker
from tests.support.samples import DAY, NOON, outcome

pytestmark = pytest.mark.usefixtures("mlflow_uri")


def run(*words: str) -> Any:
    """What a verb says as JSON; an error as one, too."""
    result = CliRunner().invoke(main, [*words, "--json"])
    return json.loads(result.stdout)


@pytest.mark.parametrize("kind", ["parquet", "kafka"])
def test_drains_into_the_store(kind: str, tmp_path: Path) -> None:
    """`fds outcomes drain` moves what a home holds, imported labels too, and may be run as often as one likes."""
    (tmp_path / "labels.csv").write_text("transaction_id,status,known_at\nTX1,confirmed,2026-03-08T00:00:00Z\n")
    store = f"sqlite:///{tmp_path}/outcomes.db"
    with broker() as running:
        home = running.topic("t") if kind == "kafka" else f"parquet:{tmp_path}/files"
        opened = KafkaOutcomes(home) if kind == "kafka" else ParquetOutcomes(home)
        opened.record([outcome(), outcome(key="TX2")])
        imported = run("--outcomes", home, "label", "import", str(tmp_path / "labels.csv"))
        assert imported == {"rows": 1, "changed": 1}
        first = run("--outcomes", store, "outcomes", "drain", home)
        assert first == {"outcomes": 2, "shadows": 0, "labels": 1, "refused": 0, "unreadable": 0}
        run("--outcomes", store, "outcomes", "drain", home)
    (stats,) = run("--outcomes", store, "outcomes", "stats")
    assert stats["outcomes"] == 2
    assert run("--outcomes", store, "outcomes", "show", "TX1")["label"]["status"] == "confirmed"


@pytest.mark.parametrize("address", ["parquet:files", "kafka://host:9092/t"])
def test_single_outcomes_are_asked_of_a_database(address: str) -> None:
    """What a folder or a topic does not tell is refused at once, with the verb that moves it where it is told."""
    for words in (
        ["outcomes", "stats"],
        ["outcomes", "show", "TX1"],
        ["outcomes", "prune", "fraud", "--older-than", "9d"],
    ):
        error = run("--outcomes", address, *words)
        assert "is no database" in error["error"]
        assert "fds outcomes drain" in error["fix"]
    assert "is not drained" in run("outcomes", "drain", "sqlite:///x.db")["error"]


def test_files_are_not_followed(tmp_path: Path) -> None:
    """Files do not tell which of them are stored: they are drained again instead."""
    store = f"sqlite:///{tmp_path}/outcomes.db"
    error = run("--outcomes", store, "outcomes", "drain", f"parquet:{tmp_path}/files", "--follow")
    assert "is not followed" in error["error"]


def test_a_server_is_told_what_a_topic_cannot_do() -> None:
    """Labels for the state and a bound by the day are asked of outcomes: a topic tells none, and that is said."""
    check("kafka://host:9092/t", [])
    check("parquet:files", ["--state"])
    with pytest.raises(ConfigError, match="--explore-per-day and --state must know"):
        check("kafka://host:9092/t", ["--explore-per-day", "--state"])
    with pytest.raises(ConfigError, match="is not a database URL"):
        check("nonsense", [])


def test_a_model_is_judged_by_files(tmp_path: Path) -> None:
    """A session that is given a folder records and judges there; what needs a database says so."""
    address = f"parquet:{tmp_path}/files"
    session = Session("fraud", outcomes=address, store=MemoryStore())
    session.home.record([outcome()])
    found = session.home.evidence("fraud", "R", Terms(), as_of=NOON + DAY)
    assert [tally.requests for tally in found.tallies] == [1]
    with pytest.raises(ConfigError, match="is no database"):
        _ = session.outcomes
    with OutcomeStore("sqlite://") as store:
        assert Session("fraud", outcomes=store, store=MemoryStore()).home is store
