"""A team's own algorithm: it fits a model and says which MLflow flavor keeps it; everything else is done here.

The contract is `Fit`: a function named as `package.module:function`. Where the schema has a `label_propensity` it is
also given `train_weight` and `validation_weight`, float64, one per row, by name. What it returns is saved by its flavor
and loaded again before it is measured, so that the figures are those of what will be served.
"""

from __future__ import annotations

import importlib
import inspect
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fds_mlflow.errors import ConfigError, DataError, FdsError
from fds_mlflow.scoring.contract import checked
from fds_mlflow.scoring.finding import find
from fds_mlflow.scoring.output import Output, scoring
from fds_mlflow.training.fitted import Curve, FittedScorer, check_features, save_options

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fds_mlflow.training.split import Split

_CONTRACT = "fit(train_x, train_y, validation_x, validation_y, params, seed)"
_LIBRARIES = ("sklearn", "lightgbm", "xgboost", "catboost")


class Fit(Protocol):
    """What a team's algorithm is: a function of six arguments."""

    def __call__(  # noqa: PLR0917 - a function that anybody may write, with names of its own
        self,
        train_x: pd.DataFrame,
        train_y: NDArray[np.int8] | None,
        validation_x: pd.DataFrame,
        validation_y: NDArray[np.int8] | None,
        params: Mapping[str, object],
        seed: int,
    ) -> Any:
        """Fit a model.

        Args:
            train_x: Features of the training rows: doubles with NaN for gaps, and text for the categories.
            train_y: Their labels, 1 = fraud; None where the data have none.
            validation_x: Features of the rows to stop and to calibrate on.
            validation_y: Their labels.
            params: As they were given by `--param` or `params=`.
            seed: Seed of everything random: the same data and seed must give the same model.

        Returns:
            A fitted model of scikit-learn, LightGBM, XGBoost or CatBoost, or a `Learned`. Its predict_proba of two
            classes, or what MLflow's pyfunc answers for it, are scores in [0, 1].
        """
        ...


@dataclass(frozen=True)
class Learned:
    """A fitted model with what is worth logging about it.

    Attributes:
        model: The model, as the flavor's `log_model` takes it.
        flavor: Module with `save_model` and `log_model`: one of MLflow's by its short name, such as `xgboost`, or any
            by its whole name; "" for that of the model's own library.
        params: Effective parameters; empty for those that were given.
        importance: Importance by feature; empty for the model's own `feature_importances_`, where it has any.
        importance_unit: What it counts.
        trees: Trees, where it has any.
        curves: Figures along its growth.
        packages: Distributions that loading it needs; empty for MLflow, NumPy, pandas and the model's own library.
        options: More arguments of the flavor's `save_model` and `log_model`.
        notes: What was done otherwise than asked, a sentence each.
    """

    model: Any
    flavor: str = ""
    params: Mapping[str, object] = field(default_factory=dict)
    importance: Mapping[str, float] = field(default_factory=dict)
    importance_unit: str = "importance"
    trees: int = 0
    curves: Sequence[Curve] = ()
    packages: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def named(algorithm: str) -> bool:
    """Whether the name of an algorithm is one of a team's own."""
    return ":" in algorithm


def source_of(algorithm: str) -> str:
    """The text of the module that a function of a team's own is in; empty where it has none.

    Raises:
        ConfigError: As for `function_of`.
    """
    try:
        module = inspect.getmodule(function_of(algorithm))
        return "" if module is None else inspect.getsource(module)
    except (OSError, TypeError):
        return ""


def function_of(algorithm: str) -> Fit:
    """The function that `package.module:function` names.

    Raises:
        ConfigError: There is none of that name, or it does not take what the contract says.
    """
    place, _, name = algorithm.partition(":")
    if not all(part.isidentifier() for part in place.split(".")) or not name.isidentifier():
        raise ConfigError(
            f"{algorithm!r} names no function", fix="write package.module:function, such as acme.models:fit"
        )
    try:
        module = importlib.import_module(place)
    except Exception as error:  # a team's module may raise anything while it is imported
        raise ConfigError(
            f"the module {place} of the algorithm cannot be imported: {type(error).__name__}: {error}",
            fix="install its package, or run where it lies; `python -c 'import " + place + "'` shows the whole trace",
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        near = get_close_matches(name, [one for one, value in vars(module).items() if callable(value)], n=1)
        what = "has no function" if found is None else "has something that is no function under the name"
        raise ConfigError(
            f"the module {place} {what} {name!r}", fix=f"did you mean {near[0]!r}?" if near else f"write {_CONTRACT}"
        )
    try:
        inspect.signature(found).bind(*range(6))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{algorithm} does not take what it is given: {error}", fix=f"write {_CONTRACT}") from None
    function: Fit = found
    return function


def fit(algorithm: str, split: Split, params: Mapping[str, object], seed: int) -> FittedScorer:
    """Fit by a team's own algorithm.

    Args:
        algorithm: `package.module:function`.
        split: The parts.
        params: Parameters, as they were given.
        seed: Seed of everything random.

    Raises:
        ConfigError: The function breaks the contract, or raises.
        DataError: No features, or infinite values.
    """
    function = function_of(algorithm)
    for name, part in split.parts.items():
        check_features(part, name)
    train, validation = split.train, split.validation
    labels = (train.y, validation.y) if split.labelled else (None, None)
    weights = _weights(algorithm, function, split)
    try:
        made = function(train.x.copy(), labels[0], validation.x.copy(), labels[1], dict(params), seed, **weights)
    except FdsError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the algorithm {algorithm} failed: {type(error).__name__}: {str(error)[:500]}",
            fix="correct its code, its parameters (`--param`) or the data that it learns from",
        ) from error
    learned = made if isinstance(made, Learned) else Learned(made)
    flavor = _flavor(algorithm, learned)
    packages = tuple(learned.packages) or _packages(learned.model)
    scorer = FittedScorer(
        algorithm=algorithm,
        model=learned.model,
        flavor=flavor,
        predict=lambda _frame: np.empty(0),
        params={**(learned.params or params), "seed": seed},
        curves=list(learned.curves),
        importance=_importance(learned, train.features),
        importance_unit=learned.importance_unit,
        trees=learned.trees,
        trusted_types=(),
        packages=packages,
        notes=tuple(learned.notes),
        options={**_plainly(flavor, learned), **learned.options},
    )
    return _measured(scorer, split)


def _weights(algorithm: str, function: Fit, split: Split) -> dict[str, Any]:
    """The weights of both parts, by name; none where every label came by itself.

    Raises:
        ConfigError: The function takes none.
    """
    given = {"train_weight": split.train.weight, "validation_weight": split.validation.weight}
    if split.train.weight is None:
        return {}
    try:
        inspect.signature(function).bind(*range(6), **given)
    except TypeError:
        raise ConfigError(
            f"{algorithm} takes no weights, and the labels of {split.train.source} did not all come by themselves",
            fix="have it take train_weight and validation_weight too, or leave 'label_propensity' out of the schema",
        ) from None
    return given


def _measured(scorer: FittedScorer, split: Split) -> FittedScorer:
    """The same scorer, asked as it will be once its flavor has saved it.

    Raises:
        ConfigError: The flavor does not save or load it, or it answers no scores.
    """
    import mlflow

    with tempfile.TemporaryDirectory() as place:
        folder = str(Path(place) / "model")
        try:
            importlib.import_module(scorer.flavor).save_model(
                scorer.model, path=folder, **save_options(scorer, split.train)
            )
            loaded = mlflow.pyfunc.load_model(folder)
        except Exception as error:
            raise ConfigError(
                f"{scorer.flavor} does not save and load what {scorer.algorithm} returned: {type(error).__name__}:"
                f" {str(error)[:500]}",
                fix="return Learned(model, flavor=...) with the flavor of the model's library and the options it needs",
            ) from error
    try:
        found = find(loaded, split.validation.x, 1)
    except FdsError as error:
        raise ConfigError(f"what {scorer.algorithm} returned gives no scores: {error.what}", fix=error.fix) from None
    tag = None if found.output == Output() else found.output.to_tag()
    predict = _checked(scorer.algorithm, scoring(loaded, tag).predict)
    return replace(scorer, predict=predict, score=tag, notes=(*scorer.notes, *found.warnings))


def _checked(algorithm: str, predict: Callable[[pd.DataFrame], Any]) -> Callable[[pd.DataFrame], NDArray[np.float64]]:
    def scores(frame: pd.DataFrame) -> NDArray[np.float64]:
        try:
            return checked(0, predict(frame), len(frame))
        except DataError as error:
            what = error.what.removeprefix("version 0 ")
            raise ConfigError(
                f"the model of {algorithm} {what}", fix="have it answer one score in [0, 1] for every row"
            ) from None

    return scores


def _importance(learned: Learned, features: Sequence[str]) -> dict[str, float]:
    known = getattr(learned.model, "feature_importances_", ())
    found = learned.importance or (dict(zip(features, known, strict=True)) if len(known) == len(features) else {})
    return {str(name): float(value) for name, value in found.items()}


def _flavor(algorithm: str, learned: Learned) -> str:
    """The whole name of the module that saves a model.

    Raises:
        ConfigError: There is none, or it saves nothing.
    """
    library = type(learned.model).__module__.partition(".")[0]
    if not learned.flavor and library not in _LIBRARIES:
        raise ConfigError(
            f"{algorithm} returned a {type(learned.model).__name__}, whose MLflow flavor is not known",
            fix=f"return a fitted model of {', '.join(_LIBRARIES)}, or Learned(model, flavor=...)",
        )
    name = learned.flavor or library
    for place in (name,) if "." in name else (f"mlflow.{name}", name):
        try:
            module = importlib.import_module(place)
        except ImportError:
            continue
        if callable(getattr(module, "save_model", None)) and callable(getattr(module, "log_model", None)):
            return place
    raise ConfigError(
        f"the flavor {name!r} of {algorithm} is no module with save_model and log_model",
        fix="name one of MLflow's, such as xgboost, or a module of yours by its whole name",
    )


def _plainly(flavor: str, learned: Learned) -> dict[str, Any]:
    """How scikit-learn's flavor saves a model without pickle: known libraries' types are trusted, a team's are not."""
    if flavor != "mlflow.sklearn" or "serialization_format" in learned.options:
        return {}
    from skops.io import dumps, get_untrusted_types

    try:
        types = get_untrusted_types(data=dumps(learned.model))
    except Exception:  # what skops does not take, the flavor says better
        return {}
    trusted = [one for one in types if one.partition(".")[0] in (*_LIBRARIES, "numpy", "scipy", "collections")]
    return {"serialization_format": "skops", "skops_trusted_types": trusted}


def _packages(model: Any) -> tuple[str, ...]:
    """Distributions that loading a model needs: MLflow's, and that of its library."""
    library = type(model).__module__.partition(".")[0]
    own = metadata.packages_distributions().get(library, [])
    more = ["scipy", "scikit-learn", "skops"] if library == "sklearn" else list(own)[:1]
    return ("mlflow", "numpy", "pandas", *more)
