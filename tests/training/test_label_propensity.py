"""Labels with a known chance: rows count for the transactions they stand for, from the schema to the comparison."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow import ManagedModel
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.table import FeatureTable
from fds_mlflow.features.test_set import read_test_set
from fds_mlflow.training import evaluation, plots
from fds_mlflow.training.algorithms import gradient_boosting, isolation_forest, own
from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import Split, stratified
from tests.support.tables import table

CHANCE = 0.1
OWN = "tests.support.own_algorithms"


def population(rows: int = 30_000) -> FeatureTable:
    """Transactions of which every label is known; models see less of them than what blocked them."""
    whole = table(rows, seed=5, fraud_share=0.05)
    return replace(whole, features=[name for name in whole.features if name != "amount"])


def thinned(whole: FeatureTable) -> FeatureTable:
    """What is labelled of it where large amounts are blocked, and one blocked transaction in ten is let pass."""
    blocked = whole.frame["amount"].to_numpy() > np.quantile(whole.frame["amount"], 0.8)
    chance = np.where(blocked, CHANCE, 1.0)
    kept = np.random.default_rng(6).random(len(whole)) < chance
    return replace(whole, frame=whole.frame.assign(label_propensity=chance)).where(kept)


def unweighed(split: Split) -> Split:
    """The same parts, as if every label had come by itself."""
    parts = {n: replace(p, frame=p.frame.drop(columns="label_propensity")) for n, p in split.parts.items()}
    return Split(**parts, facts=split.facts)


FITS = {
    "lightgbm": lambda split: gradient_boosting.fit(split, {"n_estimators": 60}, 1),
    "isolation_forest": lambda split: isolation_forest.fit(split, {"n_estimators": 20}, 1),
    "own": lambda split: own.fit(f"{OWN}:weighed", split, {}, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FITS)
def test_a_model_of_thinned_labels_scores_as_one_of_all(name: str) -> None:
    """Where a tenth of what was blocked has labels, weighed scores add up to the frauds, plain ones do not."""
    whole = population()
    split = stratified(thinned(whole))
    weighed, plain = (FITS[name](parts).predict(whole.x).sum() for parts in (split, unweighed(split)))
    assert weighed == pytest.approx(whole.y.sum(), rel=0.2)
    assert plain < 0.7 * whole.y.sum()


@pytest.mark.slow
def test_training_is_judged_by_the_weighed_validation() -> None:
    """The curve that stops LightGBM is that of the transactions for which validation rows stand."""
    split = stratified(thinned(population(8_000)))
    made = gradient_boosting.fit(split, {"n_estimators": 60}, 1, seeds=1)
    (curve,) = (one for one in made.curves if one.name == "curve_val_average_precision")
    scores = made.predict(split.validation.x)
    found = evaluation.metrics(split.validation.y, scores, 0.5, weight=split.validation.weight)
    assert curve.values[-1] == pytest.approx(found["average_precision"], rel=1e-6)


ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20), st.integers(1, 5)), min_size=2, max_size=40).filter(
    lambda rows: {label for label, *_ in rows} == {0, 1}
)


@given(rows=ROWS, target=st.floats(0, 0.9))
def test_a_row_of_weight_three_counts_as_three_rows(rows: list[tuple[int, int, int]], target: float) -> None:
    """Threshold and figures of weighed rows are those of as many rows of weight one."""
    y, score, weight = (np.array(values) for values in zip(*rows, strict=True))
    score = score / 20
    many_y, many_score = np.repeat(y, weight), np.repeat(score, weight)
    threshold = evaluation.choose_threshold(y, score, target, weight=weight)
    assert threshold == evaluation.choose_threshold(many_y, many_score, target)
    assert evaluation.choose_threshold(None, score, target, weight=weight) == evaluation.choose_threshold(
        None, many_score, target
    )
    found = evaluation.metrics(y, score, threshold, weight=weight)
    assert found == pytest.approx(evaluation.metrics(many_y, many_score, threshold), abs=1e-12)


def test_plots_show_the_transactions_that_rows_stand_for() -> None:
    """Curves, rates and bins of weighed rows are drawn as those of as many rows of weight one."""
    rng = np.random.default_rng(0)
    y = np.r_[np.ones(40, np.int8), np.zeros(400, np.int8)]
    score, weight = rng.random(440) * (0.3 + 0.7 * y), rng.integers(1, 6, 440).astype(float)
    many = np.repeat(np.arange(440), weight.astype(int))
    options: dict[str, Any] = {"importance_unit": "gain", "title": "m"}
    weighed = plots.draw(y, score, 0.4, {"a": 1.0}, weight=weight, **options)
    plain = plots.draw(y[many], score[many], 0.4, {"a": 1.0}, **options)
    for name in ("precision_recall", "roc"):
        assert weighed[name].get_suptitle() == plain[name].get_suptitle()
        texts = [[text.get_text() for text in f.axes[0].get_legend().get_texts()] for f in (weighed[name], plain[name])]
        assert texts[0] == texts[1]
    for bar, other in zip(
        *(figures["score_distribution"].axes[0].patches for figures in (weighed, plain)), strict=True
    ):
        assert np.allclose(bar.get_path().vertices[:, 1], other.get_path().vertices[:, 1])
    assert "weighed" in weighed["roc"].axes[0].get_title(loc="left")


def test_an_algorithm_that_takes_no_weights_is_refused_them() -> None:
    """A team's function is given weights by name where there are any, and one that takes none is told how to."""
    split = stratified(thinned(population(3_000)))
    with pytest.raises(ConfigError, match="takes no weights") as told:
        own.fit(f"{OWN}:logistic", split, {}, 1)
    assert "train_weight and validation_weight" in told.value.fix
    own.fit(f"{OWN}:logistic", unweighed(split), {}, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_uri")
def test_a_version_of_thinned_labels_is_measured_and_compared_by_what_they_stand_for() -> None:
    """Figures, notes, the test set that is kept and every comparison weigh rows by the chance of their labels."""
    model, whole = ManagedModel("fraud"), population(12_000)
    parts = stratified(thinned(whole))
    first = train(parts, params={"n_estimators": 30}, model_name=model.name)
    again = train(parts, params={"n_estimators": 5, "num_leaves": 2}, model_name=model.name)
    stood = sum(float(part.weight.sum()) for part in parts.parts.values() if part.weight is not None)
    assert stood == pytest.approx(len(whole), rel=0.06)
    assert any("test rows stand for" in note for note in first.notes)
    kept = read_test_set(mlflow.MlflowClient(), first.run_id)
    assert kept is not None
    scores = mlflow.pyfunc.load_model(first.model_uri).predict(kept.drop(columns=["label", "label_propensity"]))
    weights = 1 / kept["label_propensity"].to_numpy()
    again_found = evaluation.metrics(kept["label"], scores, first.threshold, weight=weights)
    assert again_found["average_precision"] == pytest.approx(first.metrics["average_precision"])
    plain = evaluation.metrics(kept["label"], scores, first.threshold)
    assert plain["average_precision"] != pytest.approx(first.metrics["average_precision"], abs=0.01)
    assert first.version is not None
    assert again.version is not None
    compared = model.compare(first.version, again.version, data=parts.test)
    assert compared.ranking.baseline == pytest.approx(first.metrics["average_precision"])
    named = pd.DataFrame(kept).rename(columns={"label_propensity": "chance"})
    assert model.compare(first.version, again.version, data=named, propensity="chance").ranking == compared.ranking
    model.promote(first.version)
    refused = model.promote(again.version, force=True, reason="to see the figures")
    assert f"{first.metrics['average_precision']:.4f}" in refused.message
