"""What a training rests on, and when its figures should not be believed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fds_mlflow.training.split import by_time, stratified
from fds_mlflow.training.summary import counted, notes_of, warnings_of
from tests.support.tables import table

SPLIT = stratified(table())
GOOD = {"val_roc_auc": 0.8, "val_false_positive_rate": 0.02, "val_flagged_rate": 0.03}


def scores(value: float) -> dict[str, np.ndarray]:
    """The same score for every row of validation and test."""
    return {name: np.full(len(part), value) for name, part in SPLIT.parts.items() if name != "train"}


def test_each_part_is_counted() -> None:
    """Rows and frauds of all parts, and the flagged rows of those that are scored: at the threshold is flagged."""
    parts = counted(SPLIT, scores(0.5), 0.5)
    assert [parts[name].rows for name in parts] == [2400, 800, 800]
    assert sum(part.frauds or 0 for part in parts.values()) == int(table().y.sum())
    assert [part.flagged for part in parts.values()] == [None, 800, 800]
    unlabelled = counted(by_time(table(labelled=False)), {}, 0.5)
    assert [part.frauds for part in unlabelled.values()] == [None] * 3


def test_a_sound_validation_warns_of_nothing() -> None:
    """Enough frauds, a ranking better than chance, something flagged."""
    assert warnings_of(SPLIT, counted(SPLIT, scores(0.5), 0.5), GOOD) == ()
    assert notes_of(counted(SPLIT, scores(0.5), 0.5), GOOD, 0.02) == ()


def test_a_validation_that_says_nothing_warns() -> None:
    """Fewer than 20 frauds, a ranking no better than chance, or nothing flagged: each with its number."""
    parts = counted(SPLIT, scores(0.5), 0.5)
    few = {**parts, "validation": replace(parts["validation"], frauds=19), "test": replace(parts["test"], frauds=3)}
    (warning,) = warnings_of(SPLIT, few, GOOD)
    assert "19 frauds, fewer than 20" in warning
    assert "3 frauds" in notes_of(few, GOOD, 0.02)[0]
    for area in (0.5, 0.43):
        (warning,) = warnings_of(SPLIT, parts, {"val_roc_auc": area})
        assert f"no better than chance (ROC AUC {area:.3f})" in warning
    (warning,) = warnings_of(SPLIT, counted(SPLIT, scores(0.5), 0.6), GOOD)
    assert "flags nothing" in warning
    twenty = {**parts, "validation": replace(parts["validation"], frauds=20)}
    assert warnings_of(SPLIT, twenty, {"val_roc_auc": 0.51}) == ()


def test_a_threshold_that_flags_less_than_it_may_is_noted() -> None:
    """Where many rows share one score the target cannot be reached: how far it is missed is said."""
    parts = counted(SPLIT, scores(0.5), 0.5)
    (note,) = notes_of(parts, {**GOOD, "val_false_positive_rate": 0.005}, 0.02)
    assert "flags 0.50 % of the genuine validation rows, not 2.00 %" in note
    assert notes_of(parts, {**GOOD, "val_false_positive_rate": 0.0}, 0.001) == ()  # less than a row in 700


def test_leaking_features_are_warned_of_by_name_however_many() -> None:
    """Eight of them each with a sentence, the rest by their number, so that a version's tag stays short."""
    whole = table()
    names = [f"leak{i}" for i in range(11)]
    frame = whole.frame.assign(**{name: whole.y.astype(float) for name in names})
    split = stratified(replace(whole, frame=frame, features=[*whole.features, *names]))
    found = warnings_of(split, counted(split, {}, 0.5), GOOD)
    assert [sum(f"'{name}'" in warning for warning in found) for name in names] == [1] * 8 + [0] * 3
    assert "3 more features" in found[-1]
