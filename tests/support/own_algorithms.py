"""Algorithms as a team writes them, by the contract of `fds_mlflow.training.algorithms.own`; and some that break it."""

from __future__ import annotations

from typing import Any

from fds_mlflow.training.algorithms.own import Learned


def logistic(  # noqa: PLR0917 - the contract
    train_x: Any, train_y: Any, validation_x: Any, validation_y: Any, params: Any, seed: int
) -> Any:
    """A scikit-learn pipeline over the numbers, returned as it is."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    numbers = list(train_x.select_dtypes("number").columns)
    prepare = make_column_transformer((SimpleImputer(), numbers))
    return make_pipeline(prepare, LogisticRegression(random_state=seed, **params)).fit(train_x, train_y)


def xgboost(  # noqa: PLR0917 - the contract
    train_x: Any, train_y: Any, validation_x: Any, validation_y: Any, params: Any, seed: int
) -> Learned:
    """XGBoost, stopped early on the validation rows; a Booster answers probabilities, and is kept as such."""
    import xgboost as xgb

    classifier = xgb.XGBClassifier(n_estimators=30, early_stopping_rounds=5, random_state=seed, n_jobs=1, **params)
    classifier.fit(train_x, train_y, eval_set=[(validation_x, validation_y)], verbose=False)
    importance = dict(zip(train_x.columns, classifier.feature_importances_, strict=True))
    trees = classifier.best_iteration + 1
    return Learned(classifier.get_booster()[:trees], importance=importance, importance_unit="gain", trees=trees)


def catboost(  # noqa: PLR0917 - the contract
    train_x: Any, train_y: Any, validation_x: Any, validation_y: Any, params: Any, seed: int
) -> Any:
    """CatBoost, with the categories as they come."""
    import catboost as cb

    categories = [name for name in train_x if name not in train_x.select_dtypes("number")]
    settings = {"iterations": 20, "verbose": 0, "allow_writing_files": False, "thread_count": 1, **params}
    classifier = cb.CatBoostClassifier(random_seed=seed, cat_features=categories, **settings)
    return classifier.fit(train_x, train_y, eval_set=(validation_x, validation_y))


def raises(*_: Any) -> Any:
    """One that fails."""
    raise ValueError("the learning rate is too high")


def returns_nothing(*_: Any) -> Any:
    """One that forgets to return its model."""


def margins(train_x: Any, train_y: Any, *_: Any) -> Any:
    """A classifier without probabilities."""
    from sklearn.svm import LinearSVC

    return LinearSVC().fit(train_x.fillna(0), train_y)


def unknown_flavor(train_x: Any, train_y: Any, *_: Any) -> Learned:
    """A flavor that is none."""
    return Learned(_logistic(train_x, train_y), flavor="json")


def wrong_option(train_x: Any, train_y: Any, *_: Any) -> Learned:
    """An option that the flavor does not know."""
    return Learned(_logistic(train_x, train_y), options={"serialization_format": "clay"})


def too_few(*_: Any) -> Learned:
    """Scores of another length."""
    return Learned("np.full(3, 0.5)", flavor=__name__)


def not_numbers(*_: Any) -> Learned:
    """Scores that are NaN."""
    return Learned("np.full(len(rows), np.nan)", flavor=__name__)


def too_high(*_: Any) -> Learned:
    """Scores beyond 1."""
    return Learned("np.full(len(rows), 1.5)", flavor=__name__)


def by_hand(*_: Any) -> Learned:
    """Scores of a flavor of the team's own."""
    return Learned("np.clip(rows['amount'] / 500, 0, 1)", flavor=__name__)


def few_arguments(train_x: Any, train_y: Any) -> None:
    """Another contract."""


number = 7


def _logistic(train_x: Any, train_y: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(train_x.select_dtypes("number").fillna(0), train_y)


def save_model(model: str, path: str, **options: Any) -> None:
    """This module as a flavor: an expression over `rows`, kept as code."""
    import tempfile
    from pathlib import Path

    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        mlflow.pyfunc.save_model(path, python_model=_code(Path(folder), model), **options)


def log_model(model: str, **options: Any) -> Any:
    """As `save_model`, into the active run."""
    import tempfile
    from pathlib import Path

    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        return mlflow.pyfunc.log_model(python_model=_code(Path(folder), model), **options)


def _code(folder: Any, expression: str) -> str:
    from tests.support.tiny_models import _CODE

    path = folder / "model.py"
    path.write_text(_CODE.format(expression=expression), encoding="utf-8")
    return str(path)


def weighed(  # noqa: PLR0917 - the contract
    train_x: Any,
    train_y: Any,
    validation_x: Any,
    validation_y: Any,
    params: Any,
    seed: int,
    train_weight: Any = None,
    validation_weight: Any = None,
) -> Any:
    """A scikit-learn tree that takes the weights of its rows, whose labels have a known chance."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.tree import DecisionTreeClassifier

    assert len(validation_weight if train_weight is not None else validation_x) == len(validation_x)
    tree = DecisionTreeClassifier(min_samples_leaf=100, random_state=seed, **params)
    return make_pipeline(SimpleImputer(), tree).fit(
        train_x, train_y, decisiontreeclassifier__sample_weight=train_weight
    )
