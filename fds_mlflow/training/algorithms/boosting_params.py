"""LightGBM's parameters under any of their names: which may be set, by which name they are logged, what they mean here.

LightGBM itself lists its parameters and their aliases, so none that it has is unknown here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fds_mlflow.errors import ConfigError
from fds_mlflow.training.fitted import refuse_reserved
from fds_mlflow.training.parameters import entries, plain_value

_SEED = "give seed= (--seed) to the training instead"
_OWN = "leave it out: the same data then give the same model"
_OBJECTIVE = "leave it out: it belongs to another objective than a probability of fraud"
_COMMAND = "leave it out: it is for LightGBM's own command line, its files and its clusters"

#: By the name that is logged, what to do instead.
RESERVED = {
    "objective": "leave it out: the scorer contract needs a probability",
    "metric": "leave it out: early stopping watches average precision",
    "first_metric_only": "leave it out: early stopping watches average precision",
    "is_provide_training_metric": "leave it out: curves of the training rows are logged",
    "metric_freq": "leave it out: curves are logged",
    "verbosity": "leave it out: curves are logged",
    "importance_type": "leave it out: gain is logged",
    "saved_feature_importance_type": "leave it out: gain is logged",
    "class_weight": "use scale_pos_weight or is_unbalance",
    "categorical_feature": "name the columns under 'categorical' in the schema",
    **dict.fromkeys(("random_state", "bagging_seed", "feature_fraction_seed", "data_random_seed"), _SEED),
    **dict.fromkeys(("extra_seed", "drop_seed", "objective_seed"), _SEED),
    **dict.fromkeys(("deterministic", "force_row_wise", "force_col_wise"), _OWN),
    **dict.fromkeys(("num_class", "alpha", "fair_c", "poisson_max_delta_step", "tweedie_variance_power"), _OBJECTIVE),
    **dict.fromkeys(("lambdarank_truncation_level", "lambdarank_norm", "label_gain", "eval_at"), _OBJECTIVE),
    **dict.fromkeys(("lambdarank_position_bias_regularization", "bagging_by_query", "reg_sqrt"), _OBJECTIVE),
    **dict.fromkeys(("auc_mu_weights", "multi_error_top_k"), _OBJECTIVE),
    **dict.fromkeys(("task", "data", "valid", "config", "header", "parser_config_file"), _COMMAND),
    **dict.fromkeys(("label_column", "weight_column", "group_column", "ignore_column"), _COMMAND),
    **dict.fromkeys(("input_model", "output_model", "output_result", "convert_model"), _COMMAND),
    **dict.fromkeys(("convert_model_language", "save_binary", "snapshot_freq", "refit_decay_rate"), _COMMAND),
    **dict.fromkeys(("two_round", "pre_partition", "precise_float_parser", "tree_learner", "top_k"), _COMMAND),
    **dict.fromkeys(("machines", "machine_list_filename", "num_machines", "local_listen_port", "time_out"), _COMMAND),
    **dict.fromkeys(("predict_raw_score", "predict_leaf_index", "predict_contrib"), _COMMAND),
    **dict.fromkeys(("predict_disable_shape_check", "start_iteration_predict", "num_iteration_predict"), _COMMAND),
    **dict.fromkeys(("pred_early_stop", "pred_early_stop_freq", "pred_early_stop_margin"), _COMMAND),
}

#: Parameters of one value per feature, with the value of a feature that is not named.
_PER_FEATURE: dict[str, object] = {
    "monotone_constraints": 0,
    "feature_contri": 1.0,
    "cegb_penalty_feature_lazy": 0.0,
    "cegb_penalty_feature_coupled": 0.0,
    "max_bin_by_feature": 255,
}

#: Parameters that do nothing without another one, and values of it that make them do something.
_DEPENDENT: dict[str, tuple[str, tuple[object, ...]]] = {
    **dict.fromkeys(("drop_rate", "skip_drop", "max_drop", "uniform_drop"), ("boosting_type", ("dart",))),
    "xgboost_dart_mode": ("boosting_type", ("dart",)),
    **dict.fromkeys(("top_rate", "other_rate"), ("data_sample_strategy", ("goss",))),
    **dict.fromkeys(("monotone_penalty", "monotone_constraints_method"), ("monotone_constraints", ())),
    "linear_lambda": ("linear_tree", (True,)),
    **dict.fromkeys(("num_grad_quant_bins", "stochastic_rounding"), ("use_quantized_grad", (True,))),
    "quant_train_renew_leaf": ("use_quantized_grad", (True,)),
    **dict.fromkeys(("gpu_platform_id", "gpu_device_id", "gpu_use_dp"), ("device_type", ("gpu", "cuda"))),
    **dict.fromkeys(("gpu_device_id_list", "num_gpu"), ("device_type", ("gpu", "cuda"))),
}

_MONOTONE_METHODS = ("basic", "intermediate", "advanced")

_FILES = ("forcedsplits_filename", "forcedbins_filename")


@dataclass(frozen=True)
class Columns:
    """The features of a training.

    Attributes:
        features: Their names in the order of the table, in which people know them.
        matrix: The same names in the order of LightGBM's matrix: categories first.
        categorical: Those of them that are categorical.
    """

    features: Sequence[str]
    matrix: Sequence[str]
    categorical: Sequence[str]


@cache
def names() -> dict[str, str]:
    """Every name of every parameter, aliases included, with the one that is logged: scikit-learn's, else LightGBM's."""
    import lightgbm
    from lightgbm.basic import _ConfigAliases

    own = {*lightgbm.LGBMRegressor().get_params(), "early_stopping_rounds"}
    found = {name: name for name in own}
    for native, aliases in _ConfigAliases._get_all_param_aliases().items():
        logged = next((alias for alias in aliases if alias in own), native)
        found |= dict.fromkeys((native, *aliases), logged)
    return found


def by_one_name(params: Mapping[str, object]) -> dict[str, object]:
    """The parameters under the names that they are logged by, values read.

    Raises:
        ConfigError: One is unknown, reserved under whatever name, given twice, or no value at all.
    """
    made: dict[str, object] = {}
    said: dict[str, str] = {}
    for given, value in params.items():
        logged = names().get(given)
        if logged is None:
            near = difflib.get_close_matches(given, names(), n=1)
            listed = "see https://lightgbm.readthedocs.io/en/stable/Parameters.html for LightGBM's parameters"
            raise ConfigError(
                f"the parameter {given!r} is unknown", fix=f"did you mean {names()[near[0]]!r}?" if near else listed
            )
        refuse_reserved(given, RESERVED, logged)
        if logged in made:
            raise ConfigError(f"{said[logged]!r} and {given!r} are one parameter", fix="give it once")
        read = plain_value(given, value)
        made[logged] = int(read) if isinstance(read, float) and read.is_integer() else read
        said[logged] = given
    _refuse_idle(made)
    return made


def _refuse_idle(params: Mapping[str, object]) -> None:
    """Refuse what LightGBM would pass over in silence, or explain by a line of its source."""
    drawn = [
        name
        for name in ("subsample", "pos_bagging_fraction", "neg_bagging_fraction")
        if params.get(name, 1.0) not in (1, None)
    ]
    freq = params.get("subsample_freq", 0)
    if drawn and freq in (0, None):
        raise ConfigError(
            f"{drawn[0]} has no effect without subsample_freq",
            fix="say how often: subsample_freq=1 draws for every tree",
        )
    columns = params.get("colsample_bytree", 1.0) not in (1, None)
    if params.get("boosting_type") in ("rf", "random_forest") and not (drawn or columns):
        raise ConfigError(
            "boosting_type=rf needs rows or columns to be drawn for each tree",
            fix="add subsample=0.7 and subsample_freq=1, or colsample_bytree=0.7",
        )
    for name in params:
        other, values = _DEPENDENT.get(name, ("", ()))
        goss = other == "data_sample_strategy" and params.get("boosting_type") == "goss"
        if other and not goss and (params.get(other) not in values if values else not params.get(other)):
            wanted = f"{other}={' or '.join(map(str, values))}" if values else other
            raise ConfigError(f"{name} has no effect without {wanted}", fix=f"add {other}, or leave {name} out")
    if params.get("monotone_constraints_method", "basic") not in _MONOTONE_METHODS:
        raise ConfigError(
            f"monotone_constraints_method is {params['monotone_constraints_method']!r}",
            fix=f"choose one of {', '.join(_MONOTONE_METHODS)}",
        )
    for name in _FILES:
        path = params.get(name)
        if path and not Path(str(path)).is_file():
            raise ConfigError(f"{name} names {str(path)!r}, which is no file", fix="correct the path")


def for_matrix(params: Mapping[str, object], columns: Columns) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The parameters as LightGBM takes them for its matrix: what is said of features by name, by place.

    Args:
        params: By the names that are logged.
        columns: The features.

    Returns:
        The parameters, and notes on what they leave out.

    Raises:
        ConfigError: A feature that there is not, too few or too many values, a monotone category.
    """
    made: dict[str, Any] = dict(params)
    for name in _PER_FEATURE.keys() & made.keys():
        if made[name] is not None:
            made[name] = _by_place(name, made[name], columns)
    groups = made.get("interaction_constraints")
    if not groups:
        return made, ()
    places = _groups(groups, columns)
    made["interaction_constraints"] = places
    grouped = {place for group in places for place in group}
    alone = [name for place, name in enumerate(columns.matrix) if place not in grouped]
    unused = f"in no group of interaction_constraints, so no tree uses them: {', '.join(alone)}"
    return made, (unused,) if alone else ()


def _by_place(name: str, value: object, columns: Columns) -> list[Any]:
    """One value per column of the matrix, from a mapping by feature or a list in the order of the features."""
    by_name = f"by name, such as {name}={{{columns.features[0]!r}: 1}}".replace("'", '"')
    if isinstance(value, Mapping):
        for feature in value:
            _place(feature, columns, name)
        values = {feature: value.get(feature, _PER_FEATURE[name]) for feature in columns.features}
    else:
        listed = entries(value)
        if listed is None or len(listed) != len(columns.features):
            count = "no list" if listed is None else f"{len(listed)} values"
            raise ConfigError(
                f"{name} is {count} for {len(columns.features)} features",
                fix=f"give one each, in this order: {', '.join(columns.features)}; or {by_name}",
            )
        values = dict(zip(columns.features, listed, strict=True))
    for feature, each in values.items():
        if isinstance(each, bool) or not isinstance(each, int | float):
            raise ConfigError(f"{name} is {each!r} for {feature!r}, no number", fix=f"give numbers, {by_name}")
        if name == "monotone_constraints" and each not in (-1, 0, 1):
            raise ConfigError(f"{name} is {each!r} for {feature!r}", fix="give 1 (rising), -1 (falling) or 0")
        if name == "monotone_constraints" and each and feature in columns.categorical:
            raise ConfigError(
                f"{feature!r} is categorical, and its categories have no order", fix=f"leave it out of {name}"
            )
    return [values[feature] for feature in columns.matrix]


def _groups(value: object, columns: Columns) -> list[list[int]]:
    """Groups of features, by name or by their number in the order of the features, as places in the matrix."""
    listed = entries(value)
    groups = [entries(group) for group in listed] if listed is not None else []
    if not groups or any(not group for group in groups):
        raise ConfigError(
            f"interaction_constraints is {value!r}, not a list of groups of features",
            fix=f'write it like [["{columns.features[0]}", "{columns.features[-1]}"]]',
        )
    return [[_place(each, columns, "interaction_constraints") for each in group or ()] for group in groups]


def _place(feature: object, columns: Columns, parameter: str) -> int:
    if isinstance(feature, int) and not isinstance(feature, bool) and 0 <= feature < len(columns.features):
        feature = columns.features[feature]
    if feature in columns.matrix:
        return list(columns.matrix).index(str(feature))
    near = difflib.get_close_matches(str(feature), columns.features, n=1)
    known = f"the features are {', '.join(columns.features)}"
    raise ConfigError(
        f"{parameter} names {feature!r}, which is no feature", fix=f"did you mean {near[0]!r}?" if near else known
    )
