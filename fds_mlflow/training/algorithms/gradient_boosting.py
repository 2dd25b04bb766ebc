"""LightGBM as a scorer: early stopping on validation, and the same data gives the same model."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.training.algorithms import boosting_params
from fds_mlflow.training.fitted import Curve, FittedScorer, check_features, numeric_features, predicting

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fds_mlflow.features.table import FeatureTable
    from fds_mlflow.training.split import Split

#: Small trees and a low rate, because a few hundred frauds are over-fitted fast; and no class weights: on the
#: handbook's data (three windows before the published one) weighting frauds fivefold took 0.012 off average
#: precision, ``is_unbalance`` 0.05 to 0.16, and both spoil the probabilities. Imbalance is handled by what is
#: watched (average precision) and by a threshold chosen for a false positive rate.
DEFAULTS: dict[str, object] = {
    "n_estimators": 1000,
    "learning_rate": 0.05,
    "num_leaves": 8,
    "min_child_samples": 50,
    "subsample": 1.0,
    "colsample_bytree": 1.0,
    "scale_pos_weight": 1.0,
    "early_stopping_rounds": 100,
}

_CURVE_POINTS = 200

#: Training figures are measured at every tenth iteration: sorting all training rows costs more than the trees.
_TRAIN_EVERY = 10

#: Cells of the training matrix per thread: below this, waiting for the other threads costs more than it saves.
_CELLS_PER_THREAD = 5_000_000


def fit(split: Split, params: Mapping[str, object], seed: int) -> FittedScorer:
    """Fit LightGBM on the training rows, stopped early by average precision on the validation rows.

    Categories are encoded as ordinals fitted on the training rows only; a category never seen there, like a
    missing one, scores as "missing". Numeric NaN is LightGBM's own business. Rows count by the inverse of the chance of
    their labels, in the loss and in what stops it.

    Args:
        split: Labelled parts.
        params: Any parameter of LightGBM by any of its names; ``monotone_constraints``, ``interaction_constraints`` and
            the like by features' names, or in the order of the features.
        seed: Seed of everything random.

    Returns:
        The scorer: a native Booster without categories, a scikit-learn pipeline with them.

    Raises:
        ConfigError: A parameter that is unknown, reserved or that LightGBM refuses.
        DataError: No labels, no features, or infinite values.
    """
    given = boosting_params.by_one_name(params)
    if not split.labelled:
        raise DataError(
            "LightGBM learns from labels and the table has none",
            fix="name the label column in the schema, or train an isolation_forest",
        )
    for name, part in split.parts.items():
        check_features(part, name)
    cells = len(split.train.frame) * len(split.train.features)
    threads = min(os.cpu_count() or 1, 1 + cells // _CELLS_PER_THREAD)
    effective = {**DEFAULTS, "n_jobs": threads, **given}
    names = _encoded_order(split.train)
    columns = boosting_params.Columns(split.train.features, names, split.train.categorical)
    settings, notes = boosting_params.for_matrix(effective, columns)
    encoder = _encoder(split.train)
    regressor, training_curves = _boost(split, settings, seed, encoder)
    booster = regressor.booster_
    trees = int(regressor.best_iteration_ or 0) or booster.current_iteration()  # no best one where nothing stops it
    gains = booster.feature_importance(importance_type="gain", iteration=trees)
    model, form = _model(regressor, encoder)
    return FittedScorer(
        algorithm="lightgbm",
        model=model,
        predict=predicting(model),
        params={
            **effective,
            "objective": "binary",
            "seed": seed,
            "best_iteration": trees,
        },
        curves=[*_curves(regressor.evals_result_["validation"]), *training_curves],
        importance={name: float(gain) for name, gain in zip(names, gains, strict=True)},
        importance_unit="total gain",
        trees=trees,
        notes=(*notes, *_without_stopping(effective, trees)),
        **form,
    )


def _never_stops(params: Mapping[str, object]) -> bool:
    """Later trees of DART change earlier ones, so no iteration can be gone back to."""
    return params.get("boosting_type") == "dart"


def _without_stopping(params: Mapping[str, object], trees: int) -> tuple[str, ...]:
    if _never_stops(params):
        return (f"DART cannot stop early: all {trees:,} trees are kept, as n_estimators says",)
    if trees != params["n_estimators"]:
        return ()
    return (f"validation was best at the last of {trees:,} trees: more n_estimators may be better",)


def _model(regressor: Any, encoder: Any) -> tuple[Any, dict[str, Any]]:
    """What is logged, a Booster or a pipeline, and how: its flavor, trusted types and packages."""
    packages = ("mlflow", "lightgbm", "numpy", "pandas", "scipy")
    if encoder is None:
        return regressor.booster_, {"flavor": "lightgbm", "trusted_types": (), "packages": packages}
    from sklearn.pipeline import Pipeline

    trusted = ("collections.OrderedDict", "lightgbm.basic.Booster", "lightgbm.sklearn.LGBMRegressor")
    form = {"flavor": "sklearn", "trusted_types": trusted, "packages": (*packages, "scikit-learn", "skops")}
    return Pipeline([("encode", encoder), ("trees", regressor)]), form


def _boost(split: Split, params: dict[str, object], seed: int, encoder: Any) -> tuple[Any, list[Curve]]:
    import lightgbm

    settings = dict(params)
    patience = settings.pop("early_stopping_rounds")
    for name, count in (("early_stopping_rounds", patience), ("n_estimators", settings["n_estimators"])):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ConfigError(f"{name} is {count!r}", fix="give a whole number of at least 1")
    least = settings.pop("early_stopping_min_delta", None) or 0.0
    # One thread count, one histogram layout, one seed: the same data gives the same text of the model.
    regressor = lightgbm.LGBMRegressor(
        objective="binary",
        random_state=seed,
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
        **settings,
    )
    training = _TrainingCurves()
    callbacks: list[Any] = [training]
    try:
        if not _never_stops(params):
            callbacks.append(lightgbm.early_stopping(patience, first_metric_only=True, verbose=False, min_delta=least))
        regressor.fit(
            _matrix(split.train, encoder),
            split.train.y,
            sample_weight=split.train.weight,
            **_held_out(regressor, _matrix(split.validation, encoder), split.validation.y),
            eval_sample_weight=None if split.validation.weight is None else [split.validation.weight],
            eval_names=["validation"],
            eval_metric=["average_precision", "binary_logloss"],
            # Inside a pipeline the trees get a matrix without names, and would warn at every prediction.
            feature_name="auto" if encoder is not None else _safe_names(split.train.features),
            categorical_feature=list(range(len(split.train.categorical))) if encoder is not None else [],
            callbacks=callbacks,
        )
    except (lightgbm.basic.LightGBMError, TypeError, ValueError) as error:
        said = re.sub(r" at \S+, line \d+ \.\s*", "", str(error))  # a place in LightGBM's source helps nobody
        raise ConfigError(f"LightGBM refused the parameters: {said}", fix="correct the parameter it names") from error
    return regressor, training.curves


def _held_out(regressor: Any, x: Any, y: Any) -> dict[str, Any]:
    """The arguments by which LightGBM takes the rows to stop by: since 4.7 it warns of the older name."""
    if "eval_X" in signature(regressor.fit).parameters:
        return {"eval_X": (x,), "eval_y": (y,)}
    return {"eval_set": [(x, y)]}


class _TrainingCurves:
    """LightGBM callback: the training rows' figures now and then, for the gap between them and validation's."""

    def __init__(self) -> None:
        self._points: dict[str, tuple[list[int], list[float]]] = {}

    def __call__(self, environment: Any) -> None:
        step = environment.iteration + 1
        if step != 1 and step % _TRAIN_EVERY:
            return
        for _, quantity, value, _ in environment.model.eval_train():
            steps, values = self._points.setdefault(quantity, ([], []))
            steps.append(step)
            values.append(float(value))

    @property
    def curves(self) -> list[Curve]:
        """One curve per quantity."""
        return [Curve(f"curve_train_{name}", *points) for name, points in self._points.items()]


def _encoder(table: FeatureTable) -> Any:
    """Categories to ordinals, first in the matrix; None where there are none."""
    if not table.categorical:
        return None
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OrdinalEncoder

    ordinal = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1, dtype=np.float64
    )
    encoder = ColumnTransformer(
        [
            ("categorical", ordinal, list(table.categorical)),
            ("numeric", "passthrough", numeric_features(table)),
        ]
    )
    # Fitting makes a matrix of all that it is given, and learns which values there are: one row of each will do.
    first = np.logical_or.reduce([~table.frame[name].duplicated() for name in table.categorical])
    return encoder.fit(table.x.iloc[np.flatnonzero(first)])


def _matrix(table: FeatureTable, encoder: Any) -> NDArray[np.float64]:
    return table.matrix(_numbers if encoder is None else encoder.transform)


def _numbers(frame: pd.DataFrame) -> NDArray[np.float64]:
    return frame.to_numpy(dtype=np.float64)


def _encoded_order(table: FeatureTable) -> list[str]:
    return [*table.categorical, *numeric_features(table)]


def _safe_names(names: list[str]) -> list[str]:
    """Names LightGBM accepts: it refuses JSON's own characters and white space."""
    safe = [re.sub(r"[^\w.\-]", "_", name) for name in names]
    return safe if len(set(safe)) == len(safe) else [f"{name}_{index}" for index, name in enumerate(safe)]


def _curves(results: Mapping[str, list[float]]) -> list[Curve]:
    """Every quantity on validation by iteration, thinned so that a long training stays quick to log."""
    curves = []
    for quantity, values in results.items():
        count = len(values)
        picked = np.unique(np.linspace(0, count - 1, min(count, _CURVE_POINTS)).round().astype(int))
        curves.append(
            Curve(
                name=f"curve_val_{quantity}",
                steps=[int(index) + 1 for index in picked],
                values=[float(values[index]) for index in picked],
            )
        )
    return curves
