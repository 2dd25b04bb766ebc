"""Scores of whatever model held against labels: the figures of a training, with money, intervals and segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fds_mlflow.data.transactions import period
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.training import calibration, evaluation
from fds_mlflow.training.calibration import CalibrationBin
from fds_mlflow.training.card.figures import Figure, Segment, figures, segments

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Plot
    from numpy.typing import NDArray

LEVELS = 50
"""Distinct values above which a column of texts is no segmentation of its own accord."""

DRAWS = 200


@dataclass(frozen=True)
class Rows:
    """Labelled rows beside their scores.

    Attributes:
        y: Labels, shape (n,), int8, 0 or 1, both there.
        score: Scores, shape (n,), float64 in [0, 1].
        frame: What else is known of each row, in the columns `time` (datetime64; NaT where unknown) and, where they are
            known, `customer` and `amount`; and the columns of `categorical`.
        categorical: Columns whose values part the rows.
        weight: For how many transactions each row stands, shape (n,), float64 above 0; None for one each.
    """

    y: NDArray[np.int8]
    score: NDArray[np.float64]
    frame: pd.DataFrame
    categorical: Sequence[str] = ()
    weight: NDArray[np.float64] | None = None

    @property
    def customer(self) -> Any:
        """Of each row; None where nobody knows."""
        return self.frame["customer"].to_numpy() if "customer" in self.frame else None


@dataclass(frozen=True)
class Assessment:
    """What the rows say of a model.

    Attributes:
        threshold: The score from which a transaction is flagged.
        figures: As a training names them, with money; each with its interval where there is one.
        segments: The rows in parts.
        bins: The rows in bins of score.
    """

    threshold: float
    figures: Sequence[Figure]
    segments: Sequence[Segment]
    bins: Sequence[CalibrationBin]

    @property
    def metrics(self) -> dict[str, float]:
        """Values by name, as a training logs them."""
        return {"threshold": self.threshold, **{one.name: one.value for one in self.figures}}

    def tables(self) -> dict[str, pd.DataFrame]:
        """`figures`, `segments` and `calibration`, a row each."""
        return {
            "figures": pd.DataFrame(
                [(one.name, one.value, one.low, one.high) for one in self.figures],
                columns=["figure", "value", "low", "high"],
            ),
            "segments": pd.DataFrame(
                [
                    (part.by, part.name, part.rows, part.frauds, one.name, one.value, one.low, one.high)
                    for part in self.segments
                    for one in part.figures
                ],
                columns=["by", "segment", "rows", "frauds", "figure", "value", "low", "high"],
            ),
            "calibration": pd.DataFrame(
                [(one.score, one.observed, one.low, one.high, one.rows) for one in self.bins],
                columns=["mean_score", "fraud_rate", "low", "high", "rows"],
            ),
        }


def assess(rows: Rows, threshold: float, *, review_cost: float | None = None, seed: int = 42) -> Assessment:
    """Measure scores against labels.

    Beside a training's figures (:func:`fds_mlflow.training.evaluation.metrics`): `calibration_error`, the mean distance
    between score and share of fraud over bins of equal numbers of frauds (Naeini, Cooper, Hauskrecht, *Obtaining Well
    Calibrated Probabilities Using Bayesian Binning*, AAAI 2015), and where amounts are known `money_lost`, the money in
    missed frauds per transaction as the guardrail of that name has it, `money_recall`, the share of the fraudulent
    money that is flagged, and `savings`: 1 - cost / least cost of flagging nothing or everything, where a missed fraud
    costs its amount and an alert `review_cost` (Bahnsen, Aouada, Ottersten, *Example-dependent cost-sensitive decision
    trees*, Expert Systems with Applications 42, 2015). Intervals of money draw customers, or rows, as those of
    `figures` do; calibration and card precision have none.

    Args:
        rows: The rows.
        threshold: The score from which a transaction is flagged.
        review_cost: Money that looking at an alert costs; None where nobody knows, and then there are no savings.
        seed: Of the samples.

    Raises:
        ConfigError: The cost is negative or needs amounts.
        DataError: An amount is negative or missing.
    """
    if review_cost is not None and (not review_cost >= 0 or "amount" not in rows.frame):
        raise ConfigError(
            f"a review costs {review_cost}, and amounts are {'known' if 'amount' in rows.frame else 'not known'}",
            fix="give a cost of 0 or more, and the column of the amounts",
        )
    timed = rows.customer is not None and period(rows.frame["time"]) is not None
    told = evaluation.metrics(
        rows.y,
        rows.score,
        threshold,
        customer=rows.customer if timed else None,
        time=rows.frame["time"].to_numpy() if timed else None,
        weight=rows.weight,
    )
    stands = np.ones(len(rows.y)) if rows.weight is None else rows.weight
    bins = calibration.bins(rows.y, rows.score, stands)
    if bins:
        far = [abs(one.score - one.observed) for one in bins]
        told["calibration_error"] = float(np.average(far, weights=[one.rows for one in bins]))
    known = figures(told, rows.y, rows.score, threshold, weight=rows.weight, customer=rows.customer, seed=seed)
    if "amount" in rows.frame:
        known += _money(rows, rows.score >= threshold, stands, review_cost, seed)
    return Assessment(threshold, known, segments(rows, rows.score, threshold, {}), bins)


def _money(
    rows: Rows, flagged: NDArray[np.bool_], stands: NDArray[np.float64], review_cost: float | None, seed: int
) -> list[Figure]:
    amount = rows.frame["amount"].to_numpy(dtype=np.float64)
    if not (amount >= 0).all():
        raise DataError(
            f"{int((~(amount >= 0)).sum()):,} of {len(amount):,} amounts are negative or missing",
            fix="give each row an amount of 0 or more",
        )
    at_stake = stands * amount * (rows.y == 1)
    # Per row: what it stands for, fraudulent money, what of it is missed, and what is flagged.
    sums = np.stack([stands, at_stake, at_stake * ~flagged, stands * flagged], axis=1)
    if rows.customer is not None:
        codes = pd.factorize(rows.customer, use_na_sentinel=False)[0]
        sums = np.stack([np.bincount(codes, weights=column) for column in sums.T], axis=1)
    random = np.random.default_rng(seed)
    drawn = np.stack([random.poisson(1.0, len(sums)) @ sums for _ in range(DRAWS)])
    value, samples = _of_money(sums.sum(axis=0, keepdims=True), review_cost), _of_money(drawn, review_cost)
    found = []
    for name, one in value.items():
        if np.isfinite(one[0]):
            sampled = samples[name][np.isfinite(samples[name])]
            low, high = np.quantile(sampled, [0.025, 0.975]).tolist() if len(sampled) else (None, None)
            found.append(Figure(name, float(one[0]), low, high))
    return found


def _of_money(sums: NDArray[np.float64], review_cost: float | None) -> dict[str, NDArray[np.float64]]:
    """Figures of money by name, one for each row of sums; NaN or infinite where there is none."""
    rows, at_stake, missed, flagged = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {"money_lost": missed / rows, "money_recall": 1 - missed / at_stake}
        if review_cost is not None:
            least = np.minimum(at_stake, review_cost * rows)
            found["savings"] = 1 - (missed + review_cost * flagged) / least
    return found


def plots(rows: Rows, threshold: float, title: str) -> dict[str, Plot]:
    """A training's plots, without importance: figures by file stem; see :mod:`fds_mlflow.training.plots`."""
    from fds_mlflow.training import plots as drawing

    stands = np.ones(len(rows.y)) if rows.weight is None else rows.weight
    given = rows.y, rows.score, threshold, title, stands
    return {
        "precision_recall": drawing.precision_recall(*given),
        "roc": drawing.roc(*given),
        "score_distribution": drawing.score_distribution(*given),
        "calibration": drawing.calibration(rows.y, rows.score, title, stands),
    }


def as_labels(given: Any) -> NDArray[np.int8]:
    """Labels, shape (n,), 0 or 1.

    Raises:
        DataError: There are none, one is missing or another value, or one of the two classes is.
    """
    values = np.asarray(given)
    numbers = pd.to_numeric(pd.Series(values.ravel()), errors="coerce").to_numpy(dtype=np.float64)
    if not np.isin(numbers, (0.0, 1.0)).all():
        raise DataError(
            f"{int((~np.isin(numbers, (0.0, 1.0))).sum()):,} of {len(numbers):,} labels are neither 0 nor 1",
            fix="leave out rows without a label, and write 1 for fraud and 0 for genuine",
        )
    frauds = int(numbers.sum())
    if frauds in (0, len(numbers)):
        raise DataError(
            f"{frauds:,} of {len(numbers):,} rows are fraud: a model is judged by how it tells two classes apart",
            fix="evaluate on rows that hold both frauds and genuine transactions",
        )
    return numbers.astype(np.int8)


def as_scores(answer: Any, rows: int, column: str | None = None) -> NDArray[np.float64]:
    """What a model answered, as scores: shape (rows,), float64 in [0, 1].

    Args:
        answer: One score a row, or a frame or an array that has them, or the chances of both classes.
        rows: How many rows it was asked about.
        column: Which column of a frame has the scores; None where it has one alone, or two chances.

    Raises:
        DataError: It has no scores, or classes instead.
    """
    if column is not None and isinstance(answer, pd.DataFrame):
        if column not in answer:
            raise DataError(f"the model answers no column {column!r}", fix=f"name one of {list(answer.columns)}")
        answer = answer[column]
    try:
        values = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        raise _no_scores("the model answers with values that are no numbers") from None
    if values.ndim == 2 and values.shape[1] <= 2:
        values = values[:, -1]  # of two classes' chances the second is fraud's, as scikit-learn orders them
    if values.shape != (rows,):
        raise _no_scores(f"the model answers {values.shape} values for {rows:,} rows")
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        raise _no_scores(f"the model gives {int(bad.sum()):,} of {rows:,} scores such as {values[int(np.argmax(bad))]}")
    if np.isin(values, (0.0, 1.0)).all():
        raise _no_scores("the model answers 0 or 1 for every row, which are classes")
    return values


def _no_scores(what: str) -> DataError:
    return DataError(
        f"{what}: not one score in [0, 1] per row, higher = more likely fraud",
        fix="evaluate a function that returns model.predict_proba(rows)[:, 1], or log the model with"
        " pyfunc_predict_fn='predict_proba'",
    )


def beside(frame: pd.DataFrame, named: Mapping[str, str | None], parts: Sequence[str] | None) -> tuple[Any, list[str]]:
    """What is known of rows beside their scores, in our columns, and the columns that part them.

    Args:
        frame: The rows.
        named: The column of each role (`time`, `customer`, `amount`); None for the role's own name, where it is there.
        parts: Columns whose values part the rows; None for all columns of texts and categories with at most 50 values.

    Raises:
        ConfigError: A column that is named is not there.
        DataError: There are no rows, or amounts or times that are none.
    """
    if frame.empty:
        raise DataError("there are no rows", fix="evaluate on some")
    frame = frame.rename(columns=str)
    asked = [*(name for name in named.values() if name is not None), *(parts or ())]
    absent = [name for name in asked if name not in frame]
    if absent:
        raise ConfigError(
            f"the rows have no columns {', '.join(map(repr, absent))}",
            fix=f"name some of {', '.join(map(repr, frame.columns))}, and leave feature_names out",
        )
    columns = {role: name or role for role, name in named.items() if name is not None or role in frame}
    known: dict[str, Any] = {role: frame[name] for role, name in columns.items()}
    if "amount" in known and not pd.api.types.is_numeric_dtype(known["amount"]):
        raise DataError(f"the amounts are {known['amount'].dtype}", fix="give them as numbers")
    known["time"] = _times(known["time"]) if "time" in known else pd.NaT
    if parts is None:
        texts = frame.select_dtypes(include=["object", "string", "category", "bool"]).columns
        parts = [name for name in texts if name not in columns.values() and 1 < frame[name].nunique() <= LEVELS]
    made = pd.DataFrame({**{name: frame[name] for name in parts if name not in known}, **known}, index=frame.index)
    return made.reset_index(drop=True), [str(name) for name in parts]


def _times(column: pd.Series[Any]) -> pd.Series[Any]:
    """Times in UTC, without a zone.

    Raises:
        DataError: They are numbers, whose beginning and unit nobody has said, or no times.
    """
    if column.dtype.kind in "iuf":
        raise DataError("the times are numbers", fix="give them as datetimes, or as texts such as 2026-03-01T12:00:00")
    try:
        return pd.to_datetime(column, utc=True).dt.tz_localize(None).dt.as_unit("us")
    except (TypeError, ValueError) as error:
        raise DataError(f"the times cannot be read: {error}", fix="give them as datetimes") from None
