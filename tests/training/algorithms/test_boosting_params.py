"""LightGBM's parameters: every one of them, under any of its names, features by theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fds_mlflow.errors import ConfigError
from fds_mlflow.training.algorithms import gradient_boosting, isolation_forest
from fds_mlflow.training.algorithms.boosting_params import _DEPENDENT, RESERVED, Columns, by_one_name, for_matrix, names
from fds_mlflow.training.split import Split, by_time
from tests.support.tables import table

COLUMNS = Columns(["amount", "channel", "noise"], ["channel", "amount", "noise"], ["channel"])


@pytest.fixture(scope="module")
def split() -> Split:
    """A small split with a categorical feature, which comes first in LightGBM's matrix."""
    return by_time(table(2000, categorical=True))


def test_every_name_that_lightgbm_lists_is_known_and_leads_to_one_that_is_logged() -> None:
    """Aliases are translated; what is reserved is reserved under each of them, with what to do instead."""
    assert set(RESERVED) <= set(names().values())
    for alias, logged in names().items():
        if logged in RESERVED:
            with pytest.raises(ConfigError, match="set by the training itself") as caught:
                by_one_name({alias: 1})
            assert caught.value.fix == RESERVED[logged]
        elif not logged.endswith("_filename") and "bagging" not in logged and logged not in (*_DEPENDENT, "subsample"):
            assert by_one_name({alias: 1}) == {logged: 1}


@pytest.mark.parametrize(
    ("alias", "logged"),
    [
        ("eta", "learning_rate"),
        ("num_iterations", "n_estimators"),
        ("boosting", "boosting_type"),
        ("lambda", "reg_lambda"),
        ("min_data_in_leaf", "min_child_samples"),
        ("early_stopping_round", "early_stopping_rounds"),
        ("mc", "monotone_constraints"),
    ],
)
def test_an_alias_is_logged_by_one_name(alias: str, logged: str) -> None:
    """scikit-learn's name where it has one, else LightGBM's."""
    assert names()[alias] == logged


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"eta": 0.1, "learning_rate": 0.2}, "'eta' and 'learning_rate' are one parameter"),
        ({"num_leafs": 3}, "did you mean 'num_leaves'"),
        ({"app": "binary"}, r"'app' \(objective\) is set by the training"),
        ({"metrics": "auc"}, r"'metrics' \(metric\)"),
        ({"random_seed": 3}, r"\(random_state\)"),
        ({"subsample": 0.5}, "no effect without subsample_freq"),
        ({"bagging": 0.5, "bagging_freq": 0}, "no effect without subsample_freq"),
        ({"boosting": "rf"}, "rows or columns to be drawn"),
        ({"fs": "nowhere.json"}, "which is no file"),
        ({"drop_rate": 0.2}, "drop_rate has no effect without boosting_type=dart"),
        ({"linear_lambda": 0.2, "linear_tree": False}, "without linear_tree=True"),
        ({"mc_penalty": 0.2}, "monotone_penalty has no effect without monotone_constraints"),
        ({"mc": [1], "mc_method": "x"}, "monotone_constraints_method is 'x'"),
        ({"learning_rate": float("inf")}, "finite"),
    ],
)
def test_what_cannot_be_meant_is_refused(params: dict[str, object], words: str) -> None:
    """Two names of one parameter, reserved ones, and what LightGBM would pass over in silence."""
    with pytest.raises(ConfigError, match=words):
        by_one_name(params)


@pytest.mark.parametrize("value", [{"amount": 1}, [1, 0, 0], (1, 0, 0), "1,0,0", np.array([1, 0, 0])])
def test_features_are_meant_by_name_or_in_their_order(value: object) -> None:
    """A list is in the order of the features as people know them, though categories come first in the matrix."""
    made, notes = for_matrix({"monotone_constraints": value}, COLUMNS)
    assert made == {"monotone_constraints": [0, 1, 0]}
    assert notes == ()


@pytest.mark.parametrize("value", [[["amount", "noise"], ["channel"]], [[0, 2], [1]], "[0,2],[1]"])
def test_groups_of_features_are_meant_by_name_or_by_their_number(value: object) -> None:
    """Interaction constraints become places in the matrix."""
    made, _ = for_matrix({"interaction_constraints": value}, COLUMNS)
    assert made == {"interaction_constraints": [[1, 2], [0]]}


def test_features_in_no_group_are_said_to_be_unused() -> None:
    """LightGBM leaves out features that no group of interaction constraints names: so it is said."""
    _, notes = for_matrix({"interaction_constraints": [["amount"]]}, COLUMNS)
    assert notes[0].endswith("channel, noise")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"monotone_constraints": {"amout": 1}}, "did you mean 'amount'"),
        ({"monotone_constraints": [1, 0]}, "2 values for 3 features"),
        ({"monotone_constraints": 1}, "no list for 3 features"),
        ({"monotone_constraints": {"amount": 2}}, r"give 1 \(rising\)"),
        ({"monotone_constraints": {"amount": "up"}}, "no number"),
        ({"monotone_constraints": {"channel": 1}}, "have no order"),
        ({"feature_contri": [1.0]}, "in this order: amount, channel, noise"),
        ({"interaction_constraints": [["amount", "nois"]]}, "did you mean 'noise'"),
        ({"interaction_constraints": [3]}, "not a list of groups"),
        ({"interaction_constraints": [[7]]}, "the features are amount, channel, noise"),
    ],
)
def test_a_feature_that_there_is_not_is_named(params: dict[str, object], words: str) -> None:
    """Wrong names, lengths and signs are refused with the nearest name or the order."""
    with pytest.raises(ConfigError, match=words):
        for_matrix(params, COLUMNS)


def test_a_monotone_feature_is_monotone(split: Split) -> None:
    """With a falling amount, no row scores higher when its amount rises; without the constraint some do."""
    rows = split.test.x.head(200)
    more = rows.assign(amount=rows["amount"] * 3)
    for params, falls in (({"monotone_constraints": {"amount": -1}}, True), ({}, False)):
        fitted = gradient_boosting.fit(split, {"n_estimators": 30, **params}, 1)
        assert bool((fitted.predict(more) <= fitted.predict(rows)).all()) is falls


@pytest.mark.parametrize(
    "params",
    [
        {"boosting": "dart", "n_estimators": 20},
        {"boosting": "dart", "n_estimators": 20, "early_stopping_rounds": 2},
        {"boosting": "goss", "n_estimators": 20},
        {"boosting": "rf", "n_estimators": 20, "bagging_fraction": 0.6, "bagging_freq": 1},
        {"data_sample_strategy": "goss", "n_estimators": 20},
        {"n_estimators": 3, "early_stopping_rounds": 100},
        {"linear_tree": True, "n_estimators": 10},
    ],
    ids=lambda params: "-".join(map(str, params.values())),
)
def test_trees_are_those_that_score(split: Split, params: dict[str, Any]) -> None:
    """Whatever boosts, and though nothing stops it early: trees, importance and curves are of the model that scores."""
    fitted = gradient_boosting.fit(split, params, 1, seeds=1)
    booster = fitted.model.named_steps["trees"].booster_
    matrix = fitted.model.named_steps["encode"].transform(split.test.x)
    np.testing.assert_array_equal(booster.predict(matrix, num_iteration=fitted.trees), fitted.predict(split.test.x))
    assert 0 < fitted.trees <= params["n_estimators"]
    assert fitted.params["best_iteration"] == fitted.trees
    assert list(fitted.importance) == ["channel", "amount", "velocity_1h", "noise"]
    assert list(fitted.importance.values()) == booster.feature_importance("gain", fitted.trees).tolist()
    curve = next(curve for curve in fitted.curves if curve.name == "curve_val_average_precision")
    assert curve.steps[0] == 1
    if params.get("boosting") == "dart":
        assert fitted.trees == curve.steps[-1] == 20
        assert "cannot stop early" in fitted.notes[0]
    else:
        assert fitted.trees == params["n_estimators"]  # fewer than are owed
    several = gradient_boosting.fit(split, params, 1, seeds=2)
    assert several.trees == 2 * fitted.trees


def test_what_lightgbm_refuses_is_told_without_its_source(split: Split) -> None:
    """The parameter is named; the line of LightGBM's code that noticed is not."""
    with pytest.raises(ConfigError, match="max_bin") as caught:
        gradient_boosting.fit(split, {"max_bin": 1}, 1)
    assert ".cpp" not in str(caught.value)


def test_a_forest_takes_no_more_rows_than_there_are(split: Split) -> None:
    """More rows per tree than rows are all rows, and this is said; a number written as 1e2 is a number of rows."""
    fitted = isolation_forest.fit(split, {"n_estimators": 2, "max_samples": 5000}, 1)
    assert fitted.params["max_samples"] == len(split.train)
    assert "max_samples is 1,200, not 5,000" in fitted.notes[0]
    fitted = isolation_forest.fit(split, {"n_estimators": "2", "max_samples": 1e2}, 1)
    assert (fitted.trees, fitted.params["max_samples"], fitted.notes) == (2, 100, ())
