"""A retraining as a job: once for the same inputs, one at a time, and whoever was killed goes on without doubles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import pytest

from fds_mlflow import ManagedModel
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.errors import ConfigError, ConflictError, FdsError
from fds_mlflow.outcomes.records import CaseRecord
from fds_mlflow.registry.lease import Lease
from fds_mlflow.registry.tags import LABELS, RETRAINED, RETRAINING
from fds_mlflow.training.search import Search
from fds_mlflow.workflows.approved import carry_out
from fds_mlflow.workflows.retraining.staging import Policy, When
from tests.support import retraining_world as world
from tests.support.effort import graded
from tests.support.places import ARTIFACT_ROOT, ROOT, mlflow_in

pytestmark = pytest.mark.slow  # versions are trained


@pytest.fixture(scope="session")
def template(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is copied: transactions, labels, and a model whose champion is a first retraining's."""
    folder = tmp_path_factory.mktemp("retraining")
    with mlflow_in(folder, migrated_database):
        world.write(folder)
        model = world.model()
        model.outcomes.close()
        first = world.retrained(as_of=datetime(2026, 3, 20, tzinfo=UTC), canary=None, algorithms=world.ALGORITHMS[1:])
        assert first.staged == 1
        world.model().promote(1)
    return folder


@pytest.fixture
def here(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, where the test runs; artifacts stay with the template."""
    folder = tmp_path / "world"
    shutil.copytree(template, folder, ignore=shutil.ignore_patterns("artifacts"))
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv(ARTIFACT_ROOT, (template / "artifacts").as_uri())
    monkeypatch.chdir(folder)
    return folder


def runs() -> list[Any]:
    """The runs of the model's experiment but for those of the template."""
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(f"fds/{world.MODEL}")
    assert found is not None
    mine = client.search_runs([found.experiment_id], max_results=1_000)
    first = {run.info.run_id for run in mine if run.data.tags.get("fds.staged") == "1"}
    return [
        run for run in mine if run.info.run_id not in first and run.data.tags.get("mlflow.parentRunId") not in first
    ]


def require_one_of_each() -> None:
    """One version by each algorithm, staged once, one canary, one finished run of each, nothing open, nothing held."""
    model = world.model()
    marks = Counter((view.tags["fds.algorithm"], view.tags[RETRAINING]) for view in model.session.versions())
    assert len(marks) == 3, "a first version and one by each algorithm"
    assert set(marks.values()) == {1}
    kinds = Counter(event.kind for event in model.history())
    assert kinds == {Kind.STAGE: 2, Kind.PROMOTE: 1, Kind.START: 1}
    assert RETRAINING not in model.session.store.read(world.MODEL).tags
    assert not model.pending()
    ended = Counter((run.info.run_name, run.info.status) for run in runs() if run.info.status != "KILLED")
    assert ended == {("retrain", "FINISHED"): 1, **{(name, "FINISHED"): 1 for name in world.ALGORITHMS}}
    assert all(RETRAINED in view.tags for view in model.session.versions()[:2])


def test_the_loop_closes_from_labels_to_the_canary(here: Path) -> None:
    """All that is known reaches the training and is told in the run and by each version; the best one is the canary."""
    assert here.is_dir()
    made = world.retrained()
    account = made.account
    assert account is not None
    assert account.labels == account.used + sum(account.left_out.values()) == len(world.model().outcomes.all_cases())
    assert account.used == sum(part["labels"] for part in account.parts.values()) > 0
    assert account.silent > 0
    assert made.staged in (2, 3)
    assert made.canary.startswith(f"version {made.staged} is the canary now")
    rollout = world.model().overview().rollout
    assert rollout is not None
    assert rollout.canary == made.staged
    run = mlflow.get_run(made.run_id)
    assert run.data.metrics["labels_known"] == run.data.metrics["labels_used"] + run.data.metrics["labels_left_out"]
    assert run.data.tags["fds.message"] == made.message
    table = mlflow.artifacts.load_dict(f"runs:/{made.run_id}/labels.json")
    counts = {(line[0], line[1]): 0 for line in table["data"]}
    for of, became, _, count in table["data"]:
        counts[of, became] += count
    assert counts["label", "used"] + counts["label", "left out"] == account.labels
    for view in world.model().session.versions()[:2]:
        assert f'"labels":{account.labels},"used":{account.used}' in view.tags[LABELS]
    require_one_of_each()


def test_the_same_inputs_make_no_second_version(here: Path) -> None:
    """Asked again, it says what came of it; a new label, another wish and `force` each make what is new in them."""
    assert here.is_dir()
    first = world.retrained(canary=None)
    again = world.retrained(canary=None)
    assert (again.repeated, again.staged, again.run_id) == (True, first.staged, None)
    assert (
        again.message
        == f"nothing is new: the same rows, labels and settings made versions 2 and 3, and then: {first.message}"
    )
    assert {each.version: each.metrics for each in again.trained.values()} == {
        each.version: each.metrics for each in first.trained.values()
    }
    flown = world.retrained()  # the same, and a canary this time
    assert (flown.repeated, flown.taken_up) == (False, (2, 3))
    assert "is the canary now" in flown.canary
    require_staged_once(2)
    late = CaseRecord(transaction_id="T000000100", status="genuine", known_at=datetime(2026, 3, 1, tzinfo=UTC))
    world.model().outcomes.label([late])
    third = world.retrained(canary=None, policy=Policy(When.NEVER))
    assert sorted(each.version for each in third.trained.values() if each.version) == [4, 5]
    assert third.message == "nothing was staged: the policy says never (--stage never)"
    forced = world.retrained(canary=None, policy=Policy(When.NEVER), force=True)
    assert sorted(each.version for each in forced.trained.values() if each.version) == [6, 7]


def require_staged_once(times: int) -> None:
    """So many stagings in all, the template's included."""
    assert sum(event.kind is Kind.STAGE for event in world.model().history()) == times


def test_what_a_person_undid_stays_undone(here: Path) -> None:
    """A version that was staged and then retired is not staged again by the next night's run."""
    assert here.is_dir()
    made = world.retrained(canary=None)
    assert made.staged is not None
    world.model().retire(made.staged)
    assert world.retrained(canary=None).repeated
    assert world.retrained(canary=None, policy=Policy(When.ALWAYS, min_labels=1)).staged == made.staged
    require_staged_once(2)
    assert world.model().session.version(made.staged).stage == "Archived"


def test_too_few_labels_stage_nothing(here: Path) -> None:
    """The policy's bounds are told beside what there is; the versions are kept, and no canary starts."""
    assert here.is_dir()
    made = world.retrained(policy=Policy(When.ALWAYS, min_labels=10_000, min_frauds=9_000))
    assert made.account is not None
    assert made.staged is None
    assert made.message == (
        f"nothing was staged: {made.account.used:,} labels are used, fewer than the 10,000 asked for (--min-labels); "
        f"{made.account.frauds:,} frauds are used, fewer than the 9,000 asked for (--min-frauds)"
    )
    assert made.canary == "no canary: nothing was staged"


def test_two_at_once_on_one_model_are_refused(here: Path) -> None:
    """The second is told who is at it, and nothing is read, trained or held by it."""
    assert here.is_dir()
    other = world.model().session
    lease = Lease(other.transactions, world.MODEL, tag=RETRAINING, actor="bob@elsewhere", what="retraining", lifetime=4)
    with lease.held(), pytest.raises(ConflictError, match="bob@elsewhere has a retraining of 'fraud' under way"):
        world.retrained()
    assert len(world.model().session.versions()) == 1
    assert world.retrained(canary=None).staged is not None


def test_what_was_refused_begins_anew(here: Path) -> None:
    """Refused before anything was made, the next attempt takes the labels of its own moment, those mended since too."""
    (here / "transactions.parquet").rename(here / "elsewhere")
    with pytest.raises(FdsError):
        world.retrained(canary=None)
    refused = datetime.now(UTC)
    (here / "elsewhere").rename(here / "transactions.parquet")
    world.model().outcomes.label([CaseRecord(transaction_id="T000000100", status="genuine", known_at=refused)])
    made = world.retrained(canary=None)
    assert made.as_of is not None
    assert made.as_of > refused
    assert made.account is not None
    assert made.account.labels == len(world.model().outcomes.all_cases())


EACH = range(1, 1 + int(os.environ.get("RETRAINING_KILLS", "0")))
#: Before its run is noted, between a version and the end of its run, and a few others; RETRAINING_KILLS=40: each.
KILLED = list(dict.fromkeys([5, 9, 24, 1, 14, 19, 30, 35, *EACH]))


@pytest.mark.parametrize("number", graded(KILLED, quick=3, tested=3))
def test_whoever_was_killed_goes_on_without_doubles(number: int, here: Path) -> None:
    """Killed after any write and started again, it ends as if nothing had been, with the labels of its beginning."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PWD": str(here)}
    before = datetime.now(UTC)
    victim = subprocess.run(
        [sys.executable, "-m", "tests.support.retraining_world", str(number)],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if victim.returncode == 0:
        assert int(victim.stdout.split()[0]) < number, "it was not killed, and would have written so often"
    else:
        assert victim.returncode == -9, victim.stderr[-2_000:]
    killed = datetime.now(UTC)
    world.model().outcomes.label([CaseRecord(transaction_id="T000000100", status="genuine", known_at=killed)])
    made = world.retrained()
    if victim.returncode != 0 and number > 3 and not made.repeated:  # its beginning was noted
        assert made.as_of is not None
        assert before - timedelta(seconds=1) <= made.as_of < killed
    require_one_of_each()


def test_a_dry_run_says_what_would_be_trained(here: Path) -> None:
    """It says on what, and against whom; nothing is written, and the next run is as ever."""
    before = world.model().session.store.read(world.MODEL)
    said = world.retrained(ManagedModel(world.MODEL, outcomes="sqlite:///outcomes.db", actor="ann", dry_run=True))
    both = " and ".join(world.ALGORITHMS)
    assert said.message.startswith(f"dry run: would train {both} on ")
    assert said.message.endswith("compare the best with champion 1, and put it forward (always), then start its canary")
    assert (said.trained, said.staged, said.run_id, runs()) == ({}, None, None, [])
    assert world.model().session.store.read(world.MODEL) == before
    assert len(world.model().session.versions()) == 1
    made = world.retrained()
    assert made.staged in (2, 3)
    again = ManagedModel(world.MODEL, outcomes="sqlite:///outcomes.db", actor="ann", dry_run=True)
    assert world.retrained(again).message.startswith("dry run: nothing is new, and nothing would be trained")
    require_one_of_each()


def test_a_canary_waits_for_the_second_person(here: Path) -> None:
    """Where a policy asks for approval, the night's best version is staged, and somebody else lets its canary start."""
    world.model().approvals.require(["start"])
    made = world.retrained()
    waiting = world.model().approvals.requests()
    assert [(one.asked.kind, one.asked.version) for one in waiting] == [(Kind.START, made.staged)]
    assert f"waits for the approval of a second person: request {waiting[0].id} by ann" in made.canary
    assert world.model().overview().rollout is None
    bob = ManagedModel(world.MODEL, outcomes="sqlite:///outcomes.db", actor="bob")
    bob.approvals.approve(waiting[0].id)
    carry_out(bob, waiting[0].id)
    rollout = world.model().overview().rollout
    assert rollout is not None
    assert rollout.canary == made.staged


def test_seeds_and_a_search_are_for_the_algorithms_that_have_them(here: Path) -> None:
    """LightGBM is averaged and searched for; the algorithm beside it is trained as ever."""
    pytest.importorskip("optuna", reason="the extra `search` is not installed")
    algorithms = ("lightgbm", world.ALGORITHMS[0])
    search = Search(timedelta(seconds=1), here / "tries.db", trials=1)
    made = world.retrained(algorithms=algorithms, seeds=2, search=search, canary=None)
    params = {name: mlflow.get_run(made.trained[name].run_id).data.params for name in algorithms}
    assert params["lightgbm"]["seeds"] == "2"
    assert "seeds" not in params[world.ALGORITHMS[0]]
    with pytest.raises(ConfigError, match="seeds"):
        world.retrained(algorithms=algorithms[1:], seeds=2, canary=None)
