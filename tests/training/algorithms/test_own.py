"""A team's own algorithm: what it fits is measured, registered and loaded; what breaks the contract is told."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest

from fds_mlflow import ManagedModel
from fds_mlflow.errors import ConfigError
from fds_mlflow.registry import tags
from fds_mlflow.training import evaluation
from fds_mlflow.training.algorithms import own
from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import Split, by_time
from tests.support.tables import table

OWN = "tests.support.own_algorithms"


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.fixture(scope="module")
def split() -> Split:
    """Parts with numbers alone."""
    return by_time(table(1500))


ALGORITHMS = pytest.mark.parametrize(
    ("name", "needs", "categorical"),
    [
        ("logistic", "sklearn", True),
        ("xgboost", "xgboost", False),
        ("catboost", "catboost", True),
        ("by_hand", "mlflow", False),
    ],
)


@pytest.mark.slow
@ALGORITHMS
def test_what_an_algorithm_fits_scores_as_its_flavor_saves_it(name: str, needs: str, categorical: bool) -> None:
    """A fitted model of any library gives one score in [0, 1] a row, and ranks frauds above genuine rows."""
    pytest.importorskip(needs)
    parts = by_time(table(1500, categorical=categorical))
    scorer = own.fit(f"{OWN}:{name}", parts, {}, 42)
    figures = evaluation.metrics(parts.test.y, scorer.predict(parts.test.x), 0.5)
    assert figures["roc_auc"] > 0.7


@pytest.mark.campaign
@ALGORITHMS
def test_a_version_of_a_teams_own_algorithm_is_one_like_ours(
    mlflow_uri: str, tmp_path: Path, name: str, needs: str, categorical: bool
) -> None:
    """It is measured on what its flavor saved, promoted and served; it loads where the team's module cannot."""
    pytest.importorskip(needs)
    parts = by_time(table(1500, categorical=categorical))
    made = train(parts, algorithm=f"{OWN}:{name}", model_name="fraud")
    # A PythonModel is a pickle of code: whoever made it allows it by name.
    model = ManagedModel("fraud", actor="ann", outcomes="sqlite://", trust=name == "by_hand")
    version = model.session.version(1)
    assert version.tags[tags.ALGORITHM] == f"{OWN}:{name}"
    model.promote(1)
    scores = model.scorer(1).score(parts.test.x)
    figures = evaluation.metrics(parts.test.y, scores, made.threshold)
    assert figures["average_precision"] == pytest.approx(made.metrics["average_precision"])
    row = parts.test.frame.iloc[0].to_dict() | {"transaction_id": "T1"}
    assert model.router(record=False).score(row).score == pytest.approx(scores[0])
    code = f"""
import sys
sys.modules["fds_mlflow"] = sys.modules["fds_mlflow_plugins"] = sys.modules["tests"] = None
import mlflow
loaded = mlflow.pyfunc.load_model({version.source!r})
print(len(loaded.predict(loaded.input_example)))
"""
    environment = {"MLFLOW_TRACKING_URI": mlflow_uri, "PATH": "/usr/bin:/bin"}
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert answer.stdout.split()[-1:] == ["5"], answer.stderr


@pytest.mark.slow
def test_params_and_seed_reach_the_algorithm(mlflow_uri: str, split: Split) -> None:
    """What is given by --param is given to the function, and logged with the seed."""
    made = train(split, algorithm=f"{OWN}:logistic", params={"C": 0.01}, seed=7, model_name="fraud")
    logged = mlflow.MlflowClient().get_run(made.run_id).data.params
    assert (logged["C"], logged["seed"], logged["algorithm"]) == ("0.01", "7", f"{OWN}:logistic")


NAMES = {
    "acme:": "names no function",
    ":fit": "names no function",
    "a b:fit": "names no function",
    "acme.models:fit:more": "names no function",
    "no_such_module_here:fit": "cannot be imported",
    "tests.support.no_such:fit": "cannot be imported",
    f"{OWN}:logistik": "did you mean 'logistic'",
    f"{OWN}:number": "no function",
    f"{OWN}:few_arguments": "does not take",
}


@pytest.mark.tested(len(NAMES))
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_names_no_such_function_is_told(split: Split, name: str) -> None:
    """A name of another form, a module that cannot be imported, another arity: told before anything is trained."""
    with pytest.raises(ConfigError) as refused:
        train(split, algorithm=name)
    assert NAMES[name] in str(refused.value)


BROKEN = {
    "raises": "the learning rate is too high",
    "returns_nothing": "NoneType",
    "margins": "predict_proba",
    "unknown_flavor": "save_model and log_model",
    "wrong_option": "clay",
    "too_few": "3",
    "not_numbers": "nan",
    "too_high": "1.5",
}


@pytest.mark.slow
@pytest.mark.tested(len(BROKEN))
@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_contract_is_told_with_a_fix(split: Split, name: str) -> None:
    """A function that raises, a model without scores, scores of another length, NaN or beyond 1: clear errors."""
    with pytest.raises(ConfigError) as refused:
        own.fit(f"{OWN}:{name}", split, {}, 42)
    assert BROKEN[name] in refused.value.what
    assert refused.value.fix


def test_the_algorithm_cannot_change_the_rows(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that writes into what it is given changes neither the parts nor what is measured."""
    from tests.support import own_algorithms

    before = split.train.x.copy()

    def careless(train_x: Any, train_y: Any, *_: Any) -> Any:
        train_x["amount"] = 0.0
        raise RuntimeError("enough")

    monkeypatch.setattr(own_algorithms, "careless", careless, raising=False)
    with pytest.raises(ConfigError, match="enough"):
        own.fit(f"{OWN}:careless", split, {}, 42)
    assert split.train.x.equals(before)
