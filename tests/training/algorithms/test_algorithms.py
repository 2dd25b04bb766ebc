"""Both algorithms: one scorer contract, the same model from the same data, nothing learned outside training."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sklearn
from packaging.version import Version
from sklearn.metrics import roc_auc_score

from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.training.algorithms import gradient_boosting, isolation_forest
from fds_mlflow.training.fitted import FittedScorer
from fds_mlflow.training.pipeline import ALGORITHMS
from fds_mlflow.training.split import Split, by_time
from tests.support.tables import table

QUICK: dict[str, dict[str, object]] = {
    "lightgbm": {"n_estimators": 40},
    "isolation_forest": {"n_estimators": 20},
}


@pytest.fixture(scope="module", params=[False, True], ids=["numeric", "categorical"])
def split(request: pytest.FixtureRequest) -> Split:
    """A small labelled split, with and without a categorical feature."""
    return by_time(table(categorical=request.param))


@pytest.fixture(scope="module", params=list(ALGORITHMS))
def fitted(request: pytest.FixtureRequest, split: Split) -> FittedScorer:
    """Each algorithm, fitted once on each split."""
    return ALGORITHMS[request.param](split, QUICK[request.param], 42)


def test_scores_obey_the_contract(fitted: FittedScorer, split: Split):
    """One float64 in [0, 1] per row, higher for what looks like fraud."""
    scores = fitted.predict(split.test.x)
    assert scores.shape == (len(split.test),)
    assert scores.dtype == np.float64
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert roc_auc_score(split.test.y, scores) > 0.75


def test_a_row_scores_the_same_alone_and_among_others(fitted: FittedScorer, split: Split):
    """A score depends on its row only."""
    alone = np.concatenate([fitted.predict(split.test.x.iloc[[row]]) for row in range(5)])
    np.testing.assert_array_equal(alone, fitted.predict(split.test.x)[:5])


def test_missing_and_unseen_values_are_scored(fitted: FittedScorer, split: Split):
    """NaN in every number and a category nobody has seen give a score, not an error."""
    rows = split.test.x.head(3).copy()
    rows[["amount", "velocity_1h", "noise"]] = np.nan
    if "channel" in rows:
        rows["channel"] = ["telepathy", "web", None]
    scores = fitted.predict(rows)
    assert np.isfinite(scores).all()


@pytest.mark.slow
def test_same_data_same_model(fitted: FittedScorer, split: Split):
    """Fitted twice, the model is the same; another seed gives another forest."""
    again = ALGORITHMS[fitted.algorithm](split, QUICK[fitted.algorithm], 42)
    np.testing.assert_array_equal(fitted.predict(split.test.x), again.predict(split.test.x))
    if fitted.flavor == "lightgbm":
        assert fitted.model.model_to_string() == again.model.model_to_string()


def test_importance_names_every_feature_and_finds_the_signal(fitted: FittedScorer, split: Split):
    """Each feature has an importance; pure noise has less than what the frauds were made of."""
    assert set(fitted.importance) == set(split.train.features)
    assert max(fitted.importance, key=lambda name: fitted.importance[name]) in {"amount", "velocity_1h"}
    assert fitted.importance["noise"] < fitted.importance["velocity_1h"]


@pytest.mark.slow
def test_nothing_is_fitted_on_validation_or_test_rows(fitted: FittedScorer, split: Split):
    """Test rows do not change the model, nor do the validation rows change how features are prepared."""
    strange = split.test.frame.assign(amount=split.test.frame["amount"] * 1e6)
    other = replace(split, test=replace(split.test, frame=strange))
    again = ALGORITHMS[fitted.algorithm](other, QUICK[fitted.algorithm], 42)
    np.testing.assert_array_equal(fitted.predict(split.test.x), again.predict(split.test.x))
    if fitted.algorithm == "isolation_forest":
        scaler = fitted.model.named_steps["prepare"].named_transformers_["numeric"].named_steps["scale"]
        assert scaler.mean_[0] == pytest.approx(split.train.frame["amount"].mean())


def test_forest_scores_rank_exactly_as_the_forest_does():
    """Calibration neither reorders nor ties: every pair of rows stands as the forest's own depth has it."""
    split = by_time(table())
    fitted = isolation_forest.fit(split, {"n_estimators": 20}, 1)
    steps = fitted.model.named_steps
    decision = steps["forest"].transform(steps["prepare"].transform(split.test.x))[:, 0]
    scores = fitted.predict(split.test.x)
    order = np.argsort(-decision, kind="stable")
    assert (np.diff(scores[order]) >= 0).all()
    assert len(np.unique(scores)) == len(np.unique(decision))
    assert roc_auc_score(split.test.y, scores) == roc_auc_score(split.test.y, -decision)


def test_forest_scores_are_calibrated():
    """With labels, the mean score is near the share of frauds, not near one half."""
    split = by_time(table(8000))
    scores = isolation_forest.fit(split, {"n_estimators": 50}, 1).predict(split.test.x)
    assert scores.mean() == pytest.approx(split.test.y.mean(), abs=0.03)


def test_forest_needs_no_labels():
    """Without labels the forest still gives scores over [0, 1], and LightGBM says what it lacks."""
    split = by_time(table(labelled=False))
    scores = isolation_forest.fit(split, {"n_estimators": 20}, 1).predict(split.test.x)
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert scores.std() > 0.1
    with pytest.raises(DataError, match="has none"):
        gradient_boosting.fit(split, {}, 1)


def test_growth_stops_where_validation_has_nothing_more_to_say():
    """Fewer trees than allowed are kept, no fewer than are owed, none beyond them in the model, and curves."""
    split = by_time(table())
    fitted = gradient_boosting.fit(split, {"n_estimators": 600, "early_stopping_rounds": 20}, 1)
    assert 100 <= int(str(fitted.params["best_iteration"])) < 600
    assert fitted.model.num_trees() == fitted.trees
    assert {curve.name for curve in fitted.curves} == {
        f"curve_{part}_{quantity}" for part in ("train", "val") for quantity in ("average_precision", "binary_logloss")
    }


def test_feature_names_lightgbm_dislikes_are_taken():
    """Blanks, brackets and colons in column names are the user's right."""
    whole = table()
    names = {"amount": "amount [EUR]: gross", "velocity_1h": "amount {EUR}, gross"}
    renamed = replace(
        whole, frame=whole.frame.rename(columns=names), features=[names.get(name, name) for name in whole.features]
    )
    fitted = gradient_boosting.fit(by_time(renamed), {"n_estimators": 10}, 1)
    assert list(fitted.importance) == renamed.features


@pytest.mark.parametrize(
    ("algorithm", "params", "words"),
    [
        ("lightgbm", {"num_leafs": 3}, "did you mean 'num_leaves'"),
        ("lightgbm", {"objective": "regression"}, "set by the training itself"),
        ("lightgbm", {"random_state": 1}, "seed="),
        ("lightgbm", {"num_leaves": -3}, "num_leaves"),
        ("lightgbm", {"early_stopping_rounds": 0}, "at least 1"),
        ("isolation_forest", {"n_estimator": 3}, "did you mean 'n_estimators'"),
        ("isolation_forest", {"contamination": 0.1}, "target false positive rate"),
        ("isolation_forest", {"max_samples": -1}, "max_samples"),
        ("isolation_forest", {"n_estimators": 0}, "at least 1"),
    ],
)
def test_parameters_that_cannot_be_used_are_refused(algorithm: str, params: dict[str, Any], words: str):
    """A misspelt, reserved or impossible parameter is named, with what to do."""
    with pytest.raises(ConfigError) as caught:
        ALGORITHMS[algorithm](by_time(table(1000)), params, 1)
    assert words in str(caught.value)


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_infinite_values_are_refused(algorithm: str):
    """An infinite amount is an error that names the column and the count, not a model."""
    whole = table(1000)
    frame = whole.frame.copy()
    frame.loc[[0, 1], "amount"] = np.inf
    with pytest.raises(DataError, match="'amount' holds 2 infinite values in 600 train rows"):
        ALGORITHMS[algorithm](by_time(replace(whole, frame=frame)), {}, 1)


@pytest.mark.slow
def test_skops_is_told_exactly_what_to_trust(fitted: FittedScorer, tmp_path: Any):
    """The listed types are those the file holds: none is missing, none is listed for nothing."""
    if fitted.flavor == "lightgbm":
        assert fitted.trusted_types == ()
        return
    import skops.io

    path = tmp_path / "model.skops"
    skops.io.dump(fitted.model, path)
    held = set(skops.io.get_untrusted_types(file=path))
    assert held <= set(fitted.trusted_types)
    if Version(sklearn.__version__) >= Version("1.9"):  # earlier ones keep less in their estimators
        assert held == set(fitted.trusted_types)
    assert not [name for name in zipfile.ZipFile(path).namelist() if name.endswith((".pkl", ".pickle"))]
