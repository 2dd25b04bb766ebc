"""What the command line and `mlflow run` do with data: read, cut, train, retrain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fds_mlflow.core.comparison import Advice, Comparison
from fds_mlflow.data import readers
from fds_mlflow.data.schema import Schema
from fds_mlflow.data.transactions import Transactions, load
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.spec import default_spec
from fds_mlflow.features.table import FeatureTable, compute
from fds_mlflow.model import ManagedModel
from fds_mlflow.runtime import databases, mlflow_client
from fds_mlflow.runtime.text_file import CSV_SUFFIXES, PARQUET_SUFFIXES, absent
from fds_mlflow.simulator import simulate
from fds_mlflow.training import pipeline
from fds_mlflow.training.split import Split, by_time, stratified

if TYPE_CHECKING:
    import pandas as pd

SHIPPED = ("simulator", "sample", "handbook", "ulb")
_SHIPPED = "simulator, sample, handbook or ulb"


@dataclass(frozen=True)
class Source:
    """Where transactions come from.

    Attributes:
        data: CSV or Parquet file, SQLAlchemy URL, or `simulator:ROWS`.
        schema: Schema file or shipped name; None to recognise a shipped one, or a file beside the data.
        table: Table, where `data` is a URL.
        query: Query, where `data` is a URL.
    """

    data: str
    schema: str | None = None
    table: str | None = None
    query: str | None = None

    def read(self, *, seed: int = 42) -> Transactions:
        """Read the transactions.

        Raises:
            DataError: The data does not fit the schema.
            ConfigError: The schema cannot be found or recognised.
        """
        kind, _, rows = self.data.partition(":")
        if kind == "simulator":
            made = load(simulate.transactions(_rows(rows, self.data), seed=seed), "simulator")
            return replace(made, source=f"{self.data}, seed {seed}")
        return load(self.data, self.schema or recognise(self.data), table=self.table, query=self.query)


def _rows(text: str, given: str) -> int:
    try:
        return int(text.replace("_", ""))
    except ValueError:
        raise ConfigError(f"{given!r} does not say how many rows", fix="write simulator:50000") from None


def recognise(data: str) -> str:
    """The schema of a file without one: `NAME.schema.yaml` beside it, or the one shipped schema that fits.

    Raises:
        ConfigError: None or several fit, or the data are in a database.
        DataError: There is no such file, or it cannot be read.
    """
    if readers.is_url(data):
        databases.parse(data, named="the address of the data")
        raise ConfigError(f"no schema was given for {data}", fix=f"pass one (--schema): a YAML file, or {_SHIPPED}")
    path = Path(data)
    beside = path.with_name(path.name.split(".")[0] + ".schema.yaml")
    if absent(beside) is None:
        return str(beside)
    columns = set(readers.column_names(path))
    fitting = [name for name in SHIPPED if set(Schema.load(name).columns().values()) <= columns]
    if len(fitting) == 1:
        return fitting[0]
    describe = f"describe the columns in a YAML file and pass it as the schema (--schema), or put it at {beside}"
    raise ConfigError(
        f"no schema was given for {data}, and {len(fitting)} of the shipped ones fit its columns"
        f" ({', '.join(sorted(columns))})",
        fix=f"choose one: --schema {' or --schema '.join(fitting)}" if fitting else describe,
    )


def prepare(source: Source, *, split: str = "time", seed: int = 42) -> Split:
    """Read, compute features and cut into train, validation and test."""
    transactions = source.read(seed=seed)
    table = compute(transactions, default_spec(transactions.schema))
    return cut(table, split=split, seed=seed)


def cut(table: FeatureTable, *, split: str = "time", seed: int = 42) -> Split:
    """Cut a feature table by time, or stratified by label.

    Raises:
        ConfigError: The split is neither.
    """
    if split == "time":
        return by_time(table)
    if split == "stratified":
        return stratified(table, seed=seed)
    raise ConfigError(f"the split {split!r} is unknown", fix="choose time or stratified")


def train(
    parts: Split,
    model: str,
    *,
    algorithm: str = "lightgbm",
    params: Mapping[str, Any] | None = None,
    target_fpr: float = 0.02,
    seed: int = 42,
) -> pipeline.Trained:
    """Train a version and register it under the model's name."""
    return pipeline.train(parts, algorithm=algorithm, params=params, target_fpr=target_fpr, seed=seed, model_name=model)


@dataclass(frozen=True)
class Retrained:
    """What a retraining led to.

    Attributes:
        trained: The new versions by algorithm.
        champion: The champion they were compared with.
        comparison: The best of them against the champion, on the same rows; None without a champion.
        staged: The version put forward; None where the champion stays the best.
        message: One sentence for people.
    """

    trained: Mapping[str, pipeline.Trained]
    champion: int | None
    comparison: Comparison | None
    staged: int | None
    message: str


def retrain(
    model: ManagedModel, source: Source, *, split: str = "time", target_fpr: float = 0.02, seed: int = 42
) -> Retrained:
    """Train both algorithms, compare the better one with the champion on the same rows, and stage it if it is best.

    The better of the two is chosen on validation; the test rows only serve the comparison.
    """
    import mlflow

    parts = prepare(source, split=split, seed=seed)
    run = mlflow.active_run()
    with (
        mlflow_client.tracking(f"retraining of {model.name!r}"),
        mlflow.start_run(
            experiment_id=pipeline.experiment_id(f"fds/{model.name}", given=None) if run is None else None,
            run_name="retrain",
            nested=run is not None,
        ),
    ):
        made = {
            name: train(parts, model.name, algorithm=name, target_fpr=target_fpr, seed=seed)
            for name in pipeline.ALGORITHMS
        }
        retrained = _put_forward(model, parts, made, seed)
        mlflow.set_tags({"fds.staged": str(retrained.staged), "fds.message": retrained.message})
        if retrained.comparison is not None:
            mlflow.log_metrics({f"difference_{d.metric}": d.difference for d in retrained.comparison.deltas})
    return retrained


def _put_forward(model: ManagedModel, parts: Split, made: Mapping[str, pipeline.Trained], seed: int) -> Retrained:
    name, best = max(made.items(), key=lambda item: item[1].metrics.get("val_average_precision", 0.0))
    if best.version is None:
        raise AssertionError("a training under a model's name registers a version")
    champion = model.overview().champion
    comparison = None
    against = ", the first candidate"
    if champion is not None:
        comparison = model.compare(champion, best.version, data=parts.test, seed=seed)
        if comparison.advice is Advice.KEEP:
            message = f"champion {champion} stays the best; nothing was staged: {comparison.reason}"
            return Retrained(made, champion, comparison, None, message)
        against = f" against champion {champion}: {comparison.reason}"
    message = f"version {best.version} ({name}) is staged{against}"
    model.stage(best.version, reason=f"retraining: {message}"[:900])
    return Retrained(made, champion, comparison, best.version, message)


def write_simulation(output: Path, *, rows: int, days: float, fraud_rate: float, seed: int) -> pd.DataFrame:
    """Write simulated transactions to a .parquet (.pq), .csv or .csv.gz file.

    Raises:
        ConfigError: The file's ending is neither.
    """
    name = output.name.lower()
    if not name.endswith((*CSV_SUFFIXES, *PARQUET_SUFFIXES)):
        raise ConfigError(f"{output} ends in neither .parquet nor .csv", fix="choose one of the two")
    frame = simulate.transactions(rows, days=days, fraud_rate=fraud_rate, seed=seed)
    output.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(CSV_SUFFIXES):
        frame.to_csv(output, index=False)
    else:
        frame.to_parquet(output, index=False)
    return frame
