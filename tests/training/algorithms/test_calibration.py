"""Scores mean probabilities, and calibration changes the order of no two rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from fds_mlflow.training.algorithms import gradient_boosting
from fds_mlflow.training.algorithms.calibration import sigmoid_map
from fds_mlflow.training.split import by_time
from tests.support.tables import table


def _sigmoid(raw: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-raw))


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 4), st.floats(-3, 3), st.integers(0, 40))
def test_the_map_rises_whatever_the_rows_are(seed: int, spread: float, middle: float, frauds: int):
    """Ranks and average precision stay, also with no fraud at all, or with frauds that are scored upside down."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(middle, spread, 200)
    y = (np.arange(200) < frauds).astype(np.int8)
    slope, intercept = sigmoid_map(y, raw)
    assert slope > 0
    assert np.isfinite([slope, intercept]).all()
    scores = _sigmoid(slope * raw + intercept)
    assert (np.diff(scores[np.argsort(raw)]) >= 0).all()
    if frauds:
        assert average_precision_score(y, scores) == pytest.approx(average_precision_score(y, raw))


def test_scores_that_are_off_come_out_as_probabilities():
    """With frauds enough, slope and intercept are found; weights stand for rows."""
    rng = np.random.default_rng(1)
    raw = rng.normal(-2, 2, 20_000)
    y = (rng.random(20_000) < _sigmoid(0.6 * raw + 0.8)).astype(np.int8)
    assert sigmoid_map(y, raw) == pytest.approx((0.6, 0.8), abs=0.06)
    kept = (y == 1) | (rng.random(20_000) < 0.1)
    weight = np.where(y == 1, 1.0, 10.0)
    assert sigmoid_map(y[kept], raw[kept], weight[kept]) == pytest.approx((0.6, 0.8), abs=0.15)


def test_few_frauds_change_little_and_certain_ones_do_not_go_to_one():
    """Two frauds move a score by little; ten that are told apart without error score above .9 and below .999."""
    raw = np.r_[np.full(498, -3.0), 0.5, 1.0]
    slope, intercept = sigmoid_map(np.r_[np.zeros(498), 1, 1].astype(np.int8), raw)
    assert 0.5 < slope < 2.5
    assert abs(intercept) < 1.5
    raw = np.r_[np.full(990, -3.0), np.full(10, 2.0)]
    slope, intercept = sigmoid_map((raw > 0).astype(np.int8), raw)
    assert 0.9 < _sigmoid(np.array(slope * 2.0 + intercept)) < 0.999


def test_a_trained_model_means_what_it_says():
    """The mean score of later rows is near their share of frauds, and ranks are those of the trees."""
    split = by_time(table(8000))
    scores = gradient_boosting.fit(split, {"n_jobs": 1, "n_estimators": 150}, 1).predict(split.test.x)
    assert scores.mean() == pytest.approx(split.test.y.mean(), abs=0.015)
    high = scores > 0.5
    assert split.test.y[high].mean() == pytest.approx(scores[high].mean(), abs=0.1)
