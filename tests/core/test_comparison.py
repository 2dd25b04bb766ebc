"""Two versions on the same rows: known metrics, paired intervals, and an advice that follows from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
)

from fds_mlflow.core.comparison import METRICS, Advice, Change, Delta, _advise, _Weighted, compare
from fds_mlflow.errors import DataError
from tests.support.effort import at_most

Labels = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]


@st.composite
def scored(draw: st.DrawFn) -> tuple[Labels, Floats, npt.NDArray[np.int64]]:
    """Labels of both classes, scores with ties, and how often each row counts."""
    n = draw(st.integers(2, 40))
    labels = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(lambda rows: 0 < sum(rows) < len(rows)))
    scores = draw(st.lists(st.sampled_from(np.linspace(0, 1, 9).tolist()), min_size=n, max_size=n))
    weights = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    return np.array(labels, dtype=np.int8), np.array(scores), np.array(weights)


def of(labels: Labels, scores: Floats, threshold: float, weights: Floats) -> dict[str, float]:
    """The metrics of weighted rows, by name."""
    return dict(zip(METRICS, _Weighted(labels, scores, threshold).metrics(weights), strict=True))


@given(scored(), st.sampled_from([0.0, 0.25, 0.5, 0.6, 1.0]))
def test_metrics_are_scikit_learns(rows: tuple[Labels, Floats, npt.NDArray[np.int64]], threshold: float) -> None:
    """Recall, precision, F1, false positive rate and average precision are what scikit-learn computes."""
    labels, scores, _ = rows
    found = of(labels, scores, threshold, np.ones(len(labels)))
    flagged = (scores >= threshold).astype(int)
    true_negatives, false_positives, _, _ = confusion_matrix(labels, flagged, labels=[0, 1]).ravel()
    assert found["recall"] == pytest.approx(recall_score(labels, flagged))
    expected = precision_score(labels, flagged, zero_division=np.nan)  # without an alert there is none
    assert found["precision"] == pytest.approx(expected, nan_ok=True)
    assert found["f1"] == pytest.approx(f1_score(labels, flagged, zero_division=0))
    assert found["false_positive_rate"] == pytest.approx(false_positives / (false_positives + true_negatives))
    assert found["average_precision"] == pytest.approx(average_precision_score(labels, scores))


@given(scored())
def test_a_weight_counts_as_so_many_copies(rows: tuple[Labels, Floats, npt.NDArray[np.int64]]) -> None:
    """A row drawn three times by the bootstrap counts as three rows, one drawn never as none."""
    labels, scores, weights = rows
    repeated, again = np.repeat(labels, weights), np.repeat(scores, weights)
    if not 0 < repeated.sum() < len(repeated):
        return
    weighted = of(labels, scores, 0.5, weights.astype(float))
    assert weighted == pytest.approx(of(repeated, again, 0.5, np.ones(len(repeated))), nan_ok=True)


def test_a_version_that_flags_nothing_has_no_precision() -> None:
    """It is unknown, neither 0 nor worse: only what can be seen is compared."""
    labels, scores = _simulated(2.0, seed=1)
    made = compare(labels, scores, scores, thresholds=(0.5, 1.1), random=_random(), n_boot=50)
    found = {delta.metric: delta for delta in made.deltas}
    assert np.isnan([found["precision"].candidate, found["precision"].low, found["precision"].high]).all()
    assert found["precision"].change is Change.UNCLEAR
    assert found["recall"].change is Change.WORSE
    assert found["recall"].candidate == 0


def _simulated(separation: float, *, seed: int, n: int = 4_000, other: Floats | None = None) -> tuple[Labels, Floats]:
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.1).astype(np.int8)
    raw = random.normal(size=n) + separation * labels
    return labels, 1 / (1 + np.exp(-raw))


def _random() -> np.random.Generator:
    return np.random.default_rng(1)


def test_a_clearly_better_candidate_is_to_be_promoted() -> None:
    """More separation at the same threshold improves recall and average precision, and the advice says so."""
    labels, baseline = _simulated(1.0, seed=1)
    _, candidate = _simulated(3.0, seed=1)
    made = compare(labels, baseline, candidate, thresholds=(0.8, 0.8), random=_random(), n_boot=100)
    assert made.advice is Advice.PROMOTE
    assert (made.rows, made.frauds) == (4_000, int(labels.sum()))
    changes = {delta.metric: delta.change for delta in made.deltas}
    assert changes["recall"] is changes["average_precision"] is Change.IMPROVED
    assert "nothing got worse" in made.reason
    assert all(delta.low <= delta.difference <= delta.high for delta in made.deltas)


def test_a_clearly_worse_candidate_is_not() -> None:
    """The other way round the champion is to be kept, and the reason names what got worse."""
    labels, baseline = _simulated(3.0, seed=1)
    _, candidate = _simulated(1.0, seed=1)
    made = compare(labels, baseline, candidate, thresholds=(0.8, 0.8), random=_random(), n_boot=100)
    assert made.advice is Advice.KEEP
    assert "recall" in made.reason
    assert "got worse" in made.reason


def test_the_same_version_twice_shows_no_difference() -> None:
    """A version against itself differs by exactly nothing, with intervals of no width, and the champion is kept."""
    labels, scores = _simulated(1.5, seed=2, n=500)
    made = compare(labels, scores, scores, thresholds=(0.7, 0.7), random=_random(), n_boot=50)
    assert all((d.difference, d.low, d.high, d.change) == (0, 0, 0, Change.UNCLEAR) for d in made.deltas)
    assert made.advice is Advice.KEEP
    assert "no difference is clear" in made.reason


def test_more_recall_for_many_false_alarms_is_for_a_person_to_decide() -> None:
    """A lower threshold buys recall with false alarms: improved and worse at once is undecided."""
    labels, scores = _simulated(1.5, seed=3)
    made = compare(labels, scores, scores, thresholds=(0.9, 0.6), random=_random(), n_boot=100)
    assert made.advice is Advice.UNDECIDED
    assert "a person decides" in made.reason
    changes = {delta.metric: delta.change for delta in made.deltas}
    assert (changes["recall"], changes["false_positive_rate"]) == (Change.IMPROVED, Change.WORSE)
    other = compare(labels, scores, scores, thresholds=(0.6, 0.9), random=_random(), n_boot=100)
    changes = {delta.metric: delta.change for delta in other.deltas}
    assert (changes["recall"], changes["false_positive_rate"]) == (Change.WORSE, Change.IMPROVED)


def test_each_version_flags_at_its_own_threshold() -> None:
    """Two versions on different scales compare fairly: halved scores with a halved threshold are the same version."""
    labels, scores = _simulated(1.5, seed=4, n=800)
    made = compare(labels, scores, scores / 2, thresholds=(0.7, 0.35), random=_random(), n_boot=20)
    assert all(delta.difference == 0 for delta in made.deltas)


def test_a_comparison_repeats_with_its_seed() -> None:
    """The same rows and the same seed give the same intervals."""
    labels, baseline = _simulated(1.0, seed=5, n=300)
    _, candidate = _simulated(1.3, seed=5, n=300)

    def once() -> tuple[Delta, ...]:
        return compare(labels, baseline, candidate, thresholds=(0.8, 0.8), random=_random(), n_boot=30).deltas

    assert once() == once()


@at_most(20)
@given(st.integers(0, 10_000))
def test_few_frauds_do_not_break_the_bootstrap(seed: int) -> None:
    """With a single fraud, draws without it are drawn again, and every number is finite."""
    labels = np.zeros(12, dtype=np.int8)
    labels[3] = 1
    scores = np.linspace(0, 1, 12)
    made = compare(
        labels, scores, scores[::-1].copy(), thresholds=(0.5, 0.5), random=np.random.default_rng(seed), n_boot=10
    )
    assert np.isfinite([(d.low, d.high, d.baseline, d.candidate) for d in made.deltas]).all()


@pytest.mark.parametrize("labels", [np.zeros(4, dtype=np.int8), np.ones(4, dtype=np.int8)])
def test_rows_of_one_class_are_refused(labels: Labels) -> None:
    """Without frauds, or with nothing else, there is nothing to compare, and the message says how many there are."""
    scores = np.linspace(0, 1, 4)
    with pytest.raises(DataError, match=f"{labels.sum()} of the 4 rows are fraud"):
        compare(labels, scores, scores, thresholds=(0.5, 0.5), random=_random())


def test_scores_of_other_rows_are_refused() -> None:
    """Scores and labels of different lengths never meet."""
    with pytest.raises(DataError, match="score both versions on the very rows"):
        compare(np.array([0, 1], dtype=np.int8), np.zeros(2), np.zeros(3), thresholds=(0.5, 0.5), random=_random())


@pytest.mark.parametrize(("frauds", "clearly"), [(1, False), (4, False), (5, True), (200, True), (396, False)])
def test_clearly_worse_is_an_interval_below_zero_on_enough_rows_of_each_class(frauds: int, clearly: bool) -> None:
    """A reversed ranking is clearly worse by average precision, unless so few rows say so that chance would, too."""
    labels = np.zeros(400, dtype=np.int8)
    labels[:frauds] = 1
    scores = np.linspace(1, 0, 400)
    made = compare(labels, scores, scores[::-1].copy(), thresholds=(0.5, 0.5), random=_random(), n_boot=100)
    assert made.ranking.high < 0
    assert made.clearly_worse is clearly
    assert made.in_short.startswith("clearly worse" if clearly else "too few rows")
    back = compare(labels, scores[::-1].copy(), scores, thresholds=(0.5, 0.5), random=_random(), n_boot=100)
    assert not back.clearly_worse


def _delta(metric: str, change: Change, difference: float) -> Delta:
    return Delta(metric, 0.5, 0.5 + difference, 0.0, 0.0, change)


@pytest.mark.parametrize(
    ("deltas", "advice"),
    [
        ([("recall", Change.IMPROVED, 0.1)], Advice.PROMOTE),
        ([("recall", Change.IMPROVED, 0.1), ("precision", Change.WORSE, -0.005)], Advice.PROMOTE),
        ([("recall", Change.IMPROVED, 0.1), ("precision", Change.WORSE, -0.05)], Advice.UNDECIDED),
        ([("recall", Change.WORSE, -0.1)], Advice.KEEP),
        ([("recall", Change.WORSE, -0.005)], Advice.KEEP),
        ([("recall", Change.UNCLEAR, 0.2)], Advice.KEEP),
    ],
)
def test_the_advice_weighs_what_got_better_against_what_got_worse(
    deltas: list[tuple[str, Change, float]], advice: Advice
) -> None:
    """Improved without material loss: promote; with one: a person decides; nothing improved: keep."""
    assert _advise(tuple(_delta(*row) for row in deltas))[0] is advice


def test_rows_that_were_labelled_by_a_known_chance_stand_for_those_that_were_not() -> None:
    """A fifth of what was flagged, weighed by five, gives the metrics of all of it; unweighed it does not."""
    random = np.random.default_rng(4)
    labels = (random.random(40_000) < 0.05).astype(np.int8)
    scores = np.clip(0.3 * labels + random.normal(0.3, 0.15, len(labels)), 0, 1)
    blocked = scores >= 0.55
    kept = ~blocked | (random.random(len(labels)) < 0.2)
    options: dict[str, Any] = {"thresholds": (0.55, 0.5), "n_boot": 1}

    def values(rows: npt.NDArray[np.bool_], weights: Floats | None) -> Floats:
        found = compare(
            labels[rows], scores[rows], scores[rows], random=np.random.default_rng(0), weights=weights, **options
        )
        return np.array([delta.baseline for delta in found.deltas])

    everything = values(np.ones(len(labels), dtype=bool), None)
    assert values(kept, np.where(blocked[kept], 5.0, 1.0)) == pytest.approx(everything, rel=0.1)
    assert values(kept, None)[METRICS.index("recall")] < 0.8 * everything[METRICS.index("recall")]


@pytest.mark.parametrize("weights", [np.ones(2), np.array([1.0, 1.0, 0.0, 1.0]), np.array([1.0, np.nan, 1.0, 1.0])])
def test_weights_that_are_none_are_refused(weights: Floats) -> None:
    """One finite weight above 0 for each row, or nothing."""
    labels, scores = np.array([0, 1, 0, 1], dtype=np.int8), np.full(4, 0.5)
    with pytest.raises(DataError, match="weights"):
        compare(labels, scores, scores, thresholds=(0.5, 0.5), random=np.random.default_rng(0), weights=weights)
