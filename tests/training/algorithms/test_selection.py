"""How large a model becomes: few frauds do not decide it, and a certain fraud gets a high score."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightgbm.callback import EarlyStopException
from sklearn.metrics import average_precision_score, log_loss

from benchmarks import suite
from fds_mlflow.training.algorithms import gradient_boosting, selection
from fds_mlflow.training.algorithms.growth import Patience
from fds_mlflow.training.algorithms.selection import Judged, Rows
from fds_mlflow.training.split import by_time
from tests.support.tables import table


@pytest.mark.parametrize("seed", [1, 2])
def test_frauds_that_are_certain_score_high(seed: int):
    """On a small file whose frauds stand apart, all trees that are owed are kept, and every fraud scores above .8."""
    split = by_time(suite.drawn(1_500, 0.03, kind="separable")(seed))
    fitted = gradient_boosting.fit(split, {"n_jobs": 1}, seed)
    scores = fitted.predict(split.test.x)
    assert fitted.trees >= 100
    assert scores[split.test.y == 1].min() > 0.8
    assert np.median(scores[split.test.y == 0]) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wine", "breast cancer"])
def test_small_files_do_not_collapse(name: str):
    """With a dozen frauds to learn from, average precision is that of a plain LightGBM, within a few ranks."""
    split = suite.files([name])[name](1)
    ours, plain = (average_precision_score(split.test.y, fit(split, 1)) for fit in (suite.ours, suite.plain))
    assert ours > plain - 0.05


def test_fewer_trees_than_are_owed_are_grown_only_where_somebody_says_so():
    """`n_estimators` is never exceeded; a quicker rate owes fewer trees."""
    assert selection.least_trees(0.05, 1000) == 100
    assert selection.least_trees(0.5, 1000) == 10
    assert selection.least_trees(0.05, 40) == 40


@given(st.integers(1, 300), st.integers(1, 3000))
def test_what_is_looked_at_rises_from_the_least_to_all(least: int, trees: int):
    """Each number of trees once, the last one among them, none below what is owed unless there are fewer."""
    found = selection.looked_at(least, trees)
    assert found == sorted(set(found))
    assert found[0] == min(least, trees)
    assert found[-1] == trees


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_average_precision_and_log_loss_are_those_of_scikit_learn(seed: int, weighted: bool):
    """Ties and weights included."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(-3, 3, 60).astype(np.float64)
    y = np.r_[1, 0, rng.random(58) < 0.3].astype(np.int8)
    weight = rng.uniform(0.5, 9, 60) if weighted else None
    found = selection.judged(Rows(raw[:, None], y, weight), raw)
    assert np.average(found.precision, weights=found.weight) == pytest.approx(
        average_precision_score(y, raw, sample_weight=weight)
    )
    assert found.log_loss == pytest.approx(log_loss(y, 1 / (1 + np.exp(-raw)), sample_weight=weight))


def _judged(precision: list[float], log_loss: float) -> list[Judged]:
    return [Judged(np.array(precision), np.ones(len(precision)), log_loss)]


def test_what_the_frauds_cannot_tell_log_loss_decides():
    """Of two whose average precision differs by chance, the one of less log loss; else the better one."""
    chance = [_judged([0.9, 0.1, 0.9, 0.2], 0.3), _judged([0.1, 0.9, 0.2, 0.8], 0.2)]
    assert selection.best(chance) == 1
    certain = [_judged([0.9] * 50 + [0.8] * 50, 0.3), _judged([0.7] * 50 + [0.8] * 50, 0.2)]
    assert selection.best(certain) == 0


def test_frauds_of_earlier_stretches_count_like_those_of_validation():
    """What one fraud of validation says is outvoted by the frauds of earlier stretches."""
    one = [*_judged([0.9], 0.2), *_judged([0.1] * 30, 0.2)]
    two = [*_judged([0.8], 0.3), *_judged([0.6] * 30, 0.3)]
    assert selection.best([one, two]) == 1


def test_earlier_stretches_come_before_what_they_are_asked_about():
    """In time where all rows have one, else in the order of the seed; frauds enough need none of them."""
    rng = np.random.default_rng(1)
    time = np.datetime64("2026-01-01", "s") + rng.permutation(500).astype("timedelta64[h]")
    rows = Rows(rng.normal(size=(500, 2)), (rng.random(500) < 0.2).astype(np.int8), None)
    found = list(selection.stretches(rows.y, time, 1))
    assert len(found) == 3
    for known, asked in found:
        assert time[known].max() < time[asked].min()
    assert len(list(selection.stretches(rows.y, np.r_[time[1:], np.datetime64("NaT")], 1))) == 3
    assert selection.few(199, rows.x.size)
    assert not selection.few(200, rows.x.size)


def test_growth_goes_on_while_any_figure_becomes_better():
    """Average precision that was best at once stops nothing while log loss falls; then patience runs out."""

    def told(iteration: int, loss: float) -> SimpleNamespace:
        figures = [("validation", "average_precision", 1.0, True), ("validation", "binary_logloss", loss, False)]
        return SimpleNamespace(iteration=iteration, evaluation_result_list=figures)

    patience = Patience(rounds=5, least=0.0, at_least=1)
    for iteration in range(20):
        patience(told(iteration, 1 / (iteration + 1)))
    for iteration in range(20, 24):
        patience(told(iteration, 1.0))
    with pytest.raises(EarlyStopException):
        patience(told(24, 1.0))


def test_size_is_chosen_unless_it_is_given():
    """Leaves that are given are kept; else one of the sizes that are tried is logged."""
    split = by_time(table(2000))
    chosen = gradient_boosting.fit(split, {"n_estimators": 20, "n_jobs": 1}, 1)
    assert chosen.params["num_leaves"] in gradient_boosting.LEAVES
    given = gradient_boosting.fit(split, {"n_estimators": 20, "n_jobs": 1, "num_leaves": 5}, 1)
    assert given.params["num_leaves"] == 5


def test_a_cap_that_nobody_gave_is_for_all_seeds_together():
    """Three seeds have at most the thousand trees of one, but each what it is owed; a given number is each one's."""
    split = by_time(table(1500))
    params: dict[str, object] = {"n_jobs": 1, "num_leaves": 4, "learning_rate": 0.1, "early_stopping_rounds": 1}

    def cap(seeds: int, **more: object) -> object:
        return gradient_boosting.fit(split, {**params, **more}, 1, seeds=seeds, folded=False).params["n_estimators"]

    assert cap(1) == 1000
    assert cap(3) == 333
    assert cap(40) == 50  # what is owed at this rate
    assert cap(3, num_iterations=60) == 60


def test_a_rate_that_is_hardly_one_owes_no_more_than_there_may_be():
    """No arithmetic error for the smallest of rates."""
    assert selection.least_trees(5e-324, 40) == 40


def test_looking_at_many_numbers_of_trees_holds_the_scores_of_one():
    """Memory does not grow with how many numbers of trees are looked at: rows may be many."""
    rows = 100_000
    booster = SimpleNamespace(
        current_iteration=lambda: 60, model_to_string=lambda **_: "", predict=lambda x, **_: np.zeros(len(x))
    )
    tracemalloc.start()
    for raw in selection.raw_scores(booster, np.zeros((rows, 1)), range(1, 60)):
        assert len(raw) == rows
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 8 * rows
