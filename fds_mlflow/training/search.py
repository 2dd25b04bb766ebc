"""Look for better parameters within a budget of time: pruned, resumable, every try a child run. Needs Optuna.

What is tried is judged on stretches of the training and validation rows that come after those it learned from; the test
rows are never looked at. The first tries are the defaults, so what is found is no worse there than not to search.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fds_mlflow.core.text.checks import MOST_SEED
from fds_mlflow.errors import ConfigError, DataError, FdsError
from fds_mlflow.runtime.clock import Clock, SystemClock
from fds_mlflow.training.algorithms import gradient_boosting, isolation_forest, selection
from fds_mlflow.training.split import Split

log = logging.getLogger(__name__)

_FIT: dict[str, Callable[[Split, Mapping[str, object], int], Any]] = {
    "lightgbm": partial(gradient_boosting.fit, seeds=1, folded=False),
    "isolation_forest": isolation_forest.fit,
}

#: By algorithm and parameter: from, to, and whether the logarithm is drawn evenly.
_SPACE: dict[str, dict[str, tuple[float, float, bool]]] = {
    "lightgbm": {
        "num_leaves": (4, 128, True),
        "min_child_samples": (5, 200, True),
        "learning_rate": (0.02, 0.15, True),
        "colsample_bytree": (0.4, 1.0, False),
        "reg_lambda": (1e-3, 30.0, True),
        "cat_smooth": (1.0, 100.0, True),
    },
    "isolation_forest": {"max_samples": (64, 4096, True), "max_features": (0.3, 1.0, False)},
}
_WHOLE = {"num_leaves", "min_child_samples", "max_samples"}

#: Ends of what is learned from and of what is asked about, as shares of the training rows; validation comes last.
_STRETCHES = ((0.6, 0.8), (0.8, 1.0))

#: Tries that may fail in a row before any could be finished: what is given, not what is tried, is at fault.
_FAILURES = 3

_SPENT, _STATE = "seconds", "fds.search.state"


@dataclass(frozen=True)
class Search:
    """How long to look for better parameters, and where what was tried is kept.

    Attributes:
        budget: Time for all tries together, those of a search that was stopped and goes on included. At least one try
            is finished.
        storage: SQLite file, or SQLAlchemy URL of a database of its own; the same data, features, seed and parameters
            go on where they stopped, in one process at a time. None for `fds-search.db` beside the tracking store where
            that is a SQLite file, else in the working directory.
        trials: So many tries at most; None for as many as the budget allows.
        progress: Is told the share of the budget that is spent, from 0 to 1.
        clock: Tells how long a try took.
    """

    budget: timedelta
    storage: str | Path | None = None
    trials: int | None = None
    progress: Callable[[float], None] | None = None
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        if self.budget <= timedelta(0) or (self.trials is not None and self.trials < 1):
            raise ConfigError("a search of no time or no tries finds nothing", fix="give it time, such as 10m")


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        params: The best parameters, those that were given among them.
        average_precision: Theirs, over all stretches.
        tries: Tries so far: finished, pruned or failed.
        note: One sentence for people.
    """

    params: dict[str, object]
    average_precision: float
    tries: int
    note: str


def search(split: Split, algorithm: str, params: Mapping[str, object], seed: int, how: Search) -> Found:
    """Look for better parameters in an active MLflow run; each try becomes a child run of it.

    Args:
        split: Labelled parts; training and validation are used.
        algorithm: `lightgbm` or `isolation_forest`.
        params: Parameters that stay as they are.
        seed: Seed of everything random. What is found depends on how many tries the budget allows, too.
        how: Budget and storage.

    Raises:
        ConfigError: An algorithm of one's own, nothing left to look for, a parameter that is refused, a storage that
            does not open, no Optuna.
        DataError: No labels.
    """
    optuna = _optuna()
    space = _space(split, algorithm, params)
    stretches = _stretches(split, seed)
    study = _study(optuna, how, _name(split, algorithm, params, seed), seed)
    failed: list[FdsError] = []
    for first in _first(split, algorithm):
        wanted = {name: first[name] for name in space}
        if wanted not in _known(study):  # or it was cut short, and is tried again
            study.enqueue_trial(wanted)

    def attempt(trial: Any) -> float:
        made = {**params, **{name: _suggest(trial, name, *bounds) for name, bounds in space.items()}}
        try:
            return _tried(trial, made, how.clock, [partial(_judged, algorithm, each, seed=seed) for each in stretches])
        except (ConfigError, DataError) as error:
            failed.append(error)
            raise

    while not _over(study, how):
        study.optimize(attempt, n_trials=1, catch=(ConfigError, DataError))
        if len(failed) >= _FAILURES and not _finished(study):
            raise failed[0]
        if how.progress is not None:
            how.progress(min(1.0, _spent(study) / how.budget.total_seconds()))
    best = study.best_trial
    note = f"parameters are the best of {len(study.trials)} tried: average precision {best.value:.3f} on earlier rows"
    found = Found({**params, **best.params}, float(best.value), len(study.trials), note)
    _log(study, found)
    return found


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "a search needs Optuna, which is not installed", fix="pip install 'fds-mlflow[search]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _space(split: Split, algorithm: str, params: Mapping[str, object]) -> dict[str, tuple[float, float, bool]]:
    if algorithm not in _SPACE:
        raise ConfigError(
            f"nothing is known of what {algorithm} could be tried with",
            fix="search for its parameters in its own code, or train by lightgbm or isolation_forest",
        )
    if not split.labelled:
        raise DataError("a search needs labels to judge by", fix="name the label column in the schema, or leave it out")
    if algorithm == "lightgbm":
        from fds_mlflow.training.algorithms.boosting_params import by_one_name

        params = by_one_name(params)
    left = {name: bounds for name, bounds in _SPACE[algorithm].items() if name not in params}
    if not split.train.categorical:
        left.pop("cat_smooth", None)
    if not left:
        raise ConfigError("every parameter is given, so there is nothing to search", fix="leave some --param out")
    return left


def _first(split: Split, algorithm: str) -> list[dict[str, float]]:
    """What is tried first: the defaults, as near as the space has them."""
    if algorithm == "isolation_forest":
        return [{"max_samples": 1024, "max_features": 1.0}]
    rest = {"learning_rate": 0.05, "colsample_bytree": 1.0, "reg_lambda": 1e-3, "cat_smooth": 10.0}
    rows = gradient_boosting.leaf_rows(split.train)
    return [{"num_leaves": leaves, "min_child_samples": rows, **rest} for leaves in gradient_boosting.LEAVES]


def _suggest(trial: Any, name: str, low: float, high: float, log_scale: bool) -> object:
    if name in _WHOLE:
        return trial.suggest_int(name, int(low), int(high), log=log_scale)
    return trial.suggest_float(name, low, high, log=log_scale)


def _stretches(split: Split, seed: int) -> list[Split]:
    """What to learn from and what to ask about, in the order of time, or of the seed where there is none."""
    train, last = split.train, Split(split.train, split.validation, split.validation)
    masks = selection.stretches(train.y, train.frame["time"].to_numpy(), seed, _STRETCHES)
    parts = [(train.where(known), train.where(asked)) for known, asked in masks]
    return [*(Split(known, asked, asked) for known, asked in parts), last]


def _name(split: Split, algorithm: str, params: Mapping[str, object], seed: int) -> str:
    """A name that is the same exactly where the same is searched."""
    told = [algorithm, seed, split.train.digest, split.train.features, split.facts, _SPACE[algorithm]]
    text = json.dumps([*told, dict(params)], sort_keys=True, default=str)
    return f"{algorithm}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _study(optuna: Any, how: Search, name: str, seed: int) -> Any:
    url = _url(how.storage)
    try:
        storage = optuna.storages.RDBStorage(url)
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        )
    except Exception as error:  # whatever a database and its driver raise
        raise ConfigError(
            f"the search's storage {url} does not open: {type(error).__name__}: {str(error)[:300]}",
            fix="give a SQLite file, or the URL of a database of its own, by --search-storage",
        ) from None
    study.sampler = optuna.samplers.TPESampler(seed=(seed + len(study.trials)) % (MOST_SEED + 1))
    for trial in study.trials:
        if trial.state.name == "RUNNING":  # its process was killed
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _url(storage: str | Path | None) -> str:
    import mlflow
    from sqlalchemy import URL, make_url

    if storage is None:
        address = str(mlflow.get_tracking_uri())
        beside = Path(make_url(address).database or "").parent if address.startswith("sqlite:///") else Path()
        storage = beside / "fds-search.db"
    text = str(storage)
    return text if "://" in text else URL.create("sqlite", database=text).render_as_string(hide_password=False)


def _known(study: Any) -> list[dict[str, Any]]:
    """Parameters that were tried to the end, or wait to be."""
    return [
        trial.system_attrs.get("fixed_params", {}) if trial.state.name == "WAITING" else trial.params
        for trial in study.trials
        if trial.state.name in ("COMPLETE", "PRUNED", "WAITING")
    ]


def _spent(study: Any) -> float:
    return float(sum(trial.user_attrs.get(_SPENT, 0.0) for trial in study.trials))


def _over(study: Any, how: Search) -> bool:
    done = [trial for trial in study.trials if trial.state.is_finished()]
    enough = how.trials is not None and len(done) >= how.trials
    return _finished(study) and (enough or _spent(study) >= how.budget.total_seconds())


def _finished(study: Any) -> bool:
    return any(trial.state.name == "COMPLETE" for trial in study.trials)


def _tried(
    trial: Any,
    params: Mapping[str, object],
    clock: Clock,
    stretches: Sequence[Callable[[Mapping[str, object]], tuple[float, float]]],
) -> float:
    """Average precision over the stretches; given up once it lies behind the median of the others.

    Raises:
        TrialPruned: It was given up.
    """
    import mlflow
    from optuna import TrialPruned

    began = clock.monotonic()
    found: list[tuple[float, float]] = []
    mean, given_up = 0.0, False
    with mlflow.start_run(run_name=f"try {trial.number + 1}", nested=True):
        mlflow.log_params(dict(params))
        try:
            while not given_up and len(found) < len(stretches):
                found.append(stretches[len(found)](params))
                figures, frauds = zip(*found, strict=True)
                mean = float(np.average(figures, weights=frauds))
                mlflow.log_metric("average_precision", mean, step=len(found))
                trial.report(mean, len(found))
                given_up = len(found) < len(stretches) and trial.should_prune()
        finally:
            trial.set_user_attr(_SPENT, clock.monotonic() - began)
        mlflow.set_tag(_STATE, "given up" if given_up else "finished")
    if given_up:
        raise TrialPruned
    return mean


def _judged(algorithm: str, stretch: Split, params: Mapping[str, object], *, seed: int) -> tuple[float, float]:
    """Average precision on what comes after, and the frauds that it rests on."""
    from sklearn.metrics import average_precision_score

    part = stretch.test
    scores = _FIT[algorithm](stretch, params, seed).predict(part.x)
    return float(average_precision_score(part.y, scores, sample_weight=part.weight)), float(part.y.sum())


def _log(study: Any, found: Found) -> None:
    import mlflow

    rows = [
        {"try": trial.number + 1, "state": trial.state.name.lower(), "value": trial.value, "params": trial.params}
        for trial in study.trials
    ]
    mlflow.log_dict({"best": found.params, "average_precision": found.average_precision, "tries": rows}, "search.json")
