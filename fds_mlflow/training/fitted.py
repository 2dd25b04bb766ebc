"""The scorer contract: what every fitted model looks like, and how it is logged.

A logged model answers ``predict(frame of feature columns)`` with one float64 score in [0, 1] per row, in a
process that has MLflow and the model's own requirements but not this package.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from fds_mlflow.data.codes import FORM
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.features import declaration, profile
from fds_mlflow.registry.tags import CODES
from fds_mlflow.training import pipeline_flavor, reason_texts

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fds_mlflow.features.table import FeatureTable

_ROWS = 100_000  # scored at a time
_EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class Curve:
    """One quantity along the growth of the model.

    Attributes:
        name: Name of the metric it is logged as.
        steps: Trees or iterations so far, increasing.
        values: One value per step.
    """

    name: str
    steps: list[int]
    values: list[float]


@dataclass(frozen=True)
class FittedScorer:
    """A fitted model that obeys the scorer contract, with what is worth logging about it.

    Attributes:
        algorithm: ``lightgbm``, ``isolation_forest``, or the name of a team's own.
        model: A LightGBM ``Booster``, a scikit-learn ``Pipeline``, or what a team's own algorithm returned.
        flavor: The MLflow flavor it is logged with: ``lightgbm``, ``sklearn``, or a module's whole name.
        predict: Frame of feature columns to scores, shape (n,), float64 in [0, 1].
        params: Effective parameters, defaults included.
        curves: Validation figures along the growth of the model.
        importance: Importance per feature, in ``importance_unit``.
        importance_unit: What the importance counts, for the plot's axis.
        trees: Trees in the final model.
        trusted_types: Types beyond scikit-learn's own that skops is told to trust.
        packages: Distributions that scoring needs.
        notes: What the algorithm left out or did otherwise than asked, a sentence each.
        options: More arguments of the flavor's functions.
        score: How its answers become scores, as the version's tag has it; None where they are scores.
    """

    algorithm: str
    model: Any
    flavor: str
    predict: Callable[[pd.DataFrame], NDArray[np.float64]]
    params: dict[str, object]
    curves: list[Curve]
    importance: dict[str, float]
    importance_unit: str
    trees: int
    trusted_types: tuple[str, ...]
    packages: tuple[str, ...]
    notes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    score: str | None = None


def requirements(packages: Iterable[str]) -> list[str]:
    """Exact pins of the installed versions; given to MLflow so that it need not import the model to guess."""
    return [f"{name}=={metadata.version(name)}" for name in packages]


def numeric_features(table: FeatureTable) -> list[str]:
    """The features that are numbers, in order."""
    return [name for name in table.features if name not in table.categorical]


def predicting(model: Any) -> Callable[[pd.DataFrame], NDArray[np.float64]]:
    """The scores that a model's `predict` gives for a frame: shape (rows,), float64."""

    def predict(frame: pd.DataFrame) -> NDArray[np.float64]:
        # A model makes a matrix of its own of what it is given.
        parts = [model.predict(frame.iloc[first : first + _ROWS]) for first in range(0, len(frame), _ROWS)]
        return np.concatenate(parts) if parts else np.empty(0)

    return predict


def check_params(params: Mapping[str, object], known: Iterable[str], reserved: Mapping[str, str]) -> None:
    """Refuse parameter names that the algorithm does not have, or that this package sets itself.

    Args:
        params: What the user gave.
        known: Names the algorithm has.
        reserved: Names the user may not set, each with what to do instead.

    Raises:
        ConfigError: Names the first unknown or reserved parameter, and the nearest known one.
    """
    from difflib import get_close_matches

    allowed = sorted(set(known) - set(reserved))
    for name in params:
        refuse_reserved(name, reserved, name)
        if name not in allowed:
            near = get_close_matches(name, allowed, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(allowed)}"
            raise ConfigError(f"the parameter {name!r} is unknown", fix=hint)


def refuse_reserved(given: str, reserved: Mapping[str, str], name: str) -> None:
    """Refuse a parameter that this package sets itself.

    Args:
        given: What the user calls it.
        reserved: Names the user may not set, each with what to do instead.
        name: What it is called there.

    Raises:
        ConfigError: It is one of them.
    """
    if name in reserved:
        also = "" if given == name else f" ({name})"
        raise ConfigError(f"the parameter {given!r}{also} is set by the training itself", fix=reserved[name])


def check_features(table: FeatureTable, part: str) -> None:
    """Refuse what no estimator here takes: no features, infinite values.

    Raises:
        DataError: Names the column and how many of its values are infinite.
    """
    if not table.features:
        raise DataError(
            f"the {part} part has no feature", fix="name columns under 'numeric' or 'categorical' in the schema"
        )
    for name in numeric_features(table):
        infinite = int(np.isinf(table.frame[name].to_numpy(dtype=np.float64)).sum())
        if infinite:
            raise DataError(
                f"feature {name!r} holds {infinite:,} infinite values in {len(table.frame):,} {part} rows",
                fix="use NaN for what is not known",
            )


def log_scorer(
    scorer: FittedScorer, table: FeatureTable, tags: Mapping[str, str], seen: profile.Profile | None = None
) -> Any:
    """Log the model to the active run with signature, input example, pinned requirements and its reasons' codes.

    Nothing is pickled: a Booster is text, a pipeline is skops with its trusted types listed, and beside it lies its
    compiled scorer, which is all that this package reads of it. The features and the schema, where that is known, and
    the profile of the training rows are files beside it. The signature is the declaration, doubles and strings:
    inferred from a few rows it would depend on whether one holds a NaN.

    Args:
        scorer: The fitted model.
        table: The training part: its first rows are the input example.
        tags: Tags of the logged model.
        seen: The profile of its training; None for that of the table alone.

    Returns:
        MLflow's ``ModelInfo``.
    """
    info = _logged(scorer, table, tags)
    reason_texts.log(info.model_id, table)
    profile.log(info.model_id, profile.of(table) if seen is None else seen)
    if table.schema is not None:
        declaration.log(info.model_id, table.spec, table.schema)
    return info


def _logged(scorer: FittedScorer, table: FeatureTable, tags: Mapping[str, str]) -> Any:
    import mlflow

    options: dict[str, Any] = {
        "name": "model",
        "tags": dict(tags),
        "params": {key: str(value) for key, value in scorer.params.items()},
        **save_options(scorer, table),
    }
    if scorer.flavor == "lightgbm":
        return mlflow.lightgbm.log_model(scorer.model, **options)
    if scorer.flavor != "sklearn":
        return importlib.import_module(scorer.flavor).log_model(scorer.model, **options)
    return pipeline_flavor.log_model(scorer.model, skops_trusted_types=list(scorer.trusted_types), **options)


def save_options(scorer: FittedScorer, table: FeatureTable) -> dict[str, Any]:
    """What a flavor is told of a fitted model: its signature, input example and requirements."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    from fds_mlflow.training.datasets import input_schema

    return {
        "signature": ModelSignature(
            inputs=input_schema(table), outputs=Schema([TensorSpec(np.dtype(np.float64), (-1,))])
        ),
        "input_example": table.x.head(_EXAMPLE_ROWS).reset_index(drop=True),
        "pip_requirements": requirements(scorer.packages),
        **scorer.options,
        "metadata": {**(scorer.options.get("metadata") or {}), CODES: FORM, **declared_by(table)},
    }


def declared_by(table: FeatureTable) -> dict[str, str]:
    """The digest of what a version will declare that learns from this table, by its key; empty without a schema."""
    if table.schema is None:
        return {}
    return {declaration.KEY: declaration.digest(table.spec, table.schema)}


def undeclared(table: FeatureTable) -> tuple[str, ...]:
    """That a version will declare nothing, where that is so."""
    if table.schema is not None:
        return ()
    return (
        "the features come from a frame without a schema, so the version declares none: nobody can compute what it"
        " takes from raw transactions",
    )
