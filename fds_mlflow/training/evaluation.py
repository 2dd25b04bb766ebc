"""Choose the threshold, and measure scores against labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fds_mlflow.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def choose_threshold(
    y: ArrayLike | None, score: ArrayLike, target_fpr: float = 0.02, *, weight: ArrayLike | None = None
) -> float:
    """The threshold that flags as much as it may: at most the target share of genuine transactions.

    A transaction is flagged when its score is at or above the threshold. Ties are never split, so where many
    genuine rows share a score the false positive rate stays below the target rather than above it. The
    threshold lies midway between two observed scores, so that a last digit that differs on another machine
    moves no transaction across it.

    Args:
        y: Labels, shape (n,), 0 or 1; None where there are none: every row then counts as genuine.
        score: Scores in [0, 1], shape (n,).
        target_fpr: Largest share of genuine transactions that may be flagged, in [0, 1).
        weight: For how many transactions each row stands, shape (n,), above 0; None for one each.

    Returns:
        The threshold. Slightly above 1 where even the highest score may not be flagged.

    Raises:
        ConfigError: A target outside [0, 1).
        DataError: No genuine row to choose on.
    """
    if not 0 <= target_fpr < 1:
        raise ConfigError(
            f"the target false positive rate is {target_fpr}",
            fix="give a share from 0 up to, but not, 1: 0.02",
        )
    scores = np.asarray(score, dtype=np.float64)
    chosen = slice(None) if y is None else np.asarray(y) == 0
    genuine = scores[chosen]
    if len(genuine) == 0:
        raise DataError(
            f"none of {len(scores):,} rows is genuine, so no false positive rate can be aimed at",
            fix="choose the threshold on rows of both classes",
        )
    descending = np.argsort(-genuine, kind="stable")
    upto = np.cumsum(_weights(weight, scores)[chosen][descending])
    # The highest genuine score that must not be flagged: everything strictly above it may be. 0.02 of 50 must allow 1
    # whatever the rounding.
    kept = np.searchsorted(upto[:-1], upto[-1] * (target_fpr + 1e-11), side="right")
    limit = float(genuine[descending[kept]])
    above = scores[scores > limit]
    upper = float(above.min()) if len(above) else max(1.0, float(np.nextafter(limit, 2.0)))
    middle = (limit + upper) / 2
    return middle if middle > limit else float(np.nextafter(limit, 2.0))


def metrics(
    y: ArrayLike,
    score: ArrayLike,
    threshold: float,
    *,
    customer: ArrayLike | None = None,
    time: ArrayLike | None = None,
    weight: ArrayLike | None = None,
) -> dict[str, float]:
    """Every figure that a version is judged by.

    Args:
        y: Labels, shape (n,), 0 or 1.
        score: Scores in [0, 1], shape (n,); flagged means score >= threshold.
        threshold: The version's threshold.
        customer: Customer of each row, shape (n,); with ``time`` it gives ``card_precision_at_100``.
        time: Time of each row, shape (n,), ``datetime64``.
        weight: For how many transactions each row stands, shape (n,), above 0; None for one each. All figures but
            ``card_precision_at_100``, which is about those cards alone, are those of the transactions stood for.

    Returns:
        ``accuracy``, ``precision``, ``recall``, ``f1``, ``false_positive_rate``, ``flagged_rate``,
        ``roc_auc``, ``average_precision``, ``recall_at_fpr_1pct``, ``recall_at_fpr_2pct``, ``threshold``,
        and ``card_precision_at_100`` where customers and times are given. Precision is left out where nothing
        is flagged, and figures that need both classes where only one is there.

    Raises:
        DataError: No rows, lengths that differ, or a score that is NaN.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    labels = np.asarray(y).astype(np.int8)
    scores = np.asarray(score, dtype=np.float64)
    _check(labels, scores)
    weights = _weights(weight, scores)
    flagged, fraud = scores >= threshold, labels == 1
    positives, negatives = float(weights[fraud].sum()), float(weights[~fraud].sum())
    true_positives = float(weights[flagged & fraud].sum())
    false_positives = float(weights[flagged & ~fraud].sum())
    missed = positives - true_positives
    result = {
        "accuracy": (true_positives + negatives - false_positives) / float(weights.sum()),
        "flagged_rate": float(weights[flagged].sum() / weights.sum()),
        "threshold": float(threshold),
    }
    if flagged.any():
        result["precision"] = true_positives / (true_positives + false_positives)
    if positives:
        result["recall"] = true_positives / positives
        result["f1"] = 2 * true_positives / (2 * true_positives + false_positives + missed)
    if negatives:
        result["false_positive_rate"] = false_positives / negatives
    if positives and negatives:
        result["roc_auc"] = float(roc_auc_score(labels, scores, sample_weight=weight))
        result["average_precision"] = float(average_precision_score(labels, scores, sample_weight=weight))
        result["recall_at_fpr_1pct"] = recall_at_fpr(labels, scores, 0.01, weight=weight)
        result["recall_at_fpr_2pct"] = recall_at_fpr(labels, scores, 0.02, weight=weight)
        if customer is not None and time is not None:
            result["card_precision_at_100"] = card_precision(labels, scores, customer, time, k=100)
    return result


def recall_at_fpr(y: ArrayLike, score: ArrayLike, limit: float, *, weight: ArrayLike | None = None) -> float:
    """Share of frauds flagged by the best threshold whose false positive rate stays within the limit."""
    threshold, scores, fraud = choose_threshold(y, score, limit, weight=weight), np.asarray(score), np.asarray(y) == 1
    return float(np.average(scores[fraud] >= threshold, weights=_weights(weight, scores)[fraud]))


def card_precision(y: ArrayLike, score: ArrayLike, customer: ArrayLike, time: ArrayLike, *, k: int = 100) -> float:
    """Card precision@k: what a team that can call k customers a day would have found.

    Per day, customers are ranked by their highest score; of the k highest the share with at least one fraud
    that day is taken, and averaged over the days. Compromised customers that were found leave the following
    days. Ties are broken by customer. On a day with fewer than k customers all of them are called.

    Source: Le Borgne, Siblini, Lebichot, Bontempi, *Reproducible Machine Learning for Credit Card Fraud
    Detection - Practical Handbook*, chapter 4.4, "Card Precision top-k".

    Args:
        y: Labels, shape (n,), 0 or 1.
        score: Scores, shape (n,), higher = more suspicious.
        customer: Customer of each row, shape (n,).
        time: Time of each row, shape (n,), ``datetime64``; days are calendar days of these times.
        k: Customers called per day.

    Returns:
        The mean over the days that have transactions, in [0, 1].

    Raises:
        DataError: No rows, lengths that differ, or a score that is NaN.
    """
    labels, scores = np.asarray(y), np.asarray(score, dtype=np.float64)
    _check(labels, scores)
    rows = pd.DataFrame(
        {
            "day": np.asarray(time).astype("datetime64[D]"),
            "customer": np.asarray(customer),
            "score": scores,
            "fraud": labels == 1,
        }
    )
    per_customer = rows.groupby(["day", "customer"], sort=True, as_index=False).agg({"score": "max", "fraud": "max"})
    found: set[object] = set()
    daily: list[float] = []
    for _, day in per_customer.groupby("day", sort=True):
        left = day[~day["customer"].isin(found)]
        called = left.sort_values("score", ascending=False, kind="stable").head(k)
        daily.append(float(called["fraud"].mean()) if len(called) else 0.0)
        found.update(called.loc[called["fraud"], "customer"])
    return float(np.mean(daily))


def _weights(weight: ArrayLike | None, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ones(len(scores)) if weight is None else np.asarray(weight, dtype=np.float64)


def _check(labels: NDArray[np.generic], scores: NDArray[np.float64]) -> None:
    if len(scores) == 0 or labels.shape != scores.shape:
        raise DataError(
            f"{labels.shape} labels and {scores.shape} scores",
            fix="give one score per label, and at least one row",
        )
    if np.isnan(scores).any():
        raise DataError(
            f"{int(np.isnan(scores).sum()):,} of {len(scores):,} scores are NaN",
            fix="look for rows that the model cannot score",
        )
