"""The labelled history that a rollout is rehearsed on: read, checked, and as each version answers it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fds_mlflow.core.evidence.bins import fine_score_bins, score_bins
from fds_mlflow.core.evidence.evidence import kept_chance
from fds_mlflow.core.judge.labels import COMPLETE
from fds_mlflow.errors import DataError
from fds_mlflow.rollouts.rehearsal.cell import Arm, Floats, Ints
from fds_mlflow.rollouts.rehearsal.replay import Traffic

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a history.

    Attributes:
        champion: The champion's scores, in [0, 1].
        canary: The canary's scores.
        key: Routing keys.
        time: Times of the transactions.
        label: 1 fraud, 0 genuine, missing where nobody knows.
        amount: Money lost by a missed fraud; None where there is no such column.
        propensity: Chance with which what the champion flagged has a label: the share that was let pass to explore,
            or of a reviewed sample. Needed where most of that has none; no such column means that all of it has one.
            Of other rows only a 0 says something: their labels are left out too, as no block among such rows shows.
    """

    champion: str = "champion_score"
    canary: str = "canary_score"
    key: str = "transaction_id"
    time: str = "time"
    label: str = "label"
    amount: str | None = "amount"
    propensity: str = "propensity"


def read_history(
    history: pd.DataFrame, names: Columns, thresholds: tuple[float, float], looks: int, *, needs_labels: bool
) -> tuple[Traffic, tuple[Arm, Arm]]:
    """The requests of a history, and what champion and canary do with each, without any that fails.

    Args:
        history: One row per request.
        names: Of its columns.
        thresholds: The champion's and the canary's.
        looks: How often a rollout is looked at while the history is played once.
        needs_labels: Whether anything is judged by labels.

    Raises:
        DataError: A column is missing or holds what it should not, there are too few rows, or most of what the champion
            flags has no label and nobody says with what chance the rest has one.
    """
    traffic, labels, amounts = _traffic(history, names, looks)
    labels, chances = _chances(history, names, thresholds[0], labels, needed=needs_labels)
    champion, canary = (
        replace(_arm(history, column, threshold, labels, amounts), chances=chances)
        for column, threshold in zip((names.champion, names.canary), thresholds, strict=True)
    )
    return traffic, (champion, canary)


def _traffic(history: pd.DataFrame, names: Columns, looks: int) -> tuple[Traffic, Ints, Floats]:
    import pandas as pd

    wanted = [names.champion, names.canary, names.key, names.time, names.label]
    missing = [name for name in (*wanted, *([names.amount] if names.amount else [])) if name not in history.columns]
    if missing:
        raise DataError(
            f"the history has no column {', '.join(missing)}",
            fix="name its columns (--scores, --key, --time, --label, --amount, or columns=); there are "
            f"{', '.join(map(str, history.columns))}",
        )
    if len(history) < 100 * looks:
        raise DataError(
            f"the history has {len(history):,} rows, fewer than 100 for each of {looks} looks",
            fix="give a longer history, or, in Python, fewer looks=",
        )
    times = pd.to_datetime(history[names.time], utc=True).to_numpy(dtype="datetime64[us]").astype(np.int64) / 1e6
    if (np.diff(times) < 0).any():
        raise DataError("the history is not in order of time", fix=f"sort it by {names.time}")
    seconds = times - times[0]
    span = float(seconds[-1] * len(seconds) / (len(seconds) - 1))
    if not span:
        raise DataError(f"all {len(seconds):,} rows have one time", fix="give a history with its times")
    key, keys = pd.factorize(history[names.key].astype(str))
    labels = history[names.label].to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isin(labels[~np.isnan(labels)], (0.0, 1.0)).all():
        raise DataError(
            f"the label column {names.label} holds other values than 0 and 1", fix="leave unknown ones empty"
        )
    amounts = np.zeros(len(history))
    if names.amount is not None:
        amounts = np.nan_to_num(history[names.amount].to_numpy(dtype=np.float64, na_value=np.nan))
    traffic = Traffic(seconds, [str(k) for k in keys], key.astype(np.int64), span, looks)
    return traffic, np.where(np.isnan(labels), -1, labels).astype(np.int64), np.abs(amounts)


def _chances(
    history: pd.DataFrame, names: Columns, threshold: float, labels: Ints, *, needed: bool
) -> tuple[Ints, Floats]:
    """Labels that come with a known chance, and this chance.

    What the champion flagged was blocked when the history was made: what either version would have missed or stopped
    among it is known of those rows alone that have a label: all of them, or as many as of what it did not flag.
    """
    blocked = history[names.champion].to_numpy(dtype=np.float64, na_value=np.nan) >= threshold
    among = int(np.count_nonzero(blocked))
    passed = float(np.mean(labels[~blocked] >= 0)) if among < len(blocked) else 1.0
    if names.propensity not in history.columns:
        known = int(np.count_nonzero(labels[blocked] >= 0))
        if not needed or known >= COMPLETE * passed * among:
            return labels, np.full(len(history), kept_chance(passed) or 1.0)
        raise DataError(
            f"{known:,} of {among:,} rows that the champion flags have a label: a canary that lets"
            " the others pass would look as if it missed nothing",
            fix=f"add a column {names.propensity} with the chance that such a row has a label (of what was let pass to"
            " explore, or of a reviewed sample), or label them all",
        )
    given = history[names.propensity].to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = ~np.isnan(given) & ~((given >= 0) & (given <= 1))
    if wrong.any():
        raise DataError(
            f"the column {names.propensity} holds {int(wrong.sum()):,} values that are no chances",
            fix="give numbers from 0 to 1, and leave unknown ones empty",
        )
    rounded = np.array([kept_chance(chance) for chance in np.nan_to_num(given)])
    chances = np.where(blocked | (given == 0), rounded, 1.0)  # above a cap, nothing that is flagged shows its truth
    labels = np.where(chances > 0, labels, -1)
    drawn = chances[blocked & (labels >= 0)]
    found = float((1 / drawn).sum()) + np.count_nonzero(blocked & (given == 0))
    most = found + 4 * float(np.sqrt(((1 - drawn) / drawn**2).sum()))
    if needed and most < COMPLETE * passed * among:
        raise DataError(
            f"labels with a {names.propensity} stand for {found:,.0f} of {among:,} rows that the champion flags: what"
            " either version did with the others nobody knows",
            fix="leave out the time before it was explored or reviewed, or give each row's chance, 0 where it has none",
        )
    return labels, chances


def _arm(history: pd.DataFrame, column: str, threshold: float, labels: Ints, amounts: Floats) -> Arm:
    scores = history[column].to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = ~((scores >= 0) & (scores <= 1))
    if wrong.any():
        raise DataError(
            f"the column {column} holds {int(wrong.sum()):,} values that are no scores in [0, 1]",
            fix="score every row with both versions",
        )
    nothing = np.zeros(len(scores), dtype=np.bool_)
    return Arm(nothing, scores >= threshold, score_bins(scores), labels, amounts, fine=fine_score_bins(scores))
