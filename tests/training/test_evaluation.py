"""Thresholds and metrics: the definitions, checked against independent ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.training.evaluation import card_precision, choose_threshold, metrics, recall_at_fpr

_SCORES = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]) | st.floats(0, 1)),
    min_size=2,
    max_size=80,
).filter(lambda rows: any(label == 0 for label, _ in rows))


@given(rows=_SCORES, target=st.floats(0, 0.99))
def test_threshold_never_exceeds_the_target_and_wastes_none_of_it(rows: list[tuple[int, float]], target: float):
    """At most the target share of genuine rows is flagged, and no lower threshold would keep to it."""
    y, score = np.array([label for label, _ in rows]), np.array([value for _, value in rows])
    threshold = choose_threshold(y, score, target)
    genuine = score[y == 0]
    allowed = target * len(genuine) + 1e-6
    assert (genuine >= threshold).sum() <= allowed
    below = score[score < threshold]
    if len(below):
        assert (genuine >= below.max()).sum() > allowed - 1e-5 - 1e-6


def test_threshold_lies_between_two_scores():
    """The threshold is midway between scores, so a last digit on another machine flips no decision."""
    score = np.arange(100) / 100
    assert choose_threshold(np.zeros(100), score, 0.02) == pytest.approx(0.975)


def test_ties_are_not_split():
    """Where one score is shared by more genuine rows than may be flagged, none of them is."""
    score = np.array([0.1] * 50 + [0.7] * 50)
    assert choose_threshold(np.zeros(100), score, 0.02) > 0.7


def test_threshold_may_lie_above_one():
    """If even the certain score may not be flagged, nothing is."""
    assert choose_threshold([0, 0], [1.0, 1.0], 0.02) > 1


def test_without_labels_every_row_counts_as_genuine():
    """Without labels the target is a share of all rows."""
    score = np.linspace(0, 1, 1000)
    assert (score >= choose_threshold(None, score, 0.02)).sum() == 20


def test_threshold_needs_a_genuine_row_and_a_sensible_target():
    """What cannot be chosen is refused with the reason."""
    with pytest.raises(DataError, match="none of 2 rows is genuine"):
        choose_threshold([1, 1], [0.1, 0.2])
    with pytest.raises(ConfigError, match="is 2"):
        choose_threshold([0, 1], [0.1, 0.2], 2)


@given(rows=_SCORES.filter(lambda rows: any(label == 1 for label, _ in rows)), threshold=st.floats(0, 1))
def test_metrics_agree_with_scikit_learn(rows: list[tuple[int, float]], threshold: float):
    """Accuracy, precision, recall, F1, ROC AUC and average precision are the textbook's."""
    y, score = np.array([label for label, _ in rows]), np.array([value for _, value in rows])
    flagged = score >= threshold
    ours = metrics(y, score, threshold)
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(y, flagged))
    assert ours.get("precision", np.nan) == pytest.approx(
        reference.precision_score(y, flagged, zero_division=np.nan), nan_ok=True
    )
    assert ours["recall"] == pytest.approx(reference.recall_score(y, flagged))
    assert ours["f1"] == pytest.approx(reference.f1_score(y, flagged, zero_division=0))
    assert ours["roc_auc"] == pytest.approx(reference.roc_auc_score(y, score))
    assert ours["average_precision"] == pytest.approx(reference.average_precision_score(y, score))
    assert all(0 <= value <= 1 for value in ours.values())


@given(rows=_SCORES.filter(lambda rows: any(label == 1 for label, _ in rows)), limit=st.floats(0, 0.9))
def test_recall_at_fpr_is_the_roc_curves(rows: list[tuple[int, float]], limit: float):
    """Recall at a false positive rate is the highest point of the ROC curve up to that rate."""
    y, score = np.array([label for label, _ in rows]), np.array([value for _, value in rows])
    false_positive, true_positive, _ = reference.roc_curve(y, score, drop_intermediate=False)
    assert recall_at_fpr(y, score, limit) == pytest.approx(true_positive[false_positive <= limit + 1e-9].max())


def test_metrics_of_one_class_leave_out_what_is_undefined():
    """Where no fraud happened there is no recall and no AUC, and no NaN either."""
    figures = metrics([0, 0, 0], [0.1, 0.2, 0.9], 0.5)
    assert "roc_auc" not in figures
    assert "recall" not in figures
    assert figures["false_positive_rate"] == pytest.approx(1 / 3)
    assert not np.isnan(list(figures.values())).any()


def test_nan_scores_are_refused():
    """A NaN score is an error with its count, never a silent False."""
    with pytest.raises(DataError, match="1 of 2 scores are NaN"):
        metrics([0, 1], [0.1, np.nan], 0.5)
    with pytest.raises(DataError, match="labels and"):
        metrics([0, 1], [0.1], 0.5)


def _slow_card_precision(frame: pd.DataFrame, k: int) -> float:
    """The definition, spelled out day by day and customer by customer."""
    found: set[str] = set()
    shares = []
    for day in sorted(frame["time"].dt.date.unique()):
        today = frame[(frame["time"].dt.date == day) & ~frame["customer"].isin(found)]
        best = {c: (rows["score"].max(), rows["y"].max()) for c, rows in today.groupby("customer")}
        called = sorted(best, key=lambda c: (-best[c][0], c))[:k]
        shares.append(sum(best[c][1] for c in called) / len(called) if called else 0.0)
        found |= {c for c in called if best[c][1] == 1}
    return float(np.mean(shares))


@pytest.mark.slow
@given(seed=st.integers(0, 1000), k=st.integers(1, 12))
def test_card_precision_follows_its_definition(seed: int, k: int):
    """Per day the k customers with the highest score; those found compromised leave the following days."""
    rng = np.random.default_rng(seed)
    n = 60
    frame = pd.DataFrame(
        {
            "time": pd.Timestamp("2026-03-01") + pd.to_timedelta(rng.integers(0, 4 * 24, n), unit="h"),
            "customer": [f"C{c:02d}" for c in rng.integers(0, 10, n)],
            "score": rng.integers(0, 8, n) / 8,
            "y": (rng.random(n) < 0.3).astype(int),
        }
    )
    ours = card_precision(frame["y"], frame["score"], frame["customer"], frame["time"], k=k)
    assert ours == pytest.approx(_slow_card_precision(frame, k))


def test_card_precision_appears_where_there_are_customers():
    """The metric is there exactly when customers and times are given."""
    y, score = [0, 1], [0.1, 0.9]
    time = np.array(["2026-01-01", "2026-01-01"], dtype="datetime64[us]")
    assert "card_precision_at_100" not in metrics(y, score, 0.5)
    assert metrics(y, score, 0.5, customer=["a", "b"], time=time)["card_precision_at_100"] == 0.5
