"""`--dry-run`: whatever the verb, the registry and every file are afterwards what they were before."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from fds_mlflow import ManagedModel, OutcomeRecord, OutcomeStore, Plan
from fds_mlflow.cli.main import main
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.runtime.identity import new_id
from tests.support import tiny_models

DRY = {
    *("adopt", "aliases", "approve", "doctor", "policy", "promote", "reject", "retire", "retrain", "settle", "stage"),
    *(f"canary {verb}" for verb in ("abort", "advance", "complete", "pause", "resume", "start")),
    *("features forget", "history import", "outcomes forget", "outcomes prune", "rollback emergency", "rollback to"),
}
"""The verbs that move traffic or delete."""


def verbs(command: click.Command, words: str = "") -> dict[str, click.Command]:
    """Every verb by its words."""
    found: dict[str, click.Command] = {}
    for name, verb in getattr(command, "commands", {}).items():
        path = f"{words} {name}".strip()
        found |= {path: verb} if not hasattr(verb, "commands") else verbs(verb, path)
    return found


def test_every_verb_that_moves_traffic_or_deletes_has_one() -> None:
    """No other verb has, and none of these lacks it."""
    has = {path for path, verb in verbs(main).items() if any("--dry-run" in param.opts for param in verb.params)}
    assert has == DRY


def fds(*words: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, ["--actor", "ann", *words])


def registry_of(folder: Path) -> list[str]:
    """All that MLflow's database holds."""
    with sqlite3.connect(folder / "mlflow.db") as connection:
        dumped = list(connection.iterdump())
    connection.close()
    return dumped


def files_of(folder: Path) -> dict[str, str]:
    """Every file, by what it holds."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


_SCORED = {
    "model": "quiet",
    "assigned": Variant.CHAMPION,
    "version": 2,
    "score": 0.1,
    "flagged": False,
    "latency_ms": 1.0,
}


@pytest.fixture
def world(mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """quiet: champion 2 after 1, version 3. trial: the same with 3 on trial. new: version 1. An exported history."""
    saved = tmp_path / "saved"
    saved.mkdir()
    good = tiny_models.save(saved, "good", tiny_models.GOOD)
    for model in ("quiet", "trial", "new"):
        for _ in range(1 if model == "new" else 3):
            tiny_models.register(model, good)
    for model in ("quiet", "trial"):
        session = ManagedModel(model, actor="zoe").session
        for version in (1, 2):
            session.run(Request(Kind.PROMOTE, version), "set up")
    managed = ManagedModel("trial", actor="zoe")
    start = Request(Kind.START, 3, plan=Plan([10, 50, 100]), rollout_id=new_id(), now=managed.session.now())
    managed.session.run(start, "set up")
    lines = ManagedModel("quiet").export_history()
    monkeypatch.setenv("FDS_OUTCOMES_URI", "sqlite:///outcomes.db")
    with OutcomeStore("sqlite:///outcomes.db") as store:
        store.record(
            [OutcomeRecord(**_SCORED, key=f"T{n}", time=datetime(2026, 1, 1, n, tzinfo=UTC)) for n in range(3)]
        )
    (tmp_path / "history.jsonl").write_text("\n".join(line for line in lines if '"to": 1,' in line), encoding="utf-8")
    return tmp_path


CALLS: dict[str, tuple[int, str]] = {
    "stage quiet 3": (0, "version 3, stage: None -> Staging"),
    "stage quiet 99": (1, ""),
    "promote quiet 3": (0, "champion 2 -> champion 3"),
    "promote trial 3": (1, ""),
    "retire quiet 3": (0, "Archived"),
    "aliases quiet --champion live": (0, "alias live: none -> 2"),
    "adopt quiet 3 --threshold 0.7": (0, "fds.threshold: 0.5 -> 0.7"),
    "canary start quiet 3 --steps 10,100": (0, "champion 2 -> champion 2, canary 3 at 10 %"),
    "canary advance trial": (0, "canary 3 at 10 % -> champion 2, canary 3 at 50 %"),
    "canary advance quiet": (1, ""),
    "canary complete trial": (1, ""),
    "canary complete trial --force --reason now": (0, "canary 3 at 10 % -> champion 3"),
    "canary abort trial --reason harm": (0, "alias canary: 3 -> none"),
    "canary pause trial": (0, "paused"),
    "canary resume trial": (0, "not paused"),
    "rollback emergency quiet --reason harm": (0, "champion 2 -> champion 1"),
    "rollback to trial 1 --reason harm": (0, "canary 3 at 10 % -> champion 1"),
    "settle trial": (0, "nothing is left in flight"),
    "doctor quiet --fix": (0, "agree"),
    "history import new history.jsonl": (0, "no champion -> champion 1"),
    "outcomes prune quiet --older-than 1d": (0, "2 rows"),
    "outcomes forget key T00": (0, "would be removed"),
    "policy quiet --require-approval promote": (0, "tag fds.policy"),
}


def test_a_dry_run_leaves_everything_as_it_was(world: Path) -> None:
    """The exit code is the verb's own; what would be written is shown; neither the registry nor any file changes."""
    before, wrong = (registry_of(world), files_of(world)), {}
    for call, (code, shown) in CALLS.items():
        found = fds(*call.split(), "--dry-run")
        after = registry_of(world), files_of(world)
        if found.exit_code != code or shown not in " ".join(found.stdout.split()) or after != before:
            wrong[call] = (found.exit_code, found.output)
    assert wrong == {}


def test_a_dry_run_is_data_too(world: Path) -> None:
    """With --json: who serves, who would, and each change."""
    value = json.loads(fds("stage", "quiet", "3", "--dry-run", "--json").stdout)
    assert value["dry_run"]["before"] == value["dry_run"]["after"] == {"champion": 2, "canary": None, "weight": 0.0}
    assert {"what": "version 3, stage", "before": "None", "after": "Staging"} in value["dry_run"]["changes"]
