"""A search for better parameters: within its budget, resumable, never worse than not to search."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import pytest
import sqlalchemy
from click.testing import CliRunner

from fds_mlflow.cli import main
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.training import search as searching
from fds_mlflow.training.algorithms import gradient_boosting
from fds_mlflow.training.pipeline import train
from fds_mlflow.training.search import Found, Search, search
from fds_mlflow.training.split import Split, by_time
from tests.conftest import FakeClock
from tests.support.tables import table

optuna = pytest.importorskip("optuna", reason="the extra `search` is not installed")

PARAMS: dict[str, object] = {"n_estimators": 5, "n_jobs": 1}


class Ticking(FakeClock):
    """A clock on which every try takes a minute; it dies in a try that it is told."""

    def __init__(self, dies_in: int | None = None) -> None:
        super().__init__()
        self._asked, self._dies_in = 0, dies_in

    def monotonic(self) -> float:
        """A minute later each time."""
        self._asked += 1
        if self._asked == 2 * (self._dies_in or 0):
            raise KeyboardInterrupt
        return 60.0 * self._asked


@pytest.fixture(scope="module")
def split() -> Split:
    """A small labelled split."""
    return by_time(table(1500))


def searched(split: Split, *, storage: Path | None = None, minutes: float = 3, clock: FakeClock | None = None) -> Found:
    """A search of so many tries, a minute each, in a run of its own."""
    how = Search(timedelta(minutes=minutes), storage, clock=clock or Ticking())
    with mlflow.start_run():
        return search(split, "lightgbm", PARAMS, 1, how)


def _tries(storage: Path) -> list[Any]:
    address = f"sqlite:///{storage}"
    [name] = optuna.get_all_study_names(address)
    return list(optuna.load_study(study_name=name, storage=address).trials)


@pytest.mark.slow
def test_a_search_ends_with_its_budget_and_goes_on_with_a_larger_one(mlflow_uri: str, split: Split, tmp_path: Path):
    """Three minutes are three tries of a minute; asked again nothing is tried, and with more time only the rest."""
    storage = tmp_path / "tries.db"
    assert searched(split, storage=storage).tries == 3
    assert searched(split, storage=storage).tries == 3
    assert searched(split, storage=storage, minutes=5).tries == 5


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_where_it_was(mlflow_uri: str, split: Split, tmp_path: Path):
    """What was finished is not tried again; the defaults, if cut short, are."""
    storage = tmp_path / "tries.db"
    with pytest.raises(KeyboardInterrupt):
        searched(split, storage=storage, clock=Ticking(dies_in=2))
    [first, cut_short] = _tries(storage)
    assert first.state.name == "COMPLETE"
    assert searched(split, storage=storage).tries == 4
    again = _tries(storage)
    assert again[0].value == first.value
    assert cut_short.params in [one.params for one in again[2:]]


@pytest.mark.slow
def test_a_try_whose_process_vanished_holds_nothing_up(mlflow_uri: str, split: Split, tmp_path: Path):
    """A try that says it is running when nobody runs it counts as failed, and does not use the budget up."""
    storage = tmp_path / "tries.db"
    searched(split, storage=storage, minutes=1)
    address = f"sqlite:///{storage}"
    [name] = optuna.get_all_study_names(address)
    optuna.load_study(study_name=name, storage=address).ask()
    found = searched(split, storage=storage, minutes=3)
    states = [one.state.name for one in _tries(storage)]
    assert "RUNNING" not in states
    assert states.count("FAIL") == 1
    assert found.tries == 4


@pytest.mark.slow
def test_what_is_found_is_no_worse_than_the_defaults(mlflow_uri: str, split: Split, tmp_path: Path):
    """The first tries are the defaults, and the best of all is taken; every try is a child run with its figure."""
    storage = tmp_path / "tries.db"
    found = searched(split, storage=storage, minutes=4)
    tries = _tries(storage)
    assert tries[0].params["num_leaves"] == 8
    assert tries[1].params["num_leaves"] == 31
    assert found.average_precision == max(one.value for one in tries if one.state.name == "COMPLETE")
    assert found.params.items() >= PARAMS.items()
    runs = mlflow.search_runs(search_all_experiments=True)
    children = runs[runs["tags.mlflow.runName"].str.startswith("try ")]
    assert len(children) == 4
    assert children["tags.mlflow.parentRunId"].nunique() == 1
    assert children["metrics.average_precision"].notna().all()
    assert set(children["status"]) == {"FINISHED"}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["lightgbm", "isolation_forest"])
def test_a_training_takes_what_was_found(mlflow_uri: str, split: Split, algorithm: str, tmp_path: Path):
    """The version's parameters are the best try's, a note says so, and the run keeps all tries."""
    told: list[float] = []
    how = Search(timedelta(minutes=2), tmp_path / "tries.db", progress=told.append, clock=Ticking())
    params = {"n_estimators": 5}
    made = train(split, algorithm=algorithm, params=params, search=how)
    assert any("the best of 2 tried" in note or "the best of 1 tried" in note for note in made.notes)
    best = mlflow.artifacts.load_dict(f"runs:/{made.run_id}/search.json")["best"]
    logged = mlflow.get_run(made.run_id).data.params
    assert {name: float(logged[name]) for name in best} == pytest.approx(best)
    assert told[-1] == 1.0


def test_a_search_that_cannot_begin_says_why(mlflow_uri: str, split: Split, tmp_path: Path):
    """No time, nothing left to look for, no labels, an algorithm of one's own, a storage that does not open."""
    with pytest.raises(ConfigError, match="no time"):
        Search(timedelta(0))
    how = Search(timedelta(minutes=1), clock=Ticking())
    with pytest.raises(ConfigError, match="nothing to search"):
        search(split, "isolation_forest", {"max_samples": 9, "max_features": 0.5}, 1, how)
    with pytest.raises(ConfigError, match=r"acme\.models:fit"):
        search(split, "acme.models:fit", {}, 1, how)
    with pytest.raises(DataError, match="labels"):
        search(by_time(table(500, labelled=False)), "isolation_forest", {}, 1, how)
    with pytest.raises(ConfigError, match="does not open") as refused:
        search(split, "lightgbm", {}, 1, Search(timedelta(minutes=1), tmp_path / "nowhere" / "tries.db"))
    assert "--search-storage" in refused.value.fix


def test_without_optuna_the_extra_is_named(split: Split, monkeypatch: pytest.MonkeyPatch):
    """An installation without it says which extra to install."""
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError, match="Optuna") as refused:
        searching.search(split, "lightgbm", {}, 1, Search(timedelta(minutes=1)))
    assert "fds-mlflow[search]" in refused.value.fix


@pytest.mark.slow
def test_the_command_line_searches(mlflow_uri: str, tmp_path: Path):
    """`fds train --search` keeps its tries in the file that is named; a storage without a search is refused."""
    storage = tmp_path / "tries.db"
    data = ["--data", "simulator:6000", "--split", "stratified"]
    command = ["train", "fraud", *data, "--param", "n_estimators=5", "--search-storage", str(storage)]
    made = CliRunner().invoke(main, [*command, "--search", "1s"], catch_exceptions=False)
    assert made.exit_code == 0
    assert _tries(storage)
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code != 0
    assert "--search" in refused.output


def test_a_parameter_that_is_refused_ends_a_search_at_once(mlflow_uri: str, split: Split, tmp_path: Path):
    """However large the budget is, and with what LightGBM says of it instead of a list of failed tries."""
    how = Search(timedelta(days=1), tmp_path / "tries.db", clock=Ticking())
    with pytest.raises(ConfigError, match="boosting type") as refused, mlflow.start_run():
        search(split, "lightgbm", {**PARAMS, "boosting_type": "foo"}, 1, how)
    assert "correct the parameter" in refused.value.fix
    assert len(_tries(tmp_path / "tries.db")) == 3


@pytest.mark.slow
def test_the_first_tries_are_the_defaults_of_the_training(mlflow_uri: str, tmp_path: Path):
    """Leaf rows too, which follow the frauds; the largest seed there is goes on as any other."""
    few = by_time(table(600, fraud_share=0.2))
    storage = tmp_path / "tries.db"
    for trials in (1, 2, 3):
        with mlflow.start_run():
            how = Search(timedelta(days=1), storage, trials, clock=Ticking())
            search(few, "lightgbm", PARAMS, 2**32 - 1, how)
    plain = gradient_boosting.fit(few, PARAMS, 1, seeds=1, folded=False).params
    first, second, *_ = [one.params for one in _tries(storage)]
    assert (first["num_leaves"], second["num_leaves"]) == gradient_boosting.LEAVES
    for name in ("min_child_samples", "learning_rate", "colsample_bytree"):
        assert first[name] == second[name] == plain[name]


@pytest.mark.parametrize("name", ["with a space.db", "é%20#1.db"])
def test_a_storage_is_the_file_that_is_named(name: str, tmp_path: Path, mlflow_uri: str):
    """A path stays what it is, also with characters that mean something in an address."""
    assert sqlalchemy.make_url(searching._url(tmp_path / name)).database == str(tmp_path / name)
    assert searching._url("postgresql://host/tries") == "postgresql://host/tries"
