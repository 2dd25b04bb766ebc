"""Where transactions come from: files, databases, the simulator."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fds_mlflow.data import readers
from fds_mlflow.data.inference import InferredSchema, infer
from fds_mlflow.data.labels import without_labels
from fds_mlflow.data.request import Request
from fds_mlflow.data.schema import Schema
from fds_mlflow.data.transactions import Transactions, as_schema, load
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.runtime import databases
from fds_mlflow.runtime.text_file import CSV_SUFFIXES, PARQUET_SUFFIXES, absent
from fds_mlflow.simulator import simulate

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.model import ManagedModel

OUTCOMES = "outcomes"
"""What the name of a source begins with that is what was served."""

SHIPPED = ("simulator", "sample", "handbook", "ulb")


@dataclass(frozen=True)
class Source:
    """Where transactions come from.

    Attributes:
        data: File or folder of files, SQLAlchemy URL, `simulator:ROWS`, or `outcomes:MODEL` for what was served.
        schema: Schema file or shipped name; None to recognise a shipped one, or a file beside the data.
        table: Table, where `data` is a URL.
        query: Query, where `data` is a URL.
        progress: Is told the share that was read, from 0 to 1.
        model: The model of `outcomes:MODEL`; None to open it where MLflow and the environment say.
    """

    data: str
    schema: str | Schema | None = None
    table: str | None = None
    query: str | None = None
    progress: Callable[[float], None] | None = field(default=None, compare=False)
    model: ManagedModel | None = field(default=None, compare=False)

    def read(self, *, seed: int = 42, labelled: bool = True) -> Transactions:
        """Read the transactions.

        Args:
            seed: Of the simulator.
            labelled: Labels come from the source; else from elsewhere, and the columns of labels that its schema names
                need not be there.

        Raises:
            DataError: The data does not fit the schema.
            ConfigError: The schema cannot be found or recognised, or the source is what was served.
        """
        self._require_transactions()
        made = self.simulated(seed=seed)
        if made is not None:
            return replace(load(made, "simulator"), source=f"{self.data}, seed {seed}")
        schema = as_schema(self.schema or recognise(self.data))
        if not labelled:
            schema = without_labels(schema, self._columns(schema))
        return load(self.data, schema, table=self.table, query=self.query, progress=self.progress, labelled=labelled)

    def _columns(self, schema: Schema) -> set[str]:
        """The columns that the source has."""
        if readers.is_url(self.data):
            return set(next(readers.every_column(self.data, table=self.table, query=self.query)).column_names)
        return set(readers.column_names(Path(self.data), Request.of(self.data, schema, None)))

    def _require_transactions(self) -> None:
        """Refuse to take what was served for transactions.

        Raises:
            ConfigError: It is.
        """
        if self.served is not None:
            raise ConfigError(
                f"{self.data} has features as they were served, and no transactions to compute any from",
                fix="train, retrain or compare on it; here, give a file or a database",
            )

    @property
    def served(self) -> str | None:
        """The model whose recorded features are the source; None where it is another one."""
        kind, _, name = self.data.partition(":")
        return name if kind == OUTCOMES else None

    def read_by(self, schema: Schema) -> Source:
        """The same source, read by this schema where it has none and none is recognised."""
        if self.schema is not None or self.served is not None or self.data.startswith("simulator:"):
            return self
        try:
            return replace(self, schema=recognise(self.data))
        except ConfigError:
            return replace(self, schema=schema)

    def simulated(self, *, seed: int = 42) -> pd.DataFrame | None:
        """The rows that the simulator makes; None where the source is another one.

        Raises:
            ConfigError: It does not say how many.
        """
        kind, _, rows = self.data.partition(":")
        return simulate.transactions(_rows(rows, self.data), seed=seed) if kind == "simulator" else None

    def described(self, label: str | None = None) -> tuple[Source, InferredSchema | None]:
        """The same source with its schema: the one it has, one that is recognised, or else one that is inferred.

        Args:
            label: The column that tells the frauds; then the schema is inferred, unless there is one.

        Returns:
            The source, and what was inferred; None where nothing was.

        Raises:
            ConfigError: There is a schema, and a label beside it; or none is plausible, or several are.
            DataError: The source cannot be read, or its label is none.
        """
        self._require_transactions()
        if self.schema is not None or self.data.startswith("simulator:"):
            if label is not None:
                raise ConfigError("the label is named in the schema", fix="leave out one of the two")
            return self, None
        if label is None:
            with suppress(ConfigError):  # no schema is there: look at the data
                return replace(self, schema=recognise(self.data)), None
        found = infer(self.data, label, table=self.table, query=self.query, progress=self.progress)
        return replace(self, schema=found.schema), found


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
        raise ConfigError(
            f"no schema was given for {data}",
            fix="have it inferred: fds schema infer URL --table TABLE > a.yaml; and pass it: --schema a.yaml",
        )
    path = Path(data)
    named = path if path.name not in ("", "..") else path.resolve()  # `.` and `..` name a folder without its name
    beside = named.parent / (named.name.split(".")[0] + ".schema.yaml")
    if absent(beside) is None and beside.stat().st_size:  # a refused `fds schema infer > FILE` leaves an empty one
        return str(beside)
    inferred = f"have it inferred: fds schema infer {shlex.quote(data)} > {shlex.quote(str(beside))}"
    try:
        columns = set(readers.column_names(path))
    except DataError as error:
        if not path.exists():
            raise
        raise ConfigError(f"no schema was given for {data}: {error.what}", fix=inferred) from None
    fitting = [name for name in SHIPPED if set(Schema.load(name).columns()) <= columns]
    if len(fitting) == 1:
        return fitting[0]
    shown = ", ".join(sorted(columns)[:20]) + (", ..." if len(columns) > 20 else "")
    raise ConfigError(
        f"no schema was given for {data}, and {len(fitting)} of the shipped ones fit its columns ({shown})",
        fix=f"choose one: --schema {' or --schema '.join(fitting)}" if fitting else inferred,
    )


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
