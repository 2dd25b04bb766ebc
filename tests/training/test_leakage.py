"""Features that know the answer are called out by name, and honest ones never are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.data.transactions import load
from fds_mlflow.features.table import FeatureSpec, FeatureTable, Window
from fds_mlflow.runtime.text_column import text_column
from fds_mlflow.training.leakage import _by_share, separating
from fds_mlflow.training.split import Split, by_time, stratified
from fds_mlflow.workflows.preparation import cut, featurised
from fds_mlflow.workflows.source import Source
from tests.support.effort import at_most
from tests.support.places import DATA
from tests.support.tables import table


def with_feature(values: object, *, categorical: bool = False, whole: FeatureTable | None = None) -> Split:
    """The tests' honest table and one more feature, `extra`, cut by time."""
    whole = table() if whole is None else whole
    frame = whole.frame.assign(extra=text_column(values) if categorical else pd.Series(values, dtype="float64"))
    added = ["extra"] if categorical else []
    return by_time(replace(whole, frame=frame, features=[*whole.features, "extra"], categorical=added))


def called_out(split: Split) -> list[str]:
    """Names of the features that are called out."""
    return [each.feature for each in separating(split)]


Y = table().y
RNG = np.random.default_rng(5)
NOISE = RNG.random(len(Y))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(Y, id="the label"),
        pytest.param(-3.0 * Y, id="the other direction"),
        pytest.param(Y + 0.2 * NOISE, id="with noise"),
        pytest.param(np.where(Y == 1, 0.5, np.where(NOISE < 0.5, 0.0, 1.0)), id="in the middle"),
        pytest.param(np.where(Y == 1, NOISE, np.nan), id="missing where genuine"),
        pytest.param(np.where(Y == 1, np.nan, NOISE), id="missing where fraud"),
        pytest.param(np.where(NOISE < 0.005, 1 - Y, Y), id="one in two hundred wrong"),
        pytest.param(np.where(NOISE < 0.03, 0, Y), id="three in a hundred frauds not filled in"),
        pytest.param(
            np.where((NOISE < 0.15) & (np.arange(len(Y)) > 2400), 0, Y), id="not yet filled in for the latest"
        ),
    ],
)
def test_a_number_that_knows_the_label_is_called_out(values: np.ndarray) -> None:
    """Whatever its shape and direction, and where its being missing alone tells."""
    found = separating(with_feature(values))
    assert [each.feature for each in found] == ["extra"]
    assert found[0].roc_auc > 0.9
    assert "'extra' alone tells fraud from genuine" in str(found[0])
    assert "known_later" in str(found[0])


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.where(Y == 1, "closed", "open"), id="a status"),
        pytest.param([f"case {i}" if y else None for i, y in enumerate(Y)], id="a number of each case"),
        pytest.param([f"clerk {i % 40}" if y else f"shop {i % 300}" for i, y in enumerate(Y)], id="disjoint names"),
    ],
)
def test_a_category_that_knows_the_label_is_called_out(values: object) -> None:
    """Categories of one class only, and ids that only frauds have."""
    assert called_out(with_feature(values, categorical=True)) == ["extra"]


@at_most(10)
@given(cardinality=st.sampled_from([2, 50, 1000, 4000]), seed=st.integers(0, 5))
def test_categories_without_meaning_raise_no_alarm(cardinality: int, seed: int) -> None:
    """However many categories there are, and though each row of training may have its own, chance is not called out."""
    codes = np.random.default_rng(seed).integers(0, cardinality, len(Y))
    assert called_out(with_feature([f"c{code}" for code in codes], categorical=True)) == []


def test_a_category_never_seen_is_as_suspicious_as_any_row() -> None:
    """What training has not seen gets the share of frauds of all rows, not some category's."""
    _, unseen = _by_share(pd.Series(["a", "a", "b"]), np.array([0, 0, 1], dtype=np.int8), pd.Series(["c", None, "b"]))
    assert unseen[:2].tolist() == [1 / 3, 1 / 3]
    assert unseen[2] > 1 / 3


def test_a_strong_feature_is_not_called_out() -> None:
    """Seven in eight frauds and no genuine transaction: so strong is an honest feature of real cards."""
    assert called_out(with_feature(np.where(np.arange(len(Y)) % 8 == 0, 0, Y))) == []


def test_a_row_number_raises_no_alarm() -> None:
    """A number that is different in every row tells nothing that holds later."""
    assert called_out(with_feature(np.arange(len(Y)))) == []


def test_windows_that_know_labels_too_early_are_called_out() -> None:
    """A window over labels is told to look at when labels become known."""
    spec = FeatureSpec(windows=[Window(entity="customer", aggregate="risk", windows=["7d"], name="extra")])
    found = separating(with_feature(Y, whole=replace(table(), spec=spec)))
    assert [each.feature for each in found] == ["extra"]
    assert "label_known_at" in str(found[0])


def test_a_handful_of_frauds_calls_nothing_out() -> None:
    """With fewer than five frauds in a part a feature may separate them by chance."""
    whole = table(400, fraud_share=0.02, seed=4)
    split = stratified(replace(whole, frame=whole.frame.assign(amount=whole.y.astype(float))))
    assert int(split.validation.y.sum()) < 5
    assert called_out(split) == []


def test_without_labels_there_is_nothing_to_know() -> None:
    """Unlabelled parts call nothing out."""
    assert called_out(by_time(table(labelled=False))) == []


def test_all_frauds_of_a_large_table_are_looked_at() -> None:
    """Of many rows a sample of the genuine ones is enough; what few frauds there are all count."""
    whole = table(60_000, fraud_share=0.001)
    y = whole.y
    assert called_out(with_feature(np.where(y == 1, 1.0, np.nan), whole=whole)) == ["extra"]
    hidden = np.where((y == 1) & (np.arange(len(y)) % 2 == 0), 1.0, np.nan)
    assert called_out(with_feature(hidden, whole=whole)) == []


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("how", ["time", "stratified"])
def test_the_simulators_honest_features_raise_no_alarm(seed: int, how: str) -> None:
    """Risks, bursts and foreign addresses are strong and honest."""
    assert called_out(cut(featurised(Source("simulator:30000").read(seed=seed)), split=how)) == []


@pytest.mark.campaign
@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason=f"the published data sets are not at {DATA}")
@pytest.mark.parametrize(
    ("file", "schema", "how"),
    [
        ("handbook/raw_2018-06-01_2018-08-14.parquet", "handbook", "time"),
        ("ulb/creditcard_492fraud_1230genuine.csv.gz", "ulb", "stratified"),
        ("ulb/creditcard_492fraud_1230genuine.csv.gz", "ulb", "time"),
    ],
)
def test_strong_features_of_real_data_raise_no_alarm(file: str, schema: str, how: str) -> None:
    """The strongest features of the handbook's and the ULB's transactions are honest, and taken so."""
    assert called_out(cut(featurised(load(DATA / file, schema)), split=how)) == []
