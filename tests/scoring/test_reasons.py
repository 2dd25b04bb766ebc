"""Reasons: exact contributions that add up to the raw score, told by codes and texts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.errors import ConfigError, DataError, RefusedError
from fds_mlflow.scoring.compiled import Column, CompiledModel
from fds_mlflow.scoring.convert import forest_text, of_pipeline
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.scoring.reasons import FILE, explain, wordings
from fds_mlflow.scoring.scorer import Scorer, opened
from fds_mlflow.scoring.trees import Trees
from fds_mlflow.training.algorithms import isolation_forest
from fds_mlflow.training.split import by_time
from tests.support import tiny_models
from tests.support.effort import at_most
from tests.support.tables import table
from tests.support.version_caches import stump

MODELS = st.fixed_dictionaries(
    {
        "boosting": st.sampled_from(["gbdt", "dart", "rf"]),
        "objective": st.sampled_from(["binary", "cross_entropy", "regression"]),
        "num_leaves": st.integers(2, 31),
        "categorical": st.booleans(),
        "gaps": st.booleans(),
        "seed": st.integers(0, 2**20),
        "rounds": st.integers(1, 20),
    }
)


def _grown(
    *, boosting: str, objective: str, num_leaves: int, categorical: bool, gaps: bool, seed: int, rounds: int
) -> tuple[lightgbm.Booster, npt.NDArray[np.float64]]:
    """A LightGBM model of four columns, and rows of which it has seen only the first."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(300, 4))
    rows[:, 3] = random.integers(0, 6, 300)
    label = (rows[:, 0] * rows[:, 1] + (rows[:, 3] == 2) + random.normal(size=300) > 0.5).astype(float)
    if gaps:
        rows[random.random(rows.shape) < 0.1] = np.nan
    settings = {"boosting": boosting, "objective": objective, "num_leaves": num_leaves, "min_data_in_leaf": 3}
    settings |= {"bagging_freq": 1, "bagging_fraction": 0.7} if boosting == "rf" else {}
    data = lightgbm.Dataset(rows[:200], label[:200], categorical_feature=[3] if categorical else [])
    return lightgbm.train({**settings, "verbose": -1, "num_threads": 1, "seed": seed}, data, rounds), rows


def _compiled(booster: lightgbm.Booster) -> CompiledModel:
    names = [f"c{place}" for place in range(booster.num_feature())]
    return CompiledModel([Column(name) for name in names], range(len(names)), booster.model_to_string())


@at_most(60, deadline=None)
@given(MODELS)
def test_contributions_add_up_to_the_raw_score(model: dict[str, Any]):
    """Whatever the trees are, base and contributions of a row add up to its raw score, and are LightGBM's own."""
    booster, rows = _grown(**model)
    found = _compiled(booster).contributions(list(rows.T))
    scores = booster.predict(rows)
    raw = scores if model["objective"] == "regression" else np.log(scores / (1 - scores))
    assert found.sum(axis=1) == pytest.approx(raw, abs=1e-9)
    trees = booster.num_trees() if model["boosting"] == "rf" else 1  # LightGBM adds up what it averages for the score
    assert found * trees == pytest.approx(booster.predict(rows, pred_contrib=True), abs=1e-9)


Known = frozenset[int]


def _expected(tree: Any, depth: npt.NDArray[np.float64], row: Sequence[float], known: Known, node: int = 0) -> float:
    """The path length of a row of which some columns are known: over the others, the mean by the rows that went there.

    Source: Lundberg et al., Nature Machine Intelligence 2, 2020, algorithm 1 (EXPVALUE).
    """
    left, right = tree.children_left[node], tree.children_right[node]
    if left == -1:
        return float(depth[node])
    if tree.feature[node] in known:
        there = left if np.float32(row[tree.feature[node]]) <= tree.threshold[node] else right
        return _expected(tree, depth, row, known, there)
    counts = tree.n_node_samples
    parts = (counts[there] / counts[node] * _expected(tree, depth, row, known, there) for there in (left, right))
    return float(sum(parts))


def test_a_forests_reasons_are_shapley_values_of_its_anomaly_score():
    """Of an Isolation Forest each contribution is the exact Shapley value of log2 of its anomaly score."""
    from sklearn.ensemble import IsolationForest

    from fds_mlflow.scoring.convert import average_path

    random = np.random.default_rng(5)
    rows = random.normal(size=(200, 3)).astype(np.float32)
    forest = IsolationForest(n_estimators=5, max_samples=32, random_state=5).fit(rows)
    text, divisor = forest_text(forest)
    found = -Trees(text, raw=True).contributions(rows[:4].astype(np.float64)) / divisor
    assert found.sum(axis=1) == pytest.approx(np.log2(-forest.score_samples(rows[:4])), abs=1e-9)
    weights = {size: math.factorial(size) * math.factorial(2 - size) / math.factorial(3) for size in range(3)}
    for row, contributions in zip(rows[:4], found, strict=True):
        by_hand = np.zeros(3)
        for tree in (one.tree_ for one in forest.estimators_):
            depth = average_path(tree.n_node_samples) + _depths(tree)
            for place in range(3):
                others = [one for one in range(3) if one != place]
                for size in range(3):
                    for known in map(frozenset, itertools.combinations(others, size)):
                        gain = _expected(tree, depth, row, known | {place}) - _expected(tree, depth, row, known)
                        by_hand[place] -= weights[size] * gain / divisor
        assert contributions[:-1] == pytest.approx(by_hand, abs=1e-9)


def _depths(tree: Any) -> npt.NDArray[np.float64]:
    depth = np.zeros(tree.node_count)
    for node in np.flatnonzero(tree.children_left != -1):
        depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
    return depth


@pytest.mark.slow
def test_a_category_is_one_reason():
    """A category that became a row of zeros and ones is told as the one feature that it comes from, as it was sent."""
    rows = table(2_000, categorical=True)
    fitted = isolation_forest.fit(by_time(rows), {"n_estimators": 20}, 42)
    inputs = {name: "string" if name == "channel" else "double" for name in rows.features}
    compiled = of_pipeline(fitted.model, rows.x.head(5), inputs)
    assert compiled is not None
    frame = rows.x.head(20)
    columns = [frame[name].to_numpy() for name in compiled.names]
    found = explain(
        compiled, columns, list(zip(*columns, strict=True)), wordings(Path("nowhere"), rows.features), "all"
    )
    sample = fitted.model[:2].transform(frame)[:, 0] + fitted.model.named_steps["forest"].estimators_[0].offset_
    for place, one in enumerate(found):
        assert [reason.feature for reason in one.reasons if reason.feature == "channel"] == ["channel"]
        assert {reason.feature: reason.value for reason in one.reasons}["channel"] == frame["channel"].iloc[place]
        total = one.base + sum(reason.contribution for reason in one.reasons)
        assert total == pytest.approx(np.log2(-sample[place]), abs=1e-9)


def test_features_of_one_column_are_added_up_wherever_they_stand():
    """What a column adds is the sum over the features that it became, and no other column's."""
    random = np.random.default_rng(2)
    channel, amount = random.integers(0, 3, 400), random.normal(size=400)
    features = np.column_stack([channel[:, None] == np.arange(3), amount]).astype(float)
    label = ((channel == 1) | (amount > 1)).astype(float)
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    booster = lightgbm.train(settings, lightgbm.Dataset(features, label), 10)
    columns = [Column("amount"), Column("channel", "one_hot", codes={"a": 0, "b": 1, "c": 2}, width=3)]
    compiled = CompiledModel(columns, (1, 0), booster.model_to_string())
    found = compiled.contributions([amount, np.array(["a", "b", "c"], dtype=object)[channel]])
    expected = booster.predict(features, pred_contrib=True)
    assert found[:, 0] == pytest.approx(expected[:, 3], abs=1e-12)
    assert found[:, 1] == pytest.approx(expected[:, :3].sum(axis=1), abs=1e-12)


def test_a_code_that_comes_as_a_number_has_the_reasons_of_the_code():
    """What a server is sent as 101 is explained as it is scored: as the code `101`."""
    channel = Column("channel", "ordinal", codes={"web": 0, "101": 200}, other=-1)
    compiled = CompiledModel([channel, Column("amount")], (0, 1), stump(0.1, 0.9, 2))
    loaded = Loaded(1, {"channel": "string", "amount": "double"}, 0.5, 1.0, codes={"channel"}, compiled=compiled)
    (told,) = loaded.reasons([(101, 5.0)], "all")
    assert told.base + sum(one.contribution for one in told.reasons) == pytest.approx(loaded.row((101, 5.0)))
    assert told.reasons[0].contribution == pytest.approx(0.4)
    assert told.reasons[0].value == "101"


def test_trees_that_say_too_little_are_refused():
    """A forest of an earlier release, and trees with lines in their leaves, give no reasons and say what to do."""
    from sklearn.ensemble import IsolationForest

    from fds_mlflow.scoring.compiled import ForestScore

    rows = np.random.default_rng(1).normal(size=(200, 2))
    text, divisor = forest_text(IsolationForest(n_estimators=2, max_samples=16, random_state=1).fit(rows))
    blocks = text.split("Tree=")
    earlier = [
        "\n".join(
            f"internal_count={' '.join('0' for _ in line.split())}" if line.startswith("internal_count=") else line
            for line in block.split("\n")
        )
        for block in blocks[1:]
    ]
    sizes = " ".join(str(len(f"Tree={block}".partition("end of trees")[0])) for block in earlier)
    head = "\n".join(f"tree_sizes={sizes}" if one.startswith("tree_sizes") else one for one in blocks[0].split("\n"))
    forest = ForestScore(divisor, -0.5, (-0.5, 0.5), (1.0, 0.0))
    old = CompiledModel([Column("a"), Column("b")], (0, 1), "Tree=".join([head, *earlier]), forest=forest)
    with pytest.raises(DataError, match="how many rows came to each node"):
        old.contributions(list(rows[:3].T))
    label = (rows[:, 0] > 0).astype(float)
    settings = {"objective": "binary", "linear_tree": True, "verbose": -1}
    linear = lightgbm.train(settings, lightgbm.Dataset(rows, label, params={"linear_tree": True}), 3)
    with pytest.raises(DataError, match="linear trees"):
        _compiled(linear).contributions(list(rows[:3].T))


@pytest.fixture
def scorer(tmp_path: Path) -> Scorer:
    """A LightGBM version of two columns."""
    folder = str(tiny_models.booster(tmp_path / "model"))
    return Scorer.of(3, 0.5, opened(folder, None), folder)


def test_the_strongest_come_first_and_speak_for_fraud(scorer: Scorer):
    """Asked for some, only what speaks for fraud is told, the strongest first; asked for all, everything adds up."""
    frame = pd.DataFrame({"amount": [0.9, 0.1, np.nan], "hour": [3.0, 20.0, 4.0]})
    raw = np.log(scorer.score(frame) / (1 - scorer.score(frame)))
    everything = scorer.reasons(frame, "all")
    for one, expected in zip(everything, raw, strict=True):
        contributions = [reason.contribution for reason in one.reasons]
        assert len(contributions) == 2
        assert contributions == sorted(contributions, reverse=True)
        assert one.base + sum(contributions) == pytest.approx(expected, abs=1e-9)
    some = scorer.reasons(frame, 1)
    for one, every in zip(some, everything, strict=True):
        assert one.reasons == [reason for reason in every.reasons[:1] if reason.contribution > 0]
    assert not all(one.reasons for one in some)
    first = some[0].reasons[0]
    assert (first.feature, first.code, first.value, first.text) == ("amount", "amount", 0.9, "amount")
    assert {reason.feature: reason.value for reason in everything[2].reasons}["amount"] is None


@pytest.mark.parametrize("most", [0, -1, True, 2.0, "most", None])
def test_what_is_no_number_of_reasons_is_refused(scorer: Scorer, most: Any):
    """So many as cannot be asked for are refused, and the fix says what can."""
    with pytest.raises(ConfigError, match="no number of reasons"):
        scorer.reasons(tiny_models.EXAMPLE, most)


def test_codes_and_texts_come_from_the_versions_file(scorer: Scorer):
    """A feature has the code and the text that were logged with the version, and its name for what is not said."""
    Path(scorer.folder, FILE).write_text("amount: {code: V01, text: an unusual amount}\nhour: {code: V02}\n")
    reasons = scorer.reasons(tiny_models.EXAMPLE, "all")[0].reasons
    said = {reason.feature: (reason.code, reason.text) for reason in reasons}
    assert said == {"amount": ("V01", "an unusual amount"), "hour": ("V02", "hour")}


def test_a_file_of_another_form_is_refused(tmp_path: Path):
    """Texts that cannot be read are an error that names the file, and not left out."""
    (tmp_path / FILE).write_text("amount: V01\n")
    with pytest.raises(ConfigError, match=FILE):
        wordings(tmp_path, ["amount"])


def test_other_models_give_no_reasons(tmp_path: Path):
    """A version that is no LightGBM and no Isolation Forest of ours refuses, and says what gives reasons."""
    folder = str(tiny_models.save(tmp_path, "tiny", tiny_models.GOOD))
    with pytest.raises(RefusedError, match="version 4 gives no reasons") as refused:
        Scorer.of(4, 0.5, opened(folder, None), folder).reasons(tiny_models.EXAMPLE)
    assert "--algorithm lightgbm" in refused.value.fix
