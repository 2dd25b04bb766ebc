"""Models made of others: LightGBM's own library, the compiled scorer and the reasons all see the same sum."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest

from fds_mlflow.errors import ConfigError
from fds_mlflow.scoring.trees import Trees
from fds_mlflow.training.algorithms import gradient_boosting
from fds_mlflow.training.algorithms.selection import raw_scores
from fds_mlflow.training.algorithms.tree_text import combined
from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import by_time
from tests.support.tables import table

_KINDS: dict[str, dict[str, Any]] = {
    "trees": {},
    "categories": {"categories": True},
    "linear leaves": {"linear_tree": True},
    "dart": {"boosting_type": "dart"},
    "random forest": {"boosting_type": "rf", "subsample": 0.7, "subsample_freq": 1},
    "stumps without a split": {"min_child_samples": 10_000},
}


@pytest.mark.parametrize("kind", list(_KINDS))
def test_raw_scores_are_averaged_stretched_and_moved(kind: str):
    """Log-odds of the made model are slope times the mean plus intercept, for every kind of trees."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 3))
    x[:, 2] = rng.integers(0, 12, 600)
    y = (x[:, 0] + (x[:, 2] % 3) + rng.normal(size=600) > 1.5).astype(np.int8)
    params = dict(_KINDS[kind])
    category = {"categorical_feature": [2]} if params.pop("categories", False) else {}
    given = {
        "objective": "binary",
        "n_estimators": 7,
        "num_leaves": 5,
        "colsample_bytree": 0.6,
        "verbose": -1,
        **params,
    }
    parts = [lightgbm.LGBMRegressor(**given, random_state=seed).fit(x, y, **category).booster_ for seed in (1, 2)]
    made = lightgbm.Booster(model_str=combined([part.model_to_string() for part in parts], 1.7, -0.4))
    expected = 1.7 * np.mean([next(raw_scores(part, x, [7])) for part in parts], axis=0) - 0.4
    np.testing.assert_allclose(next(raw_scores(made, x, [made.num_trees()])), expected, rtol=0, atol=1e-12)
    scores = 1 / (1 + np.exp(-expected))
    np.testing.assert_allclose(made.predict(x), scores, rtol=0, atol=1e-14)
    with Trees(made.model_to_string()) as trees:
        np.testing.assert_array_equal(trees.matrix(x), made.predict(x))
        if kind != "linear leaves":
            np.testing.assert_allclose(trees.contributions(x).sum(axis=1), expected, rtol=0, atol=1e-10)


def test_a_model_alone_stays_as_it_is():
    """One model, slope 1 and intercept 0: every score to the last bit."""
    split = by_time(table(1000))
    booster = gradient_boosting.fit(split, {"n_estimators": 9, "n_jobs": 1}, 1).model
    again = lightgbm.Booster(model_str=combined([booster.model_to_string()]))
    np.testing.assert_array_equal(booster.predict(split.test.x), again.predict(split.test.x))


@pytest.mark.parametrize("categorical", [False, True])
def test_several_seeds_are_one_model(categorical: bool):
    """Three seeds give thrice the trees of one, the same model again, and another one than a single seed."""
    split = by_time(table(2000, categorical=categorical))
    params = {"n_estimators": 12, "n_jobs": 1}
    one, three, again = (gradient_boosting.fit(split, params, 1, seeds=seeds) for seeds in (1, 3, 3))
    assert (one.trees, three.trees) == (12, 36)
    np.testing.assert_array_equal(three.predict(split.test.x), again.predict(split.test.x))
    assert not np.array_equal(one.predict(split.test.x), three.predict(split.test.x))
    assert three.params["seeds"] == 3
    assert three.params["best_iteration"] == 12


@pytest.mark.parametrize(("algorithm", "seeds"), [("isolation_forest", 2), ("lightgbm", 0), ("acme.models:fit", 2)])
def test_seeds_that_cannot_be_averaged_are_refused(algorithm: str, seeds: int, monkeypatch: pytest.MonkeyPatch):
    """Only LightGBM's models are averaged, one at least; it is said before anything is logged."""
    monkeypatch.setattr("fds_mlflow.training.pipeline.check_algorithm", lambda _name: None)
    with pytest.raises(ConfigError, match="seeds"):
        train(by_time(table(500)), algorithm=algorithm, seeds=seeds)
