"""Features that alone tell fraud from genuine: most often they were filled in after the fraud was known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fds_mlflow.features.spec import LABEL_AGGREGATES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fds_mlflow.features.table import FeatureTable
    from fds_mlflow.training.split import Split

#: From these on, on the rows it was learned on, a single feature is called out. The strongest honest ones known here
#: stay clear of both: V14 of the ULB cards has a ROC AUC of 0.97 and an average precision of 0.88; of the simulator and
#: the handbook, 0.85 and 0.7.
MOST_ROC_AUC, MOST_AVERAGE_PRECISION = 0.98, 0.95

#: It has to hold on validation, where what is filled in late is not there yet for every fraud.
HELD_AVERAGE_PRECISION = 0.8

#: The average precision is that of a population with one fraud in a hundred, so that it means the same everywhere.
_FRAUD_SHARE = 0.01

_FEWEST_FRAUDS = 5
_GENUINE = 10_000
_PRIOR_ROWS = 10


@dataclass(frozen=True)
class Separation:
    """How well one feature alone tells fraud from genuine, on validation.

    Attributes:
        feature: Its name.
        roc_auc: ROC AUC.
        average_precision: Average precision where one row in a hundred is fraud.
        of_labels: Whether it counts earlier labels.
    """

    feature: str
    roc_auc: float
    average_precision: float
    of_labels: bool

    def __str__(self) -> str:
        why = (
            "it probably counts labels before they were known; check label_known_at or label_delay"
            if self.of_labels
            else "it was probably filled in after the fraud was known; leave it out of the schema, or name its column "
            "under 'known_later' there"
        )
        return (
            f"feature {self.feature!r} alone tells fraud from genuine on validation (ROC AUC {self.roc_auc:.3f}, "
            f"average precision {self.average_precision:.3f}): {why}"
        )


def separating(split: Split) -> list[Separation]:
    """The features that separate the classes perfectly or nearly, each by itself.

    A shallow tree (a category's share of frauds, drawn towards the whole's where it is rare) is learned on the training
    rows of each feature, missing values included, and measured on the validation rows: so it may have any shape and
    either direction, and what fits its own rows only, such as a code that is different in every row, is not called out.
    A ROC AUC from `MOST_ROC_AUC` or an average precision from `MOST_AVERAGE_PRECISION` on training rows calls it out,
    if it holds: as high a ROC AUC, or an average precision from `HELD_AVERAGE_PRECISION`, on validation.

    Args:
        split: The parts. All frauds are looked at, and at most 10,000 genuine rows of each part.

    Returns:
        The features, the clearest first; none where labels are missing or a part has fewer than five frauds.
    """
    if not split.labelled:
        return []
    train, validation = _sample(split.train), _sample(split.validation)
    if min(int(train.y.sum()), int(validation.y.sum())) < _FEWEST_FRAUDS:
        return []
    of_labels = {
        item.feature(window)
        for item in train.spec.windows
        if item.aggregate in LABEL_AGGREGATES
        for window in item.windows
    }
    found = []
    for name in train.features:
        learned = _by_share if name in train.categorical else _by_tree
        seen, unseen = learned(train.frame[name], train.y, validation.frame[name])
        figures = _separates(validation.y, unseen, HELD_AVERAGE_PRECISION)
        if figures is not None and _separates(train.y, seen, MOST_AVERAGE_PRECISION) is not None:
            found.append(Separation(name, *figures, of_labels=name in of_labels))
    return sorted(found, key=lambda each: -each.roc_auc)


def _sample(table: FeatureTable) -> FeatureTable:
    genuine = np.flatnonzero(table.y == 0)
    if len(genuine) <= _GENUINE:
        return table
    kept = np.random.default_rng(0).choice(genuine, _GENUINE, replace=False)
    return table.where(np.isin(np.arange(len(table)), kept) | (table.y == 1))


def _separates(y: NDArray[np.int8], score: NDArray[np.float64], most: float) -> tuple[float, float] | None:
    """ROC AUC and average precision where one of them is as high as no honest feature's; else None."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    area = float(roc_auc_score(y, score))
    if area < HELD_AVERAGE_PRECISION:  # then the other one is low too; it takes longer to find out
        return None
    weight = np.where(y == 1, _FRAUD_SHARE / (y == 1).sum(), (1 - _FRAUD_SHARE) / (y == 0).sum())
    precision = float(average_precision_score(y, score, sample_weight=weight))
    return (area, precision) if area >= MOST_ROC_AUC or precision >= most else None


def _by_tree(
    train: pd.Series[float], y: NDArray[np.int8], validation: pd.Series[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of a shallow tree over one number, on the rows it has seen and on those it has not."""
    from sklearn.tree import DecisionTreeClassifier

    # Before 1.8 scikit-learn's trees do not split one value from none: so what is missing is a number, too.
    seen, unseen = (
        np.column_stack([values, np.isnan(values)])
        for values in (part.to_numpy(dtype=np.float64) for part in (train, validation))
    )
    tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=_FEWEST_FRAUDS, class_weight="balanced", random_state=0)
    tree.fit(seen, y)
    return tree.predict_proba(seen)[:, 1], tree.predict_proba(unseen)[:, 1]


def _by_share(
    train: pd.Series[str], y: NDArray[np.int8], validation: pd.Series[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each category's share of frauds, drawn towards the whole's; that of one never seen is the whole's."""
    codes, categories = pd.factorize(train, use_na_sentinel=False)
    share = float(y.mean())
    rows, frauds = np.bincount(codes), np.bincount(codes, weights=y)
    shares = (frauds + share * _PRIOR_ROWS) / (rows + _PRIOR_ROWS)
    place = pd.Index(categories).get_indexer(pd.Index(validation))
    return shares[codes], np.where(place >= 0, shares[place], share)
