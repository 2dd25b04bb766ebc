"""MLflow evaluator `fds`: whatever model, or column of scores, measured as our trainings measure theirs."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.training.assessment import Assessment, Rows

MODEL_TYPE = "fraud"

_ROLES = ("time", "customer", "amount")

_KEYS = frozenset({*_ROLES, "fraud", "threshold", "target_fpr", "segments", "review_cost", "metric_prefix", "seed"})


class FraudEvaluator:
    """Evaluates with `mlflow.models.evaluate(..., model_type="fraud", evaluators="fds")`.

    Registered under ``mlflow.model_evaluator``. It evaluates nothing else, unless its own configuration says
    ``{"fraud": True}``: it would otherwise run in everybody's evaluations of classifiers.

    It has the methods of MLflow's ``ModelEvaluator`` without deriving from it, since MLflow loads this module while it
    is being imported itself; whatever it needs is imported when it is used.
    """

    def can_evaluate(self, *, model_type: str | None, evaluator_config: Mapping[str, Any] | None, **_: Any) -> bool:
        """Whether it is asked for by name."""
        return model_type == MODEL_TYPE or (evaluator_config or {}).get("fraud") is True

    def evaluate(
        self,
        *,
        dataset: Any,
        run_id: str,
        evaluator_config: Mapping[str, Any] | None = None,
        model: Any = None,
        model_id: str | None = None,
        predictions: str | None = None,
        **_: Any,
    ) -> Any:
        """Measure, and log to the run: metrics under the names of our trainings, tables, plots, and which code ran.

        Args:
            dataset: MLflow's: features and labels, and predictions where there is no model.
            run_id: The run.
            evaluator_config: `threshold`, the score from which a transaction is flagged; else that of the logged model
                (`fds.threshold`), else the one that flags `target_fpr` (0.02) of the genuine rows at hand. `time`,
                `customer` and `amount`, names of columns, where they are not called so. `segments`, names of columns
                whose values part the rows; else those of texts. `review_cost`, money. `metric_prefix`, which goes
                before the names of metrics, tables and plots. `seed`, 42, of the intervals.
            model: A pyfunc; None for a dataset with predictions.
            model_id: Of a logged model.
            predictions: The column of the model's answer that has the scores.

        Returns:
            MLflow's `EvaluationResult`: metrics, tables `figures`, `segments` and `calibration`, plots.

        Raises:
            MlflowException: The rows or the scores are not what they should be; says what, and the fix.
        """
        from fds_mlflow.runtime.mlflow_client import as_mlflow
        from fds_mlflow.training.assessment import assess

        with as_mlflow():
            config = _checked(dict(evaluator_config or {}))
            rows = _rows(dataset, model, predictions, config)
            threshold, said = _threshold(rows, config, model_id)
            cost = config.get("review_cost")
            found = assess(rows, threshold, review_cost=cost, seed=int(config.get("seed", 42)))
        return _logged(run_id, rows, found, said, config.get("metric_prefix", ""))


def _checked(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration.

    Raises:
        ConfigError: A key is none, or the prefix may not begin a name.
    """
    from fds_mlflow.core.text.checks import check_seed
    from fds_mlflow.errors import ConfigError

    unknown = sorted(str(name) for name in config.keys() - _KEYS)
    if unknown:
        known = ", ".join(sorted(_KEYS))
        raise ConfigError(f"evaluator_config has {', '.join(map(repr, unknown))}", fix=f"it takes {known}")
    prefix = config.get("metric_prefix", "")
    if not isinstance(prefix, str) or not all(one.isalnum() or one in "_-." for one in prefix):
        raise ConfigError(f"metric_prefix is {prefix!r}", fix="use letters, digits, _, - and .: val_")
    for name in ("threshold", "target_fpr", "review_cost"):
        if name in config and (isinstance(config[name], bool) or not isinstance(config[name], (int, float))):
            raise ConfigError(f"{name} is {config[name]!r}", fix="give a number")
        if name in config and not math.isfinite(config[name]):
            raise ConfigError(f"{name} is {config[name]!r}", fix="give a finite number")
    for name in _ROLES:
        if not isinstance(config.get(name, ""), str):
            raise ConfigError(f"{name} is {config[name]!r}", fix="give the name of one column")
    parts = config.get("segments", [])
    if isinstance(parts, str) or not isinstance(parts, (list, tuple)) or not all(isinstance(one, str) for one in parts):
        raise ConfigError(f"segments is {parts!r}", fix='give a list of columns, such as ["channel"]')
    check_seed(config.get("seed", 42))
    return config


def _rows(dataset: Any, model: Any, predictions: str | None, config: Mapping[str, Any]) -> Rows:
    """Labels, scores, and what is known beside them.

    Raises:
        ConfigError: A column that is named is not there.
        DataError: There are no labels or scores, or none that are.
    """
    import pandas as pd

    from fds_mlflow.errors import DataError
    from fds_mlflow.training.assessment import Rows, as_labels, as_scores, beside

    features = dataset.features_data
    frame = features if isinstance(features, pd.DataFrame) else pd.DataFrame(features, columns=dataset.feature_names)
    if dataset.labels_data is None:
        raise DataError("there are no labels", fix="name their column with targets=, 1 = fraud")
    labels = as_labels(dataset.labels_data)
    if model is None:
        answer = dataset.predictions_data
        if answer is None:
            raise DataError("there is neither a model nor a column of scores", fix="give model=, or predictions=")
    else:
        try:
            answer = model.predict(frame)
        except Exception as error:  # whatever somebody's model raises
            raise DataError(
                f"the model could not score {len(frame):,} rows: {type(error).__name__}: {error}",
                fix="call model.predict(rows) with the same rows to see the whole trace",
            ) from error
    scores = as_scores(answer, len(frame), predictions)
    known, parts = beside(frame, {role: config.get(role) for role in _ROLES}, config.get("segments"))
    return Rows(labels, scores, known, parts)


def _threshold(rows: Rows, config: Mapping[str, Any], model_id: str | None) -> tuple[float, str]:
    """The score from which a transaction is flagged, and where it comes from."""
    import mlflow

    from fds_mlflow.errors import ConfigError
    from fds_mlflow.registry.tags import THRESHOLD, is_threshold
    from fds_mlflow.training.evaluation import choose_threshold

    if "threshold" in config:
        if not is_threshold(repr(float(config["threshold"]))):
            raise ConfigError(f"the threshold is {config['threshold']!r}", fix="give a score in [0, 1]")
        return float(config["threshold"]), "given"
    own = None if model_id is None else mlflow.get_logged_model(model_id).tags.get(THRESHOLD)
    if own is not None and is_threshold(own) and "target_fpr" not in config:
        return float(own), "of the logged model"
    target = float(config.get("target_fpr", 0.02))
    return choose_threshold(rows.y, rows.score, target), f"chosen on these rows for a false positive rate of {target:g}"


def _logged(run_id: str, rows: Rows, found: Assessment, said: str, prefix: str) -> Any:
    """Log what was found; MLflow's `EvaluationResult` of it."""
    import mlflow
    from mlflow.models import EvaluationResult
    from mlflow.models.evaluation.artifacts import ImageEvaluationArtifact, JsonEvaluationArtifact

    from fds_mlflow.training import assessment
    from fds_mlflow.training.plots import DPI
    from fds_mlflow.training.reproducibility import code_tags

    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    metrics = {f"{prefix}{name}": value for name, value in found.metrics.items()}
    mlflow.log_metrics(metrics, run_id=run_id)
    missing = {name: value for name, value in code_tags().items() if name not in run.data.tags}
    for name, value in {**missing, f"fds.evaluation.{prefix}threshold": said}.items():
        client.set_tag(run_id, name, value)
    artifacts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, table in found.tables().items():
            file = f"{prefix}{name}.json"
            _log_table(client, run, table, file)
            artifacts[f"{prefix}{name}"] = JsonEvaluationArtifact(
                f"{run.info.artifact_uri}/{file}", json.loads(table.to_json(orient="split", index=False))
            )
        counts = f"{int((rows.y == 0).sum()):,} genuine, {int((rows.y == 1).sum()):,} fraud"
        for name, figure in assessment.plots(rows, found.threshold, f"evaluated on {counts}").items():
            path = Path(folder, f"{prefix}{name}.png")
            figure.savefig(path, dpi=DPI)
            client.log_artifact(run_id, str(path), "plots")
            plot = ImageEvaluationArtifact(f"{run.info.artifact_uri}/plots/{path.name}")
            plot._load(str(path))
            artifacts[f"{prefix}{name}_plot"] = plot
    return EvaluationResult(metrics=metrics, artifacts=artifacts, run_id=run_id)


def _log_table(client: Any, run: Any, table: pd.DataFrame, file: str) -> None:
    """Log a table that the UI shows; one of an earlier evaluation is replaced, where MLflow would add to it."""
    if f'"{file}"' in run.data.tags.get("mlflow.loggedArtifacts", ""):
        client.log_text(run.info.run_id, table.to_json(orient="split", index=False), file)
    else:
        client.log_table(run.info.run_id, table, file)
