"""LightGBM as a scorer: early stopping on validation, and the same data gives the same model."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.training.fitted import Curve, FittedScorer, check_features, check_params, numeric_features, predicting

if TYPE_CHECKING:
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

#: Native LightGBM parameters without a name in the scikit-learn interface.
_NATIVE = {
    "scale_pos_weight",
    "is_unbalance",
    "max_bin",
    "max_delta_step",
    "min_data_in_bin",
    "path_smooth",
    "extra_trees",
    "cat_smooth",
    "cat_l2",
    "max_cat_threshold",
    "max_cat_to_onehot",
    "min_data_per_group",
    "feature_fraction_bynode",
    "boost_from_average",
    "drop_rate",
    "skip_drop",
    "max_drop",
    "top_rate",
    "other_rate",
}

_RESERVED = {
    "objective": "leave it out: the scorer contract needs a probability",
    "random_state": "give seed= (--seed) to the training instead",
    "importance_type": "leave it out: gain is logged",
    "class_weight": "use scale_pos_weight or is_unbalance",
    "metric": "leave it out: early stopping watches average precision",
}

_CURVE_POINTS = 200

#: Training figures are measured at every tenth iteration: sorting all training rows costs more than the trees.
_TRAIN_EVERY = 10

#: Cells of the training matrix per thread: below this, waiting for the other threads costs more than it saves.
_CELLS_PER_THREAD = 5_000_000


def fit(split: Split, params: Mapping[str, object], seed: int) -> FittedScorer:
    """Fit LightGBM on the training rows, stopped early by average precision on the validation rows.

    Categories are encoded as ordinals fitted on the training rows only; a category never seen there, like a
    missing one, scores as "missing". Numeric NaN is LightGBM's own business.

    Args:
        split: Labelled parts.
        params: Names of ``lightgbm.LGBMRegressor`` and native names in ``DEFAULTS`` or without an
            equivalent there, ``early_stopping_rounds`` included.
        seed: Seed of everything random.

    Returns:
        The scorer: a native Booster without categories, a scikit-learn pipeline with them.

    Raises:
        ConfigError: A parameter that is unknown, reserved or that LightGBM refuses.
        DataError: No labels, no features, or infinite values.
    """
    import lightgbm

    known = {*lightgbm.LGBMRegressor().get_params(), *_NATIVE, "early_stopping_rounds"}
    check_params(params, known, _RESERVED)
    if not split.labelled:
        raise DataError(
            "LightGBM learns from labels and the table has none",
            fix="name the label column in the schema, or train an isolation_forest",
        )
    for name, part in split.parts.items():
        check_features(part, name)
    cells = len(split.train.frame) * len(split.train.features)
    threads = min(os.cpu_count() or 1, 1 + cells // _CELLS_PER_THREAD)
    effective = {**DEFAULTS, "n_jobs": threads, **params}
    encoder = _encoder(split.train)
    regressor, training_curves = _boost(split, effective, seed, encoder)
    booster = regressor.booster_
    names = _encoded_order(split.train)
    gains = booster.feature_importance(importance_type="gain", iteration=regressor.best_iteration_)
    model, form = _model(regressor, encoder)
    return FittedScorer(
        algorithm="lightgbm",
        model=model,
        predict=predicting(model),
        params={
            **effective,
            "objective": "binary",
            "seed": seed,
            "best_iteration": regressor.best_iteration_,
        },
        curves=[*_curves(regressor.evals_result_["validation"]), *training_curves],
        importance={name: float(gain) for name, gain in zip(names, gains, strict=True)},
        importance_unit="total gain",
        trees=int(regressor.best_iteration_),
        **form,
    )


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
    if not isinstance(patience, int) or patience < 1:
        raise ConfigError(f"early_stopping_rounds is {patience!r}", fix="give a whole number of at least 1")
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
    try:
        regressor.fit(
            _matrix(split.train, encoder),
            split.train.y,
            eval_X=(_matrix(split.validation, encoder),),
            eval_y=(split.validation.y,),
            eval_names=["validation"],
            eval_metric=["average_precision", "binary_logloss"],
            # Inside a pipeline the trees get a matrix without names, and would warn at every prediction.
            feature_name="auto" if encoder is not None else _safe_names(split.train.features),
            categorical_feature=list(range(len(split.train.categorical))) if encoder is not None else [],
            callbacks=[training, lightgbm.early_stopping(patience, first_metric_only=True, verbose=False)],
        )
    except (lightgbm.basic.LightGBMError, TypeError, ValueError) as error:
        raise ConfigError(f"LightGBM refused the parameters: {error}", fix="correct the parameter it names") from error
    return regressor, training.curves


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
    return encoder.fit(table.x)


def _matrix(table: FeatureTable, encoder: Any) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = table.x.to_numpy(dtype=np.float64) if encoder is None else encoder.transform(table.x)
    return matrix


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
