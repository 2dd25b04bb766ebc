"""Isolation Forest as a scorer: decision values mapped monotonically to [0, 1], calibrated by labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fds_mlflow.errors import ConfigError
from fds_mlflow.training.fitted import Curve, FittedScorer, check_features, check_params, numeric_features, predicting
from fds_mlflow.training.parameters import plain_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fds_mlflow.features.table import FeatureTable
    from fds_mlflow.training.split import Split

#: On three windows of the handbook's data before the published one, 1,024 rows per tree gave an average precision
#: of 0.254 and a ROC AUC of 0.818, the paper's 256 rows 0.245 and 0.814, 64 rows 0.100 and 0.798.
DEFAULTS: dict[str, object] = {
    "n_estimators": 100,
    "max_samples": 1024,
    "max_features": 1.0,
    "bootstrap": False,
}

_RESERVED = {
    "random_state": "give seed= (--seed) to the training instead",
    "warm_start": "leave it out: the training grows the forest step by step itself",
    "verbose": "leave it out",
    "contamination": "leave it out: the threshold comes from the target false positive rate",
}

#: Types that skops asks about in a forest of scikit-learn trees.
_TRUSTED = ("numpy.dtype", "sklearn.tree._tree.Tree", "sklearn.utils._bunch.Bunch")

#: Share of plain rank in the calibrated score: it orders what calibration would tie.
_RANK_SHARE = 1e-4

_KNOTS = 512
_SAMPLE = 2_000
_SHUFFLED_TOGETHER = 8


def fit(split: Split, params: Mapping[str, object], seed: int) -> FittedScorer:
    """Fit the forest on the training rows; labels only calibrate its scores, on the validation rows.

    Numbers are imputed with the training median and standardised, categories one-hot encoded (rare and unseen
    ones together). The decision value d then becomes (1 - e) g(d) + e r(d): g the isotonic regression of the
    label on d over the validation rows (without labels: r alone), r the share of rows that look more normal
    and e = 0.0001. The map is strictly decreasing and piecewise linear over the whole range that d can take,
    so the ranking, and with it ROC AUC, is exactly the forest's own. In the calibration, and in what is measured along
    the way, rows count by the inverse of the chance of their labels; the forest takes its rows as they are.

    Sources: Liu, Ting, Zhou, *Isolation Forest*, ICDM 2008 (the forest); Zadrozny, Elkan, *Transforming
    Classifier Scores into Accurate Multiclass Probability Estimates*, KDD 2002 (isotonic calibration).

    Args:
        split: The parts, labelled or not.
        params: Names of ``sklearn.ensemble.IsolationForest``.
        seed: Seed of everything random.

    Returns:
        The scorer: a scikit-learn pipeline of standard classes.

    Raises:
        ConfigError: A parameter that is unknown, reserved or that scikit-learn refuses.
        DataError: No features, or infinite values.
    """
    from sklearn.ensemble import IsolationForest
    from sklearn.pipeline import Pipeline

    check_params(params, IsolationForest().get_params(), _RESERVED)
    given = {name: plain_value(name, value) for name, value in params.items()}
    for name, part in split.parts.items():
        check_features(part, name)
    effective, notes = _within({**DEFAULTS, **given}, len(split.train.frame), asked="max_samples" in given)
    prepare = _preparation(split.train)
    train_matrix = prepare.fit_transform(split.train.x)
    validation_matrix = prepare.transform(split.validation.x)
    forest, curve = _grow(effective, seed, train_matrix, validation_matrix, split)
    decision = forest.decision_function(validation_matrix if split.labelled else train_matrix)
    score = _score_map(decision, split.validation if split.labelled else None, float(forest.offset_))
    model = Pipeline([("prepare", prepare), ("forest", _as_transformer(forest)), ("score", score)])
    importance, unit = _importance(model, split.validation, labelled=split.labelled, seed=seed)
    return FittedScorer(
        algorithm="isolation_forest",
        model=model,
        flavor="sklearn",
        predict=predicting(model),
        params={**effective, "seed": seed},
        curves=[curve] if curve is not None else [],
        importance=importance,
        importance_unit=unit,
        trees=len(forest.estimators_),
        trusted_types=_TRUSTED,
        packages=("mlflow", "numpy", "pandas", "scipy", "scikit-learn", "skops"),
        notes=notes,
    )


def _within(params: dict[str, object], rows: int, *, asked: bool) -> tuple[dict[str, object], tuple[str, ...]]:
    """Rows per tree that are there: scikit-learn warns of more, and takes all."""
    most = params["max_samples"]
    if not isinstance(most, int) or most <= rows:
        return params, ()
    note = f"max_samples is {rows:,}, not {most:,}: there are no more training rows"
    return {**params, "max_samples": rows}, (note,) if asked else ()


def _preparation(table: FeatureTable) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numeric = Pipeline(
        [
            ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )
    steps: list[tuple[str, Any, list[str]]] = [("numeric", numeric, numeric_features(table))]
    if table.categorical:
        encode = OneHotEncoder(
            handle_unknown="infrequent_if_exist", min_frequency=0.001, max_categories=32, sparse_output=False
        )
        steps.append(("categorical", encode, list(table.categorical)))
    return ColumnTransformer(steps)


def _grow(
    params: dict[str, object],
    seed: int,
    train: NDArray[np.float64],
    validation: NDArray[np.float64],
    split: Split,
) -> tuple[Any, Curve | None]:
    """Grow the forest in ten steps; with labels, measure average precision on validation after each."""
    from sklearn.ensemble import IsolationForest
    from sklearn.metrics import average_precision_score

    total = params["n_estimators"]
    if not isinstance(total, int) or isinstance(total, bool) or total < 1:
        raise ConfigError(f"n_estimators is {total!r}", fix="give a whole number of at least 1")
    forest = IsolationForest(**{**params, "n_estimators": 1}, random_state=seed, warm_start=True)
    rows = _sample(split.validation, seed)
    counts = sorted({max(1, round(total * step / 10)) for step in range(1, 11)}) if split.labelled else [total]
    values: list[float] = []
    for count in counts:
        forest.set_params(n_estimators=count)
        try:
            forest.fit(train)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"the Isolation Forest refused the parameters: {error}", fix="correct the parameter it names"
            ) from error
        if split.labelled:
            decision = forest.decision_function(validation[rows])
            weight = _of(split.validation.weight, rows)
            values.append(float(average_precision_score(split.validation.y[rows], -decision, sample_weight=weight)))
    curve = Curve("curve_val_average_precision", counts, values) if values else None
    return forest.set_params(warm_start=False), curve


def _as_transformer(forest: Any) -> Any:
    """The fitted forest as a pipeline step whose output is its decision values, in standard classes only.

    A stacking classifier over one estimator that is already fitted does exactly that: its ``transform``
    returns the estimator's decision function. Its own final classifier is never asked.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import StackingClassifier

    stacking = StackingClassifier(
        [("forest", forest)], stack_method="decision_function", cv="prefit", final_estimator=DummyClassifier()
    )
    columns = forest.n_features_in_
    return stacking.fit(np.zeros((2, columns)), np.array([0, 1]))


def _score_map(decision: NDArray[np.float64], labelled: FeatureTable | None, offset: float) -> Any:
    """A fitted isotonic regression that holds the strictly decreasing map from decision value to score.

    The decision value is ``score_samples - offset`` with ``score_samples`` in [-1, 0] (Liu et al., section
    3.1, negated), so the outermost knots, at its ends, have the scores 1 and 0 and nothing is ever clipped.
    """
    from sklearn.isotonic import IsotonicRegression

    low, high = -1.0 - offset, 0.0 - offset
    inner = np.quantile(decision, np.linspace(0, 1, _KNOTS))
    calibration = None
    if labelled is not None:
        calibration = IsotonicRegression(increasing=False, y_min=0, y_max=1, out_of_bounds="clip")
        calibration.fit(decision, labelled.y, sample_weight=labelled.weight)
        inner = np.concatenate([inner, calibration.X_thresholds_])  # the few frauds sit between two quantiles
    inner = np.unique(inner)
    knots = np.concatenate([[low], inner[(inner > low) & (inner < high)], [high]])
    # Spaced by knot, not by row: equal quantiles have been merged, so these never tie.
    rank = np.linspace(1, 0, len(knots))
    scores = rank
    if calibration is not None:
        scores = (1 - _RANK_SHARE) * calibration.predict(knots) + _RANK_SHARE * rank
        scores[0], scores[-1] = 1.0, 0.0
    return IsotonicRegression(increasing=False, out_of_bounds="clip").fit(knots, scores)


def _sample(table: FeatureTable, seed: int) -> NDArray[np.intp]:
    """At most some thousand rows, every fraud among them: enough for a curve, quick on a million rows."""
    rows = len(table.frame)
    if rows <= _SAMPLE:
        return np.arange(rows)
    chosen = np.random.default_rng(seed).choice(rows, _SAMPLE, replace=False)
    if "label" in table.frame.columns:
        chosen = np.union1d(chosen, np.flatnonzero(table.y == 1))
    return np.sort(chosen)


def _of(weight: NDArray[np.float64] | None, rows: NDArray[np.intp]) -> NDArray[np.float64] | None:
    return None if weight is None else weight[rows]


def _importance(model: Any, table: FeatureTable, *, labelled: bool, seed: int) -> tuple[dict[str, float], str]:
    """Permutation importance: what is lost when one feature's values are shuffled among the rows.

    Source: Breiman, *Random Forests*, Machine Learning 45, 2001, section 10. With labels the loss is of
    average precision; without, it is the mean change of the score.
    """
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(seed)
    rows = _sample(table, seed)
    frame = table.x.iloc[rows].reset_index(drop=True)
    labels, weight = (table.y[rows], _of(table.weight, rows)) if labelled else (None, None)
    base = model.predict(frame)
    importance = {}
    # Several shuffled copies per call: scoring costs as much for one row as for some thousand.
    for start in range(0, len(table.features), _SHUFFLED_TOGETHER):
        names = table.features[start : start + _SHUFFLED_TOGETHER]
        copies = [frame.assign(**{name: frame[name].array[rng.permutation(len(frame))]}) for name in names]
        scores = model.predict(pd.concat(copies, ignore_index=True)).reshape(len(names), len(frame))
        for name, shuffled in zip(names, scores, strict=True):
            if labels is None:
                importance[name] = float(np.abs(shuffled - base).mean())
            else:
                kept, left = (average_precision_score(labels, one, sample_weight=weight) for one in (base, shuffled))
                importance[name] = float(kept - left)
    return importance, "loss of average precision when shuffled" if labelled else "mean change of score when shuffled"
