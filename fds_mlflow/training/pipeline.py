"""One training: fit, choose the threshold, measure, log it all to an MLflow run, register the version."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fds_mlflow.core.text.checks import check_seed
from fds_mlflow.data.codes import FORM
from fds_mlflow.data.transactions import period
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.test_set import log_test_set
from fds_mlflow.registry import doubts, texts
from fds_mlflow.registry.registration import register
from fds_mlflow.registry.tags import CODES, FILES, SCORE
from fds_mlflow.runtime import model_files
from fds_mlflow.runtime.mlflow_client import ensured_experiment, short_requests, tracking
from fds_mlflow.training import evaluation, reason_texts
from fds_mlflow.training import search as searching
from fds_mlflow.training.algorithms import gradient_boosting, isolation_forest, own
from fds_mlflow.training.card.facts import FILE, of_training
from fds_mlflow.training.description import describe, facts_of, feature_list, named, when
from fds_mlflow.training.fitted import Curve, FittedScorer, log_scorer, undeclared
from fds_mlflow.training.reproducibility import code_tags, run_facts
from fds_mlflow.training.summary import PartCounts, counted, notes_of, profile_of, stood_for, warnings_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fds_mlflow.training.search import Search
    from fds_mlflow.training.split import Split

log = logging.getLogger(__name__)

ALGORITHMS: dict[str, Callable[[Split, Mapping[str, object], int], FittedScorer]] = {
    "lightgbm": gradient_boosting.fit,
    "isolation_forest": isolation_forest.fit,
}

SUMMARY = "summary.json"
"""The artifact of a run that says what its version rests on."""

#: MLflow takes at most 1,000 metrics in one batch.
_BATCH = 1000


@dataclass(frozen=True)
class Trained:
    """What a training left behind.

    Attributes:
        run_id: The MLflow run.
        model_uri: ``models:/m-…``: loads with ``mlflow.pyfunc.load_model`` whether registered or not.
        version: Version number under the registered name, or None where no name was given.
        metrics: As logged: test figures under their own names, validation figures with the prefix ``val_``.
        threshold: The score from which a transaction is flagged.
        parts: Rows, frauds and flagged rows of each part.
        features: Names of the features, in the model's order.
        trees: Trees in the model.
        warnings: Why its figures should not be believed: features that alone tell fraud from genuine, a validation that
            says nothing. `retrain` stages no version that has any.
        notes: What was left out on the way from the source to the model, a sentence each.
    """

    run_id: str
    model_uri: str
    version: int | None
    metrics: dict[str, float]
    threshold: float
    parts: dict[str, PartCounts] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    trees: int = 0
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def train(
    split: Split,
    *,
    algorithm: str = "lightgbm",
    params: Mapping[str, object] | None = None,
    target_fpr: float = 0.02,
    seed: int = 42,
    experiment: str | None = None,
    model_name: str | None = None,
    run_name: str | None = None,
    tags: Mapping[str, str] | None = None,
    seeds: int | None = None,
    search: Search | None = None,
) -> Trained:
    """Train one model in one MLflow run.

    Logged are parameters, the three parts as datasets with digest, source and period, test metrics under their plain
    names (``average_precision``) and validation metrics with the prefix ``val_``, curves (``curve_…``, one step a tree
    or iteration), importance, plots, the features (``features.json``), the labelled test rows (at most 25,000), what
    each part holds and what was left out (``summary.json``), what its card is made of (``card.json``), and the model
    with signature, input example, and its declaration of features and schema
    (:mod:`fds_mlflow.features.declaration`). Warnings are logged before the version is registered (``fds.warnings``).
    An active run becomes the parent; one that ``mlflow run`` hands over is filled. On failure the run is FAILED.

    Args:
        split: The parts; see :mod:`fds_mlflow.training.split`.
        algorithm: ``lightgbm``, ``isolation_forest``, or a function of your own: ``package.module:function``; see
            :mod:`fds_mlflow.training.algorithms.own`.
        params: Parameters of the algorithm: any of LightGBM's under any of its names, those of scikit-learn's
            ``IsolationForest``, or what your own takes.
        target_fpr: The threshold flags at most this share of the genuine validation rows.
        seed: Seed of everything random: the same data gives the same model.
        experiment: Name of the experiment, created where it is missing; ``fds/<model_name>`` by default.
        model_name: Register the model under this name.
        run_name: Name of the run; the algorithm by default.
        tags: More tags for the run and the version.
        seeds: Average models of so many seeds into one, from `seed` on; LightGBM alone. By default three where
            validation has fewer than 200 frauds, else one.
        search: Look for better parameters first; see :mod:`fds_mlflow.training.search`.

    Returns:
        The run, the model and its figures on test and validation.

    Raises:
        ConfigError: An unknown algorithm or parameter, a target outside (0, 1), a seed out of range, a deleted
            experiment, several seeds of what has none to average, a search that cannot begin.
        DataError: Data that the algorithm cannot learn from.
        UnavailableError: The tracking server does not answer.
        RefusedError: It does not let this user in.
    """
    _check(algorithm, target_fpr, seed, model_name)
    _fit(algorithm, seeds)
    facts = facts_of(split, algorithm)
    given = dict(tags or {})
    with tracking(f"training of {model_name!r}"), _run(facts, given, experiment, model_name, run_name) as run_id:
        scorer = _searched(split, algorithm, params or {}, seed=seed, seeds=seeds, search=search)
        said = {**facts, **given}
        return _logged(run_id, split, scorer, target_fpr=target_fpr, tags=said, model_name=model_name, seed=seed)


def _searched(
    split: Split, algorithm: str, params: Mapping[str, object], *, seed: int, seeds: int | None, search: Search | None
) -> FittedScorer:
    """What is fitted, with the parameters that a search has found if there is one."""
    if search is None:
        return _fit(algorithm, seeds)(split, params, seed)
    found = searching.search(split, algorithm, params, seed, search)
    scorer = _fit(algorithm, seeds)(split, found.params, seed)
    return replace(scorer, notes=(found.note, *scorer.notes))


def _fit(algorithm: str, seeds: int | None) -> Callable[[Split, Mapping[str, object], int], FittedScorer]:
    """What fits.

    Raises:
        ConfigError: The algorithm has no models of several seeds, or there are none.
    """
    if seeds is not None and seeds < 1:
        raise ConfigError(f"{seeds} seeds are averaged", fix="give 1 or more")
    if algorithm == "lightgbm":
        return partial(gradient_boosting.fit, seeds=seeds)
    if seeds is not None and seeds > 1:
        raise ConfigError(
            f"the algorithm {algorithm!r} has no models of several seeds",
            fix="leave --seeds out; a forest has more trees by --param n_estimators=300",
        )
    return partial(own.fit, algorithm) if own.named(algorithm) else ALGORITHMS[algorithm]


@contextmanager
def _run(
    facts: Mapping[str, str],
    given: dict[str, str],
    experiment: str | None,
    model_name: str | None,
    run_name: str | None,
) -> Iterator[str]:
    """The id of an active run that says what is trained; it fails with what is done in it."""
    import mlflow

    with (
        run_facts(facts),
        mlflow.start_run(
            experiment_id=experiment_id(experiment or f"fds/{model_name or 'training'}", given=experiment),
            run_name=run_name or facts["fds.algorithm"],
            nested=mlflow.active_run() is not None,
            tags=given,
        ) as run,
    ):
        # A run that `mlflow run` created has not seen our context provider.
        missing = {k: v for k, v in {**code_tags(), **facts}.items() if k not in run.data.tags}
        mlflow.set_tags(missing)
        yield run.info.run_id


def _check(algorithm: str, target_fpr: float, seed: int, model_name: str | None) -> None:
    """Refuse what cannot be trained with.

    Raises:
        ConfigError: An unknown algorithm, a target outside (0, 1), a seed out of range, a name that may not be listed.
    """
    texts.checked_model(model_name or "")
    check_seed(seed)
    check_algorithm(algorithm)
    if not 0 < target_fpr < 1:
        raise ConfigError(
            f"the target false positive rate is {target_fpr}", fix="give a share between 0 and 1: 0.02 is 2 %"
        )


def check_algorithm(algorithm: str) -> None:
    """Refuse an algorithm that is none.

    Raises:
        ConfigError: It is neither of ours, nor a function that keeps the contract.
    """
    if own.named(algorithm):
        own.function_of(algorithm)
    elif algorithm not in ALGORITHMS:
        raise ConfigError(
            f"the algorithm {algorithm!r} is unknown",
            fix=f"choose one of {', '.join(ALGORITHMS)}, or name your own: package.module:function",
        )


def _logged(
    run_id: str,
    split: Split,
    scorer: FittedScorer,
    *,
    target_fpr: float,
    tags: Mapping[str, str],
    model_name: str | None,
    seed: int,
) -> Trained:
    """Log a fitted model and all that is known about it into the active run, and register it where it has a name."""
    import mlflow

    scores = {name: scorer.predict(part.x) for name, part in split.parts.items() if name != "train"}
    labels = split.validation.y if split.labelled else None
    threshold = evaluation.choose_threshold(labels, scores["validation"], target_fpr, weight=split.validation.weight)
    metrics = _metrics(split, scores, threshold)
    parts = counted(split, scores, threshold)
    warnings = warnings_of(split, parts, metrics)
    for warning in warnings:
        log.warning("%s: %s", scorer.algorithm, warning)
    notes = (*split.notes, *scorer.notes, *stood_for(split), *notes_of(parts, metrics, target_fpr))
    notes += reason_texts.unused(split.train)
    notes += undeclared(split.train)
    marks = {"fds.threshold": repr(threshold), "fds.target_fpr": repr(target_fpr), CODES: FORM, **tags}
    if warnings:
        marks[doubts.TRAINING] = doubts.written(warnings)
    if scorer.score is not None:
        marks[SCORE] = scorer.score
    mlflow.set_tags(marks)
    _log_parameters(run_id, split, scorer, target_fpr)
    info = log_scorer(scorer, split.train, marks, profile_of(split, scores, threshold))
    marks[FILES] = model_files.digest_at(info.model_uri)
    mlflow.set_tag(FILES, marks[FILES])
    _log_data_and_metrics(split, metrics, info.model_id)
    _log_curves(run_id, scorer.curves)
    _log_artifacts(split, scorer, scores["test"], threshold)
    if split.labelled:
        log_test_set(split.test, seed)
    made = Trained(
        *(run_id, info.model_uri, None, metrics, threshold),
        parts=parts,
        features=tuple(split.train.features),
        trees=scorer.trees,
        warnings=warnings,
        notes=notes,
    )
    _log_summary(made)
    known = of_training(split, scorer, made, scores["test"], target_fpr=target_fpr, seed=seed)
    mlflow.log_dict(msgspec.to_builtins(known), FILE)
    if model_name is None:
        return made
    description = describe(scorer, metrics, split, known)
    version = register(model_name, info.model_uri, run_id, tags=marks, description=description, model_id=info.model_id)
    return replace(made, version=version)


def _log_summary(made: Trained) -> None:
    """What the version rests on, for people and machines that look at the run."""
    import mlflow

    names = ("parts", "features", "trees", "warnings", "notes")
    mlflow.log_dict({name: value for name, value in asdict(made).items() if name in names}, SUMMARY)


def experiment_id(name: str, *, given: str | None) -> str | None:
    """The experiment to start the run in; None where a parent or a handed-over run decides."""
    import mlflow

    active = mlflow.active_run()
    if active is not None and given is None:
        return str(active.info.experiment_id)
    if os.environ.get("MLFLOW_RUN_ID"):
        return None
    with short_requests():  # a server that is not there is found out now, not after MLflow's minutes of retries
        return ensured_experiment(mlflow.MlflowClient(), name)


def _metrics(split: Split, scores: Mapping[str, NDArray[np.float64]], threshold: float) -> dict[str, float]:
    """Test figures under their own names, validation figures with a prefix; rates alone where no labels are."""
    result: dict[str, float] = {"threshold": threshold}
    for name, prefix in (("validation", "val_"), ("test", "")):
        part, score = split.parts[name], scores[name]
        if not split.labelled:
            result[f"{prefix}flagged_rate"] = float((score >= threshold).mean())
            continue
        per_day = "customer" in part.frame.columns and period(part.frame["time"]) is not None
        figures = evaluation.metrics(
            part.y,
            score,
            threshold,
            customer=part.frame["customer"].to_numpy() if per_day else None,
            time=part.frame["time"].to_numpy() if per_day else None,
            weight=part.weight,
        )
        figures.pop("threshold")
        result.update({f"{prefix}{key}": value for key, value in figures.items()})
    return result


def _log_parameters(run_id: str, split: Split, scorer: FittedScorer, target_fpr: float) -> None:
    """What decided; where the run already says under a name what was asked for, what came of it is `chosen_NAME`.

    `mlflow run` writes an entry point's parameters into the run before the entry point starts, and a parameter cannot
    be changed.
    """
    import mlflow

    decided = {"algorithm": scorer.algorithm, **scorer.params, **split.facts, "target_fpr": target_fpr}
    decided |= {"features": len(split.train.features), "trees": scorer.trees}
    asked = mlflow.get_run(run_id).data.params
    taken = {name for name, value in decided.items() if asked.get(name, str(value)) != str(value)}
    mlflow.log_params({f"chosen_{name}" if name in taken else name: value for name, value in decided.items()})


def _log_data_and_metrics(split: Split, metrics: Mapping[str, float], model_id: str) -> None:
    """The parts as dataset inputs, and the figures attached to run, model and the part they come from."""
    import mlflow

    from fds_mlflow.training.datasets import log_parts

    datasets = log_parts(split)
    of_validation = {key: value for key, value in metrics.items() if key.startswith("val_")}
    of_test = {key: value for key, value in metrics.items() if key not in of_validation}
    mlflow.log_metrics(of_test, model_id=model_id, dataset=datasets["test"])
    mlflow.log_metrics(of_validation, model_id=model_id, dataset=datasets["validation"])


def _log_curves(run_id: str, curves: list[Curve]) -> None:
    import time

    import mlflow
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [
        Metric(curve.name, value, now, step)
        for curve in curves
        for step, value in zip(curve.steps, curve.values, strict=True)
    ]
    client = mlflow.MlflowClient()
    for start in range(0, len(points), _BATCH):
        client.log_batch(run_id, metrics=points[start : start + _BATCH])


def _log_artifacts(split: Split, scorer: FittedScorer, score: NDArray[np.float64], threshold: float) -> None:
    import mlflow

    from fds_mlflow.training import plots

    mlflow.log_text(feature_list(split.train), "features.json")
    ranked = dict(sorted(scorer.importance.items(), key=lambda item: item[1], reverse=True))
    mlflow.log_dict({"unit": scorer.importance_unit, "importance": ranked}, "importance.json")
    title = f"{named(scorer)}{when(split.test, ' · ')}"
    if split.labelled:
        figures = plots.draw(
            split.test.y,
            score,
            threshold,
            scorer.importance,
            importance_unit=scorer.importance_unit,
            title=title,
            weight=split.test.weight,
        )
    else:
        figures = {"importance": plots.feature_importance(scorer.importance, scorer.importance_unit, title)}
    for name, figure in figures.items():
        mlflow.log_figure(figure, f"plots/{name}.png", save_kwargs={"dpi": plots.DPI})
