"""The names by which the package is used: in Python, on the command line, in its JSON, in a rollout's tracking run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

import fds_mlflow
from fds_mlflow import ManagedModel, OutcomeRecord
from tests.golden.support import (
    FILES,
    HERE,
    MODEL,
    CommandLine,
    MemoryStore,
    Registry,
    fds,
    main,
    outcome_store,
    read,
    registry,
)

EVENING = datetime(2026, 3, 1, 18, tzinfo=UTC)
"""Hours after the outcomes of the dumps, when their labels are mature."""


def golden(name: str) -> list[str]:
    """The lines of a golden list."""
    return (HERE / "face" / name).read_text(encoding="utf-8").splitlines()


def missing(name: str, found: list[str]) -> list[str]:
    """What a golden list has and today does not; what is new may be there."""
    return [line for line in golden(name) if line not in set(found)]


# --- names --------------------------------------------------------------------------------------------------------


def test_every_public_name_is_still_there() -> None:
    """What a user imports from the package can be imported."""
    found = [f"{name} {type(getattr(fds_mlflow, name)).__name__}" for name in sorted(fds_mlflow.__all__)]
    assert missing("python.txt", found) == []


def commands(command: click.Command = main, words: str = "fds") -> Iterator[str]:
    """One line for each command, argument and option."""
    yield words
    for param in command.params:
        marks = [mark for mark in ("required", "multiple", "is_flag") if getattr(param, mark, False)]
        for name in (*param.opts, *param.secondary_opts):
            yield " ".join([words, name if name.startswith("-") else name.upper(), *marks])
    if isinstance(command, click.Group):
        for name, verb in command.commands.items():
            yield from commands(verb, f"{words} {name}")


def test_every_command_and_option_is_still_there() -> None:
    """A script that calls `fds` goes on working; who renames an option keeps the old name beside it."""
    found = list(commands())
    found += [f"{line} required" for line in found]  # what need not be given any more still may be
    assert missing("commands.txt", found) == []


# --- JSON ---------------------------------------------------------------------------------------------------------


def shape(value: Any, path: str = "") -> Iterator[str]:
    """One line for each key of a JSON value, with the kind of its value; a plan's own keys are a plan file's."""
    if path.endswith(".plan"):
        yield f"{path} object"
    elif isinstance(value, dict):
        yield f"{path or '.'} object"
        for key, entry in value.items():
            yield from shape(entry, f"{path}.{key}")
    elif isinstance(value, list):
        yield f"{path or '.'} list"
        for entry in value:
            yield from shape(entry, f"{path}[]")
    else:
        kinds = {bool: "bool", int: "number", float: "number", str: "text", type(None): "null"}
        yield f"{path or '.'} {kinds[type(value)]}"


def traffic(rollout: str) -> list[OutcomeRecord]:
    """So many requests of the champion that the canary's in the dump are the share that the weights say."""
    return [
        OutcomeRecord(
            model=MODEL, key=f"MORE{n}", request_id=f"MORE{n}", assigned="champion", version=1, score=n / 580,
            flagged=n >= 500, latency_ms=n / 10, time=datetime(2026, 3, 1, 13, tzinfo=UTC), rollout_id=rollout, step=1,
            weight=250,
        )
        for n in range(580)
    ]  # fmt: skip


class Desk:
    """Calls verbs with `--json`, and keeps what they exit with and what their answers look like.

    Attributes:
        lines: One for each exit code and each key.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._monkeypatch = monkeypatch
        self._folder = folder
        self._count = 0
        self.lines: set[str] = set()

    def at(self, name: str, *, now: datetime | None = None) -> Registry:
        """Sit down before a golden registry and its outcomes."""
        self._count += 1
        found = registry(name, outcomes=outcome_store("0003", self._folder / f"{self._count}.db"), now=now)
        if now is not None:
            found.model.outcomes.record(traffic(found.golden["state"]["rollout"]["id"]))
        self._monkeypatch.setattr(CommandLine, "model", lambda *_: found.model)
        return found

    def call(self, verb: str, *words: str) -> None:
        """Call a verb."""
        done = fds(*verb.split(), *words, "--json")
        assert not isinstance(done.exception, AssertionError | TypeError | AttributeError), done.exception
        self.lines.add(f"{verb}: exit {done.exit_code}")
        for line in filter(None, done.stdout.splitlines()):
            self.lines |= {f"{verb}: {found}" for found in shape(json.loads(line))}


@pytest.fixture
def desk(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Desk:
    """A desk in a folder of its own, with an MLflow of its own for tracking."""
    return Desk(monkeypatch, tmp_path)


def rollout_verbs(desk: Desk) -> None:
    """The verbs about a model that can do without loading a version."""
    for verb in ("canary status", "canary tick", "canary run"):
        desk.at("every-plan-key", now=EVENING)
        desk.call(verb, MODEL, *([] if verb == "canary status" else ["--no-record"]))
    desk.at("every-plan-key", now=EVENING)
    desk.call("show", MODEL)
    desk.call("canary report", MODEL)
    desk.call("canary advance", MODEL, "--to", "50", "--force", "--reason", "go on")
    desk.call("canary complete", MODEL, "--force", "--reason", "enough")
    desk.call("canary status", MODEL)
    desk.call("show", MODEL)
    desk.call("rollback candidates", MODEL)
    desk.call("rollback validate", MODEL, "1")
    desk.call("rollback emergency", MODEL, "--no-validate", "--reason", "worse")
    desk.call("stage", MODEL, "6")
    desk.call("stage", MODEL, "6")
    desk.call("retire", MODEL, "6", "--reason", "no use")
    desk.call("history show", MODEL)
    desk.at("rollout-under-way")
    desk.call("canary tick", MODEL, "--no-record")
    desk.call("route", MODEL, "K1", "K2")
    desk.call("canary abort", MODEL, "--reason", "complaints")
    desk.call("canary tick", MODEL, "--no-record")
    desk.at("died-after-the-alias")
    desk.call("history show", MODEL)
    desk.call("doctor", MODEL)
    desk.call("settle", MODEL)
    desk.call("doctor", MODEL)
    desk.call("notify test", MODEL)
    desk.call("canary advance", MODEL, "--to", "fifty")


def other_verbs(desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verbs about stores and files."""
    url = outcome_store("0003", folder / "outcomes.db")
    monkeypatch.setenv("FDS_OUTCOMES_URI", url)
    desk.call("label import", str(FILES / "labels.csv"))
    desk.call("outcomes stats")
    desk.call("outcomes prune", MODEL, "--older-than", "1d", "--uncounted")
    desk.call("plan check", str(FILES / "plan.yaml"), "--traffic", "50/s")
    desk.call("plan check", str(FILES / "plan.yaml"), "--rate", "score_shift=0.01")
    desk.call("plan check", "nowhere.yaml")
    desk.call("simulate", "made.csv", "--rows", "100")
    store = MemoryStore()
    store.add(MODEL, versions=6)
    model = ManagedModel(MODEL, store=store, actor="eve")
    monkeypatch.setattr(CommandLine, "model", lambda *_: model)
    desk.call("history import", MODEL, str(HERE / "history" / "watch-over.jsonl"))


@pytest.mark.slow
def test_json_has_every_key_it_had(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that reads an answer finds each key with a value of the same kind, and the same exit codes."""
    rollout_verbs(desk)
    other_verbs(desk, tmp_path, monkeypatch)
    assert missing("json.txt", sorted(desk.lines)) == []


DATA = ["--data", str(FILES / "transactions.csv"), "--schema", str(FILES / "schema.yaml"), "--split", "stratified"]


def loading_verbs(desk: Desk) -> None:
    """The verbs that load versions."""
    desk.call("promote", MODEL, "1")
    desk.call("list")
    desk.call("show", MODEL)
    desk.call("canary start", MODEL, "2", "--plan", str(FILES / "plan.yaml"), "--allow-new-columns")


def training_verbs(desk: Desk) -> None:
    """The verbs that compute features and train."""
    desk.call("compare", MODEL, "1", "2", *DATA, "--rounds", "20")
    desk.call(
        "train", MODEL, *DATA, "--target-fpr", "0.3", "--param", "n_estimators=9", "--param", "min_child_samples=3"
    )


@pytest.mark.slow
def test_json_of_verbs_that_load_has_every_key_it_had(trained: ManagedModel, desk: Desk) -> None:
    """The same of the verbs that load versions from MLflow."""
    loading_verbs(desk)
    assert missing("json-loading.txt", sorted(desk.lines)) == []


@pytest.mark.slow
def test_a_training_has_every_name_it_had(trained: ManagedModel, desk: Desk) -> None:
    """Metrics, parameters, tags and artifacts of a training's run and version; the JSON of what trains and compares."""
    training_verbs(desk)
    assert missing("json-training.txt", sorted(desk.lines)) == []
    golden, client = read(HERE / "models" / "lightgbm-categories.json"), MlflowClient()
    version = max(client.search_model_versions(f"name = '{MODEL}'"), key=lambda one: int(one.version))
    run = client.get_run(version.run_id)
    assert set(golden["metrics"]) <= set(run.data.metrics)
    assert set(golden["params"]) <= set(run.data.params)
    assert set(golden["tags"]) <= set(run.data.tags)
    assert set(golden["version_tags"]) <= set(version.tags)
    assert set(golden["artifacts"]) <= {item.path for item in client.list_artifacts(version.run_id)}


# --- the tracking run of a rollout --------------------------------------------------------------------------------


def flown(desk: Desk) -> Any:
    """The tracking run of a rollout that an autopilot ends at its first look."""
    desk.at("every-plan-key", now=EVENING)
    desk.call("canary tick", MODEL)
    (run,) = runs()
    return run


def runs() -> list[Any]:
    """The tracking runs of the model's rollouts."""
    experiment = MlflowClient().get_experiment_by_name(f"fds/rollouts/{MODEL}")
    return list(MlflowClient().search_runs([experiment.experiment_id])) if experiment else []


def names(run: Any) -> list[str]:
    """Everything that a rollout's run is made of."""
    data, client = run.data, MlflowClient()
    found = [f"param {name}" for name in data.params] + [f"metric {name}" for name in data.metrics]
    found += [f"tag {name}" for name in data.tags]
    found += [f"artifact {item.path}" for item in client.list_artifacts(run.info.run_id)]
    return [*found, f"name {run.info.run_name}", f"status {run.info.status}"]


@pytest.mark.slow
def test_a_rollouts_run_has_every_name_it_had(desk: Desk) -> None:
    """Charts, searches and dashboards on params, metrics, tags and artifacts find what they look for."""
    assert missing("rollout-run.txt", names(flown(desk))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rollout-run", "rollout-run.060e196"])
def test_the_run_of_a_rollout_is_found_and_gone_on_with(desk: Desk, name: str) -> None:
    """A rollout that began under an earlier commit goes on in its run: same parameters, no second run."""
    begun = read(HERE / "face" / f"{name}.json")
    client = MlflowClient()
    experiment = client.create_experiment(f"fds/rollouts/{MODEL}")
    run = client.create_run(experiment, start_time=begun["start"], tags=begun["tags"], run_name=begun["name"])
    client.log_batch(
        run.info.run_id,
        [Metric(name, value, begun["start"] + 1_000, 1) for name, value in begun["metrics"].items()],
        [Param(name, value) for name, value in begun["params"].items()],
        [RunTag("seen", "before")],
    )
    after = flown(desk)
    assert after.info.run_id == run.info.run_id
    assert (after.data.tags["seen"], after.info.status) == ("before", "FINISHED")
    assert after.data.params == begun["params"]
