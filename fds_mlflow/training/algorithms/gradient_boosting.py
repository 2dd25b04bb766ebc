"""LightGBM as a scorer: grown as far as validation can tell, calibrated, and the same data gives the same model."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.training.algorithms import boosting_params, selection
from fds_mlflow.training.algorithms.calibration import sigmoid_map
from fds_mlflow.training.algorithms.growth import Curves, Patience
from fds_mlflow.training.algorithms.selection import Rows
from fds_mlflow.training.algorithms.tree_text import combined
from fds_mlflow.training.fitted import Curve, FittedScorer, check_features, numeric_features, predicting

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fds_mlflow.features.table import FeatureTable
    from fds_mlflow.training.split import Split

_MOST_TREES = 1000

#: A low rate, because a few hundred frauds are over-fitted fast; and no class weights: on the handbook's data (three
#: windows before the published one) weighting frauds fivefold took 0.012 off average precision, ``is_unbalance`` 0.05
#: to 0.16, and both spoil the probabilities. Imbalance is handled by what is watched (average precision) and by a
#: threshold chosen for a false positive rate.
DEFAULTS: dict[str, object] = {
    "n_estimators": _MOST_TREES,
    "learning_rate": 0.05,
    "num_leaves": 8,
    "min_child_samples": 50,
    "subsample": 1.0,
    "colsample_bytree": 1.0,
    "scale_pos_weight": 1.0,
    "early_stopping_rounds": 100,
}

#: Leaves a tree that are tried where nobody says how large trees are: small ones where frauds are alike, LightGBM's own
#: where rows differ in many ways, or a category has hundreds of levels.
LEAVES = (8, 31)

#: Rows a leaf: as in DEFAULTS, which did best on the handbook's three windows (average precision .695 against .687 with
#: LightGBM's 20), but no more than a tenth of the frauds, lest they cannot be told apart, and no fewer than this.
_FEWEST_ROWS = 20

#: Models that are averaged where frauds are few.
_FEW_FRAUDS_SEEDS = 3

#: What several seeds draw by, where nobody says it: without it all of them give one model.
_DRAWN: dict[str, object] = {"subsample": 0.8, "subsample_freq": 1, "colsample_bytree": 0.8}

#: Cells of the training matrix per thread: below this, waiting for the other threads costs more than it saves.
_CELLS_PER_THREAD = 5_000_000


def fit(
    split: Split, params: Mapping[str, object], seed: int, *, seeds: int | None = None, folded: bool = True
) -> FittedScorer:
    """Fit LightGBM on the training rows; the validation rows choose its size and calibrate it.

    Size and number of trees are chosen as :mod:`fds_mlflow.training.algorithms.selection` says; log-odds are then
    calibrated by :func:`~fds_mlflow.training.algorithms.calibration.sigmoid_map`, which is written into the leaves.
    Categories are encoded as ordinals fitted on the training rows only; a category never seen there, like a
    missing one, scores as "missing". Numeric NaN is LightGBM's own business. Rows count by the inverse of the chance of
    their labels, in the loss, in what chooses and in what calibrates.

    Args:
        split: Labelled parts.
        params: Any parameter of LightGBM by any of its names; ``monotone_constraints``, ``interaction_constraints`` and
            the like by features' names, or in the order of the features.
        seed: Seed of everything random.
        seeds: Models of so many seeds, which draw rows and columns, are averaged in log-odds; by default three where
            validation has few frauds, else one. The default ``n_estimators`` caps all of them together, though each
            may have the trees that are owed; one that is given is each model's own.
        folded: Look at earlier stretches of the training rows too, where validation has few frauds.

    Returns:
        The scorer: a native Booster without categories, a scikit-learn pipeline with them.

    Raises:
        ConfigError: A parameter that is unknown, reserved or that LightGBM refuses.
        DataError: No labels, no features, or infinite values.
    """
    given = boosting_params.by_one_name(params)
    _check(split)
    cells = len(split.train.frame) * len(split.train.features)
    threads = min(os.cpu_count() or 1, 1 + cells // _CELLS_PER_THREAD)
    seeds = _seeds(split, cells) if seeds is None else seeds
    own = {"min_child_samples": leaf_rows(split.train), **_drawn(seeds, given), "n_jobs": threads}
    effective = {**DEFAULTS, **own, **given}
    if "n_estimators" not in given:
        effective["n_estimators"] = max(_least(effective), _MOST_TREES // seeds)
    _check_counts(effective)
    train, names, encoder = split.train, _encoded_order(split.train), _encoder(split.train)
    columns = boosting_params.Columns(train.features, names, train.categorical)
    settings, notes = boosting_params.for_matrix(effective, columns)
    data = _Data(_rows(train, encoder), _rows(split.validation, encoder), train, encoder)
    sized = not {"num_leaves", "max_depth"}.isdisjoint(given)
    grown = _chosen(data, settings, seed, sized=sized, folded=folded)
    regressor = _averaged(grown, data, range(seed, seed + seeds))
    kept = {"num_leaves": grown.settings["num_leaves"], "objective": "binary"}
    gains = regressor.booster_.feature_importance(importance_type="gain") / seeds
    model, form = _model(regressor, encoder)
    return FittedScorer(
        algorithm="lightgbm",
        model=model,
        predict=predicting(model),
        params={**effective, **kept, "seed": seed, "seeds": seeds, "best_iteration": grown.trees},
        curves=grown.curves,
        importance={name: float(gain) for name, gain in zip(names, gains, strict=True)},
        importance_unit="total gain",
        trees=regressor.booster_.num_trees(),
        notes=(*notes, *_without_stopping(effective, grown.trees)),
        **form,
    )


def leaf_rows(train: FeatureTable) -> int:
    """Rows that a leaf holds at least where nobody says it, by the frauds to learn from."""
    return min(50, max(_FEWEST_ROWS, int(train.y.sum()) // 10))


def _check(split: Split) -> None:
    if not split.labelled:
        raise DataError(
            "LightGBM learns from labels and the table has none",
            fix="name the label column in the schema, or train an isolation_forest",
        )
    for name, part in split.parts.items():
        check_features(part, name)


@dataclass(frozen=True)
class _Data:
    """What a model is fitted on and judged by."""

    train: Rows
    validation: Rows
    table: FeatureTable
    encoder: Any


@dataclass(frozen=True)
class _Grown:
    """A fitted model and how many of its trees are kept."""

    regressor: Any
    settings: dict[str, Any]
    trees: int
    curves: list[Curve]


def _averaged(grown: _Grown, data: _Data, seeds: range) -> Any:
    """What has grown, averaged with what the further seeds make of the same settings, and calibrated."""
    boosters = [grown.regressor.booster_]
    for seed in seeds[1:]:
        again = _regressor({**grown.settings, "n_estimators": grown.trees}, seed)
        boosters.append(_fitted(again, data, data.train).booster_)
    texts = [booster.model_to_string(num_iteration=grown.trees) for booster in boosters]
    regressor = _with(grown.regressor, combined(texts))
    raw = next(selection.raw_scores(regressor.booster_, data.validation.x, [len(seeds) * grown.trees]))
    return _with(regressor, combined(texts, *sigmoid_map(data.validation.y, raw, data.validation.weight)))


def _drawn(seeds: int, given: Mapping[str, object]) -> dict[str, object]:
    """What each of several seeds draws; GOSS draws rows itself."""
    if seeds == 1:
        return {}
    goss = "goss" in (given.get("boosting_type"), given.get("data_sample_strategy"))
    return {name: value for name, value in _DRAWN.items() if not goss or name == "colsample_bytree"}


def _seeds(split: Split, cells: int) -> int:
    """How many models are averaged: where frauds are few, trees are hardly the same twice, and cost little."""
    return _FEW_FRAUDS_SEEDS if selection.few(int(split.validation.y.sum()), cells) else 1


def _check_counts(params: Mapping[str, object]) -> None:
    for name in ("early_stopping_rounds", "n_estimators"):
        count = params[name]
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ConfigError(f"{name} is {count!r}", fix="give a whole number of at least 1")


def _chosen(data: _Data, settings: dict[str, Any], seed: int, *, sized: bool, folded: bool) -> _Grown:
    """The best of the sizes and numbers of trees that are tried."""
    tried = [settings] if sized else [{**settings, "num_leaves": leaves} for leaves in LEAVES]
    time = data.table.frame["time"].to_numpy()
    few = folded and selection.few(int(data.validation.y.sum()), data.train.x.size)
    stretches = list(selection.stretches(data.train.y, time, seed)) if few else []
    candidates: list[tuple[_Grown, list[selection.Judged]]] = []
    for each in tried:
        regressor, curves = _grow(data, each, seed)
        trees = regressor.booster_.current_iteration()
        counts = [trees] if _never_stops(each) else selection.looked_at(_least(each), trees)
        found = [_judged(regressor, data.validation, counts)]
        for fitted, asked in stretches:
            earlier = _fitted(_regressor({**each, "n_estimators": counts[-1]}, seed), data, data.train.at(fitted))
            found.append(_judged(earlier, data.train.at(asked), counts))
        for place, count in enumerate(counts):
            candidates.append((_Grown(regressor, each, count, curves), [one[place] for one in found]))
    return candidates[selection.best([judged for _, judged in candidates])][0]


def _judged(regressor: Any, rows: Rows, counts: list[int]) -> list[selection.Judged]:
    """What the first so many trees are worth; a model that could not grow so far is judged by all that it has."""
    return [selection.judged(rows, raw) for raw in selection.raw_scores(regressor.booster_, rows.x, counts)]


def _least(settings: Mapping[str, Any]) -> int:
    rate = settings["learning_rate"]
    most = int(settings["n_estimators"])
    return selection.least_trees(rate, most) if isinstance(rate, int | float) and rate > 0 else most


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


def _grow(data: _Data, settings: dict[str, Any], seed: int) -> tuple[Any, list[Curve]]:
    """A model grown until validation has nothing more to say, with its curves."""
    curves = Curves()
    callbacks: list[Any] = [curves]
    if not _never_stops(settings):
        least = settings.get("early_stopping_min_delta") or 0.0
        callbacks.append(Patience(settings["early_stopping_rounds"], least, _least(settings)))
    regressor = _fitted(_regressor(settings, seed), data, data.train, callbacks)
    return regressor, [*curves.on_validation(regressor.evals_result_["validation"]), *curves.on_training]


def _regressor(settings: Mapping[str, Any], seed: int) -> Any:
    import lightgbm

    own = {name: value for name, value in settings.items() if not name.startswith("early_stopping")}
    # One thread count, one histogram layout, one seed: the same data gives the same text of the model.
    return lightgbm.LGBMRegressor(
        objective="binary", random_state=seed, deterministic=True, force_row_wise=True, verbose=-1, **own
    )


def _fitted(regressor: Any, data: _Data, rows: Rows, callbacks: list[Any] | None = None) -> Any:
    """The model fitted on rows; with callbacks it is watched on validation."""
    import lightgbm

    categorical = data.table.categorical if data.encoder is not None else ()
    watched: dict[str, Any] = {}
    if callbacks is not None:
        held = data.validation
        watched = {
            **_held_out(regressor, held.x, held.y),
            "eval_sample_weight": None if held.weight is None else [held.weight],
            "eval_names": ["validation"],
            "eval_metric": ["average_precision", "binary_logloss"],
            "callbacks": callbacks,
        }
    try:
        return regressor.fit(
            rows.x,
            rows.y,
            sample_weight=rows.weight,
            # Inside a pipeline the trees get a matrix without names, and would warn at every prediction.
            feature_name="auto" if data.encoder is not None else _safe_names(data.table.features),
            categorical_feature=list(range(len(categorical))),
            **watched,
        )
    except (lightgbm.basic.LightGBMError, TypeError, ValueError) as error:
        said = re.sub(r" at \S+, line \d+ \.\s*", "", str(error))  # a place in LightGBM's source helps nobody
        raise ConfigError(f"LightGBM refused the parameters: {said}", fix="correct the parameter it names") from error


def _with(regressor: Any, text: str) -> Any:
    """The model with other trees, as LightGBM writes them."""
    import lightgbm

    booster = lightgbm.Booster(model_str=text)
    regressor._Booster, regressor._best_iteration = booster, booster.num_trees()
    return regressor


def _held_out(regressor: Any, x: Any, y: Any) -> dict[str, Any]:
    """The arguments by which LightGBM takes the rows to look at: since 4.7 it warns of the older name."""
    if "eval_X" in signature(regressor.fit).parameters:
        return {"eval_X": (x,), "eval_y": (y,)}
    return {"eval_set": [(x, y)]}


def _rows(table: FeatureTable, encoder: Any) -> Rows:
    return Rows(_matrix(table, encoder), table.y, table.weight)


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
